"""What a run may ask of the bot: activate its claim, hand it over, prove it lives, report. Spoken over `/api/v1`.

Promises: a claim is activated only by the run that was dispatched for it (or, for a run that somebody started by
hand, by a claim of its own); every call names attempt and fence and changes nothing when they are not current.
Races: a fast run may activate before the bot stored its id; then the id is bound after the run's name was checked. An
answer may get lost: the caller repeats the call with the secret that it chose, and gets the same right again.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from bot.claim_tokens import HANDOFF_LIFE, admit, current, holder_of, opens, sum_of
from bot.context import context_bundle
from bot.domain.attempt import Attempt, AttemptPhase, Progress, WorkerKind, WorkerReport
from bot.domain.attempting import LEASE, handed_in, lease_of
from bot.domain.bundle import ContextBundle
from bot.domain.identity import RunIdentity, RunSecret
from bot.domain.model import AttemptId, Person, Role
from bot.domain.opinion import OpinionNote
from bot.domain.permissions import BOTS_ROLE, Capability, Denied, decide
from bot.domain.questions import Steer
from bot.domain.repository import RepoRecord
from bot.domain.sanitise import for_prompt
from bot.errors import Forbidden, LostClaim, NotFound, Refused
from bot.policies import policy_of
from bot.protocols.clock import Clock
from bot.protocols.github import GitHub
from bot.protocols.ledger import Audit, Ledger, Store
from bot.recovered import check_not_recovered, take_up
from bot.run_proof import RunProof
from bot.session_service import look, touch
from bot.starter import Starter

TOKEN_SPARE = timedelta(hours=1)
"""An attempt token outlives the attempt's time limit by this, so that the last report is still heard."""

SCAN_WORKFLOW = "tgs-server-scan.yml"
"""The fallback for installations whose webhooks do not reach us."""

SCAN_EVENTS = frozenset({"push", "workflow_dispatch", "schedule"})
"""What may start a scan; it only makes us look."""


@dataclass(frozen=True, slots=True)
class Beat:
    """The answer to a heartbeat. `steer_seq` is the number of the last of the words in `steer`."""

    lease_until: datetime
    cancel: bool
    steer: tuple[str, ...]
    drain: bool
    steer_seq: int = 0


