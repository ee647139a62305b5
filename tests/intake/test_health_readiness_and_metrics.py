"""What the platform, the operator and the metrics collector are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.parser import text_string_to_metric_families

import bot.web.health as module
from bot.domain.attempt import Outcome
from bot.domain.model import FailureReason
from bot.metrics import LABELS, DeliveryOutcome, Metrics
from bot.web.health import Health, Probes
from handlers import REGISTRY

START = datetime(2026, 3, 1, tzinfo=UTC)


@dataclass
class Situation:
    """What the probes find, and the time."""

    time: datetime = START
    broken: Exception | None = None
    hangs: bool = False
    queue_broken: Exception | None = None
    waiting_since: datetime | None = None
    github: datetime | None = START
    writes: int = 0
    forever: asyncio.Event = field(default_factory=asyncio.Event)

    def now(self) -> datetime:
        return self.time

    async def write(self) -> None:
        self.writes += 1
        if self.hangs:
            await self.forever.wait()
        if self.broken is not None:
            raise self.broken

    async def oldest(self) -> datetime | None:
        if self.queue_broken is not None:
            raise self.queue_broken
        return self.waiting_since


@dataclass
class World:
    situation: Situation
    metrics: Metrics
    client: TestClient[web.Request, web.Application]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    situation, metrics = Situation(), Metrics("1.2.3")
    probes = Probes(situation.write, situation.oldest, lambda: situation.github, START)
    app = web.Application()
    app.add_routes(Health(probes=probes, metrics=metrics, clock=situation, version="1.2.3").routes())
    async with TestClient(TestServer(app)) as client:
        yield World(situation, metrics, client)


async def test_the_bare_address_says_what_this_is(world: World) -> None:
    answer = await world.client.get("/")
    assert (answer.status, answer.content_type) == (200, "text/plain")
    assert (await answer.text()).startswith("TGS bot 1.2.3\n")


async def test_a_process_is_healthy_even_when_its_database_is_not(world: World) -> None:
    world.situation.broken = OSError("disk")
    answer = await world.client.get("/healthz")
    assert answer.status == 200
    assert await answer.json() == {"status": "ok", "version": "1.2.3"}


async def test_a_bot_that_can_work_is_ready(world: World) -> None:
    world.situation.waiting_since = START
    world.situation.time = START + timedelta(seconds=20)
    answer = await world.client.get("/readyz")
    assert answer.status == 200
    assert await answer.json() == {
        "status": "ready",
        "reasons": [],
        "oldest_waiting_seconds": 20.0,
        "github_success_seconds_ago": 20.0,
    }
    assert world.metrics.registry.get_sample_value("tgs_oldest_waiting_key_seconds") == 20


NOT_READY = {
    "the database refuses writes": (Situation(broken=OSError("no space")), ["database"]),
    "the queue cannot be read": (Situation(queue_broken=OSError("x")), ["queue"]),
    "work waits too long": (
        Situation(time=START + timedelta(minutes=6), waiting_since=START, github=START + timedelta(minutes=6)),
        ["queue"],
    ),
    "GitHub is silent": (Situation(time=START + timedelta(minutes=31)), ["github"]),
    "GitHub never answered since the start": (Situation(time=START + timedelta(minutes=31), github=None), ["github"]),
    "several things": (
        Situation(time=START + timedelta(minutes=31), waiting_since=START, github=None),
        ["queue", "github"],
    ),
}


@pytest.mark.parametrize(("found", "codes"), NOT_READY.values(), ids=NOT_READY.keys())
async def test_it_is_not_ready_and_says_why_when(world: World, found: Situation, codes: list[str]) -> None:
    for name in ("time", "broken", "queue_broken", "waiting_since", "github"):
        setattr(world.situation, name, getattr(found, name))
    answer = await world.client.get("/readyz")
    body = await answer.json()
    assert answer.status == 503
    assert [reason["code"] for reason in body["reasons"]] == codes
    assert all(reason["detail"].endswith(".") for reason in body["reasons"])
    assert "no space" not in await answer.text()


async def test_however_many_ask_the_database_is_probed_once_a_second(world: World) -> None:
    for _ in range(3):
        assert (await world.client.get("/readyz")).status == 200
    assert world.situation.writes == 1
    world.situation.time += timedelta(seconds=1)
    assert (await world.client.get("/readyz")).status == 200
    assert world.situation.writes == 2


async def test_a_database_that_hangs_is_not_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROBE_SECONDS", 0.01)
    world.situation.hangs = True
    async with asyncio.timeout(5):
        assert (await world.client.get("/readyz")).status == 503


async def test_metrics_are_readable_by_prometheus(world: World) -> None:
    world.metrics.deliveries.labels("push", "accepted").inc()
    answer = await world.client.get("/metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    families = {family.name: family for family in text_string_to_metric_families(await answer.text())}
    assert families["tgs_deliveries"].samples[0].labels == {"event": "push", "outcome": "accepted"}
    assert families["tgs_build_info"].samples[0].labels == {"version": "1.2.3"}


def test_two_bots_in_one_process_count_apart() -> None:
    one, two = Metrics(), Metrics()
    one.invariant_breaches.inc()
    assert two.registry.get_sample_value("tgs_invariant_breaches_total") == 0


def families(metrics: Metrics) -> dict[str, tuple[str, ...]]:
    """Our metrics and their labels."""
    found = {}
    for value in vars(metrics).values():
        for family in getattr(value, "describe", list)():
            found[family.name] = tuple(value._labelnames)
    return found


def test_no_metric_has_a_label_whose_values_are_not_a_small_closed_set() -> None:
    for name, names in families(Metrics()).items():
        assert set(names) <= set(LABELS), name
    forbidden = {"repo", "repository", "issue", "item", "attempt", "run", "user", "login", "delivery", "installation"}
    assert not forbidden & set(LABELS)


def test_the_most_time_series_that_all_metrics_can_make_is_bounded() -> None:
    total = 0
    for names in families(Metrics()).values():
        combinations = 1
        for name in names:
            combinations *= LABELS[name]
        total += combinations
    assert total < 2000


def test_closed_sets_fit_their_declared_size() -> None:
    assert len(REGISTRY) + 1 <= LABELS["event"]
    assert len(DeliveryOutcome) <= LABELS["outcome"]
    assert len(FailureReason) + 1 <= LABELS["reason"]


def test_metric_names_say_whose_they_are_and_have_help() -> None:
    for value in vars(Metrics()).values():
        for family in getattr(value, "describe", list)():
            assert family.name.startswith("tgs_")
            assert family.documentation.endswith(".")


def test_helpers_count_with_closed_labels() -> None:
    metrics = Metrics()
    metrics.attempt_ended(Outcome.FAILED, FailureReason.LOST, 12.0)
    metrics.attempt_ended(Outcome.PUBLISHED, None, 12.0)
    read = metrics.registry.get_sample_value
    assert read("tgs_attempts_total", {"outcome": "failed", "reason": "lost"}) == 1
    assert read("tgs_attempts_total", {"outcome": "published", "reason": "none"}) == 1
