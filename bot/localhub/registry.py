"""The records of a hub and how they come into being: accounts, Apps, ids, time.

Promise: logins are unique without regard to case; ids come from one counter, so that no two kinds
share a number by accident and tests may rely on their order; every secret is new per run, and so is
every key that is not given.
"""

from __future__ import annotations

import base64
import random
import secrets
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bot.localhub.actor import Actor, ActorKind
from bot.localhub.hooks import EVENT_PERMISSIONS
from bot.localhub.model import Account, AccountType, App, Hook, Installation, Repository, Role

FIRST_ID = 1001
"""Ids of all records come from one counter, so that no two kinds share a number by accident."""


def fresh_key() -> rsa.RSAPrivateKey:
    """A key as GitHub makes them for Apps."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def utc_now() -> datetime:
    """The default clock."""
    return datetime.now(UTC)


class Registry:
    """What exists in a world, without its traffic."""

    def __init__(self, *, root: Path, clock: Callable[[], datetime], seed: int) -> None:
        """Only GitHub itself and its Actions App exist."""
        self.root = root
        self.clock = clock
        self.accounts: dict[int, Account] = {}
        self.apps: dict[int, App] = {}
        self.installations: dict[int, Installation] = {}
        self.repositories: dict[int, Repository] = {}
        self.renamed: dict[str, int] = {}
        """Former lower-cased `owner/name` to repository id."""
        self.nodes: dict[str, object] = {}
        """Node id to record, for GraphQL."""
        self._guids = random.Random(f"{seed}/guids")  # noqa: S311 - repeatable, nothing secret
        self._next_id = FIRST_ID
        self.actions_app = self._builtin_app("github-actions")

    def now(self) -> datetime:
        """The hub's time, in UTC."""
        return self.clock().astimezone(UTC)

    def new_id(self) -> int:
        """The next number; larger than every one before."""
        self._next_id += 1
        return self._next_id

    def new_guid(self) -> str:
        """A GUID from the seeded random numbers."""
        return str(uuid.UUID(int=self._guids.getrandbits(128), version=4))

    def node_id(self, prefix: str, number: int) -> str:
        """An opaque node id such as `I_kwMTAwMg`."""
        text = base64.urlsafe_b64encode(f"{prefix}:{number}".encode()).decode().rstrip("=")
        return f"{prefix}_kw{text}"

    # Look-ups

    def find_account(self, login: str) -> Account | None:
        """By login, without case."""
        return next((x for x in self.accounts.values() if x.login.lower() == login.lower()), None)

    def find_repository(self, full_name: str) -> Repository | None:
        """By present `owner/name`, without case."""
        wanted = full_name.lower()
        found = (x for x in self.repositories.values() if x.full_name.lower() == wanted)
        return next(found, None)

    def find_installation(
        self, app: App, repo: Repository | None, account: Account | None = None
    ) -> Installation | None:
        """The installation of an App that covers a repository (or, without one, an account)."""
        for item in self.installations.values():
            if item.app is app and (repo.id in item.repository_ids if repo is not None else item.account is account):
                return item
        return None

    # Accounts and Apps

    def create_user(self, login: str, name: str | None = None) -> Account:
        """A person. Raises ValueError if the login is taken."""
        return self._account(login, AccountType.USER, name)

    def create_org(self, login: str, members: Mapping[str, Role] | None = None) -> Account:
        """An organization; members by login with their role on all its repositories."""
        org = self._account(login, AccountType.ORGANIZATION, None)
        for member, role in (members or {}).items():
            org.members[self._person(member).id] = role
        return org

    def _account(self, login: str, kind: AccountType, name: str | None) -> Account:
        if self.find_account(login) is not None:
            raise ValueError(f"the login {login!r} is taken")
        number = self.new_id()
        prefix = {AccountType.USER: "U", AccountType.ORGANIZATION: "O", AccountType.BOT: "BOT"}
        account = Account(number, self.node_id(prefix[kind], number), login, kind, self.now(), name)
        self.accounts[number] = self.nodes[account.node_id] = account
        return account

    def _person(self, login: str) -> Account:
        found = self.find_account(login)
        if found is None:
            raise ValueError(f"no account {login!r}: create it first")
        return found

    def as_user(self, login: str) -> Actor:
        """A person as the actor of direct calls such as `hub.issues.open(..., actor=...)`."""
        return Actor(ActorKind.USER, self._person(login))

    def create_app(
        self,
        owner: Account,
        slug: str,
        permissions: Mapping[str, str],
        events: Iterable[str],
        webhook_url: str | None = None,
        webhook_secret: str = "",
        key: rsa.RSAPrivateKey | None = None,
    ) -> App:
        """A GitHub App, with a fresh key unless one is given. Raises ValueError for events its permissions exclude."""
        events = list(events)
        for event in events:
            needed = EVENT_PERMISSIONS.get(event, ())
            if needed and not any(x in permissions for x in needed):
                raise ValueError(f"event {event!r} needs the permission {' or '.join(needed)}")
        key = key or fresh_key()
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        ).decode()
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        app = self._app(owner, slug, dict(permissions) | {"metadata": "read"}, events)
        app.private_key_pem, app.public_key_pem = pem, public.decode()
        app.client_secret = secrets.token_hex(20)
        if webhook_url is not None:
            app.hook = Hook(self.new_id(), webhook_url, webhook_secret, events, app.id, "integration")
        self.apps[app.id] = app
        return app

    def _app(self, owner: Account, slug: str, permissions: dict[str, str], events: list[str]) -> App:
        number = self.new_id()
        return App(
            id=number,
            node_id=self.node_id("A", number),
            client_id=f"Iv23li{number:014d}",
            slug=slug,
            name=slug,
            owner=owner,
            bot=self._account(f"{slug}[bot]", AccountType.BOT, None),
            private_key_pem="",
            public_key_pem="",
            permissions=permissions,
            events=events,
            hook=None,
            created_at=self.now(),
        )

    def _builtin_app(self, slug: str) -> App:
        return self._app(self._account("github", AccountType.ORGANIZATION, None), slug, {}, [])
