"""The `claude-code` adapter: Claude Code's own command line does the work, as the agent's user.

Promise: the program runs through the session like every agent's process, so it is another user with an allow-listed
environment; it gets an address on loopback and a token instead of the model's key. It may use the tools of the policy
and nothing else, and nobody is asked for a permission. How it ended is judged from `is_error`, the exit code and what
the door to the model saw; each failure has a typed reason. A question ends the session, and its answer resumes it.

A run that is told to stop gets SIGINT first, for only then it may write a last result; whether it does is a race inside
the program. Without one, what it used is what the door counted; the transcript is there either way.
A conversation that cannot be resumed is begun anew, with the answers in its prompt.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bot.domain.model import FailureReason
from bot.domain.opinion import SCHEMA as OPINION_SCHEMA
from bot.domain.opinion import Opinion, OpinionOutcome
from bot.errors import UserError
from bot.worker.adapters.base import AgentResult, Session
from bot.worker.adapters.claude_code_outcome import (
    NOTHING,
    SCHEMA,
    Counted,
    Run,
    judge,
    opinion_of,
    used,
)
from bot.worker.adapters.claude_code_session import ASK, MAX_TRANSCRIPT, Desk, Earlier, read_transcript
from bot.worker.adapters.claude_code_stream import Stream
from bot.worker.look import Look, Looked
from bot.worker.model_proxy import ModelDoor, Passed, usage_of_door
from bot.worker.process import Ending, Finished
from bot.worker.prompts import CONTINUE, IMPLEMENT, MOVED, SECOND_OPINION, filled, filled_look, prompt
from bot.worker.workspace import read_agent_file

RETRIES: Final = 5  # of one request: 1 + 1 + 2 + 4 + 9 seconds; without a limit it is silent for minutes
MAX_LINE: Final = 20_000_000  # bytes of one message: a tool's result may hold a whole file
NO_CONVERSATION: Final = "No conversation found"
QUIET: Final = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "DISABLE_TELEMETRY": "1",
}
"""It speaks to the model and to nobody else."""
PATIENT: Final = {"BASH_DEFAULT_TIMEOUT_MS": "600000", "BASH_MAX_TIMEOUT_MS": "3600000"}
"""Test suites take longer than the two minutes that the program gives a command by default."""

_SPEAKS: Final = ("--print", "--output-format", "stream-json", "--verbose")
NO_PROGRAM: Final = "Claude Code is not on this worker. Install `tgs-bot[claude]`, or put `claude` on its PATH."

# Standard error goes to a file: in the same pipe a complaint could land in the middle of a message.
_APART: Final = 'complaints=$1; shift; exec "$@" 2> "$complaints"'


@dataclass(frozen=True, slots=True)
class Beginning:
    """How a run begins: the arguments that name the conversation, the words on standard input, what was used before."""

    arguments: tuple[str, ...]
    words: str
    before: Counted = NOTHING
    prompt_version: str = ""


class ClaudeCodeAdapter:
    """Runs Claude Code. `retries`: how often it repeats one request to the model. `program`: where it is, if known."""

    def __init__(self, retries: int = RETRIES, program: Path | None = None) -> None:
        self._retries = retries
        self._program = program

    async def run(self, session: Session) -> AgentResult:
        door = session.model
        if door is None:
            return AgentResult(
                "",
                FailureReason.CONFIG_SECRET_MISSING,
                "The worker has no credential for the model (ANTHROPIC_API_KEY).",
            )
        desk = Desk(session)
        desk.lay()
        session = self._prepared(session, door)
        program = await _reachable(session, self._program or find_program())
        if program is None:
            return AgentResult("", FailureReason.CONFIG_AGENT, NO_PROGRAM)
        beginning = await _resumed(session, desk) or _afresh(session)
        result, stream = await self._converse(session, desk, program, beginning)
        if stream.result is not None and NO_CONVERSATION in str(stream.result.get("errors")):
            session.on_line("the conversation cannot be resumed here; a new one is begun")
            result, _ = await self._converse(session, desk, program, _afresh(session))
        return result

    async def look(self, session: Session, look: Look) -> Looked:
        door = session.model
        if door is None:
            return Looked(Opinion(OpinionOutcome.NOT_SET_UP, detail="There is no credential for the model."))
        desk = Desk(session)
        desk.lay()
        session = self._prepared(session, door)
        program = await _reachable(session, self._program or find_program())
        if program is None:
            return Looked(Opinion(OpinionOutcome.NOT_SET_UP, detail=NO_PROGRAM))
        template = prompt(SECOND_OPINION)
        session.on_line(f"prompt {template.name} {template.version}")
        words = filled_look(template, session.context, look)
        argv = (
            str(program), *_SPEAKS, "--session-id", str(uuid.uuid4()),
            # Nothing of the repository or of an earlier session speaks to who judges: no settings, hooks or memory.
            "--setting-sources", "", "--strict-mcp-config", "--permission-mode", "dontAsk",
            *_tools(session.context.agent.tools), "--json-schema", json.dumps(OPINION_SCHEMA), *_bounds(session),
        )  # fmt: skip
        finished, stream = await self._run(session, desk, argv, words)
        usage = used(stream.result, NOTHING, stream.turns) or usage_of_door(session.model, turns=stream.turns)
        opinion = opinion_of(_judged(session, stream, finished), stream.result)
        return Looked(replace(opinion, prompt=template.version, model=usage.model if usage else ""), usage)

    def _prepared(self, session: Session, door: ModelDoor) -> Session:
        """The session with what the program needs in its environment."""
        environment = {
            **session.environment,
            **QUIET,
            **PATIENT,
            **door.environment,
            "CLAUDE_CONFIG_DIR": str(session.workspace.home / ".claude"),
            "CLAUDE_CODE_MAX_RETRIES": str(self._retries),
        }
        return replace(session, environment=environment)

    async def _run(self, session: Session, desk: Desk, argv: Sequence[str], words: str) -> tuple[Finished, Stream]:
        """One process of the program, to its end."""
        stream = Stream(lambda text: session.progress(0, 0, text), session.on_line)
        finished = await session.run(
            ["sh", "-c", _APART, "sh", str(desk.complaints), *argv],
            stdin=words.encode("utf-8"),
            on_line=stream.feed,
            max_line=MAX_LINE,
        )
        for line in desk.read_complaints():
            stream.feed(line)
        return finished, stream

    async def _converse(
        self, session: Session, desk: Desk, program: Path, beginning: Beginning
    ) -> tuple[AgentResult, Stream]:
        """One conversation in which work is done."""
        counted = replace(session.model.passed) if session.model is not None else Passed()
        words = asyncio.create_task(desk.pass_words_on())
        try:
            arguments = _arguments(session, desk, program, beginning)
            finished, stream = await self._run(session, desk, arguments, beginning.words)
        finally:
            words.cancel()
            await asyncio.gather(words, return_exceptions=True)
        result = replace(
            _judged(session, stream, finished),
            session_id=stream.session_id,
            transcript=await desk.take_transcript(stream.session_id),
            usage=used(stream.result, beginning.before, stream.turns)
            or usage_of_door(session.model, counted, stream.turns),
            prompt_version=beginning.prompt_version,
        )
        return result, stream


def _judged(session: Session, stream: Stream, finished: Finished) -> AgentResult:
    if finished.ending is Ending.TIMED_OUT:
        said = f"It did not end within its time limit ({stream.counted()})."
        return AgentResult("", FailureReason.AGENT_TIMEOUT, said)
    if finished.ending is Ending.STOPPED:
        return AgentResult("Stopped.")
    passed = session.model.passed if session.model is not None else None
    verdict = judge(
        Run(
            finished.code,
            stream.result,
            tuple(stream.plain),
            passed.last_error if passed else None,
            passed.exhausted if passed else "",
            tuple(stream.denied),
        )
    )
    until = passed.until if passed is not None and verdict.reason is FailureReason.QUOTA_PROVIDER else None
    return AgentResult(verdict.summary, verdict.reason, verdict.detail, asked=verdict.asked, not_before=until)


def _arguments(session: Session, desk: Desk, program: Path, beginning: Beginning) -> list[str]:
    tools = tuple(dict.fromkeys((*session.context.agent.tools, ASK)))
    return [
        str(program), *_SPEAKS, *beginning.arguments,
        "--settings", str(desk.settings), "--setting-sources", "project", "--strict-mcp-config",
        # Whatever is not allowed is denied without asking; the prompt tool only makes questions possible at all.
        "--permission-mode", "dontAsk", "--permission-prompt-tool", "stdio",
        *_tools(tools), "--json-schema", SCHEMA,
        # A resumed conversation counts on from what its transcript says.
        *_bounds(session, beginning.before.cost_usd),
    ]  # fmt: skip


def _tools(tools: Sequence[str]) -> list[str]:
    return ["--tools", ",".join(dict.fromkeys(t.partition("(")[0] for t in tools)), "--allowedTools", *tools]


def _bounds(session: Session, spent_before: float = 0.0) -> list[str]:
    """Which models, and how much of them."""
    agent, budget = session.context.agent, session.context.spec.budget_usd
    # A plan may have asked for one of them: no model takes its own place.
    fallbacks = [model for model in dict.fromkeys(agent.fallbacks) if model != agent.model]
    return [
        *(["--model", agent.model] if agent.model else []),
        *(["--fallback-model", ",".join(fallbacks)] if fallbacks else []),
        *(["--max-turns", str(agent.max_turns)] if agent.max_turns else []),
        *(["--max-budget-usd", f"{budget + spent_before:.6f}"] if budget is not None else []),
    ]


def _afresh(session: Session) -> Beginning:
    template = prompt(IMPLEMENT)
    session.on_line(f"prompt {template.name} {template.version}")
    return Beginning(
        ("--session-id", str(uuid.uuid4())), filled(template, session.context), prompt_version=template.version
    )


async def _resumed(session: Session, desk: Desk) -> Beginning | None:
    """The conversation of an earlier attempt, or None when there is none that can be gone on with."""
    resume = session.resume
    if resume is None:
        return None
    try:
        raw = await asyncio.to_thread(read_agent_file, resume.transcript, MAX_TRANSCRIPT)
    except (OSError, UserError):
        raw = None
    text = (raw or b"").decode("utf-8", "replace")
    if not text:
        session.on_line("the transcript cannot be read; a new conversation is begun")
        return None
    earlier: Earlier = await asyncio.to_thread(read_transcript, text)
    if not await desk.put_transcript(resume.transcript, resume.session_id):
        session.on_line("the transcript cannot be placed; a new conversation is begun")
        return None
    arguments = ("--resume", resume.session_id)
    if earlier.call is not None and resume.answers:
        template = prompt(MOVED)
        desk.answer(earlier, resume.answers, filled(template, session.context))
        return Beginning(arguments, "", earlier.used, template.version)
    template = prompt(CONTINUE)
    return Beginning(arguments, filled(template, session.context), earlier.used, template.version)


def find_program() -> Path | None:
    """The command line that `claude-agent-sdk` brings along, else `claude` on the PATH; None: neither is there."""
    spec = importlib.util.find_spec("claude_agent_sdk")
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent / "_bundled" / "claude"
        if bundled.is_file():
            return bundled
    found = shutil.which("claude")
    return Path(found) if found is not None else None


async def _reachable(session: Session, program: Path | None) -> Path | None:
    """The program where the agent's user can start it: where it is, or a copy when its folder is closed to others."""
    if program is None:
        return None
    if await _starts(session, program):
        return program
    copy = session.workspace.root / "claude" / "program"
    try:
        await asyncio.to_thread(shutil.copyfile, program, copy)
        copy.chmod(0o755)
    except OSError:
        return None
    return copy if await _starts(session, copy) else None


async def _starts(session: Session, program: Path) -> bool:
    try:
        finished = await session.run([str(program), "--version"], on_line=lambda _: None)
    except OSError:
        return False
    return finished.ending is not Ending.BY_ITSELF or finished.code == 0
