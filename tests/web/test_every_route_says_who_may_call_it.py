"""Deny by default: every route is called without a credential, with a wrong one, and as another tenant."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from bot.localhub.core import Role
from bot.web.api.described import Example
from bot.web.api.table import ROUTES
from tests.web.calls import path_of
from tests.world import World, new_world

OPEN = {
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("GET", "/dist/"),
    ("GET", "/dist/{file}"),
    ("GET", "/dist/{sha256}/{file}"),
    ("GET", "/api/openapi.json"),
    # Its own signature check stands in place of a credential.
    ("POST", "/webhook"),
}
"""Routes that anybody may call; a new one must be added here on purpose."""

OWN = {("GET", "/api/v1/repos"), ("GET", "/api/v1/projects"), ("GET", "/api/v1/tasks")}
"""Lists of what the caller can read: everybody with a GitHub token has one, and nothing of others is in it."""

ROWS = {(row.method, row.path): row for row in ROUTES}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with new_world(tmp_path) as found:
        yield found


def routes(world: World) -> list[tuple[str, str]]:
    assert world.bot is not None
    found = []
    for route in world.bot.runner.app.router.routes():
        resource = route.resource
        assert isinstance(resource, web.Resource)
        if route.method != "HEAD":
            found.append((route.method, resource.canonical))
    return found


async def status(world: World, method: str, template: str, attempt: str, token: str | None) -> int:
    assert world.http is not None
    example = ROWS[(method, template)].example or Example()
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    url = world.url + path_of(template, example, attempt=attempt)
    async with world.http.request(
        method, url, json=example.body, params=dict(example.query), headers=headers, allow_redirects=False
    ) as answer:
        assert answer.status < 500, await answer.text()
        if (method, template) in OWN:
            assert "greeter" not in await answer.text(), f"{method} {template} shows another tenant's"
        return answer.status


async def test_every_route_is_described_and_every_described_route_is_there(world: World) -> None:
    assert set(routes(world)) == set(ROWS)
    assert len(ROWS) == len(ROUTES)


async def test_nothing_is_open_that_is_not_listed_and_nothing_answers_a_stranger(world: World) -> None:
    number = world.issue()
    world.label(number, "tgs:ready")
    await world.settle()
    run = world.run()
    await run.start()
    found = routes(world)
    assert set(found) >= OPEN
    guarded = [route for route in found if route not in OPEN]
    assert len(guarded) >= 10
    stranger = world.hub.create_user("stranger")
    wrong_tokens = {
        "no credential": None,
        "a made-up token": "tga_0000000000000000",
        "a made-up identity token": "aaaa.bbbb.cccc",
        "somebody without a role": world.hub.user_token(stranger.login),
    }
    for method, template in guarded:
        for what, token in wrong_tokens.items():
            code = await status(world, method, template, run.attempt, token)
            if (method, template) in OWN and what == "somebody without a role":
                assert code == 200, f"{method} {template}"
                continue
            assert code in {401, 403, 409}, f"{method} {template} answered {code} to {what}"
    attempt = (await world.attempts(number))[-1]
    assert attempt.live
    assert attempt.report is None
    assert attempt.gate_report is None


async def test_a_tenant_reaches_nothing_of_another(world: World) -> None:
    number = world.issue()
    world.label(number, "tgs:ready")
    await world.settle()
    mine = world.run()
    await mine.start()
    # Another account with its own repository and installation of the same App, and a person who rules only there.
    other = world.hub.create_user("otto")
    theirs = world.hub.create_repo(other, "theirs", private=True, files={"README.md": "x"}, roles={"otto": Role.ADMIN})
    world.hub.install(world.app, other, [theirs], by=other)
    await world.settle()
    token = world.hub.user_token("otto")
    for method, template in routes(world):
        if (method, template) in OPEN:
            continue
        code = await status(world, method, template, mine.attempt, token)
        if (method, template) in OWN:
            assert code == 200, f"{method} {template}"
            continue
        assert code in {401, 403, 409}, f"{method} {template} answered {code} to another tenant"
    assert (await world.attempts(number))[-1].report is None
