"""Deny by default: every route is called without a credential, with a wrong one, and as another tenant."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from bot.domain.model import InstallationId, Person, RepoId, RepoKey
from bot.domain.workers import DEFAULT_TOKEN_LIFE
from bot.localhub.core import Repository, Role
from bot.web.api.described import SHOWN_ATTEMPT, Example
from bot.web.api.table import ROUTES
from bot.workflows import render_run_workflow
from tests.web.calls import path_of, with_ids
from tests.world import World, new_world

OPEN = {
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("GET", "/dist/"),
    ("GET", "/dist/{file}"),
    ("GET", "/dist/{sha256}/{file}"),
    ("GET", "/"),
    ("GET", "/api/openapi.json"),
    # Its own signature check stands in place of a credential.
    ("POST", "/webhook"),
}
"""Routes that anybody may call; a new one must be added here on purpose."""

OWN = {
    ("GET", "/api/v1/repos"),
    ("GET", "/api/v1/projects"),
    ("GET", "/api/v1/tasks"),
    ("POST", "/api/v1/resync"),
}
"""Lists of what the caller can read: everybody with a GitHub token has one, and nothing of others is in it."""

OF_WORKERS = {("POST", "/api/v1/workers"), ("GET", "/api/v1/workers")}
"""What every good worker token may do for itself, whichever tenant it is of."""

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


async def status(world: World, method: str, template: str, attempt: str, token: str | None, **ids: str) -> int:
    assert world.http is not None
    example = ROWS[(method, template)].example or Example()
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    url = world.url + path_of(template, example, attempt=attempt, **ids)
    async with world.http.request(
        method,
        url,
        json=with_ids(example.body, {SHOWN_ATTEMPT: attempt}),
        params=dict(example.query),
        headers=headers,
        allow_redirects=False,
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
                assert code in {200, 202}, f"{method} {template}"
                continue
            assert code in {401, 403, 409}, f"{method} {template} answered {code} to {what}"
    attempt = (await world.attempts(number))[-1]
    assert attempt.live
    assert attempt.report is None
    assert attempt.gate_report is None


async def test_a_tenant_reaches_nothing_of_another(world: World) -> None:
    """Two accounts use one server. Every credential of the one is tried on every route with the ids of the other."""
    number = world.issue()
    world.label(number, "tgs:ready")
    await world.settle()
    mine = world.run()
    await mine.start()
    before = await world.attempts(number)
    otto = world.hub.create_user("otto")
    url = f"{world.url}/dist/tgs_bot-0.1.0-py3-none-any.whl"
    files = {".github/workflows/tgs-server-run.yml": render_run_workflow(world.url, url, "0" * 64)}
    files[".tgs/policy.yml"] = "workers: pull\n"
    theirs = world.hub.create_repo(otto, "theirs", private=True, files=files, roles={"otto": Role.ADMIN})
    world.hub.actions.environment(theirs, "tgs-agent")
    world.hub.actions.environment(theirs, "tgs-publish")
    settings = world.settings
    world.settings = lambda **changes: settings(allowed_accounts=f"{world.owner.id},{otto.id}", **changes)  # type: ignore[method-assign]
    await world.restart_bot()
    installation = world.hub.install(world.app, otto, [theirs], by=otto)
    await world.settle()
    key = RepoKey(InstallationId(installation.id), RepoId(theirs.id))
    record = await world.parts.store.read(lambda tx: tx.repo(key))
    assert record is not None
    assert record.active
    pull = world.parts.engine.pull
    _, worker = await pull.create_token([record], Person(otto.id, "otto"), "theirs", DEFAULT_TOKEN_LIFE)
    _, my_worker = await pull.create_token(
        [await world.repo_record()], Person(world.maria.id, "maria"), "mine", DEFAULT_TOKEN_LIFE
    )
    registered = await _post(world, "/api/v1/workers", {"name": "mine"}, {"Authorization": f"Bearer {my_worker}"})
    assert registered[0] == 201
    foreign = {"a person": world.hub.user_token("otto"), "a worker": worker, "an attempt": await claimed(world, theirs)}
    assert await own_events(world, foreign["a person"]) == 200, "the credential is good where it belongs"
    for who, token in foreign.items():
        for method, template in routes(world):
            if (method, template) not in OPEN:
                code = await status(world, method, template, mine.attempt, token, id=registered[1]["id"])
                refused = {401, 403, 409} | ({404} if "{id}" in template else set())
                refused |= {200, 201, 202} if (method, template) in OWN | OF_WORKERS else set()
                assert code in refused, f"{method} {template} answered {code} to {who} of another tenant"
    assert await world.attempts(number) == before
    await world.settle()


async def own_events(world: World, token: str) -> int:
    assert world.http is not None
    headers = {"Authorization": f"Bearer {token}"}
    async with world.http.get(f"{world.url}/api/v1/repos/otto/theirs/events", headers=headers) as answer:
        return answer.status


async def claimed(world: World, repo: Repository) -> str:
    """The token of a live attempt in another tenant's repository."""
    otto = world.as_(repo.owner)
    issue = world.hub.issues.open(repo, "Theirs", "x", actor=otto, labels=[])
    world.hub.labels.add(issue, ["tgs:ready"], otto)
    await world.settle()
    token = "tga_" + "9" * 48
    body = {"repo": "otto/theirs", "name": "laptop", "token": token, "number": issue.number}
    headers = {"Authorization": f"Bearer {world.hub.user_token('otto')}"}
    assert world.http is not None
    assert (await world.meanwhile(_post(world, "/api/v1/queue/claim", body, headers)))[0] == 200
    return token


async def _post(world: World, path: str, body: object, headers: dict[str, str]) -> tuple[int, Any]:
    assert world.http is not None
    async with world.http.post(world.url + path, json=body, headers=headers) as answer:
        return answer.status, await answer.json()
