"""People look after a repository over HTTP: checks and repairs, locks, branches, new plans, and the backlog file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from bot.client.backlog_file import json_schema
from bot.domain.model import ItemState
from bot.localhub.core import Role
from bot.protocols.ledger import Ledger, LockRow
from tests.scenarios.test_people_over_http import PLAIN, ask
from tests.world import World, new_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with new_world(tmp_path, policy=PLAIN) as found:
        yield found


async def codes(world: World) -> list[tuple[str, int | None]]:
    found = (await ask(world, "GET", "validate")).body["findings"]
    return [(finding["code"], finding["item"]) for finding in found]


async def test_a_repair_puts_right_what_needs_no_decision(world: World) -> None:
    number = world.issue()
    world.label(number, "tgs:ready")
    await world.settle()
    await world.run().start()
    await world.run().fail("agent.gave_up")
    world.bot_said(number)
    stray = world.issue("Stray")
    world.label(stray, "tgs:done")
    await world.settle()
    attempt = (await world.attempts(number))[-1]

    def harm(tx: Ledger) -> None:
        tx.take_locks([LockRow(world.repo_key, "src/**", number, attempt.id, world.clock.now())])
        item = tx.item(world.key(number))
        assert item is not None
        tx.save_item(item, replace(item, title="Another title"))

    await world.parts.store.write(harm)
    assert await codes(world) == [("orphan_lock", number), ("title_drift", number), ("orphan_label", stray)]
    assert (await ask(world, "POST", "validate", {"fix": True}, by=world.rita)).status == 403
    fixed = await ask(world, "POST", "validate", {"fix": True}, by=world.tom)
    assert {finding["code"]: finding["fixed"] for finding in fixed.body["findings"]} == {
        "orphan_lock": True,
        "title_drift": True,
        "orphan_label": True,
    }
    assert fixed.body["ok"]
    assert await codes(world) == []
    history = (await ask(world, "GET", f"items/{number}/history")).body["history"]
    assert ("lock_freed", "tom") in [(line["kind"], line["actor"]) for line in history]


async def test_a_lock_is_freed_only_when_nobody_works_under_it(world: World) -> None:
    number = world.issue(body="x\n\n```yaml tgs\nlocks: [src/]\n```\n")
    world.label(number, "tgs:ready")
    await world.settle()
    await world.run().start()
    [lock] = (await ask(world, "GET", "locks")).body["locks"]
    assert (lock["path"], lock["item"], lock["owner"], lock["mode"]) == ("src/**", number, "actions", "write")
    busy = await ask(world, "DELETE", "locks?path=src/**")
    assert (busy.status, "works on it" in busy.body["detail"]) == (403, True)
    await world.run().publish()
    [lock] = (await ask(world, "GET", "locks")).body["locks"]
    assert lock["owner"] == "the open pull request"
    assert (await ask(world, "DELETE", "locks?path=src/**", by=world.rita)).status == 403
    assert (await ask(world, "DELETE", "locks?path=src/**")).status == 200
    assert (await ask(world, "GET", "locks")).body["locks"] == []
    assert (await ask(world, "DELETE", "locks?path=src/**")).status == 404


async def test_a_branch_of_ours_is_deleted_only_when_nobody_needs_it(world: World) -> None:
    number = world.issue()
    world.label(number, "tgs:ready")
    await world.settle()
    await world.run().work()
    world.push({"a.txt": "a"}, branch="feature/x")
    [mine] = (await ask(world, "GET", "branches")).body["branches"]
    assert (mine["issue"], mine["state"]) == (number, "in-review")
    kept = await ask(world, "DELETE", f"branches/{mine['name']}")
    assert (kept.status, "is open" in kept.body["detail"]) == (403, True)
    for name in ("feature/x", "main", "tgs/99-none"):
        assert (await ask(world, "DELETE", f"branches/{name}")).status == 404, name
    world.push({"b.txt": "b"}, branch="tgs/77-left-over")
    assert ("orphan_branch", 77) in await codes(world)
    assert (await ask(world, "DELETE", "branches/tgs/77-left-over", by=world.tom)).status == 403
    gone = await ask(world, "DELETE", "branches/tgs/77-left-over")
    assert gone.status == 200
    assert len(gone.body["sha"]) == 40
    assert "refs/heads/tgs/77-left-over" not in await world.hub.git.refs(world.repo)


async def test_a_scan_shows_new_plans_and_has_them_mirrored(world: World) -> None:
    folder = world.thought("abc123", "add-welcome", front="title: Say welcome")
    world.push({"tgs/thoughts/abc124-half/plan.md": "p"})
    shown = (await ask(world, "POST", "scan", {})).body
    assert [(plan["dir"], plan["title"], plan["number"]) for plan in shown["added"]] == [(folder, "Say welcome", None)]
    assert [finding["code"] for finding in shown["refused"]] == ["invalid"]
    done = (await ask(world, "POST", "scan", {"apply": True})).body
    assert done["added"] == []
    assert done["known"] == 1


async def test_what_is_exported_can_be_imported_and_nothing_is_added_twice(world: World) -> None:
    await ask(world, "POST", "actions/pause", {"args": ["quiet"]})
    world.push({".tgs/policy.yml": PLAIN + "  enabled: false\n"})
    folder = world.thought("abc123", "add-welcome")
    number = world.issue()
    file: dict[str, Any] = {
        "version": "1",
        "thoughts": [
            {"dir": folder, "title": "Add welcome", "priority": 10, "status": "queued", "added_at": None,
             "started_at": None, "completed_at": None},
            {"dir": "tgs/thoughts/abc999-gone", "title": "Gone", "priority": 0, "status": "queued", "added_at": None,
             "started_at": None, "completed_at": None},
            {"dir": "tgs/thoughts/abc998-old", "title": "Old", "priority": 0, "status": "completed", "added_at": None,
             "started_at": None, "completed_at": None},
        ],
        "tgs": {"issues": [{"number": number, "status": "queued", "priority": 3}]},
    }  # fmt: skip
    assert (await ask(world, "POST", "import", file, by=world.tom)).status == 403
    first = (await ask(world, "POST", "import", file)).body
    assert [(row["item"]["dir"], row["item"]["priority"], row["new"]) for row in first["items"]] == [
        (folder, 10, True),
        (None, 3, True),
    ]
    assert [row["name"] for row in first["refused"]] == ["tgs/thoughts/abc999-gone"]
    again = (await ask(world, "POST", "import", file)).body
    assert [row["new"] for row in again["items"]] == [False, False]
    exported = (await ask(world, "GET", "export")).body
    assert list(Draft202012Validator(dict(json_schema())).iter_errors(exported)) == []
    assert [row["dir"] for row in exported["thoughts"]] == [folder]
    assert [row["number"] for row in exported["tgs"]["issues"]] == [number]
    assert [row["new"] for row in (await ask(world, "POST", "import", exported)).body["items"]] == [False, False]
    assert (await ask(world, "POST", "import", {"version": "9", "thoughts": []})).status == 400
    items = [await world.item(row["item"]["number"]) for row in first["items"]]
    assert [item.state for item in items if item is not None] == [ItemState.READY, ItemState.READY]


async def test_people_see_the_repositories_that_they_can_read(world: World) -> None:
    secret = world.hub.create_repo(world.owner, "secret", private=True, files={"a": "b"}, roles={"tom": Role.READ})
    world.hub.install(world.app, world.owner, [world.repo, secret], by=world.owner)
    await world.settle()
    assert [repo["name"] for repo in (await ask(world, "GET", "/repos")).body["repos"]] == ["olga/greeter"]
    seen = (await ask(world, "GET", "/repos", by=world.tom)).body["repos"]
    assert [repo["name"] for repo in seen] == ["olga/greeter", "olga/secret"]
    one = (await ask(world, "GET", "")).body
    assert (one["name"], one["ready"], one["default_branch"]) == ("olga/greeter", True, "main")
    assert (await ask(world, "GET", "/repos/olga/secret")).status == 403
    world.bot_said(1)
