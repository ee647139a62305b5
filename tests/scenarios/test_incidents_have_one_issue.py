"""A cause that stops many items is told once: one issue, kept up to date, closed when work gets past it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import aiohttp

from bot.domain.attempt import Outcome
from bot.domain.incidents import Cause, Sighting
from bot.domain.model import FailureReason
from bot.protocols.ledger import Ledger
from tests.scenarios.steps import MINUTE, running, scene
from tests.world import World

SECRET_MISSING = FailureReason.CONFIG_SECRET_MISSING.value


def incidents(world: World) -> list[int]:
    """The issues with the label of incidents."""
    return [number for number, issue in world.repo.issues.items() if "tgs:incident" in world.labels(number)]


async def storm(world: World, count: int) -> None:
    """So many attempts of as many items end by a missing credential."""
    key, now = world.repo_key, world.clock.now()

    def all_of_them(tx: Ledger) -> None:
        for number in range(1000, 1000 + count):
            tx.sight(key, Sighting(Cause.CREDENTIAL, number, "no key"), now)
        tx.mark(key)

    await world.parts.store.write(all_of_them)
    await world.settle()


async def test_a_hundred_failures_make_one_issue_that_closes_on_recovery(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await running(world)
        await world.run().fail(SECRET_MISSING, "ANTHROPIC_API_KEY is empty")
        (incident,) = incidents(world)
        body = world.record(incident).body
        assert "It happened 1 time since" in body
        assert "Add the model credential to the environment `tgs-agent`" in body
        assert f"**Waiting for it:** #{number}." in body
        for _ in range(3):
            await storm(world, 33)
        await world.after(11 * MINUTE)
        assert incidents(world) == [incident]
        assert "It happened 10" in world.record(incident).body
        assert world.record(incident).state == "open"
        # Somebody adds the credential; the next attempt gets past the point where the others failed.
        await world.run().work()
        await world.after(MINUTE)
        assert (await world.attempts(number))[-1].outcome is Outcome.PUBLISHED
        assert world.record(incident).state == "closed"
        assert world.record(incident).body.startswith("It is over: an attempt got past this point.")
        # It comes back: the same issue is opened again.
        await storm(world, 1)
        assert incidents(world) == [incident]
        assert world.record(incident).state == "open"
        world.bot_said(number)


async def test_an_incident_is_no_work(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        await running(world)
        await world.run().fail(SECRET_MISSING, "no key")
        (incident,) = incidents(world)
        world.label(incident, "tgs:ready")
        await world.settle()
        world.comment(incident, "/tgs start")
        await world.settle()
        assert await world.item(incident) is None
        assert "tgs:ready" not in world.labels(incident)
        said = world.bot_said(incident)
        assert "this issue tells of what stops the bot" in said[0]
        assert "no work for it" in said[1]


async def test_a_death_between_making_the_issue_and_noting_it_leaves_one_issue(tmp_path: Path) -> None:
    lost: list[str] = []

    async def cut(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        response = await handler(request)
        if request.method == "POST" and request.url.path.endswith("/issues") and lost == ["armed"]:
            lost.append("cut")
            raise aiohttp.ServerDisconnectedError
        return response

    async with scene(tmp_path) as world:
        number = await running(world)
        world.around_requests = (cut,)
        await world.restart_bot()
        await world.settle()
        lost.append("armed")
        world.expected_errors = True
        await world.run().fail(SECRET_MISSING, "no key")
        await world.restart_bot()
        await world.after(timedelta(minutes=5))
        assert lost == ["armed", "cut"]
        (incident,) = incidents(world)
        (kept,) = await world.parts.store.read(lambda tx: tx.incidents(world.repo_key))
        assert (kept.issue, kept.numbers) == (incident, (number,))


async def test_a_policy_may_do_without(tmp_path: Path) -> None:
    async with scene(tmp_path, policy="incidents: false\n") as world:
        await running(world)
        await world.run().fail(SECRET_MISSING, "no key")
        assert incidents(world) == []
