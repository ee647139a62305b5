"""The same items in the words of older tools: projects with protocol runs and steps.

Who may call: who can read the repository; what changes something is the call of this API that does the same, with the
role of its command. Promise: nothing is stored for these views; an id leads to the same item for ever.
"""

from __future__ import annotations

from typing import TypedDict

from aiohttp import web

from bot.domain import views
from bot.domain.attempt import Attempt
from bot.domain.model import IssueKey, Item, Person
from bot.domain.permissions import Capability
from bot.domain.repository import RepoRecord
from bot.membership import Membership
from bot.protocols.clock import Clock
from bot.protocols.ledger import Ledger, Store
from bot.repository_service import RepositoryService
from bot.web.api.actions import ITEM_ACTIONS, Acted, ActionBody, Actions, line_of, verb_in
from bot.web.api.bodies import answer, body_of
from bot.web.api.callers import Callers
from bot.web.api.described import ITEM, SHOWN_ATTEMPT, Caller, Example, Row
from bot.web.api.item_forms import AttemptView
from bot.web.api.item_views import attempt_view
from bot.web.api.items import key_in
from bot.web.api.problems import ApiProblem, Code
from bot.web.api.repos import Branches, Deleted, ReposApi, RepoView, branch_view

LINES = 1_000
"""Lines of history from which the steps of an item are made; far more than the attempts of one item leave."""


class Steps(TypedDict):
    steps: list[views.StepRun]


class Projects(TypedDict):
    projects: list[RepoView]


class Protocols(TypedDict):
    protocols: list[views.ProtocolRun]


class OlderApi:
    """Attempts, steps, projects and protocol runs, and their actions."""

    def __init__(
        self,
        callers: Callers,
        store: Store,
        clock: Clock,
        membership: Membership,
        repositories: RepositoryService,
        repos: ReposApi,
        actions: Actions,
    ) -> None:
        self._callers = callers
        self._store = store
        self._clock = clock
        self._membership = membership
        self._repositories = repositories
        self._repos = repos
        self._actions = actions

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


def _steps(tx: Ledger, key: IssueKey) -> list[views.StepRun]:
    item, lines = tx.item(key), tx.history(key, LINES)
    return [
        step
        for attempt in tx.attempts(key)
        for step in views.steps(attempt, item, [(line.at, line.kind) for line in lines if line.attempt == attempt.id])
    ]


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
)
"""What is said about these routes."""
