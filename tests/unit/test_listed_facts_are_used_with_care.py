"""Facts from a list stand for single reads only where nothing can have changed since."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from bot import kept
from bot.domain.facts import IssueFacts
from bot.kept import KEPT, Kept
from bot.resync import LIST_LAG
from tests.unit.test_what_is_remembered_on_github import KEY, NOW, issue

OLD = replace(issue("tgs:ready"), updated_at=NOW - timedelta(hours=1))
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("facts", "touched", "later", "used"),
    [
        pytest.param(OLD, None, SECOND, True, id="nothing has ever pointed at it"),
        pytest.param(OLD, NOW - LIST_LAG - SECOND, SECOND, True, id="something did, before the list can be late"),
        pytest.param(OLD, NOW - SECOND, SECOND, False, id="something did, and the list may not show it yet"),
        pytest.param(OLD, NOW + SECOND, SECOND, False, id="something did, after the list was read"),
        pytest.param(replace(OLD, updated_at=NOW - SECOND), None, SECOND, False, id="it has just been changed"),
        pytest.param(OLD, None, KEPT, False, id="the list was read long ago"),
    ],
)
def test_a_listed_issue(facts: IssueFacts, touched: datetime | None, later: timedelta, used: bool) -> None:
    memory = Kept()
    memory.read_list([facts], NOW)
    assert (memory.issue(KEY, touched, NOW + later) is not None) is used


def test_what_was_read_by_itself_goes_before_the_list() -> None:
    memory, fresh = Kept(), replace(OLD, title="Fresh")
    memory.read_list([OLD], NOW)
    memory.read_issue(KEY, fresh, NOW)
    memory.read_list([OLD], NOW)
    assert memory.issue(KEY, None, NOW + SECOND) == fresh


def test_a_list_of_long_texts_is_not_kept_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "LISTED", 1_000)
    memory = Kept()
    keys = [replace(KEY, number=number) for number in (1, 2, 3)]
    memory.read_list([replace(OLD, key=key, body="x" * 400) for key in keys], NOW)
    assert [memory.issue(key, None, NOW + SECOND) is not None for key in keys] == [True, True, False]
