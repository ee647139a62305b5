"""`/api/v1/workers`: pull workers register, give signs of life, and drain.

Who may call: a worker token for its own workers; a person who can read a repository sees the workers that serve it,
and who administers it can drain them. A person names the repository by `repo`, because a worker may serve several.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from aiohttp import web

from bot.domain.model import InstallationId, Person, Role
from bot.domain.sanitise import for_inline, redact
from bot.domain.workers import WorkerStatus
from bot.web.api.bodies import answer, body_of, query_of
from bot.web.api.callers import Callers
from bot.web.api.described import Caller, Example, Row
from bot.web.api.problems import ApiProblem, Code
from bot.web.api.queue import LONGEST_WAIT
from bot.worker_service import Seen, WorkerService

WORKERS = "/api/v1/workers"

Label = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]


class RegisterBody(msgspec.Struct, forbid_unknown_fields=True):
    """`slots`: attempts at once. `local_path` is where it keeps its clones, for the people who run it."""

    name: Label
    capabilities: Annotated[tuple[Label, ...], msgspec.Meta(max_length=50)] = ()
    slots: Annotated[int, msgspec.Meta(ge=1, le=100)] = 1
    local_path: Annotated[str, msgspec.Meta(max_length=500)] | None = None


class WorkingOn(msgspec.Struct, forbid_unknown_fields=True):
    attempt: str
    fence: int


class WorkerBeatBody(msgspec.Struct, forbid_unknown_fields=True):
    """`attempts`: what it works on; their leases are extended. `last_error`: why it cannot work now."""

    attempts: Annotated[tuple[WorkingOn, ...], msgspec.Meta(max_length=100)] = ()
    last_error: Annotated[str, msgspec.Meta(max_length=1000)] | None = None


class WorkersQuery(msgspec.Struct):
    """`repo` (owner/name) is needed with a person's token."""

    repo: str | None = None


class WorkerView(msgspec.Struct):
    """`status` is derived: idle, busy, waiting (for an answer), error, offline (three missed signs of life)."""

    id: str
    name: str
    status: WorkerStatus
    capabilities: list[str]
    slots: int
    local_path: str | None
    attempts: list[str]
    last_error: str | None
    draining: bool
    created_at: datetime
    last_heartbeat_at: datetime
    updated_at: datetime


class WorkerLimits(msgspec.Struct):
    """What a worker must keep to. Times in seconds."""

    max_claims: int
    heartbeat_seconds: float
    lease_seconds: float
    longest_wait: int


class Registered(msgspec.Struct):
    id: str
    worker: WorkerView
    limits: WorkerLimits


class WorkerList(msgspec.Struct):
    workers: list[WorkerView]


class AttemptWord(msgspec.Struct):
    """`lost`: stop, it is not yours any more. `cancel`: a person wants it stopped. `drain`: take nothing after it."""

    attempt: str
    fence: int
    lost: bool
    lease_until: datetime | None
    cancel: bool
    steer: list[str]
    drain: bool


class WorkerHeard(msgspec.Struct):
    worker: WorkerView
    drain: bool
    attempts: list[AttemptWord]