class RunService:
    """The worker's side of the ledger."""

    def __init__(
        self,
        store: Store,
        github: GitHub,
        clock: Clock,
        starter: Starter,
        proof: RunProof,
        html_url: str,
    ) -> None:
        self._store = store
        self._github = github
        self._clock = clock
        self._starter = starter
        self._proof = proof
        self._html_url = html_url.rstrip("/")

    # --- activation --------------------------------------------------------------------------------

    async def activate(self, who: RunIdentity, claim_id: str | None, issue: int | None, code: str) -> Attempt | None:
        """Bind the run to its claim and start the lease. None: there is nothing to do.

        `code` is what the agent's job will exchange for its token. Raises Refused when the run is not one of ours,
        LostClaim when the claim is not this run's any more.
        """
        repo = await self._proof.repo_of(who)
        await self._proof.once(who)
        if claim_id:
            attempt = await self._store.read(lambda tx: tx.attempt(AttemptId(claim_id)))
            if attempt is None and issue is not None:
                attempt = await take_up(
                    self._store, self._github, repo, who, AttemptId(claim_id), issue, self._clock.now()
                )
            if (
                attempt is None
                or attempt.key.repo_key != repo.key
                or (issue is not None and attempt.key.number != issue)
            ):
                raise LostClaim("no such claim in this repository")
            await self._proof.check_name(repo, attempt, who)
        else:
            found = await self._uninvited(repo, who, issue)
            if found is None:
                return None
            attempt = found
        now = self._clock.now()

        def start(tx: Ledger) -> Attempt:
            fresh = tx.attempt(attempt.id)
            if fresh is None or not fresh.live or fresh.cancel_requested_at is not None:
                raise LostClaim("the claim has ended")
            if handed_in(fresh) and fresh.run_id in {None, who.run_id}:
                # The work is done elsewhere; this run only publishes it.
                tx.save_attempt(fresh, replace(fresh, run_id=who.run_id, start_job=who.check_run_id))
                return fresh
            if fresh.run_id == who.run_id and opens(tx, RunSecret.HANDOFF, code, fresh, now):
                return fresh
            if fresh.run_id not in {None, who.run_id} or fresh.started_at is not None:
                raise LostClaim("the claim belongs to another run")
            after = replace(
                fresh,
                run_id=who.run_id,
                start_job=who.check_run_id,
                phase=AttemptPhase.RUNNING,
                started_at=now,
                dispatched_at=fresh.dispatched_at or now,
                lease_until=now + LEASE,
                recovered_at=None,
            )
            if not tx.save_attempt(fresh, after):
                raise LostClaim("the claim changed meanwhile")
            admit(tx, RunSecret.HANDOFF, code, fresh, now + HANDOFF_LIFE)
            tx.audit(
                Audit(
                    now,
                    fresh.key,
                    "attempt.running",
                    f"run {who.run_id}",
                    "activated",
                    attempt=fresh.id,
                    fence=fresh.fence,
                    policy_hash=fresh.policy_hash,
                )
            )
            tx.mark(fresh.key)
            return replace(after, revision=fresh.revision + 1)

        return await self._store.write(start)

    async def scan(self, who: RunIdentity) -> RepoRecord:
        """Look at the run's repository again, as a webhook would make us; asked by the scan workflow after a push.

        Raises Refused when the run is not of that workflow on the default branch.
        """
        repo = await self._proof.repo_of(who, SCAN_WORKFLOW, SCAN_EVENTS)
        await self._proof.once(who)
        await self._store.write(lambda tx: tx.touch(repo.key))
        return repo

    async def _uninvited(self, repo: RepoRecord, who: RunIdentity, issue: int | None) -> Attempt | None:
        """A run that the bot did not dispatch claims the next item, when the person behind it may start work.

        Behind a run by the clock is who changed its cron line last.
        """
        policy = policy_of(repo)
        role: Role | None = BOTS_ROLE
        if who.actor_id not in policy.bots:
            try:
                role = await self._github.role(repo.key, Person(who.actor_id, who.actor))
            except (Forbidden, NotFound):
                role = None
        if isinstance(decide(Capability.START, role, policy.roles), Denied):
            raise Refused(f"@{who.actor} may not start work here.", "Ask somebody with write access.")
        return await self._starter.start_for_run(repo, who.run_id, f"run {who.run_id}", issue)

    async def hand_over(self, attempt_id: str, fence: int, code: str, token: str) -> Attempt:
        """Let the holder of the single-use code speak for the attempt with this token.

        Raises LostClaim when the code was used for another token or is void.
        """
        now = self._clock.now()

        def exchange(tx: Ledger) -> Attempt:
            attempt = current(tx, attempt_id, fence)
            if opens(tx, RunSecret.ATTEMPT, token, attempt, now):
                return attempt
            if not opens(tx, RunSecret.HANDOFF, code, attempt, now):
                raise LostClaim("the code is not valid for this attempt")
            if not tx.use_token(sum_of(code)):
                raise LostClaim("the code was used before")
            repo = tx.repo(attempt.key.repo_key)
            assert repo is not None
            life = timedelta(minutes=policy_of(repo).agent.timeout_minutes) + TOKEN_SPARE
            admit(tx, RunSecret.ATTEMPT, token, attempt, now + life)
            return attempt

        return await self._store.write(exchange)

    async def authenticate(self, attempt_id: str, token: str) -> Attempt:
        """The live attempt that this token was given to. Raises LostClaim, or Unproved while that cannot be told."""
        now = self._clock.now()

        def read(tx: Ledger) -> Attempt:
            try:
                return current(tx, attempt_id, holder_of(tx, attempt_id, token, now).fence)
            except LostClaim:
                check_not_recovered(tx, attempt_id)
                raise

        return await self._store.read(read)

    async def context(self, attempt: Attempt) -> ContextBundle:
        """What the worker is told."""
        return await context_bundle(self._store, self._github, attempt, self._html_url)

    # --- while it runs -----------------------------------------------------------------------------

    async def heartbeat(
        self,
        attempt_id: str,
        fence: int,
        progress: tuple[int, int, str] | None,
        heard: int | None = None,
        *,
        speaks: bool = True,
    ) -> Beat:
        """Extend the lease. Raises LostClaim when the attempt is not current.

        `heard` is the number of the last words of people that the agent has; who never says it gets each once. With
        `speaks` off the call is not the agent's own and gets none.
        """
        now = self._clock.now()

        def beat(tx: Ledger) -> tuple[Attempt, bool, bool, list[Steer]]:
            attempt = current(tx, attempt_id, fence)
            words = _words_for(tx, attempt, heard, now) if speaks else []
            repo = tx.repo(attempt.key.repo_key)
            late = attempt.phase is AttemptPhase.SUSPECT
            after = replace(attempt, lease_until=now + lease_of(attempt.worker.kind))
            if late:
                after = replace(after, phase=AttemptPhase.RUNNING)
            if progress is not None:
                after = replace(after, progress=Progress(*progress, at=now))
            if not tx.save_attempt(attempt, after):
                raise LostClaim("the attempt changed meanwhile")
            if late or _new_progress(attempt.progress, progress):
                tx.mark(attempt.key)
            drain = draining(tx, after)
            session = tx.session_of(attempt.id)
            if session is not None:
                if session.terminated_at is not None:
                    raise LostClaim(f"the session of this claim has ended ({session.why})")
                drain = drain or look(tx, touch(tx, session, now), now).draining
            # Where the App was suspended or removed nothing may go on.
            return after, repo is None or not repo.active, drain, words

        attempt, removed, drain, words = await self._store.write(beat)
        assert attempt.lease_until is not None
        return Beat(
            attempt.lease_until,
            removed or attempt.cancel_requested_at is not None,
            tuple(f"{word.by.login}: {for_prompt(word.text)}" for word in words),
            drain,
            words[-1].seq if words else heard or 0,
        )

    async def report(self, attempt_id: str, fence: int, report: WorkerReport, *, final: bool) -> None:
        """Store what the worker said. The end of the agent's job is not the end of the attempt unless it failed.

        Raises Refused when a pull worker reports a result that it did not upload.
        """

        def write(tx: Ledger) -> None:
            attempt = current(tx, attempt_id, fence)
            if report.succeeded and not final:
                _check_uploaded(tx, attempt, report.bundle_digest)
            after = attempt
            if not final and attempt.gate_report is None:
                after = replace(after, gate_report=report)
            if (final or not report.succeeded) and attempt.report is None:
                after = replace(after, report=report)
            if after != attempt and tx.save_attempt(attempt, after):
                tx.mark(attempt.key)
                if after.gate_report is not attempt.gate_report and report.opinion is not None:
                    tx.audit(_second_opinion(attempt, report.opinion, self._clock.now()))

        await self._store.write(write)


