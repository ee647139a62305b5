"""Our items in the words of older tools: the one place where their states are translated.

Promise: every state has a word in each vocabulary, so nothing disappears from a list that is read through a view; ids
made here are the same every time. Views only show: nobody decides by these words.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from bot.domain.model import ItemState

TGS_STATUS: Final = MappingProxyType(
    {
        ItemState.PROPOSED: "proposed",
        ItemState.READY: "queued",
        ItemState.IN_PROGRESS: "in_progress",
        ItemState.NEEDS_INPUT: "in_progress",
        ItemState.IN_REVIEW: "in_progress",
        ItemState.DONE: "completed",
        ItemState.FAILED: "failed",
        ItemState.CANCELLED: "cancelled",
    }
)
"""The words of the backlog file, and two for what is not in it: not added yet, and taken out."""
