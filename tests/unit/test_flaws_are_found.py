"""Every kind of flaw is found when it is made on purpose, is named with its item, and is not found when all is well."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from bot.domain.branches import branch_of, issue_of
from bot.domain.checkup import Known, Repair, Severity, Shown, ShownIssue, checkup
from bot.domain.model import (
    InstallationId,
    IssueKey,
    Item,
    ItemState,
    Problem,
    PullLink,
    RepoId,
    RepoKey,
    ThoughtRef,
    WorkSpec,
)
from bot.domain.policy_model import Policy
from bot.domain.repository import RepoRecord
from bot.domain.thoughts import Thought, ThoughtProblem

NOW = datetime(2026, 11, 2, tzinfo=UTC)
REPO = RepoRecord(RepoKey(InstallationId(1), RepoId(2)), "olga/greeter", 3, "main", False, preflight_ok=True)
DIR = "tgs/thoughts/abc123-add-welcome"
PLAN = Thought(DIR, "abc123", "add-welcome", "r", "p")
ITEM = Item(
    IssueKey(InstallationId(1), RepoId(2), 5),
    "node",
    "Add welcome",
    ItemState.READY,
    NOW,
    thought=ThoughtRef(DIR, "c", "p", "r"),
)
ISSUE = ShownIssue(5, "Add welcome", True, frozenset({"tgs:ready", "area/x"}), DIR)
KNOWN = Known(REPO, (ITEM,), frozenset(), ())
SHOWN = Shown(thoughts=(PLAN,), issues=(ISSUE,))
TROUBLE = Problem("thought_missing_file", "it has no plan.md.", "Commit it.")


def other(number: int, **changes: object) -> Item:
    key = IssueKey(InstallationId(1), RepoId(2), number)
    return replace(ITEM, key=key, thought=None, **changes)  # type: ignore[arg-type]


def shown(number: int, *names: str, title: str = "Add welcome", **changes: object) -> ShownIssue:
    return replace(ShownIssue(number, title, True, frozenset(names)), **changes)  # type: ignore[arg-type]


PULL = PullLink(9, "n", "tgs/5-add", "s", 1, NOW)
UNKNOWN_KEY = Problem("policy_unknown_key", "unknown setting `colour`", "Remove it.")

FAULTS = [
    pytest.param(
        replace(KNOWN, live=frozenset({5})), SHOWN, "live_attempt", 5, Repair.LOOK, id="an attempt of a queued item"
    ),
    pytest.param(KNOWN, replace(SHOWN, thoughts=()), "thought_missing", 5, Repair.LOOK, id="a plan folder is gone"),
    pytest.param(
        KNOWN,
        replace(SHOWN, thoughts=(), problems=(ThoughtProblem(DIR, TROUBLE),)),
        "thought_broken",
        5,
        None,
        id="one of the two files is not committed",
    ),
    pytest.param(
        KNOWN,
        replace(SHOWN, problems=(ThoughtProblem("tgs/thoughts/abc999-x", TROUBLE),)),
        "thought_missing_file",
        None,
        None,
        id="a folder without an item that cannot be used",
    ),
    pytest.param(
        KNOWN,
        replace(SHOWN, thoughts=(replace(PLAN, implementation=True),)),
        "already_implemented",
        5,
        Repair.LOOK,
        id="a queued plan has an implementation",
    ),
    pytest.param(
        KNOWN,
        replace(SHOWN, issues=(ISSUE, shown(8, dir=DIR))),
        "duplicate",
        8,
        None,
        id="two open issues are of one plan",
    ),
    pytest.param(
        KNOWN,
        replace(SHOWN, issues=(replace(ISSUE, title="Other"),)),
        "title_drift",
        5,
        Repair.LOOK,
        id="issue and item are called differently",
    ),
    pytest.param(
        KNOWN,
        replace(SHOWN, issues=(replace(ISSUE, labels=frozenset({"tgs:done"})),)),
        "label_wrong",
        5,
        Repair.SHOW,
        id="the label says another state",
    ),
    pytest.param(KNOWN, replace(SHOWN, issues=()), "label_wrong", 5, Repair.SHOW, id="no label is shown"),
    pytest.param(
        KNOWN,
        replace(SHOWN, issues=(ISSUE, shown(7, "tgs:failed"))),
        "orphan_label",
        7,
        Repair.UNLABEL,
        id="an issue of nobody shows a state",
    ),
    pytest.param(
        KNOWN,
        replace(SHOWN, issues=(ISSUE, shown(7, "tgs:ready"))),
        "orphan_label",
        7,
        Repair.LOOK,
        id="a wish of somebody was never looked at",
    ),
    pytest.param(
        KNOWN, replace(SHOWN, branches=(("tgs/9-x", 9),)), "orphan_branch", 9, None, id="a branch that nobody works on"
    ),
    pytest.param(
        KNOWN,
        replace(SHOWN, claims=(("refs/tgs/claims/5", 5),)),
        "orphan_ref",
        5,
        Repair.LOOK,
        id="a claim without an attempt",
    ),
    pytest.param(
        replace(KNOWN, locks=(("src/**", 5),)), SHOWN, "orphan_lock", 5, Repair.UNLOCK, id="a lock without a holder"
    ),
    pytest.param(
        replace(KNOWN, items=(replace(ITEM, spec=WorkSpec(depends_on=(5,))),)),
        SHOWN,
        "dependency_cycle",
        5,
        None,
        id="an item that waits for itself",
    ),
    pytest.param(
        replace(KNOWN, items=(replace(ITEM, spec=WorkSpec(depends_on=(77,))),)),
        SHOWN,
        "dependency_unknown",
        5,
        None,
        id="an item that waits for what is no item",
    ),
    pytest.param(
        replace(KNOWN, repo=replace(REPO, policy_problems=(UNKNOWN_KEY,))),
        SHOWN,
        "policy_unknown_key",
        None,
        None,
        id="an unknown key in the policy",
    ),
    pytest.param(
        replace(KNOWN, repo=replace(REPO, preflight_problems=(Problem("config.permission", "w", "r"),))),
        SHOWN,
        "config.permission",
        None,
        None,
        id="something is missing before the first start",
    ),
]


@pytest.mark.parametrize(("known", "seen", "code", "item", "repair"), FAULTS)
def test_a_fault_made_on_purpose_is_the_one_that_is_found(
    known: Known, seen: Shown, code: str, item: int | None, repair: Repair | None
) -> None:
    [flaw] = checkup(known, seen)
    assert (flaw.code, flaw.item, flaw.repair) == (code, item, repair)
    assert flaw.message
    assert flaw.remedy


def test_nothing_is_found_when_all_is_well_or_was_not_read() -> None:
    assert checkup(KNOWN, SHOWN) == []
    assert checkup(KNOWN, Shown()) == []
    # A claim is just changing the labels; a lock is held with the open pull request; an ended item shows nothing.
    claiming = replace(KNOWN, items=(replace(ITEM, state=ItemState.IN_PROGRESS),), live=frozenset({5}))
    assert checkup(replace(claiming, showing=frozenset({5})), SHOWN) == []
    review = replace(ITEM, state=ItemState.IN_REVIEW, pull=PULL)
    issue = replace(ISSUE, labels=frozenset({"tgs:in-review"}))
    held = replace(KNOWN, items=(review, other(6, state=ItemState.DONE)), locks=(("src/**", 5),))
    seen = replace(SHOWN, issues=(issue,), branches=(("tgs/5-add", 5),))
    assert checkup(held, seen) == []


def test_errors_come_first_and_an_unusable_policy_is_one() -> None:
    broken = replace(REPO, policy_error_sha="s", policy_problems=(UNKNOWN_KEY,))
    found = checkup(replace(KNOWN, repo=broken), replace(SHOWN, branches=(("tgs/9-x", 9),)))
    assert [flaw.severity for flaw in found] == [Severity.ERROR, Severity.WARNING]


@pytest.mark.parametrize(
    ("template", "name", "issue"),
    [
        pytest.param("tgs/{issue}-{slug}", "tgs/12-add-welcome", 12, id="the usual name"),
        pytest.param("tgs/{issue}-{slug}", "tgs/12-a/b", None, id="a folder deeper"),
        pytest.param("tgs/{issue}-{slug}", "tgs/012-a", None, id="a number with a zero"),
        pytest.param("tgs/{issue}-{slug}", "main", None, id="another branch"),
        pytest.param("bot.{issue}", "botx12", None, id="a dot of the template is a dot"),
        pytest.param("{issue}", "12", 12, id="nothing but the number"),
    ],
)
def test_only_names_that_the_template_makes_are_ours(template: str, name: str, issue: int | None) -> None:
    assert issue_of(template, name) == issue


def test_a_protected_branch_stays_even_when_the_template_makes_its_name() -> None:
    policy = Policy(branch_template="{issue}", base_branches=("7",))
    branch = branch_of("7", "s", REPO, policy, None, None)
    assert branch is not None
    assert branch.keep == "it is protected"
    claims = branch_of("tgs-claims/7", "s", REPO, Policy(branch_template="tgs-claims/{issue}"), None, None)
    assert claims is not None
    assert claims.keep == "it is protected"
