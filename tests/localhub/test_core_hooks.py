"""Webhooks: who gets them, signatures, faults, holding, redelivery."""

from __future__ import annotations

from pathlib import Path

from bot.localhub.core import HookFault, HookFaultKind
from tests.localhub.support import SECRET, World, world


async def quiet(w: World) -> None:
    """Let the set-up's deliveries arrive and forget them."""
    await w.hub.settle()
    w.receiver.got.clear()


def numbers(w: World) -> list[int]:
    return [x.payload["issue"]["number"] for x in w.receiver.got]


def open_issues(w: World, count: int) -> None:
    for number in range(count):
        w.hub.issues.open(w.repo, f"issue {number}", actor=w.hub.as_user("olive"))


async def test_deliveries_carry_the_real_headers(w: World) -> None:
    await quiet(w)
    open_issues(w, 1)
    await w.hub.settle()
    (got,) = w.receiver.got
    assert got.signed_with(SECRET)
    assert not got.signed_with("another secret")
    assert got.headers["X-GitHub-Event"] == "issues"
    assert len(got.headers["X-GitHub-Delivery"]) == 36
    assert got.headers["X-GitHub-Hook-Installation-Target-ID"] == str(w.app.id)
    assert got.headers["X-GitHub-Hook-Installation-Target-Type"] == "integration"
    assert got.headers["User-Agent"].startswith("GitHub-Hookshot/")
    assert got.headers["Content-Type"] == "application/json"
    payload = got.payload
    assert payload["repository"]["full_name"] == "olive/demo"
    assert payload["installation"]["id"] == w.installation.id
    assert payload["sender"]["login"] == "olive"


async def test_organizations_are_named(w: World) -> None:
    org = w.hub.create_org("acme")
    repo = w.hub.create_repo(org, "tool")
    w.hub.install(w.app, org, [repo])
    w.hub.issues.open(repo, "x", actor=w.hub.as_user("olive"))
    await w.hub.settle()
    assert w.receiver.last("issues.opened").payload["organization"]["login"] == "acme"


async def test_only_subscribed_apps_with_the_repository_get_events(w: World) -> None:
    other = w.hub.create_repo(w.repo.owner, "other")
    deaf = w.hub.create_app(w.repo.owner, "deaf", {"issues": "read"}, [], w.receiver.url, "x")
    w.hub.install(deaf, w.repo.owner, [w.repo])
    await quiet(w)
    w.hub.issues.open(other, "not covered", actor=w.hub.as_user("olive"))
    open_issues(w, 1)
    await w.hub.settle()
    assert numbers(w) == [1]
    assert w.receiver.got[0].signed_with(SECRET)


async def test_installation_events_come_unasked(w: World) -> None:
    await w.hub.settle()
    created = w.receiver.last("installation.created").payload
    assert created["repositories"][0]["full_name"] == "olive/demo"
    assert created["installation"]["permissions"]["issues"] == "write"
    second = w.hub.create_repo(w.repo.owner, "second")
    w.hub.change_repositories(w.installation, add=[second])
    w.hub.change_repositories(w.installation, remove=[second])
    w.hub.suspend(w.installation)
    open_issues(w, 1)
    w.hub.unsuspend(w.installation)
    w.hub.uninstall(w.installation)
    await w.hub.settle()
    assert sorted(w.receiver.names()) == [
        "installation.created",
        "installation.deleted",
        "installation.suspend",
        "installation.unsuspend",
        "installation_repositories.added",
        "installation_repositories.removed",
    ]


async def test_faults_drop_duplicate_and_delay(w: World) -> None:
    await quiet(w)
    w.hub.hooks.faults.append(HookFault(HookFaultKind.DROP, event="issues"))
    open_issues(w, 1)
    w.hub.hooks.faults.append(HookFault(HookFaultKind.DUPLICATE))
    open_issues(w, 1)
    await w.hub.settle()
    assert numbers(w) == [2, 2]
    assert len({x.headers["X-GitHub-Delivery"] for x in w.receiver.got}) == 2
    w.receiver.got.clear()
    w.hub.hooks.faults.append(HookFault(HookFaultKind.DELAY, behind=2))
    open_issues(w, 1)
    await w.hub.settle()
    assert numbers(w) == [3], "a delivery that nothing overtakes still arrives"


async def test_a_delayed_delivery_is_overtaken(w: World) -> None:
    await quiet(w)
    w.hub.hooks.faults.append(HookFault(HookFaultKind.DELAY, behind=2))
    open_issues(w, 4)
    queued = [x.queued_at for x in w.hub.hooks.deliveries]
    assert queued == sorted(queued)
    await w.hub.settle()
    assert sorted(numbers(w)) == [1, 2, 3, 4]
    assert numbers(w)[0] != 1


async def test_held_deliveries_are_released_in_the_order_asked_for(w: World) -> None:
    await quiet(w)
    w.hub.hooks.hold()
    open_issues(w, 3)
    await w.hub.settle()
    assert w.receiver.got == []
    assert len(w.hub.hooks.held) == 3
    w.hub.hooks.release(order=lambda x: list(reversed(x))[:2])
    await w.hub.settle()
    assert sorted(numbers(w)) == [2, 3]


