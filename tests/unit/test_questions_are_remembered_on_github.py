"""What a comment that asks leaves in itself: nothing is lost on the way, nothing else is believed."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.model import AttemptId, InstallationId, IssueKey, RepoId
from bot.domain.question_memory import MAX_PACKED, MAX_UNPACKED, RoundMemory, asked_again, of_round, round_memory
from bot.domain.questions import PATIENCE, AskedQuestion, Choice, Question, to_text
from bot.texts import markers

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEY = IssueKey(InstallationId(1), RepoId(2), 3)
WORDS = st.text(max_size=60)
ASKED = st.builds(
    AskedQuestion,
    id=st.just("7"),
    text=WORDS,
    header=WORDS,
    choices=st.lists(st.builds(Choice, WORDS, WORDS), max_size=4).map(tuple),
    several=st.booleans(),
    default=st.none() | WORDS,
)


def question(asked: AskedQuestion) -> Question:
    return Question(KEY, 7, AttemptId("a1"), asked, NOW, NOW + PATIENCE)


def packed(*asked: AskedQuestion) -> str:
    return of_round("a1", to_text([question(one) for one in asked]), (NOW + PATIENCE).isoformat())


@given(ASKED)
def test_what_was_asked_comes_back_from_the_comment(asked: AskedQuestion) -> None:
    body = markers.stamp("Words", markers.asked(packed(asked)), markers.say("ask:a1:7"))
    [mark] = [mark for mark in markers.read(body) if mark.kind is markers.MarkerKind.ASKED]
    memory = round_memory(mark.value)
    assert memory == RoundMemory(AttemptId("a1"), ((7, asked),), NOW + PATIENCE)
    [back] = asked_again(KEY, [(memory, 99, NOW)], AttemptId("a1"))
    assert back == replace(question(asked), comment_id=99)
    assert asked_again(KEY, [(memory, 99, NOW)], AttemptId("a2")) == ()


def test_time_that_stood_still_begins_anew() -> None:
    memory = round_memory(of_round("a1", to_text([question(AskedQuestion("7", "Which?"))]), None))
    assert memory is not None
    [back] = asked_again(KEY, [(memory, 99, NOW + timedelta(hours=1))], AttemptId("a1"))
    assert back.deadline == NOW + timedelta(hours=1) + PATIENCE


def test_a_round_too_long_for_a_marker_leaves_none() -> None:
    varied = "".join(chr(0x4E00 + number * 7919 % 20_000) for number in range(9_000))
    assert packed(AskedQuestion("7", varied)) == ""
    assert 0 < len(packed(AskedQuestion("7", "same words " * 180))) <= MAX_PACKED


def other_form(values: object) -> str:
    return base64.b64encode(zlib.compress(json.dumps(values).encode())).decode().rstrip("=").replace("+", ".")


NOTHING = {
    "no words": "",
    "no base64": "%%%",
    "not compressed": base64.b64encode(b"[1]").decode(),
    "a form of another version": other_form([2, "a1", None, "[]"]),
    "no list": other_form({"v": 1}),
    "no attempt": other_form([1, "", None, to_text([question(AskedQuestion("7", "Which?"))])]),
    "no questions": other_form([1, "a1", None, "[]"]),
    "a time that is none": other_form([1, "a1", "soon", to_text([question(AskedQuestion("7", "Which?"))])]),
    "a bomb": other_form([1, "a1", None, " " * (4 * MAX_UNPACKED)]),
}


@pytest.mark.parametrize("value", NOTHING.values(), ids=NOTHING.keys())
def test_anything_else_is_nothing(value: str) -> None:
    assert round_memory(value) is None
