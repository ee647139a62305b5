"""The database is lost in the middle of everything: the bot finds out from GitHub where it was, and goes on."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import tests.world
from bot.cli.main import run
from bot.domain.attempt import AttemptPhase
from bot.domain.facts import IssueFacts
from bot.domain.model import FailureReason, ItemState, RepoKey
from bot.github import gateway_bulk
from bot.github.gateway import Gateway
from bot.localhub import merging
from bot.localhub.actions_model import Conclusion
from bot.localhub.faults import FaultKind
from bot.protocols.github import Remark
from bot.resync import LIST_LAG
from tests.effort import by_effort, more
from tests.scenarios.steps import (
    DAY,
    HOUR,
    MINUTE,
    dispatched,
    fault,
    in_review,
    item_of,
    last_attempt,
    merge_by_hand,
    pull_of,
    queued,
    ready,
    reviewed,
    running,
    say,
    scene,
    set_up,
    timeline,
)
from tests.world import AUTO_POLICY, World, new_world


async def lose(world: World) -> None:
    """The database is gone; a new process starts with an empty one, and GitHub shows all that was done before."""
    await world.stop_bot()
    forget(world)
    world.clock.advance(5 * MINUTE)
    await world.start_bot()
    await world.after(LIST_LAG)


def forget(world: World) -> None:
    """The next process finds an empty database."""
    if tests.world.FRESH_DATABASE is not None:
        world.database_url = tests.world.FRESH_DATABASE()
    for file in (world.tmp / "data").glob("tgs.db*"):
        file.unlink()


# --- at ten moments of an item's life ----------------------------------------------------------------


async def just_labelled(world: World) -> int:
    number = world.issue()
    await world.stop_bot()
    world.label(number, "tgs:ready")
    await world.hub.settle()
    return number


async def claimed(world: World) -> int:
    """The label is taken, and the start of the run has not reached GitHub."""
    fault(world, FaultKind.ERROR_BEFORE, "POST", r"/dispatches", count=None, status=503)
    number = world.issue()
    world.label(number, "tgs:ready")
    await world.settle()
    assert "tgs:ready" not in world.labels(number)
    assert not world.runs()
    world.hub.faults.clear()
    return number


async def handed_in(world: World) -> int:
    """The agent's job has ended well, and the publishing job has not asked yet."""
    number = await running(world)
    run = world.run()
    assert await run.report() == 200
    run.to_publish()
    await world.settle()
    return number


async def checks_are_red(world: World) -> int:
    number = await in_review(world)
    world.ci(pull_of(world, number).head_sha, "failure")
    await world.settle()
    return number


async def merged_not_closed(world: World) -> int:
    number = await reviewed(world)
    world.hub.issues.edit(pull_of(world, number).issue, world.as_(world.maria), body="Greets.")
    await world.settle()
    await world.stop_bot()
    [pull] = world.pulls()
    merging.merge(world.hub, pull, world.as_(world.maria))
    await world.hub.settle()
    return number


async def held(world: World) -> int:
    number = await ready(world, labels=["tgs:hold"])
    await say(world, number, "/tgs hold until the release")
    await say(world, number, "/tgs priority 7")
    world.unlabel(number, "tgs:hold")
    await world.settle()
    return number


async def failed(world: World) -> int:
    number = await running(world)
    for _ in range(5):
        run = world.run()
        if run.run.done:
            break
        if not run.attempt:
            await run.start()
        await run.report(succeeded=False, reason="agent.gave_up", detail="I cannot do it.")
        run.end(Conclusion.FAILURE)
        await world.after(HOUR)
    assert world.state(number) == "failed"
    return number


Moment = Callable[[World], Awaitable[int]]

MOMENTS: dict[str, Moment] = {
    "just labelled": just_labelled,
    "claimed": claimed,
    "dispatched": dispatched,
    "running": running,
    "bundle handed in": handed_in,
    "pull request open": in_review,
    "checks are red": checks_are_red,
    "merged and not closed": merged_not_closed,
    "held": held,
    "paused": queued,
    "failed": failed,
}


