"""Steps that scenarios share: bring an item to a phase of its life, and look at what the bot left on GitHub.

`scene` is a world whose end also holds the bot to its etiquette: one status comment per issue at most.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from bot.domain.attempt import Attempt
from bot.domain.model import Item
from bot.localhub import merging
from bot.localhub.faults import Fault, FaultKind
from bot.localhub.model import Account
from tests.world import World, new_world

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
QUIET_EVENTS = 8
"""Timeline events of the bot on an item without incident, at most."""


@asynccontextmanager
async def scene(tmp: Path, **options: Any) -> AsyncIterator[World]:
    """A world that checks the bot's etiquette at its end."""
    async with new_world(tmp, **options) as world:
        yield world
        for number in world.repo.issues:
            shown = [c for c in world.comments(number) if "<!-- tgs:status -->" in c.body]
            assert len(shown) <= 1, f"{len(shown)} status comments on #{number}"


def timeline(world: World, number: int) -> list[str]:
    """What the bot did on an issue's timeline, comments included, edits not."""
    record = world.record(number)
    events = [event.event for event in record.events if event.actor is world.app.bot]
    return events + ["commented"] * len(world.comments(number))


# --- phases ------------------------------------------------------------------------------------------


async def ready(world: World, title: str = "Add a greeting", **options: Any) -> int:
    """An approved item; it starts at once unless something stands in the way."""
    number = world.issue(title, **options)
    world.label(number, "tgs:ready")
    await world.settle()
    return number


async def paused(world: World) -> None:
    """The repository is paused by a command on an issue of its own."""
    number = world.issue("Office")
    world.comment(number, "/tgs pause tests")
    await world.settle()
    world.bot_said(number)


async def queued(world: World, title: str = "Add a greeting", **options: Any) -> int:
    """An item that waits in the queue of a paused repository."""
    if (await world.repo_record()).pause is None:
        await paused(world)
    number = await ready(world, title, **options)
    assert world.state(number) == "ready"
    return number


async def dispatched(world: World, title: str = "Add a greeting", **options: Any) -> int:
    """An item whose run is queued."""
    number = await ready(world, title, **options)
    assert world.state(number) == "in-progress"
    return number


async def running(world: World, title: str = "Add a greeting", **options: Any) -> int:
    """An item whose agent is at work."""
    number = await dispatched(world, title, **options)
    await world.run().start()
    return number


async def in_review(world: World, title: str = "Add a greeting", **options: Any) -> int:
    """An item with an open draft pull request."""
    number = await dispatched(world, title, **options)
    await world.run().work({f"{title.replace(' ', '-')}.txt": f"{title}\n"})
    assert world.state(number) == "in-review"
    return number


async def at_phase(world: World, phase: str, title: str = "Add a greeting") -> int:
    """An item in the named phase."""
    steps = {"ready": queued, "dispatched": dispatched, "running": running, "in review": in_review}
    return await steps[phase](world, title)


async def reviewed(world: World, title: str = "Add a greeting", **options: Any) -> int:
    """An item whose pull request has passed its checks and waits for people."""
    number = await in_review(world, title, **options)
    world.ci(pull_of(world, number).head_sha)
    await world.settle()
    world.bot_said(number)
    return number


# --- people ------------------------------------------------------------------------------------------


def pull_of(world: World, number: int) -> Any:
    """The newest pull request that closes the issue."""
    found = [p for p in world.pulls() if f"Closes #{number}" in (p.issue.body or "")]
    assert found, f"no pull request for #{number}"
    return found[-1]


def merge_by_hand(world: World, number: int, *, by: Account | None = None) -> None:
    pull = pull_of(world, number)
    if pull.issue.draft:
        world.hub.pulls.mark_draft(pull, False, world.as_(by or world.maria))
    merging.merge(world.hub, pull, world.as_(by or world.maria))


async def say(world: World, number: int, text: str, *, by: Account | None = None) -> list[str]:
    """A comment, and what the bot answers."""
    world.bot_said(number)
    world.comment(number, text, by=by)
    await world.settle()
    return world.bot_said(number)


async def why(world: World, number: int) -> str:
    """The answer to `/tgs why` by a maintainer."""
    [answer] = await say(world, number, "/tgs why")
    return answer


# --- looking -----------------------------------------------------------------------------------------


async def item_of(world: World, number: int) -> Item:
    found = await world.item(number)
    assert found is not None
    return found


async def last_attempt(world: World, number: int) -> Attempt:
    attempts = await world.attempts(number)
    assert attempts, f"no attempt of #{number}"
    return max(attempts, key=lambda attempt: attempt.number)


def set_up(world: World) -> tuple[int, str]:
    """The number and the text of the set-up issue."""
    found = [issue for issue in world.repo.issues.values() if "<!-- tgs:setup -->" in (issue.body or "")]
    assert len(found) == 1, f"{len(found)} set-up issues"
    return found[0].number, found[0].body or ""


def fault(world: World, kind: FaultKind, method: str, path: str, **options: Any) -> Fault:
    """GitHub misbehaves for requests to this path (a regular expression)."""
    return world.hub.faults.add(Fault(kind, method=method, path=path, **options))


async def settled_for(world: World, by: timedelta, number: int) -> None:
    """Time passes and nothing changes on the issue: nobody fights, nobody repeats."""
    before = (timeline(world, number), world.labels(number), world.record(number).state)
    await world.after(by)
    assert (timeline(world, number), world.labels(number), world.record(number).state) == before


def text_of(comment: str) -> str:
    """A comment without its markers."""
    return re.sub(r"<!--.*?-->", "", comment, flags=re.DOTALL).strip()
