"""Checks a repository's backlog against what GitHub shows, and has put right what needs no decision.

Promise: a check writes nothing. A repair never overrules a person: labels are judged again by the item's own rules,
which know who changed them; only what provably belongs to nobody is freed. Race: work goes on while it is looked at,
so a finding may be over a moment later; it is then gone in the next check.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

from bot.domain import labels
from bot.domain.branches import issue_of, prefix_of
from bot.domain.checkup import Flaw, Known, Repair, Shown, ShownIssue, checkup
from bot.domain.claim_record import issue_of as issue_of_claim
from bot.domain.facts import IssueFacts
from bot.domain.model import IssueKey, ItemState, Person
from bot.domain.repository import RepoRecord
from bot.domain.thoughts import recognise
from bot.errors import GitHubError
from bot.policies import policy_of
from bot.protocols.clock import Clock
from bot.protocols.github import GitHub
from bot.protocols.ledger import Audit, Ledger, Store
from bot.texts import markers
from bot.texts.markers import MarkerKind
from bot.thought_reader import ThoughtReader

LOOKS = 6
"""How often it is looked whether repairs have worked."""

LOOK_EVERY = timedelta(milliseconds=500)
"""A pass takes a fraction of a second beside its requests to GitHub."""


class Checking:
    """Findings about one repository, and their repair."""

    def __init__(
        self,
        store: Store,
        github: GitHub,
        clock: Clock,
        thoughts: ThoughtReader,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._store = store
        self._github = github
        self._clock = clock
        self._thoughts = thoughts
        self._sleep = sleep

    async def flaws(self, repo: RepoRecord) -> list[Flaw]:
        """What does not fit together now. Raises GitHubError when something cannot be read."""
        shown = await self._shown(repo)
        return checkup(await self._store.read(lambda tx: _known(tx, repo)), shown)

    async def fix(self, person: Person, repo: RepoRecord) -> list[tuple[Flaw, bool]]:
        """Repair what can be, and say of every finding whether it is gone."""
        found = await self.flaws(repo)
        if not any(flaw.repair is not None for flaw in found):
            return [(flaw, False) for flaw in found]
        for flaw in found:
            if flaw.repair is Repair.UNLABEL and flaw.item is not None:
                await self._github.remove_label(_key(repo, flaw.item), flaw.value)
        await self._store.write(lambda tx: self._repair(tx, person, repo, found))
        left = found
        for _ in range(LOOKS):
            await self._sleep(LOOK_EVERY.total_seconds())
            left = await self.flaws(repo)
            if not any(flaw.repair is not None and flaw in left for flaw in found):
                break
        return [(flaw, flaw not in left) for flaw in found]

    def _repair(self, tx: Ledger, person: Person, repo: RepoRecord, found: list[Flaw]) -> None:
        for flaw in found:
            if flaw.repair is None or flaw.item is None:
                continue
            key = _key(repo, flaw.item)
            item = tx.item(key)
            if flaw.repair is Repair.UNLOCK and tx.live_attempt(key) is None and tx.free_lock(key, flaw.value):
                tx.audit(
                    Audit(self._clock.now(), key, "lock_freed", person.login, flaw.value, policy_hash=repo.policy_hash)
                )
            if flaw.repair is Repair.SHOW and item is not None and item.projection.put_backs:
                # The bot had left the label alone; a person has asked now that it is set right.
                tx.save_item(item, replace(item, projection=replace(item.projection, put_backs=0)))
            tx.touch(key)
        tx.touch(repo.key)

    async def _shown(self, repo: RepoRecord) -> Shown:
        policy = policy_of(repo)
        head = await self._github.head(repo.key, repo.default_branch)
        thoughts, problems = recognise(await self._thoughts.tree(repo.key, head) if head is not None else [])
        issues: dict[int, IssueFacts] = {}
        for state in ItemState:
            for issue in await self._github.issues_with_label(repo.key, labels.state_label(state)):
                issues[issue.key.number] = issue
        ours = {issue.key.number: _mirrored(issue) for issue in await self._github.issues_by_bot(repo.key)}
        template = policy.branch_template
        names = await self._github.branches(repo.key, prefix_of(template)) if head is not None else {}
        claims = await self._claims(repo) if policy.claim_refs else []
        return Shown(
            thoughts=thoughts,
            problems=problems,
            issues=tuple(
                ShownIssue(number, issue.title, issue.open, issue.labels, ours.get(number))
                for number, issue in sorted(issues.items())
            ),
            branches=tuple(
                (name, number) for name in sorted(names) if (number := issue_of(template, name)) is not None
            ),
            claims=tuple(claims),
        )

    async def _claims(self, repo: RepoRecord) -> list[tuple[str, int | None]]:
        try:
            return [(ref.ref, issue_of_claim(ref.ref)) for ref in await self._github.claim_refs(repo.key)]
        except GitHubError:
            # A repository may refuse that namespace; what was not read is not judged.
            return []


def _mirrored(issue: IssueFacts) -> str | None:
    return next((mark.value for mark in markers.read(issue.body) if mark.kind is MarkerKind.MIRROR), None)


def _known(tx: Ledger, repo: RepoRecord) -> Known:
    live = tx.live_attempts(repo.key)
    return Known(
        repo=tx.repo(repo.key) or repo,
        items=tuple(tx.items(repo.key)),
        live=frozenset(attempt.key.number for attempt in live),
        locks=tuple((row.path, row.issue) for row in tx.locks(repo.key)),
        showing=frozenset(attempt.key.number for attempt in live if not attempt.shown),
    )


def _key(repo: RepoRecord, number: int) -> IssueKey:
    return IssueKey(repo.key.installation, repo.key.repo, number)
