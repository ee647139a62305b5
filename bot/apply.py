"""Executes a decision: first the ledger in one transaction, then each effect in order, skipping what is already so.

Promises: nothing happens on GitHub for a decision whose save was stale; an act of an attempt checks its fence against
the ledger right before; acts that must not be repeated go through `bot/outbox.py`; labels, assignee, status comment
and clean-up travel in one request. A failed act stops the rest of the decision: the next pass sees how far it came.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import assert_never

import structlog

from bot.acts import Acts
from bot.domain import labels
from bot.domain.approval import EVENT_LAG
from bot.domain.attempt import Attempt, WorkerKind
from bot.domain.budget import day_start
from bot.domain.effects import (
    CancelRun,
    CloseIssue,
    Decision,
    Dispatch,
    Effect,
    MergePull,
    OpenPull,
    PublishClaim,
    React,
    ReleaseClaim,
    RevokeToken,
    Say,
    Show,
    Status,
    TakeReadyLabel,
)
from bot.domain.memory import shown_digest
from bot.domain.model import IssueKey, Item, Key
from bot.domain.policy_model import Policy
from bot.domain.repository import RepoRecord
from bot.errors import Forbidden, Invalid, NotFound
from bot.kept import Kept
from bot.metrics import Metrics
from bot.policies import policy_of
from bot.protocols.clock import Clock
from bot.protocols.github import GitHub, Visible
from bot.protocols.ledger import Ledger, Store
from bot.saving import write_save
from bot.texts.status_comment import StatusInput, status_text
from bot.words import Words

PROGRESS_SPACING = timedelta(seconds=120)
"""Edits that only bring progress are this far apart at least: live progress belongs on the dashboard."""

WAITING_SPACING = timedelta(seconds=15)
"""A new reason for waiting shows this soon; reasons change rarely, but several may change in one second."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Applied:
    """`again`: look at the key once more at once. `wake_at`: at the latest then."""

    again: bool
    wake_at: datetime | None


@dataclass(slots=True)
class _Run:
    """What the effects of one decision share while they are executed."""

    repo: RepoRecord
    item: Item | None
    attempt: Attempt | None
    policy: Policy
    again: bool = False
    stopped: bool = False
    wake_at: datetime | None = None

    def at(self, when: datetime | None) -> None:
        if when is not None and (self.wake_at is None or when < self.wake_at):
            self.wake_at = when

    def look(self, when: datetime | None) -> None:
        """Look again then, or at once when it is known what came of an act."""
        self.at(when)
        self.again = self.again or when is None


