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
from bot.domain.sanitise import for_commit, visible
from bot.worker.git import Git, git_environment
from bot.worker.redaction import redact

MAX_SUBJECT: Final = 100  # characters; longer subjects are cut by every tool that shows them
MAX_BODY: Final = 5_000  # characters; a commit message is no place for a transcript
PUBLISHED_REF: Final = "refs/tgs/publish"
TRAILER: Final = "Tgs-Attempt"

_HIDDEN: Final = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_TRAILER_LINE: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,60}:(?:\s|\Z)")


def sanitise_message(message: str, context: ContextBundle) -> str:
    """The message of a published commit: the agent's words defused, its trailers dropped, ours added."""
    text = _HIDDEN.sub("", visible(message)).replace("\t", " ")
    lines = [line.rstrip() for line in text.strip().split("\n")]
    while len(lines) > 1 and (not lines[-1] or _TRAILER_LINE.match(lines[-1])):
        lines.pop()
    # A trailer in the middle is prose to git, but not to every tool that reads messages.
    lines = [line for index, line in enumerate(lines) if index == 0 or not _TRAILER_LINE.match(line)]
    text = redact("\n".join(lines))
    subject = for_commit(text.partition("\n")[0].strip(), MAX_SUBJECT) or f"Work on item {context.issue}"
    body = for_commit(text.partition("\n")[2].strip(), MAX_BODY)
    return "\n\n".join(part for part in (subject, body, f"{TRAILER}: {context.attempt}") if part) + "\n"


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
