"""Generated requests against a running bot: whatever is sent, the answer is one that the description knows.

A request or two for each operation in a sample; with all effort it is a search. Requests come from the OpenAPI
document alone, valid and invalid ones, with the credential of somebody who may.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from bot.domain.model import Person
from bot.domain.workers import DEFAULT_TOKEN_LIFE
from bot.web.api.described import Caller
from bot.web.api.table import ROUTES
from tests.effort import more
from tests.world import World, new_world

ROWS = sorted((row for row in ROUTES if row.in_api and not row.wire), key=lambda row: row.method == "DELETE")


@asynccontextmanager
async def running(world: World) -> AsyncIterator[None]:
    """The queue turns beside the requests, as it does in a real process."""
    parts = world.parts
    tasks = [asyncio.create_task(parts.router.run()), asyncio.create_task(parts.queue.run(world.handle))]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def credentials(world: World) -> dict[Caller, str]:
    """A good credential for each caller that a test can be for as long as it likes."""
    number = world.issue()
    world.label(number, "tgs:ready")
    await world.settle()
    run = world.run()
    await run.start()
    by = Person(world.maria.id, "maria")
    _, worker = await world.parts.engine.pull.create_token(
        [await world.repo_record()], by, "generated", DEFAULT_TOKEN_LIFE, max_claims=100
    )
    return {Caller.PERSON: world.hub.user_token("olga"), Caller.WORKER: worker, Caller.ATTEMPT: run.token}


@more
async def test_every_answer_to_generated_requests_is_described(tmp_path: Path) -> None:
    from tests.web.generated import probe  # only the process that runs this test reads the library

    async with new_world(tmp_path) as world:
        secrets = await credentials(world)
        number = max(world.repo.issues)
        known = {
            "owner": "olga",
            "repo": "greeter",
            "number": number,
            "attempt": (await world.attempts(number))[-1].id,
            "verb": "why",
        }
        async with running(world):
            seen = {}
            for row in ROWS:
                seen[row.name] = await asyncio.to_thread(probe, world, row, secrets, known)
                # GitHub's limits for a minute must not be what is tested.
                world.clock.advance(timedelta(seconds=40))
        world.expected_errors = True
        world.leave_due = True
        for issue in list(world.repo.issues):
            world.bot_said(issue)
    # It was a conversation and not a row of refusals.
    answered = [name for name, statuses in seen.items() if any(status < 300 for status in statuses)]
    refused = {name: statuses for name, statuses in seen.items() if name not in answered}
    assert len(answered) >= len(ROWS) // 3, refused
