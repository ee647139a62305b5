"""What a person's session without the bot writes on an issue: how its work ended.

Promise: words of the session (message, log, evidence) are defused like any foreign text, and credentials in them have
been taken out by the caller.
"""

from __future__ import annotations

from datetime import datetime

from bot.domain.model import FailureReason
from bot.domain.sanitise import cap, code_block, for_comment
from bot.texts import markers
from bot.texts.failures import SENTENCES
from bot.texts.phrases import at, details

MAX_LOG = 20_000
"""Characters of a log's end: what a person scrolls through, and far below GitHub's limit."""
MAX_MESSAGE = 2_000
"""Characters of a message or of evidence: a paragraph."""


def failed(reason: FailureReason, message: str, log: str | None, due_at: datetime | None, marker: str = "") -> str:
    """The comment on an attempt that failed. `due_at`: it is tried again from then on."""
    parts = [f"The session that had this gave up. {SENTENCES[reason]}"]
    if message.strip():
        parts.append(for_comment(message, MAX_MESSAGE))
    if log is not None and log.strip():
        parts.append(details("The end of its log", code_block(log[-MAX_LOG:], MAX_LOG, "text")))
    if due_at is not None:
        parts.append(f"It is in the queue again and may be tried from {at(due_at)} on.")
    else:
        parts.append("It is not tried again by itself. The label `tgs:ready` puts it back into the queue.")
    text = "\n\n".join(parts)
    return markers.stamp(text, marker) if marker else text


def completed(evidence: str) -> str:
    """The comment on work that is done without a pull request, on a person's word."""
    return f"Done without a pull request:\n\n{cap(for_comment(evidence, MAX_MESSAGE), MAX_MESSAGE)}"
