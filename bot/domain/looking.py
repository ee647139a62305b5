"""The life of a result that waits for a look: shown, then let pass by a person, or dropped.

Promises: waiting uses nothing up and holds no run. What is let pass is one bundle by its digest; the next attempt
publishes it and does nothing else. A result is forgotten as soon as its item takes another way: sent back, tried
again, called off, or failed for another reason than the world around it.

Known race: workflows may change between the look and the push; whoever changes them can read the secrets anyway.
"""

from __future__ import annotations

from bot.domain.attempt import MAX_SHOWN_DIFF, Attempt, Outcome, Proof, ShownResult, WorkerReport
from bot.domain.doubts import Doubt
from bot.domain.draft import Draft
from bot.domain.lifecycle import ItemEvent
from bot.domain.model import FailureReason, ItemState, Person, Withheld
from bot.domain.notes import NoteCode, note
from bot.domain.permissions import Capability, needed
from bot.domain.policy_model import Policy
from bot.domain.questions import REMINDERS, addressee
from bot.domain.sanitise import one_line


def await_look(draft: Draft, policy: Policy, attempt: Attempt, report: WorkerReport, shown: ShownResult) -> None:
    """The attempt ends with a result that is not pushed yet; nothing is used up."""
    item = draft.item
    assert item is not None
    assert report.bundle_digest is not None
    draft.end(Outcome.ASKED, proof=Proof.WORKER_REPORTED)
    draft.free_locks = not policy.keep_locks
    draft.move(
        ItemEvent.ASKED,
        actor=attempt.worker.name,
        cause="the result waits for a look",
        not_before=None,
        answered=False,
        waiting=(),
        position=None,
        withheld=Withheld(attempt.id, report.bundle_digest, draft.now, attempt.base_sha, shown.workflows),
    )
    draft.at(draft.now + REMINDERS[0])
    draft.say(
        f"look:{attempt.id}",
        note(
            NoteCode.LOOK,
            approver=addressee(item, policy),
            role=needed(Capability.APPROVE, policy.roles).name.lower(),
            outsider="yes" if item.snapshot is not None and item.snapshot.contains_outsider_text else None,
            workflows="\n".join(shown.workflows),
            files=shown.files,
            insertions=shown.insertions,
            deletions=shown.deletions,
            doubts="\n".join(line_of(doubt) for doubt in report.doubts) or None,
            digest=report.bundle_digest[:12],
            diff=shown.diff,
            cut="yes" if len(shown.diff) >= MAX_SHOWN_DIFF else None,
        ),
    )


def line_of(doubt: Doubt) -> str:
    """A doubt as it travels in the note: one line, whatever its place says. `one_line` leaves no tab in either part."""
    said = f"\t{one_line(doubt.says)}" if doubt.says else ""
    return f"{doubt.kind.value}: {one_line(doubt.where)}{said}"


def let_pass(draft: Draft, by: Person) -> bool:
    """Somebody has looked: the item is next of its kind. False: no result waits."""
    item = draft.item
    if item is None or item.withheld is None or item.state is not ItemState.NEEDS_INPUT:
        return False
    seen = Withheld(
        item.withheld.attempt,
        item.withheld.digest,
        item.withheld.since,
        item.withheld.base_sha,
        item.withheld.workflows,
        by,
    )
    draft.move(ItemEvent.ANSWERED, actor=by.login, cause="/tgs publish", withheld=seen, answered=True, not_before=None)
    return True


def keeps_result(reason: FailureReason) -> bool:
    """Whether a result that may be pushed is still good after its publishing ended for this reason."""
    return reason.value.startswith(("infra.", "quota.", "config."))


def drop_withheld(draft: Draft) -> None:
    """Forget a result that nobody waits for any more."""
    item = draft.item
    if item is None or item.withheld is None:
        return
    waits = item.state is ItemState.NEEDS_INPUT
    under_way = item.passed is not None and item.state in {ItemState.READY, ItemState.IN_PROGRESS}
    if not waits and not under_way:
        draft.change(withheld=None)
