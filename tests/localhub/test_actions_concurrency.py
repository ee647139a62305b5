"""Concurrency groups: who holds, who waits, who is cancelled."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.localhub.actions_model import Conclusion, Run
from bot.localhub.concurrency import QUEUE_MAX, Groups
from bot.localhub.runner import ManualRunner
from tests.localhub.flow import Flow, by_hand, flow


class Log:
    def __init__(self) -> None:
        self.started: list[str] = []
        self.cancelled: list[str] = []
        self.groups: Groups[str] = Groups(self.started.append, self.cancelled.append)

    def enter(self, item: str, *, cancel: bool = False, queue_max: bool = False) -> bool:
        return self.groups.enter(1, "Group", item, cancel_holder=cancel, queue_max=queue_max)


def test_the_first_holds_the_second_waits_and_a_third_replaces_it() -> None:
    log = Log()
    assert [log.enter("a"), log.enter("b"), log.enter("c")] == [True, False, False]
    assert (log.cancelled, log.groups.members(1, "group")) == (["b"], ["a", "c"])
    log.groups.leave(1, "GROUP", "a")
    assert log.started == ["c"]
    log.groups.leave(1, "group", "c")
    assert log.groups.members(1, "group") == []


def test_a_newcomer_that_cancels_starts_only_when_the_holder_has_ended() -> None:
    log = Log()
    log.enter("a")
    assert not log.enter("b", cancel=True)
    assert (log.cancelled, log.started) == (["a"], [])
    log.groups.leave(1, "group", "a")
    assert log.started == ["b"]


def test_a_long_queue_keeps_its_order_up_to_the_limit() -> None:
    log = Log()
    for number in range(QUEUE_MAX + 2):
        log.enter(str(number), queue_max=True)
    assert log.cancelled == ["1"]
    log.groups.leave(1, "group", "0")
    assert log.started == ["2"]


def test_repositories_do_not_share_groups() -> None:
    log = Log()
    log.enter("a")
    assert log.groups.enter(2, "group", "b", cancel_holder=False, queue_max=False)


TEXT = """\
on: workflow_dispatch
concurrency: {group: one, cancel-in-progress: true}
jobs:
  a: {runs-on: x, steps: [{run: x}]}
"""
JOBS = """\
on: workflow_dispatch
jobs:
  a:
    runs-on: x
    concurrency: deploy
    steps: [{run: x}]
"""


@pytest.fixture
async def w(tmp_path: Path) -> AsyncIterator[Flow]:
    async with flow(tmp_path, files={".github/workflows/w.yml": TEXT, ".github/workflows/j.yml": JOBS}) as made:
        by_hand(made)
        yield made


def start(w: Flow, name: str) -> Run:
    workflow = w.hub.actions.files.find(w.repo, name)
    assert workflow is not None
    return w.hub.actions.dispatch(workflow, "main", {}, w.as_(w.owner))


async def test_cancel_in_progress_waits_for_the_end_of_the_running_one(w: Flow) -> None:
    w.hub.actions.runner = ManualRunner(w.hub, obey_cancel=False)
    first = start(w, "w.yml")
    w.hub.actions.start(first)
    second = start(w, "w.yml")
    assert (first.cancel_requested, first.done, second.status.value) == (True, False, "pending")
    w.hub.actions.job_finished(first.jobs["a"], Conclusion.CANCELLED)
    assert (first.conclusion, second.status.value) == (Conclusion.CANCELLED, "queued")


async def test_jobs_of_different_runs_share_a_group(w: Flow) -> None:
    first, second = start(w, "j.yml"), start(w, "j.yml")
    shown = await w.call("GET", f"/actions/runs/{second.id}/jobs")
    assert shown.body["jobs"][0]["status"] == "queued"
    assert second.jobs["a"].status.value == "pending"
    w.hub.actions.finish(first)
    assert second.jobs["a"].status.value == "queued"
    w.hub.actions.finish(second)
    assert second.conclusion is Conclusion.SUCCESS


async def test_a_run_that_waits_can_be_cancelled_and_leaves_the_group(w: Flow) -> None:
    first, second = start(w, "w.yml"), start(w, "j.yml")
    third = start(w, "j.yml")
    w.hub.actions.cancel(third)
    assert third.conclusion is Conclusion.CANCELLED
    w.hub.actions.finish(second)
    w.hub.actions.finish(first)
    assert start(w, "j.yml").jobs["a"].status.value == "queued"
