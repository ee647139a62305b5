"""The backlog file: what is read is written back, and what cannot be read is named by line and column."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.client.backlog import Entry, Status
from bot.client.backlog_file import (
    MAX_BYTES,
    BrokenFile,
    UnknownVersion,
    data_of,
    dump,
    exported,
    from_data,
    json_schema,
    parse,
)
from bot.domain.model import ItemState
from tests.docs.pages import blocks

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
WORDS = st.text(st.characters(codec="utf-8"), max_size=12)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)
KEYS = {"dir", "title", "priority", "status", "added_at", "started_at", "completed_at", "claimed_by", "claimed_at"}
FOREIGN = st.dictionaries(WORDS.filter(lambda key: key not in {*KEYS, "tgs", "version", "thoughts"}), JSON, max_size=3)
TIME = st.none() | st.datetimes().map(lambda at: at.isoformat(timespec="seconds") + "Z")
NAMES = st.from_regex(r"tgs/thoughts/[0-9a-z]{6}-[A-Za-z0-9]{1,5}", fullmatch=True)


@st.composite
def thoughts(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "dir": draw(NAMES),
        "title": draw(WORDS),
        "priority": draw(st.integers(-1000, 1000)),
        "status": draw(st.sampled_from(["queued", "in_progress", "completed", "failed"])),
        "added_at": draw(TIME),
        "started_at": draw(TIME),
        "completed_at": draw(TIME),
        "claimed_by": draw(st.none() | WORDS),
        "claimed_at": draw(TIME),
        **draw(FOREIGN),
    }


@given(rows=st.lists(thoughts(), max_size=4), foreign=FOREIGN, ours=FOREIGN)
def test_what_is_read_is_written_back_with_keys_that_nobody_knows(
    rows: list[dict[str, Any]], foreign: dict[str, Any], ours: dict[str, Any]
) -> None:
    data = {"version": "1", "thoughts": rows, **foreign}
    if rows and ours:
        rows[0]["tgs"] = {"of_a_later_version": ours}
    raw = json.dumps(data).encode()
    file = parse(raw)
    assert data_of(file) == data
    assert parse(dump(file)) == file
    jsonschema.validate(data_of(file), json_schema())


def test_an_empty_file_has_the_agreed_two_keys() -> None:
    assert dump(parse(b'{"version": "1", "thoughts": []}')).decode() == '{\n  "version": "1",\n  "thoughts": []\n}\n'


def test_a_hand_written_line_may_leave_out_what_is_empty() -> None:
    (written,) = json.loads(
        dump(parse(b'{"version": "1", "thoughts": [{"dir": "tgs/thoughts/abc123-x", "status": "queued"}]}'))
    )["thoughts"]
    assert written.keys() == KEYS


def test_times_are_written_in_utc_with_z() -> None:
    row = {"dir": "tgs/thoughts/abc123-x", "status": "queued", "added_at": "2026-03-04T07:06:07.5+02:00"}
    (written,) = json.loads(dump(from_data({"version": "1", "thoughts": [row]})))["thoughts"]
    assert written["added_at"] == "2026-03-04T05:06:07Z"


LINES = """{
  "version": "1",
  "thoughts": [
    {
      "dir": "tgs/thoughts/abc123-x",
      "title": "X",
      "priority": 0,
      "status": "queued",
      "added_at": null
    }
  ]
}
"""


@pytest.mark.parametrize(
    ("old", "new", "line", "column", "why"),
    [
        pytest.param('"title": "X",', '"title": "X"', 7, 7, "not valid JSON", id="a comma is missing"),
        pytest.param('      "title": "X",', "<<<<<<< HEAD", 6, 1, "merge marker", id="a merge marker"),
        pytest.param('"priority": 0', '"priority": "high"', 7, 7, r"priority` must be a whole", id="a word as number"),
        pytest.param('"priority": 0', '"priority": 1.5', 7, 7, r"thoughts\[0\]\.priority", id="half a priority"),
        pytest.param('"priority": 0', '"priority": NaN', 7, 19, "not a number", id="no number"),
        pytest.param('"added_at": null', '"added_at": "soon"', 9, 7, "2026-01-31T09:30:00Z", id="no time"),
        pytest.param('"added_at": null', '"added_at": 5', 9, 7, "must be a time", id="a number as time"),
        pytest.param('"added_at": null', '"tgs": {"locks": ["../x"]}', 9, 25, r"locks\[0\]", id="a lock outside"),
        pytest.param('"title": "X"', '"dir": "Y"', 6, 7, "repeats the key `dir`", id="a key twice"),
        pytest.param('"status": "queued",', "", 4, 5, "status` is missing", id="no status"),
        pytest.param('"version": "1",', "", 1, 1, "names no `version`", id="no version"),
        pytest.param(
            '"version": "1",', '"version": 1,', 2, 3, "has version 1; this tgs reads", id="a number as version"
        ),
        pytest.param('"thoughts": [', '"thoughts": [7, ', 3, 16, r"thoughts\[0\]", id="a number as thought"),
        pytest.param('"title": "X"', '"title": "\\ud800"', 0, 0, "surrogate", id="half a character"),
        pytest.param('"title": "X"', '"title": ' + "[" * 60 + "]" * 60, 0, 0, "deeper", id="too deep"),
    ],
)
def test_a_broken_file_is_named_by_line_and_column(old: str, new: str, line: int, column: int, why: str) -> None:
    assert old in LINES
    with pytest.raises(BrokenFile, match=why) as broken:
        parse(LINES.replace(old, new).encode(), "carried.json")
    assert (broken.value.line, broken.value.column) == (line, column)
    assert broken.value.what.startswith("carried.json")
    assert broken.value.remedy


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        pytest.param(b"", "not valid JSON", id="an empty file"),
        pytest.param(b"[]", "must be an object", id="a list"),
        pytest.param(b'{"version": "1"}', "no list `thoughts`", id="no thoughts"),
        pytest.param(b'{"version": "1", "thoughts": {}}', "thoughts` must be a list", id="a map of thoughts"),
        pytest.param(b'{"version": "1", "thoughts": ["\xff"]}', "line 1, column 32: is not UTF-8", id="other bytes"),
        pytest.param(b" " * (MAX_BYTES + 1), "the limit is", id="too large"),
        pytest.param(b"[" * 100_000, "nested deeper", id="very deep"),
    ],
)
def test_what_is_no_backlog_at_all_is_refused(raw: bytes, why: str) -> None:
    with pytest.raises(BrokenFile, match=why):
        parse(raw)


def test_a_file_of_a_later_version_is_left_alone() -> None:
    with pytest.raises(UnknownVersion, match="newer one") as unknown:
        parse(LINES.replace('"1"', '"2"').encode())
    assert (unknown.value.line, unknown.value.column) == (2, 3)


def test_the_example_of_the_documentation_is_what_we_write() -> None:
    (example,) = [block.text for block in blocks("json") if block.mark == "backlog file"]
    jsonschema.validate(json.loads(example), json_schema())
    assert json.loads(dump(parse(example.encode()))) == json.loads(example)


def test_windows_line_ends_and_a_byte_order_mark_are_read() -> None:
    assert parse(b"\xef\xbb\xbf" + LINES.replace("\n", "\r\n").encode()) == parse(LINES.encode())


def test_the_backlog_of_a_server_is_exported_in_the_same_format() -> None:
    def entry(number: int, folder: str | None, state: ItemState, status: Status) -> Entry:
        return Entry(folder, "X", state, status, number=number, added_at=NOW)

    data = exported(
        [
            entry(1, "tgs/thoughts/abc123-x", ItemState.IN_REVIEW, Status.IN_PROGRESS),
            entry(2, None, ItemState.READY, Status.QUEUED),
            entry(3, "tgs/thoughts/abc123-y", ItemState.PROPOSED, Status.PROPOSED),
            entry(4, "tgs/thoughts/abc123-z", ItemState.CANCELLED, Status.CANCELLED),
        ]
    )
    jsonschema.validate(data, json_schema())
    (row,) = from_data(data).thoughts
    assert (row.dir, row.status) == ("tgs/thoughts/abc123-x", "in_progress")
    assert data_of(from_data(data)) == data
