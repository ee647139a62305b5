"""The backlog on GitHub alone: issues, labels and claim refs, with a person's own token and no server.

Promise: GitHub's permissions decide who may do what, and an error says which right the token lacks. At most one claimer
has an item (`github_claims.py`). What the bot would understand otherwise is not written: an item that is added here is
one that the bot works on as well.

`validate --fix` repairs what only shows (labels, titles, refs and branches that stand for nothing). Nothing here is
atomic but the claim: a process that dies in the middle leaves what a repetition or `validate` finds.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final, assert_never

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
    Scanned,
    Settled,
    Status,
    Wanted,
)
from bot.client.backlog_file import exported, from_data
from bot.client.github_checks import Branches, DropBranch, DropRef, GiveBack, Relabel, Repair, Retitle, faults
from bot.client.github_claims import Claims, Outside, named
from bot.client.github_moves import CLAIM_RIGHTS, Moves, rights
from bot.client.github_plans import finding_of, folder_of, plan_problem, sound
from bot.client.github_reading import Project, Reader
from bot.client.github_settling import Settling
from bot.client.github_view import Issue, View
from bot.clock import RandomIds, SystemClock
from bot.domain.model import InstallationId, ItemState, Person, RepoId, RepoKey
from bot.domain.sanitise import for_terminal, one_line
from bot.errors import Forbidden, GitHubError, NotFound, Refused, Unauthorized, UserError
from bot.github.answers import read
from bot.github.base import split_name
from bot.github.calls import Origin, call
from bot.github.client import open_session
from bot.github.clients import Clients
from bot.github.gateway import Gateway
from bot.github.shapes import RepoShape
from bot.github.whoami import whoami
from bot.protocols.clock import Clock, Ids
from bot.workflows import check_url

SPACING: Final = 0.0
"""Seconds between writes: a few by a person at a prompt need no pacing."""

READ_RIGHTS: Final = "For a fine-grained token it takes the permissions `issues: read` and `contents: read`."


class GithubBacklog:
    """Implements `Backlog` for one repository and one person."""

    def __init__(self, github: Gateway, key: RepoKey, me: Person, html_url: str, outside: Outside) -> None:
        self._github = github
        self._key = key
        self._me = me
        self._reader = Reader(github, key, outside.clock)
        self._moves = Moves(github, key, html_url)
        self._claims = Claims(self._reader, self._moves, me, outside)
        self._settling = Settling(self._reader, self._moves, me, outside)

    # --- the protocol

    async def add(self, addition: Addition) -> Added:
        project = await self._reader.project()
        if addition.ticket is not None:
            return await self._add_ticket(project, addition)
        if addition.ref is None:
            raise UserError("Nothing was named.", "Name an issue, a folder or a ticket file.")
        if addition.ref.number is not None:
            view = await self._reader.view(project, states=(), also=(addition.ref.number,))
            issue = view.issues.get(addition.ref.number)
            if issue is None:
                raise UserError(f"There is no issue #{addition.ref.number} that your token can see.", READ_RIGHTS)
            return await self._queue(view, issue, addition)
        folder = folder_of(addition.ref)
        view = await self._reader.view(project, thoughts=True)
        text = sound(view, folder)
        known = view.of_dir(folder)
        if known is not None:
            return await self._queue(view, known, addition)
        made = await self._moves.mirrored(project, text, addition)
        return Added(await self._entry(made.key.number), new=True)

    async def _add_ticket(self, project: Project, addition: Addition) -> Added:
        assert addition.ticket is not None
        title = addition.title or addition.ticket.title
        view = await self._reader.view(project)
        for issue in view.issues.values():
            if issue.facts.open and issue.facts.title == title and issue.facts.body.startswith(addition.ticket.body):
                return await self._queue(view, issue, replace(addition, title=None))
        made = await self._moves.ticket(addition.ticket, addition)
        return Added(await self._entry(made.key.number), new=True)

    async def _queue(self, view: View, issue: Issue, addition: Addition) -> Added:
        """Makes a known issue ready; what is queued or under way already only takes the options."""
        number, state = issue.number, issue.state
        if not issue.facts.open:
            if issue.dir is None:
                raise UserError(f"#{number} is closed.", "Reopen it first.")
            with rights(f"reopen #{number}", READ_RIGHTS):
                await self._github.edit_issue(issue.facts.key, open_=True)
        queued = state is ItemState.READY or (state is not None and view.taken(number)) or state is ItemState.IN_REVIEW
        await self._moves.options(issue.facts, addition, thought=issue.dir is not None)
        if not queued:
            await self._moves.show(issue.facts, ItemState.READY)
        return Added(await self._entry(number), new=not queued)

    async def remove(self, ref: ItemRef, *, force: bool = False) -> Settled:
        view, issue = await self._find(ref)
        claim = view.ref_of(issue.number)
        if (claim is not None or view.taken(issue.number)) and not force:
            who = (claim.who if claim is not None else None) or view.entry(issue.number).claimed_by or "Somebody"
            raise Refused(
                f"{who} works on {named(issue)}.",
                "Let them settle it, or remove it with --force: then the claim is lost.",
            )
        try:
            await self._moves.show(issue.facts, ItemState.CANCELLED)
        except Refused:
            # Who may label but not make labels cannot show it in a repository where nothing was ever called off.
            await self._moves.show(issue.facts, None)
        if claim is not None:
            with rights(f"take the claim on #{issue.number} away", CLAIM_RIGHTS):
                await self._github.release_claim(self._key, claim)
        over = replace(view.entry(issue.number), state=ItemState.CANCELLED, status=Status.CANCELLED, claimed_by=None)
        return Settled(over, f"{named(issue)} is out of the queue.")

    async def entries(
        self, *, states: Sequence[ItemState] = (), statuses: Sequence[Status] = (), labels: Sequence[str] = ()
    ) -> list[Entry]:
        view = await self._reader.view(await self._reader.project())
        listed = [
            entry
            for entry in view.entries()
            if (not states or entry.state in states)
            and (not statuses or entry.status in statuses)
            and set(labels) <= set(entry.labels)
        ]
        reviewed = [entry.number for entry in listed if entry.state is ItemState.IN_REVIEW]
        pulls = await self._reader.open_pulls(view, [number for number in reviewed if number is not None])
        return [replace(entry, pull_request=pulls.get(entry.number)) for entry in listed]

    async def claim(self, wanted: Wanted) -> list[Claim]:
        return await self._claims.claim(wanted, await self._number(wanted.ref) if wanted.ref is not None else None)

    async def complete(self, held: Held, *, evidence: str | None = None) -> Settled:
        return await self._settling.complete(held, await self._number(held.ref), evidence)

    async def fail(self, held: Held, ending: Ending) -> Settled:
        return await self._settling.fail(held, await self._number(held.ref), ending)

    async def validate(self, *, fix: bool = False) -> list[Finding]:
        project = await self._reader.project()
        view = await self._reader.view(project, thoughts=True)
        found = faults(view, await self._branches(view), self._me.login)
        told = []
        for fault in found:
            fixed = fix and fault.repair is not None and await self._repair(fault.repair)
            told.append(fault.finding(fixed=fixed))
        return told

    async def scan(self, *, apply: bool) -> Scanned:
        project = await self._reader.project()
        view = await self._reader.view(project, thoughts=True)
        known = {issue.dir for issue in view.issues.values() if issue.dir is not None}
        added: list[Entry] = []
        refused = [finding_of(folder, problem) for folder, problem in sorted(view.broken.items())]
        for folder, text in sorted(view.thoughts.items()):
            if folder in known or text.thought.implementation:
                continue
            problem = plan_problem(text)
            if problem is not None:
                refused.append(finding_of(folder, problem))
            elif apply:
                made = await self._moves.mirrored(project, text, Addition(ref=ItemRef(dir=folder)))
                added.append(await self._entry(made.key.number))
            else:
                added.append(Entry(folder, text.title, ItemState.READY, Status.QUEUED))
        here = sum(folder in view.thoughts for folder in known)
        return Scanned(tuple(added), here, tuple(refused))

    async def export(self) -> Mapping[str, object]:
        return exported(await self.entries())

    async def import_(self, file: Mapping[str, object]) -> list[Added]:
        rows = from_data(file).thoughts
        view = await self._reader.view(await self._reader.project(), thoughts=True)
        wrong = []
        for row in rows:
            known = view.of_dir(row.dir)
            if known is None and row.known in (Status.QUEUED, Status.IN_PROGRESS):
                try:
                    sound(view, row.dir)
                except UserError as error:
                    wrong.append(error.what)
        if wrong:
            raise UserError("\n".join(wrong[:5]), "Nothing was imported.")
        added = []
        for row in rows:
            known = view.of_dir(row.dir)
            here = known is not None and known.state not in (None, ItemState.CANCELLED)
            if here and known is not None:
                added.append(Added(view.entry(known.number), new=False))
            elif row.known in (Status.QUEUED, Status.IN_PROGRESS):
                added.append(
                    await self.add(
                        Addition(ref=ItemRef(dir=row.dir), priority=row.priority, locks=row.tgs.locks or None)
                    )
                )
        return added

    async def locks(self) -> list[LockHeld]:
        return (await self._reader.view(await self._reader.project())).held_locks()

    async def release_lock(self, path: str) -> Settled:
        """Takes a path out of a claim of one's own; another's claim keeps what it holds."""
        view = await self._reader.view(await self._reader.project())
        for ref in view.refs:
            record = ref.record
            if record is None or path not in record.locks or record.issue not in view.issues:
                continue
            issue = view.issues[record.issue]
            if record.owner != self._me.login:
                raise Refused(
                    f"{path} is held by {ref.who} for {named(issue)}.",
                    f"Ask them, or end the claim: `tgs server backlog remove --force {issue.number}`.",
                )
            less = replace(record, locks=tuple(lock for lock in record.locks if lock != path))
            with rights(f"change the claim on #{issue.number}", CLAIM_RIGHTS):
                done = await self._github.take_over_claim(issue.facts.key, less, ref)
            if done is None:
                raise Refused(f"The claim on {named(issue)} changed meanwhile.", "Look at it again.")
            return Settled(await self._entry(issue.number), f"{named(issue)} holds {path} no more.")
        raise UserError(
            f"Nobody holds {for_terminal(one_line(path), 200)}.", "`tgs server locks list` says what is held."
        )

    async def explain(self, ref: ItemRef) -> list[str]:
        project = await self._reader.project()
        number = await self._number(ref)
        view = await self._reader.view(project, also=(number,))
        if number not in view.issues:
            raise UserError(f"There is no issue #{number} that your token can see.", READ_RIGHTS)
        return view.explained(number)

    # --- parts

    async def _number(self, ref: ItemRef) -> int:
        """Raises UserError when no issue is about the folder."""
        if ref.number is not None:
            return ref.number
        return (await self._find(ref))[1].number

    async def _find(self, ref: ItemRef) -> tuple[View, Issue]:
        project = await self._reader.project()
        also = () if ref.number is None else (ref.number,)
        view = await self._reader.view(project, states=() if also else tuple(ItemState), also=also)
        issue = view.issues.get(ref.number) if ref.number is not None else view.of_dir(folder_of(ref))
        if issue is None or view.state_of(issue.number) is None:
            raise UserError(f"{ref} is not in the backlog.", f"`tgs server backlog add {ref}` puts it there.")
        return view, issue

    async def _entry(self, number: int) -> Entry:
        view = await self._reader.view(await self._reader.project(), states=(), also=(number,))
        return view.entry(number)

    async def _branches(self, view: View) -> Branches:
        """The branches that the policy's template makes, with the pull requests of those that might be left over."""
        prefix = view.policy.branch_template.partition("{")[0]
        heads = await self._github.branches(self._key, prefix) if prefix else {}
        live = {view.branch_of(issue) for issue in view.issues.values() if issue.facts.open}
        asked = set(heads) - live
        asked |= {view.branch_of(i) for i in view.issues.values() if i.state is not None and not i.facts.open}
        return Branches(heads, {name: await self._github.pulls_of_branch(self._key, name) for name in sorted(asked)})

    async def _repair(self, repair: Repair) -> bool:
        """Whether it was put right. Raises Refused when the token may not."""
        match repair:
            case Relabel(issue=issue, state=state, close=close):
                await self._moves.show(issue.facts, state)
                if close:
                    await self._moves.close(issue.facts, reason="completed")
                return True
            case GiveBack(issue=issue, ref=ref):
                await self._moves.show(issue.facts, ItemState.READY)
                with rights(f"delete {ref.ref}", CLAIM_RIGHTS):
                    return await self._github.release_claim(self._key, ref)
            case Retitle(issue=issue, title=title):
                with rights(f"rename #{issue.number}", READ_RIGHTS):
                    await self._github.edit_issue(issue.facts.key, title=title)
                return True
            case DropRef(ref=ref):
                with rights(f"delete {ref.ref}", CLAIM_RIGHTS):
                    return await self._github.release_claim(self._key, ref)
            case DropBranch(name=name, head=head):
                with rights(f"delete the branch {name}", CLAIM_RIGHTS):
                    return await self._github.delete_branch(self._key, name, head)
            case _:
                assert_never(repair)