def draining(tx: Ledger, attempt: Attempt) -> bool:
    """Whether the worker gets nothing after this attempt."""
    worker = attempt.worker
    known = (
        tx.worker(attempt.key.installation, worker.id)
        if worker.kind is WorkerKind.PULL and worker.id is not None
        else None
    )
    return known is not None and known.draining_since is not None


def _check_uploaded(tx: Ledger, attempt: Attempt, digest: str | None) -> None:
    """A pull worker's word is good for the bytes that lie here."""
    if attempt.worker.kind is not WorkerKind.PULL:
        return
    row = tx.bundle(attempt.id)
    if row is None or digest is None or not hmac.compare_digest(row.sha256.encode(), digest.encode()):
        raise Refused("The reported bundle was not uploaded.", "Upload it first, then report its SHA-256.")


def _second_opinion(attempt: Attempt, opinion: OpinionNote, now: datetime) -> Audit:
    """The line of history: how it ended, and by which prompt and model."""
    findings = {0: "", 1: "1 finding"}.get(opinion.findings, f"{opinion.findings} findings")
    told = [opinion.outcome.value, findings]
    told += [f"prompt {opinion.prompt[:12]}" if opinion.prompt else "", opinion.model]
    return Audit(
        now,
        attempt.key,
        "attempt.second_opinion",
        attempt.worker.name,
        ", ".join(word for word in told if word),
        attempt=attempt.id,
        fence=attempt.fence,
        policy_hash=attempt.policy_hash,
    )


def _words_for(tx: Ledger, attempt: Attempt, heard: int | None, now: datetime) -> list[Steer]:
    """What the agent does not know yet; what it says to know is delivered."""
    if heard is not None and tx.note_heard(attempt.id, heard, now):
        tx.mark(attempt.key)
    words = tx.unheard(attempt.id)
    if heard is None and words:
        tx.note_heard(attempt.id, words[-1].seq, now)
        tx.mark(attempt.key)
    return words


def _new_progress(before: Progress | None, now: tuple[int, int, str] | None) -> bool:
    return now is not None and (before is None or (before.step, before.total, before.text) != now)
