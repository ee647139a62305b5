"""The `scripted` adapter: an agent that follows a list of steps, for tests and for showing the product.

It does for real what an agent does: writes files, runs commands, commits, reports progress, fails, waits to be
stopped. The script is YAML or JSON: the file that `agent.command` names, else
`script.yml`, `.yaml` or `.json` in the thought's folder.
A step is one key with its value, and optionally `on_attempts: [n, …]`:

    steps:
      - progress: {step: 1, total: 2, text: writing}
      - write: {path: src/a.py, content: "x = 1"}
      - append: {path: README.md, content: "more"}
      - delete: old.txt
      - run: python -m unittest
      - commit: Add a
      - wait: 0.5
      - ask: [{id: greeting, text: Which greeting?, choices: [{label: Hello}, {label: Moin}]}]
      - write: {path: greeting.txt, content: "{{answer:greeting}}"}
      - fail: {reason: agent.gave_up, detail: first try}
        on_attempts: [1]
    opinion: {verdict: doubtful, findings: [{path: src/a.py, line: 1, text: "It forgets y."}]}

`opinion` is what it says when it is asked for a second opinion on a result.

What people answered stands for `{{answer:<id>}}` in what is written and run. An answered question is not asked again,
neither in the same conversation, which goes on after it, nor in a fresh one that is told of the answer.

All files are touched by processes of the agent's user, so isolation and its refusals are as real as with other agents.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bot.domain.model import FailureReason
from bot.domain.opinion import Opinion, OpinionOutcome, read_opinion
from bot.domain.questions import AskedQuestion, Choice
from bot.errors import UserError
from bot.worker.adapters.base import AgentResult, Session
from bot.worker.adapters.command import progress_lines
from bot.worker.look import Look, Looked
from bot.worker.process import Ending
from bot.worker.workspace import read_agent_file

MAX_SCRIPT: Final = 256_000  # bytes
TRANSCRIPT: Final = "scripted-session.json"  # where this agent writes down its conversation, in its home
NAMES: Final = ("script.yml", "script.yaml", "script.json")
_STEPS: Final = frozenset({"write", "append", "delete", "run", "commit", "fail", "wait", "progress", "ask"})
_ANSWER: Final = re.compile(r"\{\{answer:([\w.-]+)\}\}")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileStep(_Part):
    """A file's path, relative to the repository, and text."""

    path: str
    content: str = ""


class FailStep(_Part):
    """How the agent gives up."""

    reason: FailureReason = FailureReason.AGENT_GAVE_UP
    detail: str = "The script says so."


class ProgressStep(_Part):
    """What the agent says about how far it is."""

    step: int
    total: int
    text: str = ""


class ChoiceStep(_Part):
    """One answer that is offered."""

    label: str
    description: str = ""


class QuestionStep(_Part):
    """A question to people."""

    id: str
    text: str
    header: str = ""
    choices: tuple[ChoiceStep, ...] = ()
    several: bool = False
    default: str | None = None

    def asked(self) -> AskedQuestion:
        choices = tuple(Choice(choice.label, choice.description) for choice in self.choices)
        return AskedQuestion(self.id, self.text, self.header, choices, self.several, self.default)


class Step(_Part):
    """One step: exactly one of the actions. `wait` is in seconds."""

    write: FileStep | None = None
    append: FileStep | None = None
    delete: str | None = None
    run: str | None = None
    commit: str | None = None
    fail: FailStep | None = None
    wait: float | None = Field(default=None, ge=0)
    progress: ProgressStep | None = None
    ask: tuple[QuestionStep, ...] | None = None
    on_attempts: tuple[int, ...] | None = None

    @model_validator(mode="after")
    def _one_action(self) -> Step:
        if sum(getattr(self, name) is not None for name in _STEPS) != 1:
            raise ValueError(f"a step has exactly one of {', '.join(sorted(_STEPS))}")
        return self


class OpinionScript(_Part):
    """What the agent says of a result that it is asked to look at; `missing`: why it says nothing."""

    verdict: Literal["good", "doubtful"] | None = None
    findings: tuple[dict[str, Any], ...] = ()
    missing: OpinionOutcome | None = None


class Script(_Part):
    """What the agent will do."""

    steps: tuple[Step, ...]
    summary: str = "The script ran to its end."
    opinion: OpinionScript | None = None


