"""What runs say, as the bot keeps it: nothing invisible, nothing that looks like a secret, no more than people read."""

from __future__ import annotations

from collections.abc import Sequence

from bot.domain.attempt import MAX_SHOWN_DIFF
from bot.domain.doubts import MAX_DOUBTS, MAX_FINDINGS, OPINIONS, Doubt
from bot.domain.model import FailureReason
from bot.domain.opinion import OpinionNote, kept_words
from bot.domain.questions import AskedQuestion, Choice
from bot.domain.sanitise import for_comment, redact, spelled_out, visible
from bot.domain.usage import Usage
from bot.web.api.problems import ApiProblem, Code
from bot.web.api.run_forms import DoubtBody, OpinionBody, QuestionBody, UsageBody

MAX_REPORT = 400_000
"""Bytes of a report: the largest are those with many long questions."""

MAX_WORDS = 8_000
"""Characters of a text of a worker; more would not be read in a comment."""


def usage_of(body: UsageBody | None) -> Usage | None:
    """What an agent used, as a value."""
    if body is None:
        return None
    model = redact(visible(body.model)).strip()
    return Usage(
        body.turns,
        body.input_tokens,
        body.output_tokens,
        body.cache_read_tokens,
        body.cache_write_tokens,
        body.cost_microusd,
        model,
    )


def doubts_told(*bodies: Sequence[DoubtBody] | Sequence[Doubt]) -> tuple[Doubt, ...]:
    """The doubts of all, each once; those of a second opinion do not crowd out the others, nor the other way round."""
    told = [Doubt(one.kind, redact(visible(one.where)), kept_words(one.says)) for body in bodies for one in body]
    ours = [doubt for doubt in dict.fromkeys(told) if doubt.kind not in OPINIONS]
    theirs = [doubt for doubt in dict.fromkeys(told) if doubt.kind in OPINIONS]
    return (*ours[:MAX_DOUBTS], *theirs[:MAX_FINDINGS])


def opinion_told(body: OpinionBody | None) -> OpinionNote | None:
    """How a second opinion ended, as it is kept."""
    if body is None:
        return None
    return OpinionNote(body.outcome, body.findings, body.prompt, redact(visible(body.model)).strip())


def questions_of(bodies: Sequence[QuestionBody]) -> tuple[AskedQuestion, ...]:
    """The questions as they are kept: nothing invisible, no secrets, no default that is no choice.

    Raises ApiProblem for two of one id and for one without words.
    """
    if len({body.id for body in bodies}) != len(bodies):
        raise ApiProblem(Code.INVALID, "Two questions have the same id.")
    found: list[AskedQuestion] = []
    for body in bodies:
        text = _kept(body.text)
        if not text:
            raise ApiProblem(Code.INVALID, f"Question {body.id!r} has no words.")
        choices = {_kept(choice.label): _kept(choice.description) for choice in body.choices}
        default = None if body.default is None else _kept(body.default)
        found.append(
            AskedQuestion(
                body.id,
                text,
                _kept(body.header),
                tuple(Choice(label, description) for label, description in choices.items() if label),
                body.several,
                default if default in choices else None,
            )
        )
    return tuple(found)


def reason_of(text: str | None) -> FailureReason | None:
    """An unknown reason of a newer worker is a crash: it must not be lost."""
    if text is None:
        return None
    try:
        return FailureReason(text)
    except ValueError:
        return FailureReason.AGENT_CRASH


def _kept(text: str) -> str:
    return redact(visible(text)).strip()


def difference_told(diff: str) -> str:
    """A difference as somebody sees it who decides whether it may be pushed: nothing of it is hidden but secrets."""
    return redact(visible(spelled_out(diff)))[:MAX_SHOWN_DIFF]


def told(text: str) -> str:
    """A worker's text as people may read it: shortened, defused, without secrets."""
    return redact(for_comment(text[:MAX_WORDS]))
