"""Thoughts to issues: what must be created, renamed, voided or only listed, decided from values alone.

Promise: idempotent - once its actions are carried out, the same input yields none. Bounded - however many thoughts are
pushed, at most `mirror.max_backlog` issues are open and `mirror.per_hour` are created an hour; the rest is listed in
one place. It never fights people: a title is set only when the plan itself changed. Race: two passes over one
repository are serial by its key, and the ledger refuses a second item for one thought.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from bot.domain.artifacts import OF_THE_FOLDER
from bot.domain.front_matter import FrontMatterResult
from bot.domain.model import IssueKey, Item, ItemState, Problem
from bot.domain.policy_model import Policy
from bot.domain.thoughts import Thought, ThoughtProblem, approved, parse_dir

RATE_RETRY: Final = timedelta(minutes=10)
"""How soon to look again when the hourly limit is reached: the window slides, so some room comes back soon."""


@dataclass(frozen=True, slots=True)
class ThoughtText:
    """A thought with what its plan says. `front_matter` None: the plan has not been read yet."""

    thought: Thought
    front_matter: FrontMatterResult | None = None

    @property
    def title(self) -> str:
        """The title for people: the plan's own, else the folder's."""
        matter = self.front_matter.matter if self.front_matter else None
        return (matter.title if matter else None) or self.thought.title


@dataclass(frozen=True, slots=True)
class CreateIssue:
    """Mirror this thought into a new issue in this state (`READY` or `PROPOSED`)."""

    thought: Thought
    title: str
    state: ItemState


@dataclass(frozen=True, slots=True)
class Retitle:
    """The plan changed and names another title than the issue."""

    issue: IssueKey
    title: str


@dataclass(frozen=True, slots=True)
class ThoughtChanged:
    """The plan or its folder's name changed: an approval of the earlier plan is void. `draft`: it waits again."""

    issue: IssueKey
    thought: Thought
    draft: bool


@dataclass(frozen=True, slots=True)
class ThoughtRemoved:
    """The folder is gone from the default branch before the work was done."""

    issue: IssueKey


@dataclass(frozen=True, slots=True)
class ThoughtBroken:
    """The folder cannot be used any more, though the plan that was approved may be unchanged."""

    issue: IssueKey
    problem: Problem


@dataclass(frozen=True, slots=True)
class Implemented:
    """The folder has an `implementation.md` although the bot did not build it."""

    issue: IssueKey


Action = CreateIssue | Retitle | ThoughtChanged | ThoughtRemoved | ThoughtBroken | Implemented


class ListedBecause(StrEnum):
    """Why a thought has no issue."""

    UNDECIDED = "undecided"
    DISABLED = "disabled"
    INVALID = "invalid"
    BACKLOG = "backlog"
    RATE = "rate"


@dataclass(frozen=True, slots=True, order=True)
class Listed:
    """A thought without an issue. `problems` say what is wrong with it, if anything is."""

    dir: str
    because: ListedBecause
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class MirrorDecision:
    """`actions` in order; `listed` for the one summary; `read`: plans that must be read before the rest is decided
    (read them and ask again); `wake_at`: when to look again even if nothing happens.
    """

    actions: tuple[Action, ...] = ()
    listed: tuple[Listed, ...] = ()
    read: tuple[Thought, ...] = ()
    wake_at: datetime | None = None


# While an attempt lives or a pull request is open, the item's own decision judges an implementation that appears.
_WAITING_STATES = frozenset({ItemState.PROPOSED, ItemState.READY, ItemState.NEEDS_INPUT})