async def test_a_failed_delivery_is_listed_and_repeated_with_its_guid(w: World) -> None:
    await quiet(w)
    w.receiver.status = 503
    open_issues(w, 1)
    await w.hub.settle()
    path = "/app/hook/deliveries"
    failed = (await w.call("GET", f"{path}?status=failure", token=w.jwt())).body
    assert [(x["event"], x["status_code"]) for x in failed] == [("issues", 503)]
    guid = w.receiver.got[0].headers["X-GitHub-Delivery"]
    assert failed[0]["guid"] == guid
    full = (await w.call("GET", f"{path}/{failed[0]['id']}", token=w.jwt())).body
    assert full["request"]["payload"]["issue"]["number"] == 1
    assert full["request"]["headers"]["X-GitHub-Delivery"] == guid
    w.receiver.status = 202
    again = await w.call("POST", f"{path}/{failed[0]['id']}/attempts", token=w.jwt())
    assert again.status == 202
    await w.hub.settle()
    assert w.receiver.got[1].headers["X-GitHub-Delivery"] == guid
    newest = (await w.call("GET", f"{path}?per_page=1", token=w.jwt())).body[0]
    assert (newest["redelivery"], newest["status"], newest["guid"]) == (True, "OK", guid)
    w.clock.forward(days=4)
    assert (await w.call("GET", path, token=w.jwt())).body == []


async def test_deliveries_are_paged_by_cursor(w: World) -> None:
    open_issues(w, 3)
    await w.hub.settle()
    seen, url = [], "/app/hook/deliveries?per_page=2"
    while url:
        answer = await w.call("GET", url, token=w.jwt())
        seen += [x["id"] for x in answer.body]
        url = answer.headers.get("Link", "").partition(">")[0].removeprefix("<")
    assert seen == sorted((x.id for x in w.hub.hooks.deliveries), reverse=True)


async def test_the_secret_can_be_rotated(w: World) -> None:
    await quiet(w)
    body = {"secret": "the next one"}
    answer = await w.call("PATCH", "/app/hook/config", body, token=w.jwt())
    assert answer.body["secret"] == "********"
    open_issues(w, 1)
    await w.hub.settle()
    assert w.receiver.got[0].signed_with("the next one")


async def test_a_repository_hook_repeats_the_event_under_another_guid(w: World) -> None:
    await quiet(w)
    path = f"/repos/{w.repo.full_name}/hooks"
    body = {"config": {"url": w.receiver.url, "secret": "s"}, "events": ["issues"]}
    assert (await w.call("POST", path, body, token=w.hub.user_token("olive"))).status == 201
    assert (await w.call("POST", path, body, token=w.hub.user_token("mia"))).status == 403
    open_issues(w, 1)
    await w.hub.settle()
    assert numbers(w) == [1, 1]
    assert len({x.headers["X-GitHub-Delivery"] for x in w.receiver.got}) == 2
    assert [x for x in w.receiver.got if "installation" not in x.payload]


async def test_an_unreachable_receiver_is_recorded(w: World) -> None:
    await quiet(w)
    assert w.app.hook is not None
    w.app.hook.url = "http://127.0.0.1:9/webhook"
    open_issues(w, 1)
    await w.hub.settle()
    last = w.hub.hooks.deliveries[-1]
    assert (last.status, last.status_code) == ("failed to connect to host", 502)


async def test_a_ping_needs_no_installation(w: World) -> None:
    w.hub.uninstall(w.installation)
    await quiet(w)
    w.hub.ping(w.app)
    await w.hub.settle()
    payload = w.receiver.last("ping").payload
    assert payload["hook_id"] == payload["hook"]["id"]


async def test_changed_permissions_are_announced(w: World) -> None:
    w.hub.change_permissions(w.installation, {"issues": "read"}, ["issues"])
    await w.hub.settle()
    payload = w.receiver.last("installation.new_permissions_accepted").payload
    assert payload["installation"]["permissions"] == {"issues": "read", "metadata": "read"}
    path = f"/app/installations/{w.installation.id}/access_tokens"
    body = {"permissions": {"issues": "write"}}
    assert (await w.call("POST", path, body, token=w.jwt())).status == 422


async def test_random_faults_repeat_with_the_seed(tmp_path: Path) -> None:
    async def lost(name: str, seed: int, extra_requests: int) -> list[int]:
        async with world(tmp_path / name, seed=seed) as w:
            await quiet(w)
            fault = HookFault(HookFaultKind.DROP, event="issues", count=None, chance=0.5)
            w.hub.hooks.faults.append(fault)
            for _ in range(extra_requests):
                await w.call("GET", "/meta")
            open_issues(w, 20)
            await w.hub.settle()
            return sorted(set(range(1, 21)) - set(numbers(w)))

    first = await lost("a", 7, 0)
    assert first
    assert await lost("b", 7, 5) == first
    assert await lost("c", 8, 0) != first
