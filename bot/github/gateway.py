"""The bot's door to GitHub: implements `bot.protocols.github.GitHub` for an App, or for a person's own token.

Promises: every verb raises the kinds of `bot.errors` only. The composition root opens the session and closes it; a
gateway owns no task and needs no closing.

The verbs are split by subject; each class builds on the one before: repositories, the App, issues, runs, pull
requests, show, claim refs, the past, much at once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import aiohttp
from pydantic import SecretStr

from bot.domain.model import RepoKey
from bot.github.auth import PrivateKey
from bot.github.calls import Origin
from bot.github.clients import Clients
from bot.github.gateway_bulk import BulkVerbs
from bot.github.limits import WRITE_SPACING, Sleep
from bot.protocols.clock import Clock
from bot.protocols.github import GitHub


class Gateway(BulkVerbs):
    """All verbs of `bot.protocols.github.GitHub`, and `usage()` for the metrics."""


def app_gateway(
    session: aiohttp.ClientSession,
    origin: Origin,
    app_id: int,
    key: PrivateKey,
    *,
    names: Callable[[RepoKey], Awaitable[str]],
    clock: Clock,
    sleep: Sleep,
    jitter: Callable[[], float],
    write_spacing: float = WRITE_SPACING,
    before_write: Callable[[], Awaitable[None]] | None = None,
    sharers: Callable[[], int] = lambda: 1,
) -> Gateway:
    """The gateway of a GitHub App. `names` gives a repository's last known `owner/name`; `sleep` takes seconds,
    `jitter` returns a number in [0, 1), `write_spacing` is in seconds. `before_write` may refuse each write at the last
    moment by raising; `sharers` is how many processes share the limits now."""
    clients = Clients.of_app(
        session,
        origin,
        app_id,
        key,
        clock=clock,
        sleep=sleep,
        jitter=jitter,
        write_spacing=write_spacing,
        before_write=before_write,
        sharers=sharers,
    )
    return Gateway(clients, names)


def token_gateway(
    session: aiohttp.ClientSession,
    origin: Origin,
    token: SecretStr,
    *,
    names: Callable[[RepoKey], Awaitable[str]],
    clock: Clock,
    sleep: Sleep,
    jitter: Callable[[], float],
    write_spacing: float = WRITE_SPACING,
) -> Gateway:
    """The gateway of a person's token, for the command line without a server. Arguments as for `app_gateway`; the
    installation in keys is not used."""
    clients = Clients.of_token(
        session, origin, token, clock=clock, sleep=sleep, jitter=jitter, write_spacing=write_spacing
    )
    return Gateway(clients, names)


def _is_github(gateway: Gateway) -> GitHub:
    """Never called: the type checker proves here that every verb of the contract is there with its signature."""
    return gateway
