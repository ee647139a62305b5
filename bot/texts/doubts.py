"""Doubts about a result, in words for the people who review it."""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType
from typing import Final

from bot.domain.doubts import Doubt, DoubtKind
from bot.domain.sanitise import code_span

_WORDS: Final = MappingProxyType(
    {
        DoubtKind.TESTS_DELETED: "There are fewer tests than before{where}.",
        DoubtKind.TESTS_SKIPPED: "Tests are skipped, retried or expected to fail{where}.",
        DoubtKind.ASSERTIONS_GONE: "Tests check less than before{where}.",
        DoubtKind.EMPTY_ASSERTIONS: "Tests check nothing{where}.",
        DoubtKind.CHECKS_WEAKENED: "The checks themselves were made weaker{where}.",
        DoubtKind.CHECKS_SILENCED: "Warnings of tools are switched off{where}.",
        DoubtKind.KNOWS_IT_IS_TESTED: "The code looks whether it is being tested{where}.",
        DoubtKind.NOT_IMPLEMENTED: "Something is left unfinished{where}.",
        DoubtKind.ERRORS_SWALLOWED: "Errors are swallowed{where}.",
        DoubtKind.NOTHING_BUT_WORDS: "Only texts, comments or spaces changed{where}, though something was to be built.",
        DoubtKind.NOTHING_BUT_TESTS: "Only tests changed{where}, though something was to be built.",
        DoubtKind.CLAIMED_TESTS: "The agent says that it added tests; there are none in the difference.",
        DoubtKind.CLAIMED_FILES: "The agent speaks of files that it did not change{where}.",
        DoubtKind.GREEN_BEFORE: "The acceptance checks passed before the work too, so they prove nothing{where}.",
        DoubtKind.EMPTY_REPORT: "The report of the implementation says next to nothing{where}.",
        DoubtKind.UNREADABLE: "Lines are too long for anybody to review{where}.",
        DoubtKind.DISGUISED: "Invisible characters stand in the code{where}.",
    }
)


def sentence(doubt: Doubt) -> str:
    """One doubt as one sentence of Markdown."""
    where = f" ({code_span(doubt.where, 120)})" if doubt.where else ""
    return _WORDS[doubt.kind].replace("{where}", where)


def listing(doubts: Iterable[Doubt]) -> str:
    """The doubts as a list."""
    return "\n".join(f"- {sentence(doubt)}" for doubt in doubts)
