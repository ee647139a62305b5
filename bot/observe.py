"""Reads fresh facts for one key: the ledger's records and what GitHub shows now. Decides nothing.

Reads are conditional where GitHub allows it, so looking again at something unchanged costs no quota. What is read
depends on what a decision could need (`_Needs`), never on why the key was woken. Race: facts age while they are
collected; every write names the ledger revision it was decided on, and irreversible acts pass the expected SHA.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from bot.domain import labels
from bot.domain.approval import newest
from bot.domain.asking import reads_replies
from bot.domain.attempt import Attempt, AttemptPhase, ClaimMark
from bot.domain.attempting import ACTIVATION_LIMIT
from bot.domain.claim_record import ClaimRef
from bot.domain.commands import Verb
from bot.domain.facts import (
    CiFacts,
    ContentEdit,
    IntentFacts,
    IssueFacts,
    ItemFacts,
    LabelEvent,
    Presence,
    PullFacts,
    Reply,
    RunFacts,
    RunStatus,
)
from bot.domain.intents import Intent, IntentSource, body_digest
from bot.domain.label_reading import PRIORITY_LABELS
from bot.domain.line import Told, far
from bot.domain.model import TERMINAL_STATES, IssueKey, Item, ItemState, Person, Role
from bot.domain.obey import APPROVING_VERBS
from bot.domain.overtaken import overtaken_by
from bot.domain.questions import considered, latest_round
from bot.domain.repository import RepoRecord
from bot.errors import GitHubError, NotFound, RateLimited, Suspended, Unavailable
from bot.kept import Kept
from bot.policies import policy_of
from bot.protocols.clock import Clock
from bot.protocols.github import Comment, GitHub
from bot.protocols.ledger import Store
from bot.records import Records, records_of

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Needs:
    """Which further reads the decision could depend on."""

    events: bool
    edits: bool
    run: bool
    pull: bool
    branch: bool
    claims: bool
    replies: bool


Exactly = Callable[[RepoRecord, IssueKey], Awaitable[Told | None]]
"""What an item waits for and its place in the queue, decided now over the whole of it. Raises GitHubError."""

ASKS_WHY = frozenset({Verb.WHY.value, Verb.STATUS.value})
"""Commands whose answer says what an item waits for."""


class Observer:
    """Collects facts for the reconciler."""

    def __init__(self, github: GitHub, store: Store, clock: Clock, kept: Kept, exactly: Exactly) -> None:
        self._exactly = exactly
        self._github = github
        self._store = store
        self._clock = clock
        self._kept = kept

    async def _issue(self, key: IssueKey, records: Records, now: datetime) -> tuple[Presence, IssueFacts | None]:
        """The issue; from memory only if nothing has pointed at it since it was read."""
        if not records.intents:
            known = self._kept.issue(key, records.touched_at, now)
            if known is not None:
                return Presence.HERE, known
        presence, found = await self._github.issue(key)
        self._kept.read_issue(key, found, now)
        return presence, found

    async def item(self, key: IssueKey, *, asked: bool = False) -> ItemFacts | None:
        """Facts of one issue; None when it is nothing of ours (or belongs to an unknown repository).

        `asked`: a person wants to know why it waits, as by the command.

        Raises GitHubError kinds when a read that the decision needs did not succeed.
        """
        now = self._clock.now()
        records = await self._store.read(lambda tx: records_of(tx, key, now))
        if records is None:
            return None
        presence, issue = await self._issue(key, records, now)
        if issue is None and records.item is None and not records.intents:
            return None
        if issue is not None and records.item is None and not records.intents and not _labelled(issue):
            return None
        item, attempt = records.item, records.attempt
        needs = _needs(records, issue, now)
        claims = await self._github.claim_ref(key) if needs.claims else None
        # When somebody else's claim is gone, its labels say how it ended; who set them is in the events.
        over = issue is not None and attempt is not None and attempt.live and attempt.external and claims == ()
        events = tuple(await self._github.label_events(key)) if needs.events or over else None
        edits = tuple(await self._github.content_edits(key)) if needs.edits else None
        comments = await self._replies(key, records) if needs.replies else []
        roles = await self._roles(records, issue, events, edits, comments)
        intents = tuple([await self._intent(records, intent, roles) for intent in records.intents])
        run = await self._run(key, attempt) if needs.run else None
        pull, ci = await self._pull(key, item, records, now) if needs.pull else (None, None)
        claimed_pull = await self._claimed_pull(key, attempt, claims)
        head, implemented = await self._branch(key, item, attempt) if needs.branch else (None, None)
        if edits is not None:
            edits = tuple(replace(edit, role=_role(roles, edit.editor)) for edit in edits)
        return ItemFacts(
            key=key,
            repo=records.repo,
            presence=presence,
            issue=issue,
            item=item,
            attempt=attempt,
            intents=intents,
            label_events=events,
            actor_roles=tuple(roles.items()),
            edits=edits,
            run=run,
            pull=pull,
            ci=ci,
            branch_head=head,
            has_implementation=implemented,
            plan_sha=item.thought.plan_sha if item is not None and item.thought is not None else None,
            queue=records.queue,
            session=records.session,
            claims=claims,
            own_claims=records.own_claims,
            claimed_pull=claimed_pull,
            incident=records.incident,
            spent=records.spent,
            reserved=records.reserved,
            questions=records.questions,
            replies=tuple(
                Reply(c.id, c.author, c.body, body_digest(c.body), c.created_at, roles.get(c.author.id))
                for c in comments
            ),
            resumable=records.resumable,
            steers=records.steers,
            others_waiting=records.others_waiting,
            exact=await self._exact(records, item, asked=asked),
        )

    async def _exact(self, records: Records, item: Item | None, *, asked: bool) -> Told | None:
        """Of an item far behind in its queue, if somebody asks: what is stored of its wait is a bound."""
        asked = asked or any(intent.verb in ASKS_WHY for intent in records.intents)
        if not asked or item is None or item.terminal or not far(item.position):
            return None
        try:
            return await self._exactly(records.repo, item.key)
        except GitHubError as error:
            log.info("place_unknown", key=str(item.key), error=str(error))
            return None

    async def _replies(self, key: IssueKey, records: Records) -> list[Comment]:
        """What people wrote since the last questions, or changed since it was considered."""
        round_ = latest_round(records.questions)
        seen = considered(round_)
        asked_at = min(question.asked_at for question in round_)
        return [
            comment
            for comment in await self._github.comments(key, asked_at)
            if not comment.author.is_bot
            and comment.created_at >= asked_at.replace(microsecond=0)
            and (comment.id, body_digest(comment.body)) not in seen
        ]

    async def _claimed_pull(
        self, key: IssueKey, attempt: Attempt | None, claims: tuple[ClaimRef, ...] | None
    ) -> PullFacts | None:
        """The newest pull request of an external attempt's branch, once its claim is gone."""
        if attempt is None or not attempt.live or not attempt.external or claims != ():
            return None
        pulls = await self._github.pulls_of_branch(key.repo_key, attempt.branch)
        own = [pull for pull in pulls if pull.head_repo_id == pull.base_repo_id and not pull.author.is_bot]
        return own[0] if own else None

    async def _intent(self, records: Records, intent: Intent, roles: dict[int, Role | None]) -> IntentFacts:
        """A command is read again by its id right before it is executed: same author, same text."""
        unchanged = True
        if intent.source is IntentSource.COMMENT and intent.comment_id is not None and not intent.edited:
            comment = await self._github.comment(records.repo.key, intent.comment_id)
            unchanged = (
                comment is not None
                and comment.author.id == intent.actor.id
                and body_digest(comment.body) == intent.body_sha256
            )
        return IntentFacts(
            intent,
            roles.get(intent.actor.id),
            unchanged,
            intent.actor.id in records.replied,
            overtaken_by(intent, records.heeded),
        )

    async def _roles(
        self,
        records: Records,
        issue: IssueFacts | None,
        events: tuple[LabelEvent, ...] | None,
        edits: tuple[ContentEdit, ...] | None,
        comments: Sequence[Comment],
    ) -> dict[int, Role | None]:
        """The roles, read now, of everybody whose role the decision may depend on."""
        people: dict[int, Person] = {}

        def add(person: Person | None) -> None:
            if person is not None and not person.is_bot:
                people[person.id] = person

        for intent in records.intents:
            add(intent.actor)
            snapshot = records.item.snapshot if records.item is not None else None
            if intent.verb in APPROVING_VERBS and snapshot is not None:
                add(snapshot.approver)
        if issue is not None:
            for name in (labels.READY, labels.state_label(ItemState.DONE), *PRIORITY_LABELS):
                event = newest(events, name, added=True) if name in issue.labels else None
                add(event.actor if event is not None else None)
            if edits is not None:
                add(issue.author)
        for edit in edits or ():
            add(edit.editor)
        for comment in comments:
            add(comment.author)
        return {person.id: await self._read_role(records, person) for person in people.values()}

    async def _read_role(self, records: Records, person: Person) -> Role | None:
        try:
            return await self._github.role(records.repo.key, person)
        except (RateLimited, Unavailable, Suspended):
            raise
        except GitHubError:
            # Unreadable means nobody is allowed anything by it; the decision looks again.
            return None

    async def _run(self, key: IssueKey, attempt: Attempt | None) -> RunFacts | None:
        if attempt is None or attempt.run_id is None:
            return None
        run = await self._github.run(key.repo_key, attempt.run_id)
        if run is not None:
            return run
        return RunFacts(attempt.run_id, RunStatus.GONE, None, 1, "", "", "", self._clock.now())

    async def _pull(
        self, key: IssueKey, item: Item | None, records: Records, now: datetime
    ) -> tuple[PullFacts | None, CiFacts | None]:
        assert item is not None
        assert item.pull is not None
        pull = None if records.intents else self._kept.pull(key, item.pull.number, records.touched_at, now)
        if pull is None:
            pull = await self._github.pull(key.repo_key, item.pull.number)
            self._kept.read_pull(key, pull, now)
        if pull is None or not pull.open or item.state is not ItemState.IN_REVIEW:
            return pull, None
        return pull, await self._github.ci(key.repo_key, pull.head_sha)

    async def _branch(
        self, key: IssueKey, item: Item | None, attempt: Attempt | None
    ) -> tuple[str | None, bool | None]:
        """Where the branch is now, and whether the thought's `implementation.md` is on it."""
        assert attempt is not None
        head = await self._github.head(key.repo_key, attempt.branch)
        if item is None or item.thought is None or head is None:
            return head, None
        try:
            file = await self._github.file(key.repo_key, f"{item.thought.dir}/implementation.md", head)
        except NotFound:
            file = None
        return head, file is not None


