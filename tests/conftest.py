"""What all tests share: quiet logs, and the database that worlds run on."""

from __future__ import annotations

import functools
import gc
import itertools
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric import rsa

from bot.github import auth
from tests import world
from tests.databases import PostgresqlServer, postgresql_server
from tests.effort import EFFORT, Effort
from tests.redteam.report import PROPERTY, summary

MEMORY = Path("/dev/shm")  # noqa: S108 - a file system in memory, where the system has one
ROOM = 4 << 30
"""Bytes that must be free there: a run leaves less than one behind."""

KEYS = 5
"""RSA keys of a process; no test needs more that differ."""

MOST_WORKERS = 12
"""Processes of tests at once. Each reads all tests for itself, which takes seconds and 200 MB."""

YOUNG = 20_000
"""New objects between two looks for garbage. With Python's 700, thousands of tests in one process mostly look."""


gc.set_threshold(YOUNG, 20, 20)


def pytest_xdist_auto_num_workers() -> int | None:
    """How many `-n auto` means: one more than cores, because tests wait for processes that they started."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores + 1, MOST_WORKERS)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A sample leaves out what is played with more effort only."""
    if EFFORT is Effort.SAMPLE:
        left_out = [item for item in items if any(mark.kwargs.get("only") for mark in item.iter_markers("more"))]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_collection_finish() -> None:
    """What was imported stays for ever: the garbage collector need not look at it again."""
    gc.collect()
    gc.freeze()


def pytest_runtest_logfinish() -> None:
    """A test that is over is forgotten."""
    world.forget_applications()


def pytest_configure(config: pytest.Config) -> None:
    """Puts the folders of tests into memory where that is possible and nothing else was asked for.

    Every commit of every ledger is synced; on a slow disk the tests would mostly wait for it. What must survive the end
    of a process survives it there too.
    """
    # Dozens of processes are started; without this each would compile the product again for itself.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    asked = config.option.basetemp is not None or {"PYTEST_DEBUG_TEMPROOT", "TMPDIR"} & set(os.environ)
    if asked or not os.access(MEMORY, os.W_OK | os.X_OK):
        return
    found = os.statvfs(MEMORY)
    if not found.f_flag & os.ST_NOEXEC and found.f_bavail * found.f_frsize >= ROOM:
        os.environ["PYTEST_DEBUG_TEMPROOT"] = str(MEMORY)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """How far attacks got, over all tests that were run."""
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.stats.get(outcome, [])]
    found = [str(value) for report in reports for name, value in report.user_properties if name == PROPERTY]
    for line in summary(found):
        terminalreporter.write_line(line)


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """A shell starts what runs in its background with interrupts ignored, and children would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _few_keys() -> Iterator[None]:
    """A process of tests makes a few RSA keys and takes them in turn, and checks each once.

    Making one takes a tenth of a second, checking one a thirtieth, and every world needs two.
    """
    made: list[rsa.RSAPrivateKey] = []
    turns = itertools.count()
    make = rsa.generate_private_key

    def take(public_exponent: int, key_size: int) -> rsa.RSAPrivateKey:
        if len(made) < KEYS:
            made.append(make(public_exponent, key_size))
        return made[next(turns) % KEYS]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rsa, "generate_private_key", take)
        patch.setattr(auth, "load_pem_private_key", functools.cache(auth.load_pem_private_key))
        yield


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """A server of this test process."""
    with postgresql_server() as found:
        yield found


@pytest.fixture(scope="session", autouse=True)
def _worlds_database(request: pytest.FixtureRequest) -> Iterator[None]:
    """`TGS_TEST_DATABASE=postgresql` lets every scenario run on PostgreSQL."""
    if os.environ.get("TGS_TEST_DATABASE") == "postgresql":
        server: PostgresqlServer = request.getfixturevalue("postgresql")
        world.FRESH_DATABASE, world.DROP_DATABASE = server.fresh, server.drop
    yield
    world.FRESH_DATABASE = world.DROP_DATABASE = None


@pytest.fixture(autouse=True)
def _quiet_logs() -> None:
    """Warnings and worse are shown with a failing test, in one line each.

    The pretty tracebacks of a terminal would cost seconds for each error that a test provokes on purpose.
    """
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.KeyValueRenderer(key_order=["level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(30),
    )
