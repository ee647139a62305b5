"""Work for those who ask for it: pull workers with a token of ours, and people with a session of their own.

Promises: a claim goes through the same function as the scheduler's, so one item has one worker; a worker token opens
only the repositories it names, ends, can be revoked, and holds a limited number of claims; the caller chooses the
attempt's token, so that a claim whose answer was lost is asked for again and not lost. The answer comes when the
ready label is taken and the start is visible, for until then somebody may withdraw the item.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from bot.bell import Bell
from bot.claim_tokens import sum_of
from bot.claims import NotClaimed
from bot.domain.attempt import Attempt, AttemptPhase, Worker, WorkerKind, session_of
from bot.domain.identity import RunSecret
from bot.domain.model import Item, Person, Waiting
from bot.domain.reasons import ReasonCode, waiting
from bot.domain.repository import RepoRecord
from bot.domain.sessions import SessionRecord
from bot.domain.workers import DEFAULT_CLAIMS, MAX_TOKEN_LIFE, WORKER_PREFIX, Taker, WorkerRecord, WorkerToken
from bot.errors import LostClaim, Refused, UserError
from bot.protocols.clock import Clock, Ids
from bot.protocols.ledger import Ledger, Store
from bot.session_service import join, working
from bot.starter import Claimer, Starter

CLAIM_LIFE = timedelta(days=2)
"""A claim's token outlives every lease; the attempt's end is what voids it."""

VISIBLE_WITHIN = timedelta(seconds=20)
"""How long a claim may take to become visible on GitHub before the worker is answered all the same."""

LOOK_EVERY = timedelta(milliseconds=50)
"""How often the ledger is looked at while somebody waits; a look is one read of two rows."""

LOOK_AT_LEAST = 5.0
"""Seconds: who waits for work looks this often although nothing was committed, for delays end by themselves."""

BREATH = 0.2
"""Seconds between a commit and the look: several commits in a row are one look."""

USED_EVERY = timedelta(minutes=1)
"""How exactly it is known when a token was last used; every call would be a write otherwise."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks for work. `token` and `record` are there for pull workers, `person` for people."""

    name: str
    person: Person | None = None
    token: WorkerToken | None = None
    record: WorkerRecord | None = None
    session: str | None = None
    capabilities: tuple[str, ...] = ()

    @property
    def worker(self) -> Worker:
        """The worker of an attempt that this asker wins."""
        if self.person is not None:
            return session_of(self.person, self.name)
        assert self.token is not None
        known = self.record.id if self.record is not None else None
        return Worker(WorkerKind.PULL, self.name, known, self.token.id)


@dataclass(frozen=True, slots=True)
class Given:
    """A claim that was won: the live attempt and its item."""

    attempt: Attempt
    item: Item


def owner_of(caller: Person | WorkerToken) -> str:
    """Whose session it is: a key that stays, and who that is now."""
    if isinstance(caller, Person):
        return f"person:{caller.id}/{caller.login}"
    return f"token:{caller.id}/{caller.name}"


class _SameToken(Exception):
    """The token that a claim came with speaks for another claim already."""


