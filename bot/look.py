"""What one look at a key leaves to the queue."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Look:
    """Run again at once, or at the latest at a time (aware UTC); neither: nothing is pending."""

    again: bool = False
    at: datetime | None = None
