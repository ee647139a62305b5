"""After the details of ended items were removed, whatever comes to their issues finds the same state as before."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from bot.app import keep_house
from bot.store.chain import verify_at
from bot.store.replayed import unexplained_at
from tests.scenarios.steps import in_review, merge_by_hand, ready, say, scene
from tests.scenarios.test_people_over_http import ask
from tests.world import World

LONG = timedelta(days=402)


async def failed(world: World) -> int:
    number = await ready(world, "Not to be done")
    await world.run().start()
    await world.run().fail("no_changes")
    await world.after(timedelta(hours=1))
    while world.state(number) != "failed":
        await world.run().start()
        await world.run().fail("no_changes")
        await world.after(timedelta(hours=1))
    return number


async def long_after(world: World) -> None:
    """The housekeeping of a server that was away meanwhile."""
    await world.stop_bot()
    world.clock.advance(LONG)
    await world.start_bot()
    await keep_house(world.parts)
    await world.settle()
    await world.sweep()
    await world.settle()


async def test_nobody_works_again_on_what_is_over_and_a_person_still_can(tmp_path: Path) -> None:
    async with scene(tmp_path, policy="attempts: 1\n") as world:
        done = await in_review(world)
        await say(world, done, "/tgs why")
        merge_by_hand(world, done)
        await world.settle()
        given_up = await failed(world)
        for number in (done, given_up):
            assert world.bot_said(number) is not None
        before, runs = {n: await world.item(n) for n in (done, given_up)}, len(world.runs())
        shown = {n: (world.state(n), world.status(n), len(world.comments(n))) for n in (done, given_up)}

        await long_after(world)
        url = world.database_url or f"sqlite:///{tmp_path / 'data' / 'tgs.db'}"
        assert verify_at(url).removed > 0
        history = (await ask(world, "GET", f"items/{done}/history")).body
        assert (history["history"], history["removed"] > 0) == ([], True)
        assert await world.parts.store.read(lambda tx: len(tx.history(world.key(given_up)))) == 1, "the newest of all"
        for number in (done, given_up):
            world.comment(number, "Interesting, thanks!")
            world.label(number, "some other label")
        world.hub.log.clear()
        await world.settle()
        await world.sweep()
        await world.after(timedelta(hours=1))
        # The command of that time is listed again with the newest comments, and stays what it was: carried out.
        assert [entry for entry in world.hub.log.entries if entry.is_write and entry.actor == "installation"] == []
        assert {n: (world.state(n), world.status(n), len(world.comments(n))) for n in (done, given_up)} == shown
        for number, item in before.items():
            now = await world.item(number)
            assert item is not None
            assert now is not None
            assert (now.state, now.fence, now.since) == (item.state, item.fence, item.since)
        assert len(world.runs()) == runs

        await say(world, given_up, "/tgs retry")
        await world.settle()
        assert len(world.runs()) == runs + 1
        attempts = await world.attempts(given_up)
        assert [attempt.number for attempt in attempts] == [1, 2], "it counts on from the one that was kept"
        assert attempts[-1].fence == attempts[0].fence + 1
        await world.run().work({"late.txt": "late\n"})
        assert world.state(given_up) == "in-review"
        assert (verify_at(url).broken, unexplained_at(url)) == ((), ())
        world.bot_said(given_up)
