"""`backlog.json`: the format in which a backlog is exported and imported, version "1".

Promise: what is read is written back, keys that this version does not know included, at the top and in each thought;
ours beyond the agreed keys stand under one key, `tgs`. Times are ISO 8601 in UTC with `Z`. A file that cannot be used
raises `BrokenFile` with line and column and the way out; nothing of it is guessed. An unknown status is kept and left
to `validate`, because one odd word must not stop the whole backlog. Pure: git and clock are elsewhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Final, NoReturn

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError

from bot.client.backlog import Entry, Status
from bot.client.json_places import Places, place
from bot.domain.locks import MAX_LOCKS, InvalidLock, parse_lock
from bot.domain.timestamps import iso, parse_iso
from bot.domain.yaml_source import complaint
from bot.errors import UserError

NAME: Final = "The backlog file"
VERSION: Final = "1"
MAX_BYTES: Final = 16_000_000
"""Bytes of the file: ten thousand thoughts with their last failures; a larger one was not written by people or us."""
MAX_DEPTH: Final = 40
"""Levels of nesting; ours need five, and what cannot be walked cannot be written back."""
WAY_OUT: Final = (
    "If it is kept in git, `git log -- <file>` lists its versions, and `git checkout <commit> -- <file>` takes one "
    "back. Or export the backlog anew."
)
_CONSTANT: Final = re.compile(r"-?(?:NaN|Infinity)")
_MARKER: Final = re.compile(r"^(?:<{7}|\|{7}|={7}|>{7})(?: .*)?\r?$", re.MULTILINE)

WRITTEN: Final = (Status.QUEUED, Status.IN_PROGRESS, Status.COMPLETED, Status.FAILED)
"""The words that we write: a proposed thought is not in the file yet, a cancelled one is not in it any more."""


class BrokenFile(UserError):
    """The file cannot be used. `line` and `column` count from 1; 0 means the whole file. `why` is the bare reason."""

    def __init__(self, why: str, remedy: str = WAY_OUT, *, line: int = 0, column: int = 0, name: str = NAME) -> None:
        where = f", line {line}, column {column}" if line else ""
        super().__init__(f"{name}{where}: {why}", remedy)
        self.why = why
        self.line = line
        self.column = column

    def of(self, name: str) -> BrokenFile:
        """The same error of a file with this name."""
        return type(self)(self.why, self.remedy, line=self.line, column=self.column, name=name)


class UnknownVersion(BrokenFile):
    """The file was written by another version of the format."""


# --- the records


def _time(value: object) -> object:
    if value is None or isinstance(value, datetime):
        return value
    if isinstance(value, str):
        return parse_iso(value)
    raise ValueError("must be a time such as 2026-01-31T09:30:00Z, or null")


def _lock(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return str(parse_lock(value))
    except InvalidLock as error:
        raise ValueError(str(error)) from None


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


Time = Annotated[datetime, BeforeValidator(_time), PlainSerializer(iso, return_type=str)]
_OURS = ConfigDict(frozen=True, strict=True, extra="allow")


class Ours(BaseModel):
    """What stands under `tgs` in a thought. `locks` are wished for by an import; the rest is for readers."""

    model_config = _OURS

    locks: Annotated[
        tuple[Annotated[str, BeforeValidator(_lock)], ...], BeforeValidator(_tuple), Field(max_length=MAX_LOCKS)
    ] = ()


class Row(BaseModel):
    """One thought. `status` is any text here; `known` is the word it is, if it is one."""

    model_config = _OURS

    dir: Annotated[str, Field(min_length=1, max_length=300)]
    title: str = ""
    priority: int = 0
    status: str
    added_at: Time | None = None
    started_at: Time | None = None
    completed_at: Time | None = None
    claimed_by: str | None = None
    claimed_at: Time | None = None
    tgs: Ours = Ours()

    @property
    def known(self) -> Status | None:
        return next((word for word in Status if word == self.status), None)


class FileOurs(BaseModel):
    """What stands under `tgs` once per file: `issues`, which have no folder."""

    model_config = _OURS


class File(BaseModel):
    """The whole file."""

    model_config = _OURS

    version: str = VERSION
    thoughts: Annotated[tuple[Row, ...], BeforeValidator(_tuple)] = ()
    tgs: FileOurs = FileOurs()


# --- writing


def data_of(file: File) -> dict[str, object]:
    """The file as plain values: the agreed keys first, then foreign ones, then ours."""
    data: dict[str, object] = {"version": file.version, "thoughts": [_row_data(row) for row in file.thoughts]}
    data |= file.model_extra or {}
    ours = file.tgs.model_dump(mode="json", exclude_defaults=True)
    return data | ({"tgs": ours} if ours else {})


def _row_data(row: Row) -> dict[str, object]:
    data: dict[str, object] = row.model_dump(mode="json", exclude={"tgs"})
    ours = row.tgs.model_dump(mode="json", exclude_defaults=True)
    return data | ({"tgs": ours} if ours else {})


def dump(file: File) -> bytes:
    """The file's bytes: UTF-8, two spaces, one value a line (so that git merges what does not touch), final newline."""
    return (json.dumps(data_of(file), indent=2, ensure_ascii=False) + "\n").encode()


