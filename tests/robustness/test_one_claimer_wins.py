"""However many ask for an item at once, one gets it and everybody else is told who has it."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bot.claims import Claimed, NotClaimed, claim
from bot.domain.attempt import Attempt, AttemptPhase, Outcome, Proof, Worker, WorkerKind
from bot.domain.model import AttemptId, IssueKey, Item, ItemState, Projection
from bot.domain.policy_model import Budgets, Policy
from bot.domain.reasons import ReasonCode
from bot.protocols.ledger import DuplicateLiveAttempt, Ledger
from bot.store.ledger import SqlLedger
from bot.store.migrate import prepare
from bot.store.sqlite import connect
from tests.effort import by_effort, more
from tests.run_by_hand import RunByHand
from tests.scenarios.steps import dispatched, queued
from tests.store.support import ISSUE, START, StillClock, a_repo, an_item, ask, fresh_store, tell, url_of
from tests.world import World, new_world

pytestmark = more

CLAIMERS = 50

ROUNDS = by_effort(50, 200, 1_000)
"""Rounds take 30 ms of computing each."""

RUNS = 20

RICH = Policy(budgets=Budgets(per_attempt=0.01, per_item=1_000.0, per_day=1_000.0))
"""What the rounds cost stops none of them."""


def claim_as(tx: Ledger, name: str) -> Claimed | NotClaimed:
    return claim(
        tx,
        ISSUE,
        Worker(WorkerKind.ACTIONS, name),
        policy=RICH,
        now=START,
        attempt_id=AttemptId(f"a-{name}"),
        base_sha="b" * 40,
    )


def free_again(tx: Ledger, won: Attempt) -> None:
    """The attempt ends and the item is ready for the next round."""
    over = replace(won, phase=AttemptPhase.ENDED, outcome=Outcome.LOST, proof=Proof.NEVER_STARTED, ended_at=START)
    assert tx.save_attempt(won, over)
    item = tx.item(ISSUE)
    assert item is not None
    assert tx.save_item(item, replace(item, state=ItemState.READY))


async def test_of_fifty_claimers_one_wins_in_every_round_and_the_others_learn_who(
    tmp_path: Path,
) -> None:
    clock = StillClock()
    async with fresh_store(tmp_path / "tgs.db", clock) as store:
        await store.write(lambda tx: tx.put_repo(replace(a_repo(), rebuilt_at=START)))
        await store.write(lambda tx: tx.insert_item(an_item()))
        for turn in range(ROUNDS):
            names = [f"{turn}-{n}" for n in range(CLAIMERS)]
            answers = await asyncio.gather(*(store.write(partial(claim_as, name=name)) for name in names))
            [won] = [answer for answer in answers if isinstance(answer, Claimed)]
            assert won.attempt.fence == won.attempt.number == turn + 1
            told = {answer.owner for answer in answers if isinstance(answer, NotClaimed)}
            assert told == {won.attempt.worker.name}
            await store.write(partial(free_again, won=won.attempt))


# --- two that both saw a free item -------------------------------------------------------------------


class LooksFirst(SqlLedger):
    """A ledger whose reader has looked at everything before anybody writes, as on two machines without a lock."""

    both_looked: threading.Barrier
    by_revision = True

    def last_attempt(self, key: IssueKey) -> Attempt | None:
        found = super().last_attempt(key)
        self.both_looked.wait()
        return found

    def save_item(self, before: Item, after: Item) -> bool:
        return super().save_item(before, after) or not self.by_revision


def two_claim(path: Path, *, without: tuple[str, ...], by_revision: bool) -> list[Any]:
    """The answers to two claimers on connections of their own: both look, then both write."""
    clock = StillClock()
    prepare(url_of(path), clock)
    for index in without:
        tell(path, f"DROP INDEX {index}")
    with connect(path) as setup:
        tx = SqlLedger(setup, clock)
        tx.put_repo(replace(a_repo(), rebuilt_at=START))
        tx.insert_item(an_item())
    barrier = threading.Barrier(2, timeout=10)
    answers: list[Any] = []

    def claimer(name: str) -> None:
        with connect(path) as connection:
            tx = LooksFirst(connection, clock)
            tx.both_looked = barrier
            tx.by_revision = by_revision
            try:
                answers.append(claim_as(tx, name))
            except DuplicateLiveAttempt as error:
                answers.append(error)

    threads = [threading.Thread(target=claimer, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return answers


LIVE, FENCE = "uq_attempts_live", "uq_attempts_fence"


@pytest.mark.parametrize(
    ("without", "by_revision", "winners"),
    [
        pytest.param((), True, 1, id="with every guard one wins"),
        pytest.param((FENCE,), False, 1, id="the index on live attempts alone lets one win"),
        pytest.param((LIVE,), False, 1, id="the index on fences alone lets one win"),
        pytest.param((LIVE, FENCE), True, 1, id="the item's revision alone lets one win"),
        pytest.param((LIVE, FENCE), False, 2, id="without any guard both would win, so this race is real"),
    ],
)
def test_two_claimers_that_both_saw_a_free_item(
    tmp_path: Path, without: tuple[str, ...], by_revision: bool, winners: int
) -> None:
    path = tmp_path / "tgs.db"
    answers = two_claim(path, without=without, by_revision=by_revision)
    assert len(answers) == 2
    won = [answer for answer in answers if isinstance(answer, Claimed)]
    assert len(won) == winners
    if LIVE not in without:
        [lost] = [answer for answer in answers if isinstance(answer, NotClaimed)]
        assert lost.owner == won[0].attempt.worker.name
        assert [reason.code for reason in lost.reasons] == [ReasonCode.TAKEN]
        assert ask(path, "SELECT count(*) FROM attempts") == [(1,)]


# --- over HTTP ---------------------------------------------------------------------------------------


def activation(run: RunByHand, claim_id: str | None, issue: int | None) -> Any:
    body = {"claim_id": claim_id, "issue": issue, "handoff": run.handoff}
    return run.call("POST", "/runs/activate", run.oidc("start", "start"), body)


async def test_a_claim_is_activated_once_however_often_its_run_asks_at_the_same_time(tmp_path: Path) -> None:
    async with new_world(tmp_path) as world:
        number = await dispatched(world)
        run = world.run()
        world.hub.actions.job_started(run.job("start"))
        claim_id = str(run.run.inputs["claim_id"])
        askers = [RunByHand(world, run.run) for _ in range(RUNS)]
        answers = await asyncio.gather(*(activation(asker, claim_id, number) for asker in askers))
        assert Counter(status for status, _ in answers) == {200: 1, 409: RUNS - 1}
        assert {body["code"] for status, body in answers if status == 409} == {"lost_claim"}
        await world.settle()
        [attempt] = await world.attempts(number)
        assert attempt.phase is AttemptPhase.RUNNING


async def resumed(world: World) -> None:
    """The pause ends in the ledger and no pass has looked yet: runs race among themselves."""
    await world.settle()

    def resume(tx: Ledger) -> None:
        repo = tx.repo(world.repo_key)
        assert repo is not None
        assert tx.save_repo(repo, replace(repo, pause=None))

    await world.parts.store.write(resume)


def started_by_hand(world: World) -> RunByHand:
    """A run from the Actions page, whose start job runs."""
    [workflow] = [w for w in world.hub.actions.files.all(world.repo) if w.path.endswith("tgs-server-run.yml")]
    run = RunByHand(world, world.hub.actions.dispatch(workflow, "main", {}, world.as_(world.maria)))
    world.hub.actions.job_started(run.job("start"))
    return run


async def test_a_run_that_repeats_its_question_before_it_is_answered_has_one_item(tmp_path: Path) -> None:
    async with new_world(tmp_path, policy="max_parallel: 9\n") as world:
        for _ in range(3):
            await queued(world)
        run = started_by_hand(world)
        await resumed(world)
        answers = await asyncio.gather(*(activation(run, None, None) for _ in range(4)))
        assert {status for status, _ in answers} == {200}
        assert len({body["attempt"] for _, body in answers}) == 1
        world.leave_due = True


async def test_of_twenty_runs_that_ask_for_the_next_item_one_gets_it(tmp_path: Path) -> None:
    async with new_world(tmp_path) as world:
        number = await queued(world)
        runs = [started_by_hand(world) for _ in range(RUNS)]
        await resumed(world)
        answers = await asyncio.gather(*(activation(run, None, None) for run in runs))
        seen = Counter(status for status, _ in answers)
        assert seen[200] == 1
        assert set(seen) <= {200, 204, 409}
        [body] = [body for status, body in answers if status == 200]
        await world.settle()
        [attempt] = await world.attempts(number)
        assert (attempt.id, attempt.phase) == (body["attempt"], AttemptPhase.RUNNING)
        assert attempt.run_id in {run.run.id for run in runs}
        assert world.state(number) == "in-progress"
        world.leave_due = True


# --- what was noted between the look at the queue and the claim ----------------------------------------


KEPT_BACK = {
    "somebody holds it": ({"held_by": "olga"}, ReasonCode.HELD),
    "a person works on it": ({"human_owned": True}, ReasonCode.HUMAN_OWNED),
    "it is tried again later": ({"not_before": START + timedelta(hours=1)}, ReasonCode.NOT_BEFORE),
    "the bot has stopped writing to it": ({"projection": Projection(blown_at=START)}, ReasonCode.FUSE),
}


@pytest.mark.parametrize(("changes", "code"), KEPT_BACK.values(), ids=KEPT_BACK)
async def test_a_claim_is_refused_by_what_the_item_itself_says_when_it_is_made(
    tmp_path: Path, changes: dict[str, Any], code: ReasonCode
) -> None:
    async with fresh_store(tmp_path / "tgs.db", StillClock()) as store:
        await store.write(lambda tx: tx.put_repo(replace(a_repo(), rebuilt_at=START)))
        await store.write(lambda tx: tx.insert_item(replace(an_item(), **changes)))
        refused = await store.write(partial(claim_as, name="late"))
        assert isinstance(refused, NotClaimed)
        assert [reason.code for reason in refused.reasons] == [code]
