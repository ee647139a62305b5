"""What a run may ask of the bot: activate its claim, prove it lives, report, publish. Spoken over `/api/v1`.

Promises: a claim is activated only by the run that was dispatched for it (or, for a run that somebody started by
hand, by a claim of its own); every call names attempt and fence and changes nothing when they are not current; the
write token goes to one asker per attempt, after the agent's job has ended and for the bundle that job reported.
Races: a fast run may activate before the bot stored its id; then the id is bound after the run's name was checked. An
answer may get lost: the caller repeats the call with the secret that it chose, and gets the same right again.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from bot.acts import WriteTokens
from bot.bell import Bell
from bot.ci_reader import CiReader
from bot.claim_tokens import holder_of
from bot.context import context_bundle
from bot.domain.attempt import Attempt, AttemptPhase, Progress, ShownResult, WorkerKind, WorkerReport
from bot.domain.attempting import LEASE, RUN_WORKFLOW, handed_in, lease_of
from bot.domain.bundle import ContextBundle
from bot.domain.identity import RunIdentity, RunSecret
from bot.domain.model import AttemptId, Person, Role
from bot.domain.permissions import Capability, Denied, decide
from bot.domain.questions import MAX_QUESTIONS, AskedQuestion, Question, QuestionStatus, Steer
from bot.domain.repository import RepoRecord
from bot.domain.sanitise import for_prompt
from bot.errors import Forbidden, LostClaim, NotFound, Refused
from bot.policies import policy_of
from bot.protocols.clock import Clock
from bot.protocols.github import GitHub
from bot.protocols.ledger import Audit, Ledger, OutboxRow, Store
from bot.recovered import check_not_recovered, check_reported, check_succeeded, take_up
from bot.session_service import look, touch
from bot.starter import Starter

HANDOFF_LIFE = timedelta(hours=2)
"""The agent's job may wait for a runner; after this long its single-use code is void."""

TOKEN_SPARE = timedelta(hours=1)
"""An attempt token outlives the attempt's time limit by this, so that the last report is still heard."""

RUN_EVENTS = frozenset({"workflow_dispatch", "schedule"})
"""What may start a run that carries out a claim."""

ASK_LOOK = 2.0
"""Seconds after which whoever waits for an answer looks again, whatever was heard: another process may have it."""

SCAN_WORKFLOW = "tgs-server-scan.yml"
"""The fallback for installations whose webhooks do not reach us."""

SCAN_EVENTS = frozenset({"push", "workflow_dispatch", "schedule"})
"""What may start a scan; it only makes us look."""

PUBLISH_ENVIRONMENT = "tgs-publish"
AGENT_JOB = "agent"
PUBLISH_JOB = "publish"


@dataclass(frozen=True, slots=True)
class Beat:
    """The answer to a heartbeat. `steer_seq` is the number of the last of the words in `steer`."""

    lease_until: datetime
    cancel: bool
    steer: tuple[str, ...]
    drain: bool
    steer_seq: int = 0


@dataclass(frozen=True, slots=True)
class WriteGrant:
    token: str
    expires_at: datetime
    repo_url: str
    branch: str


