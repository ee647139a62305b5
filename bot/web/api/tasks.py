"""`/api/v1/tasks…`: the items of every repository that the caller can read, as tasks of one queue.

Who may call: a person with a GitHub token; what they may read and change is decided per repository, by the role they
have there now. Promise: a task is an item with another name; nothing is stored for it, and its id never changes.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypedDict

import msgspec
from aiohttp import web

from bot.domain import views
from bot.domain.model import IssueKey, ItemState, Person, RepoKey
from bot.domain.permissions import Capability
from bot.domain.repository import RepoRecord
from bot.errors import Refused
from bot.membership import Membership, Ticket, Wish
from bot.protocols.clock import Ids
from bot.protocols.ledger import Ledger, Store
from bot.web.api.bodies import answer, body_of, query_of
from bot.web.api.callers import Callers
from bot.web.api.described import Caller, Example, Header, Row
from bot.web.api.items import if_match, request_key
from bot.web.api.problems import ApiProblem, Code

Word = Literal["high", "normal", "low"]
Kind = Literal["feature", "bugfix", "test", "docs"]


class TasksQuery(msgspec.Struct):
    """Filters of one kind are alternatives. `cursor` is what `next_cursor` said."""

    status: list[Literal["queued", "in_progress", "completed", "failed"]] = []
    task_type: list[Kind] = []
    priority: list[Word] = []
    repository_url: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = 100
    cursor: Annotated[int, msgspec.Meta(ge=0)] = 0


class NewTask(msgspec.Struct, forbid_unknown_fields=True):
    """`branch_name` can only be a wish: the bot names its own branches."""

    title: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    repository_url: str
    description: str = ""
    task_type: Kind = "feature"
    priority: Word = "normal"
    branch_name: str | None = None


class TaskChange(msgspec.Struct, forbid_unknown_fields=True):
    title: Annotated[str, msgspec.Meta(min_length=1, max_length=256)] | None = None
    priority: Word | None = None


class TaskPage(TypedDict):
    tasks: list[views.Task]
    next_cursor: str | None


class TasksApi:
    """Items as tasks."""

    def __init__(self, callers: Callers, store: Store, ids: Ids, membership: Membership, html_url: str) -> None:
        self._callers = callers
        self._store = store
        self._ids = ids
        self._membership = membership
        self._html_url = html_url.rstrip("/")

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/v1/tasks", self.tasks),
            web.post("/api/v1/tasks", self.add_task),
            web.get("/api/v1/tasks/{id}", self.task),
            web.patch("/api/v1/tasks/{id}", self.change_task),
        ]

    async def tasks(self, request: web.Request) -> web.Response:
        _, repos = await self._callers.repos_of(request)
        query = query_of(request, TasksQuery)
        if query.repository_url is not None:
            wanted = self._name(query.repository_url).lower()
            repos = [repo for repo in repos if repo.full_name.lower() == wanted]
        found = [task for repo in repos for task in await self._tasks(repo) if _wanted(task, query)]
        end = query.cursor + query.limit
        return answer(TaskPage(tasks=found[query.cursor : end], next_cursor=str(end) if len(found) > end else None))

    async def add_task(self, request: web.Request) -> web.Response:
        person = await self._callers.person(request)
        body = await body_of(request, NewTask)
        repo = await self._callers.repo_open_to(person, self._name(body.repository_url), Capability.START)
        fields: dict[str, object] = {"type": body.task_type}
        if body.branch_name:
            fields["base_branch"] = body.branch_name
        wish = Wish(
            ticket=Ticket(body.title, body.description, fields), priority=views.priority_of(body.priority) or None
        )
        name, keyed = request_key(request, self._ids)
        done = await self._membership.add(person, repo, wish, name, keyed=keyed)
        return await self._one_task(repo, done.key, 201 if done.new else 200 if done.settled else 202)

    async def task(self, request: web.Request) -> web.Response:
        _, repo, key = await self._task(request)
        return await self._one_task(repo, key, 200)

    async def change_task(self, request: web.Request) -> web.Response:
        person, repo, key = await self._task(request)
        body = await body_of(request, TaskChange)
        wish = Wish(title=body.title, priority=None if body.priority is None else views.priority_of(body.priority))
        await self._membership.change(person, key, wish, request_key(request, self._ids)[0], if_match(request))
        return await self._one_task(repo, key, 200)

    async def _one_task(self, repo: RepoRecord, key: IssueKey, status: int) -> web.Response:
        item, attempts = await self._store.read(lambda tx: (tx.item(key), tx.attempts(key)))
        if item is None:
            raise ApiProblem(Code.CONFLICT, f"#{key.number} was taken and is not in the backlog yet. Look again.")
        return answer(views.task(item, attempts, self._url(repo)), status)

    async def _task(self, request: web.Request) -> tuple[Person, RepoRecord, IssueKey]:
        """The item of a task's id, searched only in what the person can read."""
        id_ = request.match_info["id"].lower()
        person, repos = await self._callers.repos_of(request)
        keys = {repo.key: repo for repo in repos}
        found = await self._store.read(lambda tx: _key_of(tx, list(keys), id_))
        if found is None:
            raise Refused(f"There is no task {id_[:64]!r} that @{person.login} can read.")
        # What was remembered a minute ago opens nothing: the role is read now.
        _, repo = await self._callers.person_in_id(request, found.repo)
        return person, repo, found

    async def _tasks(self, repo: RepoRecord) -> list[views.Task]:
        url = self._url(repo)
        return await self._store.read(
            lambda tx: [
                views.task(item, tx.attempts(item.key), url)
                for item in tx.items(repo.key)
                if item.state is not ItemState.PROPOSED
            ]
        )

    def _url(self, repo: RepoRecord) -> str:
        return f"{self._html_url}/{repo.full_name}"

    def _name(self, url: str) -> str:
        """owner/name of a repository's address here. Raises Refused."""
        path = url.removesuffix("/").removesuffix(".git").removeprefix(self._html_url + "/")
        if path.count("/") != 1 or ":" in path:
            raise Refused(f"`{url[:200]}` is not served here.", f"Send {self._html_url}/owner/name.")
        return path


