"""What happened, as pages and live: the append-only history of a repository, each line with an id that grows.

Who may call: people who can read the repository, and worker tokens that open it. A stream ends when that is no longer
so. Whoever was cut off goes on after the last id it saw (`Last-Event-ID`, or `?after=`) and misses nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, TypedDict

import msgspec
from aiohttp import web

from bot.domain.model import IssueKey, Person, RepoKey
from bot.domain.permissions import Capability
from bot.domain.sanitise import redact
from bot.domain.workers import WorkerToken
from bot.protocols.ledger import Recorded, Store
from bot.web.api.bodies import answer, query_of
from bot.web.api.callers import Callers, name_in
from bot.web.api.described import REPO, Caller, Example, Header, Row
from bot.web.api.problems import ApiProblem, Code
from bot.web.api.wires import check_origin, check_upgrade, server_sent, socket
from bot.web.live import Connection, ConnectionManager, Found

MAX_REPOS = 20
"""Repositories of one stream; the role in each is asked every minute."""

Id = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Number = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1, description="Only of this item.")]


class Event(TypedDict):
    """One line of history. `number` is null for what concerns the whole repository."""

    id: int
    at: datetime
    repository: str
    number: int | None
    kind: str
    actor: str
    cause: str
    from_state: str | None
    to_state: str | None
    attempt: str | None
    fence: int | None
    policy_hash: str
    detail: dict[str, str]


class Events(TypedDict):
    """A page. `next` is what to pass as `after` for the next one; `more`: there is something already."""

    events: list[Event]
    next: int
    more: bool


class EventEnvelope(TypedDict, total=False):
    """A message of the WebSocket: `hello` with `after`, then `event` with the line of history."""

    type: str
    after: int
    event: Event


class PageQuery(msgspec.Struct):
    after: Annotated[Id, msgspec.Meta(description="The last id that is known already.")] = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = 100
    number: Number | None = None


class LiveQuery(msgspec.Struct):
    """`repo` may be repeated. A worker token that names none follows everything it opens."""

    repo: Annotated[list[str], msgspec.Meta(max_length=MAX_REPOS, description="owner/name; may be repeated.")] = []
    number: Number | None = None
    after: Annotated[Id, msgspec.Meta(description="Go on after this id; without it only what is new comes.")] | None = (
        None
    )


class Scopes:
    """What a caller follows: the repositories that they named, or that their token opens."""

    def __init__(self, callers: Callers, store: Store) -> None:
        self._callers = callers
        self._store = store

    async def open(self, request: web.Request, names: Sequence[str]) -> tuple[str, Mapping[RepoKey, str]]:
        """(who, repositories with their names). Raises ApiProblem or Refused."""
        caller = await self._callers.person_or_worker(request)
        if isinstance(caller, WorkerToken):
            return f"worker:{caller.id}", await self._of_worker(caller, names)
        if not names:
            raise ApiProblem(Code.INVALID, "Name the repositories to follow: `?repo=owner/name`.")
        return f"person:{caller.id}", await self._named(caller, names)

    async def _named(self, caller: Person | WorkerToken, names: Sequence[str]) -> Mapping[RepoKey, str]:
        found = {}
        for name in dict.fromkeys(names):
            repo = await self._callers.repo_open_to(caller, name, Capability.READ)
            found[repo.key] = repo.full_name
        return found

    async def _of_worker(self, token: WorkerToken, names: Sequence[str]) -> Mapping[RepoKey, str]:
        if names:
            return await self._named(token, names)
        repos = await self._store.read(lambda tx: tx.repos(token.installation))
        return {repo.key: repo.full_name for repo in repos if repo.active and token.opens(repo.key)}


class EventsApi:
    """The routes of history."""

    def __init__(self, callers: Callers, store: Store, hub: ConnectionManager, public_url: str) -> None:
        self._callers = callers
        self._scopes = Scopes(callers, store)
        self._store = store
        self._hub = hub
        self._public_url = public_url

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get(f"{REPO}/events", self.page),
            web.get("/api/v1/events", self.stream, allow_head=False),
            web.get("/api/v1/events/ws", self.socket, allow_head=False),
        ]

    async def page(self, request: web.Request) -> web.Response:
        caller = await self._callers.person_or_worker(request)
        repo = await self._callers.repo_open_to(caller, name_in(request), Capability.READ)
        query = query_of(request, PageQuery)
        rows = await self._store.read(
            lambda tx: tx.events_after([repo.key], query.after, query.limit + 1, query.number)
        )
        events = [event_of(row, repo.full_name) for row in rows[: query.limit]]
        last = events[-1]["id"] if events else query.after
        return answer(Events(events=events, next=last, more=len(rows) > query.limit))

    async def stream(self, request: web.Request) -> web.StreamResponse:
        connection, number, check = await self._connect(request)
        frames = self._hub.follow(connection, self._reader(number), check)
        return await server_sent(request, self._hub, connection, frames)

    async def socket(self, request: web.Request) -> web.StreamResponse:
        check_origin(request, self._public_url)
        connection, number, check = await self._connect(request, upgrade=True)
        read = self._reader(number)

        async def wrapped(repos: Mapping[RepoKey, str], after: int, limit: int) -> list[Found]:
            return [Found(f.id, EventEnvelope(type="event", event=f.data)) for f in await read(repos, after, limit)]

        frames = self._hub.follow(connection, wrapped, check)
        return await socket(request, self._hub, connection, frames)

    async def _connect(
        self, request: web.Request, *, upgrade: bool = False
    ) -> tuple[Connection, int | None, Callable[[], Awaitable[Mapping[RepoKey, str]]]]:
        # Who calls is asked first: a stranger learns nothing about parameters.
        await self._callers.person_or_worker(request)
        query = query_of(request, LiveQuery)
        who, repos = await self._scopes.open(request, query.repo)

        async def check() -> Mapping[RepoKey, str]:
            return (await self._scopes.open(request, query.repo))[1]

        if upgrade:
            check_upgrade(request)
        after = resumed(request, query.after)
        if after is None:
            after = await self._store.read(lambda tx: tx.last_event())
        return self._hub.connect(who, repos, after), query.number, check

    def _reader(self, number: int | None) -> Callable[[Mapping[RepoKey, str], int, int], Awaitable[list[Found]]]:
        async def read(repos: Mapping[RepoKey, str], after: int, limit: int) -> list[Found]:
            rows = await self._store.read(lambda tx: tx.events_after(list(repos), after, limit, number))
            return [
                Found(row.id, event_of(row, repos[RepoKey(row.line.key.installation, row.line.key.repo)]))
                for row in rows
            ]

        return read


def resumed(request: web.Request, after: int | None) -> int | None:
    """Where to go on. The header is newer than the address: a browser sends it when it reconnects by itself."""
    last = request.headers.get("Last-Event-ID", "")
    if not last:
        return after
    if not last.isdecimal() or len(last) > 16:
        raise ApiProblem(Code.INVALID, "`Last-Event-ID` is the id of an event: a number.")
    return int(last)


def event_of(row: Recorded, repository: str) -> Event:
    """The line as it is told. Words that came from outside are cleaned of secrets once more."""
    line = row.line
    return Event(
        id=row.id,
        at=line.at,
        repository=repository,
        number=line.key.number if isinstance(line.key, IssueKey) else None,
        kind=line.kind,
        actor=line.actor,
        cause=redact(line.cause),
        from_state=line.from_state,
        to_state=line.to_state,
        attempt=line.attempt,
        fence=line.fence,
        policy_hash=line.policy_hash,
        detail={name: redact(value) for name, value in (line.detail or {}).items()},
    )


_LIVE = (
    " Resume with `Last-Event-ID` or `?after=`; without them only what is new comes. A person names the repositories "
    "with `?repo=`."
)

DESCRIBED = (
    Row(
        "GET",
        f"{REPO}/events",
        (Caller.PERSON, Caller.WORKER),
        "What happened in the repository, oldest first, in pages.",
        {200: Events},
        query=PageQuery,
        example=Example(query={"after": "0", "limit": "5"}),
    ),
    Row(
        "GET",
        "/api/v1/events",
        (Caller.PERSON, Caller.WORKER),
        "What happens, live, as server-sent events." + _LIVE,
        {200: Event},
        query=LiveQuery,
        problems=(Code.TOO_MANY, Code.LIMITED),
        example=Example(query={"repo": "olga/greeter", "after": "0"}),
        wire="sse",
        headers=(Header.LAST_EVENT_ID,),
    ),
    Row(
        "GET",
        "/api/v1/events/ws",
        (Caller.PERSON, Caller.WORKER),
        "What happens, live, as messages of a WebSocket." + _LIVE,
        {101: EventEnvelope},
        query=LiveQuery,
        problems=(Code.TOO_MANY, Code.LIMITED),
        example=Example(query={"repo": "olga/greeter", "after": "0"}),
        wire="websocket",
        headers=(Header.LAST_EVENT_ID,),
    ),
)