def mirror(
    thoughts: Sequence[ThoughtText],
    items: Sequence[Item],
    problems: Sequence[ThoughtProblem],
    policy: Policy,
    decided: bool,
    now: datetime,
    counted_this_hour: int,
) -> MirrorDecision:
    """What to do about the thoughts of one commit.

    `items` are all that are plans, ended ones included. `decided`: a maintainer has said what shall happen to
    thoughts. `counted_this_hour`: issues created for thoughts within the last hour.
    """
    if not policy.enabled:
        return MirrorDecision()
    by_dir = {text.thought.dir: text for text in thoughts}
    mirrored = [(item, item.thought.dir) for item in items if item.thought is not None]
    known = {dir_ for _, dir_ in mirrored}
    fresh = {dir_: text for dir_, text in sorted(by_dir.items()) if dir_ not in known}
    broken = {problem.dir: problem.problem for problem in problems}
    listed = [Listed(p.dir, ListedBecause.INVALID, (p.problem,)) for p in problems if p.dir not in known]
    actions: list[Action] = []
    read: list[Thought] = []

    for item, dir_ in sorted(mirrored, key=lambda pair: pair[0].key):
        text = by_dir.get(dir_)
        if item.terminal:
            if item.state is ItemState.FAILED and text is not None and text.thought.implementation:
                # What the bot gave up was built by somebody else.
                actions.append(Implemented(item.key))
            continue
        if text is None and dir_ not in broken:
            text = _moved(dir_, fresh)
            if text is None:
                actions.append(ThoughtRemoved(item.key))
                continue
            del fresh[text.thought.dir]
        if text is not None:
            _existing(item, text, actions, read)
        elif item.state is not ItemState.IN_REVIEW and item.findings != (broken[dir_],):
            actions.append(ThoughtBroken(item.key, broken[dir_]))

    _new(fresh, mirrored, policy, decided, counted_this_hour, actions, listed, read)
    rate_limited = any(entry.because is ListedBecause.RATE for entry in listed)
    return MirrorDecision(
        tuple(actions), tuple(sorted(listed)), tuple(read), now + RATE_RETRY if rate_limited else None
    )


def _moved(dir_: str, fresh: dict[str, ThoughtText]) -> ThoughtText | None:
    """The new folder with the same hash, if there is exactly one: it was renamed, not replaced."""
    name = parse_dir(dir_)
    same = [text for text in fresh.values() if name is not None and text.thought.hash == name[0]]
    return same[0] if len(same) == 1 else None


def _existing(item: Item, text: ThoughtText, actions: list[Action], read: list[Thought]) -> None:
    thought = text.thought
    ref = item.thought
    if thought.implementation:
        if item.state in _WAITING_STATES:
            actions.append(Implemented(item.key))
        return
    mended = any(finding.code in OF_THE_FOLDER for finding in item.findings)
    if ref is None or ((ref.plan_sha, ref.dir) == (thought.plan_sha, thought.dir) and not mended):
        return
    if text.front_matter is None:
        read.append(thought)
        return
    actions.append(ThoughtChanged(item.key, thought, not approved(thought, text.front_matter)))
    matter = text.front_matter.matter
    wished = matter.title if matter else None
    if wished is not None and wished != item.title:
        actions.append(Retitle(item.key, wished))


def _new(
    fresh: dict[str, ThoughtText],
    mirrored: Sequence[tuple[Item, str]],
    policy: Policy,
    decided: bool,
    counted_this_hour: int,
    actions: list[Action],
    listed: list[Listed],
    read: list[Thought],
) -> None:
    waiting = [text for text in fresh.values() if not text.thought.implementation]
    if not policy.mirror.enabled or not decided:
        because = ListedBecause.UNDECIDED if not decided else ListedBecause.DISABLED
        listed += [Listed(text.thought.dir, because) for text in waiting]
        return
    room = policy.mirror.max_backlog - sum(not item.terminal for item, _ in mirrored)
    rate = policy.mirror.per_hour - counted_this_hour
    state = ItemState.READY if policy.mirror.auto_ready else ItemState.PROPOSED
    for text in waiting:
        matter = text.front_matter
        if matter is not None and matter.matter is None:
            listed.append(Listed(text.thought.dir, ListedBecause.INVALID, matter.problems))
        elif room <= 0:
            listed.append(Listed(text.thought.dir, ListedBecause.BACKLOG))
        elif rate <= 0:
            listed.append(Listed(text.thought.dir, ListedBecause.RATE))
        else:
            # An unread plan takes its place already, so that no more plans are read than issues can be created.
            room, rate = room - 1, rate - 1
            if matter is None:
                read.append(text.thought)
            else:
                # A draft becomes an issue too, so that it can be talked about; it waits for somebody to approve it.
                wanted = state if approved(text.thought, matter) else ItemState.PROPOSED
                actions.append(CreateIssue(text.thought, text.title, wanted))