async def goes_on(world: World, number: int, moment: Moment) -> None:
    """People and the worker do their part, from this moment to the end of the story."""
    if world.bot is None:
        await world.start_bot()
        await world.settle()
    await world.after(10 * MINUTE)
    if moment is failed:
        world.bot_said(number)
        return
    if moment is held:
        await say(world, number, "/tgs unhold")
    if moment is queued:
        await say(world, number, "/tgs resume")
    await world.after(10 * MINUTE)
    if not world.pulls():
        run = world.run()
        if moment is handed_in:
            await publish(world)
        elif moment is running:
            await report_and_publish(world)
        else:
            await run.work()
    if moment is not merged_not_closed:
        world.ci(pull_of(world, number).head_sha)
        await world.after(10 * MINUTE)
        merge_by_hand(world, number)
    await world.after(10 * MINUTE)
    world.bot_said(number)


async def publish(world: World) -> None:
    """The publishing job, which proves itself anew."""
    run = world.run()
    status, grant = await run.grant()
    assert status == 200, grant
    sha = world.hub.git.commit(
        world.repo, {"hello.txt": f"hello from #{run.context['issue']}\n"}, by=world.app.bot, branch=grant["branch"],
        parent=run.context["existing_branch_sha"] or run.context["base_sha"],
    )  # fmt: skip
    body = {"fence": run.fence, "head_sha": sha}
    status, answer = await run.call("POST", f"/attempts/{run.attempt}/published", run.oidc("publish", "publish"), body)
    assert status == 200, answer
    world.hub.actions.job_finished(run.job("publish"), Conclusion.SUCCESS)
    await world.settle()


async def report_and_publish(world: World) -> None:
    run = world.run()
    status, _ = await run.beat(1, 2, "half")
    assert status in {200, 403}
    assert await run.report() in {200, 403}
    run.to_publish()
    await publish(world)


def seen(world: World, number: int) -> dict[str, Any]:
    """What people see on GitHub in the end."""
    record = world.record(number)
    varying = re.compile(r"<!--.*?-->|127.0.0.1:\d+|\b[0-9a-f]{12,40}\b", re.DOTALL)
    said = [varying.sub("", c.body).strip() for c in world.comments(number)]
    return {
        "state": record.state,
        "labels": world.labels(number),
        "runs": len(world.runs()),
        "pull requests": [(p.issue.state, p.issue.merged_at is not None) for p in world.pulls()],
        "status comments": len([c for c in world.comments(number) if "<!-- tgs:status -->" in c.body]),
        "said": sorted(text for text in said if not text.startswith("**")),
        "set-up issue": set_up(world)[0],
        "issues": len(world.repo.issues),
    }


ALIKE = {"just labelled", "claimed", "running", "bundle handed in"}
"""Moments of one and the same life, which without a loss ends as the one of `dispatched`."""

CHOICE = ["claimed", "running", "bundle handed in", "checks are red", "paused"]
"""The moments of a sample."""

PLAYED = by_effort(CHOICE, list(MOMENTS), list(MOMENTS))

FAULTLESS: dict[str, dict[str, Any]] = {}


async def outcome(tmp: Path, moment: str, *, lost: bool) -> dict[str, Any]:
    async with new_world(tmp) as world:
        number = await MOMENTS[moment](world)
        if lost:
            await lose(world)
        await goes_on(world, number, MOMENTS[moment])
        found = seen(world, number)
        for issue in world.repo.issues:
            world.bot_said(issue)
        return found


@more
@pytest.mark.parametrize("moment", PLAYED)
async def test_the_outcome_is_that_of_a_ledger_that_was_never_lost(tmp_path: Path, moment: str) -> None:
    life = "dispatched" if moment in ALIKE else moment
    if life not in FAULTLESS:
        FAULTLESS[life] = await outcome(tmp_path / "faultless", life, lost=False)
    assert await outcome(tmp_path / "lost", moment, lost=True) == FAULTLESS[life]


