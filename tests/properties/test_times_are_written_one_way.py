"""Times as text: written in one way, read back as the same moment."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.timestamps import iso, parse_iso

ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
# A day from either end, so that another zone's time still is a time.
TIMES = st.datetimes(min_value=datetime(1, 1, 3), max_value=datetime(9999, 12, 29), timezones=ZONES)  # noqa: DTZ001


@given(TIMES)
def test_a_time_is_read_back_to_the_second(when: datetime) -> None:
    text = iso(when)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", text)
    assert parse_iso(text) == when.astimezone(UTC).replace(microsecond=0)
    assert iso(parse_iso(text)) == text


@given(TIMES)
def test_other_spellings_of_a_moment_are_the_same_moment(when: datetime) -> None:
    assert parse_iso(when.isoformat(sep=" ")) == when
    assert parse_iso(when.isoformat(timespec="milliseconds")) == when.replace(
        microsecond=when.microsecond // 1000 * 1000
    )


@given(st.text(max_size=30))
def test_any_text_is_a_time_or_a_clear_error(text: str) -> None:
    try:
        said = iso(parse_iso(text))
    except ValueError as error:
        said = str(error)
    assert "2026-01-31T09:30:00Z" in said or parse_iso(said)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("2026-01-31T09:30:00", id="without a zone nobody knows when"),
        pytest.param("2026-01-31", id="a day is no moment"),
        pytest.param("2026-02-30T09:30:00Z", id="a day that is not in the calendar"),
        pytest.param("0001-01-01T00:00:00+14:00", id="before the first day"),
        pytest.param("20260131T093000Z", id="without separators"),
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="zone"):
        parse_iso(text)


def test_nothing_stays_nothing() -> None:
    assert iso(None) is None
