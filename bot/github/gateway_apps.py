"""The App and its installations: who installed it, on which repositories, which deliveries failed.

Promise: every answer that we gave to a webhook is told as GitHub saw it. With a person's token there is no App: lists
of installations and deliveries are empty.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime

from cachetools import TTLCache
from pydantic import SecretStr

from bot.domain.model import InstallationId, Person, RepoId, RepoKey
from bot.domain.redelivery import Delivery
from bot.errors import Unauthorized
from bot.github.answers import read
from bot.github.base import MAX_PAGES, PAGE, collect, entries
from bot.github.calls import call
from bot.github.clients import Clients
from bot.github.gateway_repos import RepoVerbs
from bot.github.limits import GithubUsage, Lane
from bot.github.shapes import AppShape, DeliveryShape, InstallationShape, RepoShape, UserShape, person
from bot.protocols.github import RepoView, Secret

IDENTITY_TTL = 3600.0
"""Seconds: the App's name and owner change about never, but a rename should not need a restart."""


class AppVerbs(RepoVerbs):
    """Verbs about the App itself."""

    def __init__(self, clients: Clients, names: Callable[[RepoKey], Awaitable[str]]) -> None:
        super().__init__(clients, names)
        self._identity: TTLCache[str, Person] = TTLCache(4, IDENTITY_TTL, timer=lambda: clients.clock.now().timestamp())

    async def installations(self) -> list[tuple[InstallationId, int, str, bool, tuple[tuple[str, str], ...]]]:
        """(installation, account id, account login, suspended, permissions) of each installation of the App."""
        if not self._clients.is_app:
            return []
        client, path = self._clients.app(), "/app/installations"
        first = await client.request(call("GET", path, query={"per_page": PAGE}))
        found = []
        for raw in await collect(client, first, path):
            shape = read(InstallationShape, raw, f"GET {path}")
            account = person(shape.account)
            permissions = tuple(sorted(shape.permissions.items()))
            suspended = shape.suspended_at is not None
            found.append((InstallationId(shape.id), account.id, account.login, suspended, permissions))
        return found

    async def installation_repos(self, installation: InstallationId) -> list[RepoView]:
        """The repositories the credential reaches."""
        client = self._client(installation)
        path, under = ("/installation/repositories", "repositories") if self._clients.is_app else ("/user/repos", None)
        first = await client.request(call("GET", path, query={"per_page": PAGE}))
        found = []
        for raw in await collect(client, first, path, under):
            shape = read(RepoShape, raw, f"GET {path}")
            key = RepoKey(installation, RepoId(shape.id))
            self._names.learn(key, shape.full_name)
            found.append(await self._view(key, shape))
        return found

    async def app_owner(self) -> int:
        """The account id of the App's owner (of the person, with a personal token)."""
        return (await self._about_us())[1].id

    async def bot_user(self, installation: InstallationId) -> Person:
        """The account our writes appear under. The same for every installation of an App."""
        del installation
        return (await self._about_us())[0]

    async def deliveries(self, after: int, since: datetime) -> list[Delivery]:
        """The attempts to deliver webhooks to us with a larger id than `after` and not older than `since`, newest
        first."""
        if not self._clients.is_app:
            return []
        client, path = self._clients.app(), "/app/hook/deliveries"
        label = f"GET {path}"
        answer = await client.request(call("GET", path, query={"per_page": PAGE}))
        found: list[Delivery] = []
        for _ in range(MAX_PAGES):
            for raw in entries(answer, label, None):
                shape = read(DeliveryShape, raw, label)
                if shape.id <= after or shape.delivered_at < since:
                    return found
                # Time-outs come with other words and codes than 4xx and 5xx, so anything but a 2xx has failed.
                found.append(Delivery(shape.id, shape.guid, shape.delivered_at, 200 <= shape.status_code < 300))
            if answer.next is None:
                break
            answer = await client.follow_next(call("GET", path), answer.next)
        return found

    async def redeliver(self, delivery: int) -> None:
        """Asks GitHub to send a delivery again, under its old GUID."""
        path = "/app/hook/deliveries/{delivery_id}/attempts"
        await self._clients.app().request(call("POST", path, {"delivery_id": delivery}, lane=Lane.RELEASE))

    async def permissions(self, installation: InstallationId, *, renew: bool = False) -> Mapping[str, str]:
        """What the everyday token may do; empty for a person's token, which GitHub does not describe."""
        return await self._clients.auth.permissions(installation, renew=renew)

    async def mint_write_token(self, key: RepoKey) -> tuple[Secret, datetime]:
        """A token for `contents: write` of this one repository, never cached, with its end of life."""
        return await self._clients.auth.publish_token(key.installation, key.repo)

    async def revoke(self, token: Secret) -> None:
        """Ends a token now. A token that is dead already is fine."""
        client = self._clients.holding(SecretStr(token.get_secret_value()))
        try:
            await client.request(call("DELETE", "/installation/token", lane=Lane.RELEASE))
        except Unauthorized:
            return

    def usage(self) -> Mapping[InstallationId | None, GithubUsage]:
        """Requests, writes, content and 304s per installation since the start."""
        return self._clients.usage()

    async def _about_us(self) -> tuple[Person, Person]:
        """(the account we write as, the owner), kept for IDENTITY_TTL."""
        us, owner = self._identity.get("us"), self._identity.get("owner")
        if us is None or owner is None:
            us, owner = await (self._app_identity() if self._clients.is_app else self._own_identity())
            self._identity["us"], self._identity["owner"] = us, owner
        return us, owner

    async def _app_identity(self) -> tuple[Person, Person]:
        client, path = self._clients.app(), "/users/{username}"
        app = read(AppShape, (await client.request(call("GET", "/app"))).data, "GET /app")
        answer = await client.request(call("GET", path, {"username": f"{app.slug}[bot]"}))
        user = read(UserShape, answer.data, f"GET {path}")
        return Person(user.id, user.login, is_bot=True), person(app.owner)

    async def _own_identity(self) -> tuple[Person, Person]:
        # Any installation gives the one client of the person's token.
        client = self._client(InstallationId(0))
        us = person(read(UserShape, (await client.request(call("GET", "/user"))).data, "GET /user"))
        return us, us
