"""The conversation about an item: read it, speak in it, follow it. A conversation is an issue.

Who may call: people who can read the repository read and follow; speaking needs the role that policy names for answers.
The worker of an attempt tells how it goes with the attempt's token, and reads nothing here: comments of outsiders must
not reach an agent.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, TypedDict

import msgspec
import structlog
from aiohttp import web

from bot.chat_service import ChatService, TooMany
from bot.domain.identity import RunSecret
from bot.domain.model import IssueKey, Person, RepoKey
from bot.domain.permissions import Capability
from bot.domain.repository import RepoRecord
from bot.domain.talk import Message, MessageType, SenderType
from bot.errors import GitHubError, Refused, UserError
from bot.protocols.clock import Ids
from bot.protocols.ledger import Store
from bot.run_service import RunService
from bot.web.api.bodies import answer, body_of, query_of
from bot.web.api.callers import Callers, bearer
from bot.web.api.described import Caller, Example, Header, Row
from bot.web.api.events import Id, Number, resumed
from bot.web.api.items import request_key
from bot.web.api.problems import ApiProblem, Code
from bot.web.api.wires import check_origin, check_upgrade, socket
from bot.web.live import ConnectionManager, Found

log = structlog.get_logger(__name__)


class ChatMessage(TypedDict):
    """`conversation` is the issue. `comment_id` is that of the comment on GitHub, null for live words only."""

    id: int
    repository: str
    conversation: int
    sender_type: SenderType
    sender: str
    type: MessageType
    text: str
    parent: int | None
    comment_id: int | None
    created_at: datetime


class ChatMessages(TypedDict):
    """A page. `next` is what to pass as `after` for the next one; `more`: there is something already."""

    messages: list[ChatMessage]
    next: int
    more: bool


class ChatEnvelope(TypedDict, total=False):
    """A message of the WebSocket: `hello`, `message`, `posted` or `problem`; `key` is the sender's own."""

    type: str
    after: int
    message: ChatMessage
    key: str
    code: str
    detail: str


class ChatQuery(msgspec.Struct):
    repo: Annotated[str, msgspec.Meta(min_length=1, description="owner/name.")]
    number: Number | None = None
    after: Annotated[Id, msgspec.Meta(description="The last id that is known already.")] = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = 100


class FollowQuery(msgspec.Struct):
    repo: Annotated[str, msgspec.Meta(min_length=1, description="owner/name.")]
    number: Number | None = None
    after: Annotated[Id, msgspec.Meta(description="Go on after this id; without it only what is new comes.")] | None = (
        None
    )


class PostBody(msgspec.Struct, forbid_unknown_fields=True):
    """People name `repo` and `number`; a worker names its `attempt`."""

    text: str
    repo: str = ""
    number: Number | None = None
    parent: Id | None = None
    attempt: str | None = None


class SocketBody(msgspec.Struct, forbid_unknown_fields=True):
    """What a person sends over the WebSocket. The same `key` is posted once."""

    text: str
    number: Number | None = None
    parent: Id | None = None
    key: Annotated[str, msgspec.Meta(max_length=200)] = ""


