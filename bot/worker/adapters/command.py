"""The `command` adapter: any executable can be the agent.

The contract, which `examples/agents/` shows: the context is on stdin and in the file `TGS_CONTEXT`, both JSON. The
program edits and, if it likes, commits in its working directory. It may print `::tgs progress <step>/<total> <text>`.
Hints from people while it works are appended to the file `TGS_STEER`, one JSON string a line. At the end it may write
`{"outcome": "done" | "failed", "summary": …, "reason": …, "detail": …}` to `TGS_RESULT`; without that file the exit
code decides. To ask people it writes `{"outcome": "asked", "questions": [{"id": …, "text": …, "choices": [{"label":
…}]}], "session": …, "transcript": …}` and ends: the next attempt finds the answers in its context, and the file
`transcript` where `TGS_TRANSCRIPT` says. To stop, it gets SIGINT, later SIGTERM, later SIGKILL.

A second opinion is another program, `qa.second_opinion.command` of the policy. It gets the change as JSON on stdin, in
a directory with the changed files, and writes `{"verdict": "good" | "doubtful", "findings": [{"path": …, "line": …,
"text": …}]}` to `TGS_RESULT`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bot.domain.model import FailureReason
from bot.domain.opinion import Opinion, OpinionOutcome, read_opinion
from bot.domain.questions import AskedQuestion, Choice
from bot.errors import UserError
from bot.worker.adapters.base import AgentResult, ProgressSink, Session
from bot.worker.look import Look, Looked, look_json
from bot.worker.model_proxy import usage_of_door
from bot.worker.process import Ending
from bot.worker.workspace import read_agent_file

_PROGRESS: Final = re.compile(r"::tgs progress (\d{1,4})/(\d{1,4})(?: (.*))?\Z")
_TEXT: Final = 4_000  # characters of summary or detail that are kept
# What an agent may say of itself; everything else (a policy's or the machine's reason) is for us to find out.
OWN_REASONS: Final = frozenset(
    {
        FailureReason.AGENT_GAVE_UP,
        FailureReason.AGENT_CRASH,
        FailureReason.AGENT_TOO_LARGE,
        FailureReason.AGENT_ITERATION_LIMIT,
        FailureReason.AGENT_CONTEXT_OVERFLOW,
        FailureReason.AGENT_NO_EVIDENCE,
        FailureReason.QUOTA_PROVIDER,
        FailureReason.BUDGET_EXCEEDED,
    }
)


class ChoiceIn(BaseModel):
    """One answer that the program offers."""

    model_config = ConfigDict(extra="ignore")

    label: str = Field(min_length=1)
    description: str = ""


class QuestionIn(BaseModel):
    """A question to people; `default` is the label of a choice."""

    model_config = ConfigDict(extra="ignore")

    id: str = Field(min_length=1)
    text: str = Field(min_length=1)
    header: str = ""
    choices: tuple[ChoiceIn, ...] = ()
    several: bool = False
    default: str | None = None

    def asked(self) -> AskedQuestion:
        choices = tuple(Choice(choice.label, choice.description) for choice in self.choices)
        return AskedQuestion(self.id, self.text, self.header, choices, self.several, self.default)


class ResultFile(BaseModel):
    """What the program may write to `TGS_RESULT`. With "asked": `session` is its own name of the conversation, and
    `transcript` the file, in its home or working directory, that the next attempt shall get."""

    model_config = ConfigDict(extra="ignore")

    outcome: Literal["done", "failed", "asked"]
    summary: str = ""
    reason: str | None = None
    detail: str = ""
    questions: tuple[QuestionIn, ...] = ()
    session: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")
    transcript: str | None = None


class CommandAdapter:
    """Runs `agent.command` of the context, or the `command` that it was made with."""

    def __init__(self, command: tuple[str, ...] = ()) -> None:
        self._command = command

    async def run(self, session: Session) -> AgentResult:
        command = self._command or session.context.agent.command
        if not command:
            raise UserError("The command of the agent is empty.", "Set `agent.command` in .tgs/policy.yml.")
        tail: list[str] = []
        try:
            finished = await session.run(
                command,
                stdin=session.context.model_dump_json().encode("utf-8"),
                on_line=progress_lines(session.progress, _keep_tail(tail, session.on_line)),
            )
        except OSError as error:
            raise UserError(
                f"The agent's command {command[0]!r} cannot be started: {error.strerror}.",
                "Check `agent.command` in .tgs/policy.yml.",
            ) from None
        said = self._read_result(session)
        if finished.ending is Ending.TIMED_OUT:
            late = "The agent did not end within its time limit."
            left = said or AgentResult()
            return AgentResult(
                left.summary, FailureReason.AGENT_TIMEOUT, late, transcript=left.transcript, session_id=left.session_id
            )
        if said is not None:
            return said
        if finished.code == 0:
            return AgentResult()
        last = f" Last output: {tail[-1]}" if tail else ""
        return AgentResult("", FailureReason.AGENT_CRASH, f"The agent ended with exit code {finished.code}.{last}")

    async def look(self, session: Session, look: Look) -> Looked:
        if not look.command:
            return Looked(Opinion(OpinionOutcome.NOT_SET_UP, detail="`qa.second_opinion.command` is empty."))
        tail: list[str] = []
        try:
            finished = await session.run(
                look.command,
                stdin=look_json(session.context, look),
                on_line=progress_lines(session.progress, _keep_tail(tail, session.on_line)),
            )
        except OSError as error:
            said = f"The command {look.command[0]!r} cannot be started: {error.strerror}."
            return Looked(Opinion(OpinionOutcome.NOT_SET_UP, detail=said))
        usage = usage_of_door(session.model)
        if finished.ending is Ending.TIMED_OUT:
            return Looked(Opinion(OpinionOutcome.TIME), usage)
        if finished.code != 0:
            said = f"It ended with exit code {finished.code}. {' '.join(tail)}".strip()
            return Looked(Opinion(OpinionOutcome.CRASHED, detail=said), usage)
        raw = read_agent_file(session.workspace.result_file)
        try:
            answer = json.loads(raw or b"null")
        except (ValueError, RecursionError):
            answer = None
        return Looked(read_opinion(answer), usage)

    def _read_result(self, session: Session) -> AgentResult | None:
        raw = read_agent_file(session.workspace.result_file)
        if raw is None:
            return None
        try:
            result = ResultFile.model_validate_json(raw)
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            return AgentResult(
                "", FailureReason.AGENT_CRASH, f"The agent's result file is wrong: {where}: {first['msg']}."
            )
        file = session.work / result.transcript if result.transcript is not None else None
        if result.outcome == "asked":
            if not result.questions:
                return AgentResult("", FailureReason.AGENT_CRASH, "The agent's result file is wrong: it asks nothing.")
            asked = tuple(question.asked() for question in result.questions)
            return AgentResult(result.summary[:_TEXT], asked=asked, transcript=file, session_id=result.session)
        if result.outcome == "done":
            return AgentResult(result.summary[:_TEXT])
        reason = _own_reason(result.reason)
        return AgentResult(
            result.summary[:_TEXT], reason, result.detail[:_TEXT], transcript=file, session_id=result.session
        )


def _own_reason(name: str | None) -> FailureReason:
    return next((reason for reason in OWN_REASONS if reason.value == name), FailureReason.AGENT_GAVE_UP)


def _keep_tail(tail: list[str], then: Callable[[str], None]) -> Callable[[str], None]:
    def keep(line: str) -> None:
        if line.strip():
            tail[:] = [line[:500]]
        then(line)

    return keep


def progress_lines(progress: ProgressSink, then: Callable[[str], None]) -> Callable[[str], None]:
    """A sink that takes progress lines out and gives all others to `then`."""

    def sink(line: str) -> None:
        match = _PROGRESS.match(line)
        if match is None:
            then(line)
        else:
            progress(int(match[1]), int(match[2]), (match[3] or "").strip())

    return sink
