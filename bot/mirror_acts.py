"""Turns a thought into its one issue: written ahead, found again by its marker, entered into the ledger with it.

The item is inserted in the same transaction that records the issue, so an issue without an item exists only between
GitHub's answer and our commit; after a crash there the issue is found by the marker in a text of our own, also when
its plan has gone in between and nobody would open it again.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from functools import partial

from bot.domain import labels
from bot.domain.facts import IssueFacts
from bot.domain.front_matter import FrontMatterResult, Source, effective_spec
from bot.domain.lifecycle import ItemEvent
from bot.domain.mirror import CreateIssue
from bot.domain.model import Item, ItemState, Projection, Snapshot, ThoughtRef
from bot.domain.policy_model import Policy
from bot.domain.repository import RepoRecord
from bot.outbox import LOOK_FOR, Once, Result, own_issue
from bot.protocols.clock import Clock
from bot.protocols.github import GitHub
from bot.protocols.ledger import Audit, Ledger, Store
from bot.texts import markers
from bot.texts.mirror import MirrorInput, mirror_body, mirror_title


class MirrorActs:
    """Creates mirrored issues."""

    def __init__(self, github: GitHub, store: Store, clock: Clock, html_url: str) -> None:
        self._github = github
        self._store = store
        self._clock = clock
        self._once = Once(store, clock)
        self._html_url = html_url

    async def create(
        self, repo: RepoRecord, head: str, action: CreateIssue, matter: FrontMatterResult, policy: Policy
    ) -> datetime | None:
        """One issue for one thought, once. When to look again if it is not known whether it was created."""
        thought = action.thought
        view = MirrorInput(repo, thought.ref(head), action.title, action.state, self._html_url)
        marker = markers.mirror(thought.dir)
        body = mirror_body(view)
        label = labels.state_label(action.state)

        def record(tx: Ledger, issue: IssueFacts) -> str:
            self._enter(tx, repo, head, action, matter, policy, issue)
            return str(issue.key.number)

        done = await self._once.perform(
            f"{_of(repo)}{thought.dir}",
            "issue",
            repo=repo.key,
            issue=None,
            fence=None,
            may=lambda tx: tx.item_of_thought(repo.key, thought.dir) is None,
            act=lambda: self._github.create_issue(repo.key, mirror_title(view), body, [label]),
            find=own_issue(self._github, repo.key, marker),
            record=record,
        )
        return self._clock.now() + LOOK_FOR if done.result is Result.UNSURE else None

    async def settle(self, repo: RepoRecord, tried: Collection[str]) -> datetime | None:
        """What came of acts that are not `tried` any more: their plan is gone, built, broken or not wanted now.

        When to look again, if one may still turn up. An issue that was opened becomes a proposed item; what its plan
        asks for then is decided as for every item.
        """
        again: list[datetime] = []
        for row in await self._store.read(lambda tx: tx.planned(repo.key, "issue")):
            name = row.key.removeprefix(_of(repo))
            if name == row.key or name in tried:
                continue
            issue = await own_issue(self._github, repo.key, markers.mirror(name))(row)
            if issue is not None:
                await self._store.write(partial(self._take, repo, row.key, name, issue))
            elif self._clock.now() - row.planned_at < LOOK_FOR:
                again.append(row.planned_at + LOOK_FOR)
            else:
                await self._store.write(partial(_drop, row.key))
        return min(again, default=None)

    def _take(self, repo: RepoRecord, key: str, name: str, issue: IssueFacts, tx: Ledger) -> None:
        now = self._clock.now()
        tx.outbox_done(key, str(issue.key.number), now)
        shown = labels.states_shown(issue.labels)
        item = Item(
            key=issue.key,
            node_id=issue.node_id,
            title=issue.title,
            state=ItemState.PROPOSED,
            since=now,
            thought=ThoughtRef(name, "", "", ""),
            projection=Projection(state_label=labels.state_label(shown[0]) if len(shown) == 1 else None),
        )
        if tx.insert_item(item):
            tx.audit(
                Audit(
                    at=now,
                    key=issue.key,
                    kind=ItemEvent.DISCOVERED.value,
                    actor="push",
                    cause=name,
                    to_state=item.state.value,
                    policy_hash=repo.policy_hash,
                )
            )
        tx.mark(issue.key)
        tx.mark(repo.key)

    def _enter(
        self,
        tx: Ledger,
        repo: RepoRecord,
        head: str,
        action: CreateIssue,
        matter: FrontMatterResult,
        policy: Policy,
        issue: IssueFacts,
    ) -> None:
        now = self._clock.now()
        spec, findings = effective_spec(policy, matter, Source.PLAN, repo.full_name)
        ready = action.state is ItemState.READY
        thought = action.thought.ref(head)
        priority = matter.matter.priority if matter.matter is not None else None
        item = Item(
            key=issue.key,
            node_id=issue.node_id,
            title=issue.title,
            state=action.state,
            since=now,
            priority=priority or 0,
            thought=thought,
            spec=spec,
            findings=findings,
            snapshot=Snapshot(title=action.title, body="", approved_at=now, approver=None, plan_sha=thought.plan_sha)
            if ready
            else None,
            ready_since=now if ready else None,
            projection=Projection(state_label=labels.state_label(action.state)),
        )
        if tx.insert_item(item):
            tx.audit(
                Audit(
                    at=now,
                    key=issue.key,
                    kind=(ItemEvent.APPROVED if ready else ItemEvent.DISCOVERED).value,
                    actor="policy" if ready else "push",
                    cause=thought.dir,
                    to_state=action.state.value,
                    policy_hash=repo.policy_hash,
                )
            )
        tx.mark(issue.key)
        tx.mark(repo.key)


def _of(repo: RepoRecord) -> str:
    return f"mirror:{repo.key}:"


def _drop(key: str, tx: Ledger) -> None:
    tx.outbox_drop(key)
