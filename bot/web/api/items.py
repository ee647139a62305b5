"""`/api/v1/repos/{owner}/{repo}/items…`: the backlog, item by item, for people.

Who may call: who can read the repository; what a call changes is checked like the command that does the same. An item
has a revision, which is its `ETag`; `If-Match` makes a change depend on it, and `Idempotency-Key` makes a repeated
call the same call.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from aiohttp import web

from bot.backlog import Backlogs, Filters, Listed
from bot.domain.attempt import Attempt
from bot.domain.model import AttemptId, IssueKey, Item, ItemState, Person, Role
from bot.domain.repository import RepoRecord
from bot.domain.views import TGS_STATUS
from bot.explaining import Explainer
from bot.membership import Entered, Membership, Ticket, Wish
from bot.protocols.clock import Ids
from bot.protocols.ledger import Store
from bot.texts.reasons import sentence
from bot.web.api.bodies import answer, body_of, query_of
from bot.web.api.callers import Callers
from bot.web.api.described import ITEM, REPO, Caller, Example, Header, Row
from bot.web.api.item_forms import (
    AddBody,
    Attempts,
    ChangeBody,
    Changed,
    EnqueueBody,
    Explained,
    History,
    HistoryQuery,
    ItemPage,
    ItemsQuery,
    ItemView,
    LogView,
    RemoveQuery,
    Taken,
)
from bot.web.api.item_views import attempt_view, history_line, item_view
from bot.web.api.problems import ApiProblem, Code


class Items:
    """The routes about single items."""

    def __init__(
        self,
        callers: Callers,
        store: Store,
        backlogs: Backlogs,
        membership: Membership,
        explainer: Explainer,
        ids: Ids,
    ) -> None:
        self._callers = callers
        self._store = store
        self._backlogs = backlogs
        self._membership = membership
        self._explainer = explainer
        self._ids = ids

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get(f"{REPO}/items", self.items),
            web.post(f"{REPO}/items", self.add),
            web.get(ITEM, self.one),
            web.patch(ITEM, self.change),
            web.delete(ITEM, self.remove),
            web.get(f"{ITEM}/attempts", self.attempts),
            web.get(f"{ITEM}/attempts/{{attempt}}/log", self.log),
            web.post("/api/v1/queue/enqueue", self.enqueue),
            web.get(f"{ITEM}/history", self.history),
            web.get(f"{ITEM}/explain", self.explain),
        ]

    async def items(self, request: web.Request) -> web.Response:
        _, repo = await self._callers.person_in(request)
        query = query_of(request, ItemsQuery)
        filters = Filters(
            frozenset(_known("state", query.state, {state.value: state for state in ItemState})),
            frozenset(_known("status", query.status, {word: word for word in TGS_STATUS.values()})),
            frozenset(label.casefold() for label in query.label),
        )
        page = await self._backlogs.items(repo, filters, query.limit, query.cursor)
        return answer(ItemPage(list(page.items), page.next_cursor))

    async def enqueue(self, request: web.Request) -> web.Response:
        person = await self._callers.person(request)
        body = await body_of(request, EnqueueBody)
        return await self._added(request, person, await self._callers.repo_for(person, body.repo, Role.READ), body)

    async def add(self, request: web.Request) -> web.Response:
        person, repo = await self._callers.person_in(request)
        return await self._added(request, person, repo, await body_of(request, AddBody))

    async def _added(self, request: web.Request, person: Person, repo: RepoRecord, body: AddBody) -> web.Response:
        ticket = None
        if body.ticket is not None:
            ticket = Ticket(body.ticket.title, body.ticket.body, body.ticket.fields)
        wish = Wish(
            number=body.number,
            dir=body.dir,
            ticket=ticket,
            title=body.title,
            priority=body.priority,
            locks=None if body.locks is None else tuple(body.locks),
            depends_on=None if body.depends_on is None else tuple(body.depends_on),
        )
        key, keyed = request_key(request, self._ids)
        done = await self._membership.add(person, repo, wish, key, keyed=keyed)
        return await self._changed(done, 201 if done.new else 200)

    async def one(self, request: web.Request) -> web.Response:
        _, repo = await self._callers.person_in(request)
        item, line, _ = await self._known(key_in(request, repo))
        questions = await self._store.read(lambda tx: tx.questions(item.key))
        return answer(item_view(item, line, questions), headers=etag(item))

    async def change(self, request: web.Request) -> web.Response:
        person, repo = await self._callers.person_in(request)
        body = await body_of(request, ChangeBody)
        wish = Wish(
            priority=body.priority,
            locks=None if body.locks is None else tuple(body.locks),
            depends_on=None if body.depends_on is None else tuple(body.depends_on),
        )
        key = key_in(request, repo)
        done = await self._membership.change(person, key, wish, request_key(request, self._ids)[0], if_match(request))
        return await self._changed(done, 200)

    async def remove(self, request: web.Request) -> web.Response:
        person, repo = await self._callers.person_in(request)
        query = query_of(request, RemoveQuery)
        key = key_in(request, repo)
        name = request_key(request, self._ids)[0]
        done = await self._membership.remove(person, key, name, force=query.force, revision=if_match(request))
        return await self._changed(done, 200)

    async def attempts(self, request: web.Request) -> web.Response:
        _, repo = await self._callers.person_in(request)
        _, _, attempts = await self._known(key_in(request, repo))
        return answer(Attempts([attempt_view(attempt, repo) for attempt in attempts]))

    async def log(self, request: web.Request) -> web.Response:
        _, repo = await self._callers.person_in(request)
        _, _, attempts = await self._known(key_in(request, repo))
        asked = AttemptId(request.match_info["attempt"])
        if any(attempt.id == asked for attempt in attempts) and (found := await self._log_of(asked)) is not None:
            return answer(LogView(found[0], found[1]))
        raise ApiProblem(Code.NOT_FOUND, "No log of this attempt was handed in.")

    async def _log_of(self, attempt: AttemptId) -> tuple[str, datetime] | None:
        return await self._store.read(lambda tx: tx.log(attempt))

    async def history(self, request: web.Request) -> web.Response:
        _, repo = await self._callers.person_in(request)
        query = query_of(request, HistoryQuery)
        key = key_in(request, repo)
        lines, removed = await self._store.read(lambda tx: (tx.history(key, query.limit), tx.history_removed(key)))
        return answer(History([history_line(line) for line in lines], removed))

    async def explain(self, request: web.Request) -> web.Response:
        _, repo = await self._callers.person_in(request)
        key = key_in(request, repo)
        await self._membership.there(key)
        reasons = await self._explainer.reasons(key)
        return answer(Explained(list(dict.fromkeys(sentence(reason) for reason in reasons))))

    async def _known(self, key: IssueKey) -> tuple[Item, Listed, list[Attempt]]:
        found = await self._backlogs.one(key)
        if found is None:
            raise ApiProblem(Code.NOT_FOUND, f"#{key.number} is not in the backlog.")
        return found

    async def _changed(self, done: Entered, status: int) -> web.Response:
        found = await self._backlogs.one(done.key)
        if not done.settled or found is None:
            line = found[1] if found is not None else None
            return answer(Taken(done.text, done.key.number, line), 202)
        return answer(Changed(done.text, found[1]), status, etag(found[0]))


def key_in(request: web.Request, repo: RepoRecord) -> IssueKey:
    """The issue that the path names."""
    number = request.match_info["number"]
    if not number.isascii() or not number.isdecimal() or len(number) > 9:
        raise ApiProblem(Code.NOT_FOUND, "The number of an item is that of its issue.")
    return IssueKey(repo.key.installation, repo.key.repo, int(number))


def etag(item: Item) -> dict[str, str]:
    """The header that names the item's revision."""
    return {"ETag": f'"{item.revision}"'}