class RunService:
    """The worker's side of the ledger."""

    def __init__(
        self,
        store: Store,
        github: GitHub,
        clock: Clock,
        tokens: WriteTokens,
        starter: Starter,
        html_url: str,
        bell: Bell,
        ci: CiReader,
    ) -> None:
        self._store = store
        self._github = github
        self._clock = clock
        self._tokens = tokens
        self._starter = starter
        self._html_url = html_url.rstrip("/")
        self._bell = bell
        self._ci = ci

    # --- activation --------------------------------------------------------------------------------

    async def activate(self, who: RunIdentity, claim_id: str | None, issue: int | None, code: str) -> Attempt | None:
        """Bind the run to its claim and start the lease. None: there is nothing to do.

        `code` is what the agent's job will exchange for its token. Raises Refused when the run is not one of ours,
        LostClaim when the claim is not this run's any more.
        """
        repo = await self._repo(who)
        await self._once(who)
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
            await self._check_name(repo, attempt, who)
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
                tx.save_attempt(fresh, replace(fresh, run_id=who.run_id))
                return fresh
            if fresh.run_id == who.run_id and _opens(tx, RunSecret.HANDOFF, code, fresh, now):
                return fresh
            if fresh.run_id not in {None, who.run_id} or fresh.started_at is not None:
                raise LostClaim("the claim belongs to another run")
            after = replace(
                fresh,
                run_id=who.run_id,
                phase=AttemptPhase.RUNNING,
                started_at=now,
                dispatched_at=fresh.dispatched_at or now,
                lease_until=now + LEASE,
                recovered_at=None,
            )
            if not tx.save_attempt(fresh, after):
                raise LostClaim("the claim changed meanwhile")
            _admit(tx, RunSecret.HANDOFF, code, fresh, now + HANDOFF_LIFE)
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
        repo = await self._repo(who, SCAN_WORKFLOW, SCAN_EVENTS)
        await self._once(who)
        await self._store.write(lambda tx: tx.touch(repo.key))
        return repo

    async def _repo(
        self, who: RunIdentity, workflow: str = RUN_WORKFLOW, events: frozenset[str] = RUN_EVENTS
    ) -> RepoRecord:
        """The repository of the run, if the token was made by our workflow on its default branch."""
        repos = await self._store.read(lambda tx: tx.repos())
        repo = next((r for r in repos if r.key.repo == who.repository_id and r.active), None)
        if repo is None or repo.owner_id != who.owner_id:
            raise Refused("This repository is not served here.", "Install the App on it.")
        expected = f"{repo.full_name}/.github/workflows/{workflow}@refs/heads/{repo.default_branch}"
        for ref in (who.workflow_ref, who.job_workflow_ref):
            if ref.lower() != expected.lower():
                raise Refused(f"Only `{expected}` may ask.", "Start the workflow on the default branch.")
        if who.event not in events:
            raise Refused(f"A run started by `{who.event}` is not accepted.", f"Accepted: {', '.join(sorted(events))}.")
        if who.run_attempt != 1:
            raise Refused("A re-run has no claim.", "Use `/tgs retry` on the issue instead.")
        if who.runner != "github-hosted" and not policy_of(repo).self_hosted_runners:
            raise Refused(
                "Self-hosted runners are not allowed here.", "Set `self_hosted_runners: true` in `.tgs/policy.yml`."
            )
        return repo

    async def _once(self, who: RunIdentity) -> None:
        fresh = await self._store.write(lambda tx: tx.use_jti(who.jti, who.expires_at))
        if not fresh:
            raise Refused("This OIDC token was used before.", "Ask Actions for a new one.")

    async def _check_name(self, repo: RepoRecord, attempt: Attempt, who: RunIdentity) -> None:
        """A run that is faster than our note of its id must bear the claim in its name."""
        if attempt.run_id == who.run_id:
            return
        if attempt.run_id is not None:
            raise LostClaim("the claim belongs to another run")
        run = await self._github.run(repo.key, who.run_id)
        if run is None or attempt.id not in run.display_title.split():
            raise LostClaim("the run does not bear the claim in its name")

    async def _uninvited(self, repo: RepoRecord, who: RunIdentity, issue: int | None) -> Attempt | None:
        """A run that the bot did not dispatch claims the next item, when the person behind it may start work."""
        if who.event == "workflow_dispatch":
            role: Role | None
            try:
                role = await self._github.role(repo.key, Person(who.actor_id, who.actor))
            except (Forbidden, NotFound):
                role = None
            if isinstance(decide(Capability.START, role, policy_of(repo).roles), Denied):
                raise Refused(f"@{who.actor} may not start work here.", "Ask somebody with write access.")
        return await self._starter.start_for_run(repo, who.run_id, f"run {who.run_id}", issue)

    async def hand_over(self, attempt_id: str, fence: int, code: str, token: str) -> Attempt:
        """Let the holder of the single-use code speak for the attempt with this token.

        Raises LostClaim when the code was used for another token or is void.
        """
        now = self._clock.now()

        def exchange(tx: Ledger) -> Attempt:
            attempt = _live(tx, attempt_id, fence)
            if _opens(tx, RunSecret.ATTEMPT, token, attempt, now):
                return attempt
            if not _opens(tx, RunSecret.HANDOFF, code, attempt, now):
                raise LostClaim("the code is not valid for this attempt")
            if not tx.use_token(_sha256(code)):
                raise LostClaim("the code was used before")
            repo = tx.repo(attempt.key.repo_key)
            assert repo is not None
            life = timedelta(minutes=policy_of(repo).agent.timeout_minutes) + TOKEN_SPARE
            _admit(tx, RunSecret.ATTEMPT, token, attempt, now + life)
            return attempt

        return await self._store.write(exchange)

    async def authenticate(self, attempt_id: str, token: str) -> Attempt:
        """The live attempt that this token was given to. Raises LostClaim, or Unproved while that cannot be told."""
        now = self._clock.now()

        def read(tx: Ledger) -> Attempt:
            try:
                return _live(tx, attempt_id, holder_of(tx, attempt_id, token, now).fence)
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
            attempt = _live(tx, attempt_id, fence)
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
            attempt = _live(tx, attempt_id, fence)
            if report.succeeded and not final:
                _check_uploaded(tx, attempt, report.bundle_digest)
            after = attempt
            if not final and attempt.gate_report is None:
                after = replace(after, gate_report=report)
            if (final or not report.succeeded) and attempt.report is None:
                after = replace(after, report=report)
            if after != attempt and tx.save_attempt(attempt, after):
                tx.mark(attempt.key)

        await self._store.write(write)

    # --- asking ------------------------------------------------------------------------------------

    async def ask(
        self, attempt_id: str, fence: int, asked: Sequence[AskedQuestion], wait: float, gone: Callable[[], bool]
    ) -> list[Question]:
        """Put questions to people while the work goes on, and wait for the answers at most `wait` seconds.

        The questions as they stand then, in their order; whoever asks the same again waits on. Raises LostClaim,
        and Refused when the item has asked too often.
        """
        now = self._clock.now()

        def write(tx: Ledger) -> tuple[Attempt, float]:
            attempt = _live(tx, attempt_id, fence)
            repo = tx.repo(attempt.key.repo_key)
            assert repo is not None
            limits = policy_of(repo).questions
            if attempt.report is not None or attempt.gate_report is not None or attempt.cancel_requested_at is not None:
                raise LostClaim("the attempt has ended, or is being stopped")
            known = attempt.asking
            new = tuple(question for question in asked if question not in known)
            rounds = {question.attempt for question in tx.questions(attempt.key)} - {attempt.id}
            if new and (len(rounds) >= limits.max_rounds or len(known) + len(new) > MAX_QUESTIONS):
                raise Refused("This item has asked people often enough.", "Decide, or report why you cannot.")
            after = replace(attempt, asking=(*attempt.asking, *new), lease_until=now + lease_of(attempt.worker.kind))
            if not tx.save_attempt(attempt, after):
                raise LostClaim("the attempt changed meanwhile")
            if new:
                tx.mark(attempt.key)
            return after, min(wait, float(limits.inline_wait))

        attempt, patience = await self._store.write(write)
        loop = asyncio.get_running_loop()
        end = loop.time() + patience
        while True:
            rung = self._bell.count(attempt.key.repo_key)
            questions = await self._store.read(lambda tx: tx.questions(attempt.key))
            mine = {q.asked: q for q in questions if q.attempt == attempt.id}
            found = [mine[question] for question in asked if question in mine]
            done = len(found) == len(asked) and all(question.status is QuestionStatus.ANSWERED for question in found)
            # Who does not wait hears at least the numbers by which people answer.
            if done or loop.time() >= end or gone():
                return found
            await self._bell.wait(attempt.key.repo_key, rung, min(end - loop.time(), ASK_LOOK))

    # --- publishing --------------------------------------------------------------------------------

    async def publisher(
        self, who: RunIdentity, attempt_id: str, fence: int, *, published: str | None = None
    ) -> Attempt:
        """The live attempt whose publish job is calling. Raises Refused or LostClaim.

        `published`: the commit it reports. An attempt that ended with that very report is returned too, for the job
        repeats the call when our answer was lost, and must not be told that its work was for nothing.
        """
        repo = await self._repo(who)
        await self._once(who)
        attempt = await self._store.read(lambda tx: _ended_with(tx, attempt_id, fence, published))
        if attempt is None:
            attempt = await self._store.read(lambda tx: _live(tx, attempt_id, fence))
        if attempt.key.repo_key != repo.key or attempt.run_id != who.run_id:
            raise LostClaim("the attempt belongs to another run")
        if who.environment != PUBLISH_ENVIRONMENT:
            raise Refused(f"Only a job in the environment `{PUBLISH_ENVIRONMENT}` publishes.")
        return attempt

    async def withhold(self, attempt: Attempt, report: WorkerReport, shown: ShownResult) -> None:
        """End the attempt with a result that waits until somebody has looked at it.

        Raises Refused for another bundle than the agent's job reported, and while the bundle was not uploaded.
        """
        digest = report.bundle_digest or ""
        workflows = await self._ci.why_look(attempt, digest)
        word = replace(report, shown=replace(shown, workflows=workflows))

        def write(tx: Ledger) -> None:
            fresh = _live(tx, attempt.id, attempt.fence)
            gate, row = fresh.gate_report, tx.bundle(fresh.id)
            named = gate.bundle_digest if gate is not None and gate.succeeded else None
            if named is None or row is None or not (digest == named == row.sha256):
                raise Refused("The result was not uploaded, or is not the one that the agent's job reported.")
            if fresh.report is None and tx.save_attempt(fresh, replace(fresh, report=word)):
                tx.mark(fresh.key)

        await self._store.write(write)

    async def publish_token(self, attempt: Attempt, job: int, digest: str, asker: str) -> WriteGrant:
        """The write token of this attempt, for one asker, when `job` is the id of the run's publish job.

        Raises LookFirst when a person must look at the result before, Refused for another job, for a second asker or
        without evidence.

        Where the answer to the asker was lost together with our process, the token in it is lost too, and it gets
        another; nobody holds the first.
        """
        check_reported(attempt, digest)
        if attempt.cancel_requested_at is not None:
            raise LostClaim("the attempt is being stopped")
        await self._ci.check_look(attempt, digest)
        assert attempt.run_id is not None
        jobs = await self._github.jobs(attempt.key.repo_key, attempt.run_id)
        if any(name == AGENT_JOB and status != "completed" for _, name, status, _ in jobs):
            raise Refused("The agent's job is still running.")
        if not any(id_ == job and name == PUBLISH_JOB for id_, name, _, _ in jobs):
            raise Refused(f"Only the run's job `{PUBLISH_JOB}` gets the write token; another job is asking.")
        check_succeeded(attempt, [end for _, name, _, end in jobs if name == AGENT_JOB])
        now = self._clock.now()
        once = f"mint:{attempt.id}"

        def plan(tx: Ledger) -> bool:
            fresh = _live(tx, attempt.id, attempt.fence)
            if _opens(tx, RunSecret.PUBLISHER, asker, fresh, now):
                return True
            first = tx.plan(
                OutboxRow(once, "mint", attempt.key, attempt.key.repo_key, attempt.fence, now, None, None, 0)
            )
            if first:
                _admit(tx, RunSecret.PUBLISHER, asker, fresh, now + HANDOFF_LIFE)
            return first

        if not await self._store.write(plan):
            raise Refused("The write token of this attempt was given out before.", "Use `/tgs retry`.")
        token, expires = await self._tokens.of(attempt.id, lambda: self._github.mint_write_token(attempt.key.repo_key))

        def record(tx: Ledger) -> None:
            fresh = _live(tx, attempt.id, attempt.fence)
            tx.save_attempt(fresh, replace(fresh, write_token_until=expires))
            tx.outbox_done(once, "minted", self._clock.now())

        await self._store.write(record)
        repo = await self._store.read(lambda tx: tx.repo(attempt.key.repo_key))
        assert repo is not None
        return WriteGrant(token.get_secret_value(), expires, f"{self._html_url}/{repo.full_name}.git", attempt.branch)


