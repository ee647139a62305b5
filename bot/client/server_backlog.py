"""The backlog that a running bot keeps, over its HTTP API.

Promise: thin. The bot decides; here requests are made and answers become the records of `bot/client/backlog.py`.
A claim's secret is made here and sent with the question, so no answer holds one. Several claims are several questions,
each with a secret of its own: what was won stays won when a later question fails.

On the wire an item has the fields of `Entry`, a finding those of `Finding`, a lock those of `LockHeld` (`item` may be
the issue's number); what settles or removes answers with `text`, `item` and, where a retry waits, `due_at`.

Race: between a look-up of a folder's number and the write, the item may change; the bot judges what arrives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar
from urllib.parse import quote

import msgspec
from pydantic import SecretStr

from bot.client.backlog import (
    Added,
    Addition,
    Claim,
    Ending,
    Entry,
    Finding,
    Held,
    ItemRef,
    LockHeld,
    NothingThere,
    Scanned,
    Settled,
    Status,
    Wanted,
)
from bot.client.http import CLAIM, Answer, BotHttp
from bot.client.plain import plain, unaddressed
from bot.domain.identity import RunSecret
from bot.domain.model import ItemState
from bot.errors import Refused, TgsError, Unavailable, UserError
from bot.protocols.clock import Ids

PAGE: Final = 100
"""Items of one answer: the bot may give fewer."""
MAX_PEEK: Final = 20
"""Items of one look ahead that the bot gives."""
MAX_PAGES: Final = 100
"""A list that does not end is an error of the other side."""
Record = TypeVar("Record")


@dataclass(frozen=True, slots=True)
class Beat:
    """The answer to a sign of life: how long the claim holds, whether to stop, and what people said meanwhile."""

    lease_until: datetime | None = None
    cancel: bool = False
    steer: tuple[str, ...] = ()


class ServerBacklog:
    """One repository's backlog at one server. The caller opens and closes the HTTP session."""

    def __init__(self, http: BotHttp, full_name: str, ids: Ids) -> None:
        self._http = http
        self._name = full_name
        self._ids = ids
        self._repo = f"/api/v1/repos/{full_name}"

    async def add(self, addition: Addition) -> Added:
        options = {
            "title": addition.title,
            "priority": addition.priority,
            "locks": addition.locks,
            "depends_on": addition.depends_on,
        }
        body: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
        if addition.ticket is not None:
            ticket = addition.ticket
            body["ticket"] = {"title": ticket.title, "body": ticket.body, "fields": dict(ticket.fields)}
        elif addition.ref is not None:
            body |= _named(addition.ref)
        answer = await self._http.send("POST", f"{self._repo}/items", body)
        named = addition.ticket.title if addition.ticket is not None else str(addition.ref)
        return Added(_entry(_item(answer, named)), new=answer.status != 200)

    async def remove(self, ref: ItemRef, *, force: bool = False) -> Settled:
        number = await self._number(ref)
        query = [("force", "true")] if force else []
        return _settled(await self._http.send("DELETE", f"{self._repo}/items/{number}", query=query))

    async def entries(
        self, *, states: Sequence[ItemState] = (), statuses: Sequence[Status] = (), labels: Sequence[str] = ()
    ) -> list[Entry]:
        query = [
            *(("state", one.value) for one in states),
            *(("status", one.value) for one in statuses),
            *(("label", one) for one in labels),
            ("limit", str(PAGE)),
        ]
        found: list[Entry] = []
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            page = (
                await self._http.get(f"{self._repo}/items", [*query, *([("cursor", cursor)] if cursor else [])])
            ).body
            found += [_entry(item) for item in _list(page, "items")]
            cursor = page.get("next_cursor")
            if not cursor:
                break
        # A bot of an older version does not know the second and third kind of filter.
        return [
            entry
            for entry in found
            if (not statuses or entry.status in statuses) and (not labels or set(labels) & set(entry.labels))
        ]

    async def claim(self, wanted: Wanted) -> list[Claim]:
        if wanted.peek or wanted.count == 1:
            return await self._claim(wanted, wanted.count)
        won: list[Claim] = []
        for _ in range(wanted.count):
            try:
                won += await self._claim(wanted, 1)
            except TgsError:
                # What was won must be told; the next call meets the trouble again.
                if not won:
                    raise
                break
        return won

    async def _claim(self, wanted: Wanted, count: int) -> list[Claim]:
        token = self._ids.new(RunSecret.ATTEMPT)
        count = min(count, MAX_PEEK)
        body: dict[str, Any] = {"repo": self._name, "name": wanted.name, "token": token, "count": count}
        if wanted.ref is not None:
            body |= _named(wanted.ref)
        if wanted.peek:
            body["peek"] = True
        if wanted.capabilities:
            body["capabilities"] = list(wanted.capabilities)
        answer = await self._http.send("POST", CLAIM, body)
        claims = [_claim(one, "" if wanted.peek else token) for one in _list(answer.body, "claims", empty=True)]
        if not claims:
            raise NothingThere("Nothing is ready to be worked on.", await self._why_nothing())
        return claims

    async def _why_nothing(self) -> list[str]:
        """What waits, for what; the first few, in the order of the queue. A worker's token may not list."""
        try:
            waiting = await self.entries(states=[ItemState.READY, ItemState.IN_PROGRESS])
        except TgsError:
            return []
        return [f"{entry.name} waits: {' '.join(entry.waiting)}" for entry in waiting[:3] if entry.waiting]

    async def complete(self, held: Held, *, evidence: str | None = None) -> Settled:
        body = {"evidence": evidence} if evidence else {}
        return await self._settle(held, "complete", body)

    async def fail(self, held: Held, ending: Ending) -> Settled:
        body: dict[str, Any] = {"reason": ending.reason, "message": ending.message}
        if ending.retryable is not None:
            body["retryable"] = ending.retryable
        if ending.log is not None:
            body["log"] = ending.log
        return await self._settle(held, "fail", body)

    async def heartbeat(self, held: Held, note: str = "") -> Beat:
        """A sign of life, which keeps the claim. `note` says how far the work is. Raises LostClaim."""
        token = _token(held)
        progress = {"progress": {"step": 0, "total": 0, "text": note}} if note else {}
        path = f"/api/v1/attempts/{quote(held.attempt or '', safe='')}/heartbeat"
        answer = await self._http.send("POST", path, {"fence": held.fence, **progress}, bearer=token)
        return _record(Beat, dict(answer.body))

    async def _settle(self, held: Held, end: str, body: Mapping[str, Any]) -> Settled:
        token = _token(held)
        path = f"/api/v1/attempts/{quote(held.attempt or '', safe='')}/{end}"
        answer = await self._http.send("POST", path, {"fence": held.fence, **body}, bearer=token)
        return _settled(answer)

    async def validate(self, *, fix: bool = False) -> list[Finding]:
        path = f"{self._repo}/validate"
        answer = await self._http.send("POST", path, {"fix": True}) if fix else await self._http.get(path)
        return [_finding(one) for one in _list(answer.body, "findings")]

    async def scan(self, *, apply: bool) -> Scanned:
        body = (await self._http.send("POST", f"{self._repo}/scan", {"apply": apply})).body
        return Scanned(
            added=tuple(_entry(one) for one in _list(body, "added")),
            known=int(body.get("known", 0)),
            refused=tuple(_finding(one) for one in _list(body, "refused", empty=True)),
        )

    async def export(self) -> Mapping[str, object]:
        return (await self._http.get(f"{self._repo}/export")).body

    async def import_(self, file: Mapping[str, object]) -> list[Added]:
        """Raises Refused when some could not be added; the others were, and a second time adds nothing."""
        body = (await self._http.send("POST", f"{self._repo}/import", file)).body
        done = [Added(_entry(one["item"]), bool(one.get("new"))) for one in _list(body, "items") if one.get("item")]
        if refused := _list(body, "refused", empty=True):
            new = sum(one.new for one in done)
            lines = "".join(
                f"\n- {_refusal(plain(str(one.get('name'))), plain(str(one.get('why'))))}" for one in refused
            )
            items = "1 item" if len(refused) == 1 else f"{len(refused)} items"
            raise Refused(f"{items} could not be added ({new} new, {len(done) - new} known before):{lines}")
        return done

    async def locks(self) -> list[LockHeld]:
        found = _list((await self._http.get(f"{self._repo}/locks")).body, "locks")
        return [_record(LockHeld, one | {"item": _name_of(one["item"])}) for one in found]

    async def release_lock(self, path: str) -> Settled:
        return _settled(await self._http.send("DELETE", f"{self._repo}/locks", query=[("path", path)]))

    async def explain(self, ref: ItemRef) -> list[str]:
        number = await self._number(ref)
        body = (await self._http.get(f"{self._repo}/items/{number}/explain")).body
        return [plain(str(one)) for one in _list(body, "lines")]

    async def _number(self, ref: ItemRef) -> int:
        """The issue of a folder. Raises UserError when no item was made from it."""
        if ref.number is not None:
            return ref.number
        for entry in await self.entries():
            if entry.dir == ref.dir and entry.number is not None:
                return entry.number
        raise UserError(f"`{ref.dir}` is not in the backlog.", "Add it with `tgs server backlog add`.")


