"""`/api/v1/queue/…`: work for those who ask for it, and how much of it there is.

Who may call: a person with the role that policy asks for starting work, or a worker with a token of ours that opens
the repository. The caller makes the claim's secret and sends it along: no answer holds one, and a repeated call with
the same secret is answered with the same claim.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from aiohttp import web

from bot.backlog import Listed, listed
from bot.claims import NotClaimed
from bot.domain.model import Item, Person, Waiting
from bot.domain.permissions import Capability
from bot.domain.repository import RepoRecord
from bot.domain.sanitise import one_line
from bot.domain.workers import WorkerToken
from bot.errors import Refused
from bot.protocols.ledger import Store
from bot.pull_service import Asker, Given, PullService
from bot.queue_stats import queue_stats
from bot.run_service import RunService
from bot.texts.reasons import sentence
from bot.web.api.bodies import answer, body_of, query_of
from bot.web.api.callers import Callers
from bot.web.api.described import Caller, Example, Row
from bot.web.api.problems import ApiProblem, Code
from bot.web.api.run_forms import AttemptToken
from bot.worker_service import WorkerService

LONGEST_WAIT = 30
"""Seconds: what proxies and clients bear without an answer."""

MOST = 20
"""Items of one look ahead."""

EXAMPLE_TOKEN_2 = "tga_" + "1" * 48
"""A secret of its own: that of the runs' examples speaks for their claim."""

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
SessionId = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._:-]{1,128}$")]
Capability_ = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]


class ClaimBody(msgspec.Struct, forbid_unknown_fields=True):
    """`token` is the claim's secret, made by the caller; `wait` is in seconds. `session` is the agent's own id of the
    conversation that the claim belongs to; a person's claim without one opens a session of its own."""

    repo: str
    name: Name
    token: AttemptToken | None = None
    number: int | None = None
    dir: str | None = None
    count: Annotated[int, msgspec.Meta(ge=1, le=MOST)] = 1
    peek: bool = False
    capabilities: Annotated[tuple[Capability_, ...], msgspec.Meta(max_length=50)] = ()
    worker_id: str | None = None
    session: SessionId | None = None
    wait: Annotated[float, msgspec.Meta(ge=0, le=LONGEST_WAIT)] = 0.0


class ClaimMade(msgspec.Struct):
    """One claim; with `peek` what a claim would be, without attempt and lease. `context` is the context bundle."""

    attempt: str
    fence: int
    item: Listed
    branch: str
    base_sha: str | None
    lease_until: datetime | None
    context: dict[str, Any]


class Claims(msgspec.Struct):
    claims: list[ClaimMade]


class StatusQuery(msgspec.Struct):
    """`repo` (owner/name) is needed with a person's token; without it a worker token means all its repositories."""

    repo: str | None = None


class Counts(msgspec.Struct):
    """Ready items by priority; open questions of workers; answers that no attempt has taken up yet."""

    high_priority: int
    default: int
    low_priority: int
    worker_requests: int
    controller_responses: int


class QueueStatus(msgspec.Struct):
    queues: Counts
    in_progress: int
    in_review: int


