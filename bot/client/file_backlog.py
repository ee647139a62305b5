"""The backlog in a file under git: `tgs/server/backlog.json` on a branch that everybody may push to.

Promise: exactly one claimer has a thought, because a claim is a commit, and a branch takes one commit after the other:
each write reads the branch, changes the file, commits and pushes, and a push that comes too late changes nothing and is
done again on what is there by then (`backlog_branch.py`). The file appears with the first `add`. Only what is committed
on the branch counts.

What has no meaning without issues (numbers, labels, tickets, dependencies) raises UserError. There are no heartbeats:
a claim holds until its owner settles it or a person removes the thought with force.

Races: see `backlog_git.py`. A process that dies before its push has changed nothing; one that dies after it has
claimed something that nobody works on, which `validate` reports after a day.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bot.client import backlog_checks, backlog_claims, backlog_moves
from bot.client.backlog import (
    Added,
    Addition,
    Claim,
    Ending,
    Entry,
    Finding,
    Held,
    ItemRef,
    LockHeld,
    Scanned,
    Settled,
    Status,
    Wanted,
)
from bot.client.backlog_branch import BranchFile
from bot.client.backlog_claims import MAX_COUNT, NewAttempt
from bot.client.backlog_file import EMPTY, PATH, BrokenFile, File, Row, data_of, dump, from_data, parse
from bot.client.backlog_git import Clone, open_clone
from bot.client.backlog_merge import merge
from bot.client.backlog_view import View, entries, entry_of, explained, folder_of, held_locks
from bot.clock import RandomIds, SystemClock
from bot.domain.identity import RunSecret
from bot.domain.model import ItemState
from bot.domain.thoughts import IMPLEMENTATION, PLAN, RESEARCH, Thought
from bot.errors import Refused, UserError
from bot.protocols.clock import Clock, Ids


@dataclass(frozen=True, slots=True)
class Restored:
    """What `restore` did. `changed` is False when the file was that version already."""

    commit: str
    thoughts: int
    changed: bool


def _queued(file: File) -> Callable[[Thought], bool]:
    folders = {row.dir for row in file.thoughts if row.known is Status.QUEUED}
    return lambda thought: thought.dir in folders


def _known(file: File) -> Callable[[Thought], bool]:
    folders = {row.dir for row in file.thoughts}
    return lambda thought: thought.dir in folders


def _unknown(file: File) -> Callable[[Thought], bool]:
    folders = {row.dir for row in file.thoughts}
    return lambda thought: not thought.implementation and thought.dir not in folders


def _many(count: int) -> str:
    return "1 thought" if count == 1 else f"{count} thoughts"


class FileBacklog:
    """Implements `Backlog`. `sleep` takes seconds, `chance` gives a fraction from 0 to 1."""

    def __init__(
        self,
        clone: Clone,
        *,
        clock: Clock,
        ids: Ids,
        chance: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._clone = clone
        self._clock = clock
        self._ids = ids
        self._chance = chance
        self._sleep = sleep
        self._branch = BranchFile(clone, clock, chance, sleep)

    @property
    def branch(self) -> str:
        """The branch that holds the file."""
        return self._clone.branch

    # --- the protocol

    async def add(self, addition: Addition) -> Added:
        def step(view: View) -> tuple[File, Added, str]:
            file, added = backlog_moves.add(view, addition, self._clock.now())
            return file, added, f"{'Add' if added.new else 'Change'} {added.entry.dir} in the backlog"

        folder = folder_of(addition.ref) if addition.ref is not None else ""
        return await self._branch.write(step, lambda _: lambda thought: thought.dir == folder)

    async def remove(self, ref: ItemRef, *, force: bool = False) -> Settled:
        def step(view: View) -> tuple[File, Settled, str]:
            file, settled = backlog_moves.remove(view, ref, force)
            return file, settled, f"Remove {settled.entry.dir} from the backlog"

        return await self._branch.write(step)

    async def entries(
        self, *, states: Sequence[ItemState] = (), statuses: Sequence[Status] = (), labels: Sequence[str] = ()
    ) -> list[Entry]:
        if labels:
            raise UserError("Labels stand on issues, and a backlog in a file has none.", "Leave out --label.")
        listed = entries(await self._branch.view(_queued), self._clock.now())
        return [
            entry
            for entry in listed
            if (not states or entry.state in states) and (not statuses or entry.status in statuses)
        ]

    async def claim(self, wanted: Wanted) -> list[Claim]:
        count = 1 if wanted.ref else max(1, min(wanted.count, MAX_COUNT))
        # One set of secrets for all tries: a push whose answer was lost is recognised by its commit.
        made = [NewAttempt(self._ids.new("a"), self._ids.new(RunSecret.ATTEMPT)) for _ in range(count)]

        def step(view: View) -> tuple[File, list[Claim], str]:
            file, rows = backlog_claims.claim(view, wanted, made, self._clock.now())
            what = rows[0].dir if len(rows) == 1 else _many(len(rows))
            claims = [_claim(row, attempt.token) for row, attempt in zip(rows, made, strict=False)]
            return file, claims, f"Claim {what} for {rows[0].claimed_by}"

        if not wanted.peek:
            return await self._branch.write(step, _queued)
        view = await self._branch.view(_queued)
        found: list[Claim] = []
        for claim in step(view)[1]:
            row = view.file.find(str(claim.entry.dir))
            if row is not None:
                found.append(_peeked(row, view.commit))
        return found

    async def complete(self, held: Held, *, evidence: str | None = None) -> Settled:
        shown_at = await self._clone.shown_here(f"{folder_of(held.ref)}/{IMPLEMENTATION}")

        def step(view: View) -> tuple[File, Settled, str]:
            file, settled = backlog_claims.complete(view, held, evidence, shown_at, self._clock.now())
            return file, settled, f"Complete {settled.entry.dir}"

        return await self._branch.write(step)

    async def fail(self, held: Held, ending: Ending) -> Settled:
        chance = self._chance()

        def step(view: View) -> tuple[File, Settled, str]:
            file, settled = backlog_claims.fail(view, held, ending, self._clock.now(), chance)
            return file, settled, f"Report that {settled.entry.dir} failed ({ending.reason})"

        return await self._branch.write(step)

    async def validate(self, *, fix: bool = False) -> list[Finding]:
        def step(view: View) -> tuple[File, list[Finding], str]:
            file, found = backlog_checks.check(view, self._clock.now(), fix=True)
            return file, found, "Repair the backlog"

        if fix:
            return await self._branch.write(step, _known)
        return backlog_checks.check(await self._branch.view(_known), self._clock.now())[1]

    async def scan(self, *, apply: bool) -> Scanned:
        def step(view: View) -> tuple[File, Scanned, str]:
            file, scanned = backlog_checks.scan(view, self._clock.now())
            return file, scanned, f"Add {_many(len(scanned.added))} to the backlog"

        if apply:
            return await self._branch.write(step, _unknown)
        return step(await self._branch.view(_unknown))[1]

    async def export(self) -> Mapping[str, object]:
        return data_of((await self._branch.view()).file)

    async def import_(self, file: Mapping[str, object]) -> list[Added]:
        incoming = from_data(file)

        def step(view: View) -> tuple[File, list[Added], str]:
            result, added = backlog_moves.import_rows(view.file, incoming, self._clock.now())
            return result, added, f"Import {_many(sum(one.new for one in added))} into the backlog"

        return await self._branch.write(step)

    async def locks(self) -> list[LockHeld]:
        return held_locks(await self._branch.view())

    async def release_lock(self, path: str) -> Settled:
        def step(view: View) -> tuple[File, Settled, str]:
            file, settled = backlog_moves.release_lock(view, path)
            return file, settled, f"Release a lock of {settled.entry.dir}"

        return await self._branch.write(step)

    async def explain(self, ref: ItemRef) -> list[str]:
        return explained(await self._branch.view(_queued), folder_of(ref), self._clock.now())

    # --- beyond the protocol

    async def restore(self, source: str, *, force: bool = False) -> Restored:
        """Puts the version of the commit `source` back, as a new commit. No fence goes down.

        Raises UserError when that version is not there or not readable either, Refused when claims that are live now
        would be lost, unless `force`.
        """

        async def make(tip: str) -> tuple[bytes | None, Restored, str]:
            commit = await self._clone.commit_of(source)
            if commit is None:
                raise UserError(f"There is no commit `{source[:80]}` here.", f"`git log -- {PATH}` lists the versions.")
            raw = await self._branch.raw(commit)
            if raw is None:
                raise UserError(f"The commit {commit} has no {PATH}.", f"`git log -- {PATH}` lists the versions.")
            try:
                old = parse(raw)
            except BrokenFile as error:
                raise UserError(f"The version of {commit} is broken too. {error.what}", "Name an older one.") from None
            try:
                now = parse(await self._branch.raw(tip) or dump(EMPTY))
            except BrokenFile:
                now = EMPTY
            old = _over(now, old, force)
            restored = Restored(commit, len(old.thoughts), changed=old != now)
            return dump(old) if restored.changed else None, restored, f"Restore the backlog of {commit[:12]}"

        return await self._branch.publish(make)

    async def proposal(self) -> tuple[Scanned, str]:
        """What `scan` finds, and the file as it would be then; nothing is written."""

        def step(view: View) -> tuple[Scanned, str]:
            file, scanned = backlog_checks.scan(view, self._clock.now())
            return scanned, dump(file).decode()

        return step(await self._branch.view(_unknown))

    async def resolve(self) -> bool:
        """Merges the file in a merge or rebase that stopped at it, and marks it as resolved. False: no conflict there.

        Raises BrokenFile when one of the versions cannot be read.
        """
        async with self._clone.turn(self._sleep):
            stages = await self._clone.stages(PATH)
            if not stages:
                return False
            base, ours, theirs = (parse(stages[stage]) if stage in stages else EMPTY for stage in (1, 2, 3))
            await self._clone.settle(PATH, dump(merge(base if 1 in stages else None, ours, theirs)))
        return True


def _over(now: File, old: File, force: bool) -> File:
    """The old version with no fence below today's. Raises Refused when a live claim would be lost."""
    before = {row.dir: row for row in old.thoughts}
    today = {row.dir: row for row in now.thoughts}
    lost = [
        row.dir
        for row in now.thoughts
        if row.known is Status.IN_PROGRESS
        and (row.dir not in before or before[row.dir].tgs.token_sha256 != row.tgs.token_sha256)
    ]
    if lost and not force:
        raise Refused(
            f"Claims that are live now would be lost: {', '.join(lost[:5])}.",
            "Wait until they are settled, or restore with --force.",
        )
    fences = {folder: row.tgs.fence for folder, row in today.items() if row.tgs.fence} | dict(now.tgs.fences)
    rows = tuple(row.but(tgs={"fence": max(row.tgs.fence, fences.get(row.dir, 0))}) for row in old.thoughts)
    kept = dict(old.tgs.fences)
    for folder, fence in fences.items():
        if folder not in before:
            kept[folder] = max(fence, kept.get(folder, 0))
    return old.model_copy(update={"thoughts": rows, "tgs": old.tgs.model_copy(update={"fences": kept})})


