"""The second opinion: what an agent that did not do the work says about a result, and why there may be none.

Promise: pure; reads whatever a program answered without raising, and keeps little of it. An opinion refuses nothing and
approves nothing: its findings, and its absence where it was wanted, are doubts in front of the reviewer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from bot.domain.doubts import MAX_FINDINGS, Doubt, DoubtKind
from bot.domain.sanitise import one_line, redact

MAX_SAYS: Final = 300
"""Characters of a finding: one sentence."""
MAX_PLACE: Final = 200
"""Characters of the path in a finding."""
MAX_LINE: Final = 10_000_000
"""The highest number of a line that is believed; no file that people review is longer."""


class OpinionOutcome(StrEnum):
    """What became of the second opinion. The first two were given; the others say why there is none."""

    GOOD = "good"
    DOUBTFUL = "doubtful"
    NOT_SET_UP = "not_set_up"
    BUDGET = "budget"
    QUOTA = "quota"
    TIME = "time"
    SILENT = "silent"
    CRASHED = "crashed"

    @property
    def given(self) -> bool:
        return self in {OpinionOutcome.GOOD, OpinionOutcome.DOUBTFUL}


@dataclass(frozen=True, slots=True)
class OpinionFinding:
    """One thing that is doubted: a sentence, and where. `line` is None when the whole file is meant."""

    says: str
    path: str = ""
    line: int | None = None

    @property
    def where(self) -> str:
        return self.path if self.line is None else f"{self.path}:{self.line}"


@dataclass(frozen=True, slots=True)
class Opinion:
    """A second opinion as it was given, or why it was not. `prompt` is the SHA-256 of the prompt's file.

    `detail` is for the log of whoever runs the worker; people on GitHub read the outcome.
    """

    outcome: OpinionOutcome
    findings: tuple[OpinionFinding, ...] = ()
    prompt: str | None = None
    model: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class OpinionNote:
    """What is kept of an opinion beside its doubts: how it ended, how much it named, with which prompt and model."""

    outcome: OpinionOutcome
    findings: int = 0
    prompt: str | None = None
    model: str = ""


SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {
        "verdict": {"enum": [OpinionOutcome.GOOD.value, OpinionOutcome.DOUBTFUL.value]},
        "findings": {
            "type": "array",
            "maxItems": MAX_FINDINGS,
            "items": {
                "type": "object",
                "properties": {
                    "path": {"type": "string"},
                    "line": {"type": "integer"},
                    "text": {"type": "string"},
                },
                "required": ["text"],
            },
        },
    },
    "required": ["verdict"],
}
"""What a program is asked to answer."""


def read_opinion(answer: object) -> Opinion:
    """The opinion in a program's answer; one without a verdict is no opinion. Findings that say nothing are dropped."""
    verdict = answer.get("verdict") if isinstance(answer, Mapping) else None
    if not isinstance(answer, Mapping) or verdict not in {OpinionOutcome.GOOD.value, OpinionOutcome.DOUBTFUL.value}:
        return Opinion(OpinionOutcome.SILENT, detail="The answer has no verdict.")
    given = answer.get("findings")
    findings = tuple(_findings(given if isinstance(given, list | tuple) else ()))[:MAX_FINDINGS]
    # Whoever names something doubts, whatever the verdict is called.
    doubtful = verdict == OpinionOutcome.DOUBTFUL.value or bool(findings)
    return Opinion(OpinionOutcome.DOUBTFUL if doubtful else OpinionOutcome.GOOD, findings)


def _findings(given: Any) -> Iterator[OpinionFinding]:
    seen = set()
    for raw in given:
        if not isinstance(raw, Mapping) or not isinstance(raw.get("text"), str):
            continue
        says, path, line = kept_words(raw["text"]), raw.get("path"), raw.get("line")
        whole = not isinstance(line, int) or isinstance(line, bool) or not 0 < line <= MAX_LINE
        place = redact(one_line(path[: 4 * MAX_PLACE]))[:MAX_PLACE] if isinstance(path, str) else ""
        finding = OpinionFinding(says, place, None if whole or not place else line)
        if says and finding not in seen:
            seen.add(finding)
            yield finding


def kept_words(text: str) -> str:
    """A sentence of a stranger, on one line, without anything invisible or secret, cut."""
    return redact(one_line(text[: 4 * MAX_SAYS]))[:MAX_SAYS]


def doubts_from(opinion: Opinion) -> tuple[Doubt, ...]:
    """The opinion as doubts; none for one that found nothing."""
    if not opinion.outcome.given:
        return (Doubt(DoubtKind.NO_SECOND_OPINION, says=opinion.outcome.value),)
    if opinion.outcome is OpinionOutcome.GOOD:
        return ()
    found = tuple(Doubt(DoubtKind.SECOND_OPINION, finding.where, finding.says) for finding in opinion.findings)
    return found or (Doubt(DoubtKind.SECOND_OPINION),)


def note_of(opinion: Opinion) -> OpinionNote:
    """What the bot keeps."""
    return OpinionNote(opinion.outcome, len(opinion.findings), opinion.prompt, opinion.model)