def _labelled(issue: IssueFacts) -> bool:
    return any(labels.is_ours(name) for name in issue.labels)


def _needs(records: Records, issue: IssueFacts | None, now: datetime) -> _Needs:
    item, attempt = records.item, records.attempt
    live = attempt if attempt is not None and attempt.live else None
    approving = any(intent.verb in APPROVING_VERBS for intent in records.intents)
    events = edits = False
    if issue is not None:
        ready = labels.READY in issue.labels
        shown = frozenset(labels.state_label(state) for state in labels.states_shown(issue.labels))
        if item is None:
            events = ready
            edits = ready or approving
        else:
            projected = item.projection.state_label
            asks = (
                ready
                and (item.state is ItemState.PROPOSED or item.state in TERMINAL_STATES)
                and projected != labels.READY
            )
            stale = (
                _text_changed(item, issue) and live is None and item.state in {ItemState.READY, ItemState.IN_PROGRESS}
            )
            wanted = labels.state_label(item.state)
            events = (
                asks
                or (projected == wanted and shown != {wanted})
                or (live is not None and not live.ready_removed and not ready)
                or any(name in issue.labels and name not in item.accepted_labels for name in PRIORITY_LABELS)
            )
            edits = asks or approving or stale
    run = (
        live is not None
        and live.run_id is not None
        # What a worker says while it is being stopped proves nothing about its run.
        and (live.report is None or live.phase is AttemptPhase.CANCELLING)
        and (
            live.phase in {AttemptPhase.SUSPECT, AttemptPhase.CANCELLING}
            or live.run_hint == "completed"
            or live.cancel_requested_at is not None
            or (live.lease_until is not None and now >= live.lease_until)
            or (
                live.phase is AttemptPhase.DISPATCHING
                and now >= (live.dispatched_at or live.claimed_at) + ACTIVATION_LIMIT
            )
        )
    )
    pull = (
        item is not None
        and item.pull is not None
        and not (item.state is ItemState.DONE and item.branch_deleted)
        # Just opened: the attempt is concluded first, and the pull request is read when something happens to it.
        and not (live is not None and live.report is not None and item.pull.fence == live.fence)
    )
    branch = live is not None and live.report is not None and live.report.succeeded
    replies = issue is not None and item is not None and reads_replies(item, records.questions)
    return _Needs(events, edits, run, pull, branch, _needs_claims(records, issue, live), replies)


def _needs_claims(records: Records, issue: IssueFacts | None, live: Attempt | None) -> bool:
    """Somebody else's claim is watched; ours is looked for when it is not noted what came of it; and a state label
    that is not the one we showed may be the trace of a claim that we do not know yet."""
    if live is not None:
        return live.external or live.claim_mark is ClaimMark.WANTED
    item = records.item
    if item is None or issue is None or not policy_of(records.repo).claim_refs:
        return False
    shown = {labels.state_label(state) for state in labels.states_shown(issue.labels)}
    return item.state in {ItemState.READY, ItemState.IN_PROGRESS} and shown != {labels.state_label(item.state)}


def _text_changed(item: Item, issue: IssueFacts) -> bool:
    snapshot = item.snapshot
    return (
        snapshot is not None and item.thought is None and (snapshot.title, snapshot.body) != (issue.title, issue.body)
    )


def _role(roles: dict[int, Role | None], person: Person | None) -> Role | None:
    return roles.get(person.id) if person is not None else None
