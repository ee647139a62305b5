"""A pull worker uploads a bundle, a run publishes it, and whatever is cut off in between heals."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from bot.domain.attempt import AttemptPhase, Outcome, Proof
from bot.domain.model import FailureReason
from bot.localhub.actions_model import Conclusion
from bot.pull_service import Given
from tests.run_by_hand import RunByHand
from tests.scenarios.pulling import PULL_POLICY, Puller, new_puller
from tests.scenarios.steps import MINUTE, item_of, last_attempt, ready, running, scene
from tests.world import World

WORK = b"# v2 git bundle\nnot judged here, the gate has tests of its own\n"
OTHER = b"# v2 git bundle\nsomething else\n"


@asynccontextmanager
async def claimed(tmp: Path) -> AsyncIterator[tuple[World, int, Puller]]:
    """An item that a pull worker holds."""
    async with scene(tmp, policy=PULL_POLICY) as world:
        number = await ready(world)
        puller = await new_puller(world)
        assert isinstance(await puller.claim(), Given)
        await world.settle()
        yield world, number, puller


def kept(world: World) -> list[str]:
    """The bytes that lie with the bot."""
    folder = world.tmp / "data" / "bundles"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


async def publishing(world: World) -> RunByHand:
    """The run that was dispatched to publish, at its publishing job."""
    run = world.run()
    assert run.run.inputs["publish_only"] == "true"
    assert await run.activate() == 200
    actions = world.hub.actions
    actions.job_finished(run.job("start"), Conclusion.SUCCESS, {"attempt": run.attempt, "publish_only": "true"})
    assert run.job("agent").conclusion is Conclusion.SKIPPED
    actions.job_started(run.job("publish"))
    return run


async def test_what_a_worker_uploads_reaches_the_publishing_job_and_nobody_else(tmp_path: Path) -> None:
    async with claimed(tmp_path) as (world, number, puller):
        assert world.state(number) == "in-progress"
        assert world.runs() == []
        await puller.hand_in(WORK)
        run = await publishing(world)
        path = f"bundle?fence={puller.fence}"
        assert (await puller.call("GET", path))[0] == 403
        assert (await puller.call("GET", path, bearer=run.oidc("start", "start")))[0] == 403
        assert (await puller.call("GET", path, bearer=run.oidc("publish", "publish", environment=None)))[0] == 403
        assert (await puller.call("GET", path, bearer=run.oidc("publish", "publish", run_id="1")))[0] in {403, 409}
        assert await puller.call("GET", path, bearer=run.oidc("publish", "publish")) == (200, WORK)
        run.end(Conclusion.FAILURE)
        await world.after(MINUTE)


async def test_the_report_counts_only_for_the_bytes_that_were_uploaded(tmp_path: Path) -> None:
    async with claimed(tmp_path) as (world, number, puller):
        assert (await puller.report(WORK))[1]["code"] == "refused"
        assert (await puller.upload(OTHER))[0] == 200
        assert (await puller.report(WORK))[1]["code"] == "refused"
        assert (await puller.upload(WORK))[0] == 200
        assert len(kept(world)) == 1
        assert (await last_attempt(world, number)).gate_report is None
        assert (await puller.report(WORK))[0] == 200
        assert (await puller.upload(WORK))[0] == 200
        assert (await puller.upload(OTHER))[1]["code"] == "refused"
        [name] = kept(world)
        assert (world.tmp / "data" / "bundles" / name).read_bytes() == WORK
        await world.settle()
        assert len(world.runs()) == 1
        world.leave_due = True


async def test_too_much_or_nothing_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    async with claimed(tmp_path) as (world, _, puller):
        world.parts.bundles._cap = 100

        async def unannounced() -> AsyncIterator[bytes]:
            yield b"x" * 101

        assert (await puller.upload(b"x" * 101))[1]["code"] == "invalid"
        assert (await puller.upload(unannounced()))[1]["code"] == "invalid"
        assert (await puller.upload(b""))[1]["code"] == "invalid"
        assert kept(world) == []


async def test_a_run_of_actions_may_not_upload(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        await running(world)
        run = world.run()
        puller = await new_puller(world)
        puller.attempt, puller.token = run.attempt, run.token
        assert (await puller.upload(WORK))[1]["code"] == "refused"
        assert kept(world) == []


async def stopped(world: World, number: int) -> None:
    world.comment(number, "/tgs stop")
    await world.settle()
    world.bot_said(number)


async def test_a_stop_before_the_upload_reaches_the_worker_with_its_next_heartbeat(tmp_path: Path) -> None:
    async with claimed(tmp_path) as (world, number, puller):
        await stopped(world, number)
        assert (await last_attempt(world, number)).phase is AttemptPhase.CANCELLING
        assert (await puller.beat())[1]["cancel"] is True
        assert (await puller.report(reason="cancelled.person"))[0] == 200
        await world.settle()
        assert world.state(number) == "cancelled"
        assert (await last_attempt(world, number)).proof is Proof.WORKER_REPORTED
        assert (await puller.upload(WORK))[1]["code"] == "lost_claim"


async def test_a_stop_between_upload_and_report_ends_without_a_run(tmp_path: Path) -> None:
    async with claimed(tmp_path) as (world, number, puller):
        assert (await puller.upload(WORK))[0] == 200
        await stopped(world, number)
        assert (await puller.report(reason="cancelled.person"))[0] == 200
        await world.settle()
        assert world.state(number) == "cancelled"
        assert world.runs() == []
        await world.parts.bundles.prune()
        assert kept(world) == []


async def test_a_stop_after_the_report_cancels_the_run_that_would_publish(tmp_path: Path) -> None:
    async with claimed(tmp_path) as (world, number, puller):
        await puller.hand_in(WORK)
        await stopped(world, number)
        [run] = world.runs()
        assert run.conclusion is Conclusion.CANCELLED
        assert world.state(number) == "cancelled"
        assert (await last_attempt(world, number)).proof is Proof.CANCEL_CONFIRMED
        await world.parts.bundles.prune()
        assert kept(world) == []


async def test_a_publishing_run_that_somebody_cancels_by_hand_ends_the_attempt(tmp_path: Path) -> None:
    async with claimed(tmp_path) as (world, number, puller):
        await puller.hand_in(WORK)
        run = await publishing(world)
        run.end(Conclusion.CANCELLED)
        await world.settle()
        world.bot_said(number)
        attempt = await last_attempt(world, number)
        assert (attempt.outcome, attempt.proof) == (Outcome.CANCELLED, Proof.RUN_ENDED)
        assert world.state(number) == "cancelled"


async def test_a_publishing_run_that_fails_without_a_word_is_tried_again_by_a_new_attempt(tmp_path: Path) -> None:
    async with claimed(tmp_path) as (world, number, puller):
        await puller.hand_in(WORK)
        (await publishing(world)).end(Conclusion.FAILURE)
        await world.settle()
        assert (await last_attempt(world, number)).failure is not None
        assert world.state(number) == "in-progress"
        await world.after(timedelta(minutes=5))
        again = await new_puller(world, "box-2")
        assert isinstance(await again.claim(), Given)
        assert again.fence == puller.fence + 1
        assert (await puller.upload(WORK))[1]["code"] == "lost_claim"
        await world.parts.bundles.prune()
        assert kept(world) == []
        world.leave_due = True


async def test_a_worker_that_dies_after_the_upload_is_waited_for_and_then_replaced(tmp_path: Path) -> None:
    async with claimed(tmp_path) as (world, number, puller):
        assert (await puller.upload(WORK))[0] == 200
        await world.after(timedelta(minutes=11))
        assert (await last_attempt(world, number)).phase is AttemptPhase.SUSPECT
        await world.parts.bundles.prune()
        assert len(kept(world)) == 1
        await world.after(timedelta(minutes=12))
        attempt = await last_attempt(world, number)
        assert (attempt.outcome, attempt.proof) == (Outcome.LOST, Proof.HARMLESS)
        assert attempt.failure is not None
        assert attempt.failure.reason is FailureReason.LOST
        await world.parts.bundles.prune()
        assert kept(world) == []
        assert world.runs() == []
        world.leave_due = True
        assert (await item_of(world, number)).last_failure is not None


async def test_files_that_nobody_knows_go_with_the_next_pruning(tmp_path: Path) -> None:
    async with claimed(tmp_path) as (world, _, puller):
        assert (await puller.upload(WORK))[0] == 200
        [name] = kept(world)
        for stray in ("part-abandoned", f"{puller.attempt}.{'0' * 64}"):
            path = world.tmp / "data" / "bundles" / stray
            path.write_bytes(b"x")
            os.utime(path, (0, 0))  # a fresh one may be what another server writes at this moment
        assert await world.parts.bundles.prune() == 2
        assert kept(world) == [name]