class ChatApi:
    """The routes of conversations."""

    def __init__(
        self,
        callers: Callers,
        chat: ChatService,
        runs: RunService,
        store: Store,
        hub: ConnectionManager,
        ids: Ids,
        public_url: str,
    ) -> None:
        self._callers = callers
        self._chat = chat
        self._runs = runs
        self._store = store
        self._hub = hub
        self._ids = ids
        self._public_url = public_url

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/v1/chat/messages", self.messages),
            web.post("/api/v1/chat/messages", self.post),
            web.get("/api/v1/chat/ws", self.socket, allow_head=False),
        ]

    async def messages(self, request: web.Request) -> web.Response:
        person = await self._callers.person(request)
        query = query_of(request, ChatQuery)
        repo = await self._callers.repo_open_to(person, query.repo, Capability.READ)
        rows = await self._store.read(
            lambda tx: tx.messages_after([repo.key], query.after, query.limit + 1, query.number)
        )
        found = [message_of(row, repo.full_name) for row in rows[: query.limit]]
        last = found[-1]["id"] if found else query.after
        return answer(ChatMessages(messages=found, next=last, more=len(rows) > query.limit))

    async def post(self, request: web.Request) -> web.Response:
        token = bearer(request)
        if token.startswith(RunSecret.ATTEMPT.value):
            return await self._tell(request, token)
        person = await self._callers.person(request)
        body = await body_of(request, PostBody)
        key, _ = request_key(request, self._ids)
        if body.number is None or not body.repo:
            raise ApiProblem(Code.INVALID, "Name the conversation: `repo` and `number`.")
        repo = await self._callers.repo_open_to(person, body.repo, Capability.ANSWER)
        message = await self._say(person, repo, body.number, body.text, body.parent, key)
        return answer(message_of(message, repo.full_name), status=201)

    async def _tell(self, request: web.Request, token: str) -> web.Response:
        body = await body_of(request, PostBody)
        attempt = await self._runs.authenticate(body.attempt or "", token)
        try:
            message = await self._chat.tell(attempt, body.text)
        except TooMany as error:
            raise ApiProblem(Code.TOO_MANY, str(error)) from None
        repo = await self._store.read(lambda tx: tx.repo(attempt.key.repo_key))
        return answer(message_of(message, repo.full_name if repo is not None else ""), status=201)

    async def _say(
        self, person: Person, repo: RepoRecord, number: int, text: str, parent: int | None, key: str
    ) -> Message:
        issue = IssueKey(repo.key.installation, repo.key.repo, number)
        try:
            return await self._chat.say(person, issue, text, parent, key)
        except TooMany as error:
            raise ApiProblem(Code.TOO_MANY, str(error)) from None

    async def socket(self, request: web.Request) -> web.StreamResponse:
        check_origin(request, self._public_url)
        person = await self._callers.person(request)
        query = query_of(request, FollowQuery)
        repo = await self._callers.repo_open_to(person, query.repo, Capability.READ)
        check_upgrade(request)
        after = resumed(request, query.after)
        if after is None:
            after = await self._store.read(lambda tx: tx.last_message())

        async def check() -> Mapping[RepoKey, str]:
            again = await self._callers.person(request)
            return {repo.key: (await self._callers.repo_open_to(again, query.repo, Capability.READ)).full_name}

        async def read(repos: Mapping[RepoKey, str], after: int, limit: int) -> list[Found]:
            rows = await self._store.read(lambda tx: tx.messages_after(list(repos), after, limit, query.number))
            return [
                Found(row.id, ChatEnvelope(type="message", message=message_of(row, repos[row.key.repo_key])))
                for row in rows
            ]

        connection = self._hub.connect(f"person:{person.id}", {repo.key: repo.full_name}, after)

        async def on_text(text: str) -> None:
            self._hub.send_personal(connection, await self._spoken(request, query, text))

        return await socket(request, self._hub, connection, self._hub.follow(connection, read, check), on_text)

    async def _spoken(self, request: web.Request, query: FollowQuery, text: str) -> ChatEnvelope:
        """Post what came over the WebSocket, with the role that its sender has now."""
        key = ""
        try:
            body = msgspec.json.decode(text, type=SocketBody)
            key = body.key
            number = body.number or query.number
            if number is None:
                return _problem(key, Code.INVALID, "Name the conversation: `number`.")
            person = await self._callers.person(request)
            repo = await self._callers.repo_open_to(person, query.repo, Capability.ANSWER)
            named = f"key:{key}" if key else self._ids.new("r")
            message = await self._say(person, repo, number, body.text, body.parent, named)
            return ChatEnvelope(type="posted", key=key, message=message_of(message, repo.full_name))
        except msgspec.MsgspecError as error:
            return _problem(key, Code.INVALID, f"The message does not fit: {error}.")
        except ApiProblem as error:
            return _problem(key, error.code, error.detail)
        except Refused as error:
            return _problem(key, Code.REFUSED, str(error))
        except UserError as error:
            return _problem(key, Code.INVALID, str(error))
        except GitHubError as error:
            log.warning("upstream_failed", request=error.request, status=error.status)
            return _problem(key, Code.UPSTREAM, "GitHub could not be asked; try again.")


def _problem(key: str, code: Code, detail: str) -> ChatEnvelope:
    return ChatEnvelope(type="problem", key=key, code=code.value, detail=detail)


def message_of(message: Message, repository: str) -> ChatMessage:
    return ChatMessage(
        id=message.id,
        repository=repository,
        conversation=message.key.number,
        sender_type=message.sender_type,
        sender=message.sender,
        type=message.type,
        text=message.text,
        parent=message.parent,
        comment_id=message.comment_id,
        created_at=message.at,
    )


DESCRIBED = (
    Row(
        "GET",
        "/api/v1/chat/messages",
        (Caller.PERSON,),
        "What was said about the repository's items, oldest first, in pages; with `number` about one of them.",
        {200: ChatMessages},
        query=ChatQuery,
        example=Example(query={"repo": "olga/greeter", "number": "2"}),
    ),
    Row(
        "POST",
        "/api/v1/chat/messages",
        (Caller.PERSON, Caller.ATTEMPT),
        "Say something. A person's message is also written on the issue, with their name, once; `Idempotency-Key` "
        "names the request. The worker of an attempt tells how it goes, for those who watch. Commands are refused.",
        {201: ChatMessage},
        body=PostBody,
        role="`roles.answer`",
        problems=(Code.NOT_FOUND, Code.TOO_MANY),
        example=Example({"repo": "olga/greeter", "number": 2, "text": "Please use British spelling."}, status=201),
        headers=(Header.IDEMPOTENCY_KEY,),
    ),
    Row(
        "GET",
        "/api/v1/chat/ws",
        (Caller.PERSON,),
        "The conversations of a repository, or of one item, live over a WebSocket; people speak there too.",
        {101: ChatEnvelope},
        query=FollowQuery,
        problems=(Code.TOO_MANY, Code.LIMITED),
        example=Example(query={"repo": "olga/greeter"}),
        wire="websocket",
    ),
)
