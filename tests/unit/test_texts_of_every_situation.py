"""The status comment, the set-up issue and the notes in the situations that the golden texts leave out."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from bot.domain.attempt import Attempt, AttemptPhase, Progress, Worker, WorkerKind, WorkerReport
from bot.domain.facts import Ci, CiFacts
from bot.domain.mirror import Listed, ListedBecause
from bot.domain.model import (
    AttemptId,
    Failure,
    FailureReason,
    InstallationId,
    IssueKey,
    Item,
    ItemState,
    Person,
    Problem,
    Projection,
    PullLink,
    RepoId,
    RepoKey,
    Snapshot,
    ThoughtRef,
    WorkSpec,
)
from bot.domain.notes import Note, NoteCode, note
from bot.domain.policy_model import Agent, Mirror, Policy
from bot.domain.reasons import ReasonCode, waiting
from bot.domain.repository import RepoRecord
from bot.texts import help as help_text
from bot.texts import markers
from bot.texts.pull_request import PullInput, pull_body
from bot.texts.render import RenderContext, render
from bot.texts.setup import SetUpInput, setup_body
from bot.texts.status_comment import StatusInput, status_text

NOW = datetime(2026, 12, 1, 9, tzinfo=UTC)
URL = "https://github.com"
REPO = RepoRecord(RepoKey(InstallationId(1), RepoId(2)), "acme/shop", 3, "main", False, preflight_ok=True)
ITEM = Item(IssueKey(InstallationId(1), RepoId(2), 7), "n", "Sign in", ItemState.IN_PROGRESS, NOW)
WORKER = Worker(WorkerKind.PULL, "laptop")
ATTEMPT = Attempt(AttemptId("a"), ITEM.key, 1, 1, AttemptPhase.RUNNING, WORKER, "tgs/7-x", NOW)
ENDED = replace(ATTEMPT, phase=AttemptPhase.ENDED)
REVIEW = replace(ITEM, state=ItemState.IN_REVIEW, pull=PullLink(9, "p", "tgs/7-x", "h", 1, NOW))


def status(item: Item, attempt: Attempt | None = None, ci: CiFacts | None = None, policy: Policy | None = None) -> str:
    return status_text(StatusInput(REPO, item, attempt, policy or Policy(), ci, (), URL, NOW))


@pytest.mark.parametrize(
    ("item", "attempt", "says"),
    [
        pytest.param(ITEM, ATTEMPT, "- Worker `laptop`, branch `tgs/7-x`", id="a pull worker has no run"),
        pytest.param(ITEM, None, "it is tried again by itself", id="between two attempts"),
        pytest.param(ITEM, ENDED, "it is tried again by itself", id="after an attempt"),
        pytest.param(
            replace(ITEM, waiting=(waiting(ReasonCode.NOT_APPROVED, approver="rita"),)),
            ENDED,
            "tried again by itself when nothing above stands in the way. `/tgs retry`",
            id="between two attempts, and somebody must approve it anew",
        ),
        pytest.param(replace(ITEM, attempts_burnt=1), ENDED, "1 of 3 attempts used", id="an attempt is used"),
        pytest.param(
            ITEM, replace(ATTEMPT, cancel_requested_at=NOW), "proof that the run has ended", id="being stopped"
        ),
        pytest.param(
            ITEM, replace(ATTEMPT, progress=Progress(0, 0, "thinking", NOW)), "- thinking", id="no steps known"
        ),
        pytest.param(
            ITEM, replace(ATTEMPT, progress=Progress(9, 4, "x", NOW)), "██████████` 4/4 x", id="too many steps"
        ),
        pytest.param(
            replace(ITEM, last_failure=Failure(FailureReason.LOST, "", NOW)),
            ATTEMPT,
            "Last time: The worker fell",
            id="a failure before",
        ),
        pytest.param(
            replace(ITEM, state=ItemState.PROPOSED), None, "somebody with the role write reads it", id="proposed"
        ),
        pytest.param(replace(ITEM, state=ItemState.NEEDS_INPUT), None, "answers the agent's question", id="a question"),
        pytest.param(replace(ITEM, state=ItemState.DONE), ENDED, "**Next:** nothing.", id="done"),
        pytest.param(
            replace(ITEM, state=ItemState.FAILED), ENDED, "`/tgs retry` starts it again.", id="failed without a reason"
        ),
        pytest.param(replace(ITEM, state=ItemState.CANCELLED), None, "takes it up again", id="called off"),
    ],
)
def test_the_status_comment_says_what_happens_next(item: Item, attempt: Attempt | None, says: str) -> None:
    assert says in status(item, attempt)


@pytest.mark.parametrize(
    ("ci", "line", "follows"),
    [
        pytest.param(None, "", "the checks finish", id="not read yet"),
        pytest.param(CiFacts("h", Ci.PENDING), "- Checks: running", "the checks finish", id="running"),
        pytest.param(CiFacts("h", Ci.NONE), "- Checks: none", "somebody reviews it", id="none"),
        pytest.param(CiFacts("h", Ci.PASSED, (), 1), "- Checks: 1 check passed", "somebody reviews it", id="one"),
        pytest.param(CiFacts("h", Ci.PASSED), "- Checks: passed", "somebody reviews it", id="passed"),
        pytest.param(
            CiFacts("h", Ci.FAILED), "- Checks failed", "looks at the failed checks", id="failed without names"
        ),
        pytest.param(CiFacts("h", Ci.FAILED, (("a", ""),) * 7), "and 2 more", "looks at the failed checks", id="many"),
    ],
)
def test_the_status_comment_shows_the_checks(ci: CiFacts | None, line: str, follows: str) -> None:
    text = status(REVIEW, ENDED, ci)
    assert line in text
    assert follows in text


def test_the_settings_that_are_in_force_are_shown() -> None:
    spec = WorkSpec("bugfix", ("src/**",), (3,), ("make test",), True, "opus", "command", "develop", 2)
    item = replace(
        ITEM,
        priority=100,
        spec=spec,
        thought=ThoughtRef("tgs/thoughts/abc123-x", "c" * 40, "p", "r"),
        snapshot=Snapshot("t", "b", NOW, None, contains_outsider_text=True),
    )
    text = status(item, policy=Policy(agent=Agent(model="sonnet")))
    for line in (
        "type: bugfix",
        "priority: 100",
        "locks: `src/**`",
        "attempts: at most 2",
        "agent: `command`",
        "model: `opus`",
        "base branch: `develop`",
        "depends on: #3",
        "acceptance: `make test`",
        "automerge: asked for, and without an effect yet",
        "approved by the policy",
        "words of people who may not start work",
        "/tgs/thoughts/abc123-x/plan.md)",
    ):
        assert f"- {line}" in text or line in text


def test_the_pull_request_names_plan_approval_and_acceptance() -> None:
    item = replace(
        ITEM,
        spec=WorkSpec(acceptance=("make test",)),
        thought=ThoughtRef("tgs/thoughts/abc123-x", "c" * 40, "p", "r"),
        snapshot=Snapshot("t", "b", NOW, Person(1, "ann"), contains_outsider_text=True),
    )
    body = pull_body(PullInput(REPO, item, replace(ATTEMPT, report=WorkerReport(True, NOW)), Policy(), URL))
    for part in ("- attempt 1\n", "as approved", "approved by `ann`", "read the diff with care", "command `make test`"):
        assert part in body
    assert "What the agent says" not in body


@pytest.mark.parametrize(
    ("repo", "policy", "listed", "says"),
    [
        pytest.param(
            replace(REPO, preflight_ok=False), Policy(), (), "first checks have not run", id="before the checks"
        ),
        pytest.param(REPO, Policy(enabled=False), (), "switched off by the policy", id="switched off"),
        pytest.param(REPO, Policy.default(), (), "once `.tgs/policy.yml` is on the default branch", id="no file"),
        pytest.param(
            replace(REPO, policy_text="x"), Policy.default(), (), "not turned into issues", id="mirroring off"
        ),
        pytest.param(replace(REPO, policy_text="x"), Policy(), (), "as proposals", id="as proposals"),
        pytest.param(
            replace(REPO, policy_text="x"),
            Policy(mirror=Mirror(auto_ready=True)),
            (),
            "ready at once",
            id="ready at once",
        ),
        pytest.param(
            REPO,
            Policy(),
            tuple(Listed(f"d{n}", ListedBecause.UNDECIDED) for n in range(40)),
            "and 10 more",
            id="many plans",
        ),
        pytest.param(
            replace(REPO, preflight_problems=(Problem("a", "b", "c"),) * 40),
            Policy(),
            (),
            "and 10 more",
            id="many problems",
        ),
    ],
)
def test_the_set_up_issue(repo: RepoRecord, policy: Policy, listed: tuple[Listed, ...], says: str) -> None:
    assert says in setup_body(SetUpInput(repo, listed, policy, URL))


def words(entry: Note, item: Item | None = ITEM, policy: Policy | None = None, repo: RepoRecord = REPO) -> str:
    return render(entry, RenderContext(repo, item, policy or Policy(), URL, NOW))


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (note(NoteCode.DONE, what="stopping", now="yes"), "stopped at once"),
        (note(NoteCode.DONE, what="held", running=1), "The attempt that is running goes on"),
        (note(NoteCode.DONE, what="cancelled", pull=9), "#9 stays open"),
        (
            note(NoteCode.DONE, what="paused", until=NOW.isoformat(), reason="freeze"),
            "until 2026-12-01 09:00 UTC: freeze.",
        ),
        (note(NoteCode.NEXT, count=2, number=4, title="A *b*"), "Next is #4 (A \\*b\\*); 2 in the queue."),
        (note(NoteCode.NEXT, count=0), "The queue is empty."),
        (note(NoteCode.HELP, command="pause"), "people with the role write or higher, for the whole repository"),
        (note(NoteCode.HELP, command="takeover"), "cannot do it yet"),
        (note(NoteCode.HELP, command="xyz"), "There is no command `xyz`"),
        (note(NoteCode.LABEL_REFUSED, label="tgs:ready", why="unreadable"), "its history could not be read"),
        (note(NoteCode.LABEL_REFUSED, label="tgs:ready", why="unknown_actor"), "GitHub does not say who set it"),
        (
            note(NoteCode.LABEL_REFUSED, label="tgs:ready", why="role", needs="write", has="none", actor="bob"),
            "@bob: The label `tgs:ready` needs the role write or higher; you have no role in this repository.",
        ),
        (note(NoteCode.MERGE_REFUSED, why="github", message="Nope"), "GitHub refused to merge the pull request: Nope"),
        (
            note(NoteCode.CI_FAILED, pull=9, sha="abc", checks="unit", approver="ann"),
            "@ann: Checks failed on #9 at `abc`",
        ),
        (note(NoteCode.REVIEW_WANTED, pull=9, checks="passed"), "All checks passed."),
        (note(NoteCode.FAILED, reason="from.later"), "It ended without a result."),
    ],
)
def test_notes_in_particular_situations(entry: Note, says: str) -> None:
    assert says in words(entry)


def test_status_and_policy_answers() -> None:
    item = replace(REVIEW, projection=Projection(status_comment_id=123))
    said = words(Note(NoteCode.STATUS, (), (waiting(ReasonCode.REVIEW, pull=9),)), item)
    assert "Pull request: #9" in said
    assert "https://github.com/acme/shop/issues/7#issuecomment-123" in said
    assert "The bot does not work on this issue" in words(Note(NoteCode.STATUS), None)
    off = words(note(NoteCode.POLICY, hash="abc"), policy=Policy.default())
    assert "the defaults (there is no file)" in off
    assert "become issues: no" in off
    ready = Policy(mirror=Mirror(auto_ready=True))
    troubled = replace(REPO, policy_problems=(Problem("a", "b", "c"),))
    assert "has problems" in words(note(NoteCode.POLICY, file="yes"), policy=ready, repo=troubled)


def test_a_marker_of_another_version_ends_the_reading() -> None:
    assert markers.read("x\n<!-- tgs:later 1 -->\n<!-- tgs:status -->") == (markers.Marker(markers.MarkerKind.STATUS),)


def test_the_overview_names_the_role_in_force() -> None:
    assert "Starting work needs the role write or higher here." in help_text.overview(Policy().roles)
