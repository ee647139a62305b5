"""Check runs, suites and statuses: who writes them, limits, webhooks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.localhub.flow import Flow, by_hand, flow


@pytest.fixture
async def w(tmp_path: Path) -> AsyncIterator[Flow]:
    async with flow(tmp_path) as made:
        by_hand(made)
        yield made


def sha(w: Flow) -> str:
    found = w.hub.git.bare(w.repo).resolve("main")
    assert found is not None
    return found


async def created(w: Flow, **more: object) -> dict[str, Any]:
    answer = await w.call("POST", "/check-runs", {"name": "TGS", "head_sha": sha(w), **more})
    assert answer.status == 201, answer.body
    made: dict[str, Any] = answer.body
    return made


OUTPUT = {"title": "Queued", "summary": "Position 2"}
BUTTON = {"label": "Retry", "description": "Try again", "identifier": "retry"}


async def test_a_check_lives_from_queued_to_completed_with_its_webhooks(w: Flow) -> None:
    run = await created(w, output=OUTPUT, external_id="tgs-1", actions=[BUTTON])
    assert (run["status"], run["external_id"], run["output"]["title"]) == ("queued", "tgs-1", "Queued")
    path = f"/check-runs/{run['id']}"
    going = await w.call("PATCH", path, {"status": "in_progress"})
    assert (going.body["status"], going.body["conclusion"]) == ("in_progress", None)
    done = await w.call("PATCH", path, {"conclusion": "success", "output": OUTPUT | {"title": "Done"}})
    assert (done.body["status"], done.body["output"]["title"]) == ("completed", "Done")
    assert (await w.call("GET", path)).body["completed_at"] is not None
    assert sorted(await w.actions("check_run")) == ["completed", "created"]
    assert await w.actions("check_suite") == ["completed"]


async def test_only_the_newest_of_a_name_is_listed_unless_all_are_wanted(w: Flow) -> None:
    await created(w)
    newest = await created(w)
    latest = await w.call("GET", "/commits/main/check-runs")
    assert [c["id"] for c in latest.body["check_runs"]] == [newest["id"]]
    assert (await w.call("GET", f"/commits/{sha(w)}/check-runs?filter=all")).body["total_count"] == 2
    named = await w.call("GET", "/commits/main/check-runs?check_name=other")
    assert named.body["total_count"] == 0


async def test_checks_are_written_by_their_own_app_only(w: Flow) -> None:
    run = await created(w)
    person = await w.call(
        "POST", "/check-runs", {"name": "x", "head_sha": sha(w)}, token=w.hub.tokens.for_user(w.owner)
    )
    assert (person.status, person.body["message"]) == (403, "You must authenticate via a GitHub App.")
    other = w.hub.create_app(w.owner, "other", {"checks": "write"}, [])
    item = w.hub.install(other, w.owner, [w.repo])
    token = w.hub.tokens.for_installation(item, [w.repo.id], {"checks": "write"}).value
    refused = await w.call("PATCH", f"/check-runs/{run['id']}", {"conclusion": "success"}, token=token)
    assert refused.status == 403
    assert "can only be modified by the GitHub App that created it" in refused.body["message"]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"head_sha": "1" * 40}, id="an unknown commit"),
        pytest.param({"name": ""}, id="no name"),
        pytest.param({"status": "completed"}, id="completed without a conclusion"),
        pytest.param({"conclusion": "great"}, id="an unknown conclusion"),
        pytest.param({"output": {"title": "t", "summary": "x" * 65_536}}, id="a summary that is too long"),
        pytest.param({"output": {"title": "t"}}, id="an output without a summary"),
        pytest.param({"actions": [BUTTON] * 4}, id="four buttons"),
        pytest.param({"actions": [BUTTON | {"label": "x" * 21}]}, id="a label of 21 characters"),
    ],
)
async def test_what_github_refuses_is_refused_and_leaves_nothing(w: Flow, body: dict[str, object]) -> None:
    answer = await w.call("POST", "/check-runs", {"name": "TGS", "head_sha": sha(w), **body})
    assert answer.status == 422
    assert (await w.call("GET", "/commits/main/check-runs")).body["total_count"] == 0


async def test_a_pressed_button_reaches_the_app_with_who_pressed_it(w: Flow) -> None:
    run = await created(w, actions=[BUTTON])
    record = w.hub.checks.runs[run["id"]]
    w.hub.checks.press(record, "retry", w.writer)
    w.hub.checks.rerequest(record, w.reader)
    events = {e["action"]: e for e in await w.events("check_run")}
    assert events["requested_action"]["requested_action"] == {"identifier": "retry"}
    assert events["requested_action"]["sender"]["login"] == "wim"
    assert events["rerequested"]["sender"]["login"] == "rob"
    with pytest.raises(ValueError, match="no action"):
        w.hub.checks.press(record, "other", w.writer)


async def test_statuses_combine_by_their_newest_of_each_context(w: Flow) -> None:
    path = f"/statuses/{sha(w)}"
    assert (await w.call("GET", "/commits/main/status")).body["state"] == "pending"
    await w.call("POST", path, {"state": "failure", "context": "a"})
    await w.call("POST", path, {"state": "success", "context": "b"})
    combined = await w.call("GET", "/commits/main/status")
    assert (combined.body["state"], combined.body["total_count"]) == ("failure", 2)
    await w.call("POST", path, {"state": "success", "context": "a", "description": "fixed"})
    assert (await w.call("GET", "/commits/main/status")).body["state"] == "success"
    assert len((await w.call("GET", "/commits/main/statuses")).body) == 3
    assert sorted(e["state"] for e in await w.events("status")) == ["failure", "success", "success"]
    assert (await w.call("POST", path, {"state": "good"})).status == 422


async def test_a_suite_is_as_bad_as_its_worst_run(w: Flow) -> None:
    await created(w, name="a", conclusion="success")
    await created(w, name="b", conclusion="failure")
    run = await created(w, name="c", status="in_progress")
    suite = await w.call("GET", f"/check-suites/{run['check_suite']['id']}")
    assert (suite.body["status"], suite.body["latest_check_runs_count"]) == ("in_progress", 3)
    await w.call("PATCH", f"/check-runs/{run['id']}", {"conclusion": "neutral"})
    suites = await w.call("GET", "/commits/main/check-suites")
    assert [s["conclusion"] for s in suites.body["check_suites"]] == ["failure"]
    listed = await w.call("GET", f"/check-suites/{suite.body['id']}/check-runs")
    assert listed.body["total_count"] == 3
