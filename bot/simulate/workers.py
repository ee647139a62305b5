"""Those who do the work in a history: what all of them do, and the runs of Actions (others are in `machines.py`).

They call the bot's services as the web routes would, repeat what the real worker repeats, and fail as real ones do:
crash, fall silent, are paused and go on, are cancelled, lose answers. Nothing they say is believed by the oracle.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

from bot.domain.attempt import Attempt, WorkerReport
from bot.domain.attempting import handed_in
from bot.domain.identity import RunIdentity, RunSecret
from bot.domain.model import FailureReason, Person
from bot.domain.questions import AskedQuestion, Choice
from bot.domain.usage import Usage
from bot.errors import GitHubError, LostClaim, TgsError
from bot.simulate.faults import Fault, Weather
from bot.simulate.hub import Hub
from bot.simulate.process import START, Down
from bot.simulate.things import BOT, FULL_NAME, KEY, MAIN, OWNER, WORKFLOW, ModelRun
from bot.store.errors import StoreUnavailable

if TYPE_CHECKING:
    from bot.simulate.replica import Replica

T = TypeVar("T")

PAUSES = (1.0, 3.0, 9.0)
"""Seconds between the repetitions of a worker's call, as in the real worker."""

FAILURES = (
    FailureReason.AGENT_CRASH,
    FailureReason.AGENT_GAVE_UP,
    FailureReason.AGENT_CONTEXT_OVERFLOW,
    FailureReason.AGENT_EMPTY_OUTPUT,
    FailureReason.QUALITY_GATE,
    FailureReason.QUOTA_PROVIDER,
    FailureReason.INFRA_NETWORK,
    FailureReason.POLICY_PROTECTED_PATH,
    FailureReason.CONFIG_SECRET_MISSING,
)
"""What agents report; some of it is tried again, some is not, some pauses the repository."""


class Refusal(Exception):
    """The bot answered with an error."""


class Silent(Exception):
    """This worker says nothing any more."""


