"""Credentials: App JWTs, installation tokens, people's tokens, job tokens.

Promise: every secret is random per run; a token resolves to exactly one Actor, or the caller gets
401. The length and form of installation tokens follow the newest ones (`ghs_<app id>_<three
dotted parts>`, about 520 characters), so that nobody relies on forty.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import jwt

from bot.localhub.actor import ANONYMOUS, Actor, ActorKind
from bot.localhub.http import ApiError
from bot.localhub.model import Account, App, Installation, Repository

if TYPE_CHECKING:
    from bot.localhub.hub import Hub

TOKEN_LIFE = timedelta(hours=1)
"""Life of an installation token."""
SIGN_IN_LIFE = timedelta(hours=8)
"""Life of a token from signing in."""
JWT_MAX_LIFE = timedelta(minutes=10)
"""GitHub refuses an App JWT that ends later than this from now."""
CLOCK_SKEW = timedelta(seconds=60)
"""How far the clocks of App and hub may differ before a JWT is refused."""


@dataclass
class Token:
    """A token as issued; `installation_id` for installation tokens only."""

    value: str = field(repr=False)
    actor: Actor
    expires_at: datetime | None


@dataclass
class Tokens:
    """All live tokens of a hub."""

    hub: Hub
    _live: dict[str, Token] = field(default_factory=dict, repr=False)

    def for_user(self, account: Account) -> str:
        """A classic personal token that never ends."""
        value = "ghp_" + secrets.token_hex(18)
        self._live[value] = Token(value, Actor(ActorKind.USER, account), None)
        return value

    def for_sign_in(self, account: Account, app: App) -> Token:
        """The token an App gets when a person signs in through it."""
        value = "ghu_" + secrets.token_hex(18)
        actor = Actor(ActorKind.USER, account, app)
        self._live[value] = token = Token(value, actor, self.hub.now() + SIGN_IN_LIFE)
        return token

    def for_installation(
        self, item: Installation, repository_ids: Iterable[int], permissions: Mapping[str, str]
    ) -> Token:
        """A token for some repositories and permissions; the caller has checked both."""
        actor = Actor(
            ActorKind.INSTALLATION,
            item.app.bot,
            item.app,
            item,
            dict(permissions) | {"metadata": "read"},
            frozenset(repository_ids),
        )
        return self._add(actor, item.app.id, self.hub.now() + TOKEN_LIFE)

    def for_job(self, repo: Repository, run_id: int, permissions: Mapping[str, str]) -> str:
        """The GITHUB_TOKEN of one job; `revoke` it when the job ends."""
        app = self.hub.actions_app
        actor = Actor(
            ActorKind.JOB,
            app.bot,
            app,
            None,
            dict(permissions) | {"metadata": "read"},
            frozenset({repo.id}),
            run_id,
        )
        return self._add(actor, app.id, self.hub.now() + timedelta(hours=24)).value

    def _add(self, actor: Actor, app_id: int, expires_at: datetime) -> Token:
        parts = [secrets.token_urlsafe(n) for n in (27, 225, 128)]
        value = f"ghs_{app_id}_{'.'.join(parts)}"
        self._live[value] = token = Token(value, actor, expires_at)
        return token

    def revoke(self, value: str) -> None:
        """End a token now; unknown ones are ignored."""
        self._live.pop(value, None)

    def resolve(self, authorization: str | None) -> Actor:
        """The actor of an `Authorization` header. Raises ApiError 401 or 403 (suspended)."""
        if not authorization:
            return ANONYMOUS
        scheme, _, rest = authorization.partition(" ")
        match scheme.lower():
            case "bearer" | "token":
                value = rest.strip()
            case "basic":
                value = _password(rest)
            case _:
                raise bad_credentials()
        if value.startswith(("ghp_", "ghs_", "ghu_")):
            return self._token(value)
        if value.count(".") == 2:
            return self._jwt(value)
        raise bad_credentials()

    def _token(self, value: str) -> Actor:
        token = self._live.get(value)
        if token is None or (token.expires_at is not None and token.expires_at <= self.hub.now()):
            raise bad_credentials()
        installation = token.actor.installation
        if installation is not None and installation.suspended_at is not None:
            raise ApiError(403, "This installation has been suspended")
        if installation is not None and installation.id not in self.hub.installations:
            raise bad_credentials()
        if token.actor.kind is ActorKind.USER and token.actor.app is not None:
            return self._signed_in(token.actor, token.actor.app)
        return token.actor

    def _signed_in(self, actor: Actor, app: App) -> Actor:
        covering = [x for x in self.hub.installations.values() if x.app is app]
        ids = frozenset(y for x in covering if x.suspended_at is None for y in x.repository_ids)
        return Actor(ActorKind.USER, actor.account, app, None, app.permissions, ids)

    def _jwt(self, value: str) -> Actor:
        try:
            claims = jwt.decode(value, options={"verify_signature": False})
        except jwt.PyJWTError:
            raise ApiError(401, "A JSON web token could not be decoded") from None
        app = self._issuer(claims.get("iss"))
        if app is None:
            raise ApiError(401, "Integration not found")
        try:
            jwt.decode(
                value,
                app.public_key_pem,
                algorithms=["RS256"],
                options={
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                    "verify_iss": False,
                    "enforce_minimum_key_length": False,
                },
            )
        except jwt.PyJWTError:
            raise ApiError(401, "A JSON web token could not be decoded") from None
        now = self.hub.now().timestamp()
        issued, ends = claims.get("iat"), claims.get("exp")
        if not isinstance(ends, int):
            raise ApiError(
                401,
                "'Expiration time' claim ('exp') must be a numeric value representing the "
                "future time at which the assertion expires",
            )
        if ends <= now - CLOCK_SKEW.total_seconds():
            raise ApiError(401, "'Expiration time' claim ('exp') is in the past")
        if ends > now + (JWT_MAX_LIFE + CLOCK_SKEW).total_seconds():
            raise ApiError(401, "'Expiration time' claim ('exp') is too far in the future")
        if not isinstance(issued, int) or issued > now + CLOCK_SKEW.total_seconds():
            raise ApiError(
                401, "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued"
            )
        return Actor(ActorKind.APP, None, app)

    def _issuer(self, issuer: object) -> App | None:
        text = str(issuer)
        found = (x for x in self.hub.apps.values() if text in (str(x.id), x.client_id))
        return next(found, None)


def bad_credentials() -> ApiError:
    """401 as GitHub words it."""
    return ApiError(401, "Bad credentials")


def _password(encoded: str) -> str:
    try:
        text = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise bad_credentials() from None
    return text.partition(":")[2]
