"""What every part of the gateway shares: names of repositories, sending, paging, reading.

Promises: a repository is addressed by name, as the API documents it, but only by a name that GitHub confirmed for
its id within NAME_TRUST; a rename is followed, and an answer from another repository is never taken for ours. Lists
are complete or an error: a cut list would look like things that are gone.

Race: a repository renamed and another one created under the old name within NAME_TRUST would be addressed until the
trust ends; answers that carry a repository id are checked on top.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar
from urllib.parse import urlsplit

from cachetools import TTLCache

from bot.domain.model import InstallationId, RepoId, RepoKey
from bot.errors import Invalid, NotFound, TooBig, TooLong, Unavailable
from bot.github.answers import Answer, read
from bot.github.calls import Call, call
from bot.github.client import GitHubClient
from bot.github.clients import Clients
from bot.github.limits import Lane
from bot.github.shapes import RepoShape
from bot.protocols.clock import Clock

NAME_TRUST = timedelta(minutes=10)
"""How long a confirmed name is used without asking again; asking is one conditional request, usually a free 304."""
MAX_NAMES = 10_000
"""Confirmed names kept; the rest are asked for again."""
PAGE = 100
"""Entries per page: GitHub's most, so that a list costs the fewest requests."""
SMALL_PAGE = 10
"""Entries per page where a page of them is too big to be read."""
MAX_PAGES = 100
"""Pages of one list: 10,000 entries, more than any backlog we serve; beyond it something is wrong."""

Shape = TypeVar("Shape")
Vars = Mapping[str, str | int | list[str]]

_BY_ID = re.compile(r"/repositories/(\d+)(?:/|$)")


class Names:
    """The confirmed name of each repository."""

    def __init__(self, look_up: Callable[[RepoKey], Awaitable[str]], clock: Clock) -> None:
        """`look_up` gives the name the ledger (or the person) knows; it may be out of date."""
        self._look_up = look_up
        self._confirmed: TTLCache[RepoKey, str] = TTLCache(
            MAX_NAMES, NAME_TRUST.total_seconds(), timer=lambda: clock.now().timestamp()
        )

    async def of(self, key: RepoKey, client: GitHubClient) -> str:
        """`owner/name`. Raises NotFound when the credential can't see a repository with this id."""
        name = self._confirmed.get(key)
        if name is None:
            shape = await fetch_repo(client, key.repo, await self._look_up(key))
            name = shape.full_name
            self.learn(key, name)
        return name

    def learn(self, key: RepoKey, full_name: str) -> None:
        """GitHub showed this id and name together."""
        self._confirmed[key] = full_name

    def forget(self, key: RepoKey) -> None:
        self._confirmed.pop(key, None)


async def fetch_repo(client: GitHubClient, repo: RepoId, name: str) -> RepoShape:
    """The repository with this id: under the name when that still holds, else by its id."""
    path = "/repos/{owner}/{repo}"
    try:
        owner, short = split_name(name)
        answer = await client.request(call("GET", path, {"owner": owner, "repo": short}))
        shape = read(RepoShape, answer.data, f"GET {path}")
        if shape.id == repo:
            return shape
    except (NotFound, Invalid):
        pass  # a name that is gone or was never one: the id decides
    path = "/repositories/{id}"
    shape = read(RepoShape, (await client.request(call("GET", path, {"id": repo}))).data, f"GET {path}")
    if shape.id != repo:
        raise NotFound("another repository answered", status=404, request=f"GET {path}")
    return shape


def split_name(full_name: str) -> tuple[str, str]:
    """`owner/name` in two. Raises Invalid for anything else."""
    owner, slash, name = full_name.partition("/")
    if not (owner and slash and name) or "/" in name:
        raise Invalid(f"{full_name!r} is not a repository name like owner/name")
    return owner, name