@asynccontextmanager
async def open_github_backlog(
    full_name: str,
    token: SecretStr | None,
    api_url: str,
    *,
    clock: Clock | None = None,
    ids: Ids | None = None,
    chance: Callable[[], float] = random.random,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncIterator[GithubBacklog]:
    """The backlog of a repository (owner/name), closed at the end. `sleep` takes seconds, `chance` gives 0 to 1.

    Raises UserError without a token, Refused when it cannot see the repository, GitHubError kinds.
    """
    if token is None:
        raise UserError("GH_TOKEN is not set.", f"Set it to a GitHub token of yours. {CLAIM_RIGHTS}")
    try:
        owner, name = split_name(full_name)
    except GitHubError:
        raise UserError(f"{full_name!r} is no repository name.", "Give it as owner/name.") from None
    time = clock or SystemClock()
    async with open_session() as session:
        api = check_url(api_url, "address in TGS_GITHUB_API_URL")
        origin = Origin(api, f"{api.removesuffix('/v3')}/graphql")
        clients = Clients.of_token(
            session, origin, token, clock=time, sleep=sleep, jitter=chance, write_spacing=SPACING
        )
        path = "/repos/{owner}/{repo}"
        try:
            me = await whoami(session, origin, clock=time, sleep=sleep, jitter=chance)(token.get_secret_value())
            answer = await clients.installation(InstallationId(0)).request(
                call("GET", path, {"owner": owner, "repo": name})
            )
        except Unauthorized:
            raise Refused("GitHub does not know the token in GH_TOKEN.", "Is it complete, and not expired?") from None
        except (NotFound, Forbidden):
            raise Refused(f"The token in GH_TOKEN cannot see {full_name}.", f"Check the name. {READ_RIGHTS}") from None
        repo = read(RepoShape, answer.data, f"GET {path}")

        async def name_of(_: RepoKey) -> str:
            return repo.full_name

        # A person's token has no installation; the number only stands in keys.
        key = RepoKey(InstallationId(0), RepoId(repo.id))
        outside = Outside(time, ids or RandomIds(), sleep, chance)
        pages = repo.html_url.removesuffix(f"/{repo.full_name}")
        yield GithubBacklog(Gateway(clients, name_of), key, me, pages, outside)
