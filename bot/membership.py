"""What is in the backlog: people add an issue, a thought or a ticket, and take items out again.

Promises: adding is the same as the ready label set by that person, carried out as their command, so roles and rules
are the same; the wishes given with it (priority, locks, dependencies) are carried out together with it, before
anything can start. Adding twice makes no second issue. Races: a thought may be mirrored by its repository's own look
at the same moment, and a ticket's answer may be lost; both acts are written ahead and found again by their marker.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bot.domain.command_parser import render
from bot.domain.commands import PREFIX, Command, Verb
from bot.domain.facts import Presence
from bot.domain.front_matter import FrontMatter, from_issue
from bot.domain.locks import parse_locks
from bot.domain.mirror import CreateIssue
from bot.domain.model import IssueKey, Item, ItemState, Person, Role
from bot.domain.notes import NoteCode
from bot.domain.permissions import Capability, Denied, decide
from bot.domain.repository import RepoRecord
from bot.domain.sanitise import code_span, for_title
from bot.domain.thoughts import Thought, parse_dir, recognise
from bot.errors import NotFound, Refused, Unavailable, UserError
from bot.mirror_acts import MirrorActs
from bot.outbox import Once, own_issue
from bot.policies import policy_of
from bot.protocols.clock import Clock
from bot.protocols.github import GitHub
from bot.protocols.ledger import Store
from bot.service import CommandService, Ordered, Stale
from bot.texts import markers
from bot.texts.ticket import ticket_body
from bot.thought_reader import ThoughtReader

MAX_TICKET = 50_000
"""Characters of a ticket's text; GitHub takes 65,536 in an issue, and our lines stand there as well."""

STALE_TRIES = 5
"""An item may change between the look and the command (its place in the queue does); look again this often."""

START = "start --in-turn"
"""The command that does what the ready label does."""

IN_WORDS = frozenset({"id", "title", "description", "priority"})
"""Fields of a ticket that have a place of their own in the issue or the ledger, not in the block."""


class NoSuchItem(UserError):
    """There is no such issue, or it is nothing that can be worked on."""


class NotNow(UserError):
    """The command was read and allowed, and the state of things does not let it happen; `what` is its answer."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """An issue to be opened. `fields` are those of front matter."""

    title: str
    body: str = ""
    fields: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be added: exactly one of number, dir and ticket. What is None is left as it is."""

    number: int | None = None
    dir: str | None = None
    ticket: Ticket | None = None
    title: str | None = None
    priority: int | None = None
    locks: tuple[str, ...] | None = None
    depends_on: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Entered:
    """An issue in the backlog. `settled` False: the command was taken and its outcome is not known yet."""

    key: IssueKey
    new: bool
    settled: bool
    text: str


