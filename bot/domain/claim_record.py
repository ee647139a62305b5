"""The record of a claim as it lies under a claim ref, and who has an item by it. Pure.

Promise: what `write` wrote, `read` gives back. The reader is strict: anything it does not understand completely
(another schema version, a missing or unknown or repeated field, another item's number) is *unreadable*, and that blocks
like a foreign claim. It is never taken for "free", because a newer version of the product may have written it.

Two claims never share a record: each has its own nonce, so two claimers never publish the same commit and both believe
that they were first.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from bot.domain.locks import InvalidLock, Lock, parse_lock

SCHEMA: Final = 1
"""The version this code writes and the only one it reads."""
FILE: Final = "claim.json"
"""The one file in the tree of a claim's commit."""
NAMESPACE: Final = "refs/tgs/claims/"
"""Outside `refs/heads`: no branch in the list, no push event, no workflow."""
FALLBACK: Final = "refs/heads/tgs-claims/"
"""Where a repository refuses the other namespace."""
NAMESPACES: Final = (NAMESPACE, FALLBACK)

MAX_BYTES: Final = 16_384
"""A record has some hundred bytes; more is not ours."""
MAX_TEXT: Final = 300
"""Characters of one field: longer than any login, branch or id."""
MAX_LOCKS: Final = 200
"""Paths in one record."""


class ClaimUnreadable(ValueError):
    """The record is not one that this version understands; the message says why."""


@dataclass(frozen=True, slots=True)
class ClaimRecord:
    """One claim of one item. `owner` is the GitHub login that made it, `name` what its session calls itself.

    `lease_until` is how long the owner said it would be silent at most; None: the owner's ledger knows. `nonce` makes
    the record unique; a serverless session uses the SHA-256 of its claim's secret, and so can prove later that it is
    the one.
    """

    issue: int
    claim_id: str
    owner: str
    name: str
    fence: int
    nonce: str
    made_at: datetime
    lease_until: datetime | None = None
    branch: str = ""
    base_sha: str | None = None
    locks: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[Lock, ...]:
        """The locks; what is none holds nothing that could be named."""
        found = []
        for text in self.locks:
            with suppress(InvalidLock):
                found.append(parse_lock(text))
        return tuple(found)

    @property
    def who(self) -> str:
        """The owner as people read it."""
        return self.owner if self.name in {"", self.owner} else f"{self.owner} ({self.name})"


@dataclass(frozen=True, slots=True)
class ClaimRef:
    """A claim ref as GitHub shows it: its full name, the object it points at, and the record if it can be read."""

    ref: str
    oid: str
    record: ClaimRecord | None
    problem: str = ""

    @property
    def who(self) -> str:
        return self.record.who if self.record is not None else ""


class Standing(StrEnum):
    """Who has the item by its claim refs."""

    FREE = "free"
    OURS = "ours"
    FOREIGN = "foreign"
    UNREADABLE = "unreadable"


def standing(refs: tuple[ClaimRef, ...], claim_id: str | None) -> tuple[Standing, ClaimRef | None]:
    """Who has it, and the ref that says so. Anything that cannot be read counts first, then a claim of somebody else:
    it is ours only if nothing speaks against it."""
    unreadable = next((ref for ref in refs if ref.record is None), None)
    if unreadable is not None:
        return Standing.UNREADABLE, unreadable
    foreign = next((ref for ref in refs if ref.record is not None and ref.record.claim_id != claim_id), None)
    if foreign is not None:
        return Standing.FOREIGN, foreign
    return (Standing.OURS, refs[0]) if refs else (Standing.FREE, None)


def ref_names(issue: int) -> tuple[str, ...]:
    """The names an item's claim may have, the preferred one first."""
    return tuple(f"{namespace}{issue}" for namespace in NAMESPACES)


def issue_of(ref: str) -> int | None:
    """The item that a claim ref is about; None for any other ref."""
    for namespace in NAMESPACES:
        rest = ref.removeprefix(namespace)
        if rest != ref and rest.isascii() and rest.isdigit() and rest == str(int(rest)) and rest != "0":
            return int(rest)
    return None