class GatewayBase:
    """Sending and paging; the verbs are in the subclasses."""

    def __init__(self, clients: Clients, names: Callable[[RepoKey], Awaitable[str]]) -> None:
        self._clients = clients
        self._names = Names(names, clients.clock)

    def _client(self, installation: InstallationId) -> GitHubClient:
        return self._clients.installation(installation)

    async def _name(self, key: RepoKey) -> tuple[str, str]:
        """(owner, name), confirmed."""
        return split_name(await self._names.of(key, self._client(key.installation)))

    async def _send(
        self,
        key: RepoKey,
        method: str,
        path: str,
        vars_: Vars | None = None,
        *,
        query: Mapping[str, str | int] | None = None,
        body: object = None,
        lane: Lane | None = None,
        content: bool = False,
        fresh: int = 0,
    ) -> Answer:
        """Sends to a path below the repository; follows a rename once (a redirected write was not made)."""
        wanted = call(
            method,
            "/repos/{owner}/{repo}" + path,
            vars_,
            query=query,
            body=body,
            lane=lane,
            content=content,
            fresh=fresh,
        )
        try:
            return await self._addressed(key, wanted)
        except NotFound as error:
            if error.status is None or not 300 <= error.status < 400:
                raise
            self._names.forget(key)
            return await self._addressed(key, wanted)

    async def _find(
        self,
        key: RepoKey,
        path: str,
        vars_: Vars | None = None,
        *,
        query: Mapping[str, str | int] | None = None,
        fresh: int = 0,
    ) -> Answer | None:
        """Reads what may be absent. None means that the repository is there and the thing is not: after a 404 the
        repository is confirmed (usually a free 304), because a lost repository must not look like an empty one."""
        before = await self._name(key)
        try:
            return await self._send(key, "GET", path, vars_, query=query, fresh=fresh)
        except NotFound:
            self._names.forget(key)
            if await self._name(key) == before:
                return None
        try:
            return await self._send(key, "GET", path, vars_, query=query)
        except NotFound:
            return None

    async def _addressed(self, key: RepoKey, wanted: Call) -> Answer:
        owner, repo = await self._name(key)
        placed = replace(wanted, vars={"owner": owner, "repo": repo, **wanted.vars})
        answer = await self._client(key.installation).request(placed)
        self._check_place(key, answer.url, wanted)
        return answer

    def _check_place(self, key: RepoKey, url: str, wanted: Call) -> None:
        """After a redirect: is this still our repository?"""
        found = _BY_ID.search(urlsplit(url).path)
        if found is None:
            return
        self._names.forget(key)
        if int(found[1]) != key.repo:
            raise NotFound("it has moved to another repository", status=404, request=wanted.label)

    def _check_repo(self, key: RepoKey, repo: int | None, request: str) -> None:
        """An id that came inside an answer must be ours. Raises NotFound and forgets the name otherwise."""
        if repo is not None and repo != key.repo:
            self._names.forget(key)
            raise NotFound("another repository answered under this name", status=404, request=request)

    async def _pages(
        self,
        key: RepoKey,
        path: str,
        vars_: Vars | None = None,
        *,
        query: Mapping[str, str | int] | None = None,
        under: str | None = None,
        most: int = MAX_PAGES,
    ) -> list[Any]:
        """All entries of a list; `under` names the member that holds them. Raises TooLong beyond `most` pages."""
        client, label = self._client(key.installation), f"/repos/{{owner}}/{{repo}}{path}"
        try:
            first = await self._send(key, "GET", path, vars_, query={**(query or {}), "per_page": PAGE})
            return await collect(client, first, label, under, most)
        except TooBig:
            # A hundred of the longest texts that people can write are more than we read at once.
            first = await self._send(key, "GET", path, vars_, query={**(query or {}), "per_page": SMALL_PAGE})
            return await collect(client, first, label, under, most * PAGE // SMALL_PAGE)

    @staticmethod
    def _read(shape: type[Shape], answer: Answer, path: str) -> Shape:
        return read(shape, answer.data, path)


async def collect(
    client: GitHubClient, first: Answer, path: str, under: str | None = None, most: int = MAX_PAGES
) -> list[Any]:
    """The entries of the first page and of all that follow, `next` links taken as they are."""
    found: list[Any] = []
    answer = first
    label = f"GET {path}"
    for _ in range(most):
        found.extend(entries(answer, label, under))
        if answer.next is None:
            return found
        answer = await client.follow_next(call("GET", path), answer.next)
    raise TooLong(f"the list has more than {most} pages", request=label)


def entries(answer: Answer, label: str, under: str | None) -> list[Any]:
    """The list inside an answer. Raises Unavailable when there is none."""
    data = answer.data
    if under is not None:
        data = data.get(under) if isinstance(data, dict) else None
    if not isinstance(data, list):
        raise Unavailable("the answer is not the list the API describes", status=answer.status, request=label)
    return data