def _admit(tx: Ledger, kind: RunSecret, secret: str, attempt: Attempt, until: datetime) -> None:
    """From now until then this secret opens what its kind opens of this attempt."""
    tx.put_token(_sha256(secret), kind.name, attempt.id, attempt.fence, until)


def _opens(tx: Ledger, kind: RunSecret, secret: str, attempt: Attempt, now: datetime) -> bool:
    known = tx.token(_sha256(secret))
    return known is not None and known[:3] == (kind.name, attempt.id, attempt.fence) and now <= known[3]


def draining(tx: Ledger, attempt: Attempt) -> bool:
    """Whether the worker gets nothing after this attempt."""
    worker = attempt.worker
    known = (
        tx.worker(attempt.key.installation, worker.id)
        if worker.kind is WorkerKind.PULL and worker.id is not None
        else None
    )
    return known is not None and known.draining_since is not None


def _live(tx: Ledger, attempt_id: str, fence: int) -> Attempt:
    attempt = tx.attempt(AttemptId(attempt_id))
    if attempt is None or not attempt.live or attempt.fence != fence:
        raise LostClaim("the attempt is not current any more; stop, change nothing, and ask for the next item")
    return attempt


def _check_uploaded(tx: Ledger, attempt: Attempt, digest: str | None) -> None:
    """A pull worker's word is good for the bytes that lie here."""
    if attempt.worker.kind is not WorkerKind.PULL:
        return
    row = tx.bundle(attempt.id)
    if row is None or digest is None or not hmac.compare_digest(row.sha256.encode(), digest.encode()):
        raise Refused("The reported bundle was not uploaded.", "Upload it first, then report its SHA-256.")


def _ended_with(tx: Ledger, attempt_id: str, fence: int, head_sha: str | None) -> Attempt | None:
    """The attempt if it is over and this commit is what it ended with."""
    attempt = tx.attempt(AttemptId(attempt_id))
    if attempt is None or attempt.live or attempt.fence != fence or attempt.report is None or head_sha is None:
        return None
    return attempt if attempt.report.succeeded and attempt.report.head_sha == head_sha else None


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


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


__all__ = ["Beat", "RunService", "WriteGrant"]
