"""`…/actions/…`: every command of the command table, and the words that other tools use for them.

Who may call: who can read the repository; each action needs the role of its command, read when it is carried out.
Promise: an action is the command itself, with the same rules and the same answer in words, also where this version
cannot do it yet.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Annotated, Final

import msgspec
from aiohttp import web

from bot.backlog import Backlogs, Listed
from bot.domain.commands import Verb
from bot.domain.model import IssueKey, Person
from bot.domain.notes import NoteCode
from bot.domain.repository import RepoRecord
from bot.errors import Refused
from bot.membership import Membership
from bot.protocols.clock import Ids
from bot.protocols.ledger import Ledger, Store
from bot.service import CommandService, Ordered
from bot.web.api.bodies import answer, body_of
from bot.web.api.callers import Callers
from bot.web.api.described import ITEM, REPO, Caller, Example, Header, Row
from bot.web.api.items import etag, if_match, key_in, request_key
from bot.web.api.problems import ApiProblem, Code

ITEM_WORDS: Final = MappingProxyType(
    {
        "run": Verb.START,
        "run_qa": Verb.REVIEW,
        "cancel": Verb.STOP,
        # An item's pause is its hold; the pause of the command table is the repository's.
        "pause": Verb.HOLD,
        "resume": Verb.UNHOLD,
    }
)
"""Actions on an item that are not called like their command."""

ITEM_ACTIONS: Final = MappingProxyType({verb.value: verb for verb in Verb} | dict(ITEM_WORDS))
"""Every action on an item and its command."""

REPO_ACTIONS: Final = MappingProxyType(
    {verb.value: verb for verb in (Verb.PAUSE, Verb.RESUME, Verb.SYNC, Verb.NEXT, Verb.POLICY, Verb.HELP)}
)
"""Every action on a repository and its command."""


class ActionBody(msgspec.Struct, forbid_unknown_fields=True):
    """What would stand after the command's word in a comment, in one text or in several."""

    args: Annotated[list[str], msgspec.Meta(max_length=100)] = []


class Acted(msgspec.Struct):
    """`outcome`: done, already_so, cannot, not_available …; null with 202. `text` is what the bot would comment."""

    id: str
    outcome: str | None
    text: str
    item: Listed | None


def line_of(verb: Verb, args: list[str]) -> str:
    """The command as it would stand in a comment, without the prefix."""
    return " ".join([verb.value, *args]).strip()


class Actions:
    """The routes that give commands."""

    def __init__(
        self,
        callers: Callers,
        store: Store,
        backlogs: Backlogs,
        membership: Membership,
        commands: CommandService,
        ids: Ids,
    ) -> None:
        self._callers = callers
        self._store = store
        self._backlogs = backlogs
        self._membership = membership
        self._commands = commands
        self._ids = ids

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post(f"{ITEM}/actions/{{verb}}", self.item),
            web.post(f"{REPO}/actions/{{verb}}", self.repo),
        ]

    async def item(self, request: web.Request) -> web.Response:
        person, repo = await self._callers.person_in(request)
        verb = verb_in(request, ITEM_ACTIONS)
        body = await body_of(request, ActionBody)
        return await self.act(request, person, key_in(request, repo), line_of(verb, body.args))

    async def repo(self, request: web.Request) -> web.Response:
        person, repo = await self._callers.person_in(request)
        verb = verb_in(request, REPO_ACTIONS)
        body = await body_of(request, ActionBody)
        key = await self._store.read(lambda tx: _some_issue(tx, repo))
        return await self.act(request, person, key, line_of(verb, body.args))

    async def act(self, request: web.Request, person: Person, key: IssueKey, line: str) -> web.Response:
        """Give the command and answer with what came of it. Raises Refused for who may not."""
        await self._membership.there(key)
        name = request_key(request, self._ids)[0]
        done = await self._commands.order(person, key, line, request=name, revision=if_match(request))
        if done.outcome in {NoteCode.DENIED.value, NoteCode.ROLE_UNREADABLE.value}:
            raise Refused(done.text)
        found = await self._backlogs.one(key)
        item, headers = (found[1], etag(found[0])) if found is not None else (None, None)
        return answer(_acted(done, item), 202 if done.outcome is None else 200, headers)


def _acted(done: Ordered, item: Listed | None) -> Acted:
    return Acted(done.id, done.outcome, done.text, item)


def verb_in(request: web.Request, actions: MappingProxyType[str, Verb]) -> Verb:
    """The command that the path names. Raises ApiProblem."""
    word = request.match_info["verb"]
    if word not in actions:
        raise ApiProblem(Code.NOT_FOUND, f"There is no such action; there are: {', '.join(sorted(actions))}.")
    return actions[word]


def _some_issue(tx: Ledger, repo: RepoRecord) -> IssueKey:
    """The issue at which a command for the whole repository is kept. Raises ApiProblem when there is none yet."""
    numbers = [repo.setup_issue] if repo.setup_issue is not None else [item.key.number for item in tx.items(repo.key)]
    if not numbers:
        raise ApiProblem(Code.CONFLICT, "Nothing was set up in this repository yet. Try again when it was looked at.")
    return IssueKey(repo.key.installation, repo.key.repo, numbers[0])


DESCRIBED = (
    Row(
        "POST",
        f"{ITEM}/actions/{{verb}}",
        (Caller.PERSON,),
        "Give a command: " + ", ".join(f"`{word}`" for word in ITEM_ACTIONS) + ". 202: taken, not carried out yet.",
        {200: Acted, 202: Acted},
        body=ActionBody,
        role="that of the command",
        problems=(Code.NOT_FOUND, Code.CONFLICT),
        headers=(Header.IDEMPOTENCY_KEY, Header.IF_MATCH),
        example=Example({"args": []}, path={"verb": "status"}),
    ),
    Row(
        "POST",
        f"{REPO}/actions/{{verb}}",
        (Caller.PERSON,),
        "Give a command for the whole repository: " + ", ".join(f"`{word}`" for word in REPO_ACTIONS) + ".",
        {200: Acted, 202: Acted},
        body=ActionBody,
        role="that of the command",
        problems=(Code.NOT_FOUND, Code.CONFLICT),
        headers=(Header.IDEMPOTENCY_KEY,),
        example=Example({"args": []}, path={"verb": "next"}),
    ),
)
"""What is said about these routes."""
