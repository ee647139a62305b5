"""`/api/v1/repos…`: the repositories of the caller, their locks, and the branches of the bot.

Who may call: who can read the repository; freeing a lock needs the role of `/tgs hold`, deleting a branch that of
`/tgs start`.
"""

from __future__ import annotations

from typing import Annotated, TypedDict

import msgspec
from aiohttp import web

from bot.backlog import Backlogs, Listed
from bot.domain.branches import Branch
from bot.domain.permissions import Capability
from bot.domain.repository import RepoRecord
from bot.domain.timestamps import iso
from bot.policies import policy_of
from bot.protocols.clock import Clock
from bot.protocols.ledger import Store
from bot.repository_service import HeldLock, RepositoryService
from bot.web.api.bodies import answer, query_of
from bot.web.api.callers import Callers
from bot.web.api.described import REPO, Caller, Example, Row
from bot.web.api.problems import Code


class PauseView(TypedDict):
    by: str
    reason: str
    since: str
    until: str | None


class RepoView(TypedDict):
    """A repository. `problems` say what is missing before anything can start."""

    id: int
    name: str
    default_branch: str
    private: bool
    archived: bool
    ready: bool
    problems: list[str]
    pause: PauseView | None
    policy_hash: str
    max_parallel: int
    items: dict[str, int]


class Repos(TypedDict):
    repos: list[RepoView]


class LockView(TypedDict):
    path: str
    item: int
    owner: str
    since: str
    mode: str


class Locks(TypedDict):
    locks: list[LockView]


class LockQuery(msgspec.Struct):
    path: Annotated[str, msgspec.Meta(min_length=1, max_length=300)]


class Released(TypedDict):
    text: str
    item: Listed


class BranchView(TypedDict):
    """`keep` says why it cannot be deleted; null: it can."""

    name: str
    sha: str
    issue: int
    state: str | None
    pull_request: int | None
    keep: str | None


class Branches(TypedDict):
    branches: list[BranchView]


class Deleted(TypedDict):
    """`sha`: where it was, so that it can be made again."""

    text: str
    sha: str


class ReposApi:
    """Routes about repositories."""

    def __init__(
        self, callers: Callers, store: Store, clock: Clock, backlogs: Backlogs, repositories: RepositoryService
    ) -> None:
        self._callers = callers
        self._store = store
        self._clock = clock
        self._backlogs = backlogs
        self._repositories = repositories

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/v1/repos", self.all),
            web.get(REPO, self.one),
            web.get(f"{REPO}/locks", self.locks),
            web.delete(f"{REPO}/locks", self.release),
            web.get(f"{REPO}/branches", self.branches),
            web.delete(f"{REPO}/branches/{{name:.+}}", self.delete_branch),
        ]

    async def all(self, request: web.Request) -> web.Response:
        _, repos = await self._callers.repos_of(request)
        return answer(Repos(repos=[await self.view(repo) for repo in repos]))

    async def one(self, request: web.Request) -> web.Response:
        _, repo = await self._callers.person_in(request)
        return answer(await self.view(repo))

    async def locks(self, request: web.Request) -> web.Response:
        _, repo = await self._callers.person_in(request)
        return answer(Locks(locks=[_lock(lock) for lock in await self._repositories.locks(repo)]))

    async def release(self, request: web.Request) -> web.Response:
        person, repo = await self._callers.person_who_may(request, Capability.HOLD)
        path = query_of(request, LockQuery).path
        key = await self._repositories.release(person, repo, path)
        found = await self._backlogs.one(key)
        assert found is not None, "a lock refers to an item"
        return answer(Released(text=f"#{key.number} does not hold {path} any more.", item=found[1]))

    async def branches(self, request: web.Request) -> web.Response:
        _, repo = await self._callers.person_in(request)
        return answer(Branches(branches=[branch_view(one) for one in await self._repositories.branches(repo)]))

    async def delete_branch(self, request: web.Request) -> web.Response:
        person, repo = await self._callers.person_who_may(request, Capability.START)
        name = request.match_info["name"]
        sha = await self._repositories.delete_branch(person, repo, name)
        return answer(Deleted(text=f"`{name}` is deleted.", sha=sha))

    async def view(self, repo: RepoRecord) -> RepoView:
        """A repository as people see it."""
        items = await self._store.read(lambda tx: tx.items(repo.key))
        counted: dict[str, int] = {}
        for item in items:
            counted[item.state.value] = counted.get(item.state.value, 0) + 1
        pause = repo.pause if repo.pause is not None and repo.pause.active(self._clock.now()) else None
        policy = policy_of(repo)
        return RepoView(
            id=repo.key.repo,
            name=repo.full_name,
            default_branch=repo.default_branch,
            private=repo.private,
            archived=repo.archived,
            ready=repo.preflight_ok,
            problems=[f"{problem.what}. {problem.remedy}" for problem in repo.preflight_problems],
            pause=None
            if pause is None
            else PauseView(by=pause.by, reason=pause.reason, since=iso(pause.since), until=iso(pause.until)),
            policy_hash=policy.hash,
            max_parallel=policy.max_parallel,
            items=dict(sorted(counted.items())),
        )


def _lock(lock: HeldLock) -> LockView:
    return LockView(path=lock.path, item=lock.item, owner=lock.owner, since=iso(lock.since), mode=lock.mode)


def branch_view(branch: Branch) -> BranchView:
    """A branch as people see it."""
    return BranchView(
        name=branch.name,
        sha=branch.sha,
        issue=branch.issue,
        state=branch.state.value if branch.state is not None else None,
        pull_request=branch.pull,
        keep=branch.keep,
    )


DESCRIBED = (
    Row(
        "GET",
        "/api/v1/repos",
        (Caller.PERSON,),
        "The served repositories that you can read.",
        {200: Repos},
        example=Example(),
    ),
    Row("GET", REPO, (Caller.PERSON,), "One repository.", {200: RepoView}, example=Example()),
    Row("GET", f"{REPO}/locks", (Caller.PERSON,), "Which paths are held, by whom.", {200: Locks}, example=Example()),
    Row(
        "DELETE",
        f"{REPO}/locks",
        (Caller.PERSON,),
        "Free a path that no running attempt holds.",
        {200: Released},
        query=LockQuery,
        role="hold",
        problems=(Code.NOT_FOUND,),
    ),
    Row(
        "GET",
        f"{REPO}/branches",
        (Caller.PERSON,),
        "The branches of the bot, and why each must stay.",
        {200: Branches},
        example=Example(),
    ),
    Row(
        "DELETE",
        f"{REPO}/branches/{{name}}",
        (Caller.PERSON,),
        "Delete a branch of the bot: never one with a running attempt, an open pull request, or under protection.",
        {200: Deleted},
        role="start",
        problems=(Code.NOT_FOUND,),
    ),
)
"""What is said about these routes."""
