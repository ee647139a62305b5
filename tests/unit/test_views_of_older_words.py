"""Items in the words of older tools: every state has a word, ids stay, and steps follow from the history."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from bot.domain.attempt import Attempt, AttemptPhase, Outcome, Progress, Worker, WorkerKind
from bot.domain.commands import Verb
from bot.domain.model import (
    AttemptId,
    Failure,
    FailureReason,
    InstallationId,
    IssueKey,
    Item,
    ItemState,
    RepoId,
    Snapshot,
    WorkSpec,
)
from bot.domain.views import parse_protocol_id, protocol, protocol_id, steps, task, task_id
from bot.web.api.actions import ITEM_ACTIONS, REPO_ACTIONS, line_of

NOW = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
KEY = IssueKey(InstallationId(1), RepoId(42), 7)
ITEM = Item(KEY, "n", "Add a greeting", ItemState.READY, NOW, created_at=NOW - timedelta(days=1))
ATTEMPT = Attempt(
    AttemptId("a1"), KEY, 1, 1, AttemptPhase.RUNNING, Worker(WorkerKind.ACTIONS, "actions"), "tgs/7-add", NOW
)

WORDS = [
    # ours, task, protocol run
    (ItemState.PROPOSED, "queued", "pending"),
    (ItemState.READY, "queued", "planned"),
    (ItemState.IN_PROGRESS, "in_progress", "running"),
    (ItemState.NEEDS_INPUT, "in_progress", "blocked"),
    (ItemState.IN_REVIEW, "in_progress", "running"),
    (ItemState.DONE, "completed", "completed"),
    (ItemState.FAILED, "failed", "failed"),
    (ItemState.CANCELLED, "failed", "cancelled"),
]


@pytest.mark.parametrize(("state", "as_task", "as_protocol"), WORDS)
def test_every_state_has_its_word(state: ItemState, as_task: str, as_protocol: str) -> None:
    item = replace(ITEM, state=state)
    assert task(item, [], "u")["status"] == as_task
    assert protocol(item, [], repo_paused=False)["status"] == as_protocol
    assert {known for known, _, _ in WORDS} == set(ItemState)


@pytest.mark.parametrize(
    ("item", "paused", "status"),
    [
        pytest.param(replace(ITEM, held_by="maria"), False, "paused", id="on hold"),
        pytest.param(replace(ITEM, human_owned=True), False, "paused", id="people work on it"),
        pytest.param(ITEM, True, "paused", id="the repository is paused"),
        pytest.param(replace(ITEM, state=ItemState.IN_PROGRESS), True, "running", id="what runs goes on"),
    ],
)
def test_a_planned_run_that_must_wait_is_paused(item: Item, paused: bool, status: str) -> None:
    assert protocol(item, [], repo_paused=paused)["status"] == status


def test_a_task_has_every_field() -> None:
    spec, snapshot = WorkSpec(type="docs"), Snapshot("Add a greeting", "Say hello.", NOW, None)
    done = NOW + timedelta(hours=2)
    item = replace(ITEM, state=ItemState.DONE, since=done, priority=-5, spec=spec, snapshot=snapshot)
    assert task(item, [ATTEMPT], "https://github.com/olga/greeter") == {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, "tgs/42/7")),
        "title": "Add a greeting",
        "description": "Say hello.",
        "task_type": "docs",
        "status": "completed",
        "priority": "low",
        "repository_url": "https://github.com/olga/greeter",
        "branch_name": "tgs/7-add",
        "created_at": "2026-11-01T09:00:00Z",
        "updated_at": "2026-11-02T11:00:00Z",
        "completed_at": "2026-11-02T11:00:00Z",
    }
    # A new installation of the App does not rename the tasks.
    assert task_id(replace(KEY, installation=InstallationId(9))) == task_id(KEY)


def test_ids_of_protocols_are_read_back() -> None:
    assert parse_protocol_id(protocol_id(KEY)) == (42, 7)
    for text in ("42", "42-", "-7", "42-x", "42-7-1", "٤٢-7", "9" * 20 + "-1"):
        assert parse_protocol_id(text) is None, text


LINES = [(NOW, "claimed"), (NOW + timedelta(seconds=1), "attempt.dispatching"), (NOW, "priority"),
         (NOW + timedelta(seconds=9), "attempt.running")]  # fmt: skip
ENDED = [*LINES, (NOW + timedelta(seconds=60), "attempt.ended")]


@pytest.mark.parametrize(
    ("attempt", "state", "lines", "found"),
    [
        pytest.param(
            replace(ATTEMPT, progress=Progress(1, 3, "Reading", NOW)), ItemState.IN_PROGRESS, LINES,
            [("claim", "completed", None), ("dispatching", "completed", None), ("running", "running", "Reading")],
            id="it runs",
        ),
        pytest.param(
            replace(ATTEMPT, phase=AttemptPhase.CLAIMED), ItemState.IN_PROGRESS, LINES[:1],
            [("claim", "pending", None)], id="it was just claimed",
        ),
        pytest.param(
            replace(ATTEMPT, phase=AttemptPhase.ENDED, outcome=Outcome.PUBLISHED), ItemState.IN_REVIEW, ENDED,
            [("claim", "completed", None), ("dispatching", "completed", None), ("running", "needs_qa", None)],
            id="its result waits for review",
        ),
        pytest.param(
            replace(ATTEMPT, phase=AttemptPhase.ENDED, outcome=Outcome.FAILED,
                    failure=Failure(FailureReason.AGENT_CRASH, "It fell over.", NOW)),
            ItemState.FAILED, ENDED,
            [("claim", "completed", None), ("dispatching", "completed", None), ("running", "failed", "It fell over.")],
            id="it failed",
        ),
        pytest.param(
            replace(ATTEMPT, phase=AttemptPhase.ENDED, outcome=Outcome.CANCELLED), ItemState.CANCELLED, ENDED[-2:],
            [("running", "cancelled", None)], id="it was called off",
        ),
    ],
)  # fmt: skip
def test_steps_follow_from_the_history(
    attempt: Attempt,
    state: ItemState,
    lines: list[tuple[datetime, str]],
    found: list[tuple[str, str, str | None]],
) -> None:
    made = steps(attempt, replace(ITEM, state=state), lines)
    assert [(step["name"], step["status"], step["detail"]) for step in made] == found
    assert len({step["id"] for step in made}) == len(made)


@pytest.mark.parametrize(
    ("word", "line"),
    [
        pytest.param("start", "start", id="start"),
        pytest.param("run", "start", id="run is start"),
        pytest.param("run_qa", "review", id="run_qa is review"),
        pytest.param("approve", "approve", id="approve"),
        pytest.param("pause", "hold", id="an item's pause is its hold"),
        pytest.param("resume", "unhold", id="an item goes on by unhold"),
        pytest.param("cancel", "stop", id="cancel is stop"),
        pytest.param("retry", "retry", id="retry"),
    ],
)
def test_an_action_is_the_command_that_does_it(word: str, line: str) -> None:
    assert line_of(ITEM_ACTIONS[word], []) == line


def test_no_command_is_missing_among_the_actions() -> None:
    assert {verb.value for verb in Verb} <= set(ITEM_ACTIONS)
    assert all(word == verb.value for word, verb in REPO_ACTIONS.items())
