"""Issues that block each other, and issues that consist of others."""

from __future__ import annotations

from bot.localhub.core import Issue
from tests.localhub.support import World


def three(w: World) -> list[Issue]:
    me = w.hub.as_user("olive")
    w.installation.events += ["issue_dependencies", "sub_issues"]
    return [w.hub.issues.open(w.repo, f"issue {n}", actor=me) for n in range(3)]


async def test_a_dependency_is_seen_from_both_sides(w: World) -> None:
    first, second, _ = three(w)
    path = f"/repos/{w.repo.full_name}/issues"
    body = {"issue_id": second.id}
    made = await w.call("POST", f"{path}/1/dependencies/blocked_by", body)
    assert made.status == 201
    assert made.body["issue_dependencies_summary"]["blocked_by"] == 1
    blocked = await w.call("GET", f"{path}/1/dependencies/blocked_by")
    assert [x["number"] for x in blocked.body] == [2]
    blocking = await w.call("GET", f"{path}/2/dependencies/blocking")
    assert [x["number"] for x in blocking.body] == [1]
    w.hub.issues.set_state(second, "closed", w.hub.as_user("olive"))
    summary = (await w.call("GET", f"{path}/1")).body["issue_dependencies_summary"]
    assert (summary["blocked_by"], summary["total_blocked_by"]) == (0, 1)
    gone = await w.call("DELETE", f"{path}/1/dependencies/blocked_by/{second.id}")
    assert gone.status == 200
    assert first.blocked_by == second.blocking == []
    await w.hub.settle()
    added = w.receiver.last("issue_dependencies.blocked_by_added").payload
    assert (added["blocked_issue"]["number"], added["blocking_issue"]["number"]) == (1, 2)
    assert "issue_dependencies.blocking_removed" in w.receiver.names()


async def test_circles_are_refused(w: World) -> None:
    first, second, third = three(w)
    path = f"/repos/{w.repo.full_name}/issues"
    for number, other in ((1, second), (2, third)):
        body = {"issue_id": other.id}
        url = f"{path}/{number}/dependencies/blocked_by"
        assert (await w.call("POST", url, body)).status == 201
    closing = {"issue_id": first.id}
    assert (await w.call("POST", f"{path}/3/dependencies/blocked_by", closing)).status == 422
    assert (await w.call("POST", f"{path}/1/dependencies/blocked_by", closing)).status == 422
    unknown = {"issue_id": 1}
    assert (await w.call("POST", f"{path}/1/dependencies/blocked_by", unknown)).status == 404


async def test_sub_issues_have_one_parent(w: World) -> None:
    first, second, third = three(w)
    path = f"/repos/{w.repo.full_name}/issues"
    assert (await w.call("GET", f"{path}/3/parent")).status == 404
    body = {"sub_issue_id": third.id}
    assert (await w.call("POST", f"{path}/1/sub_issues", body)).status == 201
    assert (await w.call("POST", f"{path}/2/sub_issues", body)).status == 422
    moved = await w.call("POST", f"{path}/2/sub_issues", body | {"replace_parent": True})
    assert moved.body["sub_issues_summary"]["total"] == 1
    assert first.sub_issues == []
    assert (await w.call("GET", f"{path}/3/parent")).body["number"] == second.number
    above = {"sub_issue_id": second.id}
    assert (await w.call("POST", f"{path}/3/sub_issues", above)).status == 422
    assert (await w.call("DELETE", f"{path}/2/sub_issue", body)).status == 200
    assert third.parent is None
    await w.hub.settle()
    assert w.receiver.names().count("sub_issues.sub_issue_added") == 2
