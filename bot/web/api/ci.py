"""`POST /api/v1/ci/report`: an outside CI says that something finished, so that the bot looks at once.

Who may call: who can read the repository, a worker whose token opens it, or whoever has the repository's CI token, sent
as it is or used to sign the body. The CI token is made from the server's webhook secret and the calendar month, so
nothing is stored; it ends with the second month after that one, and when that secret is changed. Promise: a report
decides nothing. It only points at an item, which is then looked at on GitHub; a false one costs a look. Proofs are
compared in constant time, and each that is sent must be good.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from aiohttp import web
from pydantic import SecretStr

from bot.domain.ci_report import CiReport, read_report
from bot.domain.intake import Intake, Touch, TouchKind
from bot.domain.model import RepoKey
from bot.domain.permissions import Capability
from bot.domain.repository import RepoRecord
from bot.protocols.clock import Clock, Ids
from bot.protocols.ledger import Inbox, Store
from bot.web.api.bodies import answer, raw_body
from bot.web.api.callers import Callers, bearer
from bot.web.api.described import REPO, Caller, Example, Row
from bot.web.api.problems import ApiProblem, Code

CI_PREFIX = "tgc_"
"""How CI tokens begin, so that scanners and people recognise a leaked one."""

MONTHS_AFTER = 2
"""Whole calendar months for which a token is good after the one it was made in: two to three months in all, so that a
leaked one ends by itself, and whoever renews it once a quarter is in time."""

MAX_REPORT = 256 * 1024
"""Bytes of a report; GitHub's and GitLab's own events are far smaller."""

SIGNATURES = ("X-Tgs-Signature-256", "X-Hub-Signature-256")
PLAIN = ("X-Project-Token", "X-Gitlab-Token")
"""Headers with a proof: the HMAC-SHA-256 of the body under the CI token, or the token itself."""


UNFIT = "The proof does not fit this repository, or its token has ended; read the current one with `GET …/ci-token`."
NOTHING = "The report names no repository with a commit or branch, as GitHub or GitLab would."


class Reported(msgspec.Struct):
    """What the bot looks at now."""

    repo: str
    sha: str | None
    branch: str | None


class CiToken(msgspec.Struct):
    """Keep it as a secret of the CI, and replace it before it ends."""

    token: str
    expires_at: datetime


class CiApi:
    """Reports of an outside CI."""

    def __init__(
        self, callers: Callers, store: Store, inbox: Inbox, clock: Clock, ids: Ids, secrets: Sequence[SecretStr]
    ) -> None:
        self._callers = callers
        self._store = store
        self._inbox = inbox
        self._clock = clock
        self._ids = ids
        self._keys = [secret.get_secret_value().encode() for secret in secrets]

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/api/v1/ci/report", self.report), web.get(f"{REPO}/ci-token", self.token)]

    async def token(self, request: web.Request) -> web.Response:
        _, repo = await self._callers.person_who_may(request, Capability.START)
        month = _month(self._clock.now())
        return answer(CiToken(self._made(repo.key, month)[0], _begin(month + MONTHS_AFTER + 1)))

    async def report(self, request: web.Request) -> web.Response:
        proofs = [name for name in (*SIGNATURES, *PLAIN) if request.headers.get(name)]
        if not proofs and not bearer(request):
            raise ApiProblem(Code.UNAUTHENTICATED, "Send a bearer token, a CI token or a signature made with one.")
        # Whose it is comes before what it says: a stranger learns nothing from how a report is read.
        caller = await self._callers.person_or_worker(request) if bearer(request) else None
        raw = await raw_body(request, MAX_REPORT)
        report = _read(raw)
        if proofs:
            repo = await self._proved(request, raw, report, proofs)
            if caller is not None:
                await self._callers.repo_open_to(caller, repo.full_name, Capability.READ)
        else:
            assert caller is not None
            if report is None:
                raise ApiProblem(Code.INVALID, NOTHING)
            repo = await self._callers.repo_open_to(caller, report.full_name, Capability.READ)
        if report is None:
            raise ApiProblem(Code.INVALID, NOTHING)
        key = repo.key
        touches = [Touch(TouchKind.HEAD, key.installation, key.repo, report.sha)] if report.sha else []
        if report.branch:
            touches.append(Touch(TouchKind.BRANCH, key.installation, key.repo, report.branch))
        await self._inbox.accept(self._ids.new("ci"), "ci_report", None, Intake(touches=tuple(touches)), None)
        return answer(Reported(repo.full_name, report.sha, report.branch), 202)

    async def _proved(
        self, request: web.Request, raw: bytes, report: CiReport | None, proofs: Sequence[str]
    ) -> RepoRecord:
        """The repository of the report, when every proof fits its CI token. Raises ApiProblem, always the same."""
        name = report.full_name if report is not None else ""
        repo = await self._store.read(lambda tx: tx.repo_by_name(name))
        # Unknown repositories take as long as known ones.
        tokens = self._tokens(repo.key if repo is not None else None)
        good = repo is not None and repo.active
        for header in proofs:
            given = request.headers[header].encode("utf-8", "replace")
            fits = False
            for token in tokens:
                wanted = _signature(token, raw) if header in SIGNATURES else token
                fits |= hmac.compare_digest(wanted.encode(), given)
            good &= fits
        if not good or repo is None:
            raise ApiProblem(Code.UNAUTHENTICATED, UNFIT)
        return repo

    def _tokens(self, key: RepoKey | None) -> list[str]:
        """The CI tokens of a repository that are good now."""
        month = _month(self._clock.now())
        return [token for ago in range(MONTHS_AFTER + 1) for token in self._made(key, month - ago)]

    def _made(self, key: RepoKey | None, month: int) -> list[str]:
        """The CI tokens of a repository made in this month, one per webhook secret, the newest secret's first."""
        name = f"ci-report/{key}/{month}".encode()
        return [CI_PREFIX + hmac.new(secret, name, hashlib.sha256).hexdigest() for secret in self._keys]


def _month(now: datetime) -> int:
    """The calendar month, counted from the year 0, in UTC."""
    now = now.astimezone(UTC)
    return now.year * 12 + now.month - 1


def _begin(month: int) -> datetime:
    """When the month begins."""
    return datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC)


def _signature(token: str, raw: bytes) -> str:
    return "sha256=" + hmac.new(token.encode(), raw, hashlib.sha256).hexdigest()


def _read(raw: bytes) -> CiReport | None:
    try:
        data: Any = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return read_report(data)


class CiReportBody(msgspec.Struct):
    """A commit status as GitHub sends it; GitHub's other CI events and GitLab's pipeline event are read as well."""

    repository: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    sha: str | msgspec.UnsetType = msgspec.UNSET
    state: str | msgspec.UnsetType = msgspec.UNSET
    branches: list[dict[str, Any]] | msgspec.UnsetType = msgspec.UNSET
    project: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    object_attributes: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


DESCRIBED = (
    Row(
        "POST",
        "/api/v1/ci/report",
        (Caller.PERSON, Caller.WORKER, Caller.CI),
        "Say that a check finished: the bot looks at the item of the commit at once. What it claims decides nothing.",
        {202: Reported},
        body=CiReportBody,
        example=Example({"repository": {"full_name": "olga/greeter"}, "sha": "0" * 40, "state": "success"}, status=202),
    ),
    Row(
        "GET",
        f"{REPO}/ci-token",
        (Caller.PERSON,),
        "The token with which the repository's outside CI reports; it ends after two to three months.",
        {200: CiToken},
        role="start",
        example=Example(),
    ),
)
"""What is said about these routes."""
