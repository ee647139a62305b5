"""The only place that spells a label: the eight state labels the bot writes and the intent labels people write.

Promise: `state_label` and `parse_state` are inverse; no other module contains a label's text. GitHub compares label
names without regard to case, so parsing does too. There is no race here; who set a label and when is never read from
the label itself but from the issue's label events.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from bot.domain.model import ItemState

PREFIX: Final = "tgs:"
MAX_LABEL_LENGTH: Final = 50
"""Characters; GitHub refuses longer label names."""


class IntentLabel(StrEnum):
    """Labels that people write to say what they want. `READY` is a state label too: a person may set it by hand."""

    READY = "tgs:ready"
    HOLD = "tgs:hold"
    PRIORITY_HIGH = "tgs:priority/high"
    PRIORITY_LOW = "tgs:priority/low"
    AUTOMERGE = "tgs:automerge"
    NO_AGENT = "tgs:no-agent"


def state_label(state: ItemState) -> str:
    """The label that shows this state."""
    return f"{PREFIX}{state.value}"


STATE_LABELS: Final = MappingProxyType({state: state_label(state) for state in ItemState})
"""Every state's label, in the order of the life of an item."""

READY: Final = state_label(ItemState.READY)
PROPOSED: Final = state_label(ItemState.PROPOSED)
IN_PROGRESS: Final = state_label(ItemState.IN_PROGRESS)
INCIDENT: Final = f"{PREFIX}incident"
"""On the issues of incidents, which are no items."""
ALL_LABELS: Final = frozenset(STATE_LABELS.values()) | frozenset(label.value for label in IntentLabel) | {INCIDENT}

PRIORITIES: Final = MappingProxyType({"high": 100, "normal": 0, "low": -100})
"""Names of priorities and their numbers; a higher number goes first."""

_BY_LABEL = MappingProxyType({label: state for state, label in STATE_LABELS.items()})
_INTENT_BY_LABEL = MappingProxyType({label.value: label for label in IntentLabel})

_COLOURS = MappingProxyType(
    {
        ItemState.PROPOSED: ("d4c5f9", "A plan that waits for a maintainer"),
        ItemState.READY: ("0e8a16", "In the queue of the bot"),
        ItemState.IN_PROGRESS: ("fbca04", "The bot works on it"),
        ItemState.NEEDS_INPUT: ("d93f0b", "The agent waits for an answer"),
        ItemState.IN_REVIEW: ("1d76db", "A pull request waits for review"),
        ItemState.DONE: ("5319e7", "Merged"),
        ItemState.FAILED: ("b60205", "Stopped after failures; somebody must look"),
        ItemState.CANCELLED: ("cccccc", "Called off"),
    }
)
_INTENT_TEXT = MappingProxyType(
    {
        IntentLabel.READY: "Ask the bot to work on it",
        IntentLabel.HOLD: "Keep the bot from starting it",
        IntentLabel.PRIORITY_HIGH: "Goes before the others",
        IntentLabel.PRIORITY_LOW: "Goes after the others",
        IntentLabel.AUTOMERGE: "Merge by itself when policy allows",
        IntentLabel.NO_AGENT: "People work on it; the bot stays away",
    }
)


def parse_state(label: str) -> ItemState | None:
    """The state that this label shows; None when it is not a state label."""
    return _BY_LABEL.get(label.casefold())


def parse_intent(label: str) -> IntentLabel | None:
    """The wish that this label expresses; None when it is not an intent label."""
    return _INTENT_BY_LABEL.get(label.casefold())


def is_ours(label: str) -> bool:
    """Whether the label is one of the product's."""
    return label.casefold() in ALL_LABELS


def states_shown(labels: Iterable[str]) -> tuple[ItemState, ...]:
    """All states that these labels show, in the order of the life of an item; normally one or none."""
    found = {state for label in labels if (state := parse_state(label)) is not None}
    return tuple(state for state in ItemState if state in found)


def priority_shown(labels: Iterable[str]) -> int | None:
    """The priority that these labels ask for; None without a priority label. High wins over low."""
    wishes = {parse_intent(label) for label in labels}
    if IntentLabel.PRIORITY_HIGH in wishes:
        return PRIORITIES["high"]
    if IntentLabel.PRIORITY_LOW in wishes:
        return PRIORITIES["low"]
    return None


def appearance(label: str) -> tuple[str, str]:
    """(colour as six hex digits, description of at most 100 characters) for a label of the product.

    Raises ValueError for a label that is not ours.
    """
    state = parse_state(label)
    if state is not None:
        return _COLOURS[state]
    if label.casefold() == INCIDENT:
        return "b60205", "Something stops the bot here; somebody must look"
    intent = parse_intent(label)
    if intent is None:
        raise ValueError(f"not a label of the product: {label!r}")
    return "c5def5", _INTENT_TEXT[intent]
