"""Reading what Claude Code prints: one JSON object a line, of which we know some and ignore the rest.

Promise: nothing in the stream raises; unknown messages, unknown fields and lines that are no JSON are passed over,
because newer versions add all three. What is kept: the session's id, the last result, how many turns and tool calls
there were, what a person may want to see of them, and plain lines (the program's own complaints).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

PLAIN_LINES: Final = 20  # of complaints that are kept
SHOWN: Final = 120  # characters of a command or a text in the progress line
_SAID: Final = 2_000  # characters of a text in the log
_THOUSAND: Final = 1_000


@dataclass(slots=True)
class Stream:
    """The state of one run. `on_step` hears of progress, `on_line` gets readable lines for the log."""

    on_step: Callable[[str], None]
    on_line: Callable[[str], None]
    session_id: str | None = None
    version: str = ""
    result: Mapping[str, Any] | None = None
    steps: int = 0
    tokens: int = 0
    plain: list[str] = field(default_factory=list)
    denied: list[str] = field(default_factory=list)
    _turns: dict[str, int] = field(default_factory=dict)

    @property
    def turns(self) -> int:
        """Answers of the model in the main conversation."""
        return len(self._turns)

    def feed(self, line: str) -> None:
        """Takes one line."""
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            if line.strip():
                self.plain[:] = [*self.plain, line.strip()[:_SAID]][-PLAIN_LINES:]
                self.on_line(line)
            return
        if isinstance(message.get("session_id"), str):
            self.session_id = message["session_id"]
        match message.get("type"):
            case "system":
                self._system(message)
            case "assistant" if message.get("parent_tool_use_id") is None:
                self._assistant(_dict(message.get("message")))
            case "user":
                self._tool_results(_dict(message.get("message")))
            case "result":
                self.result = message
            case _:
                pass

    def _system(self, message: Mapping[str, Any]) -> None:
        match message.get("subtype"):
            case "init":
                self.version = str(message.get("claude_code_version", ""))
                self.on_line(f"Claude Code {self.version} with {message.get('model', '')}")
            case "api_retry":
                said = f"{message.get('error_status') or message.get('error') or ''}"
                self.on_line(f"the model does not answer ({said}); try {message.get('attempt', '?')}")
                self.on_step("waiting for the model")
            case "permission_denied":
                self.denied.append(str(message.get("tool_name", "")))
                self.on_line(f"denied: {message.get('tool_name', '')}")
            case _:
                pass

    def _assistant(self, message: Mapping[str, Any]) -> None:
        usage = _dict(message.get("usage"))
        # One answer comes as several messages, one for each block, all with the same id and usage.
        self._turns[str(message.get("id"))] = sum(
            _number(usage.get(name))
            for name in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
        )
        self.tokens = sum(self._turns.values())
        for block in _blocks(message):
            match block.get("type"):
                case "text":
                    text = str(block.get("text", ""))
                    self.on_line(f"says: {text[:_SAID]}")
                case "tool_use":
                    self.steps += 1
                    what = described(str(block.get("name", "")), _dict(block.get("input")))
                    self.on_line(f"uses {what}")
                    self.on_step(f"{self.counted()}: {what}")
                case _:
                    pass

    def counted(self) -> str:
        """How far it is, for people."""
        tokens = f", {round(self.tokens / _THOUSAND)}k tokens" if self.tokens >= _THOUSAND else ""
        turns = "turn" if self.turns == 1 else "turns"
        steps = "step" if self.steps == 1 else "steps"
        return f"{self.turns} {turns}, {self.steps} {steps}{tokens}"

    def _tool_results(self, message: Mapping[str, Any]) -> None:
        for block in _blocks(message):
            if block.get("type") == "tool_result" and block.get("is_error"):
                self.on_line(f"failed: {_text(block.get('content'))[:_SAID]}")


def described(name: str, arguments: Mapping[str, Any]) -> str:
    """A tool call in a few words: what is run or touched."""
    for key in ("description", "command", "file_path", "path", "pattern", "url", "query"):
        value = arguments.get(key)
        if isinstance(value, str) and value.strip():
            return f"{name} {' '.join(value.split())[:SHOWN]}"
    return name


def _dict(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _blocks(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    content = message.get("content")
    return [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []


def _number(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(_text(part) for part in value)
    return str(value.get("text", "")) if isinstance(value, dict) else str(value or "")
