"""Deny by default: every route is called without a credential, with a wrong one, and as another tenant."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from bot.localhub.core import Role
from tests.world import World, new_world

OPEN = {
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("GET", "/dist/"),
    ("GET", "/dist/{file}"),
    ("GET", "/dist/{sha256}/{file}"),
    # Its own signature check stands in place of a credential.
    ("POST", "/webhook"),
}
"""Routes that anybody may call; a new one must be added here on purpose."""

BODIES: dict[str, dict[str, object]] = {
    "/runs/activate": {"handoff": "tgh_" + "0" * 48},
    "/handoff": {"fence": 1, "code": "tgh_guess", "token": "tga_" + "0" * 48},
    "/heartbeat": {"fence": 1},
    "/report": {"fence": 1, "succeeded": True},
    "/publish-token": {
        "fence": 1,
        "asker": "tgp_" + "0" * 48,
        "bundle_digest": "0" * 64,
        "head_sha": "0" * 40,
        "base_sha": "0" * 40,
    },
    "/published": {"fence": 1, "head_sha": "0" * 40},
    "/refused": {"fence": 1, "reason": "quality.gate"},
}


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


def path_of(template: str, attempt: str, repo: str = "olga/greeter") -> str:
    owner, name = repo.split("/")
    return template.replace("{attempt}", attempt).replace("{owner}", owner).replace("{repo}", name)


async def status(world: World, method: str, path: str, template: str, token: str | None) -> int:
    assert world.http is not None
    body = next((body for end, body in BODIES.items() if template.endswith(end)), {})
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with world.http.request(method, world.url + path, json=body, headers=headers) as answer:
        assert answer.status < 500, await answer.text()
        return answer.status


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
            code = await status(world, method, path_of(template, run.attempt), template, token)
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
        code = await status(world, method, path_of(template, mine.attempt), template, token)
        assert code in {401, 403, 409}, f"{method} {template} answered {code} to another tenant"
    assert (await world.attempts(number))[-1].report is None
