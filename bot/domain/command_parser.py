"""Finds and reads `/tgs` commands in a comment, as a reader of the rendered page would.

Promise: `parse` never raises. A command counts only in plain paragraph text at the start of a line: never in quotes,
code, HTML, lists, headings, tables, links or emphasis. Whether a line is such text is decided by the Markdown parser,
not by looking at the line. Errors name line and column (from 1, in the comment as written) and what was expected.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from html.parser import HTMLParser
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.token import Token as MarkdownToken

from bot.domain.command_args import Mistake, Token, bind, is_canonical_date
from bot.domain.commands import COMMANDS, OTHER_WORDS, PREFIX, Command, Kind, Verb, available
from bot.domain.sanitise import code_span

MAX_BODY: Final = 65_536
"""Characters of a comment; GitHub accepts no more."""
MAX_COMMANDS: Final = 10
"""Commands in one comment; more is a pasted document, not a wish."""

_CANDIDATE = re.compile(r"(?P<indent>[ \t]*)/tgs(?=\s|$)", re.IGNORECASE)
_ANY_CANDIDATE = re.compile(f"^{_CANDIDATE.pattern}", re.IGNORECASE | re.MULTILINE)
# Private-use characters take the place of the prefix, so that the tokens say which line they came from.
_OPEN, _CLOSE = "\ue000", "\ue001"
_MARKED = re.compile(f"{_OPEN}(\\d+){_CLOSE}")
_APPROVAL = re.compile(r"\s*APPROVE[ \t]+(plan|research)[ \t]*\.?\s*", re.IGNORECASE)
_CHANGES = re.compile(r"\s*REQUEST CHANGES:[ \t]*(?P<notes>.*)", re.DOTALL)
_QUOTED_BY_HTML = frozenset(
    {"details", "blockquote", "pre", "code", "samp", "kbd", "q", "table", "ul", "ol", "dl", "a", "del", "s"}
    | {"strike", "template", "script", "style", "textarea"}
)


class ErrorKind(StrEnum):
    NO_COMMAND = "no_command"
    UNKNOWN = "unknown"
    ARGUMENT = "argument"
    TOO_MANY = "too_many"


@dataclass(frozen=True, slots=True)
class ParseError:
    """A line that asks for something but could not be understood. `message` is Markdown, safe to post."""

    kind: ErrorKind
    line: int
    column: int
    found: str
    expected: str
    suggestions: tuple[str, ...] = ()
    verb: Verb | None = None

    @property
    def message(self) -> str:
        """What was wrong, where, and what was expected: one or two sentences."""
        where = f"line {self.line}, column {self.column}"
        match self.kind:
            case ErrorKind.NO_COMMAND:
                return f"I expected a command after `{PREFIX}` ({where})."
            case ErrorKind.TOO_MANY:
                return f"I read at most {MAX_COMMANDS} commands in one comment; the rest from {where} on was not run."
            case ErrorKind.UNKNOWN:
                return f"I do not know {code_span(self.found, 40)} ({where}).{self._hint()}"
            case ErrorKind.ARGUMENT:
                found = f"found {code_span(self.found, 40)}" if self.found else "found nothing"
                usage = f" Usage: `{PREFIX} {COMMANDS[self.verb].usage}`." if self.verb else ""
                return f"I expected {self.expected} but {found} ({where}).{usage}"

    def _hint(self) -> str:
        if not self.suggestions:
            return ""
        if self.suggestions == ("start", "takeover"):
            return " Did you mean `start` (the agent) or `takeover` (you)?"
        return f" Did you mean {' or '.join(f'`{word}`' for word in self.suggestions)}?"


Parsed = Command | ParseError


def parse(body: str, now: datetime | None = None) -> tuple[Parsed, ...]:
    """All commands of a comment in their order. With `now` (aware UTC), dates in the past are errors."""
    text = body.replace("\r\n", "\n").replace("\r", "\n")
    if len(text) > MAX_BODY:
        return ()
    lines = text.split("\n")
    found: list[Parsed] = []
    for number in _command_lines(text):
        line = lines[number]
        prefix = _CANDIDATE.match(line)
        assert prefix is not None, "only candidates are marked"
        if len(found) == MAX_COMMANDS:
            found.append(ParseError(ErrorKind.TOO_MANY, number + 1, prefix.end("indent") + 1, "", ""))
            break
        found.append(_read(line, number + 1, prefix.end("indent"), prefix.end(), now))
    return tuple(found) or _approval_words(text)


def render(command: Command) -> str:
    """The line that parses to this command."""
    spec = command.spec
    words = [PREFIX, command.verb.value]
    rest = list(command.args)
    while rest and rest[0] in spec.flags:
        words.append(rest.pop(0))
    for param in spec.params:
        if param.keyword:
            if len(rest) >= 2 and rest[0] == param.keyword and is_canonical_date(rest[1]):
                words += [rest.pop(0), rest.pop(0)]
        elif rest:
            arg = rest.pop(0)
            words.append(_quote(arg) if param.kind in {Kind.TEXT, Kind.PATH} else arg)
    return " ".join([*words, *rest])


# --- where commands may stand


_MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])
"""Made once: making it costs more than reading a comment with it."""


REMEMBERED = 64
"""Comments whose Markdown is remembered: a look at a repository reads the same few again and again."""


def _command_lines(text: str) -> tuple[int, ...]:
    """The lines with commands. Most comments have none that looks like one, and are not worth a place in the memory."""
    return _lines_outside_of_quotes(text) if _ANY_CANDIDATE.search(text) else ()


@lru_cache(maxsize=REMEMBERED)
def _lines_outside_of_quotes(text: str) -> tuple[int, ...]:
    lines = text.split("\n")
    return tuple(_free(lines, [index for index, line in enumerate(lines) if _CANDIDATE.match(line)]))


def _free(lines: list[str], candidates: list[int]) -> Iterator[int]:
    marked = [line.replace(_OPEN, " ").replace(_CLOSE, " ") for line in lines]
    for index in candidates:
        marked[index] = _CANDIDATE.sub(f"\\g<indent>{_OPEN}{index}{_CLOSE}", marked[index], count=1)
    html = OpenTags()
    in_paragraph = False
    for token in _MARKDOWN.parse("\n".join(marked)):
        if token.type == "html_block":
            html.feed(token.content)
        elif token.type == "paragraph_open":
            in_paragraph = token.level == 0
        elif token.type == "inline":
            yield from _line_starts(token.children or [], html, in_paragraph)
            in_paragraph = False


def _line_starts(children: list[MarkdownToken], html: OpenTags, in_paragraph: bool) -> Iterator[int]:
    at_start = True
    depth = 0
    for child in children:
        if child.type == "html_inline":
            html.feed(child.content)
        mark = _MARKED.match(child.content) if child.type == "text" else None
        if mark and at_start and depth == 0 and in_paragraph and not html.quoting:
            yield int(mark[1])
        depth += child.nesting
        if child.type in ("softbreak", "hardbreak"):
            at_start = True
        elif child.type != "text" or child.content:
            # The parser leaves empty texts around delimiters; they are not text before a command.
            at_start = False


class OpenTags(HTMLParser):
    """Counts open HTML elements that quote or hide what stands in them, across the whole comment."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self._open: dict[str, int] = {}

    @property
    def quoting(self) -> bool:
        return any(count > 0 for count in self._open.values())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        if tag in _QUOTED_BY_HTML:
            self._open[tag] = self._open.get(tag, 0) + 1

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """`<details/>` opens nothing that a later tag would have to close."""

    def handle_endtag(self, tag: str) -> None:
        if self._open.get(tag, 0) > 0:
            self._open[tag] -= 1


