"""What goes wrong between a start and a pull request: typed failures, lost answers, silence, stops, missing set-up."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from bot.domain.attempt import AttemptPhase
from bot.domain.failures import EXTENSIONS, FAILURES, Retrying
from bot.domain.model import FailureReason, RepoKey
from bot.errors import Unavailable
from bot.github.gateway import Gateway
from bot.localhub.actions_model import Conclusion, Job, WorkflowState
from bot.localhub.faults import FaultKind
from bot.localhub.runner import ManualRunner
from bot.protocols.github import Visible, VisibleOutcome
from bot.worker.life import time_to_work
from bot.workflows import render_run_workflow
from tests.effort import by_effort, more
from tests.scenarios.steps import (
    DAY,
    HOUR,
    MINUTE,
    dispatched,
    fault,
    item_of,
    last_attempt,
    pull_of,
    queued,
    ready,
    reviewed,
    running,
    say,
    scene,
    set_up,
    settled_for,
    timeline,
)
from tests.world import PERMISSIONS

FROM_WORKERS = [reason for reason in FailureReason if not reason.value.startswith(("cancelled.", "conflict."))]
DISPATCH = r"/dispatches"


GROUPS = {
    "tried again": [r for r in FROM_WORKERS if FAILURES[r].retry is Retrying.YES],
    "tried once again": [r for r in FROM_WORKERS if FAILURES[r].retry is Retrying.ONCE],
    "left to a person": [r for r in FROM_WORKERS if FAILURES[r].retry is Retrying.NEVER and not FAILURES[r].pauses],
    "the set-up's fault": [r for r in FROM_WORKERS if FAILURES[r].pauses],
}


ALIKE = {(FAILURES[r].retry, FAILURES[r].burns, FAILURES[r].infra): r for r in FROM_WORKERS}
"""One reason of each kind that is treated alike."""

RETRIED = GROUPS["tried again"] + GROUPS["tried once again"]
PLAYED = by_effort([r for r in RETRIED if r in ALIKE.values()], RETRIED, RETRIED)


@more
async def test_every_reason_that_may_be_retried_is_retried_after_its_delay(tmp_path: Path) -> None:
    policy = "incidents: false\nmax_parallel: 25\nmax_unreviewed_prs: 100\nbudgets: {per_attempt: 1, per_day: 100}\n"
    async with scene(tmp_path, policy=policy) as world:
        reasons = {await running(world, reason.value): reason for reason in PLAYED}
        for index, reason in enumerate(reasons.values()):
            await world.run(index).fail(reason.value, "as the log says")
        # Nothing is started again at once.
        assert len(world.runs()) == len(reasons)
        for number, reason in reasons.items():
            assert world.state(number) == "in-progress", reason
            item = await item_of(world, number)
            assert item.attempts_burnt == int(FAILURES[reason].burns), reason
            assert item.infra_failures == int(FAILURES[reason].infra), reason
        await world.after(31 * MINUTE)
        assert len(world.runs()) == 2 * len(reasons)
        again = {int(str(run.inputs["issue"])): run for run in world.runs()}
        for index in range(len(reasons), 2 * len(reasons)):
            run = world.run(index)
            reason = reasons[int(str(run.run.inputs["issue"]))]
            await run.start()
            failures = run.context["previous_failures"]
            assert [(f["reason"], f["detail"]) for f in failures] == [(reason.value, "as the log says")]
        assert set(again) == set(reasons)


async def test_every_reason_that_needs_a_person_stops_the_item_and_says_so_once(tmp_path: Path) -> None:
    policy = "max_parallel: 25\nmax_unreviewed_prs: 100\nbudgets: {per_attempt: 1, per_day: 100}\n"
    async with scene(tmp_path, policy=policy) as world:
        reasons = {await running(world, reason.value): reason for reason in GROUPS["left to a person"]}
        for index, number in enumerate(reasons):
            await world.run(index).fail(reasons[number].value, "as the log says")
            assert world.state(number) == "failed", reasons[number]
            [told] = world.bot_said(number)
            assert "maria" in told
            assert "as the log says" in told
        await world.after(2 * HOUR)
        assert len(world.runs()) == len(reasons)
        for number in reasons:
            assert world.bot_said(number) == []
            await say(world, number, "/tgs retry")
        assert len(world.runs()) == 2 * len(reasons)


@pytest.mark.parametrize("reason", GROUPS["the set-up's fault"], ids=lambda reason: str(reason.value))
async def test_a_fault_of_the_set_up_stops_all_starts_and_is_told_in_the_set_up_issue(
    tmp_path: Path, reason: FailureReason
) -> None:
    async with scene(tmp_path) as world:
        number = await running(world)
        other = await ready(world, "Other")
        await world.run().fail(reason.value, "ANTHROPIC_API_KEY is empty")
        assert len(world.runs()) == 1
        _, body = set_up(world)
        assert "ANTHROPIC_API_KEY is empty" in body
        await world.after(3 * MINUTE)
        for waiting in (number, other):
            assert "ANTHROPIC_API_KEY is empty" in world.status(waiting)
        # The checks pass again: it starts by itself.
        await world.after(HOUR)
        assert len(world.runs()) == 2
        assert (await item_of(world, number)).attempts_burnt == 0


async def test_attempts_are_used_up_with_growing_delays_and_retry_counts_anew(tmp_path: Path) -> None:
    async with scene(tmp_path, policy="budgets: {per_item: 100}\n") as world:
        number = await running(world)
        for burnt in (1, 2):
            await world.run().fail("agent.crash", "boom")
            item = await item_of(world, number)
            assert item.attempts_burnt == burnt
            assert item.not_before is not None
            delay = item.not_before - world.clock.now()
            assert timedelta(seconds=5) <= delay <= timedelta(seconds=60 * 2 ** (burnt - 1))
            assert f"{burnt} of 3 attempts used" in world.status(number)
            await world.after(30 * MINUTE)
            await world.run().start()
        await world.run().fail("agent.crash", "boom")
        assert world.state(number) == "failed"
        [told] = world.bot_said(number)
        assert "/tgs retry" in told
        await world.after(DAY)
        assert len(world.runs()) == 3
        await say(world, number, "/tgs retry --fresh look at the tests first")
        item = await item_of(world, number)
        assert (item.attempts_burnt, item.fresh, item.notes) == (0, True, "look at the tests first")
        await world.run().work()
        assert world.state(number) == "in-review"


async def test_a_retry_command_does_not_wait_for_the_delay(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await running(world)
        await world.run().fail("quota.provider", "limit reached")
        assert len(world.runs()) == 1
        [answer] = await say(world, number, "/tgs why")
        assert "limit" in answer.lower() or "quota" in answer.lower()
        await say(world, number, "/tgs retry")
        assert len(world.runs()) == 2


async def test_a_spent_quota_is_waited_for_until_it_is_back_and_burns_no_attempt(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await running(world)
        back = world.clock.now() + 3 * HOUR
        await world.run().fail("quota.provider", "limit reached", retry_at=back.isoformat(), prompt="a" * 64)
        await world.after(2 * HOUR + HOUR / 2)
        assert len(world.runs()) == 1
        await world.after(HOUR)
        assert len(world.runs()) == 2
        assert (await item_of(world, number)).attempts_burnt == 0


INTERRUPTED = {
    "a spent quota": ("quota.provider", True),
    "a model that did not answer": ("infra.model", True),
    "an end of its time": ("agent.timeout", True),
    "a crash of its own": ("agent.crash", False),
}


@pytest.mark.parametrize(("reason", "goes_on"), INTERRUPTED.values(), ids=INTERRUPTED.keys())
async def test_an_agent_that_was_interrupted_goes_on_where_it_was_after(
    reason: str, goes_on: bool, tmp_path: Path
) -> None:
    async with scene(tmp_path) as world:
        number = await running(world)
        assert (await world.run().send("transcript", b"what was said so far\n"))[0] == 200
        await world.run().fail(reason, "in the middle", session_id="s-9")
        await world.after(2 * HOUR)
        run = world.run()
        assert len(world.runs()) == 2
        await run.start()
        resume = run.context["resume"]
        assert (resume is not None) is goes_on
        if goes_on:
            assert (resume["session_id"], resume["answers"], resume["work_sha256"]) == ("s-9", {}, None)
            assert await run.fetch("transcript") == (200, b"what was said so far\n")
        await run.publish()
        assert world.state(number) == "in-review"


async def test_work_of_many_hours_goes_on_in_further_runs_and_is_called_too_large_in_the_end(tmp_path: Path) -> None:
    async with scene(tmp_path, policy="attempts: 1\nbudgets: {per_attempt: 1}\n") as world:
        number = await dispatched(world)
        for turn in range(EXTENSIONS + 1):
            run = world.run()
            await run.start()
            assert (run.context["resume"] is None) is (turn == 0), "each run goes on where the last one was"
            # The first run is followed to its limit, the others in short.
            for _ in range(30 if turn == 0 else 2):
                await world.after(timedelta(seconds=time_to_work(330) / 30) - timedelta(seconds=1))
                assert (await run.beat())[0] == 200
            assert (await run.send("transcript", f"said until run {turn}\n".encode()))[0] == 200
            if turn:
                assert await run.fetch("transcript") == (200, f"said until run {turn - 1}\n".encode())
            await run.fail("agent.timeout", "It did not end within its time limit (90 turns).", session_id="s-9")
            await world.after(MINUTE)
            if turn < EXTENSIONS:
                item = await item_of(world, number)
                assert (len(world.runs()), item.attempts_burnt, item.extensions) == (turn + 2, 0, turn + 1)
        assert world.state(number) == "failed"
        failure = (await item_of(world, number)).last_failure
        assert failure is not None
        assert failure.reason is FailureReason.AGENT_TOO_LARGE
        (said,) = world.bot_said(number)
        assert "too large for one piece of work" in said
        assert "Split it into sub-issues" in said
        await say(world, number, "/tgs retry")
        run = world.run()
        await run.start()
        assert run.context["resume"]["session_id"] == "s-9", "whoever insists has it gone on with"
        assert (await item_of(world, number)).extensions == 0


async def test_an_agent_that_calls_its_work_too_large_is_quoted_with_the_parts_it_would_make(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await running(world)
        await world.run().fail("agent.too_large", "I would build the parser first, then the printer.")
        (said,) = world.bot_said(number)
        assert "Split it into sub-issues" in said
        assert "I would build the parser first" in said
        await world.after(HOUR)
        assert (world.state(number), len(world.runs())) == ("failed", 1)


async def test_a_fresh_retry_leaves_the_conversation_of_the_interrupted_agent_behind(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await running(world)
        assert (await world.run().send("transcript", b"a long talk\n"))[0] == 200
        await world.run().fail("quota.provider", "limit reached", session_id="s-9")
        await say(world, number, "/tgs retry --fresh")
        run = world.run()
        await run.start()
        assert run.context["resume"] is None


# --- set-up ------------------------------------------------------------------------------------------


async def test_a_repository_without_set_up_starts_nothing_until_it_is_mended(tmp_path: Path) -> None:
    async with scene(tmp_path, bare=True) as world:
        number = await ready(world)
        assert not world.runs()
        setup, body = set_up(world)
        assert "tgs-server-run.yml" in body
        assert "tgs-agent" in body
        assert "tgs-publish" in body
        assert "set-up" in world.status(number)
        assert world.comments(setup) == []
        await settled_for(world, HOUR, setup)
        world.push(
            {
                ".github/workflows/tgs-server-run.yml": render_run_workflow(
                    world.url, f"{world.url}/dist/x.whl", "0" * 64
                )
            }
        )
        await world.settle()
        assert not world.runs()
        _, body = set_up(world)
        assert "tgs-server-run.yml` is not" not in body
        assert "tgs-agent" in body
        # No webhook tells of an environment; it is seen within minutes.
        world.hub.actions.environment(world.repo, "tgs-agent")
        world.hub.actions.environment(world.repo, "tgs-publish")
        await world.after(15 * MINUTE)
        assert len(world.runs()) == 1
        _, body = set_up(world)
        assert "The bot is set up" in body


async def test_a_missing_permission_is_named_and_the_start_follows_its_grant(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        assert world.installation is not None
        less = {name: level for name, level in PERMISSIONS.items() if name != "actions"} | {"actions": "read"}
        world.hub.change_permissions(world.installation, less, world.app.events, by=world.owner)
        await world.settle()
        number = await ready(world)
        assert not world.runs()
        _, body = set_up(world)
        assert "actions: write" in body
        assert "actions: write" in world.status(number)
        world.hub.change_permissions(world.installation, PERMISSIONS, world.app.events, by=world.owner)
        await world.settle()
        assert len(world.runs()) == 1


async def test_a_workflow_that_was_disabled_is_named(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        [workflow] = [w for w in world.hub.actions.files.all(world.repo) if w.path.endswith("tgs-server-run.yml")]
        workflow.state = WorkflowState.DISABLED_MANUALLY
        number = await ready(world)
        assert not world.runs() or (await item_of(world, number)).last_failure is not None
        await world.after(20 * MINUTE)
        assert not world.runs()
        _, body = set_up(world)
        assert "tgs-server-run.yml" in body
        workflow.state = WorkflowState.ACTIVE
        await world.after(20 * MINUTE)
        assert len(world.runs()) == 1


# --- dispatch ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", [FaultKind.ERROR_AFTER, FaultKind.DISCONNECT_AFTER], ids=["an error", "a closed connection"]
)
async def test_a_dispatch_whose_answer_was_lost_is_found_by_its_name(tmp_path: Path, kind: FaultKind) -> None:
    async with scene(tmp_path) as world:
        world.expected_errors = True
        planned = fault(world, kind, "POST", DISPATCH)
        number = await dispatched(world)
        assert planned.hits == 1
        await world.after(20 * MINUTE)
        assert len(world.runs()) == 1
        attempt = await last_attempt(world, number)
        assert attempt.run_id == world.run().run.id
        await world.run().work()
        assert world.state(number) == "in-review"
        assert len(await world.attempts(number)) == 1


@pytest.mark.parametrize("times", [1, 4], ids=["once", "for a while"])
async def test_a_dispatch_that_github_could_not_do_is_repeated(tmp_path: Path, times: int) -> None:
    async with scene(tmp_path) as world:
        world.expected_errors = True
        fault(world, FaultKind.ERROR_BEFORE, "POST", DISPATCH, status=502, count=times)
        number = await dispatched(world)
        await world.after(HOUR)
        assert len(world.runs()) == 1
        assert (await last_attempt(world, number)).run_id == world.run().run.id


async def test_a_refused_dispatch_stops_the_starts_and_names_the_cause(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        fault(world, FaultKind.ERROR_BEFORE, "POST", DISPATCH, status=422, message="Unexpected inputs provided")
        number = await ready(world)
        assert not world.runs()
        _, body = set_up(world)
        assert "Unexpected inputs provided" in body
        await world.after(HOUR)
        assert len(world.runs()) == 1
        assert (await item_of(world, number)).attempts_burnt == 0


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (FaultKind.ERROR_BEFORE, r"/pulls\?"),
        (FaultKind.ERROR_AFTER, r"/pulls\?"),
        (FaultKind.ERROR_BEFORE, r"/comments\?"),
        (FaultKind.ERROR_AFTER, r"/comments\?"),
        (FaultKind.ERROR_BEFORE, r"/graphql"),
        (FaultKind.ERROR_AFTER, r"/graphql"),
    ],
    ids=lambda value: value.name.lower() if isinstance(value, FaultKind) else str(value).strip("/\\?"),
)
async def test_a_write_that_failed_or_whose_answer_was_lost_is_neither_lost_nor_doubled(
    tmp_path: Path, kind: FaultKind, path: str
) -> None:
    async with scene(tmp_path) as world:
        world.expected_errors = True
        number = await running(world)
        planned = fault(world, kind, "POST", path)
        sha = await world.run().publish()
        await world.after(5 * MINUTE)
        assert world.state(number) == "in-review"
        assert len(world.pulls()) == 1
        world.ci(sha)
        await world.after(5 * MINUTE)
        if not planned.hits:
            planned = fault(world, kind, "POST", path)
        again = world.comment(number, "/tgs priority 5")
        await world.after(5 * MINUTE)
        said = world.bot_said(number)
        assert len([text for text in said if "ready for review" in text]) == 1
        assert len([text for text in said if "priority is 5" in text]) == 1
        assert again
        assert planned.hits


@pytest.mark.parametrize("kind", [FaultKind.ERROR_BEFORE, FaultKind.ERROR_AFTER], ids=["not done", "done"])
async def test_a_merge_whose_answer_is_an_error_happens_once_and_is_answered(tmp_path: Path, kind: FaultKind) -> None:
    async with scene(tmp_path) as world:
        world.expected_errors = True
        number = await reviewed(world)
        fault(world, kind, "PUT", r"/merge\?")
        asked = world.comment(number, "/tgs merge")
        await world.after(10 * MINUTE)
        assert world.state(number) == "done"
        said = world.bot_said(number)
        assert "rocket" in world.reactions(asked) or "merged" in said[0]
        assert len(said) <= 1
        assert [e.event for e in pull_of(world, number).issue.events].count("merged") == 1


async def test_words_that_were_decided_are_said_after_a_crash(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        world.expected_errors = True
        number = await queued(world)
        stop = fault(world, FaultKind.ERROR_BEFORE, "POST", r"/comments\?", count=None)
        asked = world.comment(number, "/tgs priority 5")
        await world.settle()
        assert stop.hits
        world.hub.faults.clear()
        await world.restart_bot()
        await world.after(10 * MINUTE)
        [answer] = world.bot_said(number)
        assert "priority is 5" in answer
        assert world.reactions(asked)


# --- silence -----------------------------------------------------------------------------------------


async def test_a_run_that_no_runner_takes_is_cancelled_after_two_hours_and_tried_again(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await dispatched(world)
        await world.after(HOUR)
        assert len(world.runs()) == 1
        assert not world.run().run.done
        await world.after(2 * HOUR)
        assert world.run(0).run.done
        assert len(world.runs()) == 2
        item = await item_of(world, number)
        assert (item.attempts_burnt, item.infra_failures) == (0, 1)


async def test_runners_that_never_come_end_in_a_question_to_a_person(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await dispatched(world)
        await world.after(DAY)
        assert world.state(number) == "failed"
        assert len(world.runs()) == 5
        assert len(world.bot_said(number)) == 1


async def test_silence_alone_releases_nothing_and_a_late_heartbeat_goes_on(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await running(world)
        other = await ready(world, "Other")
        await world.after(25 * MINUTE)
        attempt = await last_attempt(world, number)
        assert attempt.phase is AttemptPhase.SUSPECT
        assert len(world.runs()) == 1
        assert "heard" in world.status(number) or "silent" in world.status(number) or "sign" in world.status(number)
        status, beat = await world.run().beat(1, 3, "still here")
        assert status == 200
        assert not beat["cancel"]
        await world.settle()
        assert (await last_attempt(world, number)).phase is AttemptPhase.RUNNING
        await world.run().publish()
        assert world.state(number) == "in-review"
        assert len(await world.attempts(number)) == 1
        await world.settle()
        assert world.state(other) == "in-progress"


async def test_a_runner_that_was_lost_is_proven_dead_before_the_next_attempt(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await running(world)
        first = world.run()
        world.hub.hooks.hold()
        first.end(Conclusion.FAILURE)
        # Even the webhook of the run's end is lost.
        world.hub.hooks.release(lambda _: [])
        await world.after(12 * MINUTE)
        attempts = await world.attempts(number)
        assert attempts[0].failure is not None
        assert attempts[0].failure.reason is FailureReason.INFRA_RUNNER_LOST
        await world.after(10 * MINUTE)
        assert len(world.runs()) == 2
        assert (await item_of(world, number)).attempts_burnt == 0
        # What is left of the first run changes nothing any more.
        assert (await first.beat())[0] == 409
        assert await first.report() == 409


async def test_a_silent_run_that_goes_on_is_cancelled_as_stalled(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await running(world)
        await world.after(38 * MINUTE)
        assert len(world.runs()) == 1
        await world.after(HOUR)
        attempts = await world.attempts(number)
        assert attempts[0].failure is not None
        assert attempts[0].failure.reason is FailureReason.AGENT_STALLED
        assert world.run(0).run.done
        assert len(world.runs()) == 2


async def test_a_run_that_beats_for_ever_is_ended_at_its_time_limit(tmp_path: Path) -> None:
    async with scene(tmp_path, policy="agent:\n  timeout_minutes: 30\n") as world:
        number = await running(world)
        for _ in range(9):
            await world.after(5 * MINUTE)
            status, beat = await world.run(0).beat()
            if status != 200 or beat["cancel"]:
                break
        await world.after(10 * MINUTE)
        attempts = await world.attempts(number)
        assert attempts[0].failure is not None
        assert attempts[0].failure.reason is FailureReason.AGENT_TIMEOUT


@pytest.mark.parametrize("conclusion", [Conclusion.SUCCESS, Conclusion.FAILURE])
async def test_a_run_that_ends_without_a_word_is_judged_by_its_conclusion(
    tmp_path: Path, conclusion: Conclusion
) -> None:
    async with scene(tmp_path) as world:
        number = await running(world)
        run = world.run().run
        world.hub.actions.finish(run, conclusion)
        await world.settle()
        attempt = await last_attempt(world, number)
        assert attempt.failure is not None
        assert (
            attempt.failure.reason
            is {
                Conclusion.FAILURE: FailureReason.INFRA_RUNNER_LOST,
                Conclusion.SUCCESS: FailureReason.INFRA_RUNNER_LOST,
            }[conclusion]
        )
        await world.after(HOUR)
        assert len(world.runs()) == 2


# --- stopping ----------------------------------------------------------------------------------------


async def test_a_state_that_is_over_before_it_could_be_shown_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody cancels the run in Actions before the label of its beginning could be set."""

    async def away(github: Gateway, repo: RepoKey, visible: Visible) -> VisibleOutcome:
        raise Unavailable("HTTP 503", status=503, request="show")

    async with scene(tmp_path) as world:
        world.expected_errors = True
        with monkeypatch.context() as outage:
            outage.setattr(Gateway, "show", away)
            number = world.issue()
            world.label(number, "tgs:ready")
            await world.settle()
            assert world.labels(number) == set()
            world.run().end(Conclusion.CANCELLED)
        await world.after(10 * MINUTE)
        world.bot_said(number)
        assert world.labels(number) == {"tgs:cancelled"}
        assert timeline(world, number).count("labeled") == 1