def if_match(request: web.Request) -> int | None:
    """The revision that the caller saw; None when it does not matter to them."""
    value = request.headers.get("If-Match", "").strip()
    if value in {"", "*"}:
        return None
    if len(value) > 2 and value[0] == value[-1] == '"' and value[1:-1].isascii() and value[1:-1].isdecimal():
        return int(value[1:-1][:18])
    raise ApiProblem(Code.INVALID, 'Send `If-Match: "<revision>"` as `ETag` gave it.')


def request_key(request: web.Request, ids: Ids) -> tuple[str, bool]:
    """What names this request, and whether the caller chose it."""
    key = request.headers.get("Idempotency-Key", "").strip()
    if len(key) > 200 or not key.isprintable():
        raise ApiProblem(Code.INVALID, "`Idempotency-Key` has at most 200 printable characters.")
    return (f"key:{key}", True) if key else (ids.new("r"), False)


def _known(name: str, values: list[str], known: dict[str, Any]) -> list[Any]:
    for value in values:
        if value not in known:
            raise ApiProblem(Code.INVALID, f"`{name}` is one of {', '.join(dict.fromkeys(known))}, not `{value}`.")
    return [known[value] for value in values]


DESCRIBED = (
    Row(
        "GET",
        f"{REPO}/items",
        (Caller.PERSON,),
        "The backlog in the order of the queue, ended items last. `state`, `status` and `label` may be repeated.",
        {200: ItemPage},
        query=ItemsQuery,
        example=Example(query={"limit": "2"}),
    ),
    Row(
        "POST",
        f"{REPO}/items",
        (Caller.PERSON,),
        "Put an issue, a thought folder or a ticket into the queue, as the ready label does. 201: it was not there; "
        "200: it was; 202: taken, and not carried out yet.",
        {200: Changed, 201: Changed, 202: Taken},
        body=AddBody,
        role="start",
        problems=(Code.NOT_FOUND, Code.CONFLICT),
        example=Example(
            {"ticket": {"title": "Greet in French", "body": "Say bonjour.", "fields": {"id": "T-7"}}}, status=201
        ),
        headers=(Header.IDEMPOTENCY_KEY,),
    ),
    Row(
        "GET",
        ITEM,
        (Caller.PERSON,),
        "One item; its `ETag` is its revision.",
        {200: ItemView},
        problems=(Code.NOT_FOUND,),
        example=Example(),
    ),
    Row(
        "PATCH",
        ITEM,
        (Caller.PERSON,),
        "Change priority, locks or dependencies; lists replace what is there. Nothing can start in between.",
        {200: Changed, 202: Taken},
        body=ChangeBody,
        role="prioritise, hold",
        problems=(Code.NOT_FOUND, Code.CONFLICT),
        example=Example({"priority": 10}),
        headers=(
            Header.IDEMPOTENCY_KEY,
            Header.IF_MATCH,
        ),
    ),
    Row(
        "DELETE",
        ITEM,
        (Caller.PERSON,),
        "Take it out of the queue. While somebody works on it only with `force=true`, which stops them.",
        {200: Changed, 202: Taken},
        query=RemoveQuery,
        role="stop",
        problems=(Code.NOT_FOUND, Code.CONFLICT),
        headers=(
            Header.IDEMPOTENCY_KEY,
            Header.IF_MATCH,
        ),
    ),
    Row(
        "GET",
        f"{ITEM}/attempts/{{attempt}}/log",
        (Caller.PERSON,),
        "The log that a session or pull worker handed in when the attempt failed.",
        answers={200: LogView},
        problems=(Code.NOT_FOUND,),
    ),
    Row(
        "POST",
        "/api/v1/queue/enqueue",
        (Caller.PERSON,),
        "Add an issue, a plan or a ticket, as `POST` on the items of a repository does. 201: it is new in the queue.",
        answers={200: Changed, 201: Changed, 202: Taken},
        body=EnqueueBody,
        role="start",
        problems=(Code.NOT_FOUND, Code.CONFLICT),
        example=Example(body={"repo": "olga/greeter", "ticket": {"title": "Greet in Finnish"}}, status=201),
    ),
    Row(
        "GET",
        f"{ITEM}/attempts",
        (Caller.PERSON,),
        "The attempts of an item, oldest first.",
        {200: Attempts},
        problems=(Code.NOT_FOUND,),
        example=Example(),
    ),
    Row(
        "GET",
        f"{ITEM}/history",
        (Caller.PERSON,),
        "What happened to it: the newest lines, oldest first.",
        {200: History},
        query=HistoryQuery,
        problems=(Code.NOT_FOUND,),
        example=Example(),
    ),
    Row(
        "GET",
        f"{ITEM}/explain",
        (Caller.PERSON,),
        "Why it is or is not moving, as sentences.",
        {200: Explained},
        problems=(Code.NOT_FOUND,),
        example=Example(),
    ),
)
"""What is said about these routes."""
