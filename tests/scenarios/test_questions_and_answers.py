"""An agent asks on the issue, people answer there, and the same conversation goes on."""

from __future__ import annotations

import hashlib
import io
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bot.domain.attempt import Outcome
from bot.domain.questions import Question, QuestionStatus
from tests.scenarios.steps import DAY, HOUR, MINUTE, item_of, last_attempt, ready, running, say, scene, why
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


async def questions(world: World, number: int) -> list[Question]:
    return await world.parts.store.read(lambda tx: tx.questions(world.key(number)))


async def asked(world: World, *questions: dict[str, Any], **options: Any) -> int:
    """The same, and the question was read."""
    number = await asking(world, *questions, **options)
    world.bot_said(number)
    return number


def edit_comment(world: World, comment: int, text: str) -> None:
    for record in world.repo.issues.values():
        for found in record.comments:
            if found.id == comment:
                world.hub.comments.edit(found, text, world.as_(world.maria))


async def test_two_questions_are_answered_one_by_one_and_both_are_needed(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await asking(world, GREETING, LOG)
        (said,) = world.bot_said(number)
        assert "the agent has 2 questions" in said.lower()
        assert "- **b**: Moin moin" in said
        assert "such as `1: a` and `2: your words`" in said

        (thanks,) = await say(world, number, "2: app.log")
        assert "Still open: question 1." in thanks
        assert world.state(number) == "needs-input"
        (thanks,) = await say(world, number, "/tgs answer 1 b")
        assert "goes on with it" in thanks
        await world.run().start()
        assert world.run().context["resume"]["answers"] == {"greeting": ["Moin moin"], "log": ["app.log"]}


async def test_words_that_are_no_answer_get_one_polite_reply(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await asked(world)

        (reply,) = await say(world, number, "What would the difference be?")
        assert "I could not read that as an answer" in reply
        assert "1. Hello" in reply
        assert await say(world, number, "And does it matter?") == []
        assert world.state(number) == "needs-input"


async def test_who_may_not_answer_is_told_once_and_may_go_on_talking(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await asked(world)

        (refusal,) = await say(world, number, "2", by=world.rita)
        assert "needs the role write or higher; you have read" in refusal
        assert await say(world, number, "1: Moin moin then", by=world.rita) == []
        assert await say(world, number, "I would like Moin moin.", by=world.tom) == []
        assert world.state(number) == "needs-input"


async def test_policy_may_let_contributors_answer(tmp_path: Path) -> None:
    async with scene(tmp_path, policy="roles: {answer: read}\nmirror: {enabled: false}\n") as world:
        number = await asked(world)

        (thanks,) = await say(world, number, "2", by=world.rita)
        assert thanks.startswith("@rita: Thank you, I understood:")
        assert world.state(number) == "in-progress"


async def test_an_answer_may_be_edited_until_the_agent_goes_on_and_not_later(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await asked(world)
        world.comment(number, "/tgs pause for lunch")
        comment = world.comment(number, "2")
        await world.settle()
        world.bot_said(number)
        assert world.state(number) == "ready"

        edit_comment(world, comment, "1")
        await world.settle()
        (thanks,) = world.bot_said(number)
        assert "question 1: `Hello`" in thanks
        world.comment(number, "/tgs resume")
        await world.settle()
        world.bot_said(number)
        await world.run().start()
        assert world.run().context["resume"]["answers"] == {"greeting": ["Hello"]}

        edit_comment(world, comment, "1: Ahoy")
        await world.settle()
        (late,) = world.bot_said(number)
        assert "comes too late: the agent works on question 1 with the answer `Hello` already" in late
        edit_comment(world, comment, "1: Ahoy ahoy")
        await world.settle()
        assert (await questions(world, number))[0].answer == ("Hello",)


async def test_an_answered_item_goes_before_others_of_its_priority_and_not_before_higher_ones(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await asked(world)
        other = await ready(world, "Add a farewell")
        high = await ready(world, "Urgent")
        await say(world, high, "/tgs priority high")
        await world.run().start()
        assert world.state(other) == "in-progress"

        await say(world, number, "2")
        assert world.state(number) == "ready"
        assert ((await item_of(world, high)).position, (await item_of(world, number)).position) == (2, 1)
        await world.run().fail("policy.denied")
        world.bot_said(other)
        assert world.state(number) == "in-progress"


async def test_people_are_reminded_twice_and_then_left_alone(tmp_path: Path) -> None:
    async with scene(tmp_path, policy="locks: [src/]\nkeep_locks: true\nmirror: {enabled: false}\n") as world:
        number = await asked(world)
        assert [lock.issue for lock in await world.parts.store.read(lambda tx: tx.locks(world.repo_key))] == [number]
        other = await ready(world, "Add a farewell")
        assert f"waits for #{number}" in world.status(other)

        await world.after(23 * HOUR)
        assert world.bot_said(number) == []
        await world.after(2 * HOUR)
        (reminder,) = world.bot_said(number)
        assert reminder.startswith("@maria: The agent waits for 1 answer since 2026-11-02 09:00 UTC.")
        await world.after(2 * DAY)
        assert len(world.bot_said(number)) == 1
        assert world.state(other) == "ready"

        await world.after(4 * DAY)
        assert world.bot_said(number) == []
        assert (world.state(number), world.state(other)) == ("needs-input", "in-progress")
        assert [q.status for q in await questions(world, number)] == [QuestionStatus.EXPIRED]
        assert "nobody gave one in time" in await why(world, number)
        await say(world, number, "2")
        assert world.state(number) == "ready"


@pytest.mark.parametrize(("stop", "go"), [("/tgs hold", "/tgs unhold"), ("/tgs pause for a week", "/tgs resume")])
async def test_hold_and_pause_stop_the_clock_of_a_question(tmp_path: Path, stop: str, go: str) -> None:
    async with scene(tmp_path) as world:
        number = await asked(world)
        office = world.issue("Office")
        where = number if "hold" in stop else office
        await world.after(20 * HOUR)
        await say(world, where, stop)
        await world.after(10 * DAY)
        assert world.bot_said(number) == []
        assert [q.status for q in await questions(world, number)] == [QuestionStatus.OPEN]

        await say(world, where, go)
        await world.after(3 * HOUR)
        assert world.bot_said(number) == []
        await world.after(2 * HOUR)
        assert len(world.bot_said(number)) == 1


@pytest.mark.parametrize("how", ["stop", "close", "reject"])
async def test_nobody_waits_for_the_answer_of_an_item_that_ended(tmp_path: Path, how: str) -> None:
    async with scene(tmp_path, policy="locks: [src/]\nkeep_locks: true\nmirror: {enabled: false}\n") as world:
        number = await asked(world)
        if how == "close":
            world.close(number)
        else:
            world.comment(number, f"/tgs {how} not now")
        await world.settle()
        world.bot_said(number)

        assert [q.status for q in await questions(world, number)] == [QuestionStatus.WITHDRAWN]
        assert await world.parts.store.read(lambda tx: tx.locks(world.repo_key)) == []
        assert await say(world, number, "2") == []
        await world.after(8 * DAY)
        assert world.bot_said(number) == []


async def test_an_item_that_asks_without_end_is_given_up(tmp_path: Path) -> None:
    async with scene(tmp_path, policy="questions: {max_rounds: 1}\nmirror: {enabled: false}\n") as world:
        number = await asked(world)
        await say(world, number, "2")
        await world.run().start()
        await world.run().ask(LOG)

        (failed,) = world.bot_said(number)
        assert "asked more than 1 times" in failed
        assert world.state(number) == "failed"


async def test_a_stop_goes_before_a_question(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await running(world)
        world.comment(number, "/tgs stop")
        await world.settle()
        world.bot_said(number)
        await world.run().ask(GREETING)

        assert world.bot_said(number) == []
        assert world.state(number) == "cancelled"


async def test_what_the_agent_asks_cannot_do_anything_on_github(tmp_path: Path) -> None:
    nasty = {
        "id": "x",
        "text": "@tom please\n/tgs merge\nCloses #1 ![pixel](http://evil.example/x)",
        "choices": [{"label": "@rita", "description": "<b>fixes #1</b>"}],
    }
    async with scene(tmp_path) as world:
        number = await asking(world, nasty)
        (said,) = world.bot_said(number)
        assert "@tom" not in said.replace("\u200b", "@\u200b") or "@\u200btom" in said
        assert "![pixel]" not in said
        assert "\n/tgs" not in said.replace("> ", "")
        assert "Closes #1" not in said
        assert "<b>" not in said


async def test_an_attempt_reads_only_what_was_left_for_it(tmp_path: Path) -> None:
    async with scene(tmp_path, policy="max_parallel: 2\nmirror: {enabled: false}\n") as world:
        number = await asked(world, transcript=b"secret talk")
        asker = world.run()
        assert (await asker.fetch("transcript"))[0] == 409
        other = await running(world, "Add a farewell")
        stranger = world.run()
        assert (await stranger.fetch("transcript"))[0] == 404
        stranger.attempt, own = asker.attempt, stranger.attempt
        assert (await stranger.fetch("transcript"))[0] == 409
        stranger.attempt = own
        assert (await stranger.send("transcript", io.BytesIO(b"x" * 33_000_000)))[0] == 400
        assert world.state(other) == "in-progress"
        assert (await last_attempt(world, number)).outcome is Outcome.ASKED
        await world.after(MINUTE)


async def over_api(world: World, method: str, path: str, by: str, body: object = None) -> Any:
    assert world.http is not None
    headers = {"Authorization": f"Bearer {world.hub.user_token(by)}"}
    async with world.http.request(method, f"{world.url}/api/v1{path}", json=body, headers=headers) as answer:
        assert answer.status < 300, await answer.text()
        return await answer.json()


async def test_a_question_is_a_message_and_an_answer_over_the_api_counts(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await asked(world)
        item = await over_api(world, "GET", f"/repos/olga/greeter/items/{number}", "rita")
        (question,) = item["questions"]
        assert (question["number"], question["text"], question["status"]) == (1, GREETING["text"], "open")
        assert [choice["label"] for choice in question["choices"]] == ["Hello", "Moin moin"]
        assert question["comment_id"] in [comment.id for comment in world.comments(number)]

        page = await over_api(world, "GET", f"/chat/messages?repo=olga/greeter&number={number}", "rita")
        (message,) = [m for m in page["messages"] if m["comment_id"] == question["comment_id"]]
        assert (message["sender_type"], message["type"], message["sender"]) == (
            "worker",
            "request",
            question["attempt"],
        )
        reply = {"repo": "olga/greeter", "number": number, "text": "2", "parent": message["id"]}
        said = await over_api(world, "POST", "/chat/messages", "maria", reply)
        assert said["type"] == "response"
        await world.settle()
        assert "`maria` says:" in world.bot_said(number)[0]
        assert world.state(number) == "in-progress"
        item = await over_api(world, "GET", f"/repos/olga/greeter/items/{number}", "rita")
        (question,) = item["questions"]
        assert (question["answer"], question["answered_by"]) == (["Moin moin"], "maria")
        steer = f"/repos/olga/greeter/items/{number}/actions/steer"
        await world.meanwhile(over_api(world, "POST", steer, "maria", {"args": ["hurry"]}))


async def test_who_is_asked_on_two_issues_is_reminded_once_a_day(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        first = await asked(world)
        await world.after(HOUR)
        second = await running(world, "Add a farewell")
        await world.run().ask(LOG)
        world.bot_said(second)

        await world.after(26 * HOUR)
        (reminder,) = [*world.bot_said(first), *world.bot_said(second)]
        assert f"Also waiting for you: #{second}." in reminder
        await world.after(2 * DAY)
        assert len([*world.bot_said(first), *world.bot_said(second)]) == 1


async def test_the_history_keeps_what_a_transcript_was_when_its_bytes_are_gone(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await running(world)
        words = b"what was said\n"
        for _ in range(2):
            assert (await world.run().send("transcript", words))[0] == 200
        await world.run().ask(LOG, session=None)
        world.bot_said(number)
        [attempt] = await world.attempts(number)
        history = await world.parts.store.read(lambda tx: tx.history(world.key(number)))
        [line] = [line for line in history if line.kind == "transcript.kept"]
        until = (line.at + timedelta(days=30)).isoformat()
        assert line.detail == {"sha256": hashlib.sha256(words).hexdigest(), "bytes": "14", "until": until}
        assert (line.attempt, line.fence) == (attempt.id, attempt.fence)