class WorkersApi:
    """The routes of workers."""

    def __init__(self, callers: Callers, workers: WorkerService) -> None:
        self._callers = callers
        self._workers = workers

    def routes(self) -> list[web.RouteDef]:
        one = f"{WORKERS}/{{id}}"
        return [
            web.post(WORKERS, self.register),
            web.get(WORKERS, self.list_),
            web.get(one, self.get),
            web.delete(one, self.drain),
            web.post(f"{one}/heartbeat", self.heartbeat),
        ]

    async def register(self, request: web.Request) -> web.Response:
        token = await self._callers.worker(request)
        body = await body_of(request, RegisterBody)
        seen = await self._workers.register(
            token, for_inline(body.name), body.capabilities, body.slots, body.local_path
        )
        limits = WorkerLimits(
            token.max_claims,
            self._workers.heartbeat.total_seconds(),
            self._workers.lease.total_seconds(),
            LONGEST_WAIT,
        )
        return answer(Registered(seen.worker.id, _view(seen), limits), 201)

    async def list_(self, request: web.Request) -> web.Response:
        return answer(WorkerList([_view(seen) for seen in (await self._of(request, Role.READ))[1]]))

    async def get(self, request: web.Request) -> web.Response:
        return answer(_view((await self._one(request, Role.READ))[1]))

    async def drain(self, request: web.Request) -> web.Response:
        installation, seen = await self._one(request, Role.ADMIN)
        after = await self._workers.drain(installation, seen.worker.id)
        if after is None:
            raise ApiProblem(Code.NOT_FOUND, "There is no such worker.")
        return answer(_view(after))

    async def heartbeat(self, request: web.Request) -> web.Response:
        token = await self._callers.worker(request)
        body = await body_of(request, WorkerBeatBody)
        error = redact(for_inline(body.last_error, 500)) if body.last_error else None
        working = [(one.attempt, one.fence) for one in body.attempts]
        seen, words = await self._workers.hear(token, request.match_info["id"], working, error)
        return answer(
            WorkerHeard(
                _view(seen),
                seen.worker.draining_since is not None,
                [
                    AttemptWord(w.attempt, w.fence, w.lost, w.lease_until, w.cancel, list(w.steer), w.drain)
                    for w in words
                ],
            )
        )

    async def _of(self, request: web.Request, least: Role) -> tuple[InstallationId, list[Seen]]:
        """The workers that the caller may see; of a person, in the repository where they have at least this role."""
        caller = await self._callers.person_or_worker(request)
        repo_name = query_of(request, WorkersQuery).repo
        if not isinstance(caller, Person):
            return caller.installation, await self._workers.of_token(caller)
        if repo_name is None:
            raise ApiProblem(Code.INVALID, "Say by `?repo=owner/name` whose workers you mean.")
        repo = await self._callers.repo_for(caller, repo_name, least)
        return repo.key.installation, await self._workers.of_repo(repo)

    async def _one(self, request: web.Request, least: Role) -> tuple[InstallationId, Seen]:
        installation, found = await self._of(request, least)
        for seen in found:
            if seen.worker.id == request.match_info["id"]:
                return installation, seen
        raise ApiProblem(Code.NOT_FOUND, "There is no such worker.")


def _view(seen: Seen) -> WorkerView:
    worker = seen.worker
    return WorkerView(
        id=worker.id,
        name=worker.name,
        status=seen.status,
        capabilities=list(worker.capabilities),
        slots=worker.slots,
        local_path=worker.local_path,
        attempts=[str(attempt.id) for attempt in seen.attempts],
        last_error=worker.last_error,
        draining=worker.draining_since is not None,
        created_at=worker.created_at,
        last_heartbeat_at=worker.last_heartbeat_at,
        updated_at=worker.last_heartbeat_at,
    )


_OF_REPO = Example(query={"repo": "olga/greeter"})

DESCRIBED = (
    Row(
        "POST",
        WORKERS,
        (Caller.WORKER,),
        "Register a worker under its token; the answer has its id and what it must keep to.",
        answers={201: Registered},
        body=RegisterBody,
        example=Example(body={"name": "build box", "capabilities": ["docker"], "slots": 2}, status=201),
    ),
    Row(
        "GET",
        WORKERS,
        (Caller.PERSON, Caller.WORKER),
        "The workers that serve a repository, or those of the calling token, and what they are doing.",
        answers={200: WorkerList},
        query=WorkersQuery,
        example=_OF_REPO,
    ),
    Row(
        "GET",
        f"{WORKERS}/{{id}}",
        (Caller.PERSON, Caller.WORKER),
        "One worker.",
        answers={200: WorkerView},
        query=WorkersQuery,
        problems=(Code.NOT_FOUND,),
        example=_OF_REPO,
    ),
    Row(
        "DELETE",
        f"{WORKERS}/{{id}}",
        (Caller.PERSON, Caller.WORKER),
        "Drain a worker: it gets nothing new, and is forgotten when its last attempt has ended.",
        answers={200: WorkerView},
        query=WorkersQuery,
        role="admin",
        problems=(Code.NOT_FOUND,),
        example=_OF_REPO,
    ),
    Row(
        "POST",
        f"{WORKERS}/{{id}}/heartbeat",
        (Caller.WORKER,),
        "A sign of life, every 60 seconds. It extends the leases of the attempts that it names, and says for each "
        "whether to stop.",
        answers={200: WorkerHeard},
        body=WorkerBeatBody,
        problems=(Code.LOST_CLAIM,),
        example=Example(body={"attempts": [{"attempt": "a000001", "fence": 1}]}),
    ),
)
