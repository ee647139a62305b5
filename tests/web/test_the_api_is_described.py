"""The description of the API is true: its examples work, its schemas are schemas, and programs can read it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from bot.domain.model import Person
from bot.domain.workers import DEFAULT_TOKEN_LIFE
from bot.localhub.actions_model import Conclusion
from bot.web.api.described import SHOWN_ATTEMPT, Caller, Row
from bot.web.api.openapi import Forms, SameName
from bot.web.api.run_forms import EXAMPLE_CODE, EXAMPLE_TOKEN
from bot.web.api.table import ROUTES
from tests.contract.api_answers import description
from tests.run_by_hand import RunByHand
from tests.web.calls import path_of, with_ids
from tests.world import World, new_world

NOT_CALLED = {
    "POST /api/v1/runs/scan": "needs a run of the scan workflow; tests/scenarios has one",
    "POST /api/v1/attempts/{attempt}/complete": "a run publishes; tests/web/test_sessions_ask_for_work.py has it",
    "POST /api/v1/attempts/{attempt}/fail": "as above",
    "POST /api/v1/attempts/{attempt}/withheld": "needs an uploaded result; tests/scenarios has one",
    "POST /api/v1/queue/complete": "as above",
    "POST /api/v1/queue/fail": "as above",
    "GET /api/v1/sessions/{id}": "needs a session; tests/web/test_sessions_end.py has it",
    "DELETE /api/v1/sessions/{id}": "as above",
    "POST /api/v1/sessions/{id}/heartbeat": "as above",
    "GET /api/v1/workers/{id}": "needs a registered worker; tests/web/test_workers_register.py has it",
    "DELETE /api/v1/workers/{id}": "as above",
    "POST /api/v1/workers/{id}/heartbeat": "as above",
    "POST /api/v1/steps/{id}/actions/{verb}": "names a step; tests/scenarios/test_older_words.py has one",
    "POST /api/v1/protocols/{id}/actions/{verb}": "names a protocol run; the same",
    "POST /api/v1/tasks": "names a repository by an address; the same",
    "PATCH /api/v1/tasks/{id}": "names a task; the same",
    "POST /api/v1/attempts/{attempt}/refused": "the attempt has ended with `published` by then",
}
"""Examples that the tour through the table cannot call, and why. Their bodies are held to their forms all the same."""


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with new_world(tmp_path) as found:
        yield found


async def worker_token(world: World) -> str:
    by = Person(world.maria.id, "maria")
    _, secret = await world.parts.engine.pull.create_token(
        [await world.repo_record()], by, "examples", DEFAULT_TOKEN_LIFE
    )
    return secret


async def credential(world: World, row: Row, run: RunByHand) -> str | None:
    """What the first of the route's callers sends; None: nothing."""
    match row.callers[0]:
        case Caller.PERSON:
            return world.hub.user_token("olga")
        case Caller.WORKER:
            return await worker_token(world)
        case Caller.ATTEMPT:
            return EXAMPLE_TOKEN
        case Caller.START:
            return run.oidc("start", "start")
        case Caller.PUBLISH:
            return run.oidc("publish", "publish")
        case _:
            return None


async def call(world: World, row: Row, path: str, bearer: str | None, ids: dict[str, str]) -> tuple[int, str]:
    assert world.http is not None
    assert row.example is not None
    async with world.http.request(
        row.method,
        world.url + path,
        json=with_ids(row.example.body, ids),
        params=dict(row.example.query),
        headers={} if bearer is None else {"Authorization": f"Bearer {bearer}"},
    ) as answer:
        return answer.status, await answer.text()