# --- what comes back ---------------------------------------------------------------------------------


async def test_a_running_attempt_comes_back_as_suspect_and_is_not_called_off_for_its_silence(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await running(world)
        before = await last_attempt(world, number)
        await lose(world)
        after = await last_attempt(world, number)
        assert (after.id, after.fence, after.number, after.run_id, after.branch, after.base_sha) == (
            before.id, before.fence, before.number, before.run_id, before.branch, before.base_sha,
        )  # fmt: skip
        assert after.phase is AttemptPhase.SUSPECT
        status, answer = await world.run().beat()
        assert (status, answer["code"]) == (403, "unproved")
        await world.after(3 * HOUR)
        assert (await last_attempt(world, number)).live
        assert len(world.runs()) == 1
        # Only its time limit ends it.
        await world.after(8 * HOUR)
        first = min(await world.attempts(number), key=lambda attempt: attempt.number)
        assert first.failure is not None
        assert first.failure.reason is FailureReason.AGENT_TIMEOUT
        world.leave_due = True
        for issue in world.repo.issues:
            world.bot_said(issue)


async def test_a_run_that_died_with_the_ledger_is_tried_again_under_a_higher_fence(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await running(world)
        before = await last_attempt(world, number)
        stale = world.run()
        await world.stop_bot()
        stale.end(Conclusion.FAILURE)
        await lose(world)
        await world.after(HOUR)
        after = await last_attempt(world, number)
        assert len(world.runs()) == 2
        assert after.id != before.id
        assert after.number == before.number + 1
        assert after.fence > before.fence
        # What is left of the old run is refused.
        assert await stale.report() == 409
        await world.run().work()
        assert world.state(number) == "in-review"


async def test_what_people_decided_by_commands_is_remembered(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await queued(world)
        other = await queued(world, "Other")
        for command in ("priority 7", "lock src/", f"depends #{other}", "hold until the release"):
            await say(world, number, f"/tgs {command}")
        await world.after(MINUTE)
        before, paused = await item_of(world, number), (await world.repo_record()).pause
        await lose(world)
        after = await item_of(world, number)
        same = ("state", "priority", "asked", "held_by", "held_reason", "snapshot", "spec", "ready_since")
        assert {name: getattr(after, name) for name in same} == {name: getattr(before, name) for name in same}
        assert (await world.repo_record()).pause == paused
        assert await say(world, number, "/tgs unhold") != []


async def test_a_plan_keeps_its_issue_and_gets_no_second_one(tmp_path: Path) -> None:
    async with scene(tmp_path, policy=AUTO_POLICY) as world:
        world.thought("5d2a7e", "greet")
        await world.settle()
        issues = len(world.repo.issues)
        await world.run().start()
        await lose(world)
        await world.after(HOUR)
        assert len(world.repo.issues) == issues
        [number] = [n for n, r in world.repo.issues.items() if "tgs/thoughts/5d2a7e" in (r.body or "")]
        assert (await item_of(world, number)).thought is not None
        await report_and_publish_plan(world)
        assert world.state(number) == "in-review"


async def report_and_publish_plan(world: World) -> None:
    run = world.run()
    run.to_publish()
    status, grant = await run.grant()
    assert status == 200, grant
    sha = world.hub.git.commit(
        world.repo, {f"{run.context['thought']['dir']}/implementation.md": "# Done\n"}, by=world.app.bot,
        branch=grant["branch"], parent=run.context["base_sha"],
    )  # fmt: skip
    body = {"fence": run.fence, "head_sha": sha}
    status, answer = await run.call("POST", f"/attempts/{run.attempt}/published", run.oidc("publish", "publish"), body)
    assert status == 200, answer
    world.hub.actions.job_finished(run.job("publish"), Conclusion.SUCCESS)
    await world.settle()


async def test_a_published_branch_whose_word_was_lost_becomes_its_pull_request(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        fault(world, FaultKind.ERROR_BEFORE, "POST", r"/pulls\?", count=None, status=503)
        number = await dispatched(world)
        world.expected_errors = True
        await world.run().work()
        assert not world.pulls()
        world.hub.faults.clear()
        await lose(world)
        await world.after(10 * MINUTE)
        assert world.state(number) == "in-review"
        assert len(world.runs()) == len(world.pulls()) == 1
        for issue in world.repo.issues:
            world.bot_said(issue)


# --- what is not believed ----------------------------------------------------------------------------


@pytest.mark.parametrize("many", [True, False], ids=["read with many others", "read by itself"])
async def test_a_memory_that_a_person_has_edited_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, many: bool
) -> None:
    if not many:
        monkeypatch.setattr(gateway_bulk, "CONVERSATIONS", "query($ids: [ID!]!) { nodes(ids: $ids) { id } }")
    async with scene(tmp_path) as world:
        number = await queued(world)
        await say(world, number, "/tgs priority 7")
        [status] = [c for c in world.comments(number) if "<!-- tgs:status -->" in c.body]
        await world.stop_bot()
        world.hub.comments.edit(status, status.body.replace("priority: 7", "priority: 9"), world.as_(world.maria))
        await world.hub.settle()
        await lose(world)
        after = await item_of(world, number)
        assert after.priority == 0
        assert after.state.value == "ready"
        world.bot_said(number)
        # The old comment is theirs now: the bot writes its own.
        assert len([c for c in world.comments(number) if "<!-- tgs:status -->" in c.body]) == 2
        world.hub.comments.delete(status, world.as_(world.maria))
        await world.settle()


async def test_a_text_that_was_edited_meanwhile_is_not_taken_for_the_approved_one(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await queued(world)
        await world.stop_bot()
        world.edit(number, by=world.rita, body="Do evil.")
        await world.hub.settle()
        await lose(world)
        assert world.state(number) == "proposed"
        assert len(world.bot_said(number)) == 1
        assert not world.runs()


async def test_commands_of_the_time_before_are_told_and_not_carried_out(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await queued(world)
        assert await say(world, number, "/tgs priority 5") != []
        await world.stop_bot()
        unheard = world.comment(number, "/tgs stop")
        await world.hub.settle()
        await lose(world)
        [told] = world.bot_said(number)
        assert "nobody was listening" in told
        assert "confused" in world.reactions(unheard)
        assert world.state(number) == "ready"
        assert (await item_of(world, number)).priority == 5
        await world.polls(DAY)
        assert world.bot_said(number) == []


@pytest.mark.parametrize("set_up_shown", [True, False], ids=["set-up issue listed", "set-up issue not listed"])
async def test_nothing_is_believed_before_githubs_lists_show_what_was_done_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, set_up_shown: bool
) -> None:
    async def none(github: Gateway, key: RepoKey, since: datetime | None = None) -> list[IssueFacts]:
        return []

    async with scene(tmp_path) as world:
        number = await in_review(world)
        if not set_up_shown:
            monkeypatch.setattr(Gateway, "issues_by_bot", none)
        world.bot_said(number)
        await world.stop_bot()
        forget(world)
        await world.start_bot()
        await world.after(LIST_LAG - MINUTE / 2)
        assert (await world.repo_record()).rebuilt_at is None
        assert await world.attempts(number) == []
        await world.after(MINUTE / 2)
        assert (await world.repo_record()).rebuilt_at is not None
        assert (await item_of(world, number)).state is ItemState.IN_REVIEW
        assert world.bot_said(number) == []


async def test_nothing_is_said_again_because_a_list_is_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conversations = Gateway.conversations

    async def old(github: Gateway, key: RepoKey, nodes: Sequence[str]) -> dict[str, list[Remark]]:
        """Without the bot's answers of the last moments."""
        found, since = await conversations(github, key, nodes), world.clock.now() - LIST_LAG + MINUTE / 4
        return {
            node: [
                replace(one, comment=replace(one.comment, reacted=False))
                for one in some
                if one.comment.created_at < since or not one.comment.author.is_bot
            ]
            for node, some in found.items()
        }

    monkeypatch.setattr(Gateway, "conversations", old)
    async with scene(tmp_path) as world:
        number = await queued(world)
        world.clock.advance(HOUR)
        assert await say(world, number, "/tgs priority 7") != []
        await world.stop_bot()
        forget(world)
        await world.start_bot()
        await world.after(10 * MINUTE)
        assert (await item_of(world, number)).priority == 7
        assert world.bot_said(number) == []


async def test_a_run_that_nobody_had_seen_may_take_up_its_claim(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await dispatched(world)
        # Its status comment was not written yet, and the list of runs shows it late.
        [status] = [c for c in world.comments(number) if "<!-- tgs:status -->" in c.body]
        await world.stop_bot()
        world.hub.comments.delete(status, world.as_(world.maria))
        hidden = fault(world, FaultKind.ERROR_BEFORE, "GET", r"/runs\?", count=1, status=404, message="Not Found")
        await lose(world)
        assert hidden.hits == 1
        assert not [a for a in await world.attempts(number) if a.live]
        assert world.state(number) == "in-progress"
        await world.run().work()
        assert world.state(number) == "in-review"
        assert len(world.runs()) == 1


async def test_nothing_is_rebuilt_twice_and_a_new_repository_costs_two_requests(tmp_path: Path) -> None:
    async with scene(tmp_path, installed=False) as world:
        world.hub.log.clear()
        await world.install()
        paths = [entry.template for entry in world.hub.log.entries if not entry.is_write]
        assert paths.count("/repos/{owner}/{repo}/labels") == 1
        number = await in_review(world)
        said = timeline(world, number)
        await lose(world)
        await world.restart_bot()
        await world.after(10 * MINUTE)
        assert len([c for c in timeline(world, number) if c == "commented"]) <= said.count("commented") + 1
        history = await world.parts.store.read(lambda tx: tx.history(world.key(number)))
        assert [line.kind for line in history].count("rebuilt") == 1
        world.bot_said(number)


async def test_an_operator_sees_what_comes_back_before_the_server_works_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with scene(tmp_path) as world:
        # The command has the wall clock.
        world.clock.advance(datetime.now(UTC) - world.clock.now() - MINUTE)
        number = await running(world)
        unheard = "/tgs stop"
        await world.stop_bot()
        world.comment(number, unheard)
        forget(world)
        world.clock.advance(datetime.now(UTC) - world.clock.now())
        settings = world.settings()
        for name, value in {
            "APP_ID": world.app.id,
            "PRIVATE_KEY": world.app.private_key_pem,
            "WEBHOOK_SECRET": "a webhook secret for one test run",
            "GITHUB_API_URL": world.hub.api_url,
            "GITHUB_GRAPHQL_URL": world.hub.graphql_url,
            "GITHUB_URL": world.hub.html_url,
            "DATA_DIR": settings.data_dir,
            "DATABASE_URL": settings.database.get_secret_value(),
            "PUBLIC_URL": world.url,
        }.items():
            monkeypatch.setenv(f"TGS_{name}", str(value))

        def call(code: int) -> str:
            with pytest.raises(SystemExit) as ended:
                run(["db", "rebuild"])
            assert ended.value.code == code
            return capsys.readouterr().out

        world.hub.limits.quota.graphql_per_hour, plenty = 0, world.hub.limits.quota.graphql_per_hour
        told = await asyncio.to_thread(call, 7)
        assert "What is rebuilt stays. Call it again after 20" in told
        world.hub.limits.quota.graphql_per_hour = plenty
        told = await asyncio.to_thread(call, 0)
        assert f"#{number} in-progress (from: label, its run is alive)" in told
        assert f"#{number} not run: {unheard} by maria" in told
        await world.start_bot()
        await world.settle()
        assert (await last_attempt(world, number)).phase is AttemptPhase.SUSPECT
        assert len(world.runs()) == 1
        world.leave_due = True
        world.bot_said(number)
