"""Defences of the bot, each taken away by hand: then the simulation must find what it guards against.

Nothing of this is a switch in the product. A control replaces a function for the time of a history, or changes the
database from outside.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from bot import (
    claims,
    inline_asking,
    observe,
    outbox,
    publishing,
    rebuild,
    rebuilt_records,
    run_service,
    saving,
    starter,
    sweep,
)
from bot.domain import advance, attempting, budget, commanded
from bot.domain.attempt import Outcome, Proof
from bot.domain.attempt_end import after_end
from bot.domain.draft import BOT, Draft
from bot.domain.lifecycle import ItemEvent
from bot.domain.memory import RepoMemory
from bot.domain.model import FailureReason
from bot.protocols.ledger import Ledger
from bot.simulate import disk, replica
from bot.simulate.faults import Fault
from bot.simulate.history import History
from bot.simulate.setup import Setup
from bot.store.inbox import SqlInbox
from bot.store.ledger import SqlLedger
from bot.store.memory import QuickLedger

Patch = pytest.MonkeyPatch


@dataclass(frozen=True)
class Control:
    """One of `broken` must be found violated. `shape` makes histories in which the defence matters."""

    broken: tuple[str, ...]
    take_away: Callable[[Patch], None]
    shape: Callable[[Setup], Setup] = lambda setup: setup
    prepare: Callable[[History], None] = lambda _history: None


class _NobodyWorks:
    """A ledger that knows no live attempt of an item."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def live_attempt(self, _key: object) -> None:
        return None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)


def _claim_twice(patch: Patch) -> None:
    whole = claims.claim
    patch.setattr(starter, "claim", lambda tx, *args, **more: whole(_NobodyWorks(tx), *args, **more))


def _any_fence(patch: Patch) -> None:
    def live(tx: Ledger, attempt_id: Any, fence: int) -> Any:
        found = tx.attempt(attempt_id)
        assert found is not None
        return found

    for module in (run_service, inline_asking, publishing):
        patch.setattr(module, "current", live)
    patch.setattr(SqlLedger, "drop_tokens", lambda *_: None)


def _silence_releases(patch: Patch) -> None:
    def settle(draft: Draft, policy: Any, attempt: Any) -> None:
        after_end(draft, policy, Outcome.LOST, Proof.HARMLESS, FailureReason.LOST, "silent")

    patch.setattr(attempting, "_settle_silence", settle)


def _closed_is_nothing(patch: Patch) -> None:
    patch.setattr(advance, "_closed", lambda _draft: None)


def _word_of_the_agent(patch: Patch) -> None:
    whole = attempting.conclude

    def conclude(draft: Draft, policy: Any, attempt: Any, report: Any) -> None:
        if report.succeeded:
            draft.end(Outcome.PUBLISHED, proof=Proof.WORKER_REPORTED)
            draft.free_locks = True
            draft.move(ItemEvent.MERGED, actor=BOT, cause="the agent says so")
        else:
            whole(draft, policy, attempt, report)

    patch.setattr(attempting, "conclude", conclude)


def _locks_stay(patch: Patch) -> None:
    patch.setattr(SqlLedger, "free_locks", lambda *_: 0)
    patch.setattr(saving, "check", lambda *_: None)


def _no_ceiling(patch: Patch) -> None:
    patch.setattr(QuickLedger, "count_dispatches", lambda *_: 0)


def _no_money_is_counted(patch: Patch) -> None:
    patch.setattr(QuickLedger, "spent_on", lambda *_: 0)
    patch.setattr(QuickLedger, "spent_on_waiting", lambda *_: {})
    patch.setattr(QuickLedger, "spent_since", lambda *_: 0)


def _no_deployment(patch: Patch) -> None:
    whole = budget.ceilings

    def ceilings(*args: Any) -> Any:
        return tuple(one for one in whole(*args) if one.scope is not budget.Scope.DEPLOYMENT)

    patch.setattr(budget, "ceilings", ceilings)


def _nothing_is_rebuilt(patch: Patch) -> None:
    async def nothing(self: Any, repo: Any, _head: Any, *, patient: bool) -> Any:
        report = rebuilt_records.Report(repo)
        return await rebuilt_records.finish(self._store, report, RepoMemory(), None, self._clock.now())

    patch.setattr(rebuild.Rebuilder, "_tried", nothing)


def _no_history(patch: Patch) -> None:
    whole = SqlLedger.audit

    def audit(self: SqlLedger, line: Any) -> None:
        if line.kind != ItemEvent.PUBLISHED.value:
            whole(self, line)

    patch.setattr(SqlLedger, "audit", audit)


def _every_delivery_counts(patch: Patch) -> None:
    whole, count = commanded._intent, 0

    def intent(id_: str, *args: Any, **more: Any) -> Any:
        nonlocal count
        count += 1
        return whole(f"{id_}:{count}", *args, **more)

    patch.setattr(commanded, "_intent", intent)


