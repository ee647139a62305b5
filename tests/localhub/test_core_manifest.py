"""Creating an App from a manifest."""

from __future__ import annotations

import json
import re
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest

from tests.localhub.support import World

MANIFEST: dict[str, Any] = {
    "name": "My Bot",
    "url": "https://example.org/",
    "redirect_url": "http://127.0.0.1:1/created",
    "hook_attributes": {"url": "http://127.0.0.1:9/webhook"},
    "callback_urls": ["http://127.0.0.1:1/callback"],
    "default_permissions": {"issues": "write"},
    "default_events": ["issues"],
}


async def post(w: World, manifest: object) -> tuple[int, str]:
    url = f"{w.hub.html_url}/settings/apps/new?state=abc"
    async with w.session.post(url, data={"manifest": json.dumps(manifest)}) as answer:
        return answer.status, await answer.text()


async def test_a_person_creates_an_app_and_its_code_works_once(w: World) -> None:
    status, text = await post(w, MANIFEST)
    assert status == 200
    link = next(x for x in re.findall(r'href="([^"]+)"', text) if "login=mia" in x)
    confirmed = await w.call("GET", w.hub.html_url + unescape(link), token="")
    assert confirmed.status == 302
    back = parse_qs(urlsplit(confirmed.headers["Location"]).query)
    assert back["state"] == ["abc"]
    path = f"/app-manifests/{back['code'][0]}/conversions"
    made = await w.call("POST", path, token="")
    assert made.status == 201
    assert (made.body["slug"], made.body["owner"]["login"]) == ("my-bot", "mia")
    assert len(made.body["webhook_secret"]) == 40
    now = int(w.clock.now.timestamp())
    claims = {"iat": now, "exp": now + 60, "iss": made.body["client_id"]}
    token = jwt.encode(claims, made.body["pem"], algorithm="RS256")
    assert (await w.call("GET", "/app", token=token)).body["name"] == "My Bot"
    assert (await w.call("POST", path, token="")).status == 404


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"name": ""}, "needs 'name'", id="no name"),
        pytest.param({"redirect_url": None}, "needs 'redirect_url'", id="nowhere to return to"),
        pytest.param({"default_events": "issues"}, "a list", id="events that are no list"),
    ],
)
async def test_refused_manifests(w: World, change: dict[str, object], message: str) -> None:
    status, text = await post(w, MANIFEST | change)
    assert status == 400
    assert message in json.loads(text)["message"]
