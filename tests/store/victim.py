"""A process to be killed: takes deliveries in as fast as it can and says which ones were acknowledged.

Usage: python -m tests.store.victim URL PREFIX MODE, with MODE `load`, `before` or `after` (die around a commit).
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
from collections.abc import Callable

from bot.domain.intake import Intake, SeenRepo, Touch, TouchKind
from bot.settings_checks import is_postgresql
from bot.store.engine import open_store
from bot.store.inbox import SqlInbox
from bot.store.migrate import prepare
from tests.store.support import REPO, CountedIds, StillClock, an_intent

CLIENTS = 32
SEEN = SeenRepo(REPO, "octo/widgets", 5, private=False)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def serve(url: str, prefix: str, mode: str) -> None:
    armed: list[bool] = []

    def hook_for(moment: str) -> Callable[[], None]:
        return lambda: die() if armed and mode == moment else None

    prepare(url, StillClock())
    async with open_store(
        url,
        StillClock(),
        CountedIds(),
        shared=is_postgresql(url),
        before_commit=hook_for("before"),
        after_commit=hook_for("after"),
    ) as store:
        inbox = SqlInbox(store)
        numbers = itertools.count()

        async def client() -> None:
            while True:
                number = next(numbers)
                guid = f"{prefix}-{number}"
                intake = Intake(
                    touches=(Touch(TouchKind.ISSUE, REPO.installation, REPO.repo, str(number), "track"),),
                    intents=(an_intent(f"comment:{abs(hash(guid)) % 10**12}:0"),),
                    repos=(SEEN,),
                )
                assert await inbox.accept(guid, "issues", "labeled", intake, b"x" * 200)
                os.write(1, f"{guid}\n".encode())
                if mode != "load":
                    armed.append(True)

        await asyncio.gather(*(client() for _ in range(CLIENTS if mode == "load" else 1)))


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2], sys.argv[3]))
