"""The database is lost while people think about a question of the agent: the question is still theirs to answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.domain.attempt import Outcome
from bot.domain.model import ItemState
from bot.domain.questions import QuestionStatus
from tests.scenarios.steps import MINUTE, item_of, running, say, scene
from tests.scenarios.test_a_lost_ledger_is_rebuilt import lose
from tests.scenarios.test_questions_and_answers import GREETING, LOG, asked, questions
from tests.world import World


async def works_with(world: World, number: int, *answers: tuple[str, str]) -> None:
    """The next attempt begins anew, with these answers in its prompt, and comes to its end."""
    assert world.state(number) == "in-progress"
    run = world.run()
    await run.start()
    assert run.context["resume"] is None
    assert run.context["answers"] == [{"question": question, "answer": answer} for question, answer in answers]
    await run.publish()
    assert world.state(number) == "in-review"


async def test_an_open_question_is_still_asked_and_answered_by_its_number(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await asked(world)
        [before] = await questions(world, number)
        await lose(world)
        assert world.bot_said(number) == []
        assert world.state(number) == "needs-input"
        [after] = await questions(world, number)
        assert (after.number, after.asked.text, after.asked.choices, after.asked.default, after.attempt) == (
            before.number, before.asked.text, before.asked.choices, before.asked.default, before.attempt,
        )  # fmt: skip
        assert (after.status, after.comment_id, after.deadline) == (
            QuestionStatus.OPEN, before.comment_id, before.deadline,
        )  # fmt: skip
        [attempt] = await world.attempts(number)
        assert attempt.outcome is Outcome.ASKED

        (thanks,) = await say(world, number, "2")
        assert "question 1: `Moin moin`" in thanks
        await works_with(world, number, (GREETING["text"], "Moin moin"))


async def test_an_answer_that_was_written_while_nobody_listened_counts(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await asked(world)
        await world.stop_bot()
        world.comment(number, "2")
        await world.hub.settle()
        await lose(world)
        (thanks,) = world.bot_said(number)
        assert "question 1: `Moin moin`" in thanks
        await works_with(world, number, (GREETING["text"], "Moin moin"))


async def test_answers_that_were_taken_before_are_read_again_and_not_thanked_for_twice(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await asked(world, GREETING, LOG)
        assert len(await say(world, number, "2: app.log")) == 1
        await lose(world)
        assert world.bot_said(number) == []
        states = {question.asked.text: question.status for question in await questions(world, number)}
        assert states == {GREETING["text"]: QuestionStatus.OPEN, LOG["text"]: QuestionStatus.ANSWERED}
        await say(world, number, "1: a")
        await works_with(world, number, (GREETING["text"], "Hello"), (LOG["text"], "app.log"))


async def test_an_answer_that_waits_for_its_turn_is_not_forgotten(tmp_path: Path) -> None:
    async with scene(tmp_path, policy="max_parallel: 1\nmirror: {enabled: false}\n") as world:
        number = await asked(world)
        other = await running(world, "Another")
        await say(world, number, "2")
        assert world.state(number) == "ready"
        await lose(world)
        assert (await item_of(world, number)).state is ItemState.READY
        [question] = await questions(world, number)
        assert question.answer == ("Moin moin",)
        assert world.bot_said(number) == []
        await say(world, other, "/tgs stop")
        await world.after(30 * MINUTE)
        await works_with(world, number, (GREETING["text"], "Moin moin"))
        for issue in world.repo.issues:
            world.bot_said(issue)


@pytest.mark.parametrize("how", ["edited by a person", "deleted"])
async def test_a_question_that_is_not_ours_any_more_is_asked_anew_by_the_agent(tmp_path: Path, how: str) -> None:
    async with scene(tmp_path) as world:
        number = await asked(world)
        [comment] = [c for c in world.comments(number) if "<!-- tgs:asked" in c.body]
        await world.stop_bot()
        if how == "deleted":
            world.hub.comments.delete(comment, world.as_(world.maria))
        else:
            world.hub.comments.edit(comment, comment.body.replace("Moin", "Evil"), world.as_(world.maria))
        await world.hub.settle()
        await lose(world)
        assert await questions(world, number) == []
        await world.after(10 * MINUTE)
        assert world.state(number) == "in-progress"
        assert len(world.runs()) == 2
        world.bot_said(number)
