"""Questions that an agent asks people: what was asked, and what became of it. Pure values.

An attempt that ends by asking may ask several questions at once. What the agent wrote is data from an untrusted place:
it is cleaned where it enters and defused where it is shown, both by `bot/domain/sanitise.py`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer that the agent offers: what is chosen, and what it would mean."""

    label: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class AskedQuestion:
    """One question as the agent asked it. `id` is unique within the attempt's ask; `default` is the label of a choice.

    Without choices any words are an answer. `several`: more than one choice may be taken.
    """

    id: str
    text: str
    header: str = ""
    choices: tuple[Choice, ...] = ()
    several: bool = False
    default: str | None = None
