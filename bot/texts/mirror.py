"""The issue of a thought, and the one summary of thoughts that have no issue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from bot.domain.labels import READY
from bot.domain.mirror import Listed, ListedBecause
from bot.domain.model import ItemState, ThoughtRef
from bot.domain.repository import RepoRecord
from bot.domain.sanitise import code_span, for_title
from bot.texts import markers
from bot.texts.phrases import plan_links, plural, problem

MAX_LISTED: Final = 50
"""Folders named in the summary; the rest is counted."""


@dataclass(frozen=True, slots=True)
class MirrorInput:
    """A thought as its issue shows it. `state` is ready (it goes into the queue at once) or proposed."""

    repo: RepoRecord
    thought: ThoughtRef
    title: str
    state: ItemState
    html_url: str


def mirror_title(view: MirrorInput) -> str:
    """The plan's title, safe as an issue's title."""
    return for_title(view.title)


def mirror_body(view: MirrorInput) -> str:
    """What it is, where plan and research are, and what happens next."""
    plan, research = plan_links(view.html_url, view.repo.full_name, view.thought)
    if view.state is ItemState.READY:
        follows = "It needs no further approval. `/tgs stop` takes it out of the queue, `/tgs hold` keeps it waiting."
    else:
        follows = (
            f"A maintainer can read it and add the label `{READY}` (or use `/tgs approve`) to have it built. "
            "`/tgs reject <notes>` sends it back."
        )
    body = (
        f"The plan (thought) in {code_span(view.thought.dir, 200)}: {plan} and {research}, as they were read.\n\n"
        f"{follows}\n\n"
        "The plan in the repository decides, not this text: when it changes, an earlier approval no longer holds."
    )
    return markers.stamp(body, markers.mirror(view.thought.dir))


WHY_LISTED: Final = MappingProxyType(
    {
        ListedBecause.UNDECIDED: "no maintainer has decided yet what shall happen to plans that were already here",
        ListedBecause.DISABLED: "`mirror.enabled` is off",
        ListedBecause.INVALID: "something is wrong with it",
        ListedBecause.BACKLOG: "the limit `mirror.max_backlog` is reached; it follows when others are done",
        ListedBecause.RATE: "the limit `mirror.per_hour` is reached; it follows by itself",
    }
)


def summary(listed: Sequence[Listed]) -> str:
    """Thoughts without an issue, grouped by cause; empty text when there are none."""
    parts: list[str] = []
    room = MAX_LISTED
    for because in ListedBecause:
        group = [entry for entry in listed if entry.because is because]
        if not group:
            continue
        lines: list[str] = []
        for entry in group[: max(room, 0)]:
            lines.append(f"- {code_span(entry.dir, 200)}")
            lines += [f"  {problem(found)}" for found in entry.problems[:3]]
        if len(group) > room:
            lines.append(f"- and {len(group) - max(room, 0)} more")
        room -= len(group)
        head = f"{plural(len(group), 'plan')} without an issue, because {WHY_LISTED[because]}:"
        parts.append("\n".join([head, "", *lines]))
    return "\n\n".join(parts)