class Membership:
    """Adds to the backlog and takes out of it."""

    def __init__(
        self,
        store: Store,
        github: GitHub,
        clock: Clock,
        commands: CommandService,
        mirror: MirrorActs,
        thoughts: ThoughtReader,
    ) -> None:
        self._store = store
        self._github = github
        self._clock = clock
        self._commands = commands
        self._mirror = mirror
        self._thoughts = thoughts
        self._once = Once(store, clock)

    async def add(self, person: Person, repo: RepoRecord, wish: Wish, request: str, *, keyed: bool = False) -> Entered:
        """Put it into the queue. `request` names this request; its repetition does nothing.

        `keyed`: the caller chose that name, so that a ticket without an id is told from an equal one by it.

        Raises UserError for a wish that cannot be, Refused, NoSuchItem, NotNow, or GitHubError.
        """
        if [wish.number, wish.dir, wish.ticket].count(None) != 2:
            raise UserError("Name exactly one of `number`, `dir` and `ticket`.")
        await self.require(person, repo, Capability.START)
        if repo.archived:
            raise Refused(f"`{repo.full_name}` is archived; nothing can be added there.")
        if wish.number is not None:
            key = IssueKey(repo.key.installation, repo.key.repo, wish.number)
            await self.there(key)
        elif wish.dir is not None:
            key = await self._of_thought(repo, wish.dir, wish.title)
        else:
            assert wish.ticket is not None
            key, wish = await self._of_ticket(person, repo, wish.ticket, wish, request if keyed else "")
        if wish.title is not None:
            await self._retitle(key, wish.title)
        item = await self._store.read(lambda tx: tx.item(key))
        done = await self._commands.orders(person, key, [START, *wishes(item, wish)], request=request)
        # Of several who ask at once, the one whose command put it into the queue has added it.
        return Entered(key, done[0].outcome == NoteCode.DONE.value, *_outcome(done))

    async def change(
        self, person: Person, key: IssueKey, wish: Wish, request: str, revision: int | None = None
    ) -> Entered:
        """Priority, locks and dependencies of an item. Raises UserError, Refused, NoSuchItem, NotNow, Stale."""
        item = await self._tracked(key)
        lines = wishes(item, wish)
        if wish.title is not None:
            repo = await self._store.read(lambda tx: tx.repo(key.repo_key))
            assert repo is not None, "an item refers to its repository"
            await self.require(person, repo, Capability.START)
            await self._retitle(key, wish.title)
        if not lines:
            return Entered(key, False, True, "It is so already.")
        done = await self._commands.orders(person, key, lines, request=request, revision=revision)
        return Entered(key, False, *_outcome(done))

    async def remove(
        self, person: Person, key: IssueKey, request: str, *, force: bool, revision: int | None = None
    ) -> Entered:
        """Take it out of the queue. While somebody works on it only with `force`, which stops them.

        Raises Refused, NoSuchItem, NotNow, Stale when it is not at `revision` any more.
        """
        for _ in range(STALE_TRIES):
            item = await self._tracked(key)
            live = await self._store.read(lambda tx: tx.live_attempt(key))
            if live is not None and not force:
                raise Refused(
                    f"#{key.number} is being worked on by {live.worker.name} (attempt {live.number}).",
                    "Wait until it has ended, or use force, which stops the work.",
                )
            line = "stop --now removed from the backlog" if live is not None else "stop removed from the backlog"
            seen = item.revision if revision is None and not force else revision
            try:
                alone = revision is not None
                done = await self._commands.orders(person, key, [line], request=request, revision=seen, alone=alone)
            except Stale:
                if revision is not None:
                    raise
                continue
            return Entered(key, False, *_outcome(done))
        raise NotNow(f"#{key.number} keeps changing.", "Try again in a moment.")

    async def require(self, person: Person, repo: RepoRecord, capability: Capability) -> None:
        """Raises Refused when the person's role now does not have this capability."""
        role: Role | None = await self._github.role(repo.key, person)
        verdict = decide(capability, role, policy_of(repo).roles)
        if isinstance(verdict, Denied):
            raise Refused(f"This needs the role {verdict.needs.name.lower()} or higher in `{repo.full_name}`.")

    async def there(self, key: IssueKey) -> None:
        """Raises NoSuchItem unless the number is an item's, or that of an issue that can be read now."""
        if await self._store.read(lambda tx: tx.item(key)) is not None:
            return
        presence, issue = await self._github.issue(key)
        if presence is not Presence.HERE or issue is None:
            what = "is a pull request" if presence is Presence.PULL else "is no issue that can be read"
            raise NoSuchItem(f"#{key.number} {what}.", "Name an issue of this repository.")

    async def _tracked(self, key: IssueKey) -> Item:
        item = await self._store.read(lambda tx: tx.item(key))
        if item is None:
            raise NoSuchItem(f"#{key.number} is not in the backlog.")
        return item

    async def _retitle(self, key: IssueKey, title: str) -> None:
        item = await self._store.read(lambda tx: tx.item(key))
        wanted = for_title(title)
        if item is None or item.title != wanted:
            await self._github.edit_issue(key, title=wanted)

    # --- thoughts ----------------------------------------------------------------------------------

    async def _of_thought(self, repo: RepoRecord, dir_: str, title: str | None) -> IssueKey:
        """The issue of a thought, created if it has none."""
        folder = dir_.rstrip("/")
        if parse_dir(folder) is None:
            raise UserError(f"{code_span(dir_)} is not the folder of a plan.", "Name `tgs/thoughts/<hash>-<title>`.")
        known = await self._store.read(lambda tx: tx.item_of_thought(repo.key, folder))
        if known is not None:
            return known.key
        head = await self._github.head(repo.key, repo.default_branch)
        if head is None:
            raise UserError(f"`{repo.full_name}` has no commit on `{repo.default_branch}`.", "Push one first.")
        thought = await self._committed(repo, head, folder)
        text = (await self._thoughts.read(repo.key, [thought], frozenset({folder})))[0]
        assert text.front_matter is not None, "it was asked for"
        if text.front_matter.matter is None:
            raise UserError(" ".join(f"{p.what} {p.remedy}" for p in text.front_matter.errors))
        action = CreateIssue(thought, title or text.title, ItemState.PROPOSED)
        await self._mirror.create(repo, head, action, text.front_matter, policy_of(repo))
        item = await self._store.read(lambda tx: tx.item_of_thought(repo.key, folder))
        if item is None:
            raise Unavailable("It is not known yet whether the issue was created. Ask again in a minute.")
        return item.key

    async def _committed(self, repo: RepoRecord, head: str, folder: str) -> Thought:
        """The thought as it is on the default branch. Raises UserError that says what is missing."""
        found, problems = recognise(await self._thoughts.tree(repo.key, head))
        for entry in problems:
            if entry.dir == folder:
                raise UserError(entry.problem.what, entry.problem.remedy)
        thought = next((one for one in found if one.dir == folder), None)
        if thought is None:
            raise UserError(
                f"`{folder}` is not on `{repo.default_branch}` of `{repo.full_name}`.",
                "Commit its `research.md` and `plan.md` there, and push.",
            )
        if thought.implementation:
            raise UserError(f"`{folder}` is built already: it has an `implementation.md`.")
        items = await self._store.read(lambda tx: tx.items_of_thoughts(repo.key))
        there = {one.dir for one in found}
        for item in items:
            name = parse_dir(item.thought.dir) if item.thought is not None and not item.terminal else None
            if name is not None and name[0] == thought.hash and item.thought and item.thought.dir not in there:
                raise UserError(
                    f"`{folder}` is the new name of the plan of #{item.key.number}, which will follow it by itself."
                )
        return thought

    # --- tickets -----------------------------------------------------------------------------------

    async def _of_ticket(
        self, person: Person, repo: RepoRecord, ticket: Ticket, wish: Wish, request: str
    ) -> tuple[IssueKey, Wish]:
        """The issue of a ticket, opened once, and the wishes of it that are left to be carried out."""
        fields = {key: value for key, value in ticket.fields.items() if value is not None}
        if wish.locks is not None:
            fields["locks"] = list(wish.locks)
        if wish.depends_on is not None:
            fields["depends_on"] = list(wish.depends_on)
        title = wish.title or ticket.title or str(fields.get("title") or "")
        body = ticket.body or str(fields.get("description") or "")
        if not title.strip():
            raise UserError("A ticket needs a title.")
        if len(body) > MAX_TICKET:
            raise UserError(f"The ticket has {len(body)} characters; the limit is {MAX_TICKET}.", "Shorten it.")
        matter = _checked(fields)
        name = str(fields["id"]) if fields.get("id") is not None else _named(person, title, body, fields, request)
        marker = markers.ticket(hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:32])
        block = {key: value for key, value in fields.items() if key not in IN_WORDS}
        text = ticket_body(body, block, person, marker)
        key = await self._open(repo, for_title(title), text, marker)
        priority = wish.priority if wish.priority is not None else matter.priority
        return key, Wish(number=key.number, priority=priority)

    async def _open(self, repo: RepoRecord, title: str, text: str, marker: str) -> IssueKey:
        once = f"ticket:{repo.key}:{markers.read(marker)[0].value}"
        done = await self._once.perform(
            once,
            "issue",
            repo=repo.key,
            issue=None,
            fence=None,
            may=lambda _: True,
            act=lambda: self._github.create_issue(repo.key, title, text, []),
            find=own_issue(self._github, repo.key, marker),
            record=lambda _, issue: str(issue.key.number),
        )
        if done.value is not None:
            return done.value.key
        row = await self._store.read(lambda tx: tx.outbox(once))
        if row is None or row.result is None:
            raise Unavailable("It is not known yet whether the issue was created. Ask again in a minute.")
        key = IssueKey(repo.key.installation, repo.key.repo, int(row.result))
        presence, _ = await self._github.issue(key)
        if presence is not Presence.HERE:
            raise NotFound(f"#{key.number}, which was made from this ticket, is not there any more")
        return key


