"""One client, limit gate and ETag cache per installation, so that tenants share neither quota nor bodies.

Promise: a client is made once per installation and kept, because it carries the limits GitHub told us.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import aiohttp
from pydantic import SecretStr

from bot.domain.model import InstallationId
from bot.github.auth import AppAuth, AppJwt, Auth, FixedToken, PrivateKey, TokenAuth
from bot.github.calls import Origin, TokenSource
from bot.github.client import GitHubClient
from bot.github.limits import WRITE_SPACING, GithubUsage, Limits, Sleep
from bot.protocols import Clock

APP_WRITE_SPACING = 0.0
"""Seconds: minting tokens and asking for redelivery create nothing people see, so they need no spacing."""


class Clients:
    """The clients of one deployment."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        origin: Origin,
        *,
        clock: Clock,
        sleep: Sleep,
        jitter: Callable[[], float],
        write_spacing: float = WRITE_SPACING,
    ) -> None:
        """`write_spacing` in seconds; `sleep` takes seconds; `jitter` returns a number in [0, 1)."""
        self._session = session
        self._origin = origin
        self._sleep = sleep
        self._jitter = jitter
        self._spacing = write_spacing
        self._by_installation: dict[InstallationId, GitHubClient] = {}
        self._single: GitHubClient | None = None
        self._app: GitHubClient | None = None
        self.clock = clock
        self.auth: Auth = TokenAuth(SecretStr(""))

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
    ) -> Clients:
        """The clients of a GitHub App."""
        clients = cls(session, origin, clock=clock, sleep=sleep, jitter=jitter, write_spacing=write_spacing)
        app_jwt = AppJwt(app_id, key, clock)
        app_client = clients._make(app_jwt, APP_WRITE_SPACING)
        clients._app = app_client
        clients.auth = AppAuth(app_jwt, app_client.request, clock)
        return clients

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
        clients = cls(session, origin, clock=clock, sleep=sleep, jitter=jitter, write_spacing=write_spacing)
        clients.auth = TokenAuth(token)
        clients._single = clients._make(FixedToken(token), write_spacing)
        return clients

    @property
    def is_app(self) -> bool:
        return self._app is not None

    def app(self) -> GitHubClient:
        """The client with the App's JWT. Raises Forbidden for a person's token."""
        if self._app is None:
            self.auth.app()
            raise AssertionError("an App has a client")
        return self._app

    def installation(self, installation: InstallationId) -> GitHubClient:
        if self._single is not None:
            return self._single
        client = self._by_installation.get(installation)
        if client is None:
            client = self._make(self.auth.installation(installation), self._spacing)
            self._by_installation[installation] = client
        return client

    def holding(self, token: SecretStr) -> GitHubClient:
        """A client of its own for one handed-out token, to revoke it."""
        return self._make(FixedToken(token), APP_WRITE_SPACING)

    def usage(self) -> Mapping[InstallationId | None, GithubUsage]:
        """Counters per installation; None stands for the App itself or a person's token."""
        found: dict[InstallationId | None, GithubUsage] = {
            installation: client.limits.usage for installation, client in self._by_installation.items()
        }
        own = self._single or self._app
        if own is not None:
            found[None] = own.limits.usage
        return found

    def _make(self, tokens: TokenSource, spacing: float) -> GitHubClient:
        limits = Limits(self.clock, self._sleep, write_spacing=spacing)
        return GitHubClient(self._session, self._origin, tokens, limits, sleep=self._sleep, jitter=self._jitter)
