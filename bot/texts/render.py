"""Puts a note into words: one entry per note code, the words in `replies.py`, `attention.py`, `help.py`.

Promise: every note gives a non-empty text within GitHub's limits, whatever its parameters contain.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from bot.domain.model import Item
from bot.domain.notes import Note, NoteCode
from bot.domain.policy import POLICY_PATH
from bot.domain.policy_model import Policy
from bot.domain.reasons import in_order
from bot.domain.repository import RepoRecord
from bot.domain.sanitise import MAX_TEXT, cap, code_span
from bot.texts import attention, look, questions, reasons, replies
from bot.texts import help as help_text
from bot.texts.phrases import issue
from bot.texts.states import headline


@dataclass(frozen=True, slots=True)
class RenderContext:
    """What the words may refer to. `html_url` is the address of GitHub's pages, e.g. `https://github.com`."""

    repo: RepoRecord
    item: Item | None
    policy: Policy
    html_url: str
    now: datetime


def render(note: Note, context: RenderContext) -> str:
    """The comment for this note, without markers."""
    return cap(_words(note, context), MAX_TEXT)


def _words(note: Note, context: RenderContext) -> str:
    match note.code:
        case NoteCode.DONE:
            return replies.done(note)
        case NoteCode.ALREADY_SO:
            return replies.already(note)
        case NoteCode.DENIED:
            return replies.denied(note)
        case NoteCode.NOT_UNDERSTOOD:
            return replies.not_understood(note)
        case NoteCode.NOT_AVAILABLE:
            return replies.not_available(note)
        case NoteCode.EDITED_COMMAND:
            return replies.edited_command(note)
        case NoteCode.TOO_OLD:
            return replies.too_old(note)
        case NoteCode.COMMENT_CHANGED:
            return replies.comment_changed(note)
        case NoteCode.ROLE_UNREADABLE:
            return replies.role_unreadable(note)
        case NoteCode.COST:
            return replies.cost(note)
        case NoteCode.NOT_TRACKED:
            return replies.not_tracked(note)
        case NoteCode.CANNOT:
            return replies.cannot(note)
        case NoteCode.HELP:
            roles = context.policy.roles
            return help_text.one(note.get("command"), roles) if note.get("command") else help_text.overview(roles)
        case NoteCode.WHY:
            return _why(note, context)
        case NoteCode.STATUS:
            return _status(note, context)
        case NoteCode.NEXT:
            return replies.next_item(note)
        case NoteCode.POLICY:
            return _policy(note, context)
        case NoteCode.MERGE_REFUSED:
            return replies.merge_refused(note)
        case NoteCode.MERGED:
            return replies.merged(note)
        case NoteCode.ANSWERED:
            return questions.taken(note)
        case NoteCode.ANSWER_UNCLEAR:
            return questions.unclear(note)
        case NoteCode.ANSWER_LATE:
            return questions.late(note)
        case NoteCode.QUESTION:
            return questions.asked(note)
        case NoteCode.LOOK:
            return look.wanted(note)
        case NoteCode.LOOK_REMINDER:
            return look.reminder(note)
        case NoteCode.REMINDER:
            return questions.reminder(note)
        case NoteCode.FAILED:
            return attention.failed(note, context.item, context.policy, context.html_url, context.repo.full_name)
        case NoteCode.CI_FAILED:
            return attention.ci_failed(note)
        case NoteCode.REVIEW_WANTED:
            return attention.review_wanted(note)
        case NoteCode.PULL_CLOSED:
            return attention.pull_closed(note)
        case NoteCode.LABEL_REFUSED:
            return attention.label_refused(note)
        case NoteCode.LABEL_PUT_BACK:
            return attention.label_put_back(note)
        case NoteCode.APPROVAL_VOID:
            return attention.approval_void(note)
        case NoteCode.PLAN_CHANGED:
            return attention.plan_changed(note)
        case NoteCode.FUSE:
            return attention.fuse_blown(note)
        case NoteCode.ISOLATION:
            return attention.isolation(note)
        case NoteCode.SPOKEN:
            return replies.spoken(note)
        case _:
            assert_never(note.code)


def _why(note: Note, context: RenderContext) -> str:
    lines = reasons.tree(in_order(note.reasons))
    if context.item is None:
        return lines or "The bot does not work on this issue. `/tgs start` or the label `tgs:ready` changes that."
    place = note.get("place")
    head = f"**{headline(context.item, int(place) if place.isdecimal() else None)}**"
    return f"{head}\n\n{lines}" if lines else head


def _status(note: Note, context: RenderContext) -> str:
    words = _why(note, context)
    item = context.item
    if item is None:
        return words
    if item.pull is not None:
        words += f"\n\nPull request: {issue(item.pull.number)}"
    comment = item.projection.status_comment_id
    if comment is not None:
        url = f"{context.html_url.rstrip('/')}/{context.repo.full_name}/issues/{item.key.number}#issuecomment-{comment}"
        words += f"\n\nThe [status comment]({url}) is always up to date."
    return words


def _policy(note: Note, context: RenderContext) -> str:
    policy = context.policy
    source = (
        f"`{POLICY_PATH}` on `{context.repo.default_branch}`" if note.get("file") else "the defaults (there is no file)"
    )
    lines = [
        f"Settings in force come from {source}, fingerprint {code_span(note.get('hash') or policy.hash[:12], 12)}.",
        "",
        f"- the bot is {'on' if policy.enabled else 'off'}",
        f"- at most {policy.max_parallel} at once, {policy.max_unreviewed_prs} pull requests waiting for review",
        f"- {policy.attempts} attempts per issue, {policy.budgets.dispatches_per_day} runs a day",
        f"- starting needs {policy.roles.start.name.lower()}, merging {policy.roles.merge.name.lower()}",
        f"- thoughts become issues: {_mirror_words(policy)}",
    ]
    if context.repo.policy_problems:
        lines += ["", "The file has problems; the set-up issue lists them."]
    return "\n".join(lines)


def _mirror_words(policy: Policy) -> str:
    if not policy.mirror.enabled:
        return "no"
    return "yes, ready at once" if policy.mirror.auto_ready else "yes, as proposals"
