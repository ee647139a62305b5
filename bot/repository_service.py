"""What people look after in a repository beside its items: locks, branches of the bot, plans without an issue.

Promise: nothing is taken from work that goes on. A lock is released only while no attempt holds it; a branch is
deleted only when it is ours, nobody needs it, and it is still where it was seen.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from bot.domain.branches import Branch, branch_of, prefix_of
from bot.domain.mirror import CreateIssue, Listed, ListedBecause, MirrorDecision, mirror
from bot.domain.model import IssueKey, Item, ItemState, Person
from bot.domain.repository import RepoRecord
from bot.domain.thoughts import recognise
from bot.errors import Refused
from bot.membership import NoSuchItem
from bot.policies import policy_of
from bot.protocols.clock import Clock
from bot.protocols.github import GitHub
from bot.protocols.ledger import Audit, Ledger, Store
from bot.repo_pass import MIRROR_WINDOW
from bot.resync import ask
from bot.thought_reader import ThoughtReader

SCAN_WITHIN = timedelta(seconds=10)
"""How long it is waited for the issues of new plans; the rest follows by itself."""

LOOK_EVERY = timedelta(milliseconds=100)
"""How often it is looked whether the issues are there; a look is one read of the ledger."""


@dataclass(frozen=True, slots=True)
class HeldLock:
    """A path and who holds it. `owner` is the worker of the live attempt, else why it is held."""

    path: str
    item: int
    owner: str
    since: datetime
    mode: str


@dataclass(frozen=True, slots=True)
class Found:
    """A plan without an issue, which gets one in this state."""

    dir: str
    title: str
    state: ItemState


@dataclass(frozen=True, slots=True)
class Scan:
    """What a look at the plans found: those that get an issue (with their item once it is there), and the others."""

    found: tuple[Found, ...]
    items: tuple[Item, ...]
    known: int
    listed: tuple[Listed, ...]


class RepositoryService:
    """Locks, branches and plans of one repository."""

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

    # --- locks -------------------------------------------------------------------------------------

    async def locks(self, repo: RepoRecord) -> list[HeldLock]:
        """What is held, by path."""

        def read(tx: Ledger) -> list[HeldLock]:
            live = {attempt.key.number: attempt.worker.name for attempt in tx.live_attempts(repo.key)}
            return [
                HeldLock(row.path, row.issue, live.get(row.issue, "the open pull request"), row.since, row.mode)
                for row in tx.locks(repo.key)
            ]

        return await self._store.read(read)

    async def release(self, person: Person, repo: RepoRecord, path: str) -> IssueKey:
        """Free a path that no attempt needs any more; the item that held it. Raises NoSuchItem, Refused."""
        now = self._clock.now()

        def write(tx: Ledger) -> IssueKey:
            rows = [row for row in tx.locks(repo.key) if row.path == path]
            if not rows:
                raise NoSuchItem(f"Nobody holds {path}.")
            keys = [IssueKey(repo.key.installation, repo.key.repo, row.issue) for row in rows]
            for key in keys:
                live = tx.live_attempt(key)
                if live is not None:
                    raise Refused(
                        f"{path} is held by attempt {live.number} of #{key.number}, which works on it.",
                        "Stop it first.",
                    )
            for key in keys:
                tx.free_lock(key, path)
                tx.audit(Audit(now, key, "lock_freed", person.login, path, policy_hash=repo.policy_hash))
            tx.mark(repo.key)
            return keys[0]

        return await self._store.write(write)

    # --- branches ----------------------------------------------------------------------------------

    async def branches(self, repo: RepoRecord) -> list[Branch]:
        """The branches of the bot, by name."""
        prefix = prefix_of(policy_of(repo).branch_template)
        found = await self._github.branches(repo.key, prefix)
        return await self._store.read(lambda tx: _branches(tx, repo, sorted(found.items())))

    async def delete_branch(self, person: Person, repo: RepoRecord, name: str) -> str:
        """Delete a branch of the bot that nobody needs; where it was. Raises NoSuchItem, Refused."""
        sha = await self._github.head(repo.key, name)
        branch = None
        if sha is not None:
            known = sha
            ours = await self._store.read(lambda tx: _branches(tx, repo, [(name, known)]))
            branch = ours[0] if ours else None
        if branch is None:
            raise NoSuchItem(f"`{name}` is no branch of the bot.")
        if branch.keep is not None:
            raise Refused(f"`{name}` stays: {branch.keep}.")
        if not await self._github.delete_branch(repo.key, name, branch.sha):
            raise Refused(f"`{name}` has moved meanwhile.", "Look again.")
        key = IssueKey(repo.key.installation, repo.key.repo, branch.issue)
        line = Audit(
            self._clock.now(), key, "branch_deleted", person.login, f"{name} {sha}", policy_hash=repo.policy_hash
        )
        await self._store.write(lambda tx: tx.audit(line))
        return branch.sha

    # --- everything --------------------------------------------------------------------------------

    async def resync(self, repos: Sequence[RepoRecord]) -> None:
        """Have everything in these repositories looked at again."""
        now = self._clock.now()

        def write(tx: Ledger) -> None:
            for known in repos:
                repo = tx.repo(known.key)
                if repo is not None:
                    ask(tx, repo, now)

        await self._store.write(write)

    # --- plans -------------------------------------------------------------------------------------

    async def scan(self, repo: RepoRecord, *, apply: bool) -> Scan:
        """Look for plans without an issue; with `apply` have the usual look at the repository create them."""
        decision, known = await self._plans(repo)
        new = tuple(
            Found(action.thought.dir, action.title, action.state)
            for action in decision.actions
            if isinstance(action, CreateIssue)
        )
        if not apply:
            return Scan(new, (), known, decision.listed)
        await self._store.write(lambda tx: tx.touch(repo.key))
        items: tuple[Item, ...] = ()
        for _ in range(SCAN_WITHIN // LOOK_EVERY):
            items = await self._store.read(lambda tx: _items(tx, repo, new))
            if len(items) == len(new):
                break
            await self._sleep(LOOK_EVERY.total_seconds())
        return Scan(new, items, known, decision.listed)

    async def _plans(self, repo: RepoRecord) -> tuple[MirrorDecision, int]:
        head = await self._github.head(repo.key, repo.default_branch)
        if head is None:
            return MirrorDecision(), 0
        policy = policy_of(repo)
        thoughts, problems = recognise(await self._thoughts.tree(repo.key, head))
        now = self._clock.now()
        items, counted = await self._store.read(
            lambda tx: (tx.items_of_thoughts(repo.key), tx.count_mirrored(repo.key, now - MIRROR_WINDOW))
        )
        mirrored = {item.thought.dir for item in items if item.thought is not None}
        undecided = frozenset(() if repo.mirror_decided else repo.thoughts_at_installation or ()) - mirrored
        wanted = frozenset(thought.dir for thought in thoughts if thought.dir not in mirrored | undecided)
        texts = await self._thoughts.read(repo.key, [t for t in thoughts if t.dir not in undecided], wanted)
        decision = mirror(texts, items, problems, policy, True, now, counted)
        waiting = tuple(
            Listed(thought.dir, ListedBecause.UNDECIDED)
            for thought in thoughts
            if thought.dir in undecided and not thought.implementation
        )
        listed = tuple(sorted((*decision.listed, *waiting)))
        known = sum(1 for thought in thoughts if thought.dir in mirrored)
        return MirrorDecision(decision.actions, listed), known


def _branches(tx: Ledger, repo: RepoRecord, found: Sequence[tuple[str, str]]) -> list[Branch]:
    policy = policy_of(repo)
    items = {item.key.number: item for item in tx.items(repo.key)}
    by_branch = {item.pull.branch: item for item in items.values() if item.pull is not None}
    ours = []
    for name, sha in found:
        user = tx.attempt_of_branch(repo.key, name)
        item = by_branch.get(name) or (items.get(user.key.number) if user is not None else None)
        branch = branch_of(name, sha, repo, policy, item, user)
        if branch is not None:
            ours.append(branch)
    return ours


def _items(tx: Ledger, repo: RepoRecord, found: Sequence[Found]) -> tuple[Item, ...]:
    there = [tx.item_of_thought(repo.key, one.dir) for one in found]
    return tuple(item for item in there if item is not None)
