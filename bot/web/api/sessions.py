"""`/api/v1/sessions`: the conversations in which people and pull workers work.

Who may call: a person with the role that policy asks for starting work, for sessions of their own; a worker with a
token of ours, for its own; who can read the repository sees them, and who administers it can end them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from aiohttp import web

from bot.domain.model import Person, Role
from bot.domain.permissions import Capability
from bot.domain.repository import RepoRecord
from bot.domain.sessions import SessionStatus
from bot.domain.workers import WorkerToken
from bot.errors import Refused
from bot.pull_service import owner_of
from bot.session_service import SessionNow, SessionService
from bot.web.api.bodies import answer, body_of, query_of
from bot.web.api.callers import Callers
from bot.web.api.described import Caller, Example, Row
from bot.web.api.problems import ApiProblem, Code
from bot.web.api.queue import SessionId

SESSIONS = "/api/v1/sessions"


class SessionBody(msgspec.Struct, forbid_unknown_fields=True):
    """`session_id` is the agent's own id of the conversation."""

    repo: str
    session_id: SessionId
    worker_id: str | None = None


class SessionsQuery(msgspec.Struct):
    """`repo` is owner/name."""

    repo: Annotated[str, msgspec.Meta(min_length=1)]


class SessionView(msgspec.Struct):
    """`item` and `attempt` are the claim it made last; `draining`: it gets nothing new. `why` says why it ended."""

    id: str
    session_id: str
    owner: str
    worker: str | None
    item: int | None
    attempt: str | None
    status: SessionStatus
    draining: bool
    created_at: datetime
    last_activity_at: datetime
    terminated_at: datetime | None
    why: str | None


class SessionList(msgspec.Struct):
    """`mapping`: the open sessions by the agent's id, and the item each works on."""

    sessions: list[SessionView]
    mapping: dict[str, int]


class SessionsApi:
    """The routes of sessions."""

    def __init__(self, callers: Callers, sessions: SessionService) -> None:
        self._callers = callers
        self._sessions = sessions

    def routes(self) -> list[web.RouteDef]:
        one = f"{SESSIONS}/{{id}}"
        return [
            web.post(SESSIONS, self.create),
            web.get(SESSIONS, self.list_),
            web.get(one, self.get),
            web.delete(one, self.terminate),
            web.post(f"{one}/heartbeat", self.heartbeat),
        ]

    async def create(self, request: web.Request) -> web.Response:
        caller = await self._callers.person_or_worker(request)
        body = await body_of(request, SessionBody)
        repo = await self._callers.repo_open_to(caller, body.repo, Capability.START)
        return answer(_view(await self._sessions.create(repo, owner_of(caller), body.session_id, body.worker_id)), 201)

    async def list_(self, request: web.Request) -> web.Response:
        _, repo = await self._repo(request, Capability.READ)
        found = await self._sessions.list(repo)
        return answer(SessionList([_view(one) for one in found], await self._sessions.get_session_mapping(repo)))

    async def get(self, request: web.Request) -> web.Response:
        _, repo = await self._repo(request, Capability.READ)
        return answer(_view(await self._known(repo, request)))

    async def heartbeat(self, request: web.Request) -> web.Response:
        caller, repo = await self._repo(request, Capability.READ)
        return answer(_view(await self._sessions.update_activity(repo, owner_of(caller), request.match_info["id"])))

    async def terminate(self, request: web.Request) -> web.Response:
        caller, repo = await self._repo(request, Capability.READ)
        found = await self._known(repo, request)
        owner = owner_of(caller)
        if not found.session.owned_by(owner):
            if not isinstance(caller, Person):
                raise Refused("A worker token ends its own sessions only.")
            await self._callers.repo_for(caller, repo.full_name, Role.ADMIN)
        after = await self._sessions.terminate(repo, found.session.id, f"ended by {owner.split('/', 1)[-1]}")
        return answer(_view(after or found))

    async def _repo(self, request: web.Request, capability: Capability) -> tuple[Person | WorkerToken, RepoRecord]:
        caller = await self._callers.person_or_worker(request)
        return caller, await self._callers.repo_open_to(caller, query_of(request, SessionsQuery).repo, capability)

    async def _known(self, repo: RepoRecord, request: web.Request) -> SessionNow:
        for one in await self._sessions.list(repo):
            if one.session.id == request.match_info["id"]:
                return one
        raise ApiProblem(Code.NOT_FOUND, "There is no such session.")


def _view(now: SessionNow) -> SessionView:
    session = now.session
    return SessionView(
        id=session.id,
        session_id=session.session_id,
        owner=session.owner.split("/", 1)[-1],
        worker=session.worker,
        item=session.number,
        attempt=session.attempt,
        status=now.status,
        draining=now.draining,
        created_at=session.created_at,
        last_activity_at=session.last_activity_at,
        terminated_at=session.terminated_at,
        why=session.why,
    )


_BOTH = (Caller.PERSON, Caller.WORKER)
_OF_REPO = Example(query={"repo": "olga/greeter"})

DESCRIBED = (
    Row(
        "POST",
        SESSIONS,
        _BOTH,
        "Open a session; the same id again is the same session. A claim by a person opens one by itself.",
        answers={201: SessionView},
        body=SessionBody,
        role="start",
        example=Example(body={"repo": "olga/greeter", "session_id": "5f0c-1"}, status=201),
    ),
    Row(
        "GET",
        SESSIONS,
        _BOTH,
        "The sessions of a repository, and which item each open one works on.",
        answers={200: SessionList},
        query=SessionsQuery,
        example=_OF_REPO,
    ),
    Row(
        "GET",
        f"{SESSIONS}/{{id}}",
        _BOTH,
        "One session.",
        answers={200: SessionView},
        query=SessionsQuery,
        problems=(Code.NOT_FOUND,),
        example=_OF_REPO,
    ),
    Row(
        "DELETE",
        f"{SESSIONS}/{{id}}",
        _BOTH,
        "End a session, by its owner or an administrator; what its claim still wants is refused.",
        answers={200: SessionView},
        query=SessionsQuery,
        problems=(Code.NOT_FOUND,),
        example=_OF_REPO,
    ),
    Row(
        "POST",
        f"{SESSIONS}/{{id}}/heartbeat",
        _BOTH,
        "A sign of life of the caller's own session; those of its attempt count as well.",
        answers={200: SessionView},
        query=SessionsQuery,
        problems=(Code.LOST_CLAIM,),
        example=_OF_REPO,
    ),
)
