"""Commands that do not come as comments: the API, the command line and buttons give them here.

Promise: a command given here is the same stored intent as a slash command, read by the same parser, checked by the
same roles and carried out by the same rules; only its answer goes to the asker instead of onto the issue. A request
that is repeated with the same key is the same command. Race: between reading an item and commanding it, the item may
change; who names the revision that they saw is refused then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from bot.domain.command_parser import ParseError, parse
from bot.domain.commands import PREFIX, Command
from bot.domain.intents import API_INTENT, Intent, IntentSource
from bot.domain.model import IssueKey, Person
from bot.domain.notes import Note, from_json
from bot.errors import UserError
from bot.policies import policy_of
from bot.protocols.clock import Clock
from bot.protocols.ledger import Ledger, Store
from bot.texts.render import RenderContext, render

ANSWER_WITHIN = timedelta(seconds=10)
"""How long an answer is awaited before the asker is told to look later; passes take far less."""

LOOK_EVERY = timedelta(milliseconds=50)
"""How often the outcome is looked for; a pass takes a few milliseconds beside its requests to GitHub."""


class Stale(UserError):
    """The item is not as the caller saw it. `revision` is the one it has now."""

    def __init__(self, revision: int) -> None:
        super().__init__("The item has changed since you looked.", "Read it again and decide anew.")
        self.revision = revision


@dataclass(frozen=True, slots=True)
class Ordered:
    """A command that was taken. `outcome` None: not carried out yet. `text` is the answer in Markdown."""

    id: str
    outcome: str | None
    text: str


class CommandService:
    """Takes commands of people for one item."""

    def __init__(self, store: Store, clock: Clock, sleep: Callable[[float], Awaitable[None]], html_url: str) -> None:
        self._store = store
        self._clock = clock
        self._sleep = sleep
        self._html_url = html_url

    async def order(
        self, person: Person, key: IssueKey, line: str, *, request: str, revision: int | None = None
    ) -> Ordered:
        """Store the command and wait a moment for its outcome.

        `line` is what would stand after `/tgs` in a comment; `request` names the request, so that its repetition does
        nothing. Raises UserError for a line that is no command, or a request key that was used for another command,
        and Stale when the item's revision is not `revision` any more.
        """
        return (await self.orders(person, key, [line], request=request, revision=revision))[0]

    async def orders(
        self,
        person: Person,
        key: IssueKey,
        lines: Sequence[str],
        *,
        request: str,
        revision: int | None = None,
        alone: bool = True,
    ) -> list[Ordered]:
        """As `order`, for several commands that take effect together and in this order: no start comes in between.

        With a revision and `alone`, a command that is still open counts as a change: of several who saw the same
        revision one is first, even before anything was carried out.
        """
        now = self._clock.now()
        intents = [
            Intent(
                id=API_INTENT + _digest(f"{person.id}:{key}:{request}" + (f":{place}" if place else "")),
                key=key,
                source=IntentSource.API,
                verb=command.verb.value,
                args=command.args,
                actor=person,
                # Commands are carried out in the order of their times.
                created_at=now + timedelta(microseconds=place),
            )
            for place, command in enumerate(_command(line, now) for line in lines)
        ]

        def take(tx: Ledger) -> None:
            known = [tx.intent(intent.id) for intent in intents]
            if any(known):
                if [(k[0].verb, k[0].args) for k in known if k] != [(i.verb, i.args) for i in intents]:
                    raise UserError("This idempotency key was used for another command.", "Use a fresh key.")
                return
            item = tx.item(key)
            moved = item is not None and (item.revision != revision or (alone and bool(tx.open_intents(key))))
            if revision is not None and item is not None and moved:
                raise Stale(item.revision)
            for intent in intents:
                tx.put_intent(intent)
            tx.touch(key)

        await self._store.write(take)
        return [await self._outcome(intent) for intent in intents]

    async def _outcome(self, intent: Intent) -> Ordered:
        for _ in range(ANSWER_WITHIN // LOOK_EVERY):
            found = await self._store.read(lambda tx: tx.intent(intent.id))
            if found is not None and found[1] is not None:
                answer = from_json(found[2]) if found[2] is not None else None
                return Ordered(intent.id, found[1], await self._words(intent.key, answer, found[1]))
            await self._sleep(LOOK_EVERY.total_seconds())
        return Ordered(intent.id, None, "The command was taken; its outcome is not known yet.")

    async def _words(self, key: IssueKey, answer: Note | None, outcome: str) -> str:
        repo, item = await self._store.read(lambda tx: (tx.repo(key.repo_key), tx.item(key)))
        if answer is None or repo is None:
            return f"Done: {outcome.replace('_', ' ')}."
        return render(answer, RenderContext(repo, item, policy_of(repo), self._html_url, self._clock.now()))


def _command(line: str, now: datetime) -> Command:
    """The one command of this line. Raises UserError."""
    found = parse(f"{PREFIX} {line}", now)
    if len(found) != 1 or isinstance(found[0], ParseError):
        raise UserError(found[0].message if found and isinstance(found[0], ParseError) else "This is no command.")
    return found[0]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
