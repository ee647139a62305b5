"""Apps, installations, tokens: who is let in, as whom, and with which permissions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bot.localhub.core import Hub, Role
from tests.localhub.support import World, world


async def test_an_app_authenticates_with_its_key(w: World) -> None:
    answer = await w.call("GET", "/app", token=w.jwt())
    assert (answer.status, answer.body["slug"]) == (200, "tgs")
    by_client_id = await w.call("GET", "/app", token=w.jwt(iss=w.app.client_id))
    assert by_client_id.status == 200


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        pytest.param({"exp": 1}, "in the past", id="an expired assertion"),
        pytest.param({"exp": 4_000_000_000}, "too far in the future", id="one that lives too long"),
        pytest.param({"iat": 4_000_000_000}, "'Issued at'", id="one issued in the future"),
        pytest.param({"iss": "999"}, "Integration not found", id="one of an unknown App"),
    ],
)
async def test_bad_assertions_are_refused(w: World, claims: dict[str, object], message: str) -> None:
    answer = await w.call("GET", "/app", token=w.jwt(**claims))
    assert answer.status == 401
    assert message in answer.body["message"]


async def test_an_assertion_signed_with_another_key_is_refused(w: World) -> None:
    other = w.hub.create_app(w.repo.owner, "other", {}, [])
    w.app.private_key_pem = other.private_key_pem
    assert (await w.call("GET", "/app", token=w.jwt())).status == 401


async def test_the_clocks_may_differ_by_a_minute(w: World) -> None:
    now = int(w.clock.now.timestamp())
    answer = await w.call("GET", "/app", token=w.jwt(iat=now + 30, exp=now + 600))
    assert answer.status == 200


async def test_installation_tokens_are_long_and_end_after_an_hour(w: World) -> None:
    path = f"/app/installations/{w.installation.id}/access_tokens"
    made = await w.call("POST", path, token=w.jwt())
    assert made.status == 201
    token = made.body["token"]
    assert re.fullmatch(rf"ghs_{w.app.id}_[\w-]+\.[\w-]+\.[\w-]+", token)
    assert 500 <= len(token) <= 540
    assert made.body["expires_at"] == "2026-11-20T13:00:00Z"
    assert made.body["permissions"]["issues"] == "write"
    repo = f"/repos/{w.repo.full_name}"
    assert (await w.call("GET", repo, token=token)).status == 200
    w.clock.forward(minutes=61)
    late = await w.call("GET", repo, token=token)
    assert (late.status, late.body["message"]) == (401, "Bad credentials")


async def test_a_narrowed_token_can_do_less(w: World) -> None:
    second = w.hub.create_repo(w.repo.owner, "second")
    w.hub.change_repositories(w.installation, add=[second])
    path = f"/app/installations/{w.installation.id}/access_tokens"
    body = {"repository_ids": [second.id], "permissions": {"issues": "read"}}
    made = await w.call("POST", path, body, token=w.jwt())
    assert made.body["permissions"] == {"issues": "read", "metadata": "read"}
    assert [x["name"] for x in made.body["repositories"]] == ["second"]
    token = made.body["token"]
    assert (await w.call("GET", f"/repos/{w.repo.full_name}", token=token)).status == 404
    refused = await w.call("POST", "/repos/olive/second/issues", {"title": "x"}, token=token)
    assert refused.status == 403
    assert refused.body["message"] == "Resource not accessible by integration"
    assert refused.headers["X-Accepted-GitHub-Permissions"] == "issues=write"
    listed = await w.call("GET", "/installation/repositories", token=token)
    assert [x["name"] for x in listed.body["repositories"]] == ["second"]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"permissions": {"administration": "write"}}, id="a permission never granted"),
        pytest.param({"permissions": {"issues": "admin"}}, id="a level above the granted one"),
        pytest.param({"repositories": ["elsewhere"]}, id="a repository outside the installation"),
        pytest.param({"repository_ids": [1]}, id="a repository id outside the installation"),
    ],
)
async def test_a_token_cannot_be_widened(w: World, body: dict[str, object]) -> None:
    path = f"/app/installations/{w.installation.id}/access_tokens"
    assert (await w.call("POST", path, body, token=w.jwt())).status == 422


async def test_a_revoked_token_is_worth_nothing(w: World) -> None:
    assert (await w.call("DELETE", "/installation/token")).status == 204
    assert (await w.call("GET", "/installation/repositories")).status == 401


async def test_a_suspended_installation_is_told_so(w: World) -> None:
    w.hub.suspend(w.installation)
    answer = await w.call("GET", f"/repos/{w.repo.full_name}")
    assert (answer.status, answer.body["message"]) == (
        403,
        "This installation has been suspended",
    )
    path = f"/app/installations/{w.installation.id}/access_tokens"
    assert (await w.call("POST", path, token=w.jwt())).status == 403
    w.hub.unsuspend(w.installation)
    assert (await w.call("GET", f"/repos/{w.repo.full_name}")).status == 200


async def test_after_uninstalling_the_token_ends(w: World) -> None:
    gone = await w.call("DELETE", f"/app/installations/{w.installation.id}", token=w.jwt())
    assert gone.status == 204
    assert (await w.call("GET", f"/repos/{w.repo.full_name}")).status == 401
    found = await w.call("GET", f"/repos/{w.repo.full_name}/installation", token=w.jwt())
    assert found.status == 404


async def test_installations_are_found_by_repository_and_account(w: World) -> None:
    for path in (
        f"/repos/{w.repo.full_name}/installation",
        "/users/olive/installation",
        f"/app/installations/{w.installation.id}",
    ):
        assert (await w.call("GET", path, token=w.jwt())).body["id"] == w.installation.id
    listed = await w.call("GET", "/app/installations", token=w.jwt())
    assert [x["id"] for x in listed.body] == [w.installation.id]
    with_token = await w.call("GET", "/app/installations")
    assert with_token.status == 401


async def test_people_and_bots_have_accounts(w: World) -> None:
    me = await w.call("GET", "/user", token=w.hub.user_token("mia"))
    assert me.body["login"] == "mia"
    assert (await w.call("GET", "/user")).status == 403
    bot = await w.call("GET", "/users/tgs%5Bbot%5D")
    assert (bot.body["type"], bot.body["id"]) == ("Bot", w.app.bot.id)
    assert (await w.call("GET", "/users/nobody")).status == 404


async def test_a_job_token_has_the_permissions_of_its_job(w: World) -> None:
    token = w.hub.tokens.for_job(w.repo, 7, {"contents": "read"})
    issues = f"/repos/{w.repo.full_name}/issues"
    assert (await w.call("GET", issues, token=token)).status == 403
    other = w.hub.create_repo(w.repo.owner, "other")
    assert (await w.call("GET", f"/repos/{other.full_name}", token=token)).status == 404
    w.hub.tokens.revoke(token)
    assert (await w.call("GET", issues, token=token)).status == 401


async def test_without_credentials_public_repositories_can_be_read(w: World) -> None:
    assert (await w.call("GET", f"/repos/{w.repo.full_name}", token="")).status == 200
    path = f"/repos/{w.repo.full_name}/issues"
    assert (await w.call("POST", path, {"title": "x"}, token="")).status == 401


async def test_a_private_repository_does_not_exist_for_strangers(tmp_path: Path) -> None:
    async with world(tmp_path, private=True) as w:
        path = f"/repos/{w.repo.full_name}"
        assert (await w.call("GET", path, token="")).status == 404
        assert (await w.call("GET", path, token=w.hub.user_token("eve"))).status == 404
        assert (await w.call("GET", path, token=w.hub.user_token("rob"))).status == 200


async def test_only_loopback_names_are_served(w: World) -> None:
    for host in ("example.org", f"example.org:{w.hub.base_url.rpartition(':')[2]}"):
        answer = await w.call("GET", "/meta", headers={"Host": host})
        assert answer.status == 421
    with pytest.raises(ValueError, match="loopback"):
        await Hub(root=w.hub.root).start("192.0.2.1")


def test_an_app_cannot_subscribe_to_what_it_may_not_read(tmp_path: Path) -> None:
    hub = Hub(root=tmp_path)
    owner = hub.create_user("olive")
    with pytest.raises(ValueError, match="'push' needs the permission contents"):
        hub.create_app(owner, "small", {"issues": "read"}, ["push"])


def test_logins_and_repositories_are_unique(tmp_path: Path) -> None:
    hub = Hub(root=tmp_path)
    owner = hub.create_user("olive")
    with pytest.raises(ValueError, match="taken"):
        hub.create_user("Olive")
    hub.create_repo(owner, "demo")
    with pytest.raises(ValueError, match="exists"):
        hub.create_repo(owner, "Demo")
    with pytest.raises(ValueError, match="no account 'nobody'"):
        hub.create_repo(owner, "second", roles={"nobody": Role.READ})
