"""What the bot says in comments: each thing once, and late when it could not be said at once.

A sentence is planned in the transaction of the decision that wants it, so a crash or an outage delays words and never
loses them. A comment that cannot be written at all (the issue is gone or locked) is given up, so that words never
stand in the way of work.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from bot.domain.effects import Say
from bot.domain.model import AttemptId, IssueKey, Item
from bot.domain.notes import Note, NoteCode, from_json
from bot.domain.policy_model import Policy
from bot.domain.question_memory import of_round
from bot.domain.repository import RepoRecord
from bot.errors import Forbidden, Invalid, NotFound
from bot.outbox import LOOK_FOR, Once, Result
from bot.protocols.clock import Clock
from bot.protocols.github import Comment, GitHub
from bot.protocols.ledger import Ledger, OutboxRow, Store
from bot.talk import forward_to_chat, note_status_comment
from bot.texts import markers
from bot.texts.render import RenderContext, render

log = structlog.get_logger(__name__)


class Words:
    """Writes comments."""

    def __init__(self, github: GitHub, store: Store, clock: Clock, html_url: str) -> None:
        self._github = github
        self._store = store
        self._clock = clock
        self._once = Once(store, clock)
        self._html_url = html_url

    async def say(self, act: Say, repo: RepoRecord, policy: Policy) -> datetime | None:
        """One new comment, once. When to look again if it is not known whether it was written."""
        return await self._say(act.once, act.key, act.note, repo, policy)

    def unsaid(self, tx: Ledger, key: IssueKey) -> list[OutboxRow]:
        """What an earlier pass decided to say on the issue or its pull request, and could not."""
        item = tx.item(key)
        pull = item.pull if item is not None else None
        others = tx.unsaid(IssueKey(key.installation, key.repo, pull.number)) if pull is not None else []
        return tx.unsaid(key) + others

    async def say_late(self, unsaid: list[OutboxRow], repo: RepoRecord, policy: Policy) -> datetime | None:
        """Say what was `unsaid`. When to look again, as for `say`."""
        again: datetime | None = None
        for row in unsaid:
            found = from_json(row.result or "")
            if found is None or row.issue is None:
                await self._unsayable(row.key)
                continue
            try:
                when = await self._say(row.key, row.issue, found, repo, policy)
            except Forbidden as error:
                # Words must not stand in the way of everything else that is to be done here.
                log.warning("comment_refused", key=str(row.issue), status=error.status)
                await self._unsayable(row.key)
                continue
            again = when if again is None else again
        return again

    async def _unsayable(self, once: str) -> None:
        await self._store.write(lambda tx: tx.outbox_done(once, "impossible", self._clock.now()))

    async def _say(self, once: str, key: IssueKey, said: Note, repo: RepoRecord, policy: Policy) -> datetime | None:

        def words(tx: Ledger) -> str:
            context = RenderContext(repo, tx.item(key), policy, self._html_url, self._clock.now())
            return _remembering(said, render(said, context))

        body = await self._store.read(words)

        def keep(tx: Ledger, comment: Comment) -> None:
            forward_to_chat(tx, key, once, said, comment)
            if said.code is NoteCode.QUESTION:
                tx.note_question_comment(key, AttemptId(said.get("attempt")), comment.id)

        return await self._comment(once, key, markers.say(once), body, keep)

    async def create_status(self, item: Item, text: str, text_digest: str) -> datetime | None:
        """The one status comment of an item. When to look again if it is not known whether it was written, or if what
        is there is what an earlier pass wrote: its answer was lost, and the item has gone on since."""
        outdated = False

        def keep(tx: Ledger, comment: Comment) -> None:
            nonlocal outdated
            outdated = not _says(comment, markers.stamp(text, markers.STATUS))
            note_status_comment(tx, item.key)
            fresh = tx.item(item.key)
            if fresh is None:
                return
            projection = replace(
                fresh.projection,
                status_comment_id=comment.id,
                status_comment_node=comment.node_id,
                status_hash=None if outdated else text_digest,
                status_edited_at=self._clock.now(),
            )
            tx.save_item(fresh, replace(fresh, projection=projection))

        once = f"status:{item.key}:{item.projection.status_generation}"
        later = await self._comment(once, item.key, markers.STATUS, text, keep)
        return self._clock.now() if outdated else later

    async def _comment(
        self, once: str, key: IssueKey, marker: str, body: str, keep: Callable[[Ledger, Comment], None]
    ) -> datetime | None:
        text = markers.stamp(body, marker)

        async def find(row: OutboxRow) -> Comment | None:
            repo = await self._store.read(lambda tx: tx.repo(key.repo_key))
            bot = repo.bot if repo is not None else None
            for comment in await self._github.comments(key, row.planned_at - timedelta(minutes=1)):
                if bot is not None and comment.author.id == bot.id and markers.carries(comment.body, marker):
                    return comment
            return None

        def record(tx: Ledger, comment: Comment) -> str:
            keep(tx, comment)
            return str(comment.id)

        try:
            done = await self._once.perform(
                once,
                "comment",
                repo=key.repo_key,
                issue=key,
                fence=None,
                may=lambda tx: True,
                act=lambda: self._github.create_comment(key, text),
                find=find,
                record=record,
            )
        except (NotFound, Invalid) as error:
            log.info("comment_impossible", key=str(key), status=error.status)
            await self._unsayable(once)
            return None
        return self._clock.now() + LOOK_FOR if done.result is Result.UNSURE else None


def _says(comment: Comment, text: str) -> bool:
    return comment.body.replace("\r\n", "\n").strip() == text.strip()


def _remembering(said: Note, text: str) -> str:
    """The text; a question remembers itself in it, for the case that the ledger is lost."""
    if said.code is not NoteCode.QUESTION:
        return text
    packed = of_round(said.get("attempt"), said.get("questions"), said.get("until") or None)
    return markers.stamp(text, markers.asked(packed)) if packed else text
