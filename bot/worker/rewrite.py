"""Re-creating the agent's commits as the bot's own.

Promise: the trees stay byte for byte; authors, committers, trailers, signatures, encodings and messages that the agent
chose do not survive. Messages are defused (no commands, mentions, closing keywords, `[skip ci]`, images or HTML), cut,
and end with our one trailer. Nothing is checked out. The same input gives the same ids, since dates come from the
commits (limited to between the start commit and now).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from bot.domain.bundle import ContextBundle
from bot.worker.git import Git, git_environment
from bot.worker.redaction import redact

MAX_SUBJECT: Final = 100  # characters; longer subjects are cut by every tool that shows them
MAX_BODY: Final = 5_000  # characters; a commit message is no place for a transcript
PUBLISHED_REF: Final = "refs/tgs/publish"
TRAILER: Final = "Tgs-Attempt"

_TRAILER_LINE: Final = re.compile(r"^[A-Za-z][A-Za-z0-9-]{1,60}:\s")
_SKIP_CI: Final = re.compile(
    r"\[\s*(?:skip[\s-]+(?:ci|actions)|(?:ci|actions)[\s-]+skip|no[\s-]+ci)\s*\]|\*\*\*\s*NO[_ ]CI\s*\*\*\*",
    re.IGNORECASE,
)
_CLOSING: Final = re.compile(
    r"\b(close[sd]?|fix(?:e[sd])?|resolve[sd]?)(\s*:?\s+)((?:[\w.-]+/[\w.-]+)?#\d+|https?://\S+/issues/\d+|GH-\d+)",
    re.IGNORECASE,
)
_MENTION: Final = re.compile(r"@(?=[A-Za-z0-9])")
_IMAGE: Final = re.compile(r"!\[")
_COMMENT: Final = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_TAG: Final = re.compile(r"<(?=[A-Za-z/!?])")
_SKIP_TRAILER: Final = re.compile(r"^skip-checks:", re.IGNORECASE)
_INVISIBLE: Final = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2069\u061c\u00ad\ufeff\u180e]")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def sanitise_message(message: str, context: ContextBundle) -> str:
    """The message of a published commit: the agent's words defused, its trailers dropped, ours added."""
    text = _CONTROL.sub("", _INVISIBLE.sub("", message.replace("\r\n", "\n"))).replace("\t", " ")
    text = redact(_COMMENT.sub("", text)).replace("${{", "$ {{")
    lines = [line.rstrip() for line in text.strip().split("\n")]
    while len(lines) > 1 and (not lines[-1] or _TRAILER_LINE.match(lines[-1])):
        lines.pop()
    lines = [_defuse(line) for line in lines if not _SKIP_TRAILER.match(line)]
    subject = (lines[0].strip() if lines else "")[:MAX_SUBJECT] or f"Work on #{context.issue}"
    body = "\n".join(lines[1:]).strip()[:MAX_BODY]
    trailer = f"{TRAILER}: {context.attempt}"
    return "\n\n".join(part for part in (subject, body, trailer) if part) + "\n"


def _defuse(line: str) -> str:
    line = _SKIP_CI.sub("", line)
    line = _CLOSING.sub(lambda m: f"{m[1]}{m[2]}`{m[3]}`" if m[3].startswith("#") else f"{m[1]} ({m[3]})", line)
    line = _TAG.sub("‹", _IMAGE.sub("[", _MENTION.sub("@ ", line)))
    return f" {line}" if line.startswith("/") else line


async def rewrite(git: Git, context: ContextBundle, commits: Sequence[str], now: datetime) -> str:
    """Re-creates `commits` (oldest first, standing on the start commit) and returns the new head.

    The head is kept alive under `PUBLISHED_REF`. Raises GitError.
    """
    parent = context.start_sha
    floor = int(await git.text("show", "-s", "--format=%ct", parent))
    ceiling = int(now.astimezone(UTC).timestamp())
    for commit in commits:
        raw = (await git.run("show", "-s", "--encoding=UTF-8", "--format=%ct%x00%T%x00%B", commit)).stdout
        stamp, tree, message = raw.decode("utf-8", "replace").split("\0", 2)
        at = max(floor, min(int(stamp), ceiling))
        env = git_environment(
            {
                "GIT_AUTHOR_NAME": context.identity.name,
                "GIT_AUTHOR_EMAIL": context.identity.email,
                "GIT_AUTHOR_DATE": f"@{at} +0000",
                "GIT_COMMITTER_NAME": context.identity.name,
                "GIT_COMMITTER_EMAIL": context.identity.email,
                "GIT_COMMITTER_DATE": f"@{at} +0000",
            }
        )
        made = await git.run(
            "commit-tree", tree, "-p", parent, "-F", "-", stdin=sanitise_message(message, context).encode(), env=env
        )
        parent = made.stdout.decode("ascii").strip()
        floor = at
    await git.run("update-ref", PUBLISHED_REF, parent)
    return parent
