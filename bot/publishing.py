"""What the publishing job of a run may ask: to speak for its attempt, to withhold a result, to get the write token.

Promises: the write token goes to one asker per attempt, after the agent's job has ended and for the bundle that job
reported; a result that people must look at first waits with the bot. Race: an answer may get lost; the job repeats the
call with the secret that it chose, and gets the same right again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from bot.acts import WriteTokens
from bot.ci_reader import CiReader
from bot.claim_tokens import HANDOFF_LIFE, admit, current, opens
from bot.domain.attempt import Attempt, ShownResult, WorkerReport
from bot.domain.identity import RunIdentity, RunSecret
from bot.domain.model import AttemptId
from bot.errors import LostClaim, Refused
from bot.protocols.clock import Clock
from bot.protocols.github import GitHub
from bot.protocols.ledger import Ledger, OutboxRow, Store
from bot.recovered import check_reported, check_succeeded
from bot.run_proof import RunProof

PUBLISH_ENVIRONMENT = "tgs-publish"
AGENT_JOB = "agent"
PUBLISH_JOB = "publish"
START_JOB = "start"


@dataclass(frozen=True, slots=True)
class WriteGrant:
    token: str
    expires_at: datetime
    repo_url: str
    branch: str


class Publishing:
    """The publishing job's side of the ledger."""

    def __init__(
        self,
        store: Store,
        github: GitHub,
        clock: Clock,
        tokens: WriteTokens,
        proof: RunProof,
        ci: CiReader,
        html_url: str,
    ) -> None:
        self._store = store
        self._github = github
        self._clock = clock
        self._tokens = tokens
        self._proof = proof
        self._ci = ci
        self._html_url = html_url.rstrip("/")

    async def publisher(
        self, who: RunIdentity, attempt_id: str, fence: int, *, published: str | None = None
    ) -> Attempt:
        """The live attempt whose publish job is calling. Raises Refused or LostClaim.

        `published`: the commit it reports. An attempt that ended with that very report is returned too, for the job
        repeats the call when our answer was lost, and must not be told that its work was for nothing.
        """
        repo = await self._proof.repo_of(who)
        await self._proof.once(who)
        attempt = await self._store.read(lambda tx: _ended_with(tx, attempt_id, fence, published))
        if attempt is None:
            attempt = await self._store.read(lambda tx: current(tx, attempt_id, fence))
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
            fresh = current(tx, attempt.id, attempt.fence)
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
        if attempt.start_job is not None and (attempt.start_job, START_JOB) not in {
            (id_, name) for id_, name, _, _ in jobs
        }:
            raise Refused(f"The claim was not activated by the run's job `{START_JOB}`; nothing of it is published.")
        check_succeeded(attempt, [end for _, name, _, end in jobs if name == AGENT_JOB])
        now = self._clock.now()
        once = f"mint:{attempt.id}"

        def plan(tx: Ledger) -> bool:
            fresh = current(tx, attempt.id, attempt.fence)
            if opens(tx, RunSecret.PUBLISHER, asker, fresh, now):
                return True
            first = tx.plan(
                OutboxRow(once, "mint", attempt.key, attempt.key.repo_key, attempt.fence, now, None, None, 0)
            )
            if first:
                admit(tx, RunSecret.PUBLISHER, asker, fresh, now + HANDOFF_LIFE)
            return first

        if not await self._store.write(plan):
            raise Refused("The write token of this attempt was given out before.", "Use `/tgs retry`.")
        token, expires = await self._tokens.of(attempt.id, lambda: self._github.mint_write_token(attempt.key.repo_key))

        def record(tx: Ledger) -> None:
            fresh = current(tx, attempt.id, attempt.fence)
            tx.save_attempt(fresh, replace(fresh, write_token_until=expires))
            tx.outbox_done(once, "minted", self._clock.now())

        await self._store.write(record)
        repo = await self._store.read(lambda tx: tx.repo(attempt.key.repo_key))
        assert repo is not None
        return WriteGrant(token.get_secret_value(), expires, f"{self._html_url}/{repo.full_name}.git", attempt.branch)


def _ended_with(tx: Ledger, attempt_id: str, fence: int, head_sha: str | None) -> Attempt | None:
    """The attempt if it is over and this commit is what it ended with."""
    attempt = tx.attempt(AttemptId(attempt_id))
    if attempt is None or attempt.live or attempt.fence != fence or attempt.report is None or head_sha is None:
        return None
    return attempt if attempt.report.succeeded and attempt.report.head_sha == head_sha else None
