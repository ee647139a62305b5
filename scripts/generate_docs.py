"""Writes the reference pages that are made from tables in the code: commands and policy.

Promise: the pages are a pure function of the code, so running it twice changes nothing. `check_generated.py` fails when
a page is not what this script would write.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bot.domain.policy import policy_reference  # noqa: E402 - the script runs without the package being installed
from bot.domain.policy_model import Policy  # noqa: E402 - as above
from bot.texts.help import reference  # noqa: E402 - as above

PAGES: dict[str, Callable[[], str]] = {
    "docs/reference/commands.md": lambda: reference(Policy().roles),
    "docs/reference/policy.md": policy_reference,
}
"""Path from the repository's root and what writes the page."""


def stale() -> list[str]:
    """The pages that are missing or not what the code says now."""
    return [
        path
        for path, write in PAGES.items()
        if not (ROOT / path).is_file() or (ROOT / path).read_text(encoding="utf-8") != write()
    ]


def main() -> int:
    for path, write in PAGES.items():
        target = ROOT / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(write(), encoding="utf-8")
        print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
