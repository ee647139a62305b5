"""Reads the arguments of a command: the same for comments, the API and the command line.

Promise: `bind` never raises and gives a canonical command: its tokens, bound again, give the same command, and
`arguments` names what they mean. A text argument takes the rest of the line as written; in double quotes it may begin
with anything.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import assert_never

from bot.domain.commands import (
    COMMANDS,
    MAX_PAUSE,
    MAX_PRIORITY,
    MAX_TEXT_ARGUMENT,
    PREFIX,
    Command,
    Kind,
    Param,
    Verb,
)
from bot.domain.labels import PRIORITIES
from bot.domain.locks import InvalidLock, parse_lock

_OPTION = re.compile(r"--[A-Za-z][\w-]*")


@dataclass(frozen=True, slots=True)
class Token:
    """One word of a command line. `rest` is the line from here on, as written; `column` counts from 1."""

    text: str
    column: int = 1
    quoted: bool = False
    rest: str = ""


@dataclass(frozen=True, slots=True)
class Mistake:
    """Arguments that do not fit. `column` is where; 0 means at the end of the line."""

    column: int
    found: str
    expected: str


@dataclass(frozen=True, slots=True)
class Arguments:
    """The arguments of a bound command by name; absent ones are not there."""

    flags: frozenset[str]
    values: MappingProxyType[str, str]

    def text(self, name: str) -> str | None:
        return self.values.get(name)

    @property
    def now(self) -> bool:
        return "--now" in self.flags

    @property
    def in_turn(self) -> bool:
        return "--in-turn" in self.flags

    @property
    def fresh(self) -> bool:
        return "--fresh" in self.flags

    @property
    def issue(self) -> int:
        """The number of another issue."""
        return int(self.values["issue"].removeprefix("#"))

    @property
    def amount(self) -> float:
        """US dollars."""
        return float(self.values["amount"])

    @property
    def question(self) -> int:
        """The number of a question of the issue."""
        return int(self.values["question"])

    @property
    def until(self) -> datetime | None:
        """The end of a pause, aware UTC."""
        value = self.values.get("until")
        return None if value is None else datetime.fromisoformat(value)

    @property
    def priority(self) -> int | None:
        value = self.values.get("level")
        if value is None:
            return None
        return PRIORITIES[value] if value in PRIORITIES else int(value)


def arguments(verb: Verb, args: Sequence[str]) -> Arguments:
    """The arguments of an intent by name. Raises ValueError when they are not what `bind` produced."""
    flags: set[str] = set()
    values: dict[str, str] = {}
    spec = COMMANDS[verb]
    rest = list(args)
    while rest and rest[0] in spec.flags:
        flags.add(rest.pop(0))
    for param in spec.params:
        if param.keyword:
            if len(rest) >= 2 and rest[0] == param.keyword and is_canonical_date(rest[1]):
                values[param.name] = rest[1]
                del rest[:2]
        elif rest:
            values[param.name] = rest.pop(0)
    if rest and spec.available:
        raise ValueError(f"arguments that do not belong to {verb.value}: {rest!r}")
    return Arguments(frozenset(flags), MappingProxyType(values))


def bind(verb: Verb, tokens: Sequence[Token], now: datetime | None = None) -> Command | Mistake:
    """Reads the arguments of one command. With `now` (aware UTC), a pause that would end before it is a mistake."""
    spec = COMMANDS[verb]
    if not spec.available:
        return Command(verb, (tokens[0].rest.strip() or tokens[0].text,) if tokens else ())
    rest = list(tokens)
    flags: list[str] = []
    while rest and not rest[0].quoted and _OPTION.fullmatch(rest[0].text):
        token = rest.pop(0)
        if token.text.lower() not in spec.flags:
            allowed = " or ".join(f"`{flag}`" for flag in spec.flags) or "no option (quote a text that begins with --)"
            return Mistake(token.column, token.text, allowed)
        if token.text.lower() not in flags:
            flags.append(token.text.lower())
    args: list[str] = sorted(flags)
    for param in spec.params:
        if param.keyword:
            if not rest or rest[0].quoted or rest[0].text.lower() != param.keyword:
                continue
            del rest[:1]
            args.append(param.keyword)
        if not rest:
            if param.required or param.keyword:
                return Mistake(0, "", _expected(param))
            continue
        if param.kind is Kind.TEXT:
            text = _text_of(rest)
            # A text that is an option's name could not be told from the option in the stored tokens.
            if (param.required and not text) or text in spec.flags:
                return Mistake(rest[0].column, "", _expected(param))
            if len(text) > MAX_TEXT_ARGUMENT:
                return Mistake(rest[0].column, text[:20], f"at most {MAX_TEXT_ARGUMENT} characters")
            if text:
                args.append(text)
            rest = []
            continue
        token = rest.pop(0)
        value = _value(param, token.text, now)
        if isinstance(value, Mistake):
            return Mistake(token.column, value.found, value.expected)
        args.append(value)
    if rest:
        return Mistake(rest[0].column, rest[0].text, "nothing more")
    return Command(verb, tuple(args))


def _text_of(tokens: Sequence[Token]) -> str:
    if len(tokens) == 1 and tokens[0].quoted:
        return tokens[0].text.strip()
    return (tokens[0].rest or " ".join(token.text for token in tokens)).strip()


def _value(param: Param, text: str, now: datetime | None) -> str | Mistake:
    match param.kind:
        case Kind.PRIORITY:
            word = text.lower()
            if word in PRIORITIES:
                return word
            if re.fullmatch(r"[+-]?[0-9]{1,6}", text) and abs(int(text)) <= MAX_PRIORITY:
                return str(int(text))
        case Kind.APPROVAL:
            word = text.lower()
            if word in ("plan", "research") or re.fullmatch(r"[0-9a-f]{7,40}", word):
                return word
        case Kind.COMMAND:
            word = text.lower().removeprefix(PREFIX).strip()
            if word in COMMANDS:
                return word
        case Kind.DATE:
            return _date(param, text, now)
        case Kind.PATH:
            try:
                return str(parse_lock(text))
            except InvalidLock:
                pass
        case Kind.ISSUE:
            if re.fullmatch(r"#?[1-9][0-9]{0,8}", text, re.ASCII):
                return f"#{text.removeprefix('#')}"
        case Kind.AMOUNT:
            number = text.removeprefix("$")
            if re.fullmatch(r"[0-9]{1,5}(\.[0-9]{1,2})?", number, re.ASCII) and float(number) > 0:
                return f"{float(number):.2f}"
        case Kind.QUESTION:
            if re.fullmatch(r"#?[1-9][0-9]{0,3}:?", text, re.ASCII):
                return text.strip("#:")
        case Kind.TEXT:
            return text
        case _:
            assert_never(param.kind)
    return Mistake(1, text, _expected(param))


def _date(param: Param, text: str, now: datetime | None) -> str | Mistake:
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d([Tt]\d\d:\d\d(:\d\d)?([Zz]|[+-]\d\d:\d\d)?)?", text, re.ASCII) is None:
            return Mistake(1, text, _expected(param))
        at = datetime.fromisoformat(text.upper())
        at = (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return Mistake(1, text, "a date that exists, such as `2026-12-01`")
    if now is not None and at <= now:
        return Mistake(1, text, "a date in the future")
    if now is not None and at > now + MAX_PAUSE:
        return Mistake(1, text, "a date within a year")
    return at.strftime("%Y-%m-%dT%H:%M:%SZ") if at.year >= 1000 else Mistake(1, text, _expected(param))


def is_canonical_date(text: str) -> bool:
    """Whether this is a date as `bind` writes it, such as `2026-12-01T00:00:00Z`."""
    return re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", text) is not None


def _expected(param: Param) -> str:
    match param.kind:
        case Kind.TEXT:
            return f"a text ({param.name})"
        case Kind.PRIORITY:
            return f"`high`, `normal`, `low` or a whole number from -{MAX_PRIORITY} to {MAX_PRIORITY}"
        case Kind.DATE:
            return "a date such as `2026-12-01` or `2026-12-01T09:00Z`"
        case Kind.APPROVAL:
            return "`plan`, `research` or the commit's SHA (7 to 40 hex digits)"
        case Kind.COMMAND:
            return "the name of a command"
        case Kind.PATH:
            return "a path from the repository's root, such as `src/auth/`"
        case Kind.ISSUE:
            return "an issue, such as `#12`"
        case Kind.AMOUNT:
            return "an amount of US dollars, such as `10` or `2.50`"
        case Kind.QUESTION:
            return "the number of the question, such as `1`"
        case _:
            assert_never(param.kind)
