"""The history of each item as a chain: every line carries a hash over itself and the line before.

Promise: a line that was changed, inserted or taken out of the middle afterwards is found by `verify`, whoever did it
and however. What is cut off at the end cannot be seen from here; compare with a backup. Lines from before there was a
chain carry none and are passed over. Where a history was removed for its age, the hash of its last line is kept and the
next one follows on it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, select

from bot.domain.timestamps import iso
from bot.store.database import database_of
from bot.store.tables import cuts, events

BATCH: Final = 1_000
"""Lines read at once."""
_FIELDS: Final = ("installation", "repo", "number", "kind", "actor", "cause", "from_state", "to_state", "attempt")
_MORE: Final = ("fence", "policy_hash")


@dataclass(frozen=True, slots=True)
class Verified:
    """What was looked at: lines with a chain, lines from before, and the ids of lines that do not fit.

    `removed`: lines that are not kept any more.
    """

    lines: int
    older: int
    broken: tuple[int, ...]
    removed: int = 0


def link(before: str | None, line: Mapping[str, Any]) -> str:
    """The SHA-256 (hex) of a line that follows the line with hash `before`; `line` has the columns of `events`."""
    detail = line["detail"]
    content = [
        before or "",
        iso(line["at"]),
        *(line[name] for name in (*_FIELDS, *_MORE)),
        None if detail is None else sorted(dict(detail).items()),
    ]
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def verify_at(url: str) -> Verified:
    """The history of the database that the URL names. Raises SettingsError and StoreDamaged."""
    database = database_of(url)
    if not database.there():
        return Verified(0, 0, ())
    database.check()
    with database.connect(read_only=True) as connection:
        return verify(connection)


def verify(connection: Connection) -> Verified:
    """Reads the whole history once, oldest first."""
    newest: dict[tuple[int, int, int | None], str | None] = {}
    ends: dict[tuple[int, int, int | None], int] = {}
    lines = older = removed = 0
    for cut in connection.execute(select(cuts)):
        key = (cut.installation, cut.repo, cut.number or None)
        newest[key], ends[key] = cut.chain, cut.up_to
        removed += cut.lines
    broken: list[int] = []
    after = 0
    while rows := connection.execute(
        select(events).where(events.c.id > after).order_by(events.c.id).limit(BATCH)
    ).all():
        for row in rows:
            key = (row.installation, row.repo, row.number)
            if row.chain is None:
                older += 1
                # A line without a hash behind one that has one was written past the bot.
                if newest.get(key) is not None:
                    broken.append(row.id)
                continue
            lines += 1
            if row.id <= ends.get(key, 0) or row.chain != link(newest.get(key), row._asdict()):
                broken.append(row.id)
            newest[key] = row.chain
        after = rows[-1].id
    return Verified(lines, older, tuple(broken), removed)
