"""Whether what people wrote last holds, judged by the order in which the ledger says that commands were carried out."""

from __future__ import annotations

from typing import Any

OPPOSITES = {
    "hold": ("hold", "on"), "unhold": ("hold", "off"), "start": ("work", "on"), "retry": ("work", "on"),
    "approve": ("work", "on"), "stop": ("work", "off"), "reject": ("work", "off"),
}  # fmt: skip
"""Commands of which the one that was written last holds: what each is about, and what it wishes for that."""

HEEDED = ("done", "already_so")


class Order:
    """Knows of each issue the command that was written last among those that were carried out."""

    def __init__(self) -> None:
        self._newest: dict[tuple[int, str], dict[str, Any]] = {}

    def clear(self) -> None:
        """The ledger is lost, and what was said before it is nobody's."""
        self._newest.clear()

    def settled(self, row: dict[str, Any]) -> str | None:
        """A row of `intents` got its outcome; what is wrong with that. Clocks of processes do not count."""
        if row["source"] != "comment" or row["outcome"] not in HEEDED or row["verb"] not in OPPOSITES:
            return None
        about, wish = OPPOSITES[row["verb"]]
        before = self._newest.get((row["number"], about))
        if before is None or _written(before) <= _written(row):
            self._newest[row["number"], about] = row
            return None
        if OPPOSITES[before["verb"]][1] == wish or row["outcome"] != "done":
            return None
        return f"{row['verb']} on #{row['number']} was done after {before['verb']}, which was written later"


def _written(row: dict[str, Any]) -> tuple[int, int]:
    return row["created_at"], row["comment_id"]
