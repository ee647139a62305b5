"""The files around a session of Claude Code: its settings, its hooks, people's answers and words, its transcript.

Promise: settings and hooks lie in a folder that the agent can read but not change, so what it is asked and told does
not depend on what it did to its own files. A question is deferred by a hook: the program ends, and the same hook
answers it when the conversation is resumed, on whatever machine. Words of people come in after the next tool call, or
hold the agent back once from ending when they come too late for one.

Known race: two tool calls at the same moment may both be told the same words; that is harmless.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bot.worker.adapters.base import Session
from bot.worker.adapters.claude_code_outcome import NOTHING, Counted, answered, counted
from bot.worker.process import Ending, run
from bot.worker.workspace import read_agent_file

MAX_TRANSCRIPT: Final = 50_000_000  # bytes; beyond, a conversation is begun anew instead of resumed
COPY_SECONDS: Final = 20.0  # for a transcript of that size on a busy disk
LOOK_SECONDS: Final = 1.0  # between two looks for words of people
WORDS: Final = 2_000  # characters of one sentence of a person
ASK: Final = "AskUserQuestion"
_OTHER: Final = re.compile(r"[^A-Za-z0-9]")

# $1 is the folder of settings. Reads the event, and answers with what lies there for this call, else defers it.
_ASK_HOOK: Final = """\
call=$(cat)
for answer in "$1"/answer-*.json; do
  [ -r "$answer" ] || continue
  id=${answer##*/answer-}; id=${id%.json}
  case $call in *"\\"tool_use_id\\":\\"$id\\""*) cat "$answer"; exit 0;; esac