def _start_unread(patch: Patch) -> None:
    async def changed(*_: object) -> None:
        return None

    patch.setattr(starter.Starter, "_changed", changed)


def _answer_first(patch: Patch) -> None:
    whole = SqlInbox.accept

    async def accept(self: SqlInbox, *args: Any) -> bool:
        async def later() -> None:
            await asyncio.sleep(0.5)
            await whole(self, *args)

        asyncio.get_running_loop().create_task(later())
        return True

    patch.setattr(SqlInbox, "accept", accept)


def _repeat_blindly(patch: Patch) -> None:
    whole = outbox.Once.perform

    async def nothing(_row: object) -> None:
        return None

    async def perform(self: Any, *args: Any, find: Callable[..., Awaitable[Any]], **more: Any) -> Any:
        return await whole(self, *args, find=nothing, **more)

    patch.setattr(outbox.Once, "perform", perform)


def _any_order(patch: Patch) -> None:
    patch.setattr(observe, "overtaken_by", lambda *_: None)


def _overtaken_runs_write(patch: Patch) -> None:
    async def ours(*_: object) -> None:
        return None

    patch.setattr(disk, "fenced", lambda unit: unit)
    patch.setattr(replica, "still_ours", ours)


def _no_sweep(patch: Patch) -> None:
    async def once(_self: object) -> None:
        return None

    patch.setattr(sweep.Sweep, "tick", lambda _self: asyncio.sleep(0, sweep.SWEEP_EVERY))
    patch.setattr(sweep.Sweep, "once", once)


def _with(**changes: Any) -> Callable[[Setup], Setup]:
    return lambda setup: replace(setup, **changes)


PULLED = "workers: pull\nattempts: 3\nmax_parallel: 3\n"
LIMITED = "budgets:\n  dispatches_per_day: 2\nmax_parallel: 3\nattempts: 3\n"

POOR = "budgets:\n  per_item: 6\n  per_day: 8\nmax_parallel: 3\nattempts: 3\n"

RICH = "budgets:\n  per_item: 1000\n  per_day: 1000\nmax_parallel: 3\nattempts: 3\n"

CONTROLS: dict[str, Control] = {
    "nobody asks whether somebody works on it": Control(
        ("I1",),
        _claim_twice,
        _with(policy=PULLED, pull_workers=4, items=3, scale=0.3),
        lambda history: history.disk.execute("DROP INDEX uq_attempts_live"),
    ),
    "calls under an old fence are taken": Control(
        ("I2",), _any_fence, _with(policy=PULLED, pull_workers=2, items=3, often=(Fault.WORKER_ZOMBIE,))
    ),
    "silence gives an item up": Control(("I3",), _silence_releases, _with(scale=2.0, policy="attempts: 3\n")),
    "a closed issue stops nothing": Control(("I4",), _closed_is_nothing, _with(acts=18)),
    "the agent's word makes it done": Control(("I5",), _word_of_the_agent),
    "locks are never freed": Control(("I6",), _locks_stay, _with(policy="locks: [src/]\n")),
    "runs of a day are not counted": Control(("I7",), _no_ceiling, _with(policy=LIMITED, items=3)),
    "what was spent is not counted": Control(("I7",), _no_money_is_counted, _with(policy=POOR, items=3)),
    "the operator's ceiling is not asked": Control(
        ("I7",), _no_deployment, _with(policy=RICH, deployment=6, items=3, length=3600.0)
    ),
    "history leaves lines out": Control(("I8",), _no_history),
    "a delivery under another id is another command": Control(
        ("I9",), _every_delivery_counts, _with(scale=2.0, acts=18)
    ),
    "a start does not look at the issue again": Control(("I10",), _start_unread),
    "GitHub is answered before the commit": Control(("I12",), _answer_first, _with(scale=2.0)),
    "an act is repeated without looking for its trace": Control(
        ("once", "I9"), _repeat_blindly, _with(items=3, often=(Fault.TIMEOUT_AFTER, Fault.NAMELESS_RUN))
    ),
    "a new ledger does not ask GitHub what there was": Control(
        ("I13",),
        _nothing_is_rebuilt,
        _with(only=None, plenty=3.0, often=(Fault.LEDGER_LOST,), policy="attempts: 3\nmax_parallel: 3\n"),
    ),
    "an overtaken run goes on writing": Control(
        ("I2",),
        _overtaken_runs_write,
        _with(replicas=2, only=(Fault.ZOMBIE_BOT,), scale=8.0, plenty=1.0),
    ),
    "an older command counts whenever it is heard": Control(("order",), _any_order, _with(acts=18)),
    "nothing is ever looked at again": Control(("lost", "ends"), _no_sweep, _with(scale=2.0)),
}
