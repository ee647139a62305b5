"""An agent asks on the issue, people answer there, and the same conversation goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bot.domain.attempt import Outcome
from bot.domain.questions import QuestionStatus
from tests.scenarios.steps import running, scene
from tests.world import World

GREETING = {
    "id": "greeting",
    "text": "Which greeting should it print?",
    "choices": [{"label": "Hello", "description": "plain"}, {"label": "Moin moin", "description": "northern"}],
    "default": "Hello",
}
LOG = {"id": "log", "text": "What should the log be called?"}


async def asking(world: World, *questions: dict[str, Any], **options: Any) -> int:
    """An item whose agent waits for an answer."""
    number = await running(world)
    await world.run().ask(*(questions or (GREETING,)), **options)
    return number


async def test_a_question_is_asked_answered_by_number_and_the_conversation_goes_on(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await asking(world, transcript=b"the whole talk\n")

        assert world.state(number) == "needs-input"
        (said,) = world.bot_said(number)
        assert said.startswith("@maria: The agent has a question and waits for your answer.")
        assert "> Which greeting should it print?" in said
        assert "1. Hello – plain *(the agent's suggestion)*\n2. Moin moin – northern" in said
        assert "**Answer** with a number in a comment, such as `2`" in said
        (first,) = await world.attempts(number)
        assert first.outcome is Outcome.ASKED
        item = await world.item(number)
        assert item is not None
        assert item.attempts_burnt == 0
        assert "Needs an answer" in world.status(number)

        comment = world.comment(number, "2")
        await world.settle()

        assert world.reactions(comment) == {"eyes"}
        (thanks,) = world.bot_said(number)
        assert "question 1: `Moin moin`" in thanks
        assert world.state(number) == "in-progress"
        run = world.run()
        await run.start()
        resume = run.context["resume"]
        assert (resume["session_id"], resume["answers"]) == ("s-1", {"greeting": ["Moin moin"]})
        assert await run.fetch("transcript") == (200, b"the whole talk\n")
        assert run.context["answers"] == [{"question": GREETING["text"], "answer": "Moin moin"}]
        await run.publish()
        assert world.state(number) == "in-review"
        (question,) = await world.parts.store.read(lambda tx: tx.questions(world.key(number)))
        assert (question.status, question.delivered) == (QuestionStatus.ANSWERED, run.attempt)