@dataclass
class Site:
    """What a worker needs of the history."""

    hub: Hub
    weather: Weather
    rng: Random
    receiver: Callable[[], Replica | None]
    log: Callable[[str, str], None]
    step: Callable[[], None]
    pace: float = 1.0
    """Multiplies the longest that things take."""

    def up_to(self, least: float, most: float) -> float:
        """A time between the two, in seconds."""
        return self.weather.between(least, max(most * self.pace, least * 1.2))

    def mostly(self, least: float, most: float) -> float:
        """A time that is mostly near the least, in seconds."""
        return self.weather.seldom_long(least, max(most * self.pace, least * 1.2))

    async def call(self, what: Callable[[Replica], Coroutine[Any, Any, T]], tries: int = len(PAUSES) + 1) -> T:
        """A call over the network, repeated when no answer comes.

        Raises Down after the last try, LostClaim, or Refusal for another error.
        """
        for turn in range(tries):
            await asyncio.sleep(self.weather.seldom_long(0.01, 0.8))
            self.step()
            receiver = self.receiver()
            try:
                if receiver is None:
                    raise Down("nobody listens")
                answer = await receiver.process.answer(lambda one=receiver: what(one))  # type: ignore[misc]
                if self.weather.strikes(Fault.ANSWER_LOST):
                    raise Down("the answer was lost")
                return answer
            except (Down, StoreUnavailable, GitHubError):
                if turn + 1 == tries:
                    raise Down("no answer") from None
            except LostClaim:
                raise
            except TgsError as error:
                raise Refusal(str(error)) from error
            await asyncio.sleep(PAUSES[min(turn, len(PAUSES) - 1)])
        raise AssertionError("the last try returns or raises")

    async def work(
        self, name: str, attempt: Attempt, token: str, seconds: float, beat: Callable[[], bool] = lambda: False
    ) -> FailureReason | None:
        """The agent works and the heart beats. None: it has come to an end by itself; else why it was stopped.

        Raises LostClaim, Silent.
        """
        end = asyncio.get_running_loop().time() + seconds
        zombie = self.weather.strikes(Fault.WORKER_ZOMBIE)
        silent = not zombie and self.weather.strikes(Fault.WORKER_SILENT)
        step = 0
        while (left := end - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(min(60.0, left))
            step += 1
            if zombie and step == 1:
                away = self.up_to(300, 5000)
                self.log(name, f"is paused for {away / 60:.0f} minutes")
                await asyncio.sleep(away)
                self.log(name, "goes on")
            if silent and step > 1:
                self.log(name, "falls silent")
                raise Silent
            try:
                heard = await self.call(lambda bot, step=step: _beat(bot, attempt, token, step), tries=1)  # type: ignore[misc]
            except Down:
                continue
            if heard:
                return FailureReason.CANCELLED_BY_PERSON
            if beat():
                return FailureReason.CANCELLED_IN_ACTIONS
        return None

    def result(self) -> FailureReason | None:
        """How the work goes."""
        return None if self.rng.random() < 0.65 else self.rng.choice(FAILURES)

    def usage(self) -> Usage | None:
        """What it cost, if the agent says so; now and then more than it was allowed."""
        return Usage(turns=3, cost_microusd=self.rng.randrange(10_000, 7_000_000)) if self.rng.random() < 0.6 else None

    def questions(self) -> tuple[AskedQuestion, ...]:
        """What the agent wants to know, now and then."""
        if self.rng.random() >= 0.18:
            return ()
        choices = (Choice("Yes", "Do it."), Choice("No", "Leave it."))
        return tuple(
            AskedQuestion(f"q{number}", f"Shall it be so ({number})?", "Shape", choices)
            for number in range(self.rng.choice([1, 1, 2]))
        )


async def _beat(bot: Replica, attempt: Attempt, token: str, step: int) -> bool:
    known = await bot.engine.runs.authenticate(attempt.id, token)
    beat = await bot.engine.runs.heartbeat(known.id, attempt.fence, (step, 9, f"step {step // 4}"))
    return beat.cancel


# --- runs of Actions


class ActionsRun:
    """One run, from its dispatch to its end."""

    def __init__(self, site: Site, run: ModelRun) -> None:
        self._site = site
        self._run = run
        self._name = f"run {run.now.id}"
        self._calls = 0
        self.task = asyncio.get_running_loop().create_task(self._whole())
        run.cancel = self._cancel

    def _cancel(self, force: bool) -> None:
        if not force and self._site.weather.strikes(Fault.STUBBORN_RUN):
            return
        asyncio.get_running_loop().call_later(self._site.weather.between(1, 20), self._end, "cancelled")

    def _end(self, conclusion: str) -> None:
        self._site.hub.end_run(self._run, conclusion)
        if self._site.weather.strikes(Fault.WORKER_ZOMBIE):
            self._site.log(self._name, "goes on although GitHub has ended it")
        else:
            self.task.cancel()

    async def _whole(self) -> None:
        site, run, hub = self._site, self._run, self._site.hub
        if site.weather.strikes(Fault.NO_RUNNER):
            await asyncio.sleep(site.up_to(1200, 10_000))
        await asyncio.sleep(site.weather.between(2, 40))
        hub.start_run(run)
        conclusion = "failure"
        try:
            conclusion = await self._jobs()
        except Silent:
            # The runner is lost: GitHub notices after a long time, or when somebody cancels the run.
            await asyncio.sleep(site.up_to(1500, 8000))
        except (Refusal, LostClaim, Down) as error:
            site.log(self._name, f"gives up: {type(error).__name__} {error}")
        hub.end_run(run, conclusion)

    async def _jobs(self) -> str:
        site, run, hub = self._site, self._run, self._site.hub
        job = hub.job(run, "start", "in_progress")
        claim, issue = run.claim_id or None, int(run.inputs["issue"]) if run.inputs.get("issue") else None
        handoff = self._secret(RunSecret.HANDOFF)
        found = await site.call(lambda bot: bot.engine.runs.activate(self._who("start", job), claim, issue, handoff))
        hub.job(run, "start", "completed", "success")
        if found is None:
            return "success"
        attempt = found
        digest = attempt.gate_report.bundle_digest if handed_in(attempt) and attempt.gate_report else None
        if digest is None:
            digest = await self._agent(attempt, handoff)
        if digest is None:
            return "failure"
        return await self._publish(attempt, digest)

    async def _agent(self, attempt: Attempt, handoff: str) -> str | None:
        """The agent's job; the sum of its result."""
        site, run, hub = self._site, self._run, self._site.hub
        hub.job(run, "agent", "in_progress")
        token = self._secret(RunSecret.ATTEMPT)

        async def hand_over(bot: Replica) -> None:
            known = await bot.engine.runs.hand_over(attempt.id, attempt.fence, handoff, token)
            await bot.engine.runs.context(known)

        await site.call(hand_over)
        stopped = await site.work(self._name, attempt, token, site.mostly(40, 2400))
        if site.weather.strikes(Fault.WORKER_CRASH):
            site.log(self._name, "crashes")
            return None
        reason = stopped or site.result()
        asked = site.questions() if stopped is None else ()
        digest = None if reason is not None or asked else sum_of(f"bundle of {attempt.id}")
        site.log(self._name, "asks" if asked else f"reports {reason.value if reason else 'a result'}")
        report = WorkerReport(
            digest is not None,
            START,
            None if asked else reason,
            detail="simulated",
            bundle_digest=digest,
            asked=asked,
            session_id=f"conversation of {attempt.id}" if asked else None,
            usage=site.usage(),
        )
        await site.call(lambda bot: report_to(bot, attempt, token, report))
        hub.job(run, "agent", "completed", "success" if digest else "failure")
        return digest

    async def _publish(self, attempt: Attempt, digest: str) -> str:
        site, run, hub = self._site, self._run, self._site.hub
        job = hub.job(run, "publish", "in_progress")
        asker = self._secret(RunSecret.PUBLISHER)

        async def grant(bot: Replica) -> str:
            known = await bot.engine.publishing.publisher(self._who("publish", job), attempt.id, attempt.fence)
            return (await bot.engine.publishing.publish_token(known, job, digest, asker)).branch

        branch = await site.call(grant)
        if site.weather.strikes(Fault.WORKER_CRASH):
            return "failure"
        sha = push(hub, branch, attempt)

        async def published(bot: Replica) -> None:
            known = await bot.engine.publishing.publisher(
                self._who("publish", job), attempt.id, attempt.fence, published=sha
            )
            if known.live:
                report = WorkerReport(True, bot.process.clock.now(), head_sha=sha)
                await bot.engine.runs.report(known.id, attempt.fence, report, final=True)

        await site.call(published)
        return "success"

    def _secret(self, kind: RunSecret) -> str:
        return f"{kind.value}{sum_of(f'{kind} {self._name}')[:48]}"

    def _who(self, job: str, check_run: int | None) -> RunIdentity:
        self._calls += 1
        ref = f"{FULL_NAME}/{WORKFLOW}@refs/heads/{MAIN}"
        return RunIdentity(
            repository_id=KEY.repo,
            owner_id=OWNER.id,
            run_id=self._run.now.id,
            run_attempt=1,
            event="workflow_dispatch",
            workflow_ref=ref,
            job_workflow_ref=ref,
            environment="tgs-publish" if job == "publish" else None,
            check_run_id=check_run or 0,
            runner="github-hosted",
            actor_id=self._run.dispatched_by.id,
            actor=self._run.dispatched_by.login,
            jti=f"{self._name} {job} {self._calls}",
            expires_at=START + timedelta(days=30),
        )


async def report_to(bot: Replica, attempt: Attempt, token: str, report: WorkerReport) -> None:
    known = await bot.engine.runs.authenticate(attempt.id, token)
    at = bot.process.clock.now()
    await bot.engine.runs.report(known.id, attempt.fence, replace(report, at=at), final=False)


def push(hub: Hub, branch: str, attempt: Attempt, by: Person = BOT) -> str:
    """The work of an attempt goes to its branch."""
    return push_work(hub, branch, attempt.key.number, f"by attempt {attempt.id}\n", attempt.base_sha, by)


def push_work(hub: Hub, branch: str, number: int, text: str, base: str | None, by: Person) -> str:
    """Work on an issue goes to a branch, which begins at `base` if it is new."""
    changes: dict[str, str | None] = {f"work/{number}.txt": text}
    main = hub.commits[hub.branches[MAIN].now or ""]
    issue = hub.issues[number].now
    for path in main:
        # A plan is built in its folder; the mirrored issue names it.
        folder, _, name = path.rpartition("/")
        if name == "plan.md" and folder in issue.body:
            changes[f"{folder}/implementation.md"] = "# Done\n"
    there = hub.branches.get(branch)
    parent = there.now if there is not None and there.now is not None else base
    return hub.commit(branch, changes, by, parent=parent)


def sum_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
