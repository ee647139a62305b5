"""A scripted Messages API on loopback: what a real agent program talks to when nobody pays for a model.

Promise: it speaks the wire format (server-sent events, usage, errors) that the agent's command line needs, and nothing
of what it answers comes from a model: each conversation follows the script that its first words choose. A script has
one turn for each answer; which turn it is follows from the conversation itself, so that repeated requests, resumed
sessions and other machines get the same answer. Everything asked is kept in `asked` for tests.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web

MAX_BODY: Final = 64 << 20  # bytes; a conversation is sent whole with each request
STOPPING_SECONDS: Final = 0.5  # for answers under way when the stage is cleared


@dataclass(frozen=True, slots=True)
class Conversation:
    """What the agent has sent: who it is and what was said. `turn` counts the answers it has had."""

    model: str
    credential: str
    turn: int
    words: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Turn:
    """One answer: words, then tool calls as (name, input). `seconds` pass before it; tokens are what it reports."""

    text: str = ""
    tools: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    seconds: float = 0.0
    tokens_in: int = 1_000
    tokens_out: int = 100


@dataclass(frozen=True, slots=True)
class Trouble:
    """An error instead of an answer: `times` times, then `then`."""

    status: int
    message: str = "scripted"
    kind: str = "api_error"
    headers: Mapping[str, str] = field(default_factory=dict)
    times: int = 1_000_000
    then: Turn = Turn("Done.")


Step = Turn | Trouble | Callable[[Conversation], Turn]
Script = Sequence[Step]


def use(name: str, text: str = "", **arguments: Any) -> Turn:
    """A turn with one tool call."""
    return Turn(text, ((name, arguments),))


def shell(command: str, why: str = "Run a command") -> Turn:
    """A turn that runs a shell command."""
    return use("Bash", command=command, description=why)


def finished(summary: str, outcome: str = "done") -> Turn:
    """The turn in which the agent says how it ended."""
    return use("StructuredOutput", outcome=outcome, summary=summary)


class ScriptedModel:
    """Answers by `choose(conversation)`, the script of that conversation."""

    def __init__(self, choose: Callable[[Conversation], Script]) -> None:
        self._choose = choose
        self._troubles: Counter[tuple[str, int]] = Counter()
        self.asked: list[Conversation] = []
        self.url = ""

    @asynccontextmanager
    async def serve(self, port: int = 0) -> AsyncIterator[str]:
        """Listens on loopback; its address."""
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_post("/v1/messages", self._messages)
        app.router.add_post("/v1/messages/count_tokens", self._count)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=STOPPING_SECONDS)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", port).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield self.url
        finally:
            await runner.cleanup()

    async def _messages(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        conversation = _conversation(body, request.headers)
        self.asked.append(conversation)
        # Side requests (a title, a summary) bring no tools and belong to no script.
        step = self._step(conversation) if body.get("tools") else Turn("ok")
        if isinstance(step, Trouble):
            error = {"type": "error", "error": {"type": step.kind, "message": step.message}}
            return web.json_response(error, status=step.status, headers=dict(step.headers))
        await asyncio.sleep(step.seconds)
        if not body.get("stream"):
            return web.json_response(_message(conversation, step, _content(conversation, step)))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
        await response.prepare(request)
        for event in _events(conversation, step):
            await response.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
        await response.write_eof()
        return response

    def _step(self, conversation: Conversation) -> Turn | Trouble:
        script = self._choose(conversation)
        step = script[min(conversation.turn, len(script) - 1)]
        if isinstance(step, Trouble):
            place = (conversation.words[:500], conversation.turn)
            self._troubles[place] += 1
            return step if self._troubles[place] <= step.times else step.then
        return step if isinstance(step, Turn) else step(conversation)

    async def _count(self, request: web.Request) -> web.Response:
        return web.json_response({"input_tokens": len(await request.text()) // 4})


def _conversation(body: Mapping[str, Any], headers: Mapping[str, str]) -> Conversation:
    messages = body.get("messages", [])
    return Conversation(
        str(body.get("model", "")),
        headers.get("x-api-key") or headers.get("Authorization", "").removeprefix("Bearer "),
        sum(message.get("role") == "assistant" for message in messages),
        "\n".join(_words(message.get("content")) for message in messages),
        dict(headers),
    )


def _words(content: Any) -> str:
    """All text in a message: what people, tools and the program itself said."""
    if isinstance(content, str):
        return content
    if isinstance(content, dict):
        return _words(content.get("text") or content.get("content") or "")
    if isinstance(content, list):
        return "\n".join(_words(part) for part in content)
    return ""


def _content(conversation: Conversation, turn: Turn) -> list[dict[str, Any]]:
    words: list[dict[str, Any]] = [{"type": "text", "text": turn.text}] if turn.text else []
    return words + [
        {"type": "tool_use", "id": f"toolu_{conversation.turn}_{index}", "name": name, "input": dict(arguments)}
        for index, (name, arguments) in enumerate(turn.tools)
    ]


def _message(conversation: Conversation, turn: Turn, content: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": f"msg_{conversation.turn}",
        "type": "message",
        "role": "assistant",
        "model": conversation.model,
        "content": content,
        "stop_reason": "tool_use" if turn.tools else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": turn.tokens_in, "output_tokens": turn.tokens_out},
    }


def _events(conversation: Conversation, turn: Turn) -> list[dict[str, Any]]:
    start = _message(conversation, turn, []) | {"stop_reason": None}
    start["usage"] = {"input_tokens": turn.tokens_in, "output_tokens": 1}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": start}]
    for index, block in enumerate(_content(conversation, turn)):
        empty: dict[str, Any] = {"text": ""} if block["type"] == "text" else {"input": {}}
        delta = (
            {"type": "text_delta", "text": block["text"]}
            if block["type"] == "text"
            else {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        )
        events += [
            {"type": "content_block_start", "index": index, "content_block": block | empty},
            {"type": "content_block_delta", "index": index, "delta": delta},
            {"type": "content_block_stop", "index": index},
        ]
    stop = {"stop_reason": "tool_use" if turn.tools else "end_turn", "stop_sequence": None}
    events.append({"type": "message_delta", "delta": stop, "usage": {"output_tokens": turn.tokens_out}})
    return [*events, {"type": "message_stop"}]
