"""App JWT and installation tokens, against a GitHub that checks them."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import jwt
import pytest
from pydantic import SecretStr

from bot.domain.model import InstallationId
from bot.errors import Forbidden, NotFound, Suspended, Unauthorized
from bot.github.auth import AppJwt, PrivateKey, narrowed
from tests.github.hub import World
from tests.github.support import START, JumpingClock

MINT = "POST /app/installations/{installation_id}/access_tokens"


def claims(token: SecretStr) -> dict[str, int | str]:
    return jwt.decode(token.get_secret_value(), options={"verify_signature": False})


async def test_the_jwt_is_backdated_short_and_reused(w: World) -> None:
    clock = JumpingClock()
    source = AppJwt(17, PrivateKey(w.app.private_key_pem), clock)
    first = await source.token()
    now = int(START.timestamp())
    assert claims(first) == {"iat": now - 60, "exp": now - 60 + 540, "iss": "17"}
    clock.forward(minutes=6)
    assert await source.token() == first
    clock.forward(minutes=1, seconds=1)
    assert await source.token() != first


async def test_a_refused_jwt_is_signed_anew(w: World) -> None:
    clock = JumpingClock()
    source = AppJwt(17, PrivateKey(w.app.private_key_pem), clock)
    first = await source.token()
    clock.forward(seconds=5)
    source.refused(SecretStr("an older one"))
    assert await source.token() == first
    source.refused(first)
    assert await source.token() != first


async def test_the_everyday_token_is_minted_once_for_many_requests(w: World) -> None:
    issue = w.issue_key(w.open_issue())
    await asyncio.gather(*(w.gateway.issue(issue) for _ in range(8)))
    assert w.sent().count(MINT) == 1


async def test_the_everyday_token_leaves_out_what_the_product_never_uses(w: World) -> None:
    permissions = await w.gateway.permissions(w.key.installation)
    assert permissions == {
        "metadata": "read",
        "issues": "write",
        "actions": "write",
        "contents": "write",
        "pull_requests": "write",
        "checks": "write",
        "statuses": "read",
    }


@pytest.mark.parametrize(
    ("granted", "result"),
    [
        pytest.param({}, {}, id="nothing granted, nothing asked"),
        pytest.param({"issues": "read"}, {"issues": "read"}, id="the lower level is asked for"),
        pytest.param({"issues": "admin"}, {"issues": "write"}, id="never more than wanted"),
        pytest.param({"secrets": "write"}, {}, id="never what was not wanted"),
    ],
)
def test_narrowing(granted: dict[str, str], result: dict[str, str]) -> None:
    assert narrowed(granted, {"issues": "write", "contents": "read"}) == result


async def test_the_token_is_renewed_five_minutes_before_its_end(w: World) -> None:
    await w.gateway.repository(w.key)
    w.clock.forward(minutes=54)
    await w.gateway.repository(w.key)
    assert w.sent().count(MINT) == 1
    w.clock.forward(minutes=1, seconds=1)
    await w.gateway.repository(w.key)
    assert w.sent().count(MINT) == 2


async def test_a_revoked_token_is_replaced_within_the_request(w: World) -> None:
    await w.gateway.repository(w.key)
    w.drop_tokens()
    assert (await w.gateway.repository(w.key)).full_name == "olive/demo"
    assert w.sent().count(MINT) == 2


async def test_a_suspended_installation_is_told_apart(w: World) -> None:
    w.hub.suspend(w.installation)
    with pytest.raises(Suspended):
        await w.gateway.repository(w.key)


async def test_an_installation_suspended_after_the_token_was_minted(w: World) -> None:
    await w.gateway.repository(w.key)
    w.hub.suspend(w.installation)
    with pytest.raises(Suspended):
        await w.gateway.repository(w.key)


async def test_a_removed_installation_counts_as_suspended(w: World) -> None:
    w.hub.uninstall(w.installation)
    with pytest.raises(Suspended):
        await w.gateway.permissions(w.key.installation)


async def test_the_write_token_is_for_one_repository_and_contents_only_and_never_reused(w: World) -> None:
    first, ends = await w.gateway.mint_write_token(w.key)
    second, _ = await w.gateway.mint_write_token(w.key)
    assert first.get_secret_value() != second.get_secret_value()
    assert ends == START + timedelta(hours=1)
    assert "ghs_" not in f"{first!r} {first}"
    actor = w.hub.tokens._live[first.get_secret_value()].actor
    assert actor.repository_ids == {w.repo.id}
    assert actor.permissions == {"contents": "write", "metadata": "read"}


async def test_a_revoked_write_token_is_dead_and_revoking_it_again_is_fine(w: World) -> None:
    token, _ = await w.gateway.mint_write_token(w.key)
    await w.gateway.revoke(token)
    assert token.get_secret_value() not in w.hub.tokens._live
    await w.gateway.revoke(token)


async def test_a_wrong_key_is_unauthorized(w: World) -> None:
    other = w.hub.create_app(w.owner, "other", {}, [])
    w.app.private_key_pem = other.private_key_pem
    with pytest.raises(Unauthorized):
        await w.app_gateway().installations()


async def test_the_app_knows_its_installations_owner_and_bot_user(w: World) -> None:
    [(id_, account, login, suspended, permissions)] = await w.gateway.installations()
    assert (id_, account, login, suspended) == (w.installation.id, w.owner.id, "olive", False)
    assert dict(permissions)["issues"] == "write"
    assert await w.gateway.app_owner() == w.owner.id
    us = await w.gateway.bot_user(w.key.installation)
    assert (us.id, us.login, us.is_bot) == (w.app.bot.id, "tgs[bot]", True)
    await w.gateway.bot_user(w.key.installation)
    assert w.sent().count("GET /users/{username}") == 1


async def test_the_repositories_of_an_installation(w: World) -> None:
    bare = w.hub.create_repo(w.owner, "bare")
    w.hub.change_repositories(w.installation, add=[bare])
    views = await w.gateway.installation_repos(w.key.installation)
    assert [view.full_name for view in views] == ["olive/demo", "olive/bare"]
    assert {view.key.installation for view in views} == {w.key.installation}


async def test_a_persons_token_does_what_the_person_may(w: World) -> None:
    gateway = w.person_gateway("wim")
    issue = w.issue_key(w.open_issue())
    assert (await gateway.repository(w.key)).full_name == "olive/demo"
    await gateway.add_labels(issue, ["from wim"])
    assert (await gateway.label_events(issue))[0].actor == w.person("wim")
    assert (await gateway.bot_user(InstallationId(0))).login == "wim"
    assert await gateway.installations() == []
    assert await gateway.deliveries(0, START) == []
    assert await gateway.permissions(InstallationId(0)) == {}
    with pytest.raises(Forbidden):
        await gateway.mint_write_token(w.key)
    with pytest.raises(Forbidden):
        await gateway.redeliver(1)


async def test_usage_is_counted_per_installation(w: World) -> None:
    issue = w.issue_key(w.open_issue())
    await w.gateway.create_comment(issue, "hello")
    await w.gateway.issue(issue)
    await w.gateway.issue(issue)
    usage = w.gateway.usage()
    mine, app = usage[w.key.installation], usage[None]
    assert (mine.requests, mine.writes, mine.content, mine.not_modified) == (4, 1, 1, 1)
    assert (app.requests, app.writes) == (2, 1)


async def test_a_repository_outside_the_installation_is_not_found(w: World) -> None:
    other = w.hub.create_repo(w.owner, "other", private=True)
    w.known_name = other.full_name
    w.hub.change_repositories(w.installation, remove=[w.repo], add=[other])
    with pytest.raises(NotFound):
        await w.gateway.head(w.key, "main")
