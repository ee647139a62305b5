"""The same items in the words of older tools: tasks, and projects with protocol runs and steps.

Who may call: who can read the repository; what changes something is the call of this API that does the same, with the
role of its command. Promise: nothing is stored for these views; an id leads to the same item for ever.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypedDict

import msgspec
from aiohttp import web

from bot.domain import views
from bot.domain.attempt import Attempt
from bot.domain.model import IssueKey, Item, ItemState, Person, RepoKey
from bot.domain.permissions import Capability
from bot.domain.repository import RepoRecord
from bot.errors import Refused
from bot.membership import Membership, Ticket, Wish
from bot.protocols.clock import Clock, Ids
from bot.protocols.ledger import Ledger, Store
from bot.repository_service import RepositoryService
from bot.web.api.actions import ITEM_ACTIONS, Acted, ActionBody, Actions, line_of, verb_in
from bot.web.api.bodies import answer, body_of, query_of
from bot.web.api.callers import Callers
from bot.web.api.described import ITEM, SHOWN_ATTEMPT, Caller, Example, Header, Row
from bot.web.api.items import AttemptView, attempt_view, if_match, key_in, request_key
from bot.web.api.problems import ApiProblem, Code
from bot.web.api.repos import Branches, Deleted, ReposApi, RepoView, branch_view

LINES = 1_000
"""Lines of history from which the steps of an item are made; far more than the attempts of one item leave."""

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


class Steps(TypedDict):
    steps: list[views.StepRun]


class Projects(TypedDict):
    projects: list[RepoView]


class Protocols(TypedDict):
    protocols: list[views.ProtocolRun]


class OlderApi:
    """The views and their actions."""

    def __init__(
        self,
        callers: Callers,
        store: Store,
        clock: Clock,
        ids: Ids,
        membership: Membership,
        repositories: RepositoryService,
        repos: ReposApi,
        actions: Actions,
        html_url: str,
    ) -> None:
        self._callers = callers
        self._store = store
        self._clock = clock
        self._ids = ids
        self._membership = membership
        self._repositories = repositories
        self._repos = repos
        self._actions = actions
        self._html_url = html_url.rstrip("/")

    def routes(self) -> list[web.RouteDef]:
        project, protocol = "/api/v1/projects/{id}", "/api/v1/protocols/{id}"
        return [
            web.get("/api/v1/attempts/{attempt}", self.attempt),
            web.get(f"{ITEM}/steps", self.steps_of_item),
            web.get("/api/v1/steps/{id}", self.step),
            web.post("/api/v1/steps/{id}/actions/{verb}", self.act_on_step),
            web.get("/api/v1/projects", self.projects),
            web.get(project, self.project),
            web.get(f"{project}/branches", self.branches),
            web.delete(f"{project}/branches/{{name:.+}}", self.delete_branch),
            web.get(f"{project}/protocols", self.protocols),
            web.get(protocol, self.protocol),
            web.get(f"{protocol}/steps", self.steps_of_protocol),
            web.post(f"{protocol}/actions/{{verb}}", self.act_on_protocol),
            web.get("/api/v1/tasks", self.tasks),
            web.post("/api/v1/tasks", self.add_task),
            web.get("/api/v1/tasks/{id}", self.task),
            web.patch("/api/v1/tasks/{id}", self.change_task),
        ]

    # --- attempts and steps ------------------------------------------------------------------------

    async def attempt(self, request: web.Request) -> web.Response:
        _, repo, attempt = await self._callers.person_in_attempt(request, request.match_info["attempt"])
        return answer(attempt_view(attempt, repo))

    async def steps_of_item(self, request: web.Request) -> web.Response:
        _, repo = await self._callers.person_in(request)
        key = key_in(request, repo)
        return answer(Steps(steps=await self._store.read(lambda tx: _steps(tx, key))))

    async def step(self, request: web.Request) -> web.Response:
        _, found = await self._step(request)
        return answer(found)

    async def act_on_step(self, request: web.Request) -> web.Response:
        attempt, _ = await self._step(request)
        return await self._act(request, attempt.key)

    async def _step(self, request: web.Request) -> tuple[Attempt, views.StepRun]:
        id_ = request.match_info["id"]
        _, _, attempt = await self._callers.person_in_attempt(request, id_.rpartition("-")[0])
        steps = await self._store.read(lambda tx: _steps(tx, attempt.key))
        found = next((step for step in steps if step["id"] == id_), None)
        if found is None:
            raise ApiProblem(Code.NOT_FOUND, f"Attempt {attempt.id} has no such step.")
        return attempt, found

    # --- projects and protocols --------------------------------------------------------------------

    async def projects(self, request: web.Request) -> web.Response:
        _, repos = await self._callers.repos_of(request)
        return answer(Projects(projects=[await self._repos.view(repo) for repo in repos]))

    async def project(self, request: web.Request) -> web.Response:
        _, repo = await self._project(request)
        return answer(await self._repos.view(repo))

    async def branches(self, request: web.Request) -> web.Response:
        _, repo = await self._project(request)
        return answer(Branches(branches=[branch_view(one) for one in await self._repositories.branches(repo)]))

    async def delete_branch(self, request: web.Request) -> web.Response:
        person, repo = await self._project(request)
        await self._membership.require(person, repo, Capability.START)
        name = request.match_info["name"]
        sha = await self._repositories.delete_branch(person, repo, name)
        return answer(Deleted(text=f"`{name}` is deleted.", sha=sha))

    async def protocols(self, request: web.Request) -> web.Response:
        _, repo = await self._project(request)
        paused = self._paused(repo)
        found = await self._store.read(
            lambda tx: [views.protocol(item, tx.attempts(item.key), repo_paused=paused) for item in tx.items(repo.key)]
        )
        return answer(Protocols(protocols=found))

    async def protocol(self, request: web.Request) -> web.Response:
        repo, item, attempts = await self._item(request)
        return answer(views.protocol(item, attempts, repo_paused=self._paused(repo)))

    async def steps_of_protocol(self, request: web.Request) -> web.Response:
        _, item, _ = await self._item(request)
        return answer(Steps(steps=await self._store.read(lambda tx: _steps(tx, item.key))))

    async def act_on_protocol(self, request: web.Request) -> web.Response:
        _, item, _ = await self._item(request)
        return await self._act(request, item.key)

    async def _act(self, request: web.Request, key: IssueKey) -> web.Response:
        person = await self._callers.person(request)
        verb = verb_in(request, ITEM_ACTIONS)
        body = await body_of(request, ActionBody)
        return await self._actions.act(request, person, key, line_of(verb, body.args))

    async def _project(self, request: web.Request) -> tuple[Person, RepoRecord]:
        id_ = request.match_info["id"]
        repo_id = int(id_) if id_.isascii() and id_.isdecimal() and len(id_) < 16 else -1
        return await self._callers.person_in_id(request, repo_id)

    async def _item(self, request: web.Request) -> tuple[RepoRecord, Item, list[Attempt]]:
        repo_id, number = views.parse_protocol_id(request.match_info["id"]) or (-1, 0)
        _, repo = await self._callers.person_in_id(request, repo_id)
        key = IssueKey(repo.key.installation, repo.key.repo, number)
        item, attempts = await self._store.read(lambda tx: (tx.item(key), tx.attempts(key)))
        if item is None:
            raise ApiProblem(Code.NOT_FOUND, f"#{number} is not in the backlog.")
        return repo, item, attempts

    def _paused(self, repo: RepoRecord) -> bool:
        return repo.pause is not None and repo.pause.active(self._clock.now())

    # --- tasks -------------------------------------------------------------------------------------

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


def _steps(tx: Ledger, key: IssueKey) -> list[views.StepRun]:
    item, lines = tx.item(key), tx.history(key, LINES)
    return [
        step
        for attempt in tx.attempts(key)
        for step in views.steps(attempt, item, [(line.at, line.kind) for line in lines if line.attempt == attempt.id])
    ]


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
_MISSING = (Code.NOT_FOUND,)
_NO_NAME = (Code.NOT_FOUND, Code.CONFLICT)

DESCRIBED = (
    Row(
        "GET",
        "/api/v1/attempts/{attempt}",
        _P,
        "One attempt.",
        {200: AttemptView},
        example=Example(),
    ),
    Row(
        "GET",
        f"{ITEM}/steps",
        _P,
        "The phases of an item's attempts, oldest first.",
        {200: Steps},
        problems=_MISSING,
        example=Example(),
    ),
    Row("GET", "/api/v1/steps/{id}", _P, "One step.", {200: views.StepRun}, problems=_MISSING),
    Row(
        "POST",
        "/api/v1/steps/{id}/actions/{verb}",
        _P,
        "Give a command about the item of a step, as on the item itself.",
        {200: Acted, 202: Acted},
        body=ActionBody,
        role="that of the command",
        problems=_NO_NAME,
        example=Example({"args": []}, path={"verb": "status", "id": f"{SHOWN_ATTEMPT}-1"}),
    ),
    Row("GET", "/api/v1/projects", _P, "The repositories that you can read.", {200: Projects}, example=Example()),
    Row("GET", "/api/v1/projects/{id}", _P, "A repository by its id.", {200: RepoView}),
    Row("GET", "/api/v1/projects/{id}/branches", _P, "The branches of the bot.", {200: Branches}),
    Row(
        "DELETE",
        "/api/v1/projects/{id}/branches/{name}",
        _P,
        "Delete a branch of the bot that nobody needs.",
        {200: Deleted},
        role="start",
        problems=_MISSING,
    ),
    Row("GET", "/api/v1/projects/{id}/protocols", _P, "Its items as protocol runs.", {200: Protocols}),
    Row("GET", "/api/v1/protocols/{id}", _P, "An item as a protocol run.", {200: views.ProtocolRun}, problems=_MISSING),
    Row("GET", "/api/v1/protocols/{id}/steps", _P, "Its steps.", {200: Steps}, problems=_MISSING),
    Row(
        "POST",
        "/api/v1/protocols/{id}/actions/{verb}",
        _P,
        "Give a command about an item: `start`, `run`, `run_qa`, `approve`, `pause`, `resume`, `cancel`, and the rest.",
        {200: Acted, 202: Acted},
        body=ActionBody,
        role="that of the command",
        problems=_NO_NAME,
        example=Example({"args": []}, path={"verb": "run_qa", "id": "1-1"}),
    ),
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
