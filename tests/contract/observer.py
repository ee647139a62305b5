"""Watches every API request that a local GitHub receives and what it answers, for tests that go through real HTTP.

`problems = watch(monkeypatch)` before the test's work, `assert problems == []` at its end: then everything the bot
sent and everything the local GitHub answered in that test keeps to GitHub's description. Errors that a fault makes it
answer are forms of failure that any request may meet, so they pass.
"""

from __future__ import annotations

import pytest
from aiohttp import web

from bot.localhub.server import API_PREFIX, GRAPHQL_PATH, Server
from tests.contract.validator import Validator


def watch(monkeypatch: pytest.MonkeyPatch, *, headers: bool = True) -> list[str]:
    """A list that fills with violations until the end of the test; all local hubs of the test are watched.

    `headers=False` leaves request headers unchecked, for callers that are not the bot.
    """
    problems: list[str] = []
    validator = Validator(API_PREFIX, headers=headers)
    serve = Server._serve_api

    async def watched(self: Server, incoming: web.Request) -> web.StreamResponse:
        response = await serve(self, incoming)
        if not isinstance(response, web.Response):
            return response
        path = f"{API_PREFIX}/graphql" if incoming.path == GRAPHQL_PATH else incoming.rel_url.raw_path
        body = await incoming.read()
        answer = bytes(response.body) if isinstance(response.body, bytes | bytearray) else None
        problems.extend(
            validator.check(
                incoming.method,
                path,
                list(incoming.query.items()),
                incoming.headers,
                body or None,
                response.status,
                answer or None,
            )
        )
        return response

    monkeypatch.setattr(Server, "_serve_api", watched)
    return problems
