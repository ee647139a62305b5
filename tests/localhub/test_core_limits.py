"""Rate limits, faults on demand and the request log."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from bot.localhub.core import Fault, FaultKind, Quota
from tests.localhub.support import World


async def test_the_primary_limit_ends_and_resets(w: World) -> None:
    w.hub.limits.override(w.installation.id, Quota(core_per_hour=2))
    path = f"/repos/{w.repo.full_name}"
    first = await w.call("GET", path)
    assert (first.headers["X-RateLimit-Limit"], first.headers["X-RateLimit-Remaining"]) == (
        "2",
        "1",
    )
    await w.call("GET", path)
    over = await w.call("GET", path)
    assert over.status == 403
    assert over.headers["X-RateLimit-Remaining"] == "0"
    assert "rate limit exceeded" in over.body["message"]
    assert int(over.headers["X-RateLimit-Reset"]) == int(w.clock.now.timestamp()) + 3600
    free = await w.call("GET", "/rate_limit")
    assert free.body["resources"]["core"]["remaining"] == 0
    w.clock.forward(minutes=61)
    fresh = w.narrowed(issues="read")
    assert (await w.call("GET", path, token=fresh)).status == 200


@pytest.mark.parametrize("status", [403, 429])
async def test_content_creation_has_a_limit_of_its_own(w: World, status: int) -> None:
    quota = Quota(content_per_minute=2, content_per_hour=3, secondary_status=status)
    w.hub.limits.override(w.installation.id, quota)
    path = f"/repos/{w.repo.full_name}/issues"
    for _ in range(2):
        assert (await w.call("POST", path, {"title": "x"})).status == 201
    w.clock.forward(seconds=20)
    over = await w.call("POST", path, {"title": "x"})
    assert (over.status, over.headers["Retry-After"]) == (status, "40")
    assert int(over.headers["X-RateLimit-Remaining"]) > 0
    assert (await w.call("POST", f"{path}/1/labels", ["a"])).status == 200
    w.clock.forward(seconds=41)
    assert (await w.call("POST", path, {"title": "x"})).status == 201
    w.clock.forward(seconds=61)
    hourly = await w.call("POST", path, {"title": "x"})
    assert hourly.status == status
    assert int(hourly.headers["Retry-After"]) > 3000


async def test_writes_cost_five_points_a_minute(w: World) -> None:
    w.hub.limits.override(w.installation.id, Quota(points_per_minute=11))
    path = f"/repos/{w.repo.full_name}/issues"
    made = [await w.call("POST", path, {"title": "x"}) for _ in range(3)]
    assert [x.status for x in made] == [201, 201, 403]
    assert (await w.call("GET", path)).status == 200


async def test_an_error_before_the_effect_leaves_nothing(w: World) -> None:
    fault = w.hub.faults.add(Fault(FaultKind.ERROR_BEFORE, "POST", r"/issues\b", status=502))
    path = f"/repos/{w.repo.full_name}/issues"
    assert (await w.call("POST", path, {"title": "x"})).status == 502
    assert w.repo.issues == {}
    assert fault.hits == 1
    assert (await w.call("POST", path, {"title": "x"})).status == 201


async def test_an_error_after_the_effect_loses_the_answer_only(w: World) -> None:
    w.hub.faults.add(Fault(FaultKind.ERROR_AFTER, "POST", "/issues", skip=1))
    path = f"/repos/{w.repo.full_name}/issues"
    assert (await w.call("POST", path, {"title": "x"})).status == 201
    assert (await w.call("POST", path, {"title": "x"})).status == 502
    assert len(w.repo.issues) == 2


@pytest.mark.parametrize(
    ("kind", "issues"),
    [
        pytest.param(FaultKind.DISCONNECT_BEFORE, 0, id="closed before the effect"),
        pytest.param(FaultKind.DISCONNECT_AFTER, 1, id="closed after the effect"),
    ],
)
async def test_a_closed_connection(w: World, kind: FaultKind, issues: int) -> None:
    w.hub.faults.add(Fault(kind, "POST"))
    path = f"/repos/{w.repo.full_name}/issues"
    with pytest.raises(aiohttp.ClientError):
        await w.call("POST", path, {"title": "x"})
    assert len(w.repo.issues) == issues
    assert w.hub.log.entries[-1].status == 0


async def test_silence_lasts_until_the_caller_gives_up(w: World) -> None:
    w.hub.faults.add(Fault(FaultKind.HANG_AFTER, "POST"))
    path = f"/repos/{w.repo.full_name}/issues"
    waiting = asyncio.create_task(w.call("POST", path, {"title": "x"}))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(waiting), 0.2)
    assert len(w.repo.issues) == 1
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_rate_limit_answer_can_be_ordered(w: World) -> None:
    w.hub.faults.rate_limited(path="/issues", retry_after=7)
    answer = await w.call("GET", f"/repos/{w.repo.full_name}/issues")
    assert (answer.status, answer.headers["Retry-After"]) == (429, "7")


async def test_the_log_tells_what_was_asked(w: World) -> None:
    path = f"/repos/{w.repo.full_name}/issues"
    await w.call("POST", path, {"title": "x"}, headers={"X-Correlation-Id": "attempt-1"})
    await w.call("POST", f"{path}/1/labels", ["a"])
    await w.call("GET", f"{path}/1")
    log = w.hub.log
    assert [x.template for x in log.entries] == [
        "/repos/{owner}/{repo}/issues",
        "/repos/{owner}/{repo}/issues/{issue_number}/labels",
        "/repos/{owner}/{repo}/issues/{issue_number}",
    ]
    first = log.entries[0]
    assert (first.actor, first.login, first.repo) == ("installation", "tgs[bot]", "olive/demo")
    assert (first.status, first.correlation) == (201, "attempt-1")
    assert (log.requests(), len(log.writes()), len(log.contents())) == (3, 2, 1)
    assert len(log.select(issue=1)) == 2
    shown = await w.call("GET", f"{w.hub.html_url}/_hub/log?writes=true", token="")
    assert shown.body["summary"] == {"requests": 3, "writes": 2, "content": 1, "not_modified": 0}
    assert len(shown.body["entries"]) == 2
    assert w.token not in str(shown.body)