async def test_the_examples_work_one_after_another(world: World) -> None:
    """A tour through the table in its order: a run starts, works and publishes; people read and act."""
    number = world.issue()
    world.label(number, "tgs:ready")
    await world.settle()
    run = world.run()
    world.hub.actions.job_started(run.job("start"))
    attempt = (await world.attempts(number))[-1].id
    called = 0
    for row in ROUTES:
        if row.example is None or row.wire or row.name in NOT_CALLED:
            continue
        if row.callers[0] is Caller.PUBLISH and "publish" not in run.run.jobs:
            run.to_publish()
        path = path_of(row.path, row.example, attempt=attempt, number=str(number))
        bearer = await credential(world, row, run)
        status, text = await world.meanwhile(call(world, row, path, bearer, {SHOWN_ATTEMPT: attempt}))
        assert status == row.example.status, f"{row.name}: {status} {text}"
        called += 1
        if row.path.endswith("/activate"):
            world.hub.actions.job_finished(
                run.job("start"), Conclusion.SUCCESS, {"attempt": attempt, "fence": "1", "handoff": EXAMPLE_CODE}
            )
            world.hub.actions.job_started(run.job("agent"))
        await world.settle()
    assert called >= 8
    for issue in list(world.repo.issues):
        world.bot_said(issue)
    # What the answers looked like was held against the description on the way; the world's end looks at it.


def bodies() -> list[Any]:
    return [pytest.param(row, id=row.name) for row in ROUTES if row.body not in {None, bytes}]


@pytest.mark.parametrize("row", bodies())
def test_each_body_is_described_by_an_example_that_fits(row: Row) -> None:
    assert row.example is not None
    assert row.example.body is not None
    schema = description()["paths"][row.path][row.method.lower()]["requestBody"]["content"]["application/json"]
    form = {**schema["schema"], "components": description()["components"]}
    assert [e.message for e in Draft202012Validator(form).iter_errors(schema["example"])] == []


def test_the_description_is_openapi_with_schemas_that_are_schemas() -> None:
    found = description()
    assert found["openapi"].startswith("3.1")
    for schema in found["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    ids = [operation["operationId"] for path in found["paths"].values() for operation in path.values()]
    assert len(ids) == len(set(ids))
    for path in found["paths"].values():
        for operation in path.values():
            for scheme in operation["security"]:
                assert set(scheme) <= set(found["components"]["securitySchemes"])


class Form(msgspec.Struct):
    a: int


class Inner(BaseModel):
    a: int


class Outer(BaseModel):
    inner: Inner


def named(name: str, base: type, **fields: type) -> type:
    """Another class of this name."""
    return type(name, (base,), {"__annotations__": fields, "__module__": "elsewhere"})


@pytest.mark.parametrize(
    "forms",
    [
        pytest.param([Form, named("Form", msgspec.Struct, b=str)], id="two structs"),
        pytest.param([Form, named("Form", BaseModel, b=str)], id="a struct and a model"),
        pytest.param([Inner, named("Inner", BaseModel, b=str)], id="two models"),
        pytest.param([Outer, named("Inner", BaseModel, b=str)], id="a model and a part of another"),
    ],
)
def test_two_forms_of_one_name_are_refused(forms: list[type]) -> None:
    with pytest.raises(SameName, match=r"Two forms are called (Form|Inner)\b.* Rename one\."):
        Forms(forms)
    assert set(Forms([Form, Outer, Inner]).schemas) == {"Form", "Outer", "Inner"}


async def test_programs_fetch_it_once(world: World) -> None:
    assert world.http is not None
    url = f"{world.url}/api/openapi.json"
    async with world.http.get(url) as answer:
        assert answer.status == 200
        assert (await answer.json())["paths"] == description()["paths"]
        tag = answer.headers["ETag"]
    async with world.http.get(url, headers={"If-None-Match": tag}) as answer:
        assert answer.status == 304


async def test_a_wrong_method_is_told_the_right_ones(world: World) -> None:
    assert world.http is not None
    async with world.http.put(f"{world.url}/api/v1/queue/claim") as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")
        assert (await answer.json(content_type=None))["code"] == "method_not_allowed"


async def test_while_the_ledger_is_down_a_program_is_told_to_ask_again_and_loses_nothing(world: World) -> None:
    down: list[str] = []

    def disk() -> None:
        if down:
            raise OSError("no space left on device")

    await world.stop_bot()
    world.before_commit = disk
    await world.start_bot()
    number = world.issue()
    world.label(number, "tgs:ready")
    await world.settle()
    run = world.run()
    await run.start()
    beat = f"/attempts/{run.attempt}/heartbeat", run.token, {"fence": run.fence, "progress": None}
    down.append("full")
    status, said = await run.call("POST", *beat)
    assert (status, said["code"], said["status"]) == (503, "unavailable", 503)
    down.clear()
    assert (await run.call("POST", *beat))[0] == 200
