"""The log of one attempt: one JSON object a line, redacted, bounded, in a file named after the item and the time.

Promise: every value passes the redaction before it reaches the file; values registered with `hide` are removed
whatever their shape. Past the size limit one line says so and the rest is dropped. Nothing the agent prints is echoed
to the job's own output, where a line starting with `::` would be a command to the runner.
"""

from __future__ import annotations

import re
from collections.abc import Callable, MutableMapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TextIO

import structlog

from bot.worker.redaction import redact

MAX_LOG_BYTES: Final = 10_000_000  # a long session's output; artifacts count against the repository's storage
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")


def log_name(label: str, at: datetime) -> str:
    """`<label>-<timestamp>.log`, safe as a file's and an artifact's name."""
    return f"{_UNSAFE.sub('-', label).strip('-.')[:80] or 'attempt'}-{at.astimezone(UTC):%Y%m%dT%H%M%SZ}.log"


class RunLog:
    """Writes the log. Close it at the end; what was written is on disk after each line."""

    def __init__(self, path: Path, clock: Callable[[], datetime], limit: int = MAX_LOG_BYTES) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file: TextIO = path.open("w", encoding="utf-8")
        self._left = limit
        self._clock = clock
        self._known: set[str] = set()
        self._logger = structlog.wrap_logger(
            structlog.WriteLogger(self._file),
            processors=[
                structlog.processors.add_log_level,
                self._stamp,
                self._redact,
                structlog.processors.JSONRenderer(sort_keys=False),
                self._bound,
            ],
            wrapper_class=structlog.BoundLogger,
        )

    def hide(self, *values: str) -> None:
        """From now on these values never appear."""
        self._known.update(v for v in values if v)

    def clean(self, text: str) -> str:
        """The text without credentials, the registered ones included."""
        return redact(text, self._known)

    def info(self, event: str, **fields: object) -> None:
        """One line about something that happened as expected."""
        self._logger.info(event, **fields)

    def warning(self, event: str, **fields: object) -> None:
        """One line about something that a reader looking for the cause wants to see."""
        self._logger.warning(event, **fields)

    def tail(self, limit: int) -> str:
        """The last whole lines within `limit` bytes; redacted, as the file is."""
        data = self.path.read_bytes()
        if len(data) > limit:
            data = data[-limit:].partition(b"\n")[2]
        return data.decode("utf-8", "replace")

    def close(self) -> None:
        """Ends the log; closing twice is fine."""
        self._file.close()

    def _stamp(self, _: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        return {"at": self._clock().astimezone(UTC).isoformat(timespec="milliseconds"), **event}

    def _redact(self, _: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        return {key: self.clean(value) if isinstance(value, str) else value for key, value in event.items()}

    def _bound(self, _: Any, __: str, rendered: Any) -> str:
        line = str(rendered)
        if self._left <= 0:
            raise structlog.DropEvent
        self._left -= len(line) + 1
        return line if self._left > 0 else '{"event": "log limit reached, the rest is dropped", "level": "warning"}'
