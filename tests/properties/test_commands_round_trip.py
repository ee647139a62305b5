"""Any command survives being written and read; no text makes the parser raise; quoted text asks for nothing."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bot.domain.command_args import Token, arguments, bind
from bot.domain.command_parser import MAX_BODY, ParseError, parse, render
from bot.domain.commands import COMMANDS, MAX_TEXT_ARGUMENT, Command, Kind, Param, Verb, available

# Surrogates cannot come out of JSON that GitHub sends.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
dates = st.datetimes(datetime(1000, 1, 1), datetime(9999, 12, 31)).map(  # noqa: DTZ001 - hypothesis wants naive bounds
    lambda at: at.replace(tzinfo=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
)
shas = st.text("0123456789abcdef", min_size=7, max_size=40)


def values(param: Param) -> st.SearchStrategy[str]:
    match param.kind:
        case Kind.TEXT:
            return texts.map(str.strip).filter(lambda t: bool(t) and t not in ALL_FLAGS)
        case Kind.PRIORITY:
            return st.sampled_from(["high", "normal", "low"]) | st.integers(-1000, 1000).map(str)
        case Kind.DATE:
            return dates
        case Kind.APPROVAL:
            return st.sampled_from(["plan", "research"]) | shas
        case Kind.COMMAND:
            return st.sampled_from([verb.value for verb in COMMANDS])
        case Kind.PATH:
            return st.sampled_from(["src/auth/**", "read:docs/a file.md", "**", '"odd".txt', "-x"])
        case Kind.AMOUNT:
            return st.decimals(min_value="0.01", max_value="99999.99", places=2).map(lambda amount: f"{amount:.2f}")
        case Kind.QUESTION:
            return st.integers(1, 9_999).map(str)
        case Kind.ISSUE:
            return st.integers(1, 999_999_999).map(lambda number: f"#{number}")


ALL_FLAGS = frozenset(flag for spec in COMMANDS.values() for flag in spec.flags)


@st.composite
def commands(draw: st.DrawFn) -> Command:
    spec = draw(st.sampled_from(available()))
    args: list[str] = sorted(flag for flag in spec.flags if draw(st.booleans()))
    for param in spec.params:
        if param.required or draw(st.booleans()):
            args += [param.keyword] if param.keyword else []
            args.append(draw(values(param)))
    return Command(spec.verb, tuple(args))


@given(commands())
@example(Command(Verb.PAUSE, ("until",)))
@example(Command(Verb.HOLD, ('"',)))
@example(Command(Verb.HOLD, ("\\",)))
@example(Command(Verb.HOLD, ("--now",)))
@example(Command(Verb.HOLD, ("a\r\nb\u2028c",)))
def test_a_command_that_is_written_is_read_back_equal(command: Command) -> None:
    assert parse(render(command)) == (command,)


@given(commands())
def test_stored_arguments_have_names(command: Command) -> None:
    named = arguments(command.verb, command.args)
    assert len(named.flags) + len(named.values) + ("until" in named.values) == len(command.args)


@given(
    commands(),
    st.sampled_from(["> {}", "```\n{}\n```", "    {}", "- {}", "<pre>\n{}\n</pre>", "<!-- \n{}\n-->", "# {}"]),
)
def test_the_same_text_in_quotes_or_code_asks_for_nothing(command: Command, wrapping: str) -> None:
    line = render(command)
    if "-->" in line or "</pre>" in line or "```" in line:
        return
    assert parse(wrapping.format(line)) == ()


pieces = st.sampled_from(
    [
        "/tgs ",
        "/tgs start",
        "/tgs stop --now",
        "\n",
        "\r\n",
        "> ",
        "```",
        "`",
        "<!--",
        "-->",
        "<details>",
        "</",
        "- ",
        "    ",
        "[",
        "](",
        "**",
        "|",
        "---",
        '"',
        "\\",
        "\t",
        "until",
        "APPROVE plan",
        "REQUEST CHANGES:",
        "\ue0000\ue001",
        "#",
        "&",
    ]
)


@settings(max_examples=300)
@given(st.lists(pieces | st.text(max_size=5), max_size=30).map("".join))
def test_no_text_makes_the_parser_raise(body: str) -> None:
    for found in parse(body, datetime(2026, 1, 1, tzinfo=UTC)):
        if isinstance(found, ParseError):
            assert found.message
            assert "\n" not in found.message
        else:
            assert parse(render(found)) == (found,)


@given(st.text(max_size=50), st.sampled_from(sorted(Verb)))
def test_no_argument_makes_the_reading_raise(text: str, verb: Verb) -> None:
    bound = bind(verb, [Token(text, 1, False, text)], datetime(2026, 1, 1, tzinfo=UTC))
    if isinstance(bound, Command):
        arguments(bound.verb, bound.args)


@pytest.mark.parametrize(
    "evil", ["[", "*a ", "`", "<a ", "![", "> ", "a\n", "<!--", "_a__b", "[a](<b", "~~a", "/tgs x\n"]
)
@pytest.mark.timeout(20)
def test_built_text_does_not_keep_the_parser_busy(evil: str) -> None:
    parse((evil * MAX_BODY)[: MAX_BODY - 20] + "\n\n/tgs start")


def test_a_text_argument_has_a_limit() -> None:
    found = parse(f"/tgs hold {'x' * (MAX_TEXT_ARGUMENT + 1)}")
    assert isinstance(found[0], ParseError)
    assert parse(f"/tgs hold {'x' * MAX_TEXT_ARGUMENT}") == (Command(Verb.HOLD, ("x" * MAX_TEXT_ARGUMENT,)),)