class QueueApi:
    """The routes of those who ask for work."""

    def __init__(
        self, callers: Callers, pull: PullService, workers: WorkerService, runs: RunService, store: Store
    ) -> None:
        self._workers = workers
        self._callers = callers
        self._pull = pull
        self._runs = runs
        self._store = store

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/api/v1/queue/claim", self.claim), web.get("/api/v1/queue/status", self.status)]

    async def status(self, request: web.Request) -> web.Response:
        caller = await self._callers.person_or_worker(request)
        name = query_of(request, StatusQuery).repo
        if name is not None:
            repos = [await self._callers.repo_open_to(caller, name, Capability.READ)]
        elif isinstance(caller, Person):
            raise ApiProblem(Code.INVALID, "Say by `?repo=owner/name` whose queue you mean.")
        else:
            known = await self._store.read(lambda tx: tx.repos(caller.installation))
            repos = [repo for repo in known if repo.active and caller.opens(repo.key)]
        found = await queue_stats(self._store, repos)
        counts = Counts(found.high, found.default, found.low, found.worker_requests, found.controller_responses)
        return answer(QueueStatus(counts, found.in_progress, found.in_review))

    async def claim(self, request: web.Request) -> web.Response:
        caller = await self._callers.person_or_worker(request)
        body = await body_of(request, ClaimBody)
        repo = await self._callers.repo_open_to(caller, body.repo, Capability.START)
        asker = await self._asker(caller, body)
        number = await self._number(repo, body)
        if body.peek:
            items = await self._pull.peek(repo, asker, number, body.count)
            if items:
                return answer(Claims([await self._would_be(item) for item in items]))
            return await self._nothing(repo, asker)
        if body.token is None or body.count != 1:
            raise ApiProblem(Code.INVALID, "A claim carries one secret `token` (tga_…), and is for one item.")
        found = await self._pull.claim(
            repo, asker, body.token, number, wait=body.wait, gone=lambda: request.transport is None
        )
        if isinstance(found, NotClaimed):
            return await self._not_claimed(repo, asker, found, number)
        return answer(Claims([await self._made(found)]))

    async def _asker(self, caller: Person | WorkerToken, body: ClaimBody) -> Asker:
        name = one_line(body.name)
        if isinstance(caller, Person):
            if body.worker_id is not None:
                raise ApiProblem(Code.INVALID, "`worker_id` belongs to a worker token, and this is a person's.")
            return Asker(name, person=caller, session=body.session, capabilities=body.capabilities)
        if body.worker_id is None:
            return Asker(name, token=caller, session=body.session, capabilities=body.capabilities)
        record = await self._workers.worker(caller, body.worker_id)
        able = body.capabilities or record.capabilities
        return Asker(record.name, token=caller, record=record, session=body.session, capabilities=able)

    async def _number(self, repo: RepoRecord, body: ClaimBody) -> int | None:
        """Which item is named, by its number or its plan's folder."""
        if body.dir is None:
            return body.number
        if body.number is not None:
            raise ApiProblem(Code.INVALID, "Name the item by `number` or by `dir`, not by both.")
        folder = body.dir.strip().removeprefix("./").rstrip("/")
        item = await self._store.read(lambda tx: tx.item_of_thought(repo.key, folder))
        if item is None:
            raise ApiProblem(Code.NOT_FOUND, f"`{folder}` is not in the backlog of `{repo.full_name}`.")
        return item.key.number

    async def _made(self, given: Given) -> ClaimMade:
        attempt = given.attempt
        attempts = await self._store.read(lambda tx: tx.attempts(attempt.key))
        context = await self._runs.context(attempt)
        return ClaimMade(
            attempt=attempt.id,
            fence=attempt.fence,
            item=listed(given.item, attempts),
            branch=attempt.branch,
            base_sha=attempt.base_sha,
            lease_until=attempt.lease_until,
            context=context.model_dump(mode="json"),
        )

    async def _would_be(self, item: Item) -> ClaimMade:
        attempts = await self._store.read(lambda tx: tx.attempts(item.key))
        thought = item.thought
        paths = {} if thought is None else {f"{k}_path": f"{thought.dir}/{k}.md" for k in ("research", "plan")}
        return ClaimMade(
            attempt="",
            fence=item.fence + 1,
            item=listed(item, attempts),
            branch=attempts[-1].branch if attempts else "",
            base_sha=None,
            lease_until=None,
            context={"thought": {"dir": thought.dir, **paths} if thought is not None else None},
        )

    async def _not_claimed(self, repo: RepoRecord, asker: Asker, found: NotClaimed, number: int | None) -> web.Response:
        if number is None:
            return await self._nothing(repo, asker)
        if found.owner is not None:
            raise ApiProblem(
                Code.TAKEN,
                f"#{number} is with {found.owner}.",
                owner=found.owner,
                lease_until=found.lease_until.isoformat() if found.lease_until else None,
            )
        said = " ".join(sentence(reason) for reason in found.reasons)
        raise Refused(f"#{number} cannot be claimed now. {said}")

    async def _nothing(self, repo: RepoRecord, asker: Asker) -> web.Response:
        """Nothing to give: how many items wait, and the codes of what they wait for."""
        waiting = await self._pull.waiting(repo, asker)
        return web.Response(
            status=204,
            headers={
                "Cache-Control": "no-store",
                "X-Tgs-Waiting": str(len(waiting)),
                "X-Tgs-Waiting-For": ", ".join(_codes(reasons for _, reasons in waiting)),
            },
        )


DESCRIBED = (
    Row(
        "GET",
        "/api/v1/queue/status",
        (Caller.PERSON, Caller.WORKER),
        "How much work there is: ready items by priority, open questions, answers, work under way.",
        answers={200: QueueStatus},
        query=StatusQuery,
        example=Example(query={"repo": "olga/greeter"}),
    ),
    Row(
        "POST",
        "/api/v1/queue/claim",
        (Caller.PERSON, Caller.WORKER),
        "Claim the next item, or the named one, for whoever asks; `peek` only looks. `wait` keeps the question "
        "open that many seconds. Repeating it with the same `token` gives the same claim. 204: nothing can "
        "start now; the header `X-Tgs-Waiting` says how many items wait, `X-Tgs-Waiting-For` for what.",
        answers={200: Claims, 204: None},
        body=ClaimBody,
        role="start",
        problems=(Code.NOT_FOUND, Code.TAKEN, Code.LOST_CLAIM),
        example=Example(body={"repo": "olga/greeter", "name": "laptop", "token": EXAMPLE_TOKEN_2}, status=204),
    ),
)


def _codes(all_: Any) -> list[str]:
    found: list[Waiting] = [reason for reasons in all_ for reason in reasons]
    return sorted({reason.code for reason in found})