# --- answers -----------------------------------------------------------------------------------------


def _token(held: Held) -> SecretStr:
    """The claim's secret. Raises Refused when the claim is not named in full."""
    if held.attempt is None or held.fence is None or held.token is None:
        raise Refused(f"Only who claimed {held.ref} can speak for it, and no claim was named.", "Claim it first.")
    return SecretStr(held.token)


def _named(ref: ItemRef) -> dict[str, Any]:
    return {"number": ref.number} if ref.number is not None else {"dir": ref.dir}


def _record(form: type[Record], value: object) -> Record:
    try:
        return msgspec.convert(value, form)
    except msgspec.ValidationError as error:
        raise _odd(str(error)) from None


def _odd(what: str) -> Unavailable:
    return Unavailable(
        f"The server answered in a form that this version does not know ({what}). "
        "Use the version of `tgs` that the server offers under /dist/."
    )


def _list(body: Mapping[str, Any], name: str, *, empty: bool = False) -> list[Any]:
    found = body.get(name, [] if empty else None)
    if not isinstance(found, list):
        raise _odd(f"no `{name}`")
    return found


def _item(answer: Answer, title: str = "") -> object:
    """The item of an answer. A command that was only taken (202) may not have made one yet."""
    found = answer.body.get("item", answer.body)
    if found is None and answer.status == 202:
        number = answer.body.get("number")
        return {"dir": None, "title": title, "state": "proposed", "status": "proposed", "number": number}
    return found


