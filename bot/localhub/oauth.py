"""Signing in through an App: the web flow with state and PKCE.

Promise: a code works once, for ten minutes, for the App and return address it was made for, and
with a challenge only together with its verifier. There are no passwords here: the page asks which
of the hub's people you want to be.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode, urlsplit

from bot.localhub.http import ApiError, Reply, Request, Route, Surface, not_found
from bot.localhub.model import Account, AccountType, App
from bot.localhub.tokens import SIGN_IN_LIFE
from bot.localhub.web_view import Pages

if TYPE_CHECKING:
    from bot.localhub.hub import Hub

CODE_LIFE = timedelta(minutes=10)
"""How long a code can be exchanged."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Grant:
    """A code that was handed out."""

    app: App
    account: Account
    redirect_uri: str
    challenge: str | None
    expires_at: datetime


class SignIn:
    """The two endpoints of the web flow."""

    def __init__(self, hub: Hub) -> None:
        """Nobody has asked yet."""
        self.hub = hub
        self._pages = Pages(hub.now)
        self._grants: dict[str, Grant] = {}

    def _app(self, client_id: str) -> App:
        found = next((x for x in self.hub.apps.values() if x.client_id == client_id), None)
        if found is None:
            raise not_found()
        return found

    async def authorize(self, request: Request) -> Reply:
        """`GET /login/oauth/authorize`: choose a person, or `login=` for one, then go back."""
        query = request.query
        app = self._app(query.get("client_id", ""))
        target = query.get("redirect_uri") or next(iter(app.callback_urls), "")
        allowed = (
            any(target.startswith(x) for x in app.callback_urls)
            if app.callback_urls
            else urlsplit(target).hostname in LOOPBACK
        )
        if not allowed:
            raise ApiError(400, "The redirect_uri is not associated with this application.")
        if query.get("code_challenge") and query.get("code_challenge_method") != "S256":
            raise ApiError(400, "code_challenge_method must be S256.")
        person = self.hub.find_account(query.get("login", ""))
        if person is None or person.type is not AccountType.USER:
            people = [x for x in self.hub.accounts.values() if x.type is AccountType.USER]
            links = [(x, f"?{urlencode({**query, 'login': x.login})}") for x in people]
            return self._pages.render("sign_in.html", app=app, links=links)
        code = secrets.token_hex(10)
        self._grants[code] = Grant(app, person, target, query.get("code_challenge"), self.hub.now() + CODE_LIFE)
        back = {"code": code} | ({"state": query["state"]} if "state" in query else {})
        joint = "&" if urlsplit(target).query else "?"
        return Reply(302, None, {"Location": f"{target}{joint}{urlencode(back)}"})

    async def exchange(self, request: Request) -> Reply:
        """`POST /login/oauth/access_token`: errors come with status 200, as on the real one."""
        given = _fields(request)
        app = next((x for x in self.hub.apps.values() if x.client_id == given.get("client_id")), None)
        secret = given.get("client_secret", "")
        if app is None or not hmac.compare_digest(app.client_secret, secret):
            return _problem("incorrect_client_credentials", "The client_id and/or client_secret passed are incorrect.")
        grant = self._grants.pop(given.get("code", ""), None)
        if (
            grant is None
            or grant.app is not app
            or grant.expires_at <= self.hub.now()
            or not _verified(grant.challenge, given.get("code_verifier"))
        ):
            return _problem("bad_verification_code", "The code passed is incorrect or expired.")
        if given.get("redirect_uri") not in (None, grant.redirect_uri):
            return _problem("redirect_uri_mismatch", "The redirect_uri is not the one of the code.")
        token = self.hub.tokens.for_sign_in(grant.account, app)
        return Reply(
            200,
            {
                "access_token": token.value,
                "expires_in": int(SIGN_IN_LIFE.total_seconds()),
                "token_type": "bearer",
                "scope": "",
            },
        )


def _fields(request: Request) -> dict[str, str]:
    if "json" in request.headers.get("Content-Type", ""):
        return {k: str(v) for k, v in request.body().items()}
    form = parse_qs(request.raw.decode("utf-8", "replace"))
    return {k: v[0] for k, v in form.items()} | dict(request.query)


def _verified(challenge: str | None, verifier: str | None) -> bool:
    if challenge is None:
        return True
    digest = hashlib.sha256((verifier or "").encode()).digest()
    made = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    return hmac.compare_digest(made, challenge)


def _problem(error: str, description: str) -> Reply:
    return Reply(200, {"error": error, "error_description": description})


def routes(hub: Hub) -> list[Route]:
    """The routes of this module."""
    flow, base, web = SignIn(hub), "/login/oauth", Surface.WEB
    return [
        Route("GET", f"{base}/authorize", flow.authorize, surface=web),
        Route("POST", f"{base}/access_token", flow.exchange, surface=web),
    ]
