"""Sanitising is total, bounded and idempotent, and what it promises holds for any text."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bot.domain.sanitise import (
    MAX_TEXT,
    for_branch,
    for_comment,
    for_commit,
    for_inline,
    for_prompt,
    for_terminal,
    for_title,
    redact,
    visible,
)

pieces = st.sampled_from(
    [
        "<!--",
        "-->",
        "<",
        ">",
        "!",
        "[",
        "]",
        "(",
        ")",
        "@",
        "#1",
        "/",
        "\n",
        "\n\n",
        "```",
        "~~~",
        "`",
        " ",
        "    ",
        "- ",
        "> ",
        "fixes ",
        "[skip ci]",
        "skip-checks:",
        "${{",
        "\u200b",
        "\u202e",
        "\x1b[",
        "\x1b]",
        "\x07",
        "\ue000",
        "a",
        "b=",
        '"',
        "<img ",
        "<a b=",
        "<div>",
        "***NO_CI***",
        "\r",
        "\u2028",
        "$",
        "{",
        "e",
        "\u0301",
        "ghs_",
        "eyJ",
        ".",
        "://",
        ":",
        "-----BEGIN PRIVATE KEY-----",
    ]
)
texts = st.lists(pieces | st.text(max_size=4), max_size=25).map("".join)

STABLE = [for_prompt, for_comment, for_commit, for_title, for_branch, for_terminal, visible, redact]


@pytest.mark.parametrize("function", STABLE, ids=lambda f: f.__name__)
@settings(max_examples=150, deadline=None)
@given(text=texts)
@example(text="    <!--")
@example(text="`" * 9)
@example(text="<!-- --> ```\n<!-- x -->")
@example(text="<!<!-- -->-- a")
@example(text="\x1b\x1b[m[31m")
def test_once_is_enough(function: Callable[[str], str], text: str) -> None:
    once = function(text)
    assert function(once) == once
    assert len(once) <= MAX_TEXT or function in (visible, redact)


@settings(max_examples=300, deadline=None)
@given(texts)
def test_nothing_invisible_survives(text: str) -> None:
    for clean in (for_prompt(text), for_terminal(text)):
        assert re.search("[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\x00-\x08\x0b-\x1f\x7f-\x9f]", clean) is None
    assert "${{" not in for_prompt(text) + for_comment(text) + for_title(text)


@settings(max_examples=300, deadline=None)
@given(texts)
def test_nothing_acts_in_a_commit(text: str) -> None:
    clean = for_commit(text)
    assert re.search(r"@[A-Za-z0-9]|!\[|<[A-Za-z/!?]|\[skip ci\]|(?m:^\s*/\S)", clean) is None
    assert re.search(r"\bfixes\W{0,3}#1", clean) is None


@given(st.text(max_size=400))
def test_an_inline_text_is_one_line_and_mentions_nobody(text: str) -> None:
    clean = for_inline(text)
    assert "\n" not in clean
    assert re.search(r"@[A-Za-z0-9]", clean) is None


PIECES = [
    "<!--",
    "<!-",
    "![",
    "<a b=",
    "<a =",
    "\x1b[",
    "`",
    "```\n",
    "[x]:",
    "<!-- -->",
    "@",
    "<?",
    "<!a",
    "<img ",
    "\x9d",
]
PIECES += [
    "\x1b]",
    "fix-",
    "fix a/",
    "eyJ-",
    "[",
    "***",
    "[x](",
    "://a:",
    "/",
    "- ",
    "-----BEGIN ",
    "skip-checks ",
    "$",
]


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.timeout(10)
def test_built_text_does_not_keep_the_sanitiser_busy(piece: str) -> None:
    long = (piece * 60_000)[:60_000]
    for function in (for_prompt, for_comment, for_title, redact):
        function(long)


@pytest.mark.timeout(10)
def test_things_hidden_in_each_other_do_not_keep_the_sanitiser_busy() -> None:
    depth = 3_000
    assert for_prompt("<!" * depth + "<!-- -->" + "-- -->" * depth) != ""
    assert for_title("<!" * depth + "<!-- -->" + "-- -->" * depth) != ""