# --- one line


def _read(line: str, number: int, prefix_at: int, at: int, now: datetime | None) -> Parsed:
    tokens = _tokens(line, at)
    if not tokens:
        return ParseError(ErrorKind.NO_COMMAND, number, prefix_at + 1, "", "a command")
    word = tokens[0]
    try:
        verb = Verb(word.text.lower())
    except ValueError:
        return ParseError(ErrorKind.UNKNOWN, number, word.column, word.text, "a command", suggest(word.text))
    bound = bind(verb, tokens[1:], now)
    if isinstance(bound, Mistake):
        column = bound.column or len(line.rstrip()) + 1
        return ParseError(ErrorKind.ARGUMENT, number, column, bound.found, bound.expected, verb=verb)
    return Command(bound.verb, bound.args, number, prefix_at + 1)


def suggest(word: str) -> tuple[str, ...]:
    """The commands that an unknown word may mean, best first; at most two."""
    known = word.lower().strip(".,:;!?`*_\"'")[:40]
    if known in OTHER_WORDS:
        return OTHER_WORDS[known]
    if known in COMMANDS:
        return (known,)
    near = difflib.get_close_matches(known, [spec.verb.value for spec in available()], n=2, cutoff=0.6)
    return tuple(near)


def _tokens(line: str, at: int) -> list[Token]:
    """Words and quoted texts from `at` on. A quote that is not closed is a part of its word."""
    tokens: list[Token] = []
    while at < len(line):
        if line[at].isspace():
            at += 1
            continue
        rest = line[at:].strip()
        end = _quote_end(line, at)
        if end is not None and (end == len(line) or line[end].isspace()):
            tokens.append(Token(_unquote(line[at + 1 : end - 1]), at + 1, True, rest))
        else:
            end = next((i for i in range(at, len(line)) if line[i].isspace()), len(line))
            word = line[at:end]
            # Phones turn two hyphens into one dash.
            if word[:1] in "—–" and word[1:].isalpha():
                word = "--" + word[1:]
            tokens.append(Token(word, at + 1, False, rest))
        at = end
    return tokens


def _quote_end(line: str, at: int) -> int | None:
    if line[at] != '"':
        return None
    index = at + 1
    while index < len(line):
        if line[index] == "\\":
            index += 2
        elif line[index] == '"':
            return index + 1
        else:
            index += 1
    return None


_ESCAPES: Final = (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r"))


def _quote(text: str) -> str:
    for plain, escaped in _ESCAPES:
        text = text.replace(plain, escaped)
    return f'"{text}"'


def _unquote(text: str) -> str:
    return re.sub(r"\\(.)", lambda m: {"n": "\n", "r": "\r"}.get(m[1], m[1]), text, flags=re.DOTALL)


# --- approval words


def _approval_words(text: str) -> tuple[Parsed, ...]:
    """`APPROVE plan` and `REQUEST CHANGES: notes` count only as the whole comment, as plain text."""
    if text.startswith(("    ", "\t")):
        return ()
    approval = _APPROVAL.fullmatch(text)
    if approval and "APPROVE" in text:
        return (Command(Verb.APPROVE, (approval[1].lower(),)),)
    changes = _CHANGES.fullmatch(text)
    if changes:
        notes = changes["notes"].strip()
        bound = bind(Verb.REJECT, [Token(notes, 1, True)] if notes else [])
        if isinstance(bound, Mistake):
            return (ParseError(ErrorKind.ARGUMENT, 1, 1, bound.found, bound.expected, verb=Verb.REJECT),)
        return (bound,)
    return ()
