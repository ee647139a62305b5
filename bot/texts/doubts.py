"""Doubts about a result, in words for the people who review it."""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType
from typing import Final

from bot.domain.doubts import Doubt, DoubtKind
from bot.domain.opinion import MAX_SAYS, OpinionOutcome
from bot.domain.sanitise import code_span, for_inline

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
        DoubtKind.SECOND_OPINION: "A second opinion calls the result doubtful and does not say why.",
        DoubtKind.NO_SECOND_OPINION: "No second opinion: {why}.",
    }
)
_WHY_NONE: Final = MappingProxyType(
    {
        OpinionOutcome.NOT_SET_UP: "this agent or its worker is not set up for one",
        OpinionOutcome.BUDGET: "too little was left of what the attempt may cost",
        OpinionOutcome.QUOTA: "the quota of the model is used up",
        OpinionOutcome.TIME: "there was not enough time",
        OpinionOutcome.SILENT: "the agent gave no answer in the form that was asked for",
        OpinionOutcome.CRASHED: "the agent that was asked broke off",
    }
)


def sentence(doubt: Doubt) -> str:
    """One doubt as one sentence of Markdown."""
    where = f" ({code_span(doubt.where, 120)})" if doubt.where else ""
    if doubt.kind is DoubtKind.SECOND_OPINION and doubt.says:
        return f"A second opinion{where}: {for_inline(doubt.says, MAX_SAYS)}"
    return _WORDS[doubt.kind].replace("{where}", where).replace("{why}", why_none(doubt.says))


def why_none(outcome: str) -> str:
    """Why there is no second opinion, as a part of a sentence; words of ours only, whatever a worker reports."""
    return next((why for known, why in _WHY_NONE.items() if known.value == outcome), "the worker does not say why")


def listing(doubts: Iterable[Doubt]) -> str:
    """The doubts as a list."""
    return "\n".join(f"- {sentence(doubt)}" for doubt in doubts)
