"""Time and identity, so that tests and replays bring their own."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """The current time, aware UTC."""
        ...


class Ids(Protocol):
    def new(self, prefix: str) -> str:
        """A fresh, unguessable, URL-safe id that starts with `prefix`."""
        ...
