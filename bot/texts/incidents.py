"""The issue of an incident: what fails for everything, how often, what to do, and when it is over.

Promise: the same incident gives the same text; it names the newest items and counts the rest.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from bot.domain.incidents import CAUSES, Cause, Incident
from bot.texts import failures, markers
from bot.texts.phrases import at, detail, issue, plural

TITLES: Final = MappingProxyType(
    {
        Cause.PERMISSION: "The TGS bot lacks a permission",
        Cause.WORKFLOW: "The workflow of the TGS bot cannot be started",
        Cause.CREDENTIAL: "The agent has no usable model credential",
        Cause.ACTOR: "Runs refuse to work for the TGS bot",
        Cause.AGENT_SETTINGS: "The agent cannot be run as the policy says",
        Cause.QUOTA: "The quota of the model's provider is used up",
        Cause.MODEL: "The model's provider does not answer",
        Cause.DISPATCH: "GitHub does not start runs",
        Cause.RUNNERS: "Runs do not begin, or are lost",
    }
)

_CLOSES: Final = (
    "This issue is kept up to date by editing it, and closed when an attempt gets past this point. It is no item of "
    "the backlog."
)


def title(cause: Cause) -> str:
    return TITLES[cause]


def body(incident: Incident) -> str:
    """The text while the cause lasts."""
    reason = CAUSES[incident.cause].reasons[0]
    span = f"since {at(incident.first_at)}, the last at {at(incident.last_at)}"
    parts = [
        f"{failures.sentence(reason)} {_count(incident)} {span}. The cause lies outside the issues that are worked on.",
        f"**What to do:** {failures.remedy(reason)}",
    ]
    if incident.detail:
        parts.append(f"The last one said:\n\n{detail(incident.detail)}")
    parts.append(f"**Waiting for it:** {_items(incident)}.")
    parts.append(_CLOSES)
    return markers.stamp("\n\n".join(parts), markers.incident(incident.cause.value))


def over(incident: Incident) -> str:
    """The text when the episode has ended."""
    reason = CAUSES[incident.cause].reasons[0]
    text = (
        f"It is over: an attempt got past this point. {failures.sentence(reason)} {_count(incident)} from "
        f"{at(incident.first_at)} to {at(incident.last_at)}, and stopped {_items(incident)}.\n\n"
        "If it comes back, this issue is opened again."
    )
    return markers.stamp(text, markers.incident(incident.cause.value))


def _count(incident: Incident) -> str:
    return f"It happened {plural(incident.count, 'time')}"


def _items(incident: Incident) -> str:
    shown = ", ".join(issue(number) for number in sorted(incident.numbers))
    more = incident.affected - len(incident.numbers)
    return f"{shown} and {more} more" if more > 0 else shown
