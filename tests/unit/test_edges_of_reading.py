"""Values at the edges of what people may write, each with a clear answer."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from bot.domain.command_args import arguments
from bot.domain.command_parser import MAX_BODY, ParseError, parse
from bot.domain.commands import Command, Verb
from bot.domain.front_matter import from_plan
from bot.domain.mirror import ThoughtText
from bot.domain.policy import parse_policy
from bot.domain.reasons import ReasonCode, waiting
from bot.domain.thoughts import MAX_THOUGHTS, Thought, recognise
from bot.domain.yaml_source import YamlText, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("a: 2026-12-01", "2026-12-01", id="a date stays text"),
        pytest.param("a: ~", None, id="nothing"),
        pytest.param("a: on", True, id="an old-fashioned truth value"),
        pytest.param("a: 0x10", 16, id="a hexadecimal number"),
        pytest.param("a: 1.5", 1.5, id="a fraction"),
        pytest.param("a: [x, 1]", ("x", 1), id="a list"),
        pytest.param("a: <<", "<<", id="the word for merging is a text"),
        pytest.param("a: =", "=", id="an equals sign is a text"),
    ],
)
def test_values_are_read_plainly(text: str, value: object) -> None:
    source = read_yaml(text, max_chars=100)
    assert isinstance(source, YamlText)
    assert isinstance(source.value, Mapping)
    assert source.value["a"] == value


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("a: !!int foo", "not a value", id="a tag that does not fit"),
        pytest.param("a: " + "9" * 5_000, "not a value", id="a number of thousands of digits"),
        pytest.param("a: !!binary eA==", "tag", id="binary data"),
        pytest.param("a: !own x", "tag", id="a tag of somebody"),
    ],
)
def test_values_that_cannot_be_read_have_a_position(text: str, says: str) -> None:
    faults = read_yaml(text, max_chars=10_000)
    assert not isinstance(faults, YamlText)
    assert says in faults[0].message
    assert (faults[0].line, faults[0].column) == (1, 4)


@pytest.mark.parametrize(
    ("block", "says"),
    [
        ("locks: [{path: src/, mode: both}]", "mode must be read or write"),
        ("priority: 1001", "less than or equal to 1000"),
        ("budget: 2", None),
        ("budget: {usd: 0}", "greater than 0"),
        ("budget: x", "section"),
        ("qa: yes", "section"),
        ("id: 12", None),
        ("depends_on: 7", None),
    ],
)
def test_edges_of_front_matter(block: str, says: str | None) -> None:
    result = from_plan(f"---\n{block}\n---\n")
    if says is None:
        assert result.errors == ()
    else:
        assert says in result.errors[0].what


def test_a_branch_of_the_policy_must_be_safe() -> None:
    for name in ("a..b", "a//b", "a.lock", "-x", "a b", "x/"):
        assert parse_policy(f"base_branches: ['{name}']").policy is None
    assert parse_policy("base_branches: [develop, release/1.x]").problems == ()


def test_a_comment_longer_than_github_allows_asks_for_nothing() -> None:
    assert parse("/tgs start\n" + "x" * MAX_BODY) == ()


def test_requesting_changes_without_saying_which_is_a_mistake() -> None:
    (found,) = parse("REQUEST CHANGES:")
    assert isinstance(found, ParseError)
    assert found.verb is Verb.REJECT


def test_quotes_that_are_not_closed_are_part_of_the_text() -> None:
    assert parse('/tgs hold "x') == (Command(Verb.HOLD, ('"x',)),)
    assert parse('/tgs hold "x"y z') == (Command(Verb.HOLD, ('"x"y z',)),)


def test_a_command_of_a_later_version_keeps_its_text() -> None:
    (found,) = parse("/tgs takeover mind the docs")
    assert found == Command(Verb.TAKEOVER, ("mind the docs",))
    assert arguments(Verb.TAKEOVER, ("mind the docs",)).values == {}
    assert arguments(Verb.START, ()).priority is None
    assert arguments(Verb.START, ()).until is None


def test_thoughts_beyond_the_limit_are_told() -> None:
    class Folder:
        def __init__(self, name: str) -> None:
            self.path, self.mode, self.type, self.sha, self.size = name, "040000", "tree", "s", None

    _, problems = recognise([Folder(f"{n:06d}-x") for n in range(MAX_THOUGHTS + 1)])
    assert "thoughts_too_many" in {problem.problem.code for problem in problems}


def test_paths_of_a_thought() -> None:
    thought = Thought("tgs/thoughts/abc123-x", "abc123", "x", "r", "p")
    assert thought.plan_path == "tgs/thoughts/abc123-x/plan.md"
    assert thought.research_path == "tgs/thoughts/abc123-x/research.md"
    assert ThoughtText(thought).title == "X"


def test_reasons_without_values_are_empty_texts() -> None:
    assert waiting(ReasonCode.HELD, by=None).params == (("by", ""),)