class PullService:
    """Tokens and claims of those who ask for work."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        ids: Ids,
        starter: Starter,
        sleep: Callable[[float], Awaitable[None]],
        bell: Bell,
    ) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._starter = starter
        self._sleep = sleep
        self._bell = bell

    # --- tokens ------------------------------------------------------------------------------------

    async def create_token(
        self,
        repos: Sequence[RepoRecord],
        by: Person,
        name: str,
        life: timedelta,
        max_claims: int = DEFAULT_CLAIMS,
    ) -> tuple[WorkerToken, str]:
        """A new token and its secret, which is shown once. Raises UserError for an impossible wish."""
        if not repos or len({repo.key.installation for repo in repos}) != 1:
            raise UserError("A token needs repositories of one account.", "Name at least one repository.")
        if not timedelta(0) < life <= MAX_TOKEN_LIFE:
            raise UserError(f"A token lives at most {MAX_TOKEN_LIFE.days} days.", "Ask for fewer days.")
        if not 1 <= max_claims <= 100:
            raise UserError("A token may hold between 1 and 100 claims.")
        now = self._clock.now()
        secret = self._ids.new(WORKER_PREFIX)
        token = WorkerToken(
            id=self._ids.new("wt")[:18],
            name=name,
            installation=repos[0].key.installation,
            repos=tuple(sorted(repo.key.repo for repo in repos)),
            created_by=by,
            created_at=now,
            expires_at=now + life,
            max_claims=max_claims,
        )
        await self._store.write(lambda tx: tx.put_worker_token(token, sum_of(secret)))
        return token, secret

    async def token(self, secret: str) -> WorkerToken | None:
        """The token of this secret, if it is good now."""
        if not secret.startswith(WORKER_PREFIX):
            return None
        now = self._clock.now()
        found = await self._store.read(lambda tx: tx.worker_token(sum_of(secret)))
        if found is None or not found.good(now):
            return None
        if found.last_used_at is None or now - found.last_used_at >= USED_EVERY:
            await self._store.write(lambda tx: tx.note_token_used(found.id, now))
        return found

    def good(self, token: WorkerToken) -> bool:
        """Whether it opens anything now."""
        return token.good(self._clock.now())

    async def tokens(self, repo: RepoRecord) -> list[WorkerToken]:
        """The tokens that open this repository."""
        found = await self._store.read(lambda tx: tx.worker_tokens(repo.key.installation))
        return [token for token in found if token.opens(repo.key)]

    async def revoke(self, repo: RepoRecord, id_: str) -> bool:
        """End a token that opens this repository; its claims are asked to stop. False: there is no such token."""
        now = self._clock.now()

        def write(tx: Ledger) -> bool:
            known = next((token for token in tx.worker_tokens(repo.key.installation) if token.id == id_), None)
            if known is None or not known.opens(repo.key):
                return False
            tx.revoke_worker_token(repo.key.installation, id_, now)
            for attempt in tx.live_attempts_of(id_):
                tx.drop_tokens(attempt.id)
                tx.mark(attempt.key)
            return True

        return await self._store.write(write)

    # --- claiming ----------------------------------------------------------------------------------

    async def claim(
        self,
        repo: RepoRecord,
        asker: Asker,
        secret: str,
        number: int | None,
        *,
        wait: float = 0.0,
        gone: Callable[[], bool] = lambda: False,
    ) -> Given | NotClaimed:
        """The named item or the next one. `secret` is the attempt token that the asker chose.

        When there is nothing to give, looks again for `wait` seconds whenever the repository moves, until `gone` says
        that nobody listens any more. Raises Refused when the asker may not claim here, LostClaim when the token
        belongs to a claim that has ended.
        """
        self._may(repo, asker)
        loop, key = asyncio.get_running_loop(), repo.key
        end = loop.time() + wait
        while True:
            rung = self._bell.count(key)
            found = await self._claim(repo, asker, secret, number)
            if isinstance(found, Given) or found.owner is not None or loop.time() >= end:
                return found
            await self._bell.wait(key, rung, min(end - loop.time(), LOOK_AT_LEAST))
            if gone():
                return found
            await asyncio.sleep(BREATH)
            fresh = await self._store.read(lambda tx: tx.repo(key))
            if fresh is None or not fresh.active:
                return found
            repo = fresh

    async def _claim(self, repo: RepoRecord, asker: Asker, secret: str, number: int | None) -> Given | NotClaimed:
        now = self._clock.now()
        digest = sum_of(secret)

        def again(tx: Ledger) -> Given | None:
            known = tx.token(digest)
            if known is None:
                return None
            attempt = tx.attempt(known[1])
            item = tx.item(attempt.key) if attempt is not None and attempt.live else None
            if attempt is None or item is None or attempt.key.repo_key != repo.key:
                raise LostClaim("this token belongs to a claim that has ended; choose a fresh one")
            return Given(attempt, item)

        def admit(tx: Ledger, attempt: Attempt) -> None:
            if tx.token(digest) is not None:
                raise _SameToken
            tx.put_token(digest, RunSecret.ATTEMPT.name, attempt.id, attempt.fence, now + CLAIM_LIFE)
            if asker.session is not None or asker.person is not None:
                self._in_session(tx, asker, attempt)

        known = await self._store.read(again)
        if known is not None:
            return await self._visible(known)
        _not_draining(asker)
        claims = asker.token.max_claims if asker.token is not None else DEFAULT_CLAIMS
        claimer = Claimer(asker.worker, asker.capabilities, max_claims=claims, also=admit)
        try:
            found = await self._starter.take(repo, claimer, number)
        except _SameToken:
            # The same call, sent twice at once: the other one has won the claim that this token speaks for.
            known = await self._store.read(again)
            assert known is not None
            return await self._visible(known)
        if isinstance(found, NotClaimed):
            return found
        return await self._visible(Given(found.attempt, found.item))

    def _in_session(self, tx: Ledger, asker: Asker, attempt: Attempt) -> None:
        """The claim belongs to a session: the named one, or one of its own. Raises Refused for one that is over."""
        caller = asker.person or asker.token
        assert caller is not None
        now, key = self._clock.now(), attempt.key
        name = asker.session or attempt.id
        fresh = SessionRecord(
            self._ids.new("s")[:33],
            name,
            key.installation,
            key.repo,
            owner_of(caller),
            now,
            now,
            worker=asker.worker.id if asker.person is None else None,
        )
        session = join(tx, fresh, now)
        if working(tx, session):
            raise Refused("This session has a claim already.", "End that one first, or use another session.")
        tx.save_session(replace(session, number=key.number, attempt=attempt.id))

    async def peek(self, repo: RepoRecord, asker: Asker, number: int | None, count: int) -> list[Item]:
        """What this asker would get now, in order; nothing is claimed."""
        self._may(repo, asker)
        _not_draining(asker)
        plan = await self._starter.plan(repo, Taker(asker.worker.kind, asker.capabilities), number)
        return list(plan.start[:count])

    async def waiting(self, repo: RepoRecord, asker: Asker) -> tuple[tuple[Item, tuple[Waiting, ...]], ...]:
        """The items that are queued and cannot start for this asker now, each with its reasons."""
        plan = await self._starter.plan(repo, Taker(asker.worker.kind, asker.capabilities))
        return tuple((line.item, reasons) for line, reasons, _ in plan.waiting)

    def _may(self, repo: RepoRecord, asker: Asker) -> None:
        if asker.token is not None and not asker.token.opens(repo.key):
            raise Refused(f"This worker token does not open `{repo.full_name}`.", "Use one that names it.")

    async def _visible(self, given: Given) -> Given | NotClaimed:
        """The claim once its first steps are done, or who has the item by a claim ref of their own.

        Raises LostClaim when the item was withdrawn meanwhile.
        """
        id_, key = given.attempt.id, given.attempt.key
        for _ in range(VISIBLE_WITHIN // LOOK_EVERY):
            attempt, item = await self._store.read(lambda tx: (tx.attempt(id_), tx.item(key)))
            if attempt is None or item is None or not attempt.live:
                other = await self._store.read(lambda tx: tx.live_attempt(key))
                if other is not None and other.external:
                    owner = other.worker.name or "somebody unknown"
                    return NotClaimed((waiting(ReasonCode.TAKEN, worker=owner, attempt=other.number),), owner=owner)
                raise LostClaim("the item was withdrawn while it was claimed")
            given = Given(attempt, item)
            if attempt.phase is not AttemptPhase.CLAIMED:
                break
            await self._sleep(LOOK_EVERY.total_seconds())
        return given


def _not_draining(asker: Asker) -> None:
    """What a draining worker has won already it may still hear of, for it must be able to hand it back."""
    if asker.record is not None and asker.record.draining_since is not None:
        raise Refused("This worker is draining: it gets nothing new.", "Register it again.")