async def test_stop_cancels_the_run_and_waits_for_the_proof(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await running(world)
        runner = world.hub.actions.runner
        assert isinstance(runner, ManualRunner)
        runner.obey_cancel = False
        [answer] = await say(world, number, "/tgs stop wrong idea", by=world.tom)
        assert "stopped" in answer
        status, beat = await world.run().beat()
        assert status == 200
        assert beat["cancel"]
        assert world.state(number) == "in-progress"
        await world.after(2 * MINUTE)
        assert (await last_attempt(world, number)).live
        assert not world.run().run.force_cancelled
        [again] = await say(world, number, "/tgs stop", by=world.tom)
        assert "already" in again
        # A runner that does not obey is forced after five minutes.
        await world.after(4 * MINUTE)
        assert world.run().run.force_cancelled
        await world.after(MINUTE)
        assert not (await last_attempt(world, number)).live
        assert world.state(number) == "cancelled"
        assert await world.run().report() == 409
        await world.after(DAY)
        assert len(world.runs()) == 1


async def test_a_run_that_takes_its_time_to_stop_is_not_asked_again_with_every_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene(tmp_path) as world:
        number = await running(world)
        runner = world.hub.actions.runner
        assert isinstance(runner, ManualRunner)
        runner.obey_cancel = False
        asked: list[bool] = []
        obey = runner.cancel

        def count(job: Job, *, force: bool) -> None:
            asked.append(force)
            obey(job, force=force)

        monkeypatch.setattr(runner, "cancel", count)
        await say(world, number, "/tgs stop")
        for turn in range(5):
            world.clock.advance(timedelta(seconds=4))
            world.edit(number, by=world.maria, title=f"Add a greeting, {turn}")
            await world.settle()
        assert asked == [False]
        await world.after(MINUTE)
        assert asked in ([False, False], [False, False, False])


async def test_stop_now_forces_at_once(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await running(world)
        runner = world.hub.actions.runner
        assert isinstance(runner, ManualRunner)
        runner.obey_cancel = False
        await say(world, number, "/tgs stop --now")
        assert world.run().run.force_cancelled
        await world.after(MINUTE)
        assert world.state(number) == "cancelled"


async def test_stop_of_a_queued_run_and_of_a_waiting_item(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        one = await dispatched(world, "One")
        two = await ready(world, "Two")
        await say(world, two, "/tgs stop", by=world.tom)
        assert world.state(two) == "cancelled"
        await say(world, one, "/tgs stop", by=world.tom)
        await world.after(MINUTE)
        assert world.state(one) == "cancelled"
        assert world.run().run.done
        assert len(world.runs()) == 1


async def test_the_world_is_the_same_after_a_restart_in_every_phase(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await dispatched(world)
        await world.restart_bot()
        await world.settle()
        await world.run().start()
        await world.restart_bot()
        await world.settle()
        assert (await world.run().beat())[0] == 200
        await world.run().publish()
        await world.restart_bot()
        await world.settle()
        assert world.state(number) == "in-review"
        assert len(world.runs()) == 1
        assert len(world.pulls()) == 1
