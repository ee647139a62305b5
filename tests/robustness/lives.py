"""Stories of items that go on whatever happens to the bot: people and workers behave as they do when it is away.

People do their part once and write a command again when nobody reacted to it. The worker repeats the calls that the
real one repeats and lets its run fail when a call that it makes only once was not answered. Webhooks that were sent
while the bot was down are gone.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from bot.localhub import merging
from bot.localhub.actions_model import Conclusion
from tests.robustness.crashing import Crash, Power
from tests.run_by_hand import RunByHand
from tests.world import AUTO_POLICY, World, new_world

T = TypeVar("T")

DOWN = timedelta(seconds=5)
"""How long a restart takes."""

LOOK = timedelta(seconds=30)
"""How often a person looks whether something has happened."""

LOOKS = 120
"""After an hour without the expected outcome the story is stuck."""

PATIENCE = 20
"""Looks after which a command without any reaction is written again."""


@dataclass
class Life:
    """One world with the power switch of its bot."""

    world: World
    power: Power
    said: list[str] = field(default_factory=list)

    async def does(self, step: Callable[[], Awaitable[T]]) -> T | None:
        """The step; None when the process ended in it, and then a new one has taken its place."""
        result: T | None = None
        try:
            result = await step()
        except (Crash, Exception):
            # Whatever a dying process says.
            if not self.power.dead:
                raise
        if not self.power.dead:
            return result
        await self.revive()
        return None

    async def revive(self) -> None:
        """A new process on the same files; what was sent to the old one after its end is lost."""
        await self.world.stop_bot()
        await self.world.hub.settle()
        self.world.errors.clear()
        self.power.on()
        self.world.clock.advance(DOWN)
        await self.world.start_bot()
        await self.world.settle()

    async def until(self, what: str, so: Callable[[], bool], looks: int = LOOKS) -> None:
        """Time passes until it is so."""
        await self.does(self.world.settle)
        for _ in range(looks):
            if so():
                return
            await self.does(lambda: self.world.after(LOOK))
        raise AssertionError(f"in vain: {what}")

    # --- people

    async def installs(self) -> None:
        world = self.world
        world.installation = world.hub.install(world.app, world.owner, [world.repo], by=world.owner)
        await self.until("the set-up issue", lambda: bool(marked(world, "tgs:setup")))

    async def commands(self, number: int, text: str, outcome: Callable[[], bool]) -> None:
        """Writes a command, and writes it again when nobody reacts to it."""
        for _ in range(2):
            comment = self.world.comment(number, text)
            await self.does(self.world.settle)
            for _ in range(PATIENCE):
                if outcome():
                    return
                await self.does(lambda: self.world.after(LOOK))
            assert not self.world.reactions(comment), f"{text} was accepted and nothing came of it"
        raise AssertionError(f"nobody reacts to {text}")

    # --- the worker

    async def starts(self) -> RunByHand:
        """The run, with the agent at work."""
        await self.until("a run that waits", lambda: any(not run.done for run in self.world.runs()))
        run = self.world.run()
        await self.again(run.activate)
        actions = self.world.hub.actions
        actions.job_finished(
            run.job("start"),
            Conclusion.SUCCESS,
            {"attempt": run.attempt, "fence": str(run.fence), "handoff": run.handoff},
        )
        actions.job_started(run.job("agent"))
        await self.again(run.hand_over)
        await self.does(self.world.settle)
        return run

    async def works(self) -> None:
        """A run from its start to the published work."""
        run = await self.starts()
        world = self.world
        await self.does(lambda: run.beat(1, 2, "reading"))
        await self.does(world.settle)
        await self.again(run.report)
        run.to_publish()
        branch = ""

        async def granted() -> int:
            nonlocal branch
            status, grant = await run.grant()
            branch = grant["branch"] if status == 200 else ""
            return status

        await self.again(granted)
        changes = {"hello.txt": f"hello from #{run.context['issue']}\n"}
        thought = run.context.get("thought")
        if thought:
            changes[f"{thought['dir']}/implementation.md"] = "# Done\n"
        parent = run.context["existing_branch_sha"] or run.context["base_sha"]
        sha = world.hub.git.commit(world.repo, changes, by=world.app.bot, branch=branch, parent=parent)

        async def published() -> int:
            body = {"fence": run.fence, "head_sha": sha}
            bearer = run.oidc("publish", "publish")
            return (await run.call("POST", f"/attempts/{run.attempt}/published", bearer, body))[0]

        await self.again(published)
        world.hub.actions.job_finished(run.job("publish"), Conclusion.SUCCESS)
        await self.does(world.settle)

    async def again(self, call: Callable[[], Awaitable[int]]) -> None:
        """A call that workers repeat until it is answered."""
        for _ in range(3):
            if await self.does(call) == 200:
                return
        raise AssertionError("a call that was repeated was never answered")


# --- stories -----------------------------------------------------------------------------------------


async def merged_by_command(life: Life) -> int:
    """A labelled issue, worked on and merged by `/tgs merge`."""
    world = life.world
    await life.installs()
    number = world.issue()
    world.label(number, "tgs:ready")
    await life.works()
    await life.until("a pull request", lambda: bool(world.pulls()))
    pull = world.pulls()[0]
    world.ci(pull.head_sha)
    await life.until("a pull request that is ready", lambda: not pull.issue.draft)
    await life.commands(number, "/tgs merge", lambda: pull.issue.merged_at is not None)
    await life.until("done", lambda: ended(world, number, "done"))
    return number


async def merged_by_a_person(life: Life) -> int:
    """A plan that was pushed, mirrored, worked on and merged by a person who took out the closing words."""
    world = life.world
    await life.installs()
    world.thought("5d2a7e", "greet")
    await life.until("the mirrored issue", lambda: bool(marked(world, "tgs:mirror")))
    number = int(marked(world, "tgs:mirror")[0].number)
    await life.works()
    await life.until("a pull request", lambda: bool(world.pulls()))
    pull = world.pulls()[0]
    world.hub.issues.edit(pull.issue, world.as_(world.maria), body="Greets.")
    world.ci(pull.head_sha)
    await life.until("a pull request that is ready", lambda: not pull.issue.draft)
    merging.merge(world.hub, pull, world.as_(world.maria))
    await life.until("done", lambda: ended(world, number, "done"))
    return number


async def stopped_by_command(life: Life) -> int:
    """A labelled issue whose agent is stopped by `/tgs stop`."""
    world = life.world
    await life.installs()
    number = world.issue()
    world.label(number, "tgs:ready")
    run = await life.starts()
    await life.commands(number, "/tgs stop", lambda: run.job("agent").conclusion is not None)
    # The publish job always runs, sees that there is nothing, and the run is over.
    run.end(Conclusion.CANCELLED)
    await life.until("cancelled", lambda: world.state(number) == "cancelled")
    return number


async def asked_and_answered(life: Life) -> int:
    """A labelled issue whose agent asks; another run goes on with the answer, and a person merges."""
    world = life.world
    await life.installs()
    number = world.issue()
    world.label(number, "tgs:ready")
    run = await life.starts()

    async def leaves() -> int:
        return (await run.send("transcript", b"the talk so far\n"))[0]

    async def asks() -> int:
        question = {"id": "name", "text": "Which name?", "choices": [{"label": "Ada"}, {"label": "Grace"}]}
        body = {"fence": run.fence, "succeeded": False, "asked": [question], "session_id": "talk-1"}
        status = (await run.call("POST", f"/attempts/{run.attempt}/report", run.token, body))[0]
        # The attempt may have ended with this very report; then the repetition is told so.
        return 200 if status == 409 else status

    await life.again(leaves)
    await life.again(asks)
    run.end(Conclusion.SUCCESS)
    await life.until("the question", lambda: any("Which name?" in comment.body for comment in world.comments(number)))
    world.comment(number, "2")
    await life.works()
    assert world.run().context["resume"]["answers"] == {"name": ["Grace"]}
    assert await life.does(lambda: world.run().fetch("transcript")) is not None
    await life.until("a pull request", lambda: bool(world.pulls()))
    pull = world.pulls()[0]
    world.ci(pull.head_sha)
    await life.until("a pull request that is ready", lambda: not pull.issue.draft)
    merging.merge(world.hub, pull, world.as_(world.maria))
    await life.until("done", lambda: ended(world, number, "done"))
    return number


RUNS = {"asked and answered": 2}
"""How many runs a story needs, if more than one."""

STORIES: dict[str, tuple[Callable[[Life], Awaitable[int]], str | None]] = {
    "merged by a command": (merged_by_command, None),
    "merged by a person": (merged_by_a_person, AUTO_POLICY),
    "stopped by a command": (stopped_by_command, "claim_refs: true\n"),
    "asked and answered": (asked_and_answered, "locks: [src/]\nkeep_locks: true\n"),
}


@asynccontextmanager
async def life_of(tmp: Path, story: str, power: Power) -> AsyncIterator[Life]:
    """A world whose bot hangs on the switch from before its first sweep on."""
    async with new_world(tmp, policy=STORIES[story][1], installed=False) as world:
        await world.stop_bot()
        power.plug_in(world)
        # One delivery at a time: the moments of two runs of a story are the same.
        world.hub.hooks._slots = asyncio.Semaphore(1)
        life = Life(world, power)
        await life.does(world.start_bot)
        yield life
        for issue in world.repo.issues:
            world.bot_said(issue)


async def told(life: Life, story: str) -> dict[str, Any]:
    """Plays the story to its end and a while beyond; what is seen then."""
    world = life.world
    number = await STORIES[story][0](life)
    await life.does(lambda: world.after(timedelta(minutes=15)))
    record = world.record(number)
    shown = [comment.body for comment in world.comments(number)]
    assert not [error for error in world.errors if not isinstance(error[1], Crash)], world.errors
    assert len(world.runs()) == RUNS.get(story, 1), "runs that nobody needed"
    attempts = await world.attempts(number)
    assert not [attempt for attempt in attempts if attempt.live]
    assert len({attempt.run_id for attempt in attempts}) == len(attempts)
    return {
        "labels": world.labels(number),
        "state": record.state,
        "pull requests": len(world.pulls()),
        "status comments": len([body for body in shown if "<!-- tgs:status -->" in body]),
        "other comments": sorted(text_of(body) for body in shown if "<!-- tgs:status -->" not in body),
        "set-up issues": len(marked(world, "tgs:setup")),
        "mirrored issues": len(marked(world, "tgs:mirror")),
        "branches": sorted(await world.hub.git.refs(world.repo)),
        "locks": await world.parts.store.read(lambda tx: tx.locks(world.repo_key)),
    }


def ended(world: World, number: int, state: str) -> bool:
    return world.state(number) == state and world.record(number).state == "closed"


def marked(world: World, marker: str) -> list[Any]:
    """Issues whose text carries a marker of ours."""
    return [
        issue
        for issue in world.repo.issues.values()
        if f"<!-- {marker}" in (issue.body or "") and issue.user is world.app.bot
    ]


def text_of(comment: str) -> str:
    words = re.sub(r"<!--.*?-->", "", comment, flags=re.DOTALL).strip()
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", "then", words)
