"""What payloads say of repositories: kept with the delivery until it is routed, then carried over to the repositories.

Promise: what was said first is carried over first and once, also where a later delivery is routed at once and an
earlier one still waits; a repository that was taken out of its installation stays out when a late webhook mentions it.
Intake would otherwise compare a repository with its row for each delivery; the router does it once for all deliveries
of a batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from typing import NamedTuple

import msgspec
from sqlalchemy import Insert, and_, false, func, literal_column, null, or_, select, true, update

from bot.domain.intake import SeenRepo
from bot.store.dialect import DIALECTS, Cursor, Given, QuickRows, QuickSelect, QuickWrite, insert_for
from bot.store.tables import deliveries, installations, repos


class Seen(NamedTuple):
    """A repository as a payload described it, and as it is written: a list of these values."""

    installation: int
    repo: int
    full_name: str
    owner_id: int
    private: bool
    default_branch: str | None
    archived: bool | None


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(list[Seen])


def seen(repo: SeenRepo) -> Seen:
    """What was said of it."""
    key = repo.key
    return Seen(
        key.installation,
        key.repo,
        repo.full_name,
        repo.owner_id,
        repo.private,
        repo.default_branch or None,
        repo.archived,
    )


def written(some: Sequence[SeenRepo]) -> str | None:
    """The text for the delivery's row; None when it says nothing."""
    return _encoder.encode([seen(repo) for repo in some]).decode() if some else None


def read_seen(text: str | None) -> list[Seen]:
    """What was said. Raises msgspec.DecodeError for a text that `written` did not make."""
    return [] if text is None else _decoder.decode(text)


def see(cursor: Cursor, name: str, some: Iterable[Seen]) -> None:
    """Carries it over, in the running transaction of the database of that kind (`sqlite` or `postgresql`)."""
    told: dict[tuple[int, int], list[Seen]] = {}
    for one in some:
        of_one = told.setdefault((one.installation, one.repo), [])
        if one not in of_one[-1:]:
            of_one.append(one)
    while told:
        # One statement changes a row once; what was said of it later is said again.
        _statements(name).changes.run(cursor, [of_one[0] for of_one in told.values()])
        told = {key: of_one[1:] for key, of_one in told.items() if of_one[1:]}


def see_waiting(cursor: Cursor, name: str) -> None:
    """Carries over what deliveries say that nobody has routed yet, so that what is said next comes after it."""
    statements = _statements(name)
    waiting = statements.waiting.all(cursor, {})
    if waiting:
        see(cursor, name, [one for (text,) in waiting for one in read_seen(text)])
        statements.carried.many(cursor, [{}])


class _Statements:
    """What is asked and changed, for one kind of database."""

    def __init__(self, name: str) -> None:
        said = and_(deliveries.c.routed_at.is_(None), deliveries.c.seen.is_not(None))
        self.waiting = QuickSelect(select(deliveries.c.seen).where(said).order_by(deliveries.c.id), name)
        self.carried = QuickWrite(update(deliveries).where(said).values(seen=null()), name)
        self.changes = _changes(name)


@lru_cache(maxsize=2)
def _statements(name: str) -> _Statements:
    return _Statements(name)


def _changes(name: str) -> QuickRows:
    """Inserts repositories that are new, with the state and permissions of their installation; of a known one only what
    the payload says otherwise is changed.
    """
    return QuickRows(name, {column: repos.c[column].type for column in Seen._fields}, partial(_change, name))


def _change(name: str, given: Given) -> Insert:
    said = {column: given[column] for column in Seen._fields} | {
        "default_branch": func.coalesce(given["default_branch"], repos.c.default_branch, literal_column("''")),
        "archived": func.coalesce(given["archived"], repos.c.archived, false()),
    }
    at_first = {
        "revision": literal_column("0"),
        "active": func.coalesce(installations.c.active, true()),
        "permissions": func.coalesce(installations.c.permissions, literal_column("'[]'")),
        "policy_hash": literal_column("''"),
        "policy_problems": literal_column("'[]'"),
        "preflight_ok": false(),
        "preflight_problems": literal_column("'[]'"),
        "mirror_decided": false(),
    }
    facts = [column for column in Seen._fields if column not in ("installation", "repo")]
    rows = (
        select(*said.values(), *at_first.values())
        .select_from(given.rows)
        .outerjoin(repos, and_(repos.c.installation == given["installation"], repos.c.repo == given["repo"]))
        .outerjoin(installations, installations.c.installation == given["installation"])
        .where(or_(repos.c.repo.is_(None), *(repos.c[fact] != said[fact] for fact in facts)))
    )
    statement = insert_for(DIALECTS[name], repos).from_select((*said, *at_first), rows)
    new = {fact: statement.excluded[fact] for fact in facts}
    return statement.on_conflict_do_update(
        index_elements=["installation", "repo"],
        set_={**new, "revision": repos.c.revision + literal_column("1")},
    )
