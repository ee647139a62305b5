"""`/api/v1/repos/{owner}/{repo}/…` for people: the backlog as a list, and its consistency check.

Who may call: anybody with a GitHub token who can read the repository; nobody else.
"""

from __future__ import annotations

from typing import TypedDict

import msgspec
from aiohttp import web

from bot.backlog import Backlogs, Finding, Listed
from bot.domain.model import ItemState, Person, Role
from bot.people import People
from bot.web.api.described import REPO, Caller, Example, Row
from bot.web.api.problems import ApiProblem, Code


class Items(TypedDict):
    items: list[Listed]


class Findings(TypedDict):
    """`ok`: no finding is an error."""

    findings: list[Finding]
    ok: bool


class ItemsQuery(msgspec.Struct):
    """`state` may be repeated."""

    state: list[ItemState] = []


class BacklogApi:
    """Read access to the backlog."""

    def __init__(self, people: People, backlogs: Backlogs) -> None:
        self._people = people
        self._backlogs = backlogs

    def routes(self) -> list[web.RouteDef]:
        return [web.get(f"{REPO}/items", self.items), web.get(f"{REPO}/validate", self.validate)]

    async def items(self, request: web.Request) -> web.Response:
        person = await self._person(request)
        states = [state for state in request.query.getall("state", []) if state]
        for state in states:
            if state not in {known.value for known in ItemState}:
                known = ", ".join(s.value for s in ItemState)
                raise ApiProblem(Code.INVALID, f"`state` is one of {known}, not `{state}`.")
        repo = await self._people.repo_for(person, _name(request), Role.READ)
        return _json({"items": await self._backlogs.items(repo, states or None)})

    async def validate(self, request: web.Request) -> web.Response:
        person = await self._person(request)
        repo = await self._people.repo_for(person, _name(request), Role.READ)
        findings = await self._backlogs.validate(repo)
        return _json({"findings": findings, "ok": not any(f["severity"] == "error" for f in findings)})

    async def _person(self, request: web.Request) -> Person:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        person = await self._people.person(token.strip()) if scheme.lower() == "bearer" and token.strip() else None
        if person is None:
            raise ApiProblem(Code.UNAUTHENTICATED, "Send `Authorization: Bearer <GitHub token>`.")
        return person


def _name(request: web.Request) -> str:
    return f"{request.match_info['owner']}/{request.match_info['repo']}"


def _json(body: object) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(body), content_type="application/json", headers={"Cache-Control": "no-store"}
    )


DESCRIBED = (
    Row(
        "GET",
        f"{REPO}/items",
        (Caller.PERSON,),
        "The backlog in the order of the queue. `?state=` may be repeated.",
        {200: Items},
        query=ItemsQuery,
        example=Example(query={"state": "ready"}),
    ),
    Row(
        "GET",
        f"{REPO}/validate",
        (Caller.PERSON,),
        "What does not fit together between ledger, labels, plans and locks.",
        {200: Findings},
        example=Example(),
    ),
)
