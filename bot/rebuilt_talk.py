"""What the comments of issues and pull requests tell whoever has lost the ledger.

Promises: only texts that the bot wrote *and* edited last are believed. Comments are read for many issues at once; what
does not come back that way is read by itself, to the same end.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from bot.domain.commanded import Spoken, commands_of
from bot.domain.intents import Intent
from bot.domain.memory import item_memory, shown_digest
from bot.domain.model import IssueKey, Person
from bot.domain.question_memory import round_memory
from bot.domain.repository import RepoRecord
from bot.domain.sighting import StatusComment
from bot.protocols.github import Comment, GitHub, Remark
from bot.rebuilt_records import Told, as_written
from bot.texts import markers
from bot.texts.markers import MarkerKind

TALK_SINCE = timedelta(days=3)
"""Comments of this age are looked through for items without a label, and for commands that nobody has answered."""


async def read_talk(
    github: GitHub, repo: RepoRecord, places: Sequence[tuple[IssueKey, str]], now: datetime
) -> dict[IssueKey, Told]:
    """What is told at each of these, given by key and node id."""
    found = await github.conversations(repo.key, [node for _, node in places])
    return {
        key: _told(repo, key, found[node] if node in found else await _singly(github, repo, key), now)
        for key, node in places
    }


async def _singly(github: GitHub, repo: RepoRecord, key: IssueKey) -> list[Remark]:
    """By single reads. Who edited the texts of others is nobody's concern here."""
    comments = await github.comments(key)
    own = [comment.node_id for comment in comments if is_ours(repo, comment.author)]
    editors = await github.last_editors(repo.key, own) if own else {}
    return [Remark(comment, editors.get(comment.node_id)) for comment in comments]


def is_ours(repo: RepoRecord, person: Person | None) -> bool:
    return person is not None and repo.bot is not None and person.id == repo.bot.id


def unedited(repo: RepoRecord, editor: Person | None) -> bool:
    """Whether nobody else has touched a text of ours since."""
    return editor is None or is_ours(repo, editor)


def values_of(body: str) -> list[str]:
    """The memories in a text of ours."""
    return [mark.value for mark in markers.read(body) if mark.kind is MarkerKind.MEMORY]


def said_in(body: str) -> list[str]:
    """The names of what is said once in a text of ours."""
    return [mark.value for mark in markers.read(body) if mark.kind is MarkerKind.SAY]


def _told(repo: RepoRecord, key: IssueKey, remarks: Sequence[Remark], now: datetime) -> Told:
    comments = [remark.comment for remark in remarks]
    own = [x.comment for x in remarks if is_ours(repo, x.comment.author) and unedited(repo, x.editor)]
    status = next((c for c in own if markers.carries(c.body, markers.STATUS)), None)
    values = values_of(status.body if status is not None else "")
    memory = next((found for value in values if (found := item_memory(value)) is not None), None)
    said = [(name, key, comment.id, comment.created_at) for comment in own for name in said_in(comment.body)]
    once = {name for name, _, _, _ in said}
    return Told(
        memory=memory if memory is not None and memory.number == key.number else None,
        status=None if status is None else _status(status),
        said=tuple(said),
        commands=tuple(
            (intent, _answered(intent, key, once, comment) or comment.created_at < now - TALK_SINCE)
            for comment in comments
            if not comment.author.is_bot
            for intent in commands_of(_spoken(key, comment), comment.author)
        ),
        rounds=tuple(
            (asked, comment.id, comment.created_at)
            for comment in own
            for mark in markers.read(comment.body)
            if mark.kind is MarkerKind.ASKED and (asked := round_memory(mark.value)) is not None
        ),
        all_of_it=tuple(comments),
    )


def _status(comment: Comment) -> StatusComment:
    digest = shown_digest(as_written(comment.body))
    return StatusComment(comment.id, comment.node_id, digest, comment.updated_at)


def _spoken(key: IssueKey, comment: Comment) -> Spoken:
    return Spoken(
        key, comment.id, comment.node_id, comment.body, comment.author, comment.created_at, comment.updated_at
    )


def _answered(intent: Intent, key: IssueKey, once: set[str], comment: Comment) -> bool:
    """Whether the bot has answered: in words, or by a reaction."""
    return f"say:{key}:intent:{intent.id}" in once or comment.reacted
