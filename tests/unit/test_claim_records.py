"""The record under a claim ref: it comes back as it was written, and anything odd blocks instead of being guessed."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bot.domain.claim_record import (
    FALLBACK,
    NAMESPACE,
    ClaimRecord,
    ClaimRef,
    ClaimUnreadable,
    Standing,
    issue_of,
    read,
    ref_names,
    standing,
    write,
)

AT = datetime(2026, 11, 20, 12, 30, 0, 250_000, tzinfo=UTC)
RECORD = ClaimRecord(
    issue=7,
    claim_id="c-1",
    owner="maria",
    name="laptop",
    fence=3,
    nonce="ab" * 32,
    made_at=AT,
    lease_until=AT + timedelta(hours=4),
    branch="tgs/7-add-a-greeting",
    base_sha="b" * 40,
    locks=("src/**", "read:docs/**"),
)


@pytest.mark.parametrize(
    "record",
    [RECORD, replace(RECORD, name="", lease_until=None, branch="", base_sha=None, locks=())],
    ids=["with everything", "with the least"],
)
def test_a_record_comes_back_as_it_was_written(record: ClaimRecord) -> None:
    assert read(write(record), record.issue) == record
    assert read(write(record).encode(), record.issue) == record


def changed(**fields: Any) -> str:
    raw = json.loads(write(RECORD)) | fields
    return json.dumps({name: value for name, value in raw.items() if value is not ...})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param("", "not JSON", id="nothing"),
        pytest.param("[" * 10_000, "not JSON", id="nested without end"),
        pytest.param("[]", "not a record", id="a list"),
        pytest.param(b"\xff\xfe{}", "not JSON", id="bytes that are no text"),
        pytest.param(" " * 17_000, "more than", id="far too long"),
        pytest.param(changed(schema_version=2), "another version", id="of a newer version"),
        pytest.param(changed(schema_version=True), "another version", id="with a version that only looks right"),
        pytest.param(changed(nonce=...), "missing or unknown: nonce", id="without its nonce"),
        pytest.param(changed(rank=1), "missing or unknown: rank", id="with a field more"),
        pytest.param(write(RECORD).replace('"fence": 3', '"fence": 3, "fence": 4'), "twice", id="with two fences"),
        pytest.param(changed(issue=8), "about #8", id="about another item"),
        pytest.param(changed(fence=0), "fence", id="with fence 0"),
        pytest.param(changed(fence=float("nan")), "NaN", id="with a fence that is no number"),
        pytest.param(changed(owner=""), "owner", id="without an owner"),
        pytest.param(changed(owner="maria\nolga"), "owner", id="with an owner of two lines"),
        pytest.param(changed(made_at="2026-11-20T12:30:00"), "made_at", id="with a time without zone"),
        pytest.param(changed(made_at=5), "made_at", id="with a time that is a number"),
        pytest.param(changed(locks=["a", ""]), "locks", id="with an empty lock"),
        pytest.param(changed(locks="src"), "locks", id="with locks that are no list"),
    ],
)
def test_a_record_that_is_not_completely_understood_is_unreadable(text: str | bytes, why: str) -> None:
    with pytest.raises(ClaimUnreadable, match=why):
        read(text, 7)


@pytest.mark.parametrize(
    ("ref", "issue"),
    [
        (f"{NAMESPACE}7", 7),
        (f"{FALLBACK}12", 12),
        (f"{NAMESPACE}07", None),
        (f"{NAMESPACE}0", None),
        (f"{NAMESPACE}7/8", None),
        (f"{NAMESPACE}٧", None),
        (NAMESPACE, None),
        ("refs/heads/tgs/7-greeting", None),
    ],
)
def test_the_item_of_a_ref_is_known_by_its_whole_name(ref: str, issue: int | None) -> None:
    assert issue_of(ref) == issue
    assert issue is None or ref in ref_names(issue)


OURS = ClaimRef(f"{NAMESPACE}7", "1" * 40, RECORD)
THEIRS = ClaimRef(f"{FALLBACK}7", "2" * 40, replace(RECORD, claim_id="c-2", owner="tom", name=""))
ODD = ClaimRef(f"{NAMESPACE}7", "3" * 40, None, "it is not JSON")


@pytest.mark.parametrize(
    ("refs", "found"),
    [
        ((), (Standing.FREE, None)),
        ((OURS,), (Standing.OURS, OURS)),
        ((THEIRS,), (Standing.FOREIGN, THEIRS)),
        ((OURS, THEIRS), (Standing.FOREIGN, THEIRS)),
        ((OURS, ODD), (Standing.UNREADABLE, ODD)),
        ((THEIRS, ODD), (Standing.UNREADABLE, ODD)),
    ],
    ids=["nobody", "we", "somebody else", "both", "something odd beside ours", "something odd beside theirs"],
)
def test_it_is_ours_only_if_nothing_speaks_against_it(
    refs: tuple[ClaimRef, ...], found: tuple[Standing, ClaimRef | None]
) -> None:
    assert standing(refs, "c-1") == found


def test_an_owner_is_named_with_the_session_if_that_says_more() -> None:
    assert [OURS.who, THEIRS.who, ODD.who] == ["maria (laptop)", "tom", ""]
