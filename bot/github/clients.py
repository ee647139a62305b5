"""One client, limit gate and ETag cache per installation, so that tenants share neither quota nor bodies.

Promise: a client is made once per installation and kept, because it carries the limits GitHub told us.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import aiohttp
from pydantic import SecretStr

from bot.domain.model import InstallationId
from bot.errors import Forbidden
from bot.github.auth import AppAuth, AppJwt, Auth, FixedToken, PrivateKey, TokenAuth
from bot.github.calls import Origin, TokenSource
from bot.github.client import GitHubClient
from bot.github.limits import WRITE_SPACING, GithubUsage, Limits, Sleep
from bot.protocols.clock import Clock

APP_WRITE_SPACING = 0.0
"""Seconds: minting tokens and asking for redelivery create nothing people see, so they need no spacing."""


@dataclass(frozen=True, slots=True)
class Maker:
    """What all clients of a deployment are made of."""

    session: aiohttp.ClientSession
    origin: Origin
    clock: Clock
    sleep: Sleep
    jitter: Callable[[], float]
    before_write: Callable[[], Awaitable[None]] | None = None
    sharers: Callable[[], int] = lambda: 1

    def make(self, tokens: TokenSource, write_spacing: float) -> GitHubClient:
        """A client with its own limits and ETag cache."""
        limits = Limits(self.clock, self.sleep, write_spacing=write_spacing, sharers=self.sharers)
        return GitHubClient(
            self.session,
            self.origin,
            tokens,
            limits,
            sleep=self.sleep,
            jitter=self.jitter,
            before_write=self.before_write,
        )


class Clients:
    """The clients of one deployment: of an App (`of_app`), or the one of a person's token (`of_token`)."""

    def __init__(
        self,
        maker: Maker,
        auth: Auth,
        *,
        app: GitHubClient | None = None,
        single: GitHubClient | None = None,
        write_spacing: float = WRITE_SPACING,
    ) -> None:
        """`write_spacing` in seconds; `single` serves every installation."""
        self._maker = maker
        self._app = app
        self._single = single
        self._spacing = write_spacing
        self._by_installation: dict[InstallationId, GitHubClient] = {}
        self.auth = auth
        self.clock = maker.clock

    @classmethod
    def of_app(
        cls,
        session: aiohttp.ClientSession,
        origin: Origin,
        app_id: int,
        key: PrivateKey,
        *,
        clock: Clock,
        sleep: Sleep,
        jitter: Callable[[], float],
        write_spacing: float = WRITE_SPACING,
        before_write: Callable[[], Awaitable[None]] | None = None,
        sharers: Callable[[], int] = lambda: 1,
    ) -> Clients:
        """The clients of a GitHub App. `sleep` takes seconds; `jitter` returns a number in [0, 1). `before_write` as of
        the client, `sharers` as of its limits."""
        maker = Maker(session, origin, clock, sleep, jitter, before_write, sharers)
        app_jwt = AppJwt(app_id, key, clock)
        app = maker.make(app_jwt, APP_WRITE_SPACING)
        return cls(maker, AppAuth(app_jwt, app.request, clock), app=app, write_spacing=write_spacing)

    @classmethod
    def of_token(
        cls,
        session: aiohttp.ClientSession,
        origin: Origin,
        token: SecretStr,
        *,
        clock: Clock,
        sleep: Sleep,
        jitter: Callable[[], float],
        write_spacing: float = WRITE_SPACING,
    ) -> Clients:
        """The one client of a person's token, whatever installation is asked for."""
        maker = Maker(session, origin, clock, sleep, jitter)
        return cls(maker, TokenAuth(token), single=maker.make(FixedToken(token), write_spacing))

    @property
    def is_app(self) -> bool:
        return self._app is not None

    def app(self) -> GitHubClient:
        """The client with the App's JWT. Raises Forbidden for a person's token."""
        if self._app is None:
            raise Forbidden("this needs the App's credentials; a personal token was given")
        return self._app

    def installation(self, installation: InstallationId) -> GitHubClient:
        if self._single is not None:
            return self._single
        client = self._by_installation.get(installation)
        if client is None:
            client = self._maker.make(self.auth.installation(installation), self._spacing)
            self._by_installation[installation] = client
        return client

    def holding(self, token: SecretStr) -> GitHubClient:
        """A client of its own for one handed-out token, to revoke it."""
        return self._maker.make(FixedToken(token), APP_WRITE_SPACING)

    def usage(self) -> Mapping[InstallationId | None, GithubUsage]:
        """Counters per installation; None stands for the App itself or a person's token."""
        found: dict[InstallationId | None, GithubUsage] = {
            installation: client.limits.usage for installation, client in self._by_installation.items()
        }
        own = self._single or self._app
        if own is not None:
            found[None] = own.limits.usage
        return found
