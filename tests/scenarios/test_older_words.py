"""Programs that speak of tasks, or of projects, protocol runs and steps, work with the same items."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.scenarios.test_people_over_http import PLAIN, ask
from tests.world import World, new_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with new_world(tmp_path, policy=PLAIN) as found:
        yield found


async def test_a_task_is_an_issue_with_another_name(world: World) -> None:
    url = f"{world.hub.html_url}/olga/greeter"
    body = {"title": "Greet in Greek", "description": "Say yassas.", "task_type": "docs", "priority": "high"}
    made = await ask(world, "POST", "/tasks", {**body, "repository_url": url})
    # The bot may have begun with it before it answers.
    assert (made.status, made.body["priority"]) == (201, "high")
    assert made.body["status"] in {"queued", "in_progress"}
    assert (made.body["task_type"], made.body["repository_url"]) == ("docs", url)
    id_ = made.body["id"]
    again = await ask(world, "POST", "/tasks", {**body, "repository_url": url})
    assert (again.status, again.body["id"]) == (200, id_)
    one = await ask(world, "GET", f"/tasks/{id_}")
    assert one.body["branch_name"].startswith("tgs/")
    changed = await ask(world, "PATCH", f"/tasks/{id_}", {"priority": "low", "title": "Greet in old Greek"})
    assert (changed.status, changed.body["priority"]) == (200, "low")
    assert world.record(2).title == "Greet in old Greek"
    for query, count in {
        "status=in_progress": 1, "status=queued": 0, "task_type=docs&priority=low": 1,
        f"repository_url={url}": 1, "limit=1&cursor=1": 0,
    }.items():  # fmt: skip
        assert len((await ask(world, "GET", f"/tasks?{query}")).body["tasks"]) == count, query
    assert (await ask(world, "GET", "/tasks?status=sleeping")).status == 400
    assert (await ask(world, "PATCH", f"/tasks/{id_}", {"status": "completed"})).status == 400
    assert (await ask(world, "PATCH", f"/tasks/{id_}", {"title": "x"}, by=world.tom)).status == 403
    stranger = world.hub.create_user("sam")
    assert (await ask(world, "GET", f"/tasks/{id_}", by=stranger)).status == 403
    assert (await ask(world, "GET", "/tasks", by=stranger)).body["tasks"] == []
    elsewhere = {**body, "repository_url": "https://git.example.org/a/b"}
    assert (await ask(world, "POST", "/tasks", elsewhere)).status == 403


async def test_a_project_has_protocols_and_they_have_steps(world: World) -> None:
    number = world.issue()
    world.label(number, "tgs:ready")
    await world.settle()
    await world.run().start()
    await world.run().beat(1, 3, "Reading the plan")
    project = world.repo.id
    assert [one["id"] for one in (await ask(world, "GET", "/projects")).body["projects"]] == [project]
    assert (await ask(world, "GET", f"/projects/{project}")).body["name"] == "olga/greeter"
    [run] = (await ask(world, "GET", f"/projects/{project}/protocols")).body["protocols"]
    assert (run["id"], run["number"], run["status"]) == (f"{project}-{number}", number, "running")
    assert (await ask(world, "GET", f"/protocols/{run['id']}")).body == run
    steps = (await ask(world, "GET", f"/protocols/{run['id']}/steps")).body["steps"]
    assert [(step["name"], step["status"]) for step in steps] == [
        ("claim", "completed"),
        ("running", "running"),
    ]
    assert steps[-1]["detail"] == "Reading the plan"
    assert (await ask(world, "GET", f"items/{number}/steps")).body["steps"] == steps
    assert (await ask(world, "GET", f"/steps/{steps[0]['id']}")).body == steps[0]
    attempt = (await ask(world, "GET", f"/attempts/{steps[0]['attempt']}")).body
    assert (attempt["repo"], attempt["issue"], attempt["progress"]) == ("olga/greeter", number, "Reading the plan")
    acted = await ask(world, "POST", f"/steps/{steps[-1]['id']}/actions/run_qa")
    assert (acted.status, acted.body["outcome"]) == (200, "not_available")
    stopped = await ask(world, "POST", f"/protocols/{run['id']}/actions/cancel", {"args": ["not now"]})
    assert (stopped.status, stopped.body["outcome"]) == (200, "done")
    assert (await world.attempts(number))[-1].cancel_by == "maria"
    assert (await ask(world, "GET", f"/projects/{project}/branches")).body == {"branches": []}
    assert (await ask(world, "DELETE", f"/projects/{project}/branches/tgs/1-x")).status == 404
    stranger = world.hub.create_user("sam")
    for path in (f"/projects/{project}", f"/protocols/{run['id']}", f"/steps/{steps[0]['id']}", "/protocols/1-1"):
        assert (await ask(world, "GET", path, by=stranger)).status == 403, path
    assert (await ask(world, "POST", f"/protocols/{run['id']}/actions/start", by=stranger)).status == 403
    world.expected_errors = True
    world.leave_due = True