def exported(entries: Iterable[Entry]) -> dict[str, object]:
    """The file of a backlog that lives elsewhere. Issues without a folder stand under `tgs`, for they have no `dir`."""
    thoughts: list[dict[str, object]] = []
    issues: list[dict[str, object]] = []
    for entry in entries:
        if entry.status not in WRITTEN:
            continue
        data: dict[str, object] = {
            "title": entry.title,
            "priority": entry.priority,
            "status": entry.status.value,
            "added_at": iso(entry.added_at),
            "started_at": iso(entry.started_at),
            "completed_at": iso(entry.completed_at),
            "claimed_by": entry.claimed_by,
            "claimed_at": iso(entry.claimed_at),
        }
        if entry.dir is None:
            issues.append({"number": entry.number, **data, "state": entry.state.value})
            continue
        ours = {"number": entry.number, "state": entry.state.value} if entry.number is not None else {}
        thoughts.append({"dir": entry.dir, **data} | ({"tgs": ours} if ours else {}))
    return {"version": VERSION, "thoughts": thoughts} | ({"tgs": {"issues": issues}} if issues else {})


@cache
def json_schema() -> Mapping[str, Any]:
    """The JSON Schema of the file, as it is shipped."""
    text = files("bot.client").joinpath("backlog.schema.json").read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


# --- reading


def parse(raw: bytes, name: str = NAME) -> File:
    """The file. Raises BrokenFile, or UnknownVersion, which say `name`."""
    try:
        return _parsed(raw)
    except BrokenFile as error:
        raise error.of(name) from None


def _parsed(raw: bytes) -> File:
    if len(raw) > MAX_BYTES:
        raise BrokenFile(f"has {len(raw)} bytes; the limit is {MAX_BYTES}.")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8", "replace")
        line, column = place(before, len(before))
        raise BrokenFile("is not UTF-8 there.", line=line, column=column) from None
    marker = _MARKER.search(text)
    if marker is not None:
        line, column = place(text, marker.start())
        raise BrokenFile("holds a merge marker: two versions were committed unmerged.", line=line, column=column)
    try:
        data = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
        _bounded(data)
        json.dumps(data, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise BrokenFile(f"is not valid JSON: {error.msg}.", line=error.lineno, column=error.colno) from None
    except UnicodeEncodeError:
        raise BrokenFile("holds half a character (a lone surrogate), which cannot be written again.") from None
    except RecursionError:
        raise BrokenFile(f"is nested deeper than {MAX_DEPTH} levels.") from None
    except _Repeated as error:
        line, column = place(text, Places(text).repeated)
        raise BrokenFile(f"{error}.", line=line, column=column) from None
    except _Unreadable as error:
        found = _CONSTANT.search(text)
        line, column = place(text, found.start() if found else 0)
        raise BrokenFile(f"{error}.", line=line, column=column) from None
    return _checked(data, text)


def from_data(data: Mapping[str, object]) -> File:
    """The file given as plain values. Raises BrokenFile, naming line and column of the text we would write."""
    try:
        return parse(json.dumps(data, indent=2, ensure_ascii=False).encode())
    except (TypeError, ValueError) as error:
        raise BrokenFile(f"cannot be written as JSON: {error}.", "Give the content of a backlog file.") from None


def _checked(data: object, text: str) -> File:
    if not isinstance(data, dict):
        raise BrokenFile("must be an object with `version` and `thoughts`.", line=1, column=1)
    places = Places(text)
    version = data.get("version")
    if version != VERSION:
        line, column = place(text, places.of(("version",)))
        if version is None:
            raise BrokenFile("names no `version`.", line=line, column=column)
        raise UnknownVersion(
            f"has version {json.dumps(version)[:40]}; this tgs reads version {json.dumps(VERSION)}.",
            "Use the tgs that wrote it, or a newer one. Nothing was changed.",
            line=line,
            column=column,
        )
    if "thoughts" not in data:
        raise BrokenFile("has no list `thoughts`.", line=1, column=1)
    try:
        return File.model_validate(data)
    except ValidationError as error:
        first = min(error.errors(), key=lambda found: places.of(found["loc"]))
        line, column = place(text, places.of(first["loc"]))
        name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
        said = "is missing" if first["type"] == "missing" else complaint(first["type"], first["msg"])
        raise BrokenFile(f"`{name}` {said}.", line=line, column=column) from None


class _Unreadable(Exception):
    """A value that JSON allows, or Python reads, but that means nothing here."""


class _Repeated(_Unreadable):
    """A key that stands twice in one object."""


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _Repeated(f"repeats the key `{twice[:60]}`; keep one")
    return result


def _no_constant(name: str) -> NoReturn:
    raise _Unreadable(f"{name} is not a number of JSON")


def _bounded(data: object) -> None:
    """Raises RecursionError for what is nested too deeply."""
    level = [data]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for value in level
            for inner in (value.values() if isinstance(value, dict) else value if isinstance(value, list) else ())
        ]
        if not level:
            return
    raise RecursionError