def parse_script(text: str | bytes, name: str) -> Script:
    """Reads a script. Raises UserError naming file and place."""
    try:
        data: Any = yaml.safe_load(text)
        return Script.model_validate(data)
    except (yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{name} is not valid YAML: {str(error).splitlines()[0]}") from None
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        raise UserError(f"{name}: {'.'.join(map(str, first['loc']))}: {first['msg']}.") from None


class ScriptedAdapter:
    """Follows the script step by step."""

    async def run(self, session: Session) -> AgentResult:
        script = self._load(session)
        answers, begin = _resumed(session)
        for index, step in enumerate(script.steps[begin:], begin):
            if session.stop.is_set():
                break
            if step.on_attempts is not None and session.context.number not in step.on_attempts:
                continue
            if step.ask is not None:
                open_ = [question for question in step.ask if not _known(session, question, answers)]
                if open_:
                    return await self._ask(session, open_, answers, index)
                continue
            failed = await self._step(session, _filled(step, answers))
            if failed is not None:
                return failed
        return AgentResult(script.summary)

    async def look(self, session: Session, look: Look) -> Looked:
        said = self._load(session).opinion
        if said is None:
            return Looked(Opinion(OpinionOutcome.NOT_SET_UP, detail="The script gives no opinion."))
        if said.missing is not None:
            return Looked(Opinion(said.missing, detail="The script says so."))
        return Looked(read_opinion(said.model_dump()))

    async def _ask(
        self, session: Session, questions: list[QuestionStep], answers: Mapping[str, str], index: int
    ) -> AgentResult:
        """Ends with the questions, and writes down where the conversation stands."""
        record = json.dumps({"next": index, "answers": dict(answers)}).encode()
        file = session.workspace.home / TRANSCRIPT
        await session.run(["sh", "-c", 'cat > "$1"', "sh", str(file)], stdin=record)
        return AgentResult(
            asked=tuple(question.asked() for question in questions),
            transcript=file,
            session_id=session.resume.session_id
            if session.resume is not None
            else f"scripted-{session.context.attempt}",
        )

    def _load(self, session: Session) -> Script:
        command, thought = session.context.agent.command, session.context.thought
        # A thought's own script goes before the general one of the policy.
        candidates = [f"{thought.dir}/{name}" for name in NAMES] if thought is not None else []
        candidates += command[:1]
        if not candidates:
            raise UserError("There is no script.", "Name one in `agent.command`, or add script.yml to the thought.")
        for name in candidates:
            raw = read_agent_file(session.work / name, MAX_SCRIPT)
            if raw is not None:
                return parse_script(raw, name)
        raise UserError(f"There is no script {' or '.join(candidates)}.", "Add one, or choose another adapter.")

    async def _step(self, session: Session, step: Step) -> AgentResult | None:
        """Does one step; a result ends the script."""
        if step.fail is not None:
            return AgentResult("", step.fail.reason, step.fail.detail)
        if step.progress is not None:
            session.progress(step.progress.step, step.progress.total, step.progress.text)
            return None
        if step.wait is not None:
            return await self._wait(session, step.wait)
        for argv, stdin in _commands(step):
            finished = await session.run(argv, stdin=stdin, on_line=progress_lines(session.progress, session.on_line))
            if finished.ending is Ending.TIMED_OUT:
                return AgentResult("", FailureReason.AGENT_TIMEOUT, "The script did not end within its time limit.")
            if finished.ending is Ending.BY_ITSELF and finished.code != 0:
                said = f"{' '.join(argv[:3])[:200]} ended with exit code {finished.code}."
                return AgentResult("", FailureReason.AGENT_CRASH, said)
        return None

    async def _wait(self, session: Session, seconds: float) -> AgentResult | None:
        try:
            async with asyncio.timeout(min(seconds, session.seconds_left)):
                await session.stop.wait()
        except TimeoutError:
            if session.seconds_left <= 0:
                return AgentResult("", FailureReason.AGENT_TIMEOUT, "The script did not end within its time limit.")
        return None


def _resumed(session: Session) -> tuple[dict[str, str], int]:
    """What was answered, and the step to go on with. Raises UserError for a conversation that is none of ours."""
    if session.resume is None:
        return {}, 0
    raw = read_agent_file(session.resume.transcript)
    try:
        record = json.loads(raw or b"")
        answers = {str(key): str(value) for key, value in record["answers"].items()}
        begin = int(record["next"])
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UserError("The conversation to go on with is not one of the scripted agent.") from None
    return answers | {key: ", ".join(words) for key, words in session.resume.answers.items()}, begin


def _known(session: Session, question: QuestionStep, answers: dict[str, str]) -> bool:
    """Whether it was answered, in this conversation or an earlier one that the context tells of."""
    if question.id not in answers:
        told = next((known.answer for known in session.context.answers if known.question == question.text), None)
        if told is None:
            return False
        answers[question.id] = told
    return True


def _filled(step: Step, answers: Mapping[str, str]) -> Step:
    """The step with the answers in their places."""

    def fill(text: str) -> str:
        return _ANSWER.sub(lambda match: answers.get(match[1], ""), text)

    changes: dict[str, Any] = {}
    for name in ("write", "append"):
        file: FileStep | None = getattr(step, name)
        if file is not None:
            changes[name] = file.model_copy(update={"content": fill(file.content)})
    for name in ("run", "commit"):
        text: str | None = getattr(step, name)
        if text is not None:
            changes[name] = fill(text)
    return step.model_copy(update=changes)


def _commands(step: Step) -> list[tuple[list[str], bytes]]:
    """The processes of a step, each with its standard input. File names are arguments, never part of a script."""
    for redirect, file in ((">", step.write), (">>", step.append)):
        if file is not None:
            shell = f'mkdir -p -- "$(dirname -- "$1")" && cat {redirect} "$1"'
            return [(["sh", "-c", shell, "sh", f"./{file.path}"], file.content.encode("utf-8"))]
    if step.delete is not None:
        return [(["rm", "-r", "--", f"./{step.delete}"], b"")]
    if step.run is not None:
        return [(["sh", "-c", step.run], b"")]
    if step.commit is not None:
        return [(["git", "add", "--all"], b""), (["git", "commit", "--quiet", "--message", step.commit], b"")]
    return []
