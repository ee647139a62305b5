"""The servers that are compared, each as a process of its own: `python -m tests.benchmarks.server KIND PLACE`.

PLACE is the folder or the address of the database. Probot is a process of Node's (`probot/server.mjs`).

It prints its port, serves on loopback until its standard input is closed, and then prints the processor time that it
used, in seconds.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import resource
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from pathlib import Path
from typing import assert_never

import structlog
from aiohttp import web
from pydantic import SecretStr

from bot.cli.serve import loop_factory, settle
from bot.clock import RandomIds, SystemClock
from bot.domain.intake import Intake
from bot.metrics import Metrics
from bot.protocols.ledger import Inbox
from bot.store.engine import open_store
from bot.store.inbox import SqlInbox
from bot.store.migrate import prepare
from bot.web.api.problems import problems
from bot.web.webhook import MAX_BODY, Webhook

SECRET = "the secret of one benchmark"
QUIET = 30
"""Python's level of warnings."""


class Kind(StrEnum):
    """What is compared."""

    BARE = "bare"
    READ = "read"
    DURABLE = "durable"
    POSTGRESQL = "postgresql"
    PROBOT = "probot"


class Nowhere:
    """An inbox that forgets."""

    async def accept(self, delivery: str, event: str, action: str | None, intake: Intake, body: bytes | None) -> bool:
        del delivery, event, action, intake, body
        return True


async def bare(request: web.Request) -> web.Response:
    """The least that a webhook must do: read the body and check its signature."""
    body = await request.read()
    expected = "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    ok = hmac.compare_digest(expected, request.headers.get("X-Hub-Signature-256", ""))
    return web.Response(status=202 if ok else 401)


def webhook(inbox: Inbox) -> Webhook:
    """The product's endpoint before an inbox."""
    return Webhook(
        inbox=inbox, secrets=[SecretStr(SECRET)], serves=lambda _: True, self_id=lambda: 1, metrics=Metrics()
    )


@asynccontextmanager
async def routes_of(kind: Kind, place: str) -> AsyncIterator[list[web.RouteDef]]:
    """The routes of one kind, with what they need open."""
    match kind:
        case Kind.BARE:
            yield [web.post("/webhook", bare)]
        case Kind.READ:
            yield webhook(Nowhere()).routes()
        case Kind.DURABLE | Kind.POSTGRESQL:
            url = place if kind is Kind.POSTGRESQL else f"sqlite:///{Path(place) / 'benchmark.db'}"
            prepare(url, SystemClock())
            store = open_store(url, SystemClock(), RandomIds())
            try:
                yield webhook(SqlInbox(store)).routes()
            finally:
                await store.close()
        case Kind.PROBOT:
            raise ValueError("Probot is no server of ours")
        case _ as never:
            assert_never(never)


async def serve(kind: Kind, place: str) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(QUIET))
    async with routes_of(kind, place) as routes:
        app = web.Application(client_max_size=MAX_BODY, middlewares=[] if kind is Kind.BARE else [problems])
        app.add_routes(routes)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        settle()
        before = _used()
        sys.stdout.write(f"{runner.addresses[0][1]}\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)
        sys.stdout.write(f"{_used() - before}\n")
        await runner.cleanup()


def _used() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(serve(Kind(sys.argv[1]), sys.argv[2]))