def _claim(row: Row, token: str) -> Claim:
    return Claim(
        entry=entry_of(row),
        attempt=row.tgs.attempt or "",
        fence=row.tgs.fence,
        token=token,
        branch=row.tgs.branch or "",
        base_sha=row.tgs.base_sha,
        lease_until=None,
        context=(f"{row.dir}/{RESEARCH}", f"{row.dir}/{PLAN}"),
    )


def _peeked(row: Row, tip: str) -> Claim:
    return Claim(
        entry=entry_of(row),
        attempt="",
        fence=row.tgs.fence,
        token="",
        branch="",
        base_sha=tip,
        lease_until=None,
        context=(f"{row.dir}/{RESEARCH}", f"{row.dir}/{PLAN}"),
    )


async def open_file_backlog(
    path: Path,
    *,
    branch: str | None = None,
    remote: str | None = None,
    clock: Clock | None = None,
    ids: Ids | None = None,
    chance: Callable[[], float] = random.random,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> FileBacklog:
    """The backlog of the clone that `path` lies in; nothing needs to be closed. See `open_clone` for the choices."""
    clone = await open_clone(path, branch=branch, remote=remote)
    return FileBacklog(clone, clock=clock or SystemClock(), ids=ids or RandomIds(), chance=chance, sleep=sleep)
