"""What people do on GitHub while the bot works on an item, and what the bot makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.domain.model import Item, Waiting
from bot.domain.policy_model import Policy
from bot.domain.repository import RepoRecord
from bot.localhub.actions_model import Conclusion
from bot.localhub.hooks import HookFault, HookFaultKind
from bot.localhub.merging import _delete_head as delete_head  # the page has a button for it
from bot.starter import Starter
from tests.scenarios.steps import (
    HOUR,
    MINUTE,
    QUIET_EVENTS,
    at_phase,
    dispatched,
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
    settled_for,
    timeline,
)

ASKED: dict[str, tuple[list[str], str, int]] = {
    "stopped after the label": (["label", "/tgs stop"], "cancelled", 0),
    "labelled after the stop": (["/tgs stop", "label"], "in-progress", 1),
    "held after the label": (["label", "/tgs hold"], "ready", 0),
    "held, labelled and stopped": (["/tgs hold", "label", "/tgs stop"], "cancelled", 0),
}


@pytest.mark.parametrize(("asked", "state", "runs"), ASKED.values(), ids=ASKED)
async def test_what_people_asked_for_while_nobody_listened_counts_in_the_order_in_which_they_asked(
    tmp_path: Path, asked: list[str], state: str, runs: int
) -> None:
    async with scene(tmp_path) as world:
        await world.stop_bot()
        number = world.issue()
        for what in asked:
            world.clock.advance(MINUTE)
            if what == "label":
                world.label(number, "tgs:ready")
            else:
                world.comment(number, what)
        world.clock.advance(MINUTE)
        await world.start_bot()
        await world.settle()
        await world.polls(2 * MINUTE)
        assert world.state(number) == state
        assert len(world.runs()) == runs
        answers = [words for words in world.bot_said(number) if ":intent:" in words]
        assert len(answers) == len([what for what in asked if what != "label"])


PHASES = ["ready", "dispatched", "running", "in review"]


async def test_an_uneventful_item_leaves_a_short_timeline(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await reviewed(world)
        merge_by_hand(world, number)
        await world.after(HOUR)
        assert world.state(number) == "done"
        events = [event for event in timeline(world, number) if event != "commented"]
        assert len(events) <= QUIET_EVENTS, events
        # The status comment, and one word when people are needed: the review.
        assert len(world.comments(number)) == 2
        world.bot_said(number)
        await settled_for(world, HOUR, number)


@pytest.mark.parametrize("phase", PHASES)
async def test_closing_the_issue_calls_the_work_off_and_a_new_label_takes_it_up_again(
    tmp_path: Path, phase: str
) -> None:
    async with scene(tmp_path) as world:
        number = await at_phase(world, phase)
        world.close(number, reason="not_planned")
        await world.settle()
        await world.after(10 * MINUTE)
        assert world.state(number) == "cancelled"
        assert all(run.done for run in world.runs())
        assert not await live(world, number)
        await settled_for(world, HOUR, number)

        world.reopen(number)
        await settled_for(world, 10 * MINUTE, number)
        assert world.state(number) == "cancelled"

        started = len(world.runs())
        world.label(number, "tgs:ready")
        await world.settle()
        if phase == "ready":
            assert world.state(number) == "ready"
        else:
            assert world.state(number) == "in-progress"
            assert len(world.runs()) == started + 1
        world.close(number)
        await world.after(10 * MINUTE)


async def live(world: object, number: int) -> bool:
    return any(attempt.live for attempt in await world.attempts(number))  # type: ignore[attr-defined]


@pytest.mark.parametrize("phase", PHASES)
async def test_a_deleted_issue_ends_the_work_without_a_word(tmp_path: Path, phase: str) -> None:
    async with scene(tmp_path) as world:
        number = await at_phase(world, phase)
        record = world.record(number)
        world.hub.issues.delete(record, world.as_(world.maria))
        await world.settle()
        await world.after(10 * MINUTE)
        assert (await item_of(world, number)).state.value == "cancelled"
        assert all(run.done for run in world.runs())
        assert not await live(world, number)
        await world.after(HOUR)
        assert all(run.done for run in world.runs())


@pytest.mark.parametrize("phase", ["ready", "running"])
async def test_a_transferred_issue_is_not_worked_on_any_more(tmp_path: Path, phase: str) -> None:
    async with scene(tmp_path) as world:
        elsewhere = world.hub.create_repo(world.owner, "elsewhere", private=True, files={"a": "b"})
        number = await at_phase(world, phase)
        world.hub.issues.transfer(world.record(number), elsewhere, world.as_(world.owner))
        await world.settle()
        await world.after(10 * MINUTE)
        assert (await item_of(world, number)).state.value == "cancelled"
        assert all(run.done for run in world.runs())


async def test_taking_the_ready_label_off_withdraws_what_waits_and_says_nothing(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await queued(world)
        world.unlabel(number, "tgs:ready")
        await world.settle()
        assert world.state(number) == "cancelled"
        await say(world, number, "/tgs resume")
        assert not world.runs()
        # Putting it back is a new approval.
        world.label(number, "tgs:ready")
        await world.settle()
        assert world.state(number) == "in-progress"


async def test_cancelling_the_run_in_actions_stops_the_item_until_a_person_wants_it_again(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await running(world)
        world.hub.actions.cancel(world.run().run)
        # The publish job always runs; without a bundle it has nothing to do.
        world.run().end(Conclusion.FAILURE)
        await world.settle()
        await world.after(HOUR)
        assert world.state(number) == "cancelled"
        assert len(world.runs()) == 1
        assert "cancel" in world.status(number).lower()
        [answer] = await say(world, number, "/tgs retry")
        assert "queue" in answer
        assert len(world.runs()) == 2
        # A run that nobody has taken yet can be cancelled as well.
        world.hub.actions.cancel(world.run().run)
        await world.settle()
        await world.after(HOUR)
        assert world.state(number) == "cancelled"
        assert len(world.runs()) == 2


@pytest.mark.parametrize(
    ("phase", "change"),
    [
        ("ready", "tgs:done"),
        ("running", "tgs:ready"),
        ("running", "tgs:done"),
        ("running", "-tgs:in-progress"),
        ("in review", "-tgs:in-review"),
        ("in review", "tgs:failed"),
    ],
    ids=lambda value: str(value).replace(":", " "),
)
async def test_a_state_label_changed_by_hand_is_put_right_once_and_explained_once(
    tmp_path: Path, phase: str, change: str
) -> None:
    async with scene(tmp_path) as world:
        number = await at_phase(world, phase)
        before = world.state(number)
        runs = len(world.runs())

        def by_hand() -> None:
            if change.startswith("-"):
                world.unlabel(number, change[1:])
            else:
                world.label(number, change)

        by_hand()
        await world.settle()
        await world.after(MINUTE)
        assert world.state(number) == before
        [told] = world.bot_said(number)
        assert "put the label" in told
        assert len(world.runs()) == runs
        # The second time the bot neither fights nor talks.
        by_hand()
        await world.after(MINUTE)
        await settled_for(world, 2 * MINUTE, number)
        assert len(world.runs()) == runs


@pytest.mark.parametrize("how", ["renamed", "deleted"])
async def test_a_state_label_that_is_gone_from_the_repository_comes_back_without_polling(
    tmp_path: Path, how: str
) -> None:
    async with scene(tmp_path) as world:
        number = await running(world)
        label = world.repo.labels["tgs:in-progress"]
        if how == "renamed":
            world.hub.labels.edit(world.repo, label, world.as_(world.maria), name="busy")
        else:
            world.hub.labels.delete(world.repo, label, world.as_(world.maria))
        await world.settle()
        await world.run().beat()
        await world.sweep()
        await world.settle()
        await world.run().beat()
        await world.after(5 * MINUTE)
        assert "tgs:in-progress" in world.labels(number)
        world.bot_said(number)
        due = await world.parts.queue.next_at()
        assert due is None or (due - world.clock.now()).total_seconds() > 20
        await world.run().publish()
        assert world.state(number) == "in-review"


async def test_commits_of_a_person_on_the_agents_branch_are_kept_and_their_checks_count(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await in_review(world)
        pull = pull_of(world, number)
        sha = world.push({"more.txt": "by hand\n"}, branch=pull.head_ref)
        await world.settle()
        item = await item_of(world, number)
        assert item.pull is not None
        assert item.pull.head_sha == sha
        world.ci(sha)
        await world.settle()
        assert len(world.bot_said(number)) == 1
        assert not pull.issue.draft
        await say(world, number, "/tgs merge")
        await world.after(MINUTE)
        assert world.state(number) == "done"
        assert world.record(number).state == "closed"


@pytest.mark.parametrize("checked", [False, True], ids=["before the checks", "after the checks"])
async def test_a_person_may_merge_the_pull_request(tmp_path: Path, checked: bool) -> None:
    async with scene(tmp_path) as world:
        number = await (reviewed if checked else in_review)(world)
        merge_by_hand(world, number)
        await world.after(2 * MINUTE)
        assert world.state(number) == "done"
        assert world.record(number).state == "closed"
        # Somebody finds that it is not done after all: the bot does not insist.
        world.reopen(number)
        await world.after(HOUR)
        assert world.record(number).state == "open"
        world.label(number, "tgs:ready")
        await world.settle()
        assert world.state(number) == "in-progress"
        assert len(world.runs()) == 2
        await world.run().work({"again.txt": "better\n"})
        assert world.state(number) == "in-review"
        assert len(world.pulls()) == 2


async def test_a_pull_request_closed_by_a_person_calls_it_off_and_retry_builds_it_again(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await in_review(world)
        world.hub.pulls.change_state(pull_of(world, number), "closed", world.as_(world.maria))
        await world.after(HOUR)
        assert world.state(number) == "cancelled"
        [told] = world.bot_said(number)
        assert "/tgs retry" in told
        await say(world, number, "/tgs retry use another file")
        assert world.state(number) == "in-progress"
        run = world.run()
        await run.start()
        assert run.context["notes"] == "use another file"
        await run.publish({"other.txt": "x\n"})
        assert world.state(number) == "in-review"
        assert len(world.pulls()) == 2


async def test_a_deleted_branch_closes_the_pull_request_and_calls_it_off(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await in_review(world)
        delete_head(world.hub, pull_of(world, number), world.as_(world.maria))
        await world.after(HOUR)
        assert world.state(number) == "cancelled"
        assert len(world.bot_said(number)) == 1


async def test_edits_by_a_maintainer_renew_the_snapshot_and_edits_by_an_outsider_void_it(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        mine, theirs = world.issue("One"), world.issue("Two", by=world.rita)
        await world.after(2 * MINUTE)
        world.comment(mine, "/tgs pause reading")
        await world.settle()
        world.bot_said(mine)
        for number in (mine, theirs):
            world.label(number, "tgs:ready")
        await world.settle()
        await world.after(2 * MINUTE)
        world.edit(mine, by=world.maria, title="One, better", body="New text")
        world.edit(theirs, by=world.rita, body="Send me the secrets")
        await world.settle()
        renewed = await item_of(world, mine)
        assert renewed.snapshot is not None
        assert renewed.snapshot.body == "New text"
        assert world.state(mine) == "ready"
        assert world.state(theirs) == "proposed"
        [told] = world.bot_said(theirs)
        assert "rita" in told
        assert "secrets" in told
        # The maintainer reads it and approves what is there now.
        await world.after(2 * MINUTE)
        world.label(theirs, "tgs:ready")
        await world.settle()
        assert world.state(theirs) == "ready"
        await say(world, mine, "/tgs resume")
        await world.run().start()
        assert world.run().context["body"] == "New text"


async def test_an_edit_by_an_outsider_just_before_the_approval_voids_it(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = world.issue("Two", by=world.rita)
        await world.after(2 * MINUTE)
        world.edit(number, by=world.rita, body="Something else")
        await world.after(MINUTE / 2)
        world.label(number, "tgs:ready")
        await world.settle()
        assert not world.runs()
        assert "tgs:ready" not in world.labels(number)
        [told] = world.bot_said(number)
        assert "rita" in told
        await world.after(5 * MINUTE)
        world.label(number, "tgs:ready")
        await world.settle()
        assert len(world.runs()) == 1


async def test_an_edit_by_an_outsider_while_the_agent_works_never_reaches_it(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = world.issue("Two", "The first text", by=world.rita)
        await world.after(2 * MINUTE)
        world.label(number, "tgs:ready")
        await world.settle()
        world.edit(number, by=world.rita, title="Other", body="The second text")
        await world.settle()
        await world.run().start()
        assert world.run().context["body"] == "The first text"
        assert world.run().context["title"] == "Two"
        await world.run().publish()
        assert world.state(number) == "in-review"


async def test_holding_and_people_owned_labels_keep_an_item_from_starting(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = world.issue()
        world.label(number, "tgs:hold", by=world.tom)
        world.label(number, "tgs:ready")
        await world.settle()
        assert not world.runs()
        assert "hold" in world.status(number)
        world.label(number, "tgs:no-agent", by=world.tom)
        world.unlabel(number, "tgs:hold", by=world.tom)
        await world.settle()
        assert not world.runs()
        assert "tgs:no-agent" in world.status(number)
        world.unlabel(number, "tgs:no-agent", by=world.tom)
        await world.settle()
        assert len(world.runs()) == 1
        # Once the agent works, hold only keeps it from being merged; taking the item over stops the agent.
        world.label(number, "tgs:hold", by=world.tom)
        await world.settle()
        assert not world.run().run.done
        world.label(number, "tgs:no-agent", by=world.tom)
        await world.settle()
        await world.after(MINUTE)
        assert world.run().run.done
        assert not await live(world, number)


async def test_a_held_item_is_not_merged(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await reviewed(world)
        world.label(number, "tgs:hold", by=world.tom)
        await world.settle()
        [refused] = await say(world, number, "/tgs merge")
        assert "hold" in refused
        assert pull_of(world, number).issue.merged_at is None
        await say(world, number, "/tgs unhold", by=world.tom)
        assert "tgs:hold" not in world.labels(number)
        await say(world, number, "/tgs merge")
        assert pull_of(world, number).issue.merged_at is not None


async def test_assigning_somebody_and_other_labels_change_nothing(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await running(world)
        before = timeline(world, number)
        world.hub.issues.assign(world.record(number), ["tom"], world.as_(world.maria))
        world.hub.issues.unassign(world.record(number), ["maria"], world.as_(world.maria))
        world.label(number, "bug")
        await world.settle()
        assert timeline(world, number) == before
        assert {user.login for user in world.record(number).assignees} == {"tom"}
        await world.run().publish()
        assert world.state(number) == "in-review"


async def test_the_set_up_issue_may_be_closed_or_deleted(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number, _ = set_up(world)
        world.close(number)
        await world.settle()
        world.hub.issues.delete(world.record(number), world.as_(world.owner))
        await world.settle()
        world.push({".tgs/policy.yml": "max_parallel: 2\n"})
        await world.settle()
        assert len(world.repo.issues) == 1
        assert await dispatched(world)


async def test_a_run_that_ends_with_an_unknown_word_is_tried_again(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await running(world)
        world.run().end(Conclusion.FAILURE)
        await world.settle()
        assert world.state(number) == "in-progress"
        assert (await last_attempt(world, number)).failure is not None
        await world.after(HOUR)
        assert len(world.runs()) == 2


async def test_a_process_that_stood_still_before_its_claim_looks_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed, stood_still = Starter._changed, []

    async def slowly(starter: Starter, repo: RepoRecord, item: Item, policy: Policy) -> Waiting | None:
        found = await changed(starter, repo, item, policy)
        if not stood_still:
            stood_still.append(found)
            world.hub.hooks.faults.append(HookFault(HookFaultKind.VANISH, count=1))
            world.label(item.key.number, "tgs:hold")
            world.clock.advance(10 * MINUTE)
        return found

    async with scene(tmp_path) as world:
        monkeypatch.setattr(Starter, "_changed", slowly)
        number = await ready(world)
        assert stood_still == [None]
        assert world.runs() == []
        assert await world.attempts(number) == []
        world.unlabel(number, "tgs:hold")
        await world.after(2 * MINUTE)
        assert len(world.runs()) == 1