def write(record: ClaimRecord) -> str:
    """The text of the record's file; the same record always gives the same text."""
    fields: dict[str, object] = {
        "schema_version": SCHEMA,
        "issue": record.issue,
        "claim_id": record.claim_id,
        "owner": record.owner,
        "name": record.name,
        "fence": record.fence,
        "nonce": record.nonce,
        "made_at": _stamp(record.made_at),
        "lease_until": None if record.lease_until is None else _stamp(record.lease_until),
        "branch": record.branch,
        "base_sha": record.base_sha,
        "locks": list(record.locks),
    }
    return json.dumps(fields, indent=2) + "\n"


def read(data: bytes | str, issue: int) -> ClaimRecord:
    """The record. Raises ClaimUnreadable for anything but a complete record of this version for this item."""
    if len(data) > MAX_BYTES:
        raise ClaimUnreadable(f"it has more than {MAX_BYTES} bytes")
    try:
        raw = json.loads(data, object_pairs_hook=_unique, parse_constant=_no_constant)
    except ClaimUnreadable:
        raise
    except (ValueError, RecursionError):
        raise ClaimUnreadable("it is not JSON") from None
    if not isinstance(raw, dict):
        raise ClaimUnreadable("it is not a record")
    if raw.get("schema_version") != SCHEMA or isinstance(raw.get("schema_version"), bool):
        raise ClaimUnreadable("it was written by another version of the product")
    known = {
        "schema_version", "issue", "claim_id", "owner", "name", "fence", "nonce", "made_at", "lease_until", "branch",
        "base_sha", "locks",
    }  # fmt: skip
    if set(raw) != known:
        odd = ", ".join(sorted(set(raw) ^ known))
        raise ClaimUnreadable(f"fields are missing or unknown: {odd[:MAX_TEXT]}")
    record = ClaimRecord(
        issue=_number(raw, "issue"),
        claim_id=_text(raw, "claim_id", empty=False),
        owner=_text(raw, "owner", empty=False),
        name=_text(raw, "name"),
        fence=_number(raw, "fence"),
        nonce=_text(raw, "nonce", empty=False),
        made_at=_time(raw, "made_at"),
        lease_until=None if raw["lease_until"] is None else _time(raw, "lease_until"),
        branch=_text(raw, "branch"),
        base_sha=None if raw["base_sha"] is None else _text(raw, "base_sha", empty=False),
        locks=_texts(raw, "locks"),
    )
    if record.issue != issue:
        raise ClaimUnreadable(f"it is about #{record.issue} and lies under #{issue}")
    return record


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ClaimUnreadable("a field stands twice")
    return found


def _no_constant(name: str) -> Any:
    raise ClaimUnreadable(f"{name} is not a value")


def _number(raw: dict[str, Any], name: str) -> int:
    value = raw[name]
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ClaimUnreadable(f"{name} is not a positive whole number")
    return value


def _text(raw: dict[str, Any], name: str, *, empty: bool = True) -> str:
    return _checked(raw[name], name, empty=empty)


def _checked(value: object, name: str, *, empty: bool = True) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT or not value.isprintable() or not (value or empty):
        raise ClaimUnreadable(f"{name} is not a short line of text")
    return value


def _texts(raw: dict[str, Any], name: str) -> tuple[str, ...]:
    value = raw[name]
    if not isinstance(value, list) or len(value) > MAX_LOCKS:
        raise ClaimUnreadable(f"{name} is not a list of at most {MAX_LOCKS} texts")
    return tuple(_checked(entry, name, empty=False) for entry in value)


def _time(raw: dict[str, Any], name: str) -> datetime:
    value = raw[name]
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise ClaimUnreadable(f"{name} is not a time with its zone")
    return found.astimezone(UTC)


def _stamp(at: datetime) -> str:
    return at.astimezone(UTC).isoformat()
