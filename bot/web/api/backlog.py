"""`/api/v1/repos/{owner}/{repo}/validate`: whether ledger, labels, plans and locks fit together.

Who may call: anybody with a GitHub token who can read the repository; nobody else.
"""

from __future__ import annotations

from typing import TypedDict

from aiohttp import web

from bot.backlog import Backlogs, Finding
from bot.web.api.bodies import answer
from bot.web.api.callers import Callers
from bot.web.api.described import REPO, Caller, Example, Row


class Findings(TypedDict):
    """`ok`: no finding is an error."""

    findings: list[Finding]
    ok: bool


class BacklogApi:
    """Checks of the backlog."""

    def __init__(self, callers: Callers, backlogs: Backlogs) -> None:
        self._callers = callers
        self._backlogs = backlogs

    def routes(self) -> list[web.RouteDef]:
        return [web.get(f"{REPO}/validate", self.validate)]

    async def validate(self, request: web.Request) -> web.Response:
        _, repo = await self._callers.person_in(request)
        findings = await self._backlogs.validate(repo)
        return answer({"findings": findings, "ok": not any(f["severity"] == "error" for f in findings)})


DESCRIBED = (
    Row(
        "GET",
        f"{REPO}/validate",
        (Caller.PERSON,),
        "What does not fit together between ledger, labels, plans and locks.",
        {200: Findings},
        example=Example(),
    ),
)
