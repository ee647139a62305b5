"""Structured logs: one event a line, constant messages, values as fields, nothing secret.

Promises: every value that leaves through a logger made here, nested ones and tracebacks included, has passed the
redaction; a field whose name says that it holds a credential is never shown, whatever its value looks like. Lines
of libraries that use the standard `logging` pass the same processors.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Final, TextIO

import structlog
from structlog.typing import Processor

from bot.domain.sanitise import redact

HIDDEN: Final = "[hidden]"
MAX_DEPTH: Final = 6
"""Nesting of a field's value that is shown; deeper values are cut, so that a cycle cannot hang a log line."""
MAX_TEXT: Final = 8_000
"""Characters of one value: enough for a traceback, too little for a payload."""

_NAMES: Final = re.compile(
    r"(?i)(^|_)(authorization|cookie|password|passwd|secret|secrets|token|tokens|jwt|private_key|api_key|signature)$"
)
"""Field names whose values are never shown."""


def safe_text(text: str) -> str:
    """The text without anything that looks like a credential, cut to `MAX_TEXT` characters."""
    clean = redact(text)
    return clean if len(clean) <= MAX_TEXT else clean[:MAX_TEXT] + "…"


def redact_value(value: object, depth: int = 0) -> object:
    """Any logged value made safe: containers are walked, unknown objects become their redacted text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return safe_text(value)
    if isinstance(value, bytes | bytearray):
        return f"[{len(value)} bytes]"
    if depth >= MAX_DEPTH:
        return "…"
    if isinstance(value, Mapping):
        return {str(key): _field(str(key), item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact_value(item, depth + 1) for item in value]
    return safe_text(str(value))


def _field(name: str, value: object, depth: int) -> object:
    if _NAMES.search(name) and value is not None and not isinstance(value, bool):
        return HIDDEN
    return redact_value(value, depth)


def redaction(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The structlog processor; it stands after the one that renders exceptions and before the renderer."""
    for name in list(event):
        if not name.startswith("_"):
            event[name] = _field(name, event[name], 0)
    return event


def configure(*, json: bool, level: str = "info", stream: TextIO | None = None) -> None:
    """Sets up structlog and the standard library's logging. Call it once, in the composition root.

    `level` is a name such as `info`; `stream` is standard error unless given.
    """
    out = stream if stream is not None else sys.stderr
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redaction,
    ]
    renderer: Processor = (
        structlog.processors.JSONRenderer() if json else structlog.dev.ConsoleRenderer(colors=out.isatty())
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared[:-1],
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared[:-1], structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, redaction, renderer],
        )
    )
    root = logging.getLogger()
    for old in root.handlers[:]:
        if isinstance(old.formatter, structlog.stdlib.ProcessorFormatter):
            root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(number)
    # The queue's engine logs each of its jobs; what matters of it the queue reports itself.
    logging.getLogger("procrastinate").setLevel(logging.CRITICAL)
    # The access log would repeat what the metrics say, with addresses of people in it.
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
