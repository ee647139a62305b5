"""Reads a backlog from GitHub with a person's token: labels, texts, events, the policy file, plans, and claim refs.

Promise: reads only. What never changes (plans by their SHA) is read once. Errors are the kinds of `bot.errors` as the
gateway raises them.

Race: the parts are read one after the other, so a view may hold an item twice or miss one that moved between two
labels. A claim is decided by its ref alone, never by this view.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, TypeVar

from bot.client.github_view import Issue, View, issue_from
from bot.domain import labels
from bot.domain.artifacts import read_plan
from bot.domain.claim_record import issue_of
from bot.domain.facts import IssueFacts, Presence
from bot.domain.failures import BACKOFF_CAP
from bot.domain.front_matter import FrontMatterResult
from bot.domain.labels import state_label
from bot.domain.mirror import ThoughtText
from bot.domain.model import IssueKey, ItemState, Problem, RepoKey
from bot.domain.policy import POLICY_PATH, parse_policy
from bot.domain.policy_model import Policy
from bot.domain.thoughts import THOUGHTS_DIR, Thought, ThoughtProblem, recognise
from bot.domain.timestamps import iso, parse_iso
from bot.errors import Invalid, NotFound, UserError
from bot.protocols.clock import Clock
from bot.protocols.github import GitHub, RepoView
from bot.texts import markers

AT_ONCE: Final = 8
"""Requests under way at the same time: a person's token has GitHub's patience for about a hundred."""

LIVE: Final = (ItemState.READY, ItemState.IN_PROGRESS, ItemState.NEEDS_INPUT, ItemState.IN_REVIEW)
"""What a claim needs to know of the others."""

RETRY: Final = "retry"
"""What a comment on a failure that may pass carries in its marker, before the time from which it is tried again."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Project:
    """The repository itself: its rules and the commit they were read from."""

    view: RepoView
    head: str
    policy: Policy
    problems: tuple[Problem, ...]
    broken: bool


