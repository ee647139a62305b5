"""Actions runs, pull workers and people ask for the same items: who gets one is decided by policy, needs and time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from bot.domain.attempt import WorkerKind
from bot.domain.explain import at_rest
from bot.domain.line import queued
from bot.domain.model import (
    Failure,
    FailureReason,
    InstallationId,
    IssueKey,
    Item,
    ItemState,
    RepoId,
    RepoKey,
    WorkSpec,
)
from bot.domain.policy_model import Policy, WorkSource
from bot.domain.reasons import ReasonCode
from bot.domain.repository import RepoRecord
from bot.domain.schedule import HEADSTART, Backlog, schedule
from bot.domain.workers import DISPATCHER, Taker
from bot.texts.reasons import sentence

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
REPO = RepoRecord(RepoKey(InstallationId(1), RepoId(2)), "acme/shop", 3, "main", False, preflight_ok=True)
PULL, GPU, PERSON = Taker(WorkerKind.PULL), Taker(WorkerKind.PULL, ("GPU", "linux")), Taker(WorkerKind.INTERACTIVE)


def backlog(*needs: str, ready_for: timedelta = timedelta(0), free: tuple[tuple[str, ...], ...] = ()) -> Backlog:
    key = IssueKey(REPO.key.installation, REPO.key.repo, 7)
    item = Item(key, "node", "Add search", ItemState.READY, NOW - ready_for, spec=WorkSpec(needs=needs))
    return Backlog(REPO, (queued(item),), (), (), 0, 0, {}, free_workers=free)


GETS: dict[str, tuple[WorkSource, Backlog, Taker]] = {
    "Actions by default": (WorkSource.ACTIONS, backlog(), DISPATCHER),
    "a person, whatever the policy": (WorkSource.ACTIONS, backlog("gpu"), PERSON),
    "a pull worker where policy pulls": (WorkSource.PULL, backlog(), PULL),
    "a pull worker that has what is needed, also where Actions does the rest": (
        WorkSource.ACTIONS,
        backlog("gpu"),
        GPU,
    ),
    "a pull worker within its head start": (WorkSource.PULL_FIRST, backlog(free=((),)), PULL),
    "Actions at once when no worker is free": (WorkSource.PULL_FIRST, backlog(), DISPATCHER),
    "Actions when the head start is over": (
        WorkSource.PULL_FIRST,
        backlog(ready_for=HEADSTART, free=((),)),
        DISPATCHER,
    ),
}


@pytest.mark.parametrize(("source", "known", "taker"), GETS.values(), ids=GETS)
def test_the_item_goes_to(source: WorkSource, known: Backlog, taker: Taker) -> None:
    assert schedule(known, Policy(workers=source), NOW, taker).start == tuple(line.item for line in known.queue)


WAITS: dict[str, tuple[WorkSource, Backlog, Taker, ReasonCode, str]] = {
    "Actions gets nothing where policy pulls": (
        WorkSource.PULL,
        backlog(),
        DISPATCHER,
        ReasonCode.WORKER,
        "It waits for a pull worker or a person: `workers: pull` in `.tgs/policy.yml` gives Actions nothing.",
    ),
    "Actions gets nothing that needs more than a runner": (
        WorkSource.ACTIONS,
        backlog("gpu", "linux"),
        DISPATCHER,
        ReasonCode.WORKER,
        "It waits for a pull worker that has `gpu`, `linux`.",
    ),
    "a pull worker gets nothing where Actions works": (
        WorkSource.ACTIONS,
        backlog(),
        PULL,
        ReasonCode.NOT_PULLED,
        "It goes to Actions: `workers: actions` in `.tgs/policy.yml` gives nothing to pull workers.",
    ),
    "a pull worker gets nothing it cannot do": (
        WorkSource.PULL,
        backlog("gpu"),
        PULL,
        ReasonCode.WORKER,
        "It waits for a pull worker that has `gpu`.",
    ),
    "Actions waits while a worker is free": (
        WorkSource.PULL_FIRST,
        backlog(free=((),)),
        DISPATCHER,
        ReasonCode.WORKER,
        "It is kept for a free pull worker until 2026-05-01 12:01 UTC, then it goes to Actions.",
    ),
}


@pytest.mark.parametrize(("source", "known", "taker", "code", "words"), WAITS.values(), ids=WAITS)
def test_the_item_waits_and_says_why(
    source: WorkSource, known: Backlog, taker: Taker, code: ReasonCode, words: str
) -> None:
    plan = schedule(known, Policy(workers=source), NOW, taker)
    assert plan.start == ()
    [(_, reasons, position)] = plan.waiting
    assert ([reason.code for reason in reasons], position) == ([code.value], 1)
    assert sentence(reasons[0]) == words


def test_the_head_start_ends_by_itself() -> None:
    plan = schedule(backlog(free=((),)), Policy(workers=WorkSource.PULL_FIRST), NOW)
    assert plan.wake_at == NOW + HEADSTART


@pytest.mark.parametrize(
    ("state", "says"),
    [
        (ItemState.PROPOSED, "It is not approved yet."),
        (ItemState.NEEDS_INPUT, "The agent waits for the answer"),
        (ItemState.IN_REVIEW, "waits for review"),
        (ItemState.DONE, "It is done."),
        (ItemState.FAILED, "The agent crashed."),
        (ItemState.CANCELLED, "`/tgs start` takes it up again."),
    ],
)
def test_an_item_that_nobody_can_have_says_where_it_is(state: ItemState, says: str) -> None:
    [ready] = [line.item for line in backlog().queue]
    failure = Failure(FailureReason.AGENT_CRASH, "", NOW)
    assert says in sentence(at_rest(replace(ready, state=state, last_failure=failure)))


def test_an_item_for_workers_says_so_when_nobody_gets_one_today() -> None:
    policy = Policy(workers=WorkSource.PULL)
    used_up = replace(backlog(), dispatches_today=policy.budgets.dispatches_per_day)
    [(_, reasons, _)] = schedule(used_up, policy, NOW).waiting
    assert [reason.code for reason in reasons] == [ReasonCode.WORKER.value, ReasonCode.RUNS_TODAY.value]
