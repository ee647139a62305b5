"""The recorded webhook payloads and what the handlers make of them, for the tests and for the recorder.

Most recordings come from hooks of repositories, which name no installation. An App's delivery always names one, so
`as_delivered` adds it where it is missing; the golden file is about these.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from handlers import REGISTRY

FOLDER = Path(__file__).resolve().parent
GOLDEN = FOLDER / "intake.json"
INSTALLATION = 4242
"""The installation that is added to recordings without one."""
SELF_ID = 777
"""A bot user that caused none of the recordings."""


def events() -> dict[str, list[dict[str, Any]]]:
    """All recordings by event."""
    return {path.stem: json.loads(path.read_text("utf-8")) for path in sorted((FOLDER / "webhooks").glob("*.json"))}


def recordings() -> Iterator[tuple[str, int, dict[str, Any]]]:
    """(event, index, payload) of every recording."""
    for event, payloads in events().items():
        for index, payload in enumerate(payloads):
            yield event, index, payload


def as_delivered(payload: dict[str, Any]) -> dict[str, Any]:
    """The payload as the App would get it."""
    return payload if "installation" in payload else payload | {"installation": {"id": INSTALLATION}}


def encode(payload: dict[str, Any]) -> bytes:
    return json.dumps(payload, ensure_ascii=False).encode()


def plain(value: Any) -> Any:
    """An intake as JSON values, with everything empty left out."""
    data = json.loads(json.dumps(dataclasses.asdict(value), default=str))
    return _without_empty(data)


def _without_empty(data: Any) -> Any:
    if isinstance(data, dict):
        kept = {key: _without_empty(value) for key, value in data.items()}
        return {key: value for key, value in kept.items() if value not in (None, "", [], {})}
    if isinstance(data, list):
        return [_without_empty(item) for item in data]
    return data


def golden_of(event: str, payload: dict[str, Any]) -> Any:
    """What is recorded for one payload: the action and the intake."""
    action, intake = REGISTRY[event].read(encode(as_delivered(payload)), SELF_ID)
    return {"action": action} | plain(intake) if action else plain(intake)


def golden_of_all() -> dict[str, list[Any]]:
    return {
        event: [golden_of(event, payload) for payload in payloads]
        for event, payloads in events().items()
        if event in REGISTRY
    }


@functools.cache
def events_of(event: str) -> list[dict[str, Any]]:
    """The recordings of one event."""
    return events()[event]
