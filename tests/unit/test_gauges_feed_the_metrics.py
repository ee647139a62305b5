"""The metrics that are states: read from the ledger and from the client's counters."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from bot.domain.model import InstallationId
from bot.gauges import Gauges
from bot.github.limits import GithubUsage
from bot.metrics import Metrics
from bot.store.engine import open_store
from bot.store.migrate import prepare
from tests.world import CountingIds, FakeClock


async def test_counts_of_ledger_and_client_are_shown(tmp_path: Path) -> None:
    clock, metrics = FakeClock(datetime(2026, 11, 2, tzinfo=UTC)), Metrics()
    url = f"sqlite:///{tmp_path}/tgs.db"
    prepare(url, clock)
    usage = {InstallationId(1): GithubUsage(requests=10, writes=3, content=1, not_modified=4)}
    async with open_store(url, clock, CountingIds()) as store:
        gauges = Gauges(metrics, clock, store.read, lambda: usage, clock.now)
        await gauges.look()
        usage[InstallationId(1)] = GithubUsage(requests=15, writes=3, content=1, not_modified=4)
        await gauges.look()
    text = metrics.render()[0].decode()
    assert 'tgs_items{state="ready"} 0.0' in text
    assert 'tgs_live_attempts{phase="running"} 0.0' in text
    assert 'tgs_github_requests_total{bucket="read"} 8.0' in text
    assert 'tgs_github_requests_total{bucket="write"} 3.0' in text