def _key_of(tx: Ledger, repos: list[RepoKey], id_: str) -> IssueKey | None:
    for repo in repos:
        for item in tx.items(repo):
            if views.task_id(item.key) == id_:
                return item.key
    return None


def _wanted(task: views.Task, query: TasksQuery) -> bool:
    return (
        (not query.status or task["status"] in query.status)
        and (not query.task_type or task["task_type"] in query.task_type)
        and (not query.priority or task["priority"] in query.priority)
    )


_P = (Caller.PERSON,)
_NO_NAME = (Code.NOT_FOUND, Code.CONFLICT)

DESCRIBED = (
    Row(
        "GET",
        "/api/v1/tasks",
        _P,
        "The items of every repository that you can read, as tasks.",
        {200: TaskPage},
        query=TasksQuery,
        example=Example(query={"limit": "5"}),
    ),
    Row(
        "POST",
        "/api/v1/tasks",
        _P,
        "Open an issue and put it into the queue. 200: an equal one was sent before.",
        {200: views.Task, 201: views.Task, 202: views.Task},
        body=NewTask,
        role="start",
        problems=_NO_NAME,
        example=Example({"title": "Greet in Greek", "repository_url": "https://github.com/acme/greeter"}),
        headers=(Header.IDEMPOTENCY_KEY,),
    ),
    Row("GET", "/api/v1/tasks/{id}", _P, "One task.", {200: views.Task}, problems=_NO_NAME),
    Row(
        "PATCH",
        "/api/v1/tasks/{id}",
        _P,
        "Change title or priority.",
        {200: views.Task},
        body=TaskChange,
        role="start for the title, prioritise",
        problems=_NO_NAME,
        example=Example({"priority": "high"}),
        headers=(
            Header.IDEMPOTENCY_KEY,
            Header.IF_MATCH,
        ),
    ),
)
"""What is said about these routes."""