class Applier:
    """Carries out decisions."""

    def __init__(
        self,
        github: GitHub,
        store: Store,
        clock: Clock,
        acts: Acts,
        html_url: str,
        kept: Kept,
        words: Words,
        metrics: Metrics,
    ) -> None:
        self._github = github
        self._store = store
        self._clock = clock
        self._acts = acts
        self._html_url = html_url
        self._kept = kept
        self._words = words
        self._metrics = metrics

    async def apply(self, key: Key, decision: Decision, repo: RepoRecord, policy: Policy) -> Applied:
        """Save, then act. Raises StaleDecision before anything was done, or what an effect raises.

        A reaction that is the whole answer to a command comes before the save: after it nobody would repeat it.
        """
        save = decision.save
        for effect in decision.effects:
            if isinstance(effect, React) and effect.alone:
                await self._react(effect)
        if save.words or not save.empty:
            await self._store.write(lambda tx: write_save(tx, key, save, self._clock.now()))
        run = _Run(save.repo_after or repo, save.item_after, save.attempt_after, policy, wake_at=decision.wake_at)
        pending: list[Show | Status] = []
        for effect in decision.effects:
            if run.stopped:
                break
            if isinstance(effect, Show | Status):
                pending.append(effect)
                continue
            if isinstance(effect, React) and effect.alone:
                continue
            if pending:
                await self._visible(run, pending)
                pending = []
            await self._one(run, effect)
        if pending and not run.stopped:
            await self._visible(run, pending)
        return Applied(run.again, run.wake_at)

    async def say_late(self, key: IssueKey) -> datetime | None:
        """Say what an earlier pass decided to say and could not. When to look again if that is not known yet."""
        repo, unsaid = await self._store.read(lambda tx: (tx.repo(key.repo_key), self._words.unsaid(tx, key)))
        if repo is None or not repo.active:
            return None
        return await self._words.say_late(unsaid, repo, policy_of(repo))

    async def _one(self, run: _Run, effect: Effect) -> None:
        self._metrics.effects.labels(type(effect).__name__, "tried").inc()
        match effect:
            case PublishClaim():
                ours = await self._acts.claims.publish(effect)
                run.again = run.again or not ours
                run.stopped = not ours
            case ReleaseClaim():
                await self._acts.claims.release(effect)
            case TakeReadyLabel():
                taken = await self._acts.take_ready(effect)
                self._kept.shown(effect.key, (), (labels.READY,) if taken else ())
                run.stopped = not taken
                if not taken:
                    # What was read may be older than what is there; looking at once would read the same again.
                    run.at(self._clock.now() + EVENT_LAG)
            case Dispatch():
                run.at(await self._acts.dispatch(effect))
            case CancelRun():
                await self._acts.cancel_run(effect)
            case RevokeToken():
                await self._acts.revoke(effect)
            case OpenPull():
                run.look(await self._acts.open_pull(effect, run.policy))
            case MergePull():
                run.look(await self._acts.merge(effect))
            case CloseIssue():
                await self._github.edit_issue(effect.key, open_=False, reason=effect.reason)
                # The next pass notes that it was closed, so that a person may reopen it; our own change wakes nobody,
                # so what was read before must not be believed any more.
                self._kept.read_issue(effect.key, None, self._clock.now())
                run.again = True
            case Say():
                run.at(await self._words.say(effect, run.repo, run.policy))
            case React():
                await self._react(effect)
            case Show() | Status():
                await self._visible(run, [effect])
            case _:
                assert_never(effect)

    async def _react(self, effect: React) -> None:
        try:
            await self._github.react(effect.key.repo_key, effect.comment_id, effect.content)
        except (NotFound, Invalid, Forbidden):
            # The comment was deleted or locked meanwhile; its command was carried out all the same.
            log.info("comment_gone", comment=effect.comment_id)

    # --- what people see ---------------------------------------------------------------------------

    async def _visible(self, run: _Run, effects: list[Show | Status]) -> None:
        """Labels, assignee, clean-up and the edit of the status comment, together in one request."""
        shows = [effect for effect in effects if isinstance(effect, Show)]
        status = next((effect for effect in effects if isinstance(effect, Status)), None)
        if run.item is None and not shows:
            return
        key = effects[0].key
        today = day_start(self._clock.now())
        item, attempt, spent = await self._store.read(
            lambda tx: (
                tx.item(key),
                tx.live_attempt(key) or tx.last_attempt(key),
                (tx.spent_on(key), tx.spent_since(today, key.repo_key)),
            )
        )
        text = None
        if status is not None and item is not None:
            text = await self._status_edit(run, item, attempt, spent, status, status.urgent or bool(shows))
        node = item.node_id if item is not None else None
        if node is None and shows:
            await self._plain_labels(key, shows)
            return
        if not shows and text is None:
            return
        assert node is not None
        wanted = _merge(key, node, shows)
        if text is not None and item is not None:
            wanted = replace(wanted, comment_node=item.projection.status_comment_node, comment_body=text)
            await self._store.write(partial(_status_unknown, key))
        outcome = await self._github.show(key.repo_key, wanted)
        failed = dict(outcome.failed)
        self._kept.shown(
            key,
            () if "add_labels" in failed else wanted.add_labels,
            () if "remove_labels" in failed else wanted.remove_labels,
            ready=wanted.ready_pull_node is not None and "ready_pull_node" not in failed,
        )
        for kind in {type(effect).__name__ for effect in effects}:
            self._metrics.effects.labels(kind, "failed" if outcome.failed else "done").inc()
        for field, message in outcome.failed:
            log.warning("show_failed", field=field, message=message)
        now = self._clock.now()
        deleted = "comment_body" in failed and item is not None and await self._status_is_gone(item)
        shown_label = next((s.state_label for s in reversed(shows) if s.state_label), None)
        labels_failed = "add_labels" in failed or "remove_labels" in failed

        def record(tx: Ledger) -> None:
            fresh = tx.item(key)
            if fresh is None:
                return
            projection = fresh.projection
            if shown_label is not None and not labels_failed:
                projection = replace(projection, state_label=shown_label)
            if wanted.assign is not None and outcome.assignees is not None:
                # GitHub drops people who cannot be assigned without an error: believe only the answer.
                there = wanted.assign if wanted.assign in outcome.assignees else None
                projection = replace(projection, assignee=there)
            if text is not None and "comment_body" not in failed and outcome.comment_body is not None:
                projection = replace(projection, status_hash=shown_digest(text), status_edited_at=now)
            if text is not None and deleted:
                # Somebody deleted the comment: the next pass writes a new one.
                projection = replace(
                    projection,
                    status_comment_id=None,
                    status_comment_node=None,
                    status_hash=None,
                    status_generation=projection.status_generation + 1,
                )
            # A branch that could not be deleted has moved or is gone: it is not ours to fight over.
            cleaned = fresh.branch_deleted or wanted.delete_branch is not None
            if projection != fresh.projection or cleaned != fresh.branch_deleted:
                tx.save_item(fresh, replace(fresh, projection=projection, branch_deleted=cleaned))
            if shown_label == labels.READY and not labels_failed:
                # Only what people can see and withdraw is started.
                tx.mark(key.repo_key)
            live = tx.live_attempt(key)
            if live is not None and not live.shown and shown_label == labels.IN_PROGRESS and not labels_failed:
                tx.save_attempt(live, replace(live, shown=True))
                if live.worker.kind is not WorkerKind.ACTIONS:
                    # Whoever asked for it waits for this; nothing else tells of it.
                    tx.mark(key)

        await self._store.write(record)
        if deleted or labels_failed:
            run.again = True
        elif "comment_body" in failed:
            run.at(now + PROGRESS_SPACING)

    async def _status_is_gone(self, item: Item) -> bool:
        """Whether somebody deleted the status comment; an edit can fail for other reasons as well."""
        known = item.projection.status_comment_id
        return known is not None and await self._github.comment(item.key.repo_key, known) is None

    async def _status_edit(
        self, run: _Run, item: Item, attempt: Attempt | None, spent: tuple[int, int], status: Status, urgent: bool
    ) -> str | None:
        """The text the status comment should get now; creates the comment when there is none."""
        text = status_text(
            StatusInput(
                run.repo,
                item,
                attempt,
                run.policy,
                status.ci,
                status.reasons,
                self._html_url,
                self._clock.now(),
                *spent,
            )
        )
        if item.projection.status_comment_id is None:
            run.at(await self._words.create_status(item, text, shown_digest(text)))
            return None
        if item.projection.status_hash == shown_digest(text):
            return None
        edited = item.projection.status_edited_at
        spacing = PROGRESS_SPACING if attempt is not None and attempt.live else WAITING_SPACING
        if not urgent and edited is not None and self._clock.now() < edited + spacing:
            run.at(edited + spacing)
            return None
        return text

    async def _plain_labels(self, key: IssueKey, shows: list[Show]) -> None:
        """Labels of an issue that is not an item (a refused request): no node id is known, none is needed."""
        for name in {name for show in shows for name in show.remove_labels}:
            await self._github.remove_label(key, name)


def _status_unknown(key: IssueKey, tx: Ledger) -> None:
    """Until GitHub's answer is recorded nobody knows what the status comment says: it may have been edited although no
    answer came. A text that is wanted again, and thought to be there still, would never be written."""
    item = tx.item(key)
    if item is not None and item.projection.status_hash is not None:
        tx.save_item(item, replace(item, projection=replace(item.projection, status_hash=None)))


def _merge(key: IssueKey, node: str, shows: list[Show]) -> Visible:
    """All wanted changes of one decision as one; later ones win."""
    visible = Visible(issue_node=node, number=key.number)
    for show in shows:
        visible = replace(
            visible,
            add_labels=tuple(dict.fromkeys((*visible.add_labels, *show.add_labels))),
            remove_labels=tuple(dict.fromkeys((*visible.remove_labels, *show.remove_labels))),
            assign=show.assign or visible.assign,
            unassign=show.unassign or visible.unassign,
            ready_pull_node=show.ready_pull_node or visible.ready_pull_node,
            delete_branch=show.delete_branch or visible.delete_branch,
        )
    return visible
