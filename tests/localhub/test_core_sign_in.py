"""Signing in through an App, and what such a token may do."""

from __future__ import annotations

import base64
import hashlib
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from tests.localhub.support import World

BACK = "http://127.0.0.1:1/callback"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode()[:-1]


async def code(w: World, login: str = "wim", **more: str) -> str:
    query = {
        "client_id": w.app.client_id,
        "redirect_uri": BACK,
        "state": "s p",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        "login": login,
    } | more
    url = f"{w.hub.html_url}/login/oauth/authorize?{urlencode(query)}"
    answer = await w.call("GET", url, token="")
    assert answer.status == 302, answer.body
    back = urlsplit(answer.headers["Location"])
    assert f"{back.scheme}://{back.netloc}{back.path}" == BACK
    values = parse_qs(back.query)
    assert values["state"] == ["s p"]
    return values["code"][0]


async def exchange(w: World, **fields: str) -> Any:
    body = {
        "client_id": w.app.client_id,
        "client_secret": w.app.client_secret,
        "code_verifier": VERIFIER,
    } | fields
    url = f"{w.hub.html_url}/login/oauth/access_token"
    answer = await w.call("POST", url, body, token="")
    assert answer.status == 200
    return answer.body


async def test_a_person_signs_in(w: World) -> None:
    got = await exchange(w, code=await code(w))
    assert (got["token_type"], got["expires_in"]) == ("bearer", 28_800)
    me = await w.call("GET", "/user", token=got["access_token"])
    assert me.body["login"] == "wim"


async def test_the_page_offers_the_people_of_the_hub(w: World) -> None:
    query = urlencode({"client_id": w.app.client_id, "redirect_uri": BACK})
    url = f"{w.hub.html_url}/login/oauth/authorize?{query}"
    shown = await w.call("GET", url, token="")
    assert shown.status == 200
    assert "login=mia" in shown.body


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        pytest.param({"code_verifier": "wrong"}, "bad_verification_code", id="a wrong verifier"),
        pytest.param({"code": "guess"}, "bad_verification_code", id="a guessed code"),
        pytest.param({"client_secret": "x"}, "incorrect_client_credentials", id="a wrong client secret"),
        pytest.param({"redirect_uri": "http://127.0.0.1:2/"}, "redirect_uri_mismatch", id="another address"),
    ],
)
async def test_refused_exchanges(w: World, fields: dict[str, str], error: str) -> None:
    made = await code(w)
    assert (await exchange(w, **({"code": made} | fields)))["error"] == error


async def test_a_code_works_once_and_not_for_long(w: World) -> None:
    made = await code(w)
    assert "access_token" in await exchange(w, code=made)
    assert (await exchange(w, code=made))["error"] == "bad_verification_code"
    late = await code(w)
    w.clock.forward(minutes=11)
    assert (await exchange(w, code=late))["error"] == "bad_verification_code"


async def test_an_address_elsewhere_is_refused(w: World) -> None:
    query = urlencode({"client_id": w.app.client_id, "redirect_uri": "https://example.org/"})
    url = f"{w.hub.html_url}/login/oauth/authorize?{query}"
    assert (await w.call("GET", url, token="")).status == 400


async def test_such_a_token_can_do_what_both_can(w: World) -> None:
    token = (await exchange(w, code=await code(w)))["access_token"]
    issues = f"/repos/{w.repo.full_name}/issues"
    made = await w.call("POST", issues, {"title": "x"}, token=token)
    assert made.body["user"]["login"] == "wim"
    assert made.body["performed_via_github_app"]["slug"] == "tgs"
    other = w.hub.create_repo(w.repo.owner, "other")
    elsewhere = f"/repos/{other.full_name}/issues"
    assert (await w.call("POST", elsewhere, {"title": "x"}, token=token)).status == 403
    reader = (await exchange(w, code=await code(w, "rob")))["access_token"]
    refused = await w.call("POST", f"{issues}/1/labels", ["a"], token=reader)
    assert refused.status == 403
