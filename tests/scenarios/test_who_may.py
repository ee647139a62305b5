"""Who may start, steer and stop work: labels and commands by every role, edited and vanished comments, quotes."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from bot.domain.commands import COMMANDS, CommandSpec, Verb
from bot.domain.model import Role
from bot.domain.permissions import needed
from bot.domain.policy_model import Policy
from bot.localhub.actor import Actor
from bot.localhub.faults import FaultKind
from bot.localhub.model import Account, App
from bot.localhub.model import Role as HubRole
from tests.scenarios.steps import (
    HOUR,
    MINUTE,
    dispatched,
    fault,
    in_review,
    item_of,
    last_attempt,
    pull_of,
    queued,
    reviewed,
    say,
    scene,
    settled_for,
)
from tests.world import World


def person(world: World, role: str) -> Account:
    """Somebody with this role in the repository."""
    by_role = {"none": "nora", "read": "rita", "triage": "tom", "write": "maria", "maintain": "mike", "admin": "olga"}
    login = by_role[role]
    if world.hub.find_account(login) is None:
        account = world.hub.create_user(login)
        if role != "none":
            world.hub.set_role(world.repo, login, HubRole[role.upper()])
        return account
    found = world.hub.find_account(login)
    assert found is not None
    return found


def other_bot(world: World) -> Actor:
    """Another App with all permissions in the repository."""
    app: App = world.hub.create_app(
        world.owner, "helper", {"issues": "write"}, ["issues"], "http://127.0.0.1:9/nowhere", "another secret"
    )
    return world.hub.as_app(world.hub.install(app, world.owner, [world.repo], by=world.owner))


async def test_only_people_who_may_start_work_start_it_by_the_label(tmp_path: Path) -> None:
    async with scene(tmp_path, policy="max_parallel: 25\n") as world:
        for role in ("read", "triage"):
            number = world.issue(f"By {role}")
            # GitHub does not let everybody label; a label that is there all the same counts by its event.
            world.label(number, "tgs:ready", by=person(world, role))
            await world.settle()
            assert world.state(number) is None
            assert not world.runs()
            [refused] = world.bot_said(number)
            assert f"you have {role}" in refused
            assert "needs the role write" in refused
            await settled_for(world, HOUR, number)
            assert await world.item(number) is None
        number = world.issue("By another bot")
        actor = other_bot(world)
        world.hub.labels.add(world.record(number), ["tgs:ready"], actor)
        await world.after(MINUTE)
        assert not world.runs()
        assert len(world.bot_said(number)) == 1
        assert "tgs:ready" not in world.labels(number)
        for index, role in enumerate(("write", "maintain", "admin"), start=1):
            number = world.issue(f"By {role}")
            world.label(number, "tgs:ready", by=person(world, role))
            await world.settle()
            assert len(world.runs()) == index


async def test_a_refused_label_goes_although_github_failed_when_it_was_taken_off(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = world.issue("Thing")
        world.label(number, "tgs:proposed")
        await world.settle()
        assert world.state(number) == "proposed"
        world.bot_said(number)
        world.expected_errors = True
        fails = fault(world, FaultKind.ERROR_BEFORE, "POST", "^/graphql", skip=1)  # the history of edits is read first
        world.label(number, "tgs:ready", by=person(world, "triage"))
        await world.settle()
        assert fails.hits == 1
        assert "tgs:ready" in world.labels(number)
        await world.after(HOUR)
        assert world.state(number) == "proposed"
        assert "tgs:ready" not in world.labels(number)
        [refused] = world.bot_said(number)
        assert "needs the role write" in refused


async def test_an_issue_opened_with_the_label_counts_as_labelled_by_its_author(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = world.issue("From a template", by=world.rita)
        world.label(number, "tgs:ready", by=world.rita)
        await world.settle()
        assert not world.runs()
        assert "tgs:ready" not in world.labels(number)
        assert len(world.bot_said(number)) == 1
        number = world.issue("From a template", by=world.maria, labels=["tgs:ready"])
        await world.settle()
        assert world.state(number) == "in-progress"


async def test_a_role_lost_between_approval_and_start_starts_nothing_and_is_said(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await queued(world)
        world.hub.set_role(world.repo, "maria", HubRole.READ)
        await say(world, number, "/tgs resume", by=world.owner)
        await world.after(10 * MINUTE)
        assert not world.runs()
        assert "maria" in world.status(number)
        [answer] = await say(world, number, "/tgs why", by=world.owner)
        assert "may not start work any more" in answer
        # Somebody who may start work approves it in their own name.
        [answer] = await say(world, number, "/tgs start", by=world.owner)
        await world.after(MINUTE)
        assert len(world.runs()) == 1, answer


def line_of(spec: CommandSpec) -> str:
    return spec.examples[0]


@pytest.mark.parametrize("role", ["none", "read", "triage", "write"])
async def test_every_command_by_every_role_is_answered(tmp_path: Path, role: str) -> None:
    async with scene(tmp_path) as world:
        number = await queued(world, "Something", by=world.maria)
        asker = person(world, role)
        mine = Role[role.upper()]
        roles = Policy.default().roles
        said: list[str] = []
        for spec in COMMANDS.values():
            asked = world.comment(number, line_of(spec), by=asker)
            await world.settle()
            seen = world.reactions(asked)
            answers = world.bot_said(number)
            said += answers
            allowed = mine >= needed(spec.capability, roles)
            if not spec.available or not allowed:
                assert seen == {"confused"}, spec.verb
            else:
                assert seen & {"eyes", "rocket"}, spec.verb
            if allowed and spec.verb is Verb.STEER and (await last_attempt(world, number)).live:
                # The answer says when the agent has heard it.
                assert answers == []
                continue
            if mine <= Role.READ:
                assert len(answers) == (1 if len(said) == 1 and answers else 0)
            else:
                assert len(answers) == 1, (spec.verb, answers)
                if spec.available and not allowed:
                    assert f"needs the role {needed(spec.capability, roles).name.lower()}" in answers[0]
                    assert f"you have {role}" in answers[0]
            if allowed and spec.verb in {Verb.STOP, Verb.MERGE, Verb.START, Verb.APPROVE, Verb.RETRY}:
                # Back to where the next command finds the issue as the first did.
                world.comment(number, "/tgs pause tests", by=world.owner)
                await world.settle()
                world.bot_said(number)
        if mine <= Role.READ:
            assert len(said) == 1
            await world.after(timedelta(minutes=61))
            assert len(await say(world, number, "/tgs why", by=asker)) == 1
        assert not world.runs() or mine >= Role.WRITE


async def test_an_edited_comment_never_executes_and_is_answered_once(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = world.issue()
        comment = world.comment(number, "I wonder")
        await world.settle()
        record = world.record(number).comments[-1]
        assert record.id == comment
        for text in ("/tgs start", "/tgs start\nplease"):
            world.hub.comments.edit(record, text, world.as_(world.maria))
            await world.settle()
        assert not world.runs()
        [told] = world.bot_said(number)
        assert "new comment" in told
        assert world.reactions(comment) == {"confused"}


@pytest.mark.parametrize("what", ["changed", "deleted", "changed by a maintainer"])
async def test_a_comment_that_is_not_what_it_was_when_it_was_written_executes_nothing(
    tmp_path: Path, what: str
) -> None:
    async with scene(tmp_path) as world:
        number = world.issue()
        # The webhook of the comment is under way while the comment changes.
        world.hub.hooks.hold()
        world.comment(number, "/tgs start", by=world.rita if "maintainer" in what else world.maria)
        record = world.record(number).comments[-1]
        if what == "deleted":
            world.hub.comments.delete(record, world.as_(world.maria))
        else:
            world.hub.comments.edit(record, "/tgs start\n\nnot yet", world.as_(world.maria))
        world.hub.hooks.release()
        await world.settle()
        assert not world.runs()
        assert len(world.bot_said(number)) >= 1


async def test_commands_count_only_as_plain_text_at_the_start_of_a_line(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = world.issue()
        for text in (
            "> /tgs start",
            "`/tgs start`",
            "```\n/tgs start\n```",
            "    /tgs start",
            "Would /tgs start help?",
            "<!-- \n/tgs start\n-->",
            "- /tgs start",
            "APPROVE plan? not yet",
            "> APPROVE plan",
            "`APPROVE plan`",
        ):
            assert await say(world, number, text) == [], text
        assert not world.runs()
        [answer] = await say(world, number, "/tgs claim")
        assert "`start` (the agent) or `takeover` (you)" in answer
        [answer] = await say(world, number, "/tgs strat")
        assert "`start`" in answer
        [answer] = await say(world, number, "/tgs")
        assert "/tgs help" in answer
        [answer] = await say(world, number, "Thanks.\r\n\r\n/tgs start\r\n\r\nsee you")
        assert "first" in answer or "queue" in answer
        assert len(world.runs()) == 1


async def test_several_commands_of_one_comment_run_in_their_order(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = world.issue()
        asked = world.comment(number, "/tgs start\n/tgs hold until lunch\n/tgs priority 7\n/tgs nonsense")
        await world.settle()
        answers = world.bot_said(number)
        assert len(answers) == 4
        assert [any(word in a for a in answers) for word in ("queue", "hold", "7", "nonsense")] == [True] * 4
        assert {"eyes", "confused"} <= world.reactions(asked)
        assert not world.runs()
        item = await item_of(world, number)
        assert (item.priority, item.held_by, item.held_reason) == (7, "maria", "until lunch")


async def test_commands_may_be_written_on_the_pull_request(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await reviewed(world)
        pull = pull_of(world, number).issue.number
        [answer] = await say(world, pull, "/tgs why")
        assert "review" in answer
        [answer] = await say(world, pull, "/tgs hold", by=world.tom)
        assert "hold" in answer
        assert world.bot_said(number) == []
        await say(world, pull, "/tgs unhold", by=world.tom)
        [refused] = await say(world, pull, "/tgs merge", by=world.tom)
        assert "needs the role write" in refused
        await say(world, pull, "/tgs merge")
        assert pull_of(world, number).issue.merged_at is not None
        await world.after(MINUTE)
        assert world.state(number) == "done"


async def test_a_pull_request_of_a_person_is_never_an_item(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await in_review(world)
        world.push({"x.txt": "x\n"}, branch="feature")
        pull = world.hub.pulls.open(
            world.repo,
            actor=world.as_(world.maria),
            title="Mine",
            body=f"Closes #{number}",
            head="feature",
            base="main",
        )
        world.label(pull.issue.number, "tgs:ready")
        await world.settle()
        answers = await say(world, pull.issue.number, "/tgs start")
        assert len(answers) == 1
        assert "queue" not in answers[0]
        assert await world.item(pull.issue.number) is None
        assert len(world.runs()) == 1
        # Closing somebody's pull request for the issue says nothing about the bot's own.
        world.hub.pulls.change_state(pull, "closed", world.as_(world.maria))
        await world.settle()
        assert world.state(number) == "in-review"
        world.bot_said(pull.issue.number)


async def test_approval_words_count_as_the_whole_comment_of_somebody_with_the_role(tmp_path: Path) -> None:
    async with scene(tmp_path, policy="mirror:\n  auto_ready: false\n") as world:
        world.thought("5d2a7e", "greet")
        await world.settle()
        [number] = [n for n in world.repo.issues if "plan" in (world.record(n).body or "") and world.state(n)]
        assert world.state(number) == "proposed"
        [refused] = await say(world, number, "APPROVE plan", by=world.tom)
        assert "write" in refused
        assert await say(world, number, "I would say APPROVE plan") == []
        [sent_back] = await say(world, number, "REQUEST CHANGES: name the greeting")
        assert "sent back" in sent_back
        assert world.state(number) == "proposed"
        [answer] = await say(world, number, "APPROVE plan")
        assert "approved" in answer
        assert world.state(number) == "in-progress"


@pytest.mark.parametrize("label", ["tgs:priority/high", "tgs:priority/low"])
async def test_priority_labels_need_the_role_of_their_command(tmp_path: Path, label: str) -> None:
    async with scene(tmp_path) as world:
        number = await queued(world)
        world.label(number, label, by=world.rita)
        await world.settle()
        [refused] = world.bot_said(number)
        assert "triage" in refused
        assert (await item_of(world, number)).priority == 0
        await settled_for(world, HOUR, number)
        world.unlabel(number, label, by=world.rita)
        world.label(number, label, by=world.tom)
        await world.settle()
        assert (await item_of(world, number)).priority == (100 if label.endswith("high") else -100)
        world.unlabel(number, label, by=world.tom)
        await world.settle()
        assert (await item_of(world, number)).priority == 0


async def test_the_bots_own_comments_and_other_bots_command_nothing(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await dispatched(world)
        actor = other_bot(world)
        world.hub.comments.create(world.record(number), "/tgs stop", actor)
        await world.settle()
        assert world.state(number) == "in-progress"
        assert not world.run().run.done
