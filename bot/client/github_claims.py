"""Claiming an item with a person's own token: the claim ref decides, labels show it.

Promise: exactly one claimer has an item, because only one can make its ref. The ref comes first, then `tgs:ready` is
taken off, `tgs:in-progress` put on, and the claimer assigned. The end is in `github_settling.py`.

A process that dies after any step leaves the ref, and the item stays taken: its owner claims it again (at once while
`tgs:ready` is still there, else when the lease is over), or settles it. Nobody else's claim ends by silence.

Races: the queue is read before the ref is made, so two claimers of different items may together exceed `max_parallel`
or want the same path; each looks at all claims again after making its own and takes it back if that is so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from bot.client.backlog import Claim, NothingThere, Taken, Wanted
from bot.client.github_moves import CLAIM_RIGHTS, Moves, certain, rights
from bot.client.github_reading import LIVE, Project, Reader
from bot.client.github_view import Issue, View
from bot.domain import labels
from bot.domain.claim_record import ClaimRecord, ClaimRef
from bot.domain.facts import IssueFacts
from bot.domain.labels import IntentLabel
from bot.domain.locks import MAX_LOCKS
from bot.domain.model import IssueKey, ItemState, Person
from bot.domain.permissions import Capability, Denied, decide
from bot.domain.sanitise import one_line
from bot.domain.schedule import wanted_locks
from bot.domain.thoughts import PLAN, RESEARCH
from bot.errors import Forbidden, GitHubError, NotFound, Refused, UserError
from bot.protocols.clock import Clock, Ids
from bot.texts.reasons import sentence

LEASE: Final = timedelta(hours=8)
"""How long a session may be silent by its own word: a working day. There are no heartbeats without a server."""

HALF_MADE: Final = timedelta(minutes=2)
"""A claim whose steps take longer than this was left by a process that died; they take seconds."""

MAX_COUNT: Final = 50
"""Items claimed at once; nobody works on more."""

TRIES: Final = 4
"""Rounds in which others were faster before the claimer is told to come again."""

EVENT_LOOKS: Final = 3
"""Looks for the event that says who took a label off; it may lag behind by some seconds."""

EVENT_WAIT_S: Final = 1.0
"""Seconds between those looks."""

WORKED: Final = frozenset({ItemState.IN_PROGRESS, ItemState.NEEDS_INPUT})


@dataclass(frozen=True, slots=True)
class Outside:
    """What is not decided here: time, ids, waiting (seconds), chance (a fraction from 0 to 1)."""

    clock: Clock
    ids: Ids
    sleep: Callable[[float], Awaitable[None]]
    chance: Callable[[], float]


class Claims:
    """The claims of one person in one repository."""

    def __init__(self, reader: Reader, moves: Moves, me: Person, outside: Outside) -> None:
        self._reader = reader
        self._github = reader.github
        self._moves = moves
        self._me = me
        self._outside = outside

    # --- claiming

    async def claim(self, wanted: Wanted, number: int | None) -> list[Claim]:
        """The named item, or the next ones. Raises Refused, Taken, NothingThere, UserError."""
        if not 1 <= wanted.count <= MAX_COUNT:
            raise UserError(f"{wanted.count} cannot be claimed at once.", f"Ask for 1 to {MAX_COUNT}.")
        project = await self._reader.project()
        await self._may(project)
        got: list[Claim] = []
        view = await self._view(project, number)
        for turn in range(TRIES):
            count = 1 if number is not None else wanted.count - len(got)
            chosen = self._chosen(view, number, wanted.capabilities)[:count]
            if wanted.peek:
                return [self._peeked(view, each) for each in chosen] or self._nothing(view, number)
            tried = [await self._take(view, each, wanted) for each in chosen]
            got += [claim for claim in tried if claim is not None]
            if None not in tried:
                break
            # Others are claiming just now; not all of them shall look again at the same moment.
            await self._outside.sleep(self._outside.chance() * (turn + 1))
            view = await self._view(project, number)
        return got or self._nothing(view, number)

    async def _view(self, project: Project, number: int | None) -> View:
        return await self._reader.view(project, states=LIVE, also=() if number is None else (number,))

    async def _may(self, project: Project) -> None:
        """Raises Refused when the policy or the person's role forbids claims."""
        where = f"`.tgs/policy.yml` on {project.view.default_branch}"
        if project.broken:
            raise Refused(f"{where} cannot be used: {project.problems[0].what}", project.problems[0].remedy)
        if not project.policy.claim_refs:
            raise Refused(
                f"Claims without a server are guarded by git refs, and {where} does not switch them on.",
                "Set `claim_refs: true` there, or use the server (TGS_SERVER_URL).",
            )
        try:
            role = await self._github.role(project.view.key, self._me)
        except (Forbidden, NotFound):
            role = None
        verdict = decide(Capability.START, role, project.policy.roles)
        if isinstance(verdict, Denied):
            has = "an unknown role" if role is None else f"the role {role.name.lower()}"
            raise Refused(
                f"{self._me.login} has {has} in {project.view.full_name}; to claim takes {verdict.needs.name.lower()}.",
                CLAIM_RIGHTS,
            )

    def _chosen(self, view: View, number: int | None, capabilities: tuple[str, ...]) -> list[int]:
        """The items to try. Raises Taken or NothingThere for a named one that cannot be had."""
        if number is None:
            return [item.key.number for item in view.plan(capabilities).start]
        issue, state = view.issues.get(number), view.state_of(number)
        if issue is None or state is None:
            raise UserError(f"#{number} is not in the backlog.", f"`tgs server backlog add {number}` puts it there.")
        ref = view.ref_of(number)
        if ref is not None and not self._resumes(view, issue, ref):
            raise self._taken(view, number, ref)
        if ref is None and state in WORKED:
            owner = view.entry(number).claimed_by or "the bot"
            raise Taken(f"#{number} is in progress; {owner} has it.", owner=owner, remedy="Claim another one.")
        if ref is None and state is not ItemState.READY:
            raise NothingThere(f"#{number} cannot be claimed now.", view.explained(number))
        if ref is not None:
            return [number]
        plan = view.plan(capabilities, only=number)
        if not plan.start:
            why = [sentence(reason) for _, reasons, _ in plan.waiting for reason in reasons]
            raise NothingThere(f"#{number} cannot be claimed now.", why)
        return [number]

    def _resumes(self, view: View, issue: Issue, ref: ClaimRef) -> bool:
        """Whether this is a claim of the same person that its process left: half made, or silent beyond its lease."""
        record = ref.record
        if record is None or record.owner != self._me.login:
            return False
        unfinished = labels.READY in issue.facts.labels or issue.state is None
        half_made = unfinished and record.made_at + HALF_MADE <= view.now
        return half_made or (record.lease_until is not None and record.lease_until <= view.now)

    def _taken(self, view: View, number: int, ref: ClaimRef) -> Taken:
        record = ref.record
        if record is None:
            return Taken(
                f"#{number} is claimed, and the claim ({ref.ref}) cannot be read: {ref.problem}.",
                owner="somebody unknown",
                remedy="Look what that ref is; nobody can claim the item while it is there.",
            )
        remedy = "Claim another one, or ask them."
        if record.owner == self._me.login:
            remedy = "It is a claim of yours: settle it, or claim anew when its lease is over."
        return Taken(
            f"#{number} is claimed by {ref.who}.", owner=ref.who, lease_until=record.lease_until, remedy=remedy
        )

    def _nothing(self, view: View, number: int | None) -> list[Claim]:
        waits = [(line.number, reasons) for line, reasons, _ in view.plan().waiting]
        busy = [ref for ref in view.refs if ref.record is not None]
        why = [f"#{n}: {' '.join(sentence(reason) for reason in reasons)}" for n, reasons in waits[:3]]
        if len(waits) > len(why):
            why.append(f"{len(waits) - len(why)} more wait.")
        if not waits:
            why.append("Nothing is queued." if not view.plan().start else "Others were faster each time; ask again.")
        why += [f"#{ref.record.issue} is claimed by {ref.who}." for ref in busy[:3] if ref.record is not None]
        what = "Nothing" if number is None else f"#{number}"
        raise NothingThere(f"{what} can be claimed now." if number is None else f"{what} cannot be claimed now.", why)

    async def _take(self, view: View, number: int, wanted: Wanted) -> Claim | None:
        """Our claim; None: somebody else was faster, or the item may not be started any more."""
        issue, item = view.issues[number], view.items[number]
        token = self._outside.ids.new("tga_")
        now = self._outside.clock.now()
        known = view.ref_of(number)
        base = await self._reader.branch_head(item.spec.base_branch) if item.spec.base_branch else view.head
        record = ClaimRecord(
            issue=number,
            claim_id=self._outside.ids.new("c"),
            owner=self._me.login,
            name=cut(wanted.name),
            fence=max(issue.times(ItemState.IN_PROGRESS), known.record.fence if known and known.record else 0) + 1,
            nonce=token_hash(token),
            made_at=now,
            lease_until=now + LEASE,
            branch=view.branch_of(issue),
            base_sha=base,
            locks=tuple(str(lock) for lock in wanted_locks(item, view.policy))[:MAX_LOCKS],
        )
        with rights(f"claim #{number}", CLAIM_RIGHTS):
            if known is not None:
                ref = await self._github.take_over_claim(issue.facts.key, record, known)
            else:
                ref = await self._github.publish_claim(issue.facts.key, record)
        if ref is None or ref.record != record:
            return None
        try:
            facts = await self._start(view, ref, number, resumed=known is not None)
        except GitHubError as error:
            if certain(error):
                await self._github.release_claim(view.key, ref)
            raise
        except (Refused, NothingThere):
            await self._github.release_claim(view.key, ref)
            raise
        if facts is None:
            await self._github.release_claim(view.key, ref)
            return None
        return self._claimed(view.with_ref(ref), facts, record, token)

    async def _start(self, view: View, ours: ClaimRef, number: int, *, resumed: bool) -> IssueFacts | None:
        """Looks once more, now that nobody else can claim it, then shows the claim. None: take the claim back."""
        others = tuple(ref for ref in await self._github.claim_refs(view.key) if ref.ref != ours.ref)
        issue = view.issues[number]
        if issue.state is ItemState.READY and not replace(view, refs=others).plan(only=number).start:
            return None
        facts = await self._reader.issue(number)
        if facts is None or not facts.open or facts.labels & {IntentLabel.HOLD.value, IntentLabel.NO_AGENT.value}:
            return None
        # Who resumes a claim may have taken the label already.
        expected = labels.READY in facts.labels or not resumed
        taken = not expected or await self._github.remove_label(facts.key, labels.READY)
        if not taken and not await self._took_it(facts.key):
            return None
        me = None if view.policy.assignee == "none" else self._me.login
        bare = replace(facts, labels=facts.labels - {labels.READY})
        outcome = await self._moves.show(bare, ItemState.IN_PROGRESS, assign=me)
        # GitHub drops people who cannot be assigned without an error: only its answer says who is assigned.
        there = self._me.login in (outcome.assignees or ())
        return replace(bare, labels=bare.labels | {labels.IN_PROGRESS}, assignees=(self._me,) if there else ())

    async def _took_it(self, key: IssueKey) -> bool:
        """Whether the label was taken off by ourselves; by anybody else it is a withdrawal."""
        for _ in range(EVENT_LOOKS):
            events = [event for event in await self._github.label_events(key) if event.label == labels.READY]
            if events and not events[-1].added:
                return events[-1].actor is not None and events[-1].actor.id == self._me.id
            await self._outside.sleep(EVENT_WAIT_S)
        return False

    def _claimed(self, view: View, facts: IssueFacts, record: ClaimRecord, token: str) -> Claim:
        number = facts.key.number
        issue = replace(view.issues[number], facts=facts)
        seen = replace(view, issues={**view.issues, number: issue})
        name = str(number)
        return Claim(
            entry=seen.entry(number),
            attempt=record.claim_id,
            fence=record.fence,
            token=token,
            branch=record.branch,
            base_sha=record.base_sha,
            lease_until=record.lease_until,
            context=context_of(issue),
            commands={
                "complete": f"tgs server backlog complete {name} --backend github",
                "fail": f"tgs server backlog fail {name} --backend github --reason <reason>",
            },
        )

    def _peeked(self, view: View, number: int) -> Claim:
        issue = view.issues[number]
        fence = issue.times(ItemState.IN_PROGRESS) + 1
        return Claim(view.entry(number), "", fence, "", "", view.head, None, context_of(issue))


def named(issue: Issue) -> str:
    """The item as people name it."""
    return f"#{issue.number}" if issue.dir is None else f"#{issue.number} ({issue.dir})"


def context_of(issue: Issue) -> tuple[str, ...]:
    """The files to read first."""
    return () if issue.dir is None else (f"{issue.dir}/{RESEARCH}", f"{issue.dir}/{PLAN}")


def token_hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def cut(name: str) -> str:
    """A session's name as it may stand in a record."""
    return "".join(char for char in one_line(name) if char.isprintable())[:100]
