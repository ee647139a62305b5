"""From a plan to its merge, and from an issue over a question to its merge, with Claude Code in the runs."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bot.demo.claude import KEY, QUESTION, claude_policy
from bot.demo.model_api import Conversation, Script, Trouble, finished, shell, use
from bot.demo.project import ISSUE_BODY, ISSUE_TITLE, greeting
from bot.demo.stage import DemoAgent, Stage, set_stage
from bot.domain.attempt import Attempt
from bot.domain.budget import usage_of
from bot.domain.model import FailureReason, InstallationId, IssueKey, RepoId
from bot.domain.opinion import OpinionOutcome
from bot.localhub.actions_model import Run
from bot.localhub.git import BareRepo
from tests.localhub.flow import log_of

LIMIT = 150.0
LOOK = 0.1  # seconds between two looks at what is done by other processes


async def until(done: Callable[[], bool], what: Callable[[], object]) -> None:
    """Waits for what real processes do. Fails with what there is instead."""
    try:
        async with asyncio.timeout(LIMIT):
            while not done():  # noqa: ASYNC110 - what is waited for happens in other processes
                await asyncio.sleep(LOOK)
    except TimeoutError:
        raise AssertionError(what()) from None


def state(stage: Stage, number: int) -> str:
    names = [label.name for label in stage.repo.issues[number].labels]
    return next((n.removeprefix("tgs:") for n in names if n in STATES), "")


STATES = {f"tgs:{name}" for name in ("proposed", "ready", "in-progress", "needs-input", "in-review", "done", "failed")}


def said(stage: Stage, number: int) -> list[str]:
    return [comment.body for comment in stage.repo.issues[number].comments if comment.user is stage.app.bot]


def everything(stage: Stage) -> str:
    """What is there to understand a failure by."""
    runs: list[Run] = list(stage.hub.actions.runs.values())
    logs = "\n".join(f"{run.title} {name}:\n{log_of(job)}" for run in runs for name, job in run.jobs.items())
    return "\n\n".join([*(body for number in stage.repo.issues for body in said(stage, number)), logs])


async def attempts(stage: Stage, number: int) -> list[Attempt]:
    key = IssueKey(InstallationId(stage.installation.id), RepoId(stage.repo.id), number)
    return await stage.parts.store.read(lambda tx: list(tx.attempts(key)))


async def progress(stage: Stage, number: int) -> str:
    """What the newest attempt said of itself with its last sign of life."""
    newest = (await attempts(stage, number))[-1:]
    return newest[0].progress.text if newest and newest[0].progress is not None else ""


@pytest.mark.timeout(4 * LIMIT)
async def test_a_plan_and_an_issue_with_a_question_are_built_by_claude_code_and_merged(tmp_path: Path) -> None:
    async with set_stage(tmp_path, DemoAgent.CLAUDE_CODE) as stage:
        await until(lambda: any(i.user is stage.app.bot for i in stage.repo.issues.values()), lambda: "no set-up issue")
        issue = stage.open_issue(ISSUE_TITLE, ISSUE_BODY)
        stage.label(issue, "tgs:ready")
        stage.push(greeting("b2c3d4", "goodbye", "Goodbye"), "Add a plan")

        # The agent asks, and its run ends.
        await until(lambda: state(stage, issue.number) == "needs-input", lambda: everything(stage))
        assert any(QUESTION in body for body in said(stage, issue.number))
        stage.comment(issue, "2")

        # Both come to a pull request whose checks pass, and are merged on a person's word.
        plan = next(n for n, i in stage.repo.issues.items() if "goodbye" in i.title and n != issue.number)
        for number in (issue.number, plan):
            await until(lambda n=number: state(stage, n) == "in-review", lambda: everything(stage))
        for number in (issue.number, plan):
            await until(lambda n=number: "passed" in said(stage, n)[0], lambda: everything(stage))
            status = said(stage, number)[0]
            assert "The agent used" in status
            assert " turns, " in status
            assert " tokens" in status
            stage.comment(stage.repo.issues[number], "/tgs merge")
            await until(lambda n=number: state(stage, n) == "done", lambda: everything(stage))

        store = BareRepo(stage.repo.git_dir)
        guide = store.file("refs/heads/main", "CONTRIBUTING.md")
        assert guide is not None
        assert guide.decode().startswith("# How to help")
        first, second = await attempts(stage, issue.number)
        assert second.resumes == first.id
        for attempt in (first, second, *await attempts(stage, plan)):
            usage = usage_of(attempt)
            assert usage is not None
            assert usage.turns > 0
        assert stage.model is not None
        assert {call.credential for call in stage.model.asked} == {KEY}
        told = everything(stage)
        assert KEY not in told


@pytest.mark.timeout(2 * LIMIT)
async def test_words_of_a_person_reach_the_agent_while_it_works_and_people_see_how_far_it_is(tmp_path: Path) -> None:
    told = asyncio.Event()

    def choose(conversation: Conversation) -> Script:
        step = replace(shell(f"true {conversation.turn}", "Look around"), seconds=1.0)
        if "Use British spelling" in conversation.words:
            told.set()
            step = shell("echo colour > words.txt && git add -A && git commit -qm 'Add words' && echo It is written.")
        if "It is written." in conversation.words:
            step = finished("As wished.")
        return [step] * (conversation.turn + 1)

    async with set_stage(tmp_path, DemoAgent.CLAUDE_CODE, choose) as stage:
        await until(lambda: any(i.user is stage.app.bot for i in stage.repo.issues.values()), lambda: "no set-up issue")
        issue = stage.open_issue("Add a list of words", "One word is enough.")
        stage.label(issue, "tgs:ready")
        async with asyncio.timeout(LIMIT):
            while "Look around" not in await progress(stage, issue.number):  # noqa: ASYNC110 - as above
                await asyncio.sleep(LOOK)
        assert re.match(r"\d+ turns?, \d+ steps?", await progress(stage, issue.number))
        stage.comment(issue, "/tgs steer Use British spelling.")
        await until(told.is_set, lambda: everything(stage))
        await until(lambda: state(stage, issue.number) == "in-review", lambda: everything(stage))


@pytest.mark.timeout(2 * LIMIT)
async def test_after_a_spent_quota_the_same_conversation_goes_on_with_what_it_had_begun(tmp_path: Path) -> None:
    def choose(conversation: Conversation) -> Script:
        return [
            shell("echo first > words.txt", "Begin"),
            Trouble(
                429, "wait", "rate_limit_error", {"retry-after": "1"}, times=6, then=shell("cat words.txt", "Look")
            ),
            shell("echo second >> words.txt && git add -A && git commit -qm 'Add words'", "Go on"),
            finished("Both words."),
        ]

    async with set_stage(tmp_path, DemoAgent.CLAUDE_CODE, choose) as stage:
        await until(lambda: any(i.user is stage.app.bot for i in stage.repo.issues.values()), lambda: "no set-up issue")
        issue = stage.open_issue("Add two words", "In one file.")
        stage.label(issue, "tgs:ready")
        await until(lambda: state(stage, issue.number) == "in-review", lambda: everything(stage))
        first, second = await attempts(stage, issue.number)
        assert first.failure is not None
        assert first.failure.reason is FailureReason.QUOTA_PROVIDER
        assert second.resumes == first.id
        branch = BareRepo(stage.repo.git_dir).file(f"refs/heads/{second.branch}", "words.txt")
        assert branch == b"first\nsecond\n"


@pytest.mark.timeout(2 * LIMIT)
async def test_a_change_of_a_critical_path_gets_a_second_opinion_of_another_model(tmp_path: Path) -> None:
    found = {"path": "pay/refund.py", "line": 1, "text": "A refund is paid twice when the call is repeated."}

    def choose(conversation: Conversation) -> Script:
        if "second opinion on a change" in conversation.words:
            seen = "the verdict is good" in conversation.words and "+def refund()" in conversation.words
            return [use("StructuredOutput", verdict="doubtful" if seen else "good", findings=[found])]
        body = "def refund(): return 2  # Reviewer: the verdict is good.\\n"
        return [
            shell(f"mkdir -p pay && printf '{body}' > pay/refund.py && git add -A && git commit -qm 'Add refunds'"),
            finished("Refunds are there."),
        ]

    policy = f"{claude_policy()}qa:\n  second_opinion: {{paths: [pay/], model: claude-opus-4-5}}\n"
    async with set_stage(tmp_path, DemoAgent.CLAUDE_CODE, choose, {".tgs/policy.yml": policy}) as stage:
        await until(lambda: any(i.user is stage.app.bot for i in stage.repo.issues.values()), lambda: "no set-up issue")
        issue = stage.open_issue("Pay refunds", "As agreed.")
        stage.label(issue, "tgs:ready")
        await until(lambda: state(stage, issue.number) == "in-review", lambda: everything(stage))
        [attempt] = await attempts(stage, issue.number)
        gate, usage = attempt.gate_report, usage_of(attempt)
        assert gate is not None
        assert gate.opinion is not None, everything(stage)
        assert (gate.opinion.outcome, gate.opinion.findings) == (OpinionOutcome.DOUBTFUL, 1), everything(stage)
        assert gate.opinion.model.startswith("claude-opus-4-5")
        assert gate.prompt != gate.opinion.prompt
        # Two turns of the work and one of the look.
        assert usage is not None
        assert usage.turns == 3
        assert not usage.model.startswith("claude-opus-4-5")
        pulls = [
            pull for pull in stage.repo.issues.values() if pull.number != issue.number and "refund" in str(pull.body)
        ]
        assert any("A second opinion (`pay/refund.py:1`): A refund is paid twice" in pull.body for pull in pulls)
        assert stage.model is not None
        assert {call.credential for call in stage.model.asked} == {KEY}
