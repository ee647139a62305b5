"""`validate` on the file: each fault is found by its own check, and `fix` mends what is only a projection."""

from __future__ import annotations

from typing import Any

import pytest

from bot.client.backlog_checks import check, scan
from bot.client.backlog_file import Row
from bot.client.backlog_view import View
from bot.domain.mirror import ThoughtText
from bot.domain.model import Problem
from tests.client.clones import NOW
from tests.client.rows import after, file, folder, row, text, view

NO_RESEARCH = {folder(): Problem("thought_missing_file", "It has no `research.md`.", "Commit it.")}


def seen(*rows: Row, texts: tuple[ThoughtText, ...] = (text(),), **more: Any) -> View:
    return view(file(*rows), *texts, **more)


FAULTS = [
    pytest.param(seen(row(), texts=()), "thought_gone", "error", False, id="its folder is not committed"),
    pytest.param(
        seen(row(), texts=(), problems=NO_RESEARCH), "thought_missing_file", "error", False, id="a file is missing"
    ),
    pytest.param(
        seen(row(), texts=(text(plan="---\nstatus: draft\n---\n"),)), "thought_draft", "warning", False, id="a draft"
    ),
    pytest.param(
        seen(row(), texts=(text(plan="---\npriority: [\n---\n"),)),
        "front_matter_invalid",
        "warning",
        False,
        id="a plan that cannot be read",
    ),
    pytest.param(
        seen(row(), texts=(text(built=True),)), "implementation_present", "error", True, id="queued, but built"
    ),
    pytest.param(
        seen(row(status="failed"), texts=(text(built=True),)),
        "implementation_present",
        "error",
        True,
        id="failed, but built",
    ),
    pytest.param(
        seen(row(status="in_progress"), texts=(text(built=True),)),
        "implementation_unreported",
        "warning",
        False,
        id="built, but not settled",
    ),
    pytest.param(seen(row(status="completed")), "implementation_absent", "error", False, id="completed, but not built"),
    pytest.param(seen(row(), row(status="failed")), "duplicate", "error", True, id="a folder twice"),
    pytest.param(seen(row(title="Find things")), "title_drift", "warning", True, id="another title than the plan's"),
    pytest.param(seen(row(status="paused")), "status_unknown", "error", False, id="an unknown status"),
    pytest.param(seen(row(dir="docs/plan")), "thought_name", "error", False, id="no folder of a thought"),
    pytest.param(
        seen(row(status="in_progress", claimed_by=None)), "claim_unknown", "warning", False, id="a claim of nobody"
    ),
    pytest.param(
        seen(row(status="in_progress", claimed_at=after(-90_000))),
        "claim_old",
        "warning",
        False,
        id="claimed for a day",
    ),
    pytest.param(seen(row(claimed_by="ada")), "claim_left", "warning", True, id="queued, but claimed"),
    pytest.param(
        seen(row(status="completed", completed_at=None), texts=(text(built=True),)),
        "time_missing",
        "warning",
        True,
        id="completed, but when",
    ),
    pytest.param(seen(row(completed_at=NOW)), "time_left", "warning", True, id="queued, but completed once"),
    pytest.param(
        seen(policy_problem=Problem("policy_invalid", "`.tgs/policy.yml`, line 1: odd.", "Correct it.")),
        "policy_invalid",
        "error",
        False,
        id="a policy that cannot be read",
    ),
]


@pytest.mark.parametrize(("faulty", "code", "severity", "mends"), FAULTS)
def test_a_fault_is_found_and_mended_if_it_can_be(faulty: View, code: str, severity: str, mends: bool) -> None:
    unchanged, (found,) = check(faulty, NOW)
    assert unchanged is faulty.file
    assert (found.code, found.severity, found.fixed) == (code, severity, False)
    assert found.message
    assert found.remedy

    mended, (told,) = check(faulty, NOW, fix=True)
    assert (told.code, told.fixed) == (code, mends)
    again, left = check(view(mended, *faulty.thoughts.values(), problems=dict(faulty.problems)), NOW, fix=True)
    assert again == mended
    assert [one.code for one in left] == ([] if mends or code == "policy_invalid" else [code])


@pytest.mark.parametrize(
    "sound",
    [
        pytest.param(seen(row()), id="queued"),
        pytest.param(seen(row(status="in_progress")), id="in progress"),
        pytest.param(seen(row(status="failed")), id="failed"),
        pytest.param(seen(row(status="completed"), texts=(text(built=True),)), id="built"),
        pytest.param(seen(row(status="completed"), texts=()), id="built, and its folder is gone"),
        pytest.param(seen(row(status="completed", tgs={"evidence": "By hand."})), id="completed on a person's word"),
        pytest.param(seen(row(title="Mine", tgs={"titled": True})), id="a title that a person chose"),
    ],
)
def test_what_fits_is_not_reported(sound: View) -> None:
    assert check(sound, NOW, fix=True) == (sound.file, [])


def test_one_thought_with_several_faults_is_mended_at_once() -> None:
    faulty = seen(row(title="Old", claimed_by="ada"), row(title="Old", claimed_by="ada"), texts=(text(built=True),))
    mended, found = check(faulty, NOW, fix=True)
    assert [(one.code, one.fixed) for one in found] == [("duplicate", True), ("implementation_present", True)]
    (left,) = mended.thoughts
    assert (left.status, left.completed_at) == ("completed", NOW)
    assert check(view(mended, text(built=True)), NOW, fix=True) == (mended, [])


def test_a_scan_takes_what_is_ready_and_says_why_the_rest_is_not() -> None:
    here = view(
        file(row()),
        text(),
        text("fix-login", plan="---\npriority: 7\nlocks: src/login\nneeds: gpu\n---\n"),
        text("new-colours", built=True),
        text("drafted", plan="---\nstatus: draft\n---\n"),
        text("chained", plan="---\ndepends_on: 12\n---\n"),
        problems={folder("half"): Problem("thought_missing_file", "It has no `plan.md`.", "Commit it.")},
    )
    result, scanned = scan(here, NOW)
    (added,) = scanned.added
    assert (added.dir, added.priority) == (folder("fix-login"), 7)
    new = result.find(folder("fix-login"))
    assert new is not None
    assert (new.tgs.locks, new.tgs.needs) == (("src/login",), ("gpu",))
    assert scanned.known == 1
    assert [(one.item, one.code, one.severity) for one in scanned.refused] == [
        (folder("chained"), "thought_depends", "error"),
        (folder("drafted"), "thought_draft", "warning"),
        (folder("half"), "thought_missing_file", "error"),
    ]
