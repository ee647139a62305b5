"""Credentials for GitHub: the App's key and JWT, installation tokens narrowed per purpose, a person's token.

Promises: keys and tokens are `SecretStr` and never print; errors name the setting, never its content. A token for
`publish` is minted anew each time and never kept. Nothing here assumes how long a token is.

Races: one lock per installation, so concurrent requests mint one token between them. A token refused with 401 is
dropped only while it is still the stored one; a newer one survives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

import jwt
from cachetools import TLRUCache
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydantic import SecretStr

from bot.domain.model import InstallationId, RepoId
from bot.errors import Forbidden, NotFound, SettingsError, Suspended
from bot.github.answers import Answer, read
from bot.github.calls import Call, TokenSource, call
from bot.github.limits import Lane
from bot.github.shapes import InstallationShape, TokenShape
from bot.protocols.clock import Clock

JWT_BACKDATED = timedelta(seconds=60)
"""GitHub advises to date the JWT a minute back, against clock drift."""
JWT_LIFE = timedelta(minutes=9)
"""From the backdated start: GitHub refuses more than 10 minutes, and its clock may be behind ours."""
JWT_MARGIN = timedelta(seconds=60)
"""A JWT is renewed this long before its end, so that it can't end on the way."""
TOKEN_MARGIN = timedelta(minutes=5)
"""An installation token is renewed this long before its end: longer than any retry of one request takes."""
MAX_TOKENS = 1000
"""Installation tokens kept at once; the least used one is minted again when needed."""

WANTED: Final[Mapping[str, str]] = {
    "metadata": "read",
    "issues": "write",
    "actions": "write",
    "contents": "write",
    "pull_requests": "write",
    "checks": "write",
    "statuses": "write",
}
"""What the everyday token may do at most; anything else an administrator granted is left out of it."""
PUBLISH: Final[Mapping[str, str]] = {"contents": "write"}
"""What a write token for one push may do."""
LEVELS: Final[Mapping[str, int]] = {"read": 1, "write": 2, "admin": 3}


class PrivateKey:
    """The App's RSA key. It does not print."""

    __slots__ = ("_key",)

    def __init__(self, pem: str, *, setting: str = "TGS_PRIVATE_KEY") -> None:
        """Raises SettingsError naming `setting` when the text is no RSA private key in PEM form."""
        # Environments often hold the key on one line with written-out line ends.
        text = pem.strip().replace("\\n", "\n")
        try:
            key = load_pem_private_key(text.encode(), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, RSAPrivateKey):
            raise SettingsError(
                f"{setting} is not an RSA private key in PEM form without a password.",
                "Download a private key from the App's settings page and use the whole file.",
            ) from None
        self._key = key

    @classmethod
    def from_file(cls, path: Path, *, setting: str = "TGS_PRIVATE_KEY_PATH") -> PrivateKey:
        """Raises SettingsError when the file can't be read or holds no key."""
        try:
            text = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(
                f"{setting} names {path}, which cannot be read ({type(error).__name__}).",
                "Check the path and that the process may read the file.",
            ) from None
        return cls(text, setting=setting)

    def sign(self, claims: Mapping[str, object]) -> SecretStr:
        return SecretStr(jwt.encode(dict(claims), self._key, algorithm="RS256"))

    def __repr__(self) -> str:
        return "PrivateKey(**********)"

    def __reduce__(self) -> str:
        raise TypeError("a private key is not pickled")


class AppJwt:
    """The App's own credential, for `/app` endpoints only. Signed again a minute before its end."""

    def __init__(self, app_id: int, key: PrivateKey, clock: Clock) -> None:
        self.app_id = app_id
        self._key = key
        self._clock = clock
        self._current: tuple[SecretStr, datetime] | None = None

    async def token(self) -> SecretStr:
        now = self._clock.now()
        if self._current is None or self._current[1] - JWT_MARGIN <= now:
            start = now - JWT_BACKDATED
            end = start + JWT_LIFE
            claims = {"iat": int(start.timestamp()), "exp": int(end.timestamp()), "iss": str(self.app_id)}
            self._current = (self._key.sign(claims), end)
        return self._current[0]

    def refused(self, token: SecretStr) -> None:
        if self._current is not None and self._current[0] == token:
            self._current = None


@dataclass(frozen=True, slots=True)
class InstallationToken:
    """A minted token, what it may do and when it ends."""

    secret: SecretStr
    expires_at: datetime
    permissions: Mapping[str, str]


class Auth(Protocol):
    """Whose credentials a gateway uses."""

    @property
    def app_id(self) -> int | None:
        """The App's id; None when this is a person."""
        ...

    def installation(self, installation: InstallationId) -> TokenSource: ...

    async def permissions(self, installation: InstallationId, *, renew: bool = False) -> Mapping[str, str]: ...

    async def publish_token(self, installation: InstallationId, repo: RepoId) -> tuple[SecretStr, datetime]: ...


