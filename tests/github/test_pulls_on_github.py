"""Pull requests, deliveries and set-up through the gateway, against a local GitHub with real git."""

from __future__ import annotations

from datetime import timedelta

import pytest

from bot.domain.facts import Ci
from bot.errors import Conflict, Forbidden
from bot.localhub.core import Fault, FaultKind
from tests.github.hub import World
from tests.github.support import START


async def test_set_up_is_one_commit_and_one_pull_request(w: World) -> None:
    files = {".tgs/policy.yml": "enabled: true\n", "docs/tgs.md": "text\n"}
    number = await w.gateway.put_file_pull(w.key, "tgs/setup", files, "Set up", "body")
    pull = await w.gateway.pull(w.key, number)
    assert pull is not None
    assert (pull.head_ref, pull.base_ref, pull.draft, pull.open) == ("tgs/setup", "main", False, True)
    assert pull.author == w.person("tgs[bot]")
    for path, text in files.items():
        found = await w.gateway.file(w.key, path, "tgs/setup")
        assert found is not None
        assert found[1] == text.encode()


async def test_set_up_can_be_repeated_after_a_lost_answer(w: World) -> None:
    await w.gateway.repository(w.key)
    w.hub.faults.add(Fault(FaultKind.DISCONNECT_AFTER, method="POST", path="/pulls"))
    files = {".tgs/policy.yml": "enabled: true\n"}
    with pytest.raises(Exception, match="no answer"):
        await w.gateway.put_file_pull(w.key, "tgs/setup", files, "Set up", "body")
    number = await w.gateway.put_file_pull(w.key, "tgs/setup", files, "Set up", "body")
    assert [pull.number for pull in await w.gateway.pulls_of_branch(w.key, "tgs/setup")] == [number]


async def test_set_up_does_not_touch_a_branch_of_somebody_else(w: World) -> None:
    await w.gateway.put_file_pull(w.key, "tgs/setup", {"a.txt": "theirs"}, "Theirs", "body")
    with pytest.raises(Conflict):
        await w.gateway.put_file_pull(w.key, "tgs/setup", {"a.txt": "ours"}, "Ours", "body")


async def test_set_up_of_a_workflow_needs_the_permission_for_workflows(w: World) -> None:
    files = {".github/workflows/tgs-server-run.yml": "on: workflow_dispatch\njobs: {}\n"}
    with pytest.raises(Forbidden):
        await w.gateway.put_file_pull(w.key, "tgs/setup", files, "Set up", "body")


async def test_a_pull_request_is_opened_as_a_draft_and_merged_at_its_head(w: World) -> None:
    number = await w.gateway.put_file_pull(w.key, "tgs/5-x", {"a.txt": "a"}, "Set up", "body")
    pull = await w.gateway.pull(w.key, number)
    assert pull is not None
    with pytest.raises(Conflict):
        await w.gateway.merge_pull(w.key, number, expected_head="f" * 40, method="squash", title="T")
    sha = await w.gateway.merge_pull(w.key, number, expected_head=pull.head_sha, method="squash", title="T")
    merged = await w.gateway.pull(w.key, number)
    assert merged is not None
    assert (merged.merged, merged.open, merged.merge_commit_sha) == (True, False, sha)
    assert merged.merged_by == w.person("tgs[bot]")
    [listed] = await w.gateway.pulls_of_branch(w.key, "tgs/5-x")
    assert listed.merged


async def test_a_second_pull_request_of_a_branch_is_a_conflict(w: World) -> None:
    await w.gateway.put_file_pull(w.key, "tgs/5-x", {"a.txt": "a"}, "Set up", "body")
    with pytest.raises(Conflict):
        await w.gateway.open_pull(w.key, head="tgs/5-x", base="main", title="Again", body="body")


async def test_a_commit_without_checks(w: World) -> None:
    head = await w.gateway.head(w.key, "main")
    assert head is not None
    assert (await w.gateway.ci(w.key, head)).state is Ci.NONE


async def test_checks_of_our_own_app_do_not_count(w: World) -> None:
    head = await w.gateway.head(w.key, "main")
    assert head is not None
    body = {"name": "tgs", "head_sha": head, "status": "completed", "conclusion": "failure"}
    token = w.hub.tokens.for_installation(w.installation, [w.repo.id], {"checks": "write"}).value
    url = f"{w.hub.api_url}/repos/{w.repo.full_name}/check-runs"
    async with w.session.post(url, json=body, headers={"authorization": f"Bearer {token}"}) as answer:
        assert answer.status == 201
    assert (await w.gateway.ci(w.key, head)).state is Ci.NONE
    person = w.person_gateway("wim")
    assert (await person.ci(w.key, head)).state is Ci.FAILED


async def test_a_delivery_that_never_arrived_is_found_and_sent_again(w: World) -> None:
    assert w.app.hook is None
    failing = w.hub.create_app(w.owner, "failing", {"issues": "write"}, ["issues"], "http://127.0.0.1:9/", "secret")
    w.app = failing
    w.installation = w.hub.install(failing, w.owner, [w.repo])
    await w.hub.settle()
    gateway = w.app_gateway()
    [lost] = await gateway.deliveries(0, START - timedelta(hours=1))
    assert not lost.ok
    assert await gateway.deliveries(0, START + timedelta(hours=1)) == []
    await gateway.redeliver(lost.id)
    await w.hub.settle()
    assert [one.guid for one in await gateway.deliveries(0, START - timedelta(hours=1))] == [lost.guid] * 2
    [again] = await gateway.deliveries(lost.id, START - timedelta(hours=1))
    assert again.id > lost.id
