"""Labels have one spelling, roles fail closed, and locks overlap when in doubt."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import product

import pytest

from bot.domain import labels
from bot.domain.labels import IntentLabel
from bot.domain.locks import (
    MAX_LOCKS,
    Held,
    InvalidLock,
    InvalidLockFile,
    Lock,
    LockEntry,
    LockMode,
    export_locks,
    import_locks,
    overlap,
    parse_lock,
    parse_locks,
)
from bot.domain.model import ItemState, Role
from bot.domain.permissions import Allowed, Capability, Denied, decide, needed
from bot.domain.policy_model import Policy, Roles

# --- labels


def test_every_state_has_one_label_and_is_read_back() -> None:
    assert set(labels.STATE_LABELS.values()) == {
        "tgs:proposed",
        "tgs:ready",
        "tgs:in-progress",
        "tgs:needs-input",
        "tgs:in-review",
        "tgs:done",
        "tgs:failed",
        "tgs:cancelled",
    }
    for state in ItemState:
        assert labels.parse_state(labels.state_label(state).upper()) is state
    assert labels.parse_state("tgs:hold") is None


def test_labels_are_known_whatever_their_case() -> None:
    assert labels.is_ours("TGS:Hold")
    assert not labels.is_ours("bug")
    assert labels.parse_intent("tgs:No-Agent") is IntentLabel.NO_AGENT
    assert labels.states_shown(["bug", "TGS:done", "tgs:ready"]) == (ItemState.READY, ItemState.DONE)


def test_a_high_priority_label_wins() -> None:
    assert labels.priority_shown(["tgs:priority/low", "tgs:priority/high"]) == 100
    assert labels.priority_shown(["tgs:priority/low"]) == -100
    assert labels.priority_shown(["bug"]) is None


def test_every_label_fits_github_and_has_a_look() -> None:
    for label in labels.ALL_LABELS:
        colour, text = labels.appearance(label)
        assert len(label) <= labels.MAX_LABEL_LENGTH
        assert len(bytes.fromhex(colour)) == 3
        assert 0 < len(text) <= 100
    with pytest.raises(ValueError, match="not a label"):
        labels.appearance("bug")


# --- permissions


@pytest.mark.parametrize("capability", sorted(Capability))
@pytest.mark.parametrize("role", [None, *Role])
def test_a_role_is_enough_exactly_from_the_needed_one_on(capability: Capability, role: Role | None) -> None:
    roles = Policy().roles
    wanted = needed(capability, roles)
    decision = decide(capability, role, roles)
    if role is not None and role >= wanted:
        assert decision == Allowed()
    else:
        assert decision == Denied(capability, wanted, role)


def test_nobody_without_a_role_may_even_when_a_table_says_so() -> None:
    roles = Roles.model_construct(**dict.fromkeys(Roles.model_fields, Role.NONE))
    for capability in Capability:
        assert isinstance(decide(capability, Role.NONE, roles), Denied)


# --- locks


@pytest.mark.parametrize(
    ("a", "b", "meet"),
    [
        pytest.param("src/a.py", "src/a.py", True, id="a path and itself"),
        pytest.param("src/a.py", "src/b.py", False, id="two files"),
        pytest.param("src", "src/a.py", True, id="a folder named without a slash"),
        pytest.param("src/", "src/deep/a.py", True, id="a folder and a file far below"),
        pytest.param("src/**", "src/", True, id="two spellings of a folder"),
        pytest.param("src/", "srcs/a.py", False, id="a folder and a longer name"),
        pytest.param("**", "anything/at/all", True, id="everything"),
        pytest.param("/", "x", None, id="an absolute path is refused"),
        pytest.param("./", "x", True, id="the root is everything"),
        pytest.param("*.md", "docs/a.md", True, id="a pattern without a slash at any depth"),
        pytest.param("*.md", "docs/a.py", False, id="another ending"),
        pytest.param("*.md", "*.py", False, id="two endings"),
        pytest.param("*.md", "docs", True, id="a name without an ending may be a folder"),
        pytest.param("**/x/**", "a.py", False, id="a folder at any depth and a file elsewhere"),
        pytest.param("*.md", "docs/", True, id="a pattern that may lie in a folder"),
        pytest.param("src/*.py", "src/a.py", True, id="a pattern and a file of it"),
        pytest.param("src/*.py", "lib/a.py", False, id="a pattern in another folder"),
        pytest.param("src/*.py", "src/x/a.py", False, id="a pattern does not reach into folders of another name"),
        pytest.param("src/*.py", "src/x.py/a", True, id="but into a folder of a matching name"),
        pytest.param("src/a*.py", "src/b*.py", False, id="patterns with different beginnings"),
        pytest.param("src/a*.py", "src/*b.py", True, id="patterns that share a name"),
        pytest.param("src/[ab].py", "src/c.js", True, id="a class is not judged"),
        pytest.param("**/test_*.py", "tests/unit/test_a.py", True, id="a pattern at any depth"),
        pytest.param("a/**/z", "a/b/c/z", True, id="a gap in the middle"),
        pytest.param("a/**/z", "b/z", False, id="a gap with another beginning"),
        pytest.param("SRC/A.py", "src/a.PY", True, id="case does not tell paths apart"),
        pytest.param("caf\u00e9/x", "cafe\u0301/x", True, id="composed and decomposed letters"),
        pytest.param("stra\u00dfe/", "STRASSE/x", True, id="letters that fold to several"),
    ],
)
def test_truth_table_of_overlaps(a: str, b: str, meet: bool | None) -> None:
    if meet is None:
        with pytest.raises(InvalidLock):
            overlap(a, b)
        return
    assert overlap(a, b) is meet
    assert overlap(b, a) is meet


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is empty"),
        ("/etc/passwd", "is absolute"),
        ("C:/x", "is absolute"),
        ("~/x", "is absolute"),
        ("a/../b", "leaves the repository"),
        ("a\\b", "backslash"),
        ("a\x00b", "control"),
        ("a\u202eb", "control"),
        ("x" * 400, "longer than"),
        ("a/" * 60, "more than"),
    ],
)
def test_unusable_patterns_are_refused_with_a_reason(text: str, why: str) -> None:
    with pytest.raises(InvalidLock, match=why) as caught:
        parse_lock(text)
    assert caught.value.remedy
    assert "\x00" not in str(caught.value)


def test_locks_are_cleaned_sorted_and_bounded() -> None:
    assert [str(lock) for lock in parse_locks(["./src//a/", "read: docs/", "src/a/"])] == ["read:docs/**", "src/a/**"]
    with pytest.raises(InvalidLock, match="Lock a folder"):
        parse_locks([f"f{n}" for n in range(MAX_LOCKS + 1)])


@pytest.mark.parametrize(("mine", "theirs"), list(product(LockMode, LockMode)))
def test_only_readers_share(mine: LockMode, theirs: LockMode) -> None:
    found = Held([(Lock("src/a.py", theirs), 7), (Lock("docs/**", theirs), 8)]).against([Lock("src/**", mine)], 1)
    assert found == (() if mine is theirs is LockMode.READ else (("src/**", 7),))


AT = datetime(2026, 11, 1, 9, 30, tzinfo=UTC)


def test_an_exported_lock_table_comes_back_equal() -> None:
    entries = (
        LockEntry("docs/**", 3, "att_1", AT, AT, LockMode.READ),
        LockEntry("docs/**", 4, "att_2", AT, None, LockMode.READ),
        LockEntry("src/**", 5, "att_3", AT),
    )
    assert import_locks(export_locks(reversed(entries))) == entries


@pytest.mark.parametrize("text", [None, "", " \n"])
def test_a_missing_lock_file_is_an_empty_table(text: str | None) -> None:
    assert import_locks(text) == ()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param("{", "not JSON", id="cut off"),
        pytest.param("[" * 100_000, "not JSON", id="nested without end"),
        pytest.param("[]", "no map `locks`", id="a list"),
        pytest.param('{"version": 2, "locks": {}}', "version 1", id="another version"),
        pytest.param('{"version": 1, "locks": {"a": {}}}', "not a list", id="holders are no list"),
        pytest.param('{"version": 1, "locks": {"a": [1]}}', "not a map", id="a holder is no map"),
        pytest.param(
            '{"version": 1, "locks": {"a": [{"item": 1, "attempt": "x"}]}}', "has no 'since'", id="a field is missing"
        ),
        pytest.param(
            '{"version": 1, "locks": {"a": [{"item": "1", "attempt": "x", "since": "2026-01-01"}]}}',
            "number",
            id="a text for a number",
        ),
        pytest.param(
            '{"version": 1, "locks": {"a": [{"item": 1, "attempt": "x", "since": "2026-01-01"}]}}', "zone", id="no zone"
        ),
        pytest.param(
            '{"version": 1, "locks": {"../a": [{"item": 1, "attempt": "x", "since": "2026-01-01T00:00:00Z"}]}}',
            "leaves the repository",
            id="an unsafe path",
        ),
    ],
)
def test_a_corrupted_lock_file_is_refused_as_a_whole(text: str, why: str) -> None:
    with pytest.raises(InvalidLockFile, match=why):
        import_locks(text)
