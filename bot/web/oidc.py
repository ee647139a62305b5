"""Who is calling from Actions: verifies a run's OIDC token against everything the claim needs.

The signature says that GitHub made the token; the numeric ids say for which repository; the workflow references say
that our file on the default branch asked for it. `sub` is never compared: its form changes and can be customised
(https://docs.github.com/en/actions/reference/security/oidc). A token works once (`jti`).
"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import aiohttp
import jwt
from cachetools import TTLCache

from bot.domain.identity import RunIdentity
from bot.errors import Refused, Unavailable

KEYS_KEPT = timedelta(hours=1)
"""The issuer rotates its keys rarely; a new key id is fetched at once anyway."""

KEYS_AGAIN = timedelta(seconds=30)
"""An unknown key id makes us ask the issuer at most this often, so that junk tokens cannot make us a hammer."""

LEEWAY = timedelta(seconds=30)
"""Clock difference that is tolerated between the issuer and us."""

FETCH_LIMIT = aiohttp.ClientTimeout(total=10)
"""The issuer answers within a second or is down."""

MAX_JWKS = 256 * 1024
"""Bytes of a key set; real ones have a few thousand."""


class OidcVerifier:
    """Verifies tokens of one pinned issuer."""

    def __init__(self, issuer: str, session: aiohttp.ClientSession) -> None:
        self._issuer = issuer.rstrip("/")
        self._session = session
        self._keys: TTLCache[str, jwt.PyJWK] = TTLCache(64, KEYS_KEPT.total_seconds())
        self._asked: TTLCache[str, bool] = TTLCache(4, KEYS_AGAIN.total_seconds())
        self._lock = asyncio.Lock()

    async def verify(self, token: str, audience: str, now: datetime) -> RunIdentity:
        """The identity in the token. Raises Refused (why it is not accepted) or Unavailable (issuer unreachable)."""
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError:
            raise Refused("The token is not a JSON Web Token.", "Use the OIDC token of the Actions run.") from None
        key = await self._key(str(header.get("kid", "")))
        try:
            claims = jwt.decode(
                token,
                key.key,
                algorithms=["RS256"],
                audience=audience,
                issuer=self._issuer,
                options={
                    "require": ["exp", "iat", "jti", "aud", "iss"],
                    # The clock is ours: the library would read the system's.
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                    "strict_aud": True,
                },
            )
        except jwt.PyJWTError as error:
            raise Refused(f"The OIDC token is not accepted: {error}.", f"Ask for the audience `{audience}`.") from None
        _check_times(claims, now)
        return _identity(claims)

    async def _key(self, kid: str) -> jwt.PyJWK:
        async with self._lock:
            if kid not in self._keys and "asked" not in self._asked:
                self._asked["asked"] = True
                await self._fetch()
            if kid not in self._keys:
                raise Refused("The OIDC token is signed by a key that its issuer does not publish.")
            return self._keys[kid]

    async def _fetch(self) -> None:
        url = f"{self._issuer}/.well-known/jwks"
        try:
            async with self._session.get(url, timeout=FETCH_LIMIT, allow_redirects=False) as answer:
                if answer.status != 200:
                    raise Unavailable(f"the issuer answered {answer.status}", status=answer.status, request="GET jwks")
                body = await answer.content.read(MAX_JWKS + 1)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unavailable(f"the issuer cannot be reached ({type(error).__name__})", request="GET jwks") from None
        try:
            keys = jwt.PyJWKSet.from_dict(json.loads(body))
        except (ValueError, jwt.PyJWTError):
            raise Unavailable("the issuer's key set cannot be read", request="GET jwks") from None
        for key in keys.keys:
            if key.key_id is not None:
                self._keys[key.key_id] = key


def _check_times(claims: dict[str, object], now: datetime) -> None:
    expires, since = _time(claims, "exp"), _time(claims, "nbf" if "nbf" in claims else "iat")
    if expires is None or now > expires + LEEWAY:
        raise Refused("The OIDC token has expired.")
    if since is None or now < since - LEEWAY:
        raise Refused("The OIDC token is not valid yet.")


def _time(claims: dict[str, object], name: str) -> datetime | None:
    value = claims.get(name)
    return datetime.fromtimestamp(value, UTC) if isinstance(value, int | float) else None


def _identity(claims: dict[str, object]) -> RunIdentity:
    def text(name: str) -> str:
        value = claims.get(name)
        if not isinstance(value, str) or not value:
            raise Refused(f"The OIDC token has no `{name}`.")
        return value

    def number(name: str) -> int:
        value = text(name)
        if not value.isdecimal():
            raise Refused(f"`{name}` of the OIDC token is not a number.")
        return int(value)

    environment = claims.get("environment")
    expires = _time(claims, "exp")
    assert expires is not None
    return RunIdentity(
        repository_id=number("repository_id"),
        owner_id=number("repository_owner_id"),
        run_id=number("run_id"),
        run_attempt=number("run_attempt"),
        event=text("event_name"),
        workflow_ref=text("workflow_ref"),
        job_workflow_ref=text("job_workflow_ref"),
        environment=environment if isinstance(environment, str) else None,
        check_run_id=number("check_run_id"),
        runner=text("runner_environment"),
        actor_id=number("actor_id"),
        actor=text("actor"),
        jti=text("jti"),
        expires_at=expires,
    )
