"""Claims between deployments: our claim ref is made before anything shows, and somebody else's is respected.

Promises: with `claim_refs` no label is taken and nothing is started before our ref exists. A ref of somebody else, or
one that cannot be read, ends our attempt as not started and is kept as an *external* attempt, with its owner's name,
until the ref is gone or another; silence never ends it. Our own ref is deleted when its attempt has ended.

Claims of two items are two refs. Where both want a path, each claimer looks at all claims once its own is made, and
gives way when another one has it: then perhaps both come again, and never both go on.

Races: the ref may be made and the process end before that is noted; `WANTED` is written ahead, so the next look reads
the ref and knows it by the attempt's id. The owner of an external claim shows how it ended (a label, a pull request)
before it takes its ref away; so once the ref is gone, what GitHub shows is what it meant. A ref may be all that is left
of a claim when the database was lost: made in our name before that, and of no attempt that came back, it is nobody's
and makes room. (An App belongs to one deployment; others claim in other names.)
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import assert_never

from bot.domain import labels
from bot.domain.approval import newest
from bot.domain.attempt import Attempt, AttemptPhase, ClaimMark, Outcome, Proof, Worker, WorkerKind
from bot.domain.claim_record import ClaimRecord, ClaimRef, Standing, standing
from bot.domain.draft import BOT, Draft
from bot.domain.effects import PublishClaim, ReleaseClaim
from bot.domain.lifecycle import ItemEvent
from bot.domain.locks import Held
from bot.domain.model import AttemptId, FailureReason, ItemState, PullLink
from bot.domain.permissions import Capability, Denied, decide
from bot.domain.policy_model import Policy
from bot.domain.schedule import wanted_locks
from bot.domain.thoughts import branch_name

EXTERNAL_LOOK = timedelta(minutes=1)
"""How often the ref of somebody else's claim is looked at: refs outside `refs/heads` send no webhook."""

AGAIN_AFTER = timedelta(minutes=1)
"""After somebody else's claim ended without a result, how long until the bot may start: they may claim again."""

GIVES_WAY = timedelta(minutes=10)
"""How long an item rests whose path was claimed elsewhere just then; once it is known, that claim blocks it anyway."""


def follow_claims(draft: Draft, policy: Policy) -> None:
    """What the claim refs say about the item, before anything else is read from its labels."""
    live = draft.live
    if live is not None and live.external:
        _follow_external(draft, policy, live)
    elif live is None and draft.item is not None and draft.facts.claims is not None:
        if draft.item.state not in {ItemState.READY, ItemState.IN_PROGRESS}:
            return
        theirs = tuple(ref for ref in draft.facts.claims if not _ours(draft, ref))
        _, ref = standing(theirs, None)
        if ref is not None:
            _hand_over(draft, policy, ref)
            draft.move(ItemEvent.CLAIMED, actor=ref.who or "somebody", cause=ref.ref)


def published(draft: Draft, policy: Policy, attempt: Attempt) -> bool:
    """Whether the claim's next steps may be taken in this pass; asks for our claim ref when it is wanted."""
    match attempt.claim_mark:
        case ClaimMark.HELD:
            return True
        case None | ClaimMark.RELEASED:
            if not policy.claim_refs:
                return True
            # Written ahead: whatever happens next, the ref is looked for under this attempt's id.
            draft.step(claim_mark=ClaimMark.WANTED)
            draft.do(PublishClaim(draft.facts.key, attempt.id, attempt.fence))
            return True
        case ClaimMark.WANTED:
            return _publish_again(draft, policy, attempt)
        case ClaimMark.CONTESTED:
            _give_way(draft)
            return False
        case _:
            assert_never(attempt.claim_mark)


def release_claim(draft: Draft) -> None:
    """The attempt has ended in this pass or an earlier one: its ref is deleted, after everything else is shown."""
    attempt = draft.attempt
    if attempt is None or attempt.live or attempt.claim_mark in {None, ClaimMark.RELEASED}:
        return
    draft.last_acts.append(ReleaseClaim(draft.facts.key, attempt.id))


def _publish_again(draft: Draft, policy: Policy, attempt: Attempt) -> bool:
    """An earlier pass wanted the ref and it is not noted what came of it: the ref itself says it."""
    refs = draft.facts.claims
    if refs is None:
        draft.at(draft.now)
        return False
    who, ref = standing(refs, attempt.id)
    match who:
        case Standing.OURS | Standing.FREE:
            # What was made already is found there, and what others claimed meanwhile is looked at.
            draft.do(PublishClaim(draft.facts.key, attempt.id, attempt.fence))
            return True
        case Standing.FOREIGN | Standing.UNREADABLE:
            assert ref is not None
            if _ours(draft, ref):
                # Of an attempt of ours that has ended and could not take its ref away.
                draft.do(PublishClaim(draft.facts.key, attempt.id, attempt.fence, ref))
                return True
            draft.step(claim_mark=ClaimMark.RELEASED)
            draft.end(Outcome.NOT_STARTED, proof=Proof.NEVER_STARTED, reason=FailureReason.CANCELLED_SUPERSEDED)
            _hand_over(draft, policy, ref)
            return False
        case _:
            assert_never(who)


def in_the_way(mine: ClaimRecord, refs: Iterable[ClaimRef]) -> tuple[tuple[str, int], ...]:
    """(path, number of the item) for each path of the claim that somebody else's claim of another item wants too.

    Claims of the same owner are told apart where they are made: one ledger, or one person's look at their own.
    """
    others = [ref.record for ref in refs if ref.record is not None and ref.record.owner != mine.owner]
    return Held((lock, record.issue) for record in others for lock in record.paths).against(mine.paths, mine.issue)