done
printf '{"hookSpecificOutput":{"hookEventName":"PreToolUse","permissionDecision":"defer"}}'
"""
# $1 the folder, $2 the event, $3 a file of the agent's own that counts what it has heard.
_WORDS_HOOK: Final = """\
cat > /dev/null
heard=$(cat "$3" 2> /dev/null || echo 0)
next=$((heard + 1))
[ -r "$1/said-$2-$next.json" ] || exit 0
echo "$next" > "$3"
cat "$1/said-$2-$next.json"
"""
_COPY: Final = 'umask 027; mkdir -p -- "$(dirname -- "$2")" && cp -- "$1" "$2"'


@dataclass(frozen=True, slots=True)
class Earlier:
    """What a transcript tells: the tool call that waits for an answer, and what had been used."""

    call: str | None = None
    arguments: Mapping[str, Any] | None = None
    used: Counted = NOTHING


def read_transcript(text: str) -> Earlier:
    """Reads the lines that matter; others, broken ones included, are passed over."""
    call: str | None = None
    arguments: Mapping[str, Any] | None = None
    before = NOTHING
    for line in text.splitlines():
        if '"hook_deferred_tool"' not in line and '"cost-state"' not in line and '"tool_result"' not in line:
            continue
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if not isinstance(entry, dict):
            continue
        attachment = entry.get("attachment")
        if isinstance(attachment, dict) and attachment.get("type") == "hook_deferred_tool":
            given = attachment.get("toolInput")
            call, arguments = str(attachment.get("toolUseID")), given if isinstance(given, dict) else {}
        elif entry.get("type") == "cost-state":
            before = counted(entry.get("modelUsage"), entry.get("totalCostUSD"))
        elif call is not None and f'"tool_use_id":"{call}"' in line:
            call = arguments = None
    return Earlier(call, arguments, before)


class Desk:
    """The folder of settings for one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.folder = session.workspace.root / "claude"
        self.home = session.workspace.home
        self._said = 0

    @property
    def settings(self) -> Path:
        return self.folder / "settings.json"

    @property
    def complaints(self) -> Path:
        """What the program writes to its standard error."""
        return self.home / "claude-stderr.txt"

    def lay(self) -> None:
        """Makes the folder with settings and hooks."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(mode=0o755)
        # The umask of the worker may close it to others; it holds no secret.
        self.folder.chmod(0o755)
        self._write("ask.sh", _ASK_HOOK)
        self._write("words.sh", _WORDS_HOOK)
        folder, heard = _quoted(self.folder), _quoted(self.home / "heard")
        words = f"sh {folder}/words.sh {folder}"

        def hook(command: str, matcher: str | None = None) -> list[dict[str, Any]]:
            row: dict[str, Any] = {"hooks": [{"type": "command", "command": command}]}
            return [row if matcher is None else {"matcher": matcher, **row}]

        hooks = {
            "PreToolUse": hook(f"sh {folder}/ask.sh {folder}", ASK),
            "PostToolUse": hook(f"{words} PostToolUse {heard}"),
            "Stop": hook(f"{words} Stop {heard}"),
        }
        self._write("settings.json", json.dumps({"hooks": hooks}))

    def answer(self, earlier: Earlier, answers: Mapping[str, tuple[str, ...]], note: str) -> None:
        """Lays down what people answered to the call that waits, and what the agent must know beside it."""
        if earlier.call is None or not re.fullmatch(r"[A-Za-z0-9_-]{1,100}", earlier.call):
            return
        decision = {
            "hookEventName": "PreToolUse",
            "permissionDecision": "allow",
            "updatedInput": answered(earlier.arguments or {}, answers),
            "additionalContext": note,
        }
        self._write(f"answer-{earlier.call}.json", json.dumps({"hookSpecificOutput": decision}))

    def say(self, text: str) -> None:
        """Lays down words of a person for the running agent."""
        self._said += 1
        told = f"A maintainer says while you work: {text[:WORDS]}"
        after = {"hookSpecificOutput": {"hookEventName": "PostToolUse", "additionalContext": told}}
        self._write(f"said-PostToolUse-{self._said}.json", json.dumps(after))
        self._write(f"said-Stop-{self._said}.json", json.dumps({"decision": "block", "reason": told}))

    async def pass_words_on(self) -> None:
        """Looks for words of people until cancelled."""
        while True:
            for text in self._session.steer():
                self.say(text)
            await asyncio.sleep(LOOK_SECONDS)

    def _write(self, name: str, text: str) -> None:
        """At once and whole, because a hook may be reading."""
        partial = self.folder / f".{name}"
        partial.write_text(text, encoding="utf-8")
        partial.chmod(0o644)
        partial.replace(self.folder / name)

    def read_complaints(self) -> list[str]:
        """The program's own complaints; none when the agent made something else of the file."""
        from bot.errors import UserError

        try:
            raw = read_agent_file(self.complaints)
        except UserError:
            return []
        return [line for line in (raw or b"").decode("utf-8", "replace").splitlines() if line.strip()]

    # --- transcripts

    def place_of(self, session_id: str) -> Path:
        """Where the program looks for the transcript of a session of this working directory."""
        project = _OTHER.sub("-", os.path.realpath(self._session.work))
        return self.home / ".claude" / "projects" / project / f"{session_id}.jsonl"

    async def put_transcript(self, source: Path, session_id: str) -> bool:
        """Places a transcript where the program finds it, as the agent's user."""
        return await self._as_agent(_COPY, str(source), str(self.place_of(session_id)))

    async def take_transcript(self, session_id: str | None) -> Path | None:
        """A copy of the session's transcript that the worker can read; None when there is none."""
        if session_id is None or not re.fullmatch(r"[0-9a-fA-F-]{36}", session_id):
            return None
        copy = self._session.workspace.box / "transcript.jsonl"
        if not await self._as_agent(_COPY, str(self.place_of(session_id)), str(copy)):
            return None
        return copy

    async def _as_agent(self, script: str, *arguments: str) -> bool:
        """Runs a short script as the agent's user, also when the session itself was stopped or is out of time."""
        try:
            finished = await run(
                self._session.launcher,
                ["sh", "-c", script, "sh", *arguments],
                cwd=self._session.work,
                env=self._session.environment,
                stop=asyncio.Event(),
                on_output=lambda _: None,
                seconds=COPY_SECONDS,
            )
        except OSError:
            return False
        return finished.ending is Ending.BY_ITSELF and finished.code == 0


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "'\\''") + "'"
