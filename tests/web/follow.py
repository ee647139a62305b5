"""Followers of the live interfaces, played by tests over real connections."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from jsonschema import Draft202012Validator

from tests.contract.api_answers import description
from tests.world import World

PATIENCE = 5.0
"""Seconds within which what happens must arrive; it takes milliseconds."""


def fits(form: str, data: Any) -> None:
    """Fails when the data is not of this form of the API's description."""
    components = description()["components"]
    validator = Draft202012Validator({"$ref": f"#/components/schemas/{form}", "components": components})
    assert [error.message for error in validator.iter_errors(data)] == []


class Stream:
    """One open stream of server-sent events."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def next(self) -> tuple[str, str | None, Any]:
        """(name, id, data) of the next event; comments come with the name `comment`."""
        lines: list[str] = []
        async with asyncio.timeout(PATIENCE):
            while True:
                line = (await self._response.content.readline()).decode()
                if not line:
                    return "closed", None, None
                if line == "\n":
                    break
                lines.append(line.rstrip("\n"))
        if lines[0].startswith(":"):
            return "comment", None, None
        fields = dict(line.split(": ", 1) for line in lines)
        return fields.get("event", ""), fields.get("id"), json.loads(fields["data"])

    async def data(self) -> Any:
        """The data of the next event that is none of the stream's own."""
        while True:
            name, _, data = await self.next()
            if name != "comment":
                assert name == "", (name, data)
                fits("Event", data)
                return data


@asynccontextmanager
async def follow(world: World, token: str, **query: str) -> AsyncIterator[Stream]:
    """A stream that has said hello."""
    assert world.http is not None
    headers = {"Authorization": f"Bearer {token}", **{k: query.pop(k) for k in list(query) if k == "Last-Event-ID"}}
    async with world.http.get(f"{world.url}/api/v1/events", params=query, headers=headers) as response:
        assert response.status == 200, await response.text()
        stream = Stream(response)
        name, _, _ = await stream.next()
        assert name == "hello"
        yield stream


async def receive(ws: aiohttp.ClientWebSocketResponse) -> Any:
    """The next message of a WebSocket."""
    return await ws.receive_json(timeout=PATIENCE)
