"""What the bot's own texts remember comes back as it was, and nothing else is taken for it."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from bot.domain.attempt import Attempt, AttemptPhase, Worker, WorkerKind
from bot.domain.facts import IssueFacts, LabelEvent, PullFacts, RunFacts, RunStatus
from bot.domain.memory import ItemMemory, RepoMemory, fingerprint, item_memory, of_item, of_repo, repo_memory
from bot.domain.model import (
    Asked,
    AttemptId,
    Failure,
    FailureReason,
    InstallationId,
    IssueKey,
    Item,
    ItemState,
    Person,
    PullLink,
    RepoId,
    Snapshot,
    ThoughtRef,
)
from bot.domain.policy_model import Policy
from bot.domain.rebuild import LOST_TEXT, Rebuilt, rebuild
from bot.domain.rebuilt_attempts import FENCE_GAP
from bot.domain.repository import Pause, RepoRecord
from bot.domain.sighting import Because, SeenRun, Sighting
from bot.texts import markers

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
KEY = IssueKey(InstallationId(1), RepoId(2), 7)
ANN, BOT = Person(11, "ann"), Person(99, "tgs[bot]", is_bot=True)
REPO = RepoRecord(KEY.repo_key, "acme/shop", 3, "main", private=True, bot=BOT)
ATTEMPT = Attempt(
    AttemptId("a7"), KEY, 2, 3, AttemptPhase.RUNNING, Worker(WorkerKind.ACTIONS, "actions"), "tgs/7-sign-in",
    NOW - timedelta(minutes=9), base_sha="b" * 40, run_id=55,
)  # fmt: skip
ITEM = Item(
    KEY, "I_7", "Sign in", ItemState.IN_PROGRESS, NOW - timedelta(hours=1), priority=100, fence=3, attempts_burnt=1,
    snapshot=Snapshot("Sign in", "Please.", NOW - timedelta(hours=2), ANN),
    asked=Asked(locks=("src/",), depends_on=(3,)), held_by="ann", held_reason="until the release — “soon”",
    accepted_labels=frozenset({"tgs:priority/high"}), ready_since=NOW - timedelta(hours=2),
    last_failure=Failure(FailureReason.AGENT_TIMEOUT, "too slow", NOW),
    thought=ThoughtRef("tgs/thoughts/ab12cd-x", "c" * 40, "p" * 40, "r" * 40),
    pull=PullLink(9, "PR_9", "tgs/7-sign-in", "d" * 40, 3, NOW),
)  # fmt: skip


def test_an_item_is_remembered_as_it_was() -> None:
    mark = markers.memory(of_item(ITEM, ATTEMPT))
    [read] = markers.read(f"words\n\n{mark}")
    found = item_memory(read.value)
    assert found is not None
    assert (found.number, found.state, found.since, found.fence) == (7, ITEM.state, ITEM.since, 3)
    assert (found.priority, found.accepted, found.asked) == (100, ITEM.accepted_labels, ITEM.asked)
    assert (found.held_by, found.held_reason, found.failure) == ("ann", ITEM.held_reason, ITEM.last_failure)
    assert (found.approver, found.text) == (ANN, fingerprint("Sign in", "Please."))
    assert (found.thought, found.pull) == (ITEM.thought, 9)
    assert found.attempt is not None
    assert (found.attempt.id, found.attempt.fence, found.attempt.live, found.attempt.run_id) == ("a7", 3, True, 55)
    assert found.attempt.branch == ATTEMPT.branch


def test_a_repository_is_remembered_as_it_was() -> None:
    repo = replace(
        REPO,
        pause=Pause("ann", "a freeze", NOW, NOW + timedelta(days=1)),
        thoughts_at_installation=(),
        mirror_decided=True,
    )
    assert repo_memory(of_repo(repo)) == RepoMemory(repo.pause, True, ())
    assert repo_memory(of_repo(REPO)) == RepoMemory()


def packed(record: object) -> str:
    return base64.b64encode(json.dumps(record).encode()).decode().rstrip("=").replace("+", ".")


@pytest.mark.parametrize(
    "value",
    ["", "%%", "AAAA", packed([]), packed({"v": 2}), packed({"v": 1}), packed({"v": 1, "n": 7, "s": "lost", "t": 1}),
     packed({"v": 1, "n": 7, "s": "ready", "t": 1, "a": [1]}), packed({"v": 1, "n": 7, "s": "ready", "t": 1e99})],
    ids=["nothing", "no base64", "no record", "a list", "another version", "empty", "an unknown state",
         "half an attempt", "a time that is none"],
)  # fmt: skip
def test_what_is_not_understood_is_not_remembered(value: str) -> None:
    assert item_memory(value) is None


# --- from facts to records ---------------------------------------------------------------------------


def issue(*labels: str, body: str = "Please.", open_: bool = True) -> IssueFacts:
    return IssueFacts(
        KEY, "I_7", "Sign in", body, open_, None, ANN, frozenset(labels), (), NOW - timedelta(days=1), NOW
    )  # fmt: skip


def run(status: RunStatus, conclusion: str | None = None, claim: str = "a7") -> SeenRun:
    facts = RunFacts(55, status, conclusion, 1, "", f"tgs #7 {claim}", "b" * 40, NOW - timedelta(minutes=8))
    return SeenRun(facts, AttemptId(claim))


def memory(state: ItemState = ItemState.IN_PROGRESS, *, attempt: Attempt | None = ATTEMPT) -> ItemMemory:
    plain = replace(ITEM, state=state, thought=None, pull=None, held_by=None, held_reason=None)
    found = item_memory(of_item(plain, attempt))
    assert found is not None
    return found


def labelled(name: str, actor: Person, *, added: bool = True, hours: float = 2) -> LabelEvent:
    """`hours` ago."""
    return LabelEvent(1, name, added, actor, NOW - timedelta(hours=hours))


def ready_event(actor: Person, *, added: bool = True) -> LabelEvent:
    return labelled("tgs:ready", actor, added=added)


PULL = PullFacts(
    9, "PR_9", BOT, True, False, True, "d" * 40, "tgs/7-sign-in", 2, "main", 2, None, "", None, None, "", "", NOW
)  # fmt: skip


def built(seen: Sighting) -> Rebuilt:
    found = rebuild(seen, REPO, Policy.default(), NOW)
    assert found is not None
    return found


def test_an_issue_without_any_trace_is_no_item() -> None:
    assert rebuild(Sighting(issue("bug")), REPO, Policy.default(), NOW) is None


STATES: dict[str, tuple[Sighting, ItemState, Because]] = {
    "one label": (Sighting(issue("tgs:failed")), ItemState.FAILED, Because.LABEL),
    "done, as we showed it": (
        Sighting(issue("tgs:done"), events=(labelled("tgs:done", BOT),)),
        ItemState.DONE,
        Because.LABEL,
    ),
    "done, says a person's label; what we remember counts": (
        Sighting(issue("tgs:done"), memory=memory(ItemState.FAILED), events=(labelled("tgs:done", ANN),)),
        ItemState.FAILED,
        Because.MEMORY,
    ),
    "done, says a label, and the events that were read are older": (
        Sighting(issue("tgs:done"), memory=memory(ItemState.FAILED), events=(ready_event(ANN),)),
        ItemState.FAILED,
        Because.EVENTS,
    ),
    "done, says a person's label beside another one": (
        Sighting(issue("tgs:done", "tgs:proposed"), events=(labelled("tgs:done", ANN),)),
        ItemState.PROPOSED,
        Because.LABEL,
    ),
    "of a plan, and its label was taken by a claim that showed nothing yet": (
        Sighting(issue(), thought=ITEM.thought, events=(ready_event(ANN), ready_event(BOT, added=False))),
        ItemState.IN_PROGRESS,
        Because.EVENTS,
    ),
    "of a plan, and closed without a label": (
        Sighting(issue(open_=False), thought=ITEM.thought),
        ItemState.CANCELLED,
        Because.NOTHING,
    ),
    "several labels, and a memory of one": (
        Sighting(issue("tgs:failed", "tgs:in-review"), memory=memory(ItemState.FAILED)),
        ItemState.FAILED,
        Because.MEMORY,
    ),
    "ready, not seen before: judged by who labelled it": (
        Sighting(issue("tgs:ready"), events=(ready_event(ANN),)),
        ItemState.PROPOSED,
        Because.LABEL,
    ),
    "ready, and approved as we remember": (
        Sighting(issue("tgs:ready"), memory=memory(ItemState.READY, attempt=None)),
        ItemState.READY,
        Because.LABEL,
    ),
    "ready again by a person, and a run of it has not ended": (
        Sighting(issue("tgs:ready"), runs=(run(RunStatus.QUEUED),), events=(ready_event(ANN),)),
        ItemState.IN_PROGRESS,
        Because.RUN_ALIVE,
    ),
    "ready, though the label was ours, and a run of it has not ended": (
        Sighting(issue("tgs:ready"), memory=memory(ItemState.READY, attempt=None), runs=(run(RunStatus.QUEUED),)),
        ItemState.IN_PROGRESS,
        Because.RUN_ALIVE,
    ),
    "ready, and a run that is remembered as over has not ended": (
        Sighting(
            issue("tgs:ready"),
            memory=memory(ItemState.READY, attempt=replace(ATTEMPT, phase=AttemptPhase.ENDED)),
            runs=(run(RunStatus.QUEUED),),
        ),
        ItemState.READY,
        Because.LABEL,
    ),
    "ready was taken off by our claim": (
        Sighting(issue(), memory=memory(ItemState.READY, attempt=None), events=(ready_event(BOT, added=False),)),
        ItemState.IN_PROGRESS,
        Because.EVENTS,
    ),
    "ready was taken off by a person": (
        Sighting(issue(), memory=memory(ItemState.READY, attempt=None), events=(ready_event(ANN, added=False),)),
        ItemState.CANCELLED,
        Because.EVENTS,
    ),
    "in progress, approved by nobody known": (
        Sighting(issue("tgs:in-progress"), events=(ready_event(BOT),)),
        ItemState.PROPOSED,
        Because.NOT_APPROVED,
    ),
    "in review without a pull request": (Sighting(issue("tgs:in-review")), ItemState.FAILED, Because.NO_PULL),
    "in review": (Sighting(issue("tgs:in-review"), pulls=(PULL,)), ItemState.IN_REVIEW, Because.LABEL),
    "a question is open": (
        Sighting(issue("tgs:needs-input"), memory=memory(ItemState.NEEDS_INPUT)),
        ItemState.IN_PROGRESS,
        Because.QUESTION_LOST,
    ),
}


@pytest.mark.parametrize(("seen", "state", "why"), STATES.values(), ids=STATES.keys())
def test_labels_are_adopted(seen: Sighting, state: ItemState, why: Because) -> None:
    found = built(seen)
    assert found.item.state is state
    assert why in found.because


Lives = dict[str, tuple[Sighting, AttemptPhase | None, Because]]
AT_WORK: Lives = {
    "a run waits": (Sighting(issue("tgs:in-progress"), memory=memory(), runs=(run(RunStatus.QUEUED),)),
                    AttemptPhase.DISPATCHING, Because.RUN_ALIVE),
    "a run works": (Sighting(issue("tgs:in-progress"), memory=memory(), runs=(run(RunStatus.IN_PROGRESS),)),
                    AttemptPhase.SUSPECT, Because.RUN_ALIVE),
    "a run has failed": (
        Sighting(issue("tgs:in-progress"), memory=memory(), runs=(run(RunStatus.COMPLETED, "failure"),)),
        AttemptPhase.SUSPECT, Because.RUN_ENDED),
    "its branch was published": (
        Sighting(issue("tgs:in-progress"), memory=memory(), runs=(run(RunStatus.COMPLETED, "success"),),
                 branch_head="e" * 40),
        AttemptPhase.SUSPECT, Because.PUBLISHED),
    "a run that we do not remember": (
        Sighting(issue("tgs:in-progress"), memory=memory(), runs=(run(RunStatus.IN_PROGRESS, claim="a8"),)),
        AttemptPhase.SUSPECT, Because.RUN_ALIVE),
    "a run is remembered and not listed": (
        Sighting(issue("tgs:in-progress"), memory=memory()), AttemptPhase.SUSPECT, Because.RUN_ENDED),
    "its start is remembered, not its run": (
        Sighting(issue("tgs:in-progress"), memory=memory(attempt=replace(ATTEMPT, run_id=None))),
        AttemptPhase.DISPATCHING, Because.DISPATCH_OPEN),
    "a machine worked on it": (
        Sighting(issue("tgs:in-progress"),
                 memory=memory(attempt=replace(ATTEMPT, run_id=None, worker=Worker(WorkerKind.PULL, "m1")))),
        AttemptPhase.SUSPECT, Because.SILENT),
    "its last attempt is over": (
        Sighting(issue("tgs:in-progress"), memory=memory(attempt=replace(ATTEMPT, phase=AttemptPhase.ENDED))),
        None, Because.NO_RUN),
}  # fmt: skip


@pytest.mark.parametrize(("seen", "phase", "why"), AT_WORK.values(), ids=AT_WORK.keys())
def test_whoever_works_keeps_the_item(seen: Sighting, phase: AttemptPhase | None, why: Because) -> None:
    found = built(seen)
    live = [attempt for attempt in found.attempts if attempt.live]
    assert [attempt.phase for attempt in live] == ([phase] if phase is not None else [])
    assert why in found.because
    assert len({attempt.fence for attempt in found.attempts}) == len(found.attempts)
    assert found.item.fence >= max(attempt.fence for attempt in found.attempts)
    if phase is None:
        assert found.item.not_before is not None


@pytest.mark.parametrize("name", AT_WORK)
def test_what_may_be_worked_on_is_locked(name: str) -> None:
    """What a run held that ended in vain is free, and may be held for another item by now."""
    assert bool(built(AT_WORK[name][0]).locks) is (name not in {"a run has failed", "its last attempt is over"})


def test_fences_go_on_above_everything_seen() -> None:
    found = built(Sighting(issue("tgs:in-progress"), memory=memory(), runs=(run(RunStatus.QUEUED, claim="a8"),)))
    assert found.item.fence == 3 + FENCE_GAP
    assert max(attempt.number for attempt in found.attempts) == 3


@pytest.mark.parametrize(
    "newer",
    [
        replace(ATTEMPT, id=AttemptId("a8"), run_id=56),
        replace(ATTEMPT, id=AttemptId("a8"), run_id=None, claimed_at=NOW - timedelta(minutes=1)),
    ],
    ids=["its run is known", "its run is not known yet"],
)
def test_a_list_of_runs_that_is_older_than_the_comment_does_not_bring_the_last_attempt_back(newer: Attempt) -> None:
    """The run before it seems to work still, and says nothing about the one that does."""
    seen = Sighting(issue("tgs:in-progress"), memory=memory(attempt=newer), runs=(run(RunStatus.IN_PROGRESS),))
    [live] = [attempt for attempt in built(seen).attempts if attempt.live]
    assert (live.id, live.run_id) == (newer.id, newer.run_id)


RITA = Person(12, "rita")
APPROVED = labelled("tgs:ready", ANN, hours=3)
SHOWN = labelled("tgs:in-progress", BOT, hours=2)
MEANT_NOTHING = labelled("tgs:ready", RITA, hours=1)


@pytest.mark.parametrize(
    ("label", "events", "approver"),
    [
        ("tgs:in-progress", (APPROVED, SHOWN, MEANT_NOTHING), ANN),
        ("tgs:in-review", (APPROVED, SHOWN, MEANT_NOTHING), ANN),
        ("tgs:in-progress", (APPROVED, labelled("tgs:in-progress", RITA), MEANT_NOTHING), RITA),
        ("tgs:cancelled", (APPROVED, SHOWN, MEANT_NOTHING), RITA),
    ],
    ids=[
        "set when it was under way already: nothing came of it",
        "the same, and it is in review now",
        "a person put the state label there: nobody knows when work began",
        "it has ended since: the newest counts",
    ],
)
def test_who_approved_it_is_who_labelled_it_before_work_began(
    label: str, events: tuple[LabelEvent, ...], approver: Person
) -> None:
    snapshot = built(Sighting(issue(label), pulls=(PULL,), events=events)).item.snapshot
    assert snapshot is not None
    assert snapshot.approver == approver


@pytest.mark.parametrize(
    ("remembered", "again"),
    [(None, True), (memory(ItemState.PROPOSED, attempt=None), False)],
    ids=["its issue was just opened", "it was sent back, or a draft"],
)
def test_the_policy_approves_a_plan_once(remembered: ItemMemory | None, again: bool) -> None:
    seen = Sighting(issue("tgs:proposed"), memory=remembered, thought=ITEM.thought, mirror_ready=True)
    assert built(seen).item.mirror_ready is again


def test_a_text_that_is_not_the_approved_one_is_marked() -> None:
    found = built(Sighting(issue("tgs:ready", body="Do evil."), memory=memory(ItemState.READY, attempt=None)))
    assert found.item.snapshot is not None
    assert found.item.snapshot.body == LOST_TEXT
