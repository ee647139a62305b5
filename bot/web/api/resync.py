"""`…/resync`: have the bot look at everything again, as if every webhook had been lost.

Who may call: a person with the role of `/tgs sync` in the repository; for all repositories at once, each of those that
the person can read is looked at in which they have it, and the others are named. Nothing is changed by the call itself.
"""

from __future__ import annotations

from typing import TypedDict

from aiohttp import web

from bot.domain.permissions import Capability
from bot.domain.repository import RepoRecord
from bot.errors import Refused
from bot.repository_service import RepositoryService
from bot.web.api.bodies import answer
from bot.web.api.callers import Callers
from bot.web.api.described import REPO, Caller, Example, Row


class Looked(TypedDict):
    """`repos` are looked at now; in those of `refused` the caller's role is not enough."""

    text: str
    repos: list[str]
    refused: list[str]


class ResyncApi:
    """The two routes."""

    def __init__(self, callers: Callers, repositories: RepositoryService) -> None:
        self._callers = callers
        self._repositories = repositories

    def routes(self) -> list[web.RouteDef]:
        return [web.post(f"{REPO}/resync", self.one), web.post("/api/v1/resync", self.all)]

    async def one(self, request: web.Request) -> web.Response:
        _, repo = await self._callers.person_who_may(request, Capability.HOLD)
        return answer(await self._look([repo], []), 202)

    async def all(self, request: web.Request) -> web.Response:
        person, repos = await self._callers.repos_of(request)
        may: list[RepoRecord] = []
        refused: list[str] = []
        for repo in repos:
            try:
                may.append(await self._callers.repo_open_to(person, repo.full_name, Capability.HOLD))
            except Refused:
                refused.append(repo.full_name)
        return answer(await self._look(may, refused), 202)

    async def _look(self, repos: list[RepoRecord], refused: list[str]) -> Looked:
        await self._repositories.resync(repos)
        names = [repo.full_name for repo in repos]
        text = f"Everything in {', '.join(names)} is looked at again." if names else "No repository is looked at."
        if refused:
            text += f" Your role is not enough in {', '.join(refused)}."
        return Looked(text=text, repos=names, refused=refused)


DESCRIBED = (
    Row(
        "POST",
        f"{REPO}/resync",
        (Caller.PERSON,),
        "Look at everything in the repository again: labels, items, commands whose webhooks were lost.",
        {202: Looked},
        role="hold",
        example=Example(status=202),
    ),
    Row(
        "POST",
        "/api/v1/resync",
        (Caller.PERSON,),
        "The same for every repository in which you may.",
        {202: Looked},
        role="hold",
        example=Example(status=202),
    ),
)
"""What is said about these routes."""
