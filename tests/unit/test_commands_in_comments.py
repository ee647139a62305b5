"""Where a command counts, how it is read, and what a reader is told when it cannot be."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bot.domain.command_args import arguments
from bot.domain.command_parser import MAX_COMMANDS, ErrorKind, ParseError, parse, suggest
from bot.domain.commands import COMMANDS, OTHER_WORDS, Command, Verb, available, may
from bot.domain.model import Role
from bot.domain.permissions import Allowed, Denied
from bot.domain.policy_model import Policy

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("body", "verbs"),
    [
        pytest.param("/tgs start", ["start"], id="a plain line counts"),
        pytest.param("   /tgs start", ["start"], id="three spaces are still plain text"),
        pytest.param("/TGS Start", ["start"], id="case does not matter"),
        pytest.param("Thanks.\n/tgs start\n", ["start"], id="a line inside a paragraph counts"),
        pytest.param("/tgs hold x\r\n/tgs why\r\n", ["hold", "why"], id="several commands with CRLF count in order"),
        pytest.param("please /tgs start", [], id="not in the middle of a line"),
        pytest.param("/tgsstart", [], id="not without a space"),
        pytest.param("> /tgs start", [], id="not in a quote"),
        pytest.param("> quoted\n/tgs start", [], id="not in the lazy continuation of a quote"),
        pytest.param("> quoted\n\n/tgs start", ["start"], id="after the quote has ended"),
        pytest.param("```\n/tgs start\n```", [], id="not in a fenced block"),
        pytest.param("~~~\n/tgs start", [], id="not in a fence that is never closed"),
        pytest.param("    /tgs start", [], id="not in an indented block"),
        pytest.param("`a\n/tgs start\nb`", [], id="not in inline code over several lines"),
        pytest.param("- /tgs start", [], id="not in a list"),
        pytest.param("- item\n/tgs start", [], id="not in the lazy continuation of a list"),
        pytest.param("1. x\n\n   /tgs start", [], id="not in a paragraph of a list item"),
        pytest.param("/tgs start\n---", [], id="not in a heading underlined afterwards"),
        pytest.param("# /tgs start", [], id="not in a heading"),
        pytest.param("| a |\n|---|\n/tgs start", [], id="not in a table's row"),
        pytest.param("<!--\n/tgs start\n-->", [], id="not in a hidden comment"),
        pytest.param("x <!--\n/tgs start\n--> y", [], id="not in an inline hidden comment"),
        pytest.param("<div>\n/tgs start\n</div>", [], id="not in an HTML block"),
        pytest.param("<details>\n\n/tgs start\n\n</details>", [], id="not in a collapsed part"),
        pytest.param("<details>\n\nx\n\n</details>\n\n/tgs why", ["why"], id="after the collapsed part has ended"),
        pytest.param("**bold\n/tgs start**", [], id="not inside emphasis"),
        pytest.param("[a\n/tgs start](https://x.test)", [], id="not inside a link"),
        pytest.param("![a\n/tgs start](https://x.test)", [], id="not inside an image"),
        pytest.param("[a]:\n/tgs\n", [], id="not as the target of a link definition"),
        pytest.param("/tgs approve plan\n\n> /tgs reject no", ["approve"], id="the quote below does not count"),
    ],
)
def test_a_command_counts_only_as_plain_text_at_the_start_of_a_line(body: str, verbs: list[str]) -> None:
    found = parse(body)
    assert [command.verb.value if isinstance(command, Command) else command.message for command in found] == verbs


@pytest.mark.parametrize(
    ("line", "args"),
    [
        pytest.param("stop", (), id="no argument"),
        pytest.param("stop too slow", ("too slow",), id="a reason is the rest of the line"),
        pytest.param("stop --now", ("--now",), id="an option"),
        pytest.param("stop --NOW wrong  branch", ("--now", "wrong  branch"), id="an option and a reason as written"),
        pytest.param("stop —now", ("--now",), id="a phone's dash is an option"),
        pytest.param('stop "--now or later"', ("--now or later",), id="quotes protect a text"),
        pytest.param('hold "x" is broken', ('"x" is broken',), id="quotes inside a text stay"),
        pytest.param("hold --- later", ("--- later",), id="dashes are no option"),
        pytest.param("retry --fresh use *both*", ("--fresh", "use *both*"), id="Markdown in a text stays"),
        pytest.param("priority HIGH", ("high",), id="a priority by name"),
        pytest.param("priority -5", ("-5",), id="a priority by number"),
        pytest.param("priority +07", ("7",), id="a number is written plainly"),
        pytest.param("approve", (), id="approve without more"),
        pytest.param("approve Plan", ("plan",), id="approve the plan"),
        pytest.param("approve ABCDEF1", ("abcdef1",), id="approve a commit"),
        pytest.param("pause freeze", ("freeze",), id="a pause without an end"),
        pytest.param("pause until 2026-12-01 freeze", ("until", "2026-12-01T00:00:00Z", "freeze"), id="until a day"),
        pytest.param("pause until 2026-12-01T10:00+02:00 x", ("until", "2026-12-01T08:00:00Z", "x"), id="in a zone"),
        pytest.param('pause "until then"', ("until then",), id="a quoted word is no keyword"),
        pytest.param("help /tgs", ("/tgs",), id="help needs the name of a command"),
        pytest.param("help pause", ("pause",), id="help for one command"),
    ],
)
def test_arguments_are_read(line: str, args: tuple[str, ...]) -> None:
    (found,) = parse(f"/tgs {line}", NOW)
    if line == "help /tgs":
        assert isinstance(found, ParseError)
        return
    assert isinstance(found, Command), found
    assert found.args == args


def test_arguments_have_names_and_types() -> None:
    (pause,) = parse("/tgs pause until 2026-12-01 freeze", NOW)
    assert isinstance(pause, Command)
    named = arguments(pause.verb, pause.args)
    assert named.until == datetime(2026, 12, 1, tzinfo=UTC)
    assert named.text("reason") == "freeze"
    assert arguments(Verb.PRIORITY, ("low",)).priority == -100
    assert arguments(Verb.PRIORITY, ("42",)).priority == 42
    assert arguments(Verb.STOP, ("--now", "x")).now
    assert arguments(Verb.RETRY, ("--fresh",)).fresh
    with pytest.raises(ValueError, match="do not belong"):
        arguments(Verb.START, ("x",))


@pytest.mark.parametrize(
    ("body", "position", "says"),
    [
        pytest.param("hi\n  /tgs priority urgent", (2, 17), "`high`, `normal`, `low`", id="a wrong priority"),
        pytest.param("/tgs priority", (1, 14), "found nothing", id="a missing priority"),
        pytest.param("/tgs priority 5000", (1, 15), "-1000 to 1000", id="a priority out of range"),
        pytest.param("/tgs start now", (1, 12), "nothing more but found `now`", id="too many words"),
        pytest.param("/tgs retry --now", (1, 12), "`--fresh`", id="an option of another command"),
        pytest.param("/tgs unhold --now", (1, 13), "no option", id="an option where there is none"),
        pytest.param("/tgs pause", (1, 11), "a text (reason)", id="a missing reason"),
        pytest.param("/tgs pause until", (1, 17), "a date such as", id="a missing date"),
        pytest.param("/tgs pause until 2026-13-01 x", (1, 18), "a date that exists", id="a month that does not exist"),
        pytest.param("/tgs pause until tomorrow x", (1, 18), "a date such as", id="a word for a date"),
        pytest.param("/tgs pause until 2026-10-01 x", (1, 18), "a date in the future", id="a date in the past"),
        pytest.param("/tgs pause until 2126-10-01 x", (1, 18), "within a year", id="a typing error in the year"),
        pytest.param("/tgs reject", (1, 12), "a text (notes)", id="rejecting without notes"),
        pytest.param("/tgs approve maybe", (1, 14), "`plan`, `research`", id="approving something else"),
        pytest.param('/tgs stop "--now"', (1, 11), "a text (reason)", id="a text that looks stored like an option"),
    ],
)
def test_a_mistake_names_position_and_expectation(body: str, position: tuple[int, int], says: str) -> None:
    (found,) = parse(body, NOW)
    assert isinstance(found, ParseError)
    assert found.kind is ErrorKind.ARGUMENT
    assert (found.line, found.column) == position
    assert says in found.message
    assert f"line {position[0]}, column {position[1]}" in found.message


def test_without_a_clock_dates_are_not_judged() -> None:
    (found,) = parse("/tgs pause until 2020-01-01 x")
    assert isinstance(found, Command)


@pytest.mark.parametrize(
    ("word", "near"),
    [
        pytest.param("claim", ("start", "takeover"), id="claim is ambiguous"),
        pytest.param("strat", ("start", "status"), id="letters swapped"),
        pytest.param("prioritiy", ("priority",), id="a letter too many"),
        pytest.param("start**", ("start",), id="decoration around the word"),
        pytest.param("lgtm", ("approve",), id="a word of other tools"),
        pytest.param("xyzzy", (), id="nothing near"),
    ],
)
def test_an_unknown_word_gets_the_nearest_command(word: str, near: tuple[str, ...]) -> None:
    assert suggest(word) == near
    (found,) = parse(f"/tgs {word}")
    assert isinstance(found, ParseError)
    assert found.kind is ErrorKind.UNKNOWN
    for command in near:
        assert f"`{command}`" in found.message


def test_claim_is_explained() -> None:
    (found,) = parse("/tgs claim")
    assert isinstance(found, ParseError)
    assert found.message == (
        "I do not know `claim` (line 1, column 6). Did you mean `start` (the agent) or `takeover` (you)?"
    )


def test_the_prefix_alone_asks_for_a_command() -> None:
    (found,) = parse("/tgs")
    assert isinstance(found, ParseError)
    assert found.kind is ErrorKind.NO_COMMAND


def test_an_error_shows_hostile_words_as_code() -> None:
    (found,) = parse("/tgs `@everyone`<img>")
    assert isinstance(found, ParseError)
    assert "`` `@everyone`<img> ``" in found.message


def test_too_many_commands_end_with_an_error() -> None:
    found = parse("/tgs why\n" * (MAX_COMMANDS + 5))
    assert len(found) == MAX_COMMANDS + 1
    last = found[-1]
    assert isinstance(last, ParseError)
    assert last.kind is ErrorKind.TOO_MANY


@pytest.mark.parametrize(
    ("body", "command"),
    [
        pytest.param("APPROVE plan", Command(Verb.APPROVE, ("plan",)), id="approve the plan"),
        pytest.param("\n APPROVE research.\n", Command(Verb.APPROVE, ("research",)), id="approve the research"),
        pytest.param("REQUEST CHANGES: split it\nin two", Command(Verb.REJECT, ("split it\nin two",)), id="notes"),
        pytest.param("approve plan", None, id="not in small letters"),
        pytest.param("APPROVE plan please", None, id="not with more words"),
        pytest.param("Yes.\n\nAPPROVE plan", None, id="not as a part of the comment"),
        pytest.param("> APPROVE plan", None, id="not quoted"),
        pytest.param("`APPROVE plan`", None, id="not as code"),
        pytest.param("    APPROVE plan", None, id="not in an indented block"),
        pytest.param("```\nAPPROVE plan\n```", None, id="not in a fence"),
        pytest.param("> REQUEST CHANGES: no", None, id="changes not quoted"),
    ],
)
def test_approval_words_count_only_as_the_whole_comment(body: str, command: Command | None) -> None:
    assert parse(body) == ((command,) if command else ())


def test_commands_come_before_approval_words() -> None:
    assert parse("REQUEST CHANGES: x\n/tgs why") == (Command(Verb.WHY),)


def test_every_word_has_one_row_and_every_example_parses() -> None:
    assert list(COMMANDS) == list(Verb)
    for spec in COMMANDS.values():
        assert spec.help.endswith(".")
        assert spec.usage.split()[0] == spec.verb.value
        for example in spec.examples:
            (found,) = parse(example, NOW)
            assert isinstance(found, Command), example
            assert found.verb is spec.verb


def test_words_of_other_tools_lead_to_commands_and_are_none_themselves() -> None:
    for word, near in OTHER_WORDS.items():
        assert word not in COMMANDS
        assert all(command in COMMANDS for command in near)


def test_what_this_version_can_do_is_the_agreed_list() -> None:
    words = (
        "start stop retry hold unhold pause resume priority approve reject answer steer publish merge "
        "lock unlock depends undepends budget next why status cost policy sync help"
    )
    assert [spec.verb.value for spec in available()] == words.split()


@pytest.mark.parametrize("verb", sorted(Verb))
def test_an_unreadable_role_may_use_no_command(verb: Verb) -> None:
    assert isinstance(may(verb, None, Policy().roles), Denied)
    assert isinstance(may(verb, Role.NONE, Policy().roles), Denied)
    assert may(verb, Role.ADMIN, Policy().roles) == Allowed()


@pytest.mark.parametrize(
    ("verb", "lowest"),
    [
        (Verb.START, Role.WRITE),
        (Verb.RETRY, Role.WRITE),
        (Verb.APPROVE, Role.WRITE),
        (Verb.MERGE, Role.WRITE),
        (Verb.PAUSE, Role.WRITE),
        (Verb.STOP, Role.TRIAGE),
        (Verb.HOLD, Role.TRIAGE),
        (Verb.PRIORITY, Role.TRIAGE),
        (Verb.WHY, Role.READ),
    ],
)
def test_roles_by_default(verb: Verb, lowest: Role) -> None:
    for role in Role:
        assert isinstance(may(verb, role, Policy().roles), Allowed) is (role >= lowest)
