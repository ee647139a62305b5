"""`/api/v1/repos/{owner}/{repo}/…`: does the backlog fit together, are there new plans, and the backlog file.

Who may call: who can read the repository; having something repaired or looked at needs the role of `/tgs sync`, and
what an import adds needs the role of `/tgs start`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

import msgspec
from aiohttp import web

from bot.backlog import Backlogs, Listed
from bot.checking import Checking
from bot.domain.checkup import Flaw, Severity
from bot.domain.mirror import ListedBecause
from bot.domain.permissions import Capability
from bot.protocols.clock import Ids
from bot.repository_service import RepositoryService
from bot.texts.mirror import WHY_LISTED
from bot.transfer import Transfer
from bot.web.api.bodies import answer, body_of
from bot.web.api.callers import Callers
from bot.web.api.described import REPO, Caller, Example, Header, Row
from bot.web.api.items import request_key

MAX_FILE = 2_000_000
"""Bytes of a backlog file that is sent: several thousand rows."""


class Finding(TypedDict):
    """One thing that does not fit. `severity` is error or warning; `fixed` says that the repair has put it right."""

    code: str
    severity: str
    item: int | None
    message: str
    remedy: str
    fixed: bool


class Findings(TypedDict):
    """`ok`: no finding is an error that is left."""

    findings: list[Finding]
    ok: bool


class FixBody(msgspec.Struct, forbid_unknown_fields=True):
    fix: bool = False


class ScanBody(msgspec.Struct, forbid_unknown_fields=True):
    """With `apply` issues are created for new plans, as far as policy allows."""

    apply: bool = False


class NewPlan(TypedDict):
    """A plan that gets an issue; `number` is null until it has one."""

    dir: str
    title: str
    state: str
    status: str
    number: int | None


class Scanned(TypedDict):
    """`known`: plans that have their issue. `refused`: plans that get none, with why."""

    added: list[NewPlan]
    known: int
    refused: list[Finding]


class BacklogFile(msgspec.Struct):
    """The backlog file, version "1"; further keys are kept as they are."""

    version: str
    thoughts: list[dict[str, Any]]
    tgs: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


class ImportedRow(TypedDict):
    item: Listed | None
    new: bool


class RefusedRow(TypedDict):
    name: str
    why: str


class ImportedFile(TypedDict):
    """`refused`: rows that could not be added, with why; the others were."""

    items: list[ImportedRow]
    refused: list[RefusedRow]


class BacklogApi:
    """Checks, scans, export and import."""

    def __init__(
        self,
        callers: Callers,
        backlogs: Backlogs,
        checking: Checking,
        repositories: RepositoryService,
        transfer: Transfer,
        ids: Ids,
    ) -> None:
        self._callers = callers
        self._backlogs = backlogs
        self._checking = checking
        self._repositories = repositories
        self._transfer = transfer
        self._ids = ids

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get(f"{REPO}/validate", self.validate),
            web.post(f"{REPO}/validate", self.fix),
            web.post(f"{REPO}/scan", self.scan),
            web.get(f"{REPO}/export", self.export),
            web.post(f"{REPO}/import", self.import_),
        ]

    async def validate(self, request: web.Request) -> web.Response:
        _, repo = await self._callers.person_in(request)
        return answer(_findings([(flaw, False) for flaw in await self._checking.flaws(repo)]))

    async def fix(self, request: web.Request) -> web.Response:
        person, repo = await self._callers.person_in(request)
        body = await body_of(request, FixBody)
        if not body.fix:
            return answer(_findings([(flaw, False) for flaw in await self._checking.flaws(repo)]))
        person, repo = await self._callers.person_who_may(request, Capability.HOLD)
        return answer(_findings(await self._checking.fix(person, repo)))

    async def scan(self, request: web.Request) -> web.Response:
        _, repo = await self._callers.person_who_may(request, Capability.HOLD)
        body = await body_of(request, ScanBody)
        found = await self._repositories.scan(repo, apply=body.apply)
        numbers = {item.thought.dir: item.key.number for item in found.items if item.thought is not None}
        return answer(
            Scanned(
                added=[
                    NewPlan(
                        dir=one.dir,
                        title=one.title,
                        state=one.state.value,
                        status="queued" if one.state.value == "ready" else "proposed",
                        number=numbers.get(one.dir),
                    )
                    for one in found.found
                    if not body.apply or one.dir in numbers
                ],
                known=found.known,
                refused=[
                    Finding(
                        code=entry.because.value,
                        severity=Severity.WARNING.value,
                        item=None,
                        message=f"{entry.dir}: {WHY_LISTED[entry.because]}",
                        remedy=" ".join(f"{problem.what} {problem.remedy}" for problem in entry.problems),
                        fixed=False,
                    )
                    for entry in found.listed
                    if isinstance(entry.because, ListedBecause)
                ],
            )
        )

    async def export(self, request: web.Request) -> web.Response:
        _, repo = await self._callers.person_in(request)
        return answer(await self._transfer.export(repo))

    async def import_(self, request: web.Request) -> web.Response:
        person, repo = await self._callers.person_who_may(request, Capability.START)
        body = await body_of(request, dict[str, Any], MAX_FILE)
        taken = await self._transfer.take(person, repo, body, request_key(request, self._ids)[0])
        items: list[ImportedRow] = []
        for row in taken:
            if row.entered is not None:
                found = await self._backlogs.one(row.entered.key)
                items.append(ImportedRow(item=found[1] if found is not None else None, new=row.entered.new))
        refused = [RefusedRow(name=row.name, why=row.why) for row in taken if row.entered is None]
        return answer(ImportedFile(items=items, refused=refused))


def _findings(found: Sequence[tuple[Flaw, bool]]) -> Findings:
    return Findings(
        findings=[
            Finding(
                code=flaw.code,
                severity=flaw.severity.value,
                item=flaw.item,
                message=flaw.message,
                remedy=flaw.remedy,
                fixed=fixed,
            )
            for flaw, fixed in found
        ],
        ok=not any(flaw.severity is Severity.ERROR and not fixed for flaw, fixed in found),
    )


DESCRIBED = (
    Row(
        "GET",
        f"{REPO}/validate",
        (Caller.PERSON,),
        "What does not fit together between ledger, issues, labels, plans, branches and locks.",
        {200: Findings},
        example=Example(),
    ),
    Row(
        "POST",
        f"{REPO}/validate",
        (Caller.PERSON,),
        "The same; with `fix` what needs no decision is put right first: labels shown again, locks of nobody freed.",
        {200: Findings},
        body=FixBody,
        role="read; with fix: hold",
        example=Example({"fix": True}),
    ),
    Row(
        "POST",
        f"{REPO}/scan",
        (Caller.PERSON,),
        "Look for plans without an issue; with `apply` they get one, as far as policy allows.",
        {200: Scanned},
        body=ScanBody,
        role="hold",
        example=Example({"apply": False}),
    ),
    Row(
        "GET",
        f"{REPO}/export",
        (Caller.PERSON,),
        'The backlog file, version "1".',
        {200: BacklogFile},
        example=Example(),
    ),
    Row(
        "POST",
        f"{REPO}/import",
        (Caller.PERSON,),
        "Add what a backlog file asks for and is not there; what is there stays as it is. Doing it twice adds nothing.",
        {200: ImportedFile},
        body=BacklogFile,
        role="start",
        example=Example({"version": "1", "thoughts": []}),
        headers=(Header.IDEMPOTENCY_KEY,),
    ),
)
"""What is said about these routes."""
