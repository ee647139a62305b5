"""GraphQL: reactions in groups, and the pull requests of a branch.

Promise: every kind of reaction has its group, given or not; a branch's name matches in forks too, as on the service.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bot.localhub.model import Account, Issue, Json, Reaction, Repository
from bot.localhub.present import time

ORDERS: dict[str, Callable[[Issue], object]] = {
    "CREATED_AT": lambda x: (x.created_at, x.number),
    "UPDATED_AT": lambda x: (x.updated_at, x.number),
    "COMMENTS": lambda x: (len(x.comments), x.number),
}
"""GraphQL's names of orders, and what is compared."""


def in_order(found: list[Issue], order: dict[str, str] | None) -> list[Issue]:
    """Sorted as an `IssueOrder` says; oldest first without one."""
    wanted = order or {"field": "CREATED_AT", "direction": "ASC"}
    key = ORDERS[wanted["field"]]
    return sorted(found, key=key, reverse=wanted["direction"] == "DESC")  # type: ignore[arg-type]  # tuples of one kind


def reaction_groups(contents: dict[str, str], given: Sequence[Reaction], viewer: Account) -> list[Json]:
    """A `ReactionGroup` for each content, in the schema's order; `contents` are GraphQL's names and REST's."""
    groups: list[Json] = []
    for name, content in contents.items():
        some = [x for x in given if x.content == content]
        groups.append(
            {
                "content": name,
                "createdAt": time(min(x.created_at for x in some)) if some else None,
                "viewerHasReacted": any(x.user is viewer for x in some),
            }
        )
    return groups


def pulls_of(
    repo: Repository, states: list[str] | None, head: str | None, heads: Callable[[Issue], str]
) -> list[Issue]:
    """The repository's pull requests in these states, from a branch of this name in whatever repository."""
    return [
        x
        for x in repo.issues.values()
        if x.is_pull
        and not x.deleted
        and (states is None or ("MERGED" if x.merged_at is not None else x.state.upper()) in states)
        and (head is None or heads(x) == head)
    ]