class AppAuth:
    """An App's credentials: JWT, and one everyday token per installation."""

    def __init__(self, app_jwt: AppJwt, request: Callable[[Call], Awaitable[Answer]], clock: Clock) -> None:
        """`request` sends a call with the JWT."""
        self._jwt = app_jwt
        self._request = request
        self._clock = clock
        self._locks: dict[InstallationId, asyncio.Lock] = {}
        self._tokens: TLRUCache[InstallationId, InstallationToken] = TLRUCache(
            MAX_TOKENS,
            ttu=lambda _key, token, _now: (token.expires_at - TOKEN_MARGIN).timestamp(),
            timer=lambda: clock.now().timestamp(),
        )

    @property
    def app_id(self) -> int | None:
        return self._jwt.app_id

    def installation(self, installation: InstallationId) -> TokenSource:
        return _InstallationSource(self, installation)

    async def permissions(self, installation: InstallationId, *, renew: bool = False) -> Mapping[str, str]:
        """What GitHub said the everyday token may do when it was minted; `renew` mints it now."""
        if renew:
            self._tokens.pop(installation, None)
        return dict((await self.everyday(installation)).permissions)

    async def everyday(self, installation: InstallationId) -> InstallationToken:
        """The everyday token, minted when there is none good for TOKEN_MARGIN. Raises Suspended."""
        async with self._locks.setdefault(installation, asyncio.Lock()):
            token = self._tokens.get(installation)
            if token is None:
                granted = await self._granted(installation)
                token = await self._mint(installation, {"permissions": narrowed(granted, WANTED)})
                self._tokens[installation] = token
            return token

    def refused(self, installation: InstallationId, secret: SecretStr) -> None:
        token = self._tokens.get(installation)
        if token is not None and token.secret == secret:
            del self._tokens[installation]

    async def publish_token(self, installation: InstallationId, repo: RepoId) -> tuple[SecretStr, datetime]:
        token = await self._mint(installation, {"repository_ids": [repo], "permissions": dict(PUBLISH)})
        return token.secret, token.expires_at

    async def _granted(self, installation: InstallationId) -> Mapping[str, str]:
        """What the administrators granted; asking for more than that is refused as a whole."""
        wanted = call("GET", "/app/installations/{installation_id}", {"installation_id": installation})
        try:
            answer = await self._request(wanted)
        except NotFound as error:
            raise Suspended("the installation was removed", status=error.status, request=wanted.label) from None
        shape = read(InstallationShape, answer.data, wanted.label)
        if shape.suspended_at is not None:
            raise Suspended("the installation is suspended", request=wanted.label)
        return shape.permissions

    async def _mint(self, installation: InstallationId, body: Mapping[str, object]) -> InstallationToken:
        path = "/app/installations/{installation_id}/access_tokens"
        wanted = call("POST", path, {"installation_id": installation}, body=dict(body), lane=Lane.CLAIM)
        try:
            answer = await self._request(wanted)
        except NotFound as error:
            raise Suspended("the installation was removed", status=error.status, request=wanted.label) from None
        shape = read(TokenShape, answer.data, wanted.label)
        return InstallationToken(SecretStr(shape.token), shape.expires_at, shape.permissions)


@dataclass(frozen=True, slots=True)
class _InstallationSource:
    auth: AppAuth
    id: InstallationId

    async def token(self) -> SecretStr:
        return (await self.auth.everyday(self.id)).secret

    def refused(self, token: SecretStr) -> None:
        self.auth.refused(self.id, token)


class TokenAuth:
    """A person's own token instead of an App, for the command line without a server."""

    def __init__(self, token: SecretStr) -> None:
        self._source = FixedToken(token)

    @property
    def app_id(self) -> int | None:
        return None

    def installation(self, installation: InstallationId) -> TokenSource:
        del installation  # a person's token reaches whatever the person reaches
        return self._source

    async def permissions(self, installation: InstallationId, *, renew: bool = False) -> Mapping[str, str]:
        """Empty: GitHub does not say what a personal token may do; each call finds out."""
        del installation, renew
        return {}

    async def publish_token(self, installation: InstallationId, repo: RepoId) -> tuple[SecretStr, datetime]:
        """Always Forbidden: a personal token can't be narrowed to one repository and is never handed out."""
        raise Forbidden(f"a personal token cannot be narrowed for repository {repo} of installation {installation}")


@dataclass(frozen=True, slots=True)
class FixedToken:
    """A credential that can't be renewed."""

    secret: SecretStr

    async def token(self) -> SecretStr:
        return self.secret

    def refused(self, token: SecretStr) -> None:
        """Nothing to renew: the second 401 is the answer."""


def narrowed(granted: Mapping[str, str], wanted: Mapping[str, str]) -> dict[str, str]:
    """The wanted permissions as far as they are granted, at the lower of the two levels."""
    return {
        name: min(level, granted[name], key=lambda text: LEVELS.get(text, 0))
        for name, level in wanted.items()
        if name in granted
    }