def wishes(item: Item | None, wish: Wish) -> list[str]:
    """The commands that make the item as it is wished. Raises InvalidLock."""
    lines: list[str] = []
    if wish.priority is not None and (item is None or item.priority != wish.priority):
        lines.append(f"priority {wish.priority}")
    if wish.locks is not None:
        has = item.spec.locks if item is not None else ()
        wanted = [str(lock) for lock in parse_locks(wish.locks)]
        lines += [_line(Verb.UNLOCK, path) for path in has if path not in wanted]
        lines += [_line(Verb.LOCK, path) for path in wanted if path not in has]
    if wish.depends_on is not None:
        needs = item.spec.depends_on if item is not None else ()
        lines += [f"undepends #{number}" for number in needs if number not in wish.depends_on]
        lines += [f"depends #{number}" for number in wish.depends_on if number not in needs]
    return lines


def _line(verb: Verb, argument: str) -> str:
    return render(Command(verb, (argument,))).removeprefix(PREFIX).strip()


def _checked(fields: Mapping[str, object]) -> FrontMatter:
    """The fields as front matter. Raises UserError that names each that cannot be."""
    body = "\n".join(["```yaml tgs", *(f"{key}: {json.dumps(value)}" for key, value in fields.items()), "```"])
    found = from_issue(body)
    if found.matter is None:
        raise UserError(" ".join(problem.what.replace("the issue's text", "the ticket") for problem in found.errors))
    return found.matter


def _named(person: Person, title: str, body: str, fields: Mapping[str, object], request: str) -> str:
    """What tells this ticket from others when it has no id: who asked for it in which request, else its content."""
    return json.dumps([person.id, request, title, body, fields], sort_keys=True, default=str)


def _outcome(done: Sequence[Ordered]) -> tuple[bool, str]:
    """(settled, text) of several commands as one. Raises Refused or NotNow for the first that was not carried out."""
    for one in done:
        if one.outcome in {NoteCode.DENIED.value, NoteCode.ROLE_UNREADABLE.value}:
            raise Refused(one.text)
        if one.outcome not in {None, NoteCode.DONE.value, NoteCode.ALREADY_SO.value}:
            raise NotNow(one.text)
    return all(one.outcome is not None for one in done), done[0].text
