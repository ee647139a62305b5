"""Money: it is set aside before a start, settled at the end, and its end is said with the way out."""

from __future__ import annotations

from pathlib import Path

from bot.localhub.actions_model import Conclusion
from bot.protocols.ledger import Cost
from tests.scenarios.steps import HOUR, MINUTE, ready, running, say, scene


async def test_a_day_that_is_spent_ends_at_midnight(tmp_path: Path) -> None:
    policy = "max_parallel: 5\nmax_unreviewed_prs: 9\nbudgets: {per_attempt: 4, per_day: 10}\n"
    async with scene(tmp_path, policy=policy) as world:
        for title in ("First", "Second"):
            await running(world, title)
        third = await running(world, "Third, with what is left")
        assert world.run().context["spec"]["budget_usd"] == 2
        fourth = await ready(world, "Fourth")
        await world.after(HOUR)
        assert len(world.runs()) == 3
        assert "may cost in a day is used up" in world.status(fourth)
        assert "budgets.per_day" in world.status(fourth)
        # Nobody knows what a run cost that vanished: its money counts as spent.
        world.run().end(Conclusion.FAILURE)
        await world.after(HOUR)
        [attempt, *_] = await world.attempts(third)
        cost = await world.parts.store.read(lambda tx: tx.cost(attempt.id))
        assert cost == Cost(2_000_000, 2_000_000)
        history = await world.parts.store.read(lambda tx: tx.history(world.key(third)))
        assert [line.detail for line in history if line.kind == "budget.reached"] == [
            {"scope": "repository", "percent": "100", "limit_usd": "10.00"}
        ]
        # It is eleven now. What starts at midnight is left alone.
        await world.after(12 * HOUR + 50 * MINUTE)
        assert len(world.runs()) == 3
        await world.after(20 * MINUTE)
        assert len(world.runs()) > 3
        world.leave_due = True


async def test_an_issue_that_used_up_its_money_waits_for_a_person(tmp_path: Path) -> None:
    async with scene(tmp_path, policy="budgets: {per_attempt: 4, per_item: 5, per_day: 100}\n") as world:
        number = await running(world)
        await world.run().fail("agent.crash", "boom")
        assert world.state(number) == "failed"
        [told] = world.bot_said(number)
        assert "budget" in told
        assert "agent.crash" in told
        [told] = await say(world, number, "/tgs budget 20")
        assert "5 USD" in told
        [told] = await say(world, number, "/tgs budget 2.5")
        assert "2.50 USD" in told
        await say(world, number, "/tgs retry")
        await world.after(5 * MINUTE)
        assert "/tgs budget" in world.status(number)
        assert len(world.runs()) == 1


async def test_costs_are_shown_on_private_repositories_only(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await running(world)
        [told] = await say(world, number, "/tgs cost")
        assert "5.00 of 15.00 USD, 5.00 of it set aside" in told
        assert "cost: 5.00 of at most 15.00 USD" in world.status(number)
        world.repo.private = False
        await say(world, number, "/tgs sync")
        [told] = await say(world, number, "/tgs cost")
        assert "not shown on public" in told
        await world.after(5 * MINUTE)
        assert "USD" not in world.status(number)
        world.leave_due = True


async def test_people_see_when_a_ceiling_is_half_four_fifths_and_all_gone(tmp_path: Path) -> None:
    async with scene(tmp_path, policy="budgets: {per_attempt: 4, per_item: 8, per_day: 5}\n") as world:
        number = await running(world)
        seen = "50 % of what this issue may cost and 80 % of what this repository may spend in a day"
        assert f"- Spent or set aside: {seen}" in world.status(number)
        other = await ready(world, "Another")
        await world.after(HOUR)
        assert "may cost in a day is used up" in world.status(other), "who waits for money is told"
        await world.run().beat()
        world.repo.private = False
        await say(world, number, "/tgs sync")
        await world.after(5 * MINUTE)
        assert "Spent or set aside" not in world.status(number)
        world.leave_due = True
