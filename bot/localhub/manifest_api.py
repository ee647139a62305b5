"""Creating an App from a manifest, as its operator does it once in a browser.

Promise: the manifest is posted by the browser, a person confirms, the browser goes back with a
code, and the code can be converted into the App's credentials once, for an hour.
"""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, cast
from urllib.parse import parse_qs, urlencode, urlsplit

from bot.localhub import present
from bot.localhub.http import ApiError, Reply, Request, Route, Surface, not_found
from bot.localhub.model import Account, AccountType, App, Json
from bot.localhub.web_view import Pages

if TYPE_CHECKING:
    from bot.localhub.hub import Hub

CODE_LIFE = timedelta(hours=1)
"""How long the code of a new App can be converted."""


@dataclass(frozen=True)
class Draft:
    """A manifest that waits for a person, or an App that waits for its conversion."""

    manifest: Json
    state: str | None
    expires_at: datetime


class Registrations:
    """The manifest flow of one hub."""

    def __init__(self, hub: Hub) -> None:
        """Nothing waits yet."""
        self.hub = hub
        self._pages = Pages(hub.now)
        self._drafts: dict[str, Draft] = {}
        self._made: dict[str, tuple[App, datetime]] = {}

    async def post(self, request: Request) -> Reply:
        """`POST /settings/apps/new?state=` with the form field `manifest`."""
        form = parse_qs(request.raw.decode("utf-8", "replace"))
        try:
            manifest = json.loads(form["manifest"][0])
        except (KeyError, ValueError):
            raise ApiError(400, "The form field 'manifest' must hold JSON.") from None
        _check(manifest)
        draft = secrets.token_hex(10)
        until = self.hub.now() + CODE_LIFE
        self._drafts[draft] = Draft(manifest, request.query.get("state"), until)
        links = [
            (x, f"/settings/apps/confirm?{urlencode({'draft': draft, 'login': x.login})}")
            for x in self.hub.accounts.values()
            if x.type is AccountType.USER
        ]
        return self._pages.render("new_app.html", name=manifest["name"], links=links)

    async def confirm(self, request: Request) -> Reply:
        """A person creates the App; back to its `redirect_url` with a code."""
        owner = self.hub.find_account(request.query.get("login", ""))
        draft = self._drafts.pop(request.query.get("draft", ""), None)
        if draft is None or owner is None or draft.expires_at <= self.hub.now():
            raise not_found("This App is no longer waiting to be created.")
        app = self._create(draft.manifest, owner)
        code = secrets.token_hex(20)
        self._made[code] = (app, self.hub.now() + CODE_LIFE)
        back = {"code": code} | ({} if draft.state is None else {"state": draft.state})
        target = str(draft.manifest["redirect_url"])
        joint = "&" if urlsplit(target).query else "?"
        return Reply(302, None, {"Location": f"{target}{joint}{urlencode(back)}"})

    def _create(self, manifest: Json, owner: Account) -> App:
        slug = re.sub(r"[^a-z0-9]+", "-", str(manifest["name"]).lower()).strip("-")
        hook = manifest.get("hook_attributes")
        url = hook.get("url") if isinstance(hook, dict) else None
        try:
            app = self.hub.create_app(
                owner,
                slug,
                cast("dict[str, str]", manifest.get("default_permissions") or {}),
                cast("list[str]", manifest.get("default_events") or []),
                url,
                secrets.token_hex(20),
            )
        except ValueError as error:
            raise ApiError(422, str(error)) from None
        app.name = str(manifest["name"])
        app.callback_urls = [str(x) for x in cast("list[str]", manifest.get("callback_urls") or [])]
        self.hub.ping(app)
        return app

    async def convert(self, request: Request) -> Reply:
        """`POST /app-manifests/{code}/conversions`: the credentials, once."""
        app, until = self._made.pop(request.params["code"], (None, self.hub.now()))
        if app is None or until <= self.hub.now():
            raise not_found()
        return Reply(
            201,
            present.app(self.hub, app)
            | {
                "client_id": app.client_id,
                "client_secret": app.client_secret,
                "webhook_secret": None if app.hook is None else app.hook.secret,
                "pem": app.private_key_pem,
            },
        )


def _check(manifest: object) -> None:
    if not isinstance(manifest, dict):
        raise ApiError(400, "The manifest must be an object.")
    for name in ("name", "url", "redirect_url"):
        if not isinstance(manifest.get(name), str) or not manifest[name]:
            raise ApiError(400, f"The manifest needs {name!r}.")
    permissions, events = manifest.get("default_permissions"), manifest.get("default_events")
    if not isinstance(permissions, dict | None) or not isinstance(events, list | None):
        raise ApiError(400, "default_permissions must be an object and default_events a list.")


def routes(hub: Hub) -> list[Route]:
    """The routes of this module."""
    flow = Registrations(hub)
    convert = "/app-manifests/{code}/conversions"
    web = Surface.WEB
    return [
        Route("POST", "/settings/apps/new", flow.post, surface=web),
        Route("POST", "/organizations/{org}/settings/apps/new", flow.post, surface=web),
        Route("GET", "/settings/apps/confirm", flow.confirm, surface=web),
        Route("POST", convert, flow.convert, writes=False, anyone=True),
    ]
