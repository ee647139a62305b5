"""What counts as an answer in a comment: by number, letter, label, quote or own words; and what does not."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bot.domain.model import AttemptId, InstallationId, IssueKey, RepoId
from bot.domain.questions import AskedQuestion, Choice, Question, asked_now, from_text, to_text
from bot.domain.replies import Reading, read_reply

KEY = IssueKey(InstallationId(1), RepoId(2), 7)
NOW = datetime(2026, 12, 1, 9, tzinfo=UTC)
GREETING = AskedQuestion(
    "g",
    "Which greeting should the program print at its start?",
    choices=(Choice("Hello, world", "plain"), Choice("Moin moin", "northern"), Choice("Servus")),
    default="Servus",
)
LOG = AskedQuestion("l", "What should the log file be called?")
PARTS = AskedQuestion("p", "Which parts?", choices=(Choice("api"), Choice("cli"), Choice("docs")), several=True)


def asked(*questions: AskedQuestion) -> tuple[Question, ...]:
    return asked_now(KEY, AttemptId("a"), questions, (), NOW)


MOIN = ((1, ("Moin moin",)),)


@pytest.mark.parametrize(
    ("body", "answers"),
    [
        pytest.param("2", MOIN, id="the number of the choice"),
        pytest.param(" 2. ", MOIN, id="with a dot and spaces"),
        pytest.param("b", MOIN, id="a letter"),
        pytest.param("option 2", MOIN, id="named as an option"),
        pytest.param("moin MOIN!", MOIN, id="its label in another case"),
        pytest.param("2. Moin moin", MOIN, id="its line as it stands in the list"),
        pytest.param("**2**", MOIN, id="in bold"),
        pytest.param("1: b", MOIN, id="the question and a letter"),
        pytest.param("Question 1: 2", MOIN, id="the question spelled out"),
        pytest.param("- 1: b", MOIN, id="in a list"),
        pytest.param("default", ((1, ("Servus",)),), id="what the agent suggests"),
        pytest.param("1: Hello, world", ((1, ("Hello, world",)),), id="a label with a comma"),
        pytest.param("1: Guten Tag, sir", ((1, ("Guten Tag, sir",)),), id="own words for this question"),
        pytest.param("1: Guten\nTag", ((1, ("Guten\nTag",)),), id="own words on two lines"),
        pytest.param("/tgs why\n\n2", MOIN, id="beside a command"),
        pytest.param("> Which greeting should the program print\n\n2", MOIN, id="below a quote of the question"),
        pytest.param("> Which greeting should the program print\n2", MOIN, id="right below a quote"),
        pytest.param(
            "> Which greeting should the program print at its start?\n\nSay Ahoy",
            ((1, ("Say Ahoy",)),),
            id="own words below a quote",
        ),
        pytest.param("> 2", (), id="only a quote"),
        pytest.param("```\n2\n```", (), id="in code"),
        pytest.param("    2", (), id="indented code"),
        pytest.param("<!-- 2 -->", (), id="hidden"),
        pytest.param("<details>\n\n2\n\n</details>", (), id="folded away"),
        pytest.param("# 2", (), id="a heading"),
        pytest.param("/tgs hold", (), id="only a command"),
        pytest.param("", (), id="nothing"),
        pytest.param("2" * 70_000, (), id="longer than a comment can be"),
    ],
)
def test_one_question_with_choices(body: str, answers: tuple[tuple[int, tuple[str, ...]], ...]) -> None:
    assert read_reply(body, asked(GREETING)).answers == answers


@pytest.mark.parametrize(
    ("body", "unclear"),
    [
        pytest.param("4", True, id="a number that is no choice"),
        pytest.param("1: z", True, id="a letter that is no choice"),
        pytest.param("What is the difference?", True, id="a question back"),
        pytest.param("Something else entirely", True, id="words without the question's number"),
        pytest.param("> somebody said\n\n```\n2\n```", False, id="nothing that is meant for us"),
    ],
)
def test_what_is_not_surely_an_answer_is_none(body: str, unclear: bool) -> None:
    assert read_reply(body, asked(GREETING)) == Reading(unclear=unclear)


@pytest.mark.parametrize(
    ("body", "reading"),
    [
        pytest.param("app.log", Reading(((1, ("app.log",)),)), id="own words for the only question"),
        pytest.param("1: app.log?", Reading(((1, ("app.log?",)),)), id="whatever is said to its number"),
        pytest.param("Why?", Reading(unclear=True), id="a question back"),
        pytest.param("@tom what do you think", Reading(unclear=True), id="words to somebody"),
    ],
)
def test_a_question_without_choices(body: str, reading: Reading) -> None:
    assert read_reply(body, asked(LOG)) == reading


@pytest.mark.parametrize(
    ("body", "reading"),
    [
        pytest.param(
            "1: b\n2: app.log", Reading(((1, ("Moin moin",)), (2, ("app.log",)))), id="both in one comment, by line"
        ),
        pytest.param("1. b\n2. app.log", Reading(((1, ("Moin moin",)), (2, ("app.log",)))), id="as a numbered list"),
        pytest.param("2: app.log", Reading(((2, ("app.log",)),)), id="only one of them"),
        pytest.param("1: z\n2: app.log", Reading(((2, ("app.log",)),), unclear=True), id="one of them unclear"),
        pytest.param("2", Reading(unclear=True), id="a choice of nobody knows which"),
        pytest.param(
            "> What should the log file be called?\n\napp.log\n\n> Which greeting should the program print\n\na",
            Reading(((1, ("Hello, world",)), (2, ("app.log",)))),
            id="by quotes, in any order",
        ),
    ],
)
def test_two_questions(body: str, reading: Reading) -> None:
    assert read_reply(body, asked(GREETING, LOG)) == reading


@pytest.mark.parametrize("body", ["1, 3", "a and c", "api, docs", "1 + docs"])
def test_several_choices_where_several_may_be_taken(body: str) -> None:
    assert read_reply(body, asked(PARTS)) == Reading(((1, ("api", "docs")),))


def test_questions_survive_being_written_down() -> None:
    questions = asked(GREETING, LOG, PARTS)
    again = from_text(to_text(questions))
    assert [(number, q.text, q.choices, q.several, q.default) for number, q in again] == [
        (q.number, q.asked.text, q.asked.choices, q.asked.several, q.asked.default) for q in questions
    ]
    assert from_text("{") == from_text('{"a": 1}') == ()
