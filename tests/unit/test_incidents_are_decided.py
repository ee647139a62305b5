"""When causes of failures become an issue, when the issue is edited, closed and opened again: from values alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from bot.domain.attempt import Attempt, AttemptPhase, Outcome, Worker, WorkerKind
from bot.domain.failures import FAILURES
from bot.domain.incidents import (
    CAUSES,
    EDIT_SPACING,
    MAX_NUMBERS,
    QUIET,
    SEVERAL,
    Cause,
    Do,
    Incident,
    Past,
    Sighting,
    Step,
    cause_of,
    next_step,
    sighted,
)
from bot.domain.model import AttemptId, Failure, FailureReason, InstallationId, IssueKey, RepoId
from bot.texts import incidents as texts
from bot.texts import markers

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def seen(times: int, cause: Cause = Cause.CREDENTIAL, *, known: Incident | None = None, every: int = 1) -> Incident:
    for n in range(times):
        known = sighted(known, Sighting(cause, n % every + 1, "no key"), NOW + n * MINUTE)
    assert known is not None
    return known


def later(*, started: bool = False, outcome: Outcome | None = None, reason: FailureReason | None = None) -> Attempt:
    return Attempt(
        AttemptId("a"),
        IssueKey(InstallationId(1), RepoId(2), 3),
        1,
        1,
        AttemptPhase.ENDED,
        Worker(WorkerKind.ACTIONS, "actions"),
        "b",
        NOW,
        started_at=NOW if started else None,
        outcome=outcome,
        failure=Failure(reason, "", NOW) if reason is not None else None,
    )


SHOWN = replace(seen(1), issue=9, shown="old", shown_at=NOW)
STEPS: dict[str, tuple[Incident, list[Attempt], datetime, Step]] = {
    "a missing credential is an incident at once": (seen(1), [], NOW, Step(Do.CREATE)),
    "one lost runner is none": (seen(1, Cause.RUNNERS), [], NOW, Step(Do.NOTHING)),
    "several lost runners are one": (seen(SEVERAL, Cause.RUNNERS), [], NOW, Step(Do.CREATE)),
    "what is shown already is not written again": (replace(SHOWN, shown="new"), [], NOW, Step(Do.NOTHING)),
    "a higher count is shown after a while": (SHOWN, [], NOW + EDIT_SPACING, Step(Do.EDIT)),
    "and not at once": (SHOWN, [], NOW + MINUTE, Step(Do.NOTHING, NOW + EDIT_SPACING)),
    "an attempt that began and failed by it again shows nothing": (
        SHOWN,
        [later(started=True, reason=FailureReason.CONFIG_SECRET_MISSING)],
        NOW + EDIT_SPACING,
        Step(Do.EDIT),
    ),
    "an agent that worked needed its credential": (
        SHOWN,
        [later(started=True, reason=FailureReason.AGENT_GAVE_UP)],
        NOW,
        Step(Do.CLOSE),
    ),
    "an agent that asked did too": (SHOWN, [later(started=True, outcome=Outcome.ASKED)], NOW, Step(Do.CLOSE)),
    "a run that began shows that runs can be started": (
        replace(SHOWN, cause=Cause.WORKFLOW),
        [later(started=True)],
        NOW,
        Step(Do.CLOSE),
    ),
    "what is over stays over": (replace(SHOWN, closed_at=NOW), [], NOW + EDIT_SPACING, Step(Do.NOTHING)),
    "what comes back is opened again": (
        seen(1, known=replace(SHOWN, closed_at=NOW)),
        [],
        NOW,
        Step(Do.REOPEN),
    ),
}


@pytest.mark.parametrize(("incident", "since", "now", "step"), STEPS.values(), ids=STEPS)
def test_what_is_done(incident: Incident, since: list[Attempt], now: datetime, step: Step) -> None:
    assert next_step(incident, "new", since, now) == step


def test_a_policy_may_do_without_issues_and_what_is_over_is_still_noted() -> None:
    assert next_step(seen(5), "new", [], NOW, wanted=False).do is Do.NOTHING
    assert next_step(seen(5), "new", [later(outcome=Outcome.PUBLISHED)], NOW, wanted=False).do is Do.CLOSE


def test_failures_are_counted_and_the_newest_items_are_named() -> None:
    many = seen(100, every=40)
    assert (many.count, many.affected >= 40, len(many.numbers)) == (100, True, MAX_NUMBERS)
    assert many.numbers[-1] == 20  # the hundredth failure was that of #20


def test_a_few_failures_long_ago_are_no_part_of_a_new_episode() -> None:
    two = seen(SEVERAL - 1, Cause.RUNNERS)
    after = sighted(two, Sighting(Cause.RUNNERS, 1, ""), two.last_at + QUIET + MINUTE)
    assert after.count == 1
    # An incident that is open goes on, however long nobody tried.
    open_ = seen(SEVERAL, Cause.RUNNERS)
    assert sighted(open_, Sighting(Cause.RUNNERS, 1, ""), open_.last_at + 3 * QUIET).count == SEVERAL + 1


def test_every_failure_that_pauses_a_repository_has_a_cause() -> None:
    for reason, rule in FAILURES.items():
        if rule.pauses:
            assert cause_of(reason) is not None, reason
    assert {cause_of(reason) for reason in FailureReason} - {None} == set(Cause)
    assert all(kind.over in Past for kind in CAUSES.values())


@pytest.mark.parametrize("cause", Cause)
def test_the_issue_says_what_to_do_and_is_found_again(cause: Cause) -> None:
    incident = seen(SEVERAL, cause)
    for text in (texts.body(incident), texts.over(incident)):
        assert markers.carries(text, markers.incident(cause.value))
    assert "**What to do:**" in texts.body(incident)
    assert texts.body(incident) == texts.body(incident)
    assert texts.title(cause)
