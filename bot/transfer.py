"""The backlog file out and in: what `tgs/server/backlog.json` would say of a repository, and taking such a file over.

Promise: what is exported can be imported; importing twice adds nothing twice, changes nothing that is there, and never
marks work as done because a file says so. What cannot be added is named with its reason, and the rest is added.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import msgspec

from bot.backlog import Backlogs
from bot.client.backlog import Entry, Status
from bot.client.backlog_file import File, exported, from_data
from bot.domain.model import IssueKey, Person
from bot.domain.repository import RepoRecord
from bot.errors import Refused, UserError
from bot.membership import Entered, Membership, Wish

MAX_ROWS = 1_000
"""Rows that one import adds; each is a command of the person, and a larger file is sent in parts."""

WANTED = frozenset({Status.QUEUED, Status.IN_PROGRESS})
"""What asks for work. Ended rows are history; who wants them again says so."""


@dataclass(frozen=True, slots=True)
class Imported:
    """One row: its item, or why there is none."""

    name: str
    entered: Entered | None
    why: str = ""


class Transfer:
    """Export and import."""

    def __init__(self, backlogs: Backlogs, membership: Membership) -> None:
        self._backlogs = backlogs
        self._membership = membership

    async def export(self, repo: RepoRecord) -> dict[str, object]:
        """The file's content."""
        entries = []
        cursor = None
        while True:
            page = await self._backlogs.items(repo, cursor=cursor)
            entries += [msgspec.convert(line, Entry, strict=False) for line in page.items]
            cursor = page.next_cursor
            if cursor is None:
                return exported(entries)

    async def take(self, person: Person, repo: RepoRecord, data: Mapping[str, object], request: str) -> list[Imported]:
        """Add what the file asks for and is not there. Raises BrokenFile, UserError for too many rows, Refused."""
        wishes = list(_wishes(from_data(data)))
        if len(wishes) > MAX_ROWS:
            raise UserError(f"The file asks for {len(wishes)} items; the limit is {MAX_ROWS}.", "Send it in parts.")
        found: list[Imported] = []
        known = await self._known(repo)
        for place, wish in enumerate(wishes):
            name = wish.dir or f"#{wish.number}"
            there = known.get(name)
            if there is not None:
                found.append(Imported(name, Entered(there, new=False, settled=True, text="It is there already.")))
                continue
            try:
                done = await self._membership.add(person, repo, wish, f"{request}:{place}")
            except UserError as error:
                if isinstance(error, Refused):
                    raise
                found.append(Imported(name, None, str(error)))
                continue
            found.append(Imported(name, done))
        return found

    async def _known(self, repo: RepoRecord) -> dict[str, IssueKey]:
        found: dict[str, IssueKey] = {}
        cursor = None
        while True:
            page = await self._backlogs.items(repo, cursor=cursor)
            for line in page.items:
                key = IssueKey(repo.key.installation, repo.key.repo, line["number"])
                found[f"#{key.number}"] = key
                if line["dir"] is not None:
                    found[line["dir"]] = key
            cursor = page.next_cursor
            if cursor is None:
                return found


def _wishes(file: File) -> Iterator[Wish]:
    for row in file.thoughts:
        if row.known in WANTED:
            yield Wish(dir=row.dir, priority=row.priority or None, locks=row.tgs.locks or None)
    issues = (file.tgs.model_extra or {}).get("issues")
    for issue in issues if isinstance(issues, list) else ():
        if not isinstance(issue, dict) or issue.get("status") not in {status.value for status in WANTED}:
            continue
        number, priority = issue.get("number"), issue.get("priority")
        if isinstance(number, int) and not isinstance(number, bool) and number > 0:
            yield Wish(number=number, priority=priority if isinstance(priority, int) and priority else None)