def _entry(value: object) -> Entry:
    return _record(Entry, value)


def _name_of(item: object) -> str:
    return f"#{item}" if isinstance(item, int) else str(item)


def _finding(value: Any) -> Finding:
    item = value.get("item") if isinstance(value, dict) else None
    return _record(Finding, value | {"item": None if item is None else _name_of(item)})


def _settled(answer: Answer) -> Settled:
    said = _record(_Said, answer.body)
    entry = _entry(_item(answer))
    # The words are those of a comment, which stands where the item is known.
    words = unaddressed(plain(said.text))
    name = entry.name if entry.dir is None or entry.number is None else f"{entry.name} ({entry.dir})"
    return Settled(entry, words if words.startswith(entry.name) else f"{name}: {words}", said.due_at)


def _refusal(name: str, why: str) -> str:
    """Some reasons name the item themselves; once is enough."""
    return why if name in why else f"{name}: {why}"


class _Said(msgspec.Struct):
    text: str
    due_at: datetime | None = None


class _Claimed(msgspec.Struct):
    attempt: str
    fence: int
    item: Entry
    branch: str
    base_sha: str | None = None
    lease_until: datetime | None = None
    context: list[str] | dict[str, Any] = []


def _claim(value: object, token: str) -> Claim:
    said = _record(_Claimed, value)
    return Claim(
        entry=said.item,
        attempt=said.attempt,
        fence=said.fence,
        token=token,
        branch=said.branch,
        base_sha=said.base_sha,
        lease_until=said.lease_until,
        context=tuple(said.context if isinstance(said.context, list) else _paths(said.context)),
    )


def _paths(bundle: Mapping[str, Any]) -> list[str]:
    """What to read first, from the context that workers get: the plan's files, else the issue."""
    thought = bundle.get("thought") or {}
    files = [str(thought[name]) for name in ("research_path", "plan_path") if thought.get(name)]
    clone = str((bundle.get("repository") or {}).get("clone_url") or "")
    if not files and clone and bundle.get("issue"):
        return [f"{clone.removesuffix('.git')}/issues/{bundle['issue']}"]
    return files
