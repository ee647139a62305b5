"""Locks on paths: which patterns may touch the same file, and who is in the way.

Promise: conservative. When two patterns might match one path they overlap; a lock on `src` covers everything below it,
because nobody knows from the text whether it is a file or a folder (only beside a pattern that matches at any depth is
a name with an extension taken for a file). Paths are compared NFC-normalised and
case-folded, as on the file systems where agents work. Taking the locks (all or nothing) is the claim transaction's
business; this module only says what conflicts.

Grammar of one lock: `[read:]path`, where path is an exact path, a folder (`dir/` or `dir/**`), `**` for everything,
or has `*`, `?`, `[…]` inside segments; a wildcard pattern without a slash (`*.md`) matches at any depth.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from itertools import chain
from typing import Final

from bot.domain.timestamps import iso, parse_iso
from bot.errors import UserError

MAX_LOCKS: Final = 50
"""Locks per item: more say that the item should lock a folder instead."""
MAX_LOCK_LENGTH: Final = 300
"""Characters of one pattern; longer ones are no paths people write by hand."""
MAX_SEGMENTS: Final = 40
"""Folders in one pattern; bounds the work of comparing two patterns."""
CLEANED_PATTERNS: Final = 20_000
"""Patterns whose cleaned form is remembered: a backlog of 10,000 items, and at most some megabytes of short strings."""
MAX_LOCKS_FILE: Final = 1_000_000
"""Characters of a lock file that is imported; a larger one was not written by the export."""

READ_PREFIX: Final = "read:"
_FILE = re.compile(r"[^*?\[]*[^.*?\[]\.[A-Za-z0-9_]{1,10}|[^/]*\*\.[A-Za-z0-9_]{1,10}")
_WILD = re.compile(r"[*?\[]")


class LockMode(StrEnum):
    """Readers share a path; a writer has it alone."""

    READ = "read"
    WRITE = "write"


class InvalidLock(UserError):
    """A lock pattern that cannot be used; says what is wrong with it and how to write it."""


class InvalidLockFile(UserError):
    """A lock file that cannot be read; nothing of it is taken over."""


@dataclass(frozen=True, slots=True, order=True)
class Lock:
    """A path pattern as people see it (cleaned, case kept) and how it is held."""

    path: str
    mode: LockMode = LockMode.WRITE

    def __str__(self) -> str:
        return self.path if self.mode is LockMode.WRITE else f"{READ_PREFIX}{self.path}"


@lru_cache(maxsize=CLEANED_PATTERNS)
def parse_lock(text: str) -> Lock:
    """One lock from front matter or policy. Raises InvalidLock."""
    mode = LockMode.WRITE
    raw = text.strip()
    if raw.lower().startswith(READ_PREFIX):
        mode, raw = LockMode.READ, raw[len(READ_PREFIX) :].strip()
    return Lock(_clean(raw), mode)


def parse_locks(texts: Iterable[str]) -> tuple[Lock, ...]:
    """Several locks, sorted, without repetitions. Raises InvalidLock, also for more than `MAX_LOCKS`."""
    locks = tuple(sorted({parse_lock(text) for text in texts}))
    if len(locks) > MAX_LOCKS:
        raise InvalidLock(f"{len(locks)} locks are more than {MAX_LOCKS}.", "Lock a folder instead of single files.")
    return locks


def _clean(raw: str) -> str:
    def refuse(why: str) -> InvalidLock:
        shown = raw if len(raw) <= 60 else raw[:59] + "…"
        return InvalidLock(
            f"The lock {shown!r} {why}.", "Write a path from the repository's root, such as `src/auth/`."
        )

    path = unicodedata.normalize("NFC", raw)
    if not path:
        raise refuse("is empty")
    if len(path) > MAX_LOCK_LENGTH:
        raise refuse(f"is longer than {MAX_LOCK_LENGTH} characters")
    if any(unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for char in path):
        raise refuse("contains control characters")
    if "\\" in path:
        raise refuse("contains a backslash")
    if path.startswith(("/", "~")) or re.match(r"[A-Za-z]:", path):
        raise refuse("is absolute")
    folder = path.endswith("/")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise refuse("leaves the repository with `..`")
    if not parts:
        return "**"
    if len(parts) > MAX_SEGMENTS:
        raise refuse(f"has more than {MAX_SEGMENTS} folders")
    if folder and parts[-1] != "**":
        parts.append("**")
    squeezed = [part for index, part in enumerate(parts) if part != "**" or index == 0 or parts[index - 1] != "**"]
    return "/".join(squeezed)


def fold(text: str) -> str:
    """The form in which paths are compared: NFC and case-folded, repeated until it no longer changes."""
    for _ in range(4):
        folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
        if folded == text:
            break
        text = folded
    return text


def overlap(a: str, b: str) -> bool:
    """Whether two patterns might match a common path. Symmetric; true when in doubt. Raises InvalidLock."""
    left, right = _segments(a), _segments(b)
    # Reachable pairs of positions; a pattern that is used up covers whatever follows in the other one.
    todo = [(0, 0)]
    seen = {(0, 0)}
    while todo:
        i, j = todo.pop()
        if i == len(left) or j == len(right):
            if _covers(left, right[j:]) if i == len(left) else _covers(right, left[i:]):
                return True
            continue
        steps: list[tuple[int, int]] = []
        if left[i] == "**":
            steps += [(i + 1, j), (i, j + 1)]
        if right[j] == "**":
            steps += [(i, j + 1), (i + 1, j)]
        if not steps and _segments_meet(left[i], right[j]):
            steps.append((i + 1, j + 1))
        for step in steps:
            if step not in seen:
                seen.add(step)
                todo.append(step)
    return False


def _covers(used: tuple[str, ...], rest: tuple[str, ...]) -> bool:
    """Whether what is left of one pattern may lie below the other one, which is used up."""
    if not rest or rest == ("**",) or used[-1] == "**":
        return True
    # Only a gap reaches below it: then a name with an extension is taken for a file, else `*.md` would lock everything.
    return not (rest[0] == "**" and _FILE.fullmatch(used[-1]))


@lru_cache(maxsize=CLEANED_PATTERNS)
def _segments(pattern: str) -> tuple[str, ...]:
    # Remembered, because scheduling compares every waiting item's patterns with every held one.
    parts = tuple(fold(_clean(pattern)).split("/"))
    if len(parts) == 1 and parts[0] != "**" and _WILD.search(parts[0]):
        return ("**", *parts)
    return parts


def _segments_meet(a: str, b: str) -> bool:
    wild_a, wild_b = _WILD.search(a), _WILD.search(b)
    if wild_a is None and wild_b is None:
        return a == b
    # Only the fixed beginning and end can prove that two segments never meet.
    head_a, tail_a = _fixed_ends(a)
    head_b, tail_b = _fixed_ends(b)
    heads = head_a.startswith(head_b) or head_b.startswith(head_a)
    tails = tail_a.endswith(tail_b) or tail_b.endswith(tail_a)
    return heads and tails


def _fixed_ends(segment: str) -> tuple[str, str]:
    first = _WILD.search(segment)
    if first is None:
        return segment, segment
    head = segment[: first.start()]
    if "[" in segment:
        return head, ""
    return head, re.split(r"[*?]", segment)[-1]


class Held:
    """Locks that are held, and by which items, ordered by their first folder: two patterns that begin with different
    plain names never meet, so that a long queue is not compared with every lock.
    """

    def __init__(self, locks: Iterable[tuple[Lock, int]] = ()) -> None:
        self._below: dict[str, list[tuple[Lock, int]]] = {}
        self._anywhere: list[tuple[Lock, int]] = []
        for lock, holder in locks:
            self.add(lock, holder)

    def add(self, lock: Lock, holder: int) -> None:
        """One more lock is held."""
        first = _first(lock.path)
        (self._anywhere if first is None else self._below.setdefault(first, [])).append((lock, holder))

    def against(self, wanted: Iterable[Lock], asking: int) -> tuple[tuple[str, int], ...]:
        """(wanted path, number of the item that holds it) for every lock in the way, sorted, without repetitions.

        Two readers never conflict, and nobody is in the way of itself.
        """
        found = {
            (lock.path, holder)
            for lock in wanted
            for other, holder in self._candidates(lock)
            if holder != asking and LockMode.WRITE in (lock.mode, other.mode) and overlap(lock.path, other.path)
        }
        return tuple(sorted(found))

    def _candidates(self, lock: Lock) -> Iterable[tuple[Lock, int]]:
        first = _first(lock.path)
        if first is None:
            return chain(self._anywhere, *self._below.values())
        return chain(self._anywhere, self._below.get(first, ()))


@lru_cache(maxsize=CLEANED_PATTERNS)
def _first(pattern: str) -> str | None:
    """The plain name that every path of the pattern begins with; None when there is none."""
    first = _segments(pattern)[0]
    return None if _WILD.search(first) else first


# --- export and import


@dataclass(frozen=True, slots=True)
class LockEntry:
    """One line of the exported lock table. Times are aware UTC; `until` None: until the item lets go."""

    path: str
    item: int
    attempt: str
    since: datetime
    until: datetime | None = None
    mode: LockMode = LockMode.WRITE


def export_locks(entries: Iterable[LockEntry]) -> str:
    """The lock table as JSON: a map from path to its holders, sorted, with a final newline."""
    table: dict[str, list[dict[str, object]]] = {}
    for entry in sorted(entries, key=lambda entry: (entry.path, entry.item)):
        table.setdefault(entry.path, []).append(
            {
                "item": entry.item,
                "attempt": entry.attempt,
                "since": iso(entry.since),
                "until": None if entry.until is None else iso(entry.until),
                "mode": entry.mode.value,
            }
        )
    return json.dumps({"version": 1, "locks": table}, indent=2, ensure_ascii=False) + "\n"


def import_locks(text: str | None) -> tuple[LockEntry, ...]:
    """What `export_locks` wrote; nothing for a missing or empty file. Raises InvalidLockFile."""
    if text is None or not text.strip():
        return ()
    if len(text) > MAX_LOCKS_FILE:
        raise InvalidLockFile(f"The lock file is larger than {MAX_LOCKS_FILE} characters.", "Export it anew.")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidLockFile(f"The lock file is not JSON: {error}.", "Export it anew.") from None
    table = data.get("locks") if isinstance(data, dict) and data.get("version") == 1 else None
    if not isinstance(table, dict):
        raise InvalidLockFile("The lock file has no map `locks` of version 1.", "Export it anew.")
    entries: list[LockEntry] = []
    for path, holders in table.items():
        if not isinstance(holders, list):
            raise InvalidLockFile(f"The holders of {path!r} are not a list.", "Export the file anew.")
        entries += [_entry(path, holder) for holder in holders]
    return tuple(sorted(entries, key=lambda entry: (entry.path, entry.item)))


def _entry(path: str, raw: object) -> LockEntry:
    if not isinstance(raw, dict):
        raise InvalidLockFile(f"A holder of {path!r} is not a map.", "Export the file anew.")
    try:
        until = raw.get("until")
        return LockEntry(
            path=_clean(path),
            item=_integer(raw["item"]),
            attempt=str(raw["attempt"]),
            since=parse_iso(str(raw["since"])),
            until=None if until is None else parse_iso(str(until)),
            mode=LockMode(raw.get("mode", "write")),
        )
    except KeyError as error:
        raise InvalidLockFile(f"The lock on {path!r} has no {error}.", "Export the file anew.") from None
    except (ValueError, InvalidLock) as error:
        raise InvalidLockFile(f"The lock on {path!r} cannot be read: {error}", "Export the file anew.") from None


def _integer(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError(f"{value!r} is not the number of an item")
