"""What is said about a result that waits until somebody has looked at it.

Promise: the difference stands in a code block of its own, defused and cut; nothing in it can close the block, mention
anybody or be read as a command.
"""

from __future__ import annotations

from typing import Final

from bot.domain.doubts import Doubt, DoubtKind
from bot.domain.notes import Note
from bot.domain.sanitise import code_block, code_span, for_inline
from bot.texts import doubts
from bot.texts.phrases import address, at, listing, plural

MAX_DOUBTS: Final = 10
"""Doubts that are listed; who finds ten has looked."""


def wanted(note: Note) -> str:
    """A new comment that shows the result and asks for the look."""
    numbers = (
        f"{plural(_number(note, 'files'), 'file')}, {plural(_number(note, 'insertions'), 'line')} added, "
        f"{plural(_number(note, 'deletions'), 'line')} removed"
    )
    words = (
        " The text that it worked on holds words of people who may not start work here." if note.get("outsider") else ""
    )
    files = listing(note.get("workflows").split("\n")) if note.get("workflows") else "workflows of this repository"
    why = (
        f"Nothing is pushed yet.{words} A push would start {files}, which can read secrets or may write, with code "
        "that nobody has looked at."
    )
    parts = [address(note.get("approver"), f"the agent has finished: {numbers}. Please look at it."), why]
    if note.get("doubts"):
        told = note.get("doubts").split("\n")
        parts.append(f"**Look twice:**\n\n{doubts.listing(filter(None, map(_doubt, told[:MAX_DOUBTS])))}")
    cut = " (its beginning)" if note.get("cut") else ""
    block = code_block(note.get("diff") or "(no difference could be shown)", language="diff")
    parts.append(f"<details><summary>The difference{cut}</summary>\n\n{block}\n\n</details>")
    role = for_inline(note.get("role")) or "maintain"
    parts.append(
        f"**Then** somebody with the role {role} or higher comments `/tgs publish`: exactly this result is pushed "
        f"({code_span(note.get('digest'), 12)}). `/tgs reject <notes>` drops it and sends the issue back; "
        "`/tgs retry <notes>` drops it and builds it again. Nothing runs meanwhile."
    )
    return "\n\n".join(parts)


def reminder(note: Note) -> str:
    """Nobody has looked yet."""
    since = f" since {at(note.get('since'))}" if note.get("since") else ""
    other = f" Also waiting for you: {note.get('others')}." if note.get("others") else ""
    role = for_inline(note.get("role")) or "maintain"
    return address(
        note.get("approver"),
        f"a finished result waits here{since} for somebody with the role {role} or higher to look at it; the "
        f"difference stands in an earlier comment. `/tgs publish` pushes it, `/tgs reject <notes>` drops it.{other}",
    )


def _doubt(line: str) -> Doubt | None:
    kind, _, rest = line.partition(": ")
    where, _, says = rest.partition("\t")
    found = next((one for one in DoubtKind if one.value == kind), None)
    return Doubt(found, where, says) if found is not None else None


def _number(note: Note, name: str) -> int:
    text = note.get(name)
    return int(text) if text.isdigit() else 0
