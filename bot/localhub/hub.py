"""The world of a local GitHub: its records, its clock, its services and its server.

Promise: `async with Hub(root=path) as hub:` serves on loopback until the block ends; everything is
changed through methods of the hub and its services or through the HTTP interface, in both cases
with the webhooks the real service would send. Records change between two awaits only, never
across one, so that concurrent requests see whole changes.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from bot.localhub import present
from bot.localhub.actor import Actor
from bot.localhub.faults import Faults
from bot.localhub.hooks import Hooks
from bot.localhub.limits import Limits
from bot.localhub.model import (
    Account,
    App,
    Delivery,
    Installation,
    Json,
    Repository,
    Role,
)
from bot.localhub.registry import Registry, utc_now
from bot.localhub.reqlog import RequestLog
from bot.localhub.tokens import Tokens

if TYPE_CHECKING:
    from bot.localhub.actions import Actions
    from bot.localhub.artifacts import Downloads
    from bot.localhub.checks import Checks
    from bot.localhub.comments import Comments
    from bot.localhub.git_host import GitHost
    from bot.localhub.issues import Issues
    from bot.localhub.labels import Labels
    from bot.localhub.oidc import Oidc
    from bot.localhub.pulls import Pulls
    from bot.localhub.rules import BranchRules
    from bot.localhub.server import Server

SETTLE_TIMEOUT = 60.0
"""Seconds after which `settle` says what still runs instead of waiting for ever."""


class Hub(Registry):
    """A local GitHub."""

    git: GitHost
    pulls: Pulls
    actions: Actions
    downloads: Downloads
    oidc: Oidc
    rules: BranchRules
    checks: Checks
    issues: Issues
    labels: Labels
    comments: Comments

    def __init__(self, *, root: Path, clock: Callable[[], datetime] = utc_now, seed: int = 0) -> None:
        """An empty world below `root`; `clock` returns aware times, `seed` drives the faults."""
        super().__init__(root=root, clock=clock, seed=seed)
        # A stream each, so that the number of requests does not change which webhook is lost.
        self.hook_rng, self.fault_rng = (
            random.Random(f"{seed}/{use}")  # noqa: S311 - repeatable faults, nothing secret
            for use in ("hooks", "faults")
        )
        self.correlation_header = "X-Correlation-Id"
        """The request header that the log keeps."""
        self.log = RequestLog()
        self.faults = Faults(self.fault_rng)
        self.limits = Limits(self.now)
        self.tokens = Tokens(self)
        self.hooks = Hooks(self)
        self.stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures: list[BaseException] = []
        self._server: Server | None = None
        self._base_url: str | None = None
        from bot.localhub.features import attach

        attach(self)

    # Serving

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen. Raises ValueError for a host that is not loopback, OSError if the port is taken."""
        from bot.localhub.server import Server

        self._server = Server(self)
        self._base_url = await self._server.start(host, port)

    async def stop(self) -> None:
        """Stop listening, end background work. May be called twice."""
        self.stopping.set()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.hooks.close()
        if self._server is not None:
            await self._server.stop()
            self._server = None

    async def __aenter__(self) -> Self:
        """Start on a free port."""
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        await self.stop()

    @property
    def base_url(self) -> str:
        """`http://127.0.0.1:port`. Raises RuntimeError before `start`."""
        if self._base_url is None:
            raise RuntimeError("the hub has no address yet: call start() before setting it up")
        return self._base_url

    @property
    def api_url(self) -> str:
        """Root of the REST API."""
        return f"{self.base_url}/api/v3"

    @property
    def graphql_url(self) -> str:
        """The GraphQL endpoint."""
        return f"{self.base_url}/api/graphql"

    @property
    def html_url(self) -> str:
        """Root of pages and of git over HTTP (`{html_url}/{owner}/{repo}.git`)."""
        return self.base_url

    @property
    def oidc_issuer(self) -> str:
        """The `iss` of the tokens that Actions jobs ask for."""
        return f"{self.base_url}/_oidc"

    # Background work

    def spawn(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        """Run in the background; `settle` waits for it and reports its failure."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.report(error)

    def report(self, error: BaseException) -> None:
        """Note a defect of the hub itself; the next `settle` raises it, so no test misses it."""
        self._failures.append(error)

    async def settle(self, timeout: float = SETTLE_TIMEOUT) -> None:
        """Wait until every delivery is sent and all background work is done.

        Held deliveries are left held. Raises TimeoutError naming what still runs, and the first
        failure of background work.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while True:
            tasks = set(self._tasks)
            if tasks:
                _, pending = await asyncio.wait(tasks, timeout=max(0.0, deadline - loop.time()))
                if pending:
                    names = ", ".join(sorted(x.get_name() for x in pending))
                    raise TimeoutError(f"the hub is still busy after {timeout} s: {names}")
            elif not self.hooks.flush_delayed():
                break
        if self._failures:
            raise self._failures.pop(0)

    # Webhooks

    def emit(
        self,
        event: str,
        action: str | None,
        repo: Repository | None,
        sender: Account,
        payload: Json,
        *,
        app: App | None = None,
    ) -> list[Delivery]:
        """Send a webhook to everybody who subscribed; adds repository, sender, installation.

        With `app` only that App gets it (its own check suites, installation events).
        """
        return self.hooks.queue(event, action, repo, sender, payload, app=app)

    def ping(self, app: App) -> list[Delivery]:
        """The greeting a webhook gets when it is set up."""
        if app.hook is None:
            return []
        at = present.time(self.now())
        config: Json = {"content_type": "json", "insecure_ssl": "0", "url": app.hook.url}
        hook: Json = {
            "type": "App",
            "id": app.hook.id,
            "name": "web",
            "active": app.hook.active,
            "events": list(app.events),
            "config": config,
            "updated_at": at,
            "created_at": at,
            "app_id": app.id,
        }
        payload: Json = {"zen": "Keep it logically awesome.", "hook_id": app.hook.id, "hook": hook}
        return self.emit("ping", None, None, app.owner, payload, app=app)

    # Setting up

    def as_app(self, item: Installation) -> Actor:
        """An installation as the actor of direct calls, with all it may do."""
        return self.tokens.for_installation(item, item.repository_ids, item.permissions).actor

    def user_token(self, login: str) -> str:
        """A personal token of an account. Raises ValueError for an unknown login."""
        return self.tokens.for_user(self._person(login))

    def install(
        self,
        app: App,
        account: Account,
        repos: Iterable[Repository] = (),
        *,
        by: Account | None = None,
    ) -> Installation:
        """Install an App for some repositories of an account and send `installation.created`."""
        repos = list(repos)
        number, now = self.new_id(), self.now()
        item = Installation(
            id=number,
            node_id=self.node_id("MDIz", number),
            app=app,
            account=account,
            repository_ids={x.id for x in repos},
            permissions=dict(app.permissions),
            events=list(app.events),
            created_at=now,
            updated_at=now,
        )
        self.installations[number] = item
        self._emit_installation(item, "created", by, repos)
        return item

    def uninstall(self, item: Installation, *, by: Account | None = None) -> None:
        """Remove an installation: its tokens end, `installation.deleted` is sent."""
        repos = [self.repositories[x] for x in sorted(item.repository_ids)]
        self._emit_installation(item, "deleted", by, repos)
        del self.installations[item.id]

    def suspend(self, item: Installation, *, by: Account | None = None) -> None:
        """Suspend: every token answers 403, subscribed events stop."""
        item.suspended_at, item.suspended_by = self.now(), by or item.account
        self._emit_installation(item, "suspend", by)

    def unsuspend(self, item: Installation, *, by: Account | None = None) -> None:
        """Undo `suspend`."""
        item.suspended_at = item.suspended_by = None
        self._emit_installation(item, "unsuspend", by)

    def change_repositories(
        self,
        item: Installation,
        *,
        add: Iterable[Repository] = (),
        remove: Iterable[Repository] = (),
        by: Account | None = None,
    ) -> None:
        """Change which repositories an installation covers, with its webhooks."""
        for action, repos in (("added", list(add)), ("removed", list(remove))):
            if not repos:
                continue
            ids = {x.id for x in repos}
            item.repository_ids = item.repository_ids | ids if action == "added" else item.repository_ids - ids
            payload: Json = {
                "installation": present.installation(self, item),
                "repository_selection": "selected",
                "repositories_added": [],
                "repositories_removed": [],
                "requester": None,
            }
            payload[f"repositories_{action}"] = present.short_repositories(repos)
            sender = by or item.account
            self.emit("installation_repositories", action, None, sender, payload, app=item.app)

    def change_permissions(
        self,
        item: Installation,
        permissions: Mapping[str, str],
        events: Iterable[str],
        *,
        by: Account | None = None,
    ) -> None:
        """Accept other permissions; tokens issued before keep what they had."""
        item.permissions = dict(permissions) | {"metadata": "read"}
        item.events, item.updated_at = list(events), self.now()
        self._emit_installation(item, "new_permissions_accepted", by)

    def _emit_installation(
        self,
        item: Installation,
        action: str,
        by: Account | None,
        repos: Iterable[Repository] | None = None,
    ) -> None:
        payload: Json = {"installation": present.installation(self, item)}
        if repos is not None:
            payload |= {"repositories": present.short_repositories(repos), "requester": None}
        self.emit("installation", action, None, by or item.account, payload, app=item.app)

    def create_repo(
        self,
        owner: Account,
        name: str,
        *,
        private: bool = False,
        files: Mapping[str, str | bytes] | None = None,
        default_branch: str = "main",
        roles: Mapping[str, Role] | None = None,
    ) -> Repository:
        """A repository; with `files` it has one commit. Roles are by login."""
        if self.find_repository(f"{owner.login}/{name}") is not None:
            raise ValueError(f"{owner.login}/{name} exists")
        number, now = self.new_id(), self.now()
        repo = Repository(
            id=number,
            node_id=self.node_id("R", number),
            owner=owner,
            name=name,
            private=private,
            default_branch=default_branch,
            git_dir=self.root / "git" / f"{number}.git",
            created_at=now,
            updated_at=now,
            pushed_at=now,
        )
        for login, role in (roles or {}).items():
            repo.collaborators[self._person(login).id] = role
        self.repositories[number] = self.nodes[repo.node_id] = repo
        repo.git_dir.parent.mkdir(parents=True, exist_ok=True)
        self.git.init(repo, files or {})
        return repo

    def set_role(self, repo: Repository, login: str, role: Role) -> None:
        """Give a person a role on a repository; NONE takes it away."""
        person = self._person(login)
        if role is Role.NONE:
            repo.collaborators.pop(person.id, None)
        else:
            repo.collaborators[person.id] = role

    def rename_repo(self, repo: Repository, name: str, *, by: Account | None = None) -> None:
        """Rename; the old name answers 301 until it is used again."""
        former = repo.name
        self.renamed[repo.full_name.lower()] = repo.id
        repo.name, repo.updated_at = name, self.now()
        changes: Json = {"changes": {"repository": {"name": {"from": former}}}}
        self.emit("repository", "renamed", repo, by or repo.owner, changes)

    def set_archived(self, repo: Repository, archived: bool, *, by: Account | None = None) -> None:
        """Archive or unarchive, with its webhook."""
        repo.archived, repo.updated_at = archived, self.now()
        action = "archived" if archived else "unarchived"
        self.emit("repository", action, repo, by or repo.owner, {})
