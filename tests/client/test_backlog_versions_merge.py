"""Two versions of the backlog file become one: by folder, the newest valid transition wins, and nothing is lost."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.client.backlog import Status
from bot.client.backlog_file import File, Row, data_of
from bot.client.backlog_merge import NEXT, merge, merge_data, reachable
from tests.client.clones import NOW
from tests.client.rows import after, file, folder, row

Q, W, D, F = "queued", "in_progress", "completed", "failed"


def one(merged: File) -> Row:
    (found,) = merged.thoughts
    return found


def changed(status: str, seconds: float, **fields: Any) -> Row:
    return row("add-search", status, **fields).but(tgs={"changed_at": after(seconds)})


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "wins"),
    [
        pytest.param(Q, (W, 1), (Q, 0), (W, 1), id="only one side changed it"),
        pytest.param(W, (D, 1), (F, 2), (F, 2), id="both changed it, the newer one wins"),
        pytest.param(W, (D, 2), (F, 2), (D, 2), id="in the same second the one that is further"),
        pytest.param(D, (D, 0), (Q, 9), (Q, 9), id="one side alone is believed"),
        pytest.param(D, (D, 1), (Q, 9), (D, 1), id="completed is not queued again, however new that is"),
        pytest.param(W, ("done?", 9), (D, 1), (D, 1), id="an unknown word never wins"),
    ],
)
def test_the_newest_valid_transition_wins(
    base: str, ours: tuple[str, float], theirs: tuple[str, float], wins: tuple[str, float]
) -> None:
    start = changed(base, 0)
    a, b = changed(*ours), changed(*theirs)
    for merged in (merge(file(start), file(a), file(b)), merge(file(start), file(b), file(a))):
        assert (one(merged).status, one(merged).tgs.changed_at) == (wins[0], after(wins[1]))


def test_a_claim_comes_from_one_side_as_a_whole_and_its_fence_is_not_used_again() -> None:
    base = row()
    first = changed(W, 1, claimed_by="ada").but(tgs={"fence": 4, "token_sha256": "a"})
    second = changed(W, 2, claimed_by="ben").but(tgs={"fence": 3, "token_sha256": "b"})
    found = one(merge(file(base), file(first), file(second)))
    assert (found.claimed_by, found.tgs.token_sha256, found.tgs.fence) == ("ben", "b", 4)


def test_what_only_one_side_changed_stays_beside_the_other_sides_transition() -> None:
    base = row(colour="red", size="m")
    ours = changed(W, 5, colour="red", size="m")
    theirs = row(title="Search everywhere", priority=9, colour="blue")
    found = one(merge(file(base, note=1), file(ours, note=1), file(theirs, note=2)))
    assert (found.status, found.title, found.priority) == (W, "Search everywhere", 9)
    assert found.model_extra == {"colour": "blue"}
    assert merge(file(base, note=1), file(ours, note=1), file(theirs, note=2)).model_extra == {"note": 2}


@pytest.mark.parametrize(
    ("theirs", "left"),
    [
        pytest.param(row(), [], id="removed, and nobody changed it"),
        pytest.param(changed(W, 1), [folder()], id="removed, but claimed meanwhile"),
    ],
)
def test_a_removal_stands_unless_the_other_side_went_on(theirs: Row, left: list[str]) -> None:
    merged = merge(file(row()), file(), file(theirs))
    assert [found.dir for found in merged.thoughts] == left


def test_both_sides_additions_are_kept_in_the_order_of_their_times() -> None:
    early, late = row("fix-login", added_at=after(1)), row("new-colours", added_at=after(2))
    merged = merge(file(row()), file(row(), late), file(row(), early))
    assert [found.dir for found in merged.thoughts] == [folder(), early.dir, late.dir]


def test_plain_values_are_merged_as_a_merge_driver_needs_it() -> None:
    merged = merge_data(None, data_of(file(row())), data_of(file(row("fix-login"))))
    assert len(merged["thoughts"]) == 2  # type: ignore[arg-type]


TIMES = st.integers(0, 5).map(after)
ROWS = st.builds(
    lambda slug, status, at, fence, priority, extra: row(slug, status, priority=priority, **extra).but(
        tgs={"changed_at": at, "fence": fence}
    ),
    st.sampled_from(["add-search", "fix-login", "new-colours"]),
    st.sampled_from([Q, W, D, F, "odd"]),
    TIMES,
    st.integers(0, 3),
    st.integers(0, 2),
    st.dictionaries(st.sampled_from(["colour", "size"]), st.integers(0, 2), max_size=2),
)
FILES = st.lists(ROWS, max_size=3, unique_by=lambda found: found.dir).map(lambda rows: file(*rows))


@given(FILES, FILES, FILES)
def test_the_sides_are_equal_and_merging_twice_changes_nothing(base: File, a: File, b: File) -> None:
    merged = merge(base, a, b)
    assert merged == merge(base, b, a)
    assert in_order(merge(base, merged, merged)) == in_order(merged)
    assert {found.dir for found in merged.thoughts} <= {found.dir for found in (*a.thoughts, *b.thoughts)}


def in_order(backlog: File) -> dict[str, Row]:
    return {found.dir: found for found in backlog.thoughts}


@given(FILES, FILES)
def test_a_side_that_did_not_change_has_no_say(base: File, a: File) -> None:
    assert in_order(merge(base, base, a)) == in_order(a)
    assert in_order(merge(base, a, base)) == in_order(a)
    assert in_order(merge(None, a, a)) == in_order(a)


ALLOWED = """
proposed    -> queued completed cancelled
queued      -> in_progress completed cancelled
in_progress -> queued completed failed cancelled
failed      -> queued completed cancelled
completed   ->
cancelled   -> queued
"""


@pytest.mark.parametrize("start", list(Status))
@pytest.mark.parametrize("end", list(Status))
def test_every_transition_is_in_the_table_or_refused(start: Status, end: Status) -> None:
    from bot.client.backlog_moves import moved
    from bot.errors import Refused

    table = {line.split()[0]: line.split()[2:] for line in ALLOWED.strip().splitlines()}
    assert sorted(NEXT[start]) == sorted(Status(word) for word in table[start.value])
    if end in NEXT[start]:
        assert moved(row(status=start.value), end, NOW).known is end
    else:
        with pytest.raises(Refused, match=f"cannot become {end.value}"):
            moved(row(status=start.value), end, NOW)


def test_completed_leads_nowhere() -> None:
    assert not any(reachable(Status.COMPLETED, end) for end in Status if end is not Status.COMPLETED)
