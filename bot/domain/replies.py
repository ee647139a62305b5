"""Reads an answer out of a comment: by number, by letter, by the choice's own words, by quote, or in free words.

Promises: pure and never raises. Only plain paragraphs and list entries count, as a reader of the page sees them: what
stands in quotes, code, HTML or headings answers nothing (a quote only says which question the words after it are
about). What is not surely an answer is unclear, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from markdown_it import MarkdownIt

from bot.domain.command_parser import OpenTags
from bot.domain.questions import AskedQuestion, Question
from bot.domain.sanitise import cap, for_prompt

MAX_ANSWER: Final = 4_000
"""Characters of an answer in free words: a screenful."""

MAX_REPLY: Final = 65_536
"""Characters of a comment; GitHub accepts no more."""

QUOTED: Final = 12
"""Characters of a quote at least; fewer would be found in any question."""

_NUMBERED: Final = re.compile(
    r"\s*(?:[-*+]\s+)?[*_`]{0,3}(?:q(?:uestion)?\s*)?#?(?P<number>\d{1,4})[*_`]{0,3}\s*[:.)=]\s*(?P<words>.+?)\s*",
    re.IGNORECASE,
)
_COMMAND: Final = re.compile(r"\s*/\w")
_SPLIT: Final = re.compile(r"\s*(?:,|;|\+|&|\band\b)\s*", re.IGNORECASE)
_AROUND: Final = " \t\n*_`\"'.!"
_SUGGESTED: Final = frozenset({"default", "suggested", "suggestion", "as suggested", "your suggestion"})


@dataclass(frozen=True, slots=True)
class Reading:
    """What a comment answers. `unclear`: it speaks to questions in a way that cannot be read."""

    answers: tuple[tuple[int, tuple[str, ...]], ...] = ()
    unclear: bool = False


@dataclass(frozen=True, slots=True)
class _Part:
    """Lines of the comment that belong together: plain words, or a quote."""

    quote: bool
    lines: tuple[str, ...]

    @property
    def words(self) -> str:
        return "\n".join(self.lines).strip()


def read_reply(body: str, questions: Sequence[Question]) -> Reading:
    """What the comment answers of these questions. Words without a number are only read for the one that waits."""
    if len(body) > MAX_REPLY or not questions:
        return Reading()
    # What the cleaning takes off the front may have made the first lines code.
    begin = re.match(r"[ \t]*(?=\S)", body.lstrip("\r\n"))
    parts = _parts((begin[0] if begin else "") + for_prompt(body))
    by_number = {question.number: question for question in questions}
    found, odd = _numbered(parts, by_number)
    if not found and not odd:
        found, odd = _quoted(parts, questions)
    waiting = [question for question in questions if question.waits]
    if not found and not odd:
        words = "\n".join(part.words for part in parts if not part.quote).strip()
        if not words:
            return Reading()
        if len(waiting) != 1:
            return Reading(unclear=bool(waiting))
        answer = choose(waiting[0].asked, words)
        if answer is None and _is_answer(waiting[0].asked, words):
            answer = (cap(words, MAX_ANSWER),)
        return Reading(unclear=True) if answer is None else Reading(((waiting[0].number, answer),))
    return Reading(tuple(sorted(found.items())), odd)


def read_words(asked: AskedQuestion, words: str) -> tuple[str, ...] | None:
    """The answer in words that were said to this very question; None when they cannot be read."""
    words = words.strip()
    answer = choose(asked, words)
    if answer is not None:
        return answer
    # One letter or a number that is no choice is a slip, not an answer in free words.
    if asked.choices and (len(words.strip(_AROUND)) < 3 or words.strip(_AROUND).isdigit()):
        return None
    return (cap(words, MAX_ANSWER),) if words else None


def choose(asked: AskedQuestion, words: str) -> tuple[str, ...] | None:
    """The labels of the choices that these words name, all of them or nothing."""
    plain = words.strip(_AROUND)
    if not asked.choices or not plain:
        return None
    if plain.casefold() in _SUGGESTED:
        return (asked.default,) if asked.default is not None else None
    one = _one(asked, plain)
    if one is not None:
        return (one,)
    if not asked.several:
        return None
    several = [_one(asked, piece.strip(_AROUND)) for piece in _SPLIT.split(plain) if piece.strip(_AROUND)]
    named = [label for label in several if label is not None]
    return tuple(dict.fromkeys(named)) if named and len(named) == len(several) else None


def _one(asked: AskedQuestion, plain: str) -> str | None:
    """The label that these words name: its own, its number or letter, or both as they stand in the list."""
    folded = " ".join(plain.casefold().split())
    for index, choice in enumerate(asked.choices):
        label = " ".join(choice.label.casefold().split())
        number, letter = str(index + 1), chr(ord("a") + index)
        names = {label, label.strip(_AROUND), number, letter, f"#{number}", f"({letter})", f"({number})"}
        names |= {f"{word} {mark}" for word in ("option", "choice", "answer") for mark in (number, letter)}
        if folded in names:
            return choice.label
        head = re.match(rf"(?:{number}|{letter})\s*[.):]\s*(?P<rest>.+)", folded)
        if head is not None and head["rest"].strip(_AROUND).startswith(label.strip(_AROUND)) and label:
            return choice.label
    return None


def _is_answer(asked: AskedQuestion, words: str) -> bool:
    """Whether words without any mark may be taken as the answer to the only question: where nothing is to be chosen,
    and they neither ask back nor speak to somebody."""
    return not asked.choices and not words.rstrip().endswith("?") and "@" not in words


def _numbered(parts: Sequence[_Part], questions: dict[int, Question]) -> tuple[dict[int, tuple[str, ...]], bool]:
    """Lines such as `2: words`; further lines belong to the one before them."""
    said: dict[int, list[str]] = {}
    for part in parts:
        if part.quote:
            continue
        at: int | None = None
        for line in part.lines:
            match = _NUMBERED.fullmatch(line)
            if match is not None and int(match["number"]) in questions:
                at = int(match["number"])
                said[at] = [match["words"]]
            elif at is not None:
                said[at].append(line)
    found: dict[int, tuple[str, ...]] = {}
    for number, lines in said.items():
        answer = read_words(questions[number].asked, "\n".join(lines))
        if answer is not None:
            found[number] = answer
    return found, len(found) < len(said)


def _quoted(parts: Sequence[_Part], questions: Sequence[Question]) -> tuple[dict[int, tuple[str, ...]], bool]:
    """A quote of a question, and after it the words that answer it."""
    found: dict[int, tuple[str, ...]] = {}
    odd = False
    for index, part in enumerate(parts):
        if not part.quote:
            continue
        meant = [question for question in questions if _is_about(part.words, question.asked.text)]
        after = parts[index + 1] if index + 1 < len(parts) else None
        if len(meant) != 1 or after is None or after.quote:
            continue
        answer = read_words(meant[0].asked, after.words)
        if answer is None:
            odd = True
        else:
            found[meant[0].number] = answer
    return found, odd


def _is_about(quote: str, question: str) -> bool:
    left, right = _letters(quote), _letters(question)
    if min(len(left), len(right)) < QUOTED:
        return left == right and bool(left)
    return left in right or right in left


def _letters(text: str) -> str:
    return "".join(char for char in text.casefold() if char.isalnum())


def _parts(text: str) -> list[_Part]:
    """The plain words and the quotes of a comment, in their order, without lines that are commands."""
    lines = text.split("\n")
    found: list[_Part] = []
    html = OpenTags()
    for token in MarkdownIt("commonmark").parse(text):
        if token.type == "html_block":
            html.feed(token.content)
        if token.level != 0 or token.map is None or html.quoting:
            continue
        begin, end = token.map
        if token.type == "blockquote_open":
            quoted = tuple(re.sub(r"^[ \t]*>[ \t]?", "", line) for line in lines[begin:end])
            # A line without the mark may still belong to the quote for Markdown; people mean it as their own.
            own = tuple(line for line in lines[begin:end] if line.strip() and not line.lstrip().startswith(">"))
            marked = zip(quoted, lines[begin:end], strict=True)
            found.append(_Part(True, tuple(words for words, line in marked if line not in own)))
            _plain(found, own)
        elif token.type in {"paragraph_open", "ordered_list_open", "bullet_list_open"}:
            _plain(found, tuple(lines[begin:end]))
    return found


def _plain(found: list[_Part], lines: tuple[str, ...]) -> None:
    kept = tuple(line for line in lines if line.strip() and not _COMMAND.match(line) and not _inside(line))
    if not kept:
        return
    if found and not found[-1].quote:
        found[-1] = _Part(False, (*found[-1].lines, *kept))
    else:
        found.append(_Part(False, kept))


def _inside(line: str) -> bool:
    """Whether a line of a list is a quote or a fence within it."""
    return re.match(r"\s*(?:(?:[-*+]|\d{1,9}[.)])\s+)*(?:>|```|~~~)", line) is not None