class Reader:
    """Reads one repository."""

    def __init__(self, github: GitHub, key: RepoKey, clock: Clock) -> None:
        self.github = github
        self.key = key
        self._clock = clock
        self._plans: dict[str, FrontMatterResult] = {}
        self._policies: dict[str, tuple[Policy, tuple[Problem, ...], bool]] = {}

    async def project(self) -> Project:
        """Raises UserError for a repository without a commit."""
        view = await self.github.repository(self.key)
        head = None if view.empty else await self.github.head(self.key, view.default_branch)
        if head is None:
            raise UserError(f"{view.full_name} has no commit yet.", "Push a first commit.")
        policy, problems, broken = await self._policy(head)
        return Project(view, head, policy, problems, broken)

    async def _policy(self, head: str) -> tuple[Policy, tuple[Problem, ...], bool]:
        """(policy, what is wrong with the file, whether it cannot be used); the defaults when there is none."""
        if head not in self._policies:
            try:
                file = await self.github.file(self.key, POLICY_PATH, head)
            except Invalid as error:
                problem = Problem("policy_invalid", f"`{POLICY_PATH}`: {error.message}", "Make it a plain file.")
                return Policy(), (problem,), True
            if file is None:
                self._policies[head] = Policy(), (), False
            else:
                result = parse_policy(file[1].decode("utf-8", "replace"))
                self._policies[head] = result.policy or Policy(), result.problems, result.policy is None
        return self._policies[head]

    async def view(
        self,
        project: Project,
        *,
        states: Sequence[ItemState] = tuple(ItemState),
        also: Iterable[int] = (),
        thoughts: bool = False,
    ) -> View:
        """The backlog. `also` are issues to read whatever they show; `thoughts`: all folders with their plans, else
        only those of the items that were read."""
        found: dict[int, IssueFacts] = {}
        for listed in await self._all(self.github.issues_with_label(self.key, state_label(state)) for state in states):
            found |= {facts.key.number: facts for facts in listed}
        for number in also:
            facts = await self.issue(number)
            if facts is not None:
                found[number] = facts
        refs = await self.github.claim_refs(self.key)
        # Between two labels an item shows none; then only its claim says that it is in the backlog.
        for number in sorted({n for ref in refs if (n := issue_of(ref.ref)) is not None} - set(found)):
            facts = await self.issue(number)
            if facts is not None:
                found[number] = facts
        wanted = [facts for facts in found.values() if _shows_state(facts)]
        events = await self._all(self.github.label_events(facts.key) for facts in wanted)
        issues = {facts.key.number: issue_from(facts) for facts in found.values()}
        for facts, read in zip(wanted, events, strict=True):
            issues[facts.key.number] = issue_from(facts, read)
        texts, broken = await self.thoughts(project, None if thoughts else {issue.dir for issue in issues.values()})
        view = View(
            key=self.key,
            full_name=project.view.full_name,
            default_branch=project.view.default_branch,
            head=project.head,
            now=self._clock.now(),
            policy=project.policy,
            issues=issues,
            refs=tuple(refs),
            policy_problems=project.problems,
            archived=project.view.archived,
            thoughts=texts,
            broken={problem.dir: problem.problem for problem in broken},
        )
        retries = await self._all(self._not_before(issue) for issue in issues.values() if _may_wait(issue))
        return replace(
            view,
            blocking=await self._blocking(view),
            not_before={number: at for number, at in retries if at is not None},
        )

    async def issue(self, number: int) -> IssueFacts | None:
        """None: there is no such issue, or the token cannot see it."""
        presence, facts = await self.github.issue(IssueKey(self.key.installation, self.key.repo, number))
        return facts if presence is Presence.HERE else None

    async def thoughts(
        self, project: Project, folders: set[str | None] | None
    ) -> tuple[dict[str, ThoughtText], tuple[ThoughtProblem, ...]]:
        """The sound folders with their plans read, and why others are not sound. None: all of them."""
        if folders is not None and not folders - {None}:
            return {}, ()
        tree = await self.github.tree(self.key, project.head, THOUGHTS_DIR, recursive=True)
        if tree is None:
            return {}, ()
        if tree.truncated:
            raise UserError(f"{THOUGHTS_DIR} has more files than GitHub lists at once.", "Use a server or a clone.")
        found, problems = recognise(tree.entries)
        chosen = [thought for thought in found if folders is None or thought.dir in folders]
        texts = await self._all(self._text(thought) for thought in chosen)
        return {text.thought.dir: text for text in texts}, problems

    async def _text(self, thought: Thought) -> ThoughtText:
        if thought.plan_sha not in self._plans:
            raw = await self.github.blob(self.key, thought.plan_sha)
            self._plans[thought.plan_sha] = read_plan(raw.decode("utf-8", "replace"), thought.plan_path)
        return ThoughtText(thought, self._plans[thought.plan_sha])

    async def _blocking(self, view: View) -> frozenset[int]:
        """The dependencies of queued items that are not closed as completed."""
        wanted = sorted(
            {n for item in view.items.values() if item.state is ItemState.READY for n in item.spec.depends_on}
        )
        read = await self._all(self.issue(number) for number in wanted)
        done = {
            number
            for number, facts in zip(wanted, read, strict=True)
            if facts is not None and not facts.open and facts.state_reason in {None, "completed"}
        }
        return frozenset(wanted) - done

    async def _not_before(self, issue: Issue) -> tuple[int, datetime | None]:
        """When an item that failed may be tried again: said by whoever labelled it ready, and never long after that."""
        event = next((e for e in reversed(issue.events) if e.added and e.label == labels.READY), None)
        if event is None or event.actor is None:
            return issue.number, None
        limit = event.at + BACKOFF_CAP
        if limit <= self._clock.now():
            return issue.number, None
        started = issue.since(ItemState.IN_PROGRESS) or issue.facts.created_at
        due: datetime | None = None
        for comment in await self.github.comments(issue.facts.key, started - timedelta(seconds=1)):
            if comment.author.id == event.actor.id and (at := retry_of(comment.body)) is not None:
                due = min(at, limit)
        return issue.number, due

    async def _all(self, asked: Iterable[Awaitable[T]]) -> list[T]:
        """The answers in their order, a few requests at a time."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(question: Awaitable[T]) -> T:
            async with gate:
                return await question

        return list(await asyncio.gather(*(one(question) for question in asked)))

    async def branch_head(self, branch: str) -> str | None:
        return await self.github.head(self.key, branch)

    async def open_pulls(self, view: View, numbers: Sequence[int]) -> dict[int | None, int]:
        """The newest open pull request of each of these items that has one, found by the item's branch."""
        branches = [view.branch_of(view.issues[number]) for number in numbers]
        found = await self._all(self.github.pulls_of_branch(self.key, branch) for branch in branches)
        return {
            number: max(pull.number for pull in pulls if pull.open)
            for number, pulls in zip(numbers, found, strict=True)
            if any(pull.open for pull in pulls)
        }

    async def has_file(self, path: str, ref: str) -> bool:
        try:
            return await self.github.file(self.key, path, ref) is not None
        except (Invalid, NotFound):
            return False


def retry_marker(at: datetime) -> str:
    """The marker of a comment that says from when on a failed item is tried again."""
    return markers.say(f"{RETRY}:{iso(at)}")


def retry_of(body: str) -> datetime | None:
    for marker in markers.read(body):
        if marker.kind is markers.MarkerKind.SAY and marker.value.startswith(f"{RETRY}:"):
            try:
                return parse_iso(marker.value.removeprefix(f"{RETRY}:"))
            except ValueError:
                return None
    return None


def _shows_state(facts: IssueFacts) -> bool:
    return bool(labels.states_shown(facts.labels))


def _may_wait(issue: Issue) -> bool:
    return issue.state is ItemState.READY and issue.facts.open and issue.times(ItemState.IN_PROGRESS) > 0
