"""Items: one row per issue in the backlog, saved only on the revision that was decided on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, and_, bindparam, func, select, update

from bot.domain.model import Asked, InstallationId, IssueKey, Item, ItemState, RepoId, RepoKey, Waiting
from bot.store.dialect import insert_new
from bot.store.tables import items, repos
from bot.store.verbs import Verbs, given, in_given_repo, in_repo, of_given_issue, of_issue, update_changed

_ONE = select(items).where(of_given_issue(items))
_ALL = select(items).where(in_given_repo(items)).order_by(items.c.number)
_IN_STATES = _ALL.where(items.c.state.in_(bindparam("states", expanding=True)))
_OF_THOUGHTS = _ALL.where(items.c.thought_dir.is_not(None))

_OF_PULL = (
    select(items.c.installation, items.c.repo, items.c.number)
    .where(in_given_repo(items), items.c.pull_number == bindparam("pull"))
    .order_by(items.c.number.desc())
    .limit(1)
)


def item_values(item: Item) -> dict[str, Any]:
    """The columns of a record, without its key and revision. Searched fields of records are columns beside them."""
    return {
        "node_id": item.node_id,
        "title": item.title,
        "state": item.state,
        "since": item.since,
        "priority": item.priority,
        "thought": item.thought,
        "thought_dir": None if item.thought is None else item.thought.dir,
        "snapshot": item.snapshot,
        "spec": item.spec,
        "asked": item.asked,
        "labels": item.labels,
        "ready_since": item.ready_since,
        "not_before": item.not_before,
        "expedited": item.expedited,
        "held_by": item.held_by,
        "held_reason": item.held_reason,
        "human_owned": item.human_owned,
        "fence": item.fence,
        "attempts_burnt": item.attempts_burnt,
        "infra_failures": item.infra_failures,
        "extensions": item.extensions,
        "last_failure": item.last_failure,
        "notes": item.notes,
        "fresh": item.fresh,
        "waiting": item.waiting,
        "findings": item.findings,
        "position": item.position,
        "pull": item.pull,
        "pull_number": None if item.pull is None else item.pull.number,
        "pull_branch": None if item.pull is None else item.pull.branch,
        "pull_head_sha": None if item.pull is None else item.pull.head_sha,
        "projection": item.projection,
        "accepted_labels": item.accepted_labels,
        "refused_events": item.refused_events,
        "branch_deleted": item.branch_deleted,
        "mirror_ready": item.mirror_ready,
        "thought_gone": item.thought_gone,
        "implemented": item.implemented,
        "noted": item.noted,
        "answered": item.answered,
        "withheld": item.withheld,
        "withheld_attempt": None if item.withheld is None else item.withheld.attempt,
    }


def issue_key_of(row: Any) -> IssueKey:
    """The item's key from a row with the three columns of it."""
    return IssueKey(InstallationId(row.installation), RepoId(row.repo), row.number)


def item_of(row: Row[Any]) -> Item:
    """The record of a row."""
    return Item(
        key=issue_key_of(row),
        node_id=row.node_id,
        title=row.title,
        state=row.state,
        since=row.since,
        revision=row.revision,
        priority=row.priority,
        thought=row.thought,
        snapshot=row.snapshot,
        spec=row.spec,
        asked=row.asked or Asked(),
        labels=row.labels or (),
        ready_since=row.ready_since,
        not_before=row.not_before,
        expedited=row.expedited,
        held_by=row.held_by,
        held_reason=row.held_reason,
        human_owned=row.human_owned,
        fence=row.fence,
        attempts_burnt=row.attempts_burnt,
        infra_failures=row.infra_failures,
        extensions=row.extensions,
        last_failure=row.last_failure,
        notes=row.notes,
        fresh=row.fresh,
        waiting=row.waiting,
        findings=row.findings,
        position=row.position,
        pull=row.pull,
        projection=row.projection,
        accepted_labels=row.accepted_labels,
        refused_events=row.refused_events,
        branch_deleted=row.branch_deleted,
        mirror_ready=row.mirror_ready,
        thought_gone=row.thought_gone,
        implemented=row.implemented,
        noted=row.noted,
        answered=row.answered,
        withheld=row.withheld,
        created_at=row.created_at,
    )


class ItemVerbs(Verbs):
    """The verbs of `bot.protocols.ledger.Ledger` about items."""

    def items_by_state(self) -> dict[str, int]:
        """How many items of active repositories are in each state, for metrics."""
        query = (
            select(items.c.state, func.count())
            .join_from(items, repos, and_(repos.c.installation == items.c.installation, repos.c.repo == items.c.repo))
            .where(repos.c.active.is_(True))
            .group_by(items.c.state)
        )
        return {state.value: count for state, count in self.connection.execute(query)}

    def item(self, key: IssueKey) -> Item | None:
        row = self.connection.execute(_ONE, given(key)).one_or_none()
        return None if row is None else item_of(row)

    def items(self, repo: RepoKey, *, states: Sequence[str] | None = None) -> list[Item]:
        """The repository's items by number. Raises ValueError for a word that is no state."""
        if states is None:
            return [item_of(row) for row in self.connection.execute(_ALL, given(repo))]
        wanted = {**given(repo), "states": [ItemState(state) for state in states]}
        return [item_of(row) for row in self.connection.execute(_IN_STATES, wanted)]

    def items_of_thoughts(self, repo: RepoKey) -> list[Item]:
        """Those of the repository's items that are plans, ended ones included, by number."""
        return [item_of(row) for row in self.connection.execute(_OF_THOUGHTS, given(repo))]

    def item_of_thought(self, repo: RepoKey, thought_dir: str) -> Item | None:
        query = select(items).where(in_repo(items, repo), items.c.thought_dir == thought_dir)
        row = self.connection.execute(query).one_or_none()
        return None if row is None else item_of(row)

    def item_of_pull(self, repo: RepoKey, pull: int) -> IssueKey | None:
        row = self.connection.execute(_OF_PULL, {**given(repo), "pull": pull}).one_or_none()
        return None if row is None else issue_key_of(row)

    def insert_item(self, item: Item) -> bool:
        key = item.key
        return insert_new(
            self.connection,
            items,
            {
                "installation": key.installation,
                "repo": key.repo,
                "number": key.number,
                "revision": item.revision,
                "created_at": item.since,
                **item_values(item),
            },
        )

    def save_item(self, before: Item, after: Item) -> bool:
        """Writes the changed columns, revision + 1; False when `before.revision` is stale."""
        if before.key != after.key:
            raise ValueError(f"{before.key} cannot be saved as {after.key}")
        return update_changed(
            self.connection,
            items,
            given(before.key),
            before.revision,
            item_values(before),
            item_values(after),
        )

    def set_waiting(
        self, key: IssueKey, waiting: tuple[tuple[str, tuple[tuple[str, str], ...]], ...], position: int | None
    ) -> bool:
        query = select(items.c.waiting, items.c.position).where(of_issue(items, key))
        row = self.connection.execute(query).one_or_none()
        reasons = tuple(Waiting(code, params) for code, params in waiting)
        if row is None or (row.waiting == reasons and row.position == position):
            return False
        self.connection.execute(update(items).where(of_issue(items, key)).values(waiting=reasons, position=position))
        return True
