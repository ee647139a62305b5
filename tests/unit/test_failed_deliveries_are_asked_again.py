"""Which webhooks GitHub is asked to send again, from its list of attempts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bot.domain.redelivery import Delivery, redelivery

NOW = datetime(2026, 11, 2, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def tried(id_: int, guid: str, *, ok: bool = False, ago: timedelta = MINUTE) -> Delivery:
    return Delivery(id_, guid, NOW - ago, ok)


LISTS: dict[str, tuple[list[Delivery], int, tuple[int, ...], int]] = {
    "nothing was sent": ([], 7, (), 7),
    "all arrived": ([tried(9, "b", ok=True), tried(8, "a", ok=True)], 7, (), 9),
    "one failed": ([tried(9, "b", ok=True), tried(8, "a")], 7, (8,), 7),
    "one failed and arrived later": ([tried(9, "a", ok=True), tried(8, "a")], 7, (), 9),
    "one failed twice: its newest attempt is repeated": ([tried(9, "a"), tried(8, "a")], 7, (9,), 7),
    "one failed too often": ([tried(n, "a") for n in (11, 10, 9, 8)], 7, (), 11),
    "one is too old for GitHub": ([tried(8, "a", ago=timedelta(days=4))], 7, (), 8),
    "one failed before the time that counts": ([tried(8, "a", ago=timedelta(hours=7))], 7, (), 8),
    "one was settled in an earlier look": ([tried(9, "b", ok=True), tried(6, "a")], 7, (), 9),
    "several failed: oldest first": ([tried(12, "c"), tried(11, "b", ok=True), tried(8, "a")], 7, (8, 12), 7),
    "more failed than may be asked for": ([tried(n, str(n)) for n in (13, 12, 11)], 7, (11, 12), 10),
}


@pytest.mark.parametrize(("found", "good", "again", "settled"), LISTS.values(), ids=LISTS.keys())
def test_failed_deliveries_are_asked_for_until_they_are_settled(
    found: list[Delivery], good: int, again: tuple[int, ...], settled: int
) -> None:
    plan = redelivery(found, good, NOW, since=NOW - timedelta(hours=6), at_most=2)
    assert (plan.again, plan.good) == (again, settled)