def _give_way(draft: Draft) -> None:
    """Whoever claimed the other item looks as well, and may give way too: then perhaps both come again."""
    draft.end(Outcome.NOT_STARTED, proof=Proof.NEVER_STARTED, reason=FailureReason.CANCELLED_SUPERSEDED)
    draft.free_locks = True
    due = draft.now + GIVES_WAY
    draft.move(ItemEvent.RETRY_LATER, actor=BOT, cause="a claim elsewhere wants the same path", not_before=due)
    draft.at(due)


def _ours(draft: Draft, ref: ClaimRef) -> bool:
    return ref.record is not None and (ref.record.claim_id in draft.facts.own_claims or _forgotten(draft, ref.record))


def _forgotten(draft: Draft, record: ClaimRecord) -> bool:
    """The claim was made in our name before the database was lost, and is of no attempt that came back."""
    repo = draft.facts.repo
    ours = repo.bot is not None and record.owner == repo.bot.login
    return ours and repo.rebuilt_at is not None and record.made_at < repo.rebuilt_at


def _hand_over(draft: Draft, policy: Policy, ref: ClaimRef) -> None:
    """Record the foreign claim as the item's attempt. An unreadable one has no owner's name, and blocks as well."""
    item, last = draft.item, draft.attempt
    assert item is not None
    fence = item.fence + 1
    own_branch = branch_name(item.key.number, item.title, policy.branch_template)
    draft.hand_to(
        Attempt(
            id=AttemptId(f"x-{ref.oid[:20]}-{fence}"),
            key=item.key,
            number=last.number + 1 if last is not None else 1,
            fence=fence,
            phase=AttemptPhase.RUNNING,
            worker=Worker(WorkerKind.EXTERNAL, ref.who),
            # Never a name out of the record: the branch is one that an attempt of ours may go on with.
            branch=last.branch if last is not None else own_branch,
            claimed_at=draft.now,
            started_at=ref.record.made_at if ref.record is not None else None,
            policy_hash=policy.hash,
            ready_removed=True,
            shown=True,
            claim_ref=ref.ref,
            claim_oid=ref.oid,
        ),
        wanted_locks(item, policy),
    )
    draft.at(draft.now + EXTERNAL_LOOK)


def _follow_external(draft: Draft, policy: Policy, live: Attempt) -> None:
    refs = draft.facts.claims
    if refs is None or any((ref.ref, ref.oid) == (live.claim_ref, live.claim_oid) for ref in refs):
        draft.at(draft.now + EXTERNAL_LOOK)
        return
    theirs = tuple(ref for ref in refs if not _ours(draft, ref))
    _, other = standing(theirs, None)
    if other is not None:
        draft.end(Outcome.LOST, proof=Proof.WORKER_REPORTED)
        _hand_over(draft, policy, other)
        return
    _external_over(draft, policy, live)


def _may_say_done(draft: Draft, policy: Policy) -> bool:
    """Whether the label is the word of somebody who may start work here."""
    event = newest(draft.facts.label_events, labels.state_label(ItemState.DONE), added=True)
    role = draft.facts.role_of(event.actor) if event is not None else None
    return not isinstance(decide(Capability.START, role, policy.roles), Denied)


def _external_over(draft: Draft, policy: Policy, live: Attempt) -> None:
    """The ref is gone: its owner's pull request, labels or the closed issue say what came of it."""
    item, issue = draft.item, draft.facts.issue
    assert item is not None
    who, pull = live.worker.name or "somebody", draft.facts.claimed_pull
    shown = labels.states_shown(issue.labels) if issue is not None else ()
    if pull is not None and (pull.open or pull.merged) and ItemState.READY not in shown:
        draft.end(Outcome.PUBLISHED, proof=Proof.WORKER_REPORTED)
        link = PullLink(
            pull.number, pull.node_id, pull.head_ref, pull.head_sha, live.fence, pull.created_at, author=pull.author.id
        )
        draft.move(ItemEvent.PUBLISHED, actor=who, cause=f"pull request #{pull.number}", pull=link, last_failure=None)
        return
    if ItemState.DONE in shown and _may_say_done(draft, policy):
        draft.end(Outcome.PUBLISHED, proof=Proof.WORKER_REPORTED)
        draft.free_locks = True
        draft.move(ItemEvent.NO_CODE, actor=who, cause="labelled done without a pull request", last_failure=None)
        return
    if live.cancel_requested_at is not None or not shown or (issue is not None and not issue.open):
        reason = live.cancel_reason or FailureReason.CANCELLED_BY_PERSON
        draft.end(Outcome.CANCELLED, proof=Proof.WORKER_REPORTED, reason=reason)
        draft.move(ItemEvent.CANCELLED, actor=live.cancel_by or who, cause="the claim ended")
        draft.free_locks = True
        return
    draft.end(Outcome.FAILED, proof=Proof.WORKER_REPORTED, reason=FailureReason.AGENT_GAVE_UP)
    assert draft.attempt is not None
    failure = draft.attempt.failure
    if item.pull is None:
        draft.free_locks = True
    if ItemState.FAILED in shown:
        draft.free_locks = True
        draft.move(ItemEvent.GAVE_UP, actor=who, cause="labelled failed", last_failure=failure)
    elif ItemState.READY in shown:
        draft.move(ItemEvent.GIVEN_BACK, actor=who, cause="labelled ready", not_before=draft.now + AGAIN_AFTER)
    else:
        draft.move(ItemEvent.RETRY_LATER, actor=BOT, cause="the claim ended", not_before=draft.now + AGAIN_AFTER)
    draft.at(draft.now + AGAIN_AFTER)
