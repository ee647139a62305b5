"""The composition root: settings in, an aiohttp application out; resources open and close with it; nothing else.

Order of the start: migrate (with a backup), open the ledger, talk to GitHub, run the queue, the router and the sweep,
then listen. Order of the end: stop listening, let running passes finish, close the ledger.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from importlib.metadata import version
from typing import TYPE_CHECKING

import aiohttp
import structlog
from aiohttp import web

from bot.backlog import Backlogs
from bot.bell import Bell
from bot.bundles import Bundles
from bot.carried import CarriedService
from bot.chat_service import ChatService
from bot.clock import RandomIds, SystemClock
from bot.domain.budget import micro
from bot.domain.model import RepoKey
from bot.engine import Engine, build_engine
from bot.gauges import Gauges
from bot.github.auth import PrivateKey
from bot.github.calls import Origin
from bot.github.client import open_session
from bot.github.gateway import Gateway, app_gateway
from bot.github.whoami import whoami
from bot.metrics import Metrics
from bot.people import People
from bot.protocols.clock import Clock, Ids
from bot.queue.api import Row
from bot.queue.memory import MemoryQueue
from bot.settings import Settings
from bot.sharing import Ears, listen, route_for_others, shared_queue
from bot.store.engine import SqlStore, open_store
from bot.store.fencing import still_ours
from bot.store.files import StoreFiles
from bot.store.inbox import SqlInbox
from bot.store.keyrows import StoreKeyRows
from bot.store.migrate import prepare
from bot.store.news import Wire
from bot.store.prune import AS_USUAL, Keep, prune
from bot.store.router import Router
from bot.transfer import Transfer
from bot.web.api.actions import Actions
from bot.web.api.attempts import AttemptsApi
from bot.web.api.backlog import BacklogApi
from bot.web.api.bundles import BundlesApi
from bot.web.api.callers import Callers
from bot.web.api.carried import CarriedApi
from bot.web.api.chat import ChatApi
from bot.web.api.ci import CiApi
from bot.web.api.events import EventsApi
from bot.web.api.items import Items
from bot.web.api.older import OlderApi
from bot.web.api.openapi import OpenApi, document
from bot.web.api.problems import problems
from bot.web.api.publishing import PublishingApi, PublishingJob
from bot.web.api.queue import QueueApi
from bot.web.api.repos import ReposApi
from bot.web.api.resync import ResyncApi
from bot.web.api.runs import Runs
from bot.web.api.sessions import SessionsApi
from bot.web.api.table import ROUTES
from bot.web.api.tasks import TasksApi
from bot.web.api.worker_tokens import WorkerTokensApi
from bot.web.api.workers import WorkersApi
from bot.web.dist import Dist
from bot.web.health import Health, Probes
from bot.web.live import ConnectionManager
from bot.web.oidc import OidcVerifier
from bot.web.webhook import MAX_BODY, Webhook

if TYPE_CHECKING:
    from bot.queue.procrastinate import ProcrastinateQueue

DRAIN_SECONDS = 20.0
"""A pass takes seconds; what is not done by then is cut off and done again after the restart."""

PRUNE_SECONDS = 3600.0
"""How often what is old is removed."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """What runs in one process."""

    settings: Settings
    store: SqlStore
    github: Gateway
    engine: Engine
    queue: MemoryQueue | ProcrastinateQueue
    wire: Wire | None
    bell: Bell
    router: Router
    inbox: SqlInbox
    bundles: Bundles
    files: StoreFiles | None
    live: ConnectionManager


PARTS: web.AppKey[Parts] = web.AppKey("parts", Parts)


@dataclass(frozen=True, slots=True)
class World:
    """What the process takes from outside; tests bring a clock they can move and hooks around each commit."""

    clock: Clock = field(default_factory=SystemClock)
    ids: Ids = field(default_factory=RandomIds)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: Callable[[], float] = random.random
    before_commit: Callable[[], None] | None = None
    after_commit: Callable[[], None] | None = None
    process: str = field(default_factory=lambda: secrets.token_hex(8))


async def open_parts(settings: Settings, session: aiohttp.ClientSession, world: World) -> Parts:
    """Open everything that has a state. Raises SettingsError."""
    clock, ids, metrics = world.clock, world.ids, Metrics(version("tgs-bot"))
    url = settings.database.get_secret_value()
    prepared = await asyncio.to_thread(prepare, url, clock)
    if prepared.backup is not None:
        log.info("database_backed_up", path=str(prepared.backup))
    shared = settings.shared
    store = open_store(
        url, clock, ids, shared=shared, before_commit=world.before_commit, after_commit=world.after_commit
    )
    bell = Bell()
    queue: MemoryQueue | ProcrastinateQueue
    wire: Wire | None = None
    if shared:
        queue, wire = shared_queue(
            store, url, world.process, now=clock.now, chance=world.chance, on_error=_on_pass_error
        )
    else:
        queue = MemoryQueue(StoreKeyRows(store), now=clock.now, chance=world.chance, on_error=_on_pass_error)

    async def name_of(key: RepoKey) -> str:
        repo = await store.read(lambda tx: tx.repo(key))
        return repo.full_name if repo is not None else ""

    github = app_gateway(
        session,
        Origin(settings.github_api_url, settings.graphql_url),
        settings.app_id,
        PrivateKey(settings.key().get_secret_value()),
        names=name_of,
        clock=clock,
        sleep=world.sleep,
        jitter=world.chance,
        write_spacing=settings.write_spacing_seconds,
        before_write=(lambda: still_ours(store)) if shared else None,
        sharers=lambda: queue.processes,
    )
    engine = build_engine(
        store,
        github,
        clock,
        ids,
        metrics,
        html_url=settings.web_url,
        allowed_accounts=settings.allowed_accounts,
        disabled=settings.disabled,
        deployment_limit=micro(settings.budget_per_day),
        bell=bell,
        process=world.process if shared else None,
    )

    await engine.sweep.recall()

    def marked(key: str, priority: int = 0, *, at: datetime | None = None, row: Row | None = None) -> None:
        if not shared:  # else it was queued with the commit
            queue.wake(key, priority, at=at, row=row)
        bell.ring(key)

    store.on_marked(marked)
    live = ConnectionManager(clock)
    store.on_news(live.broadcast)
    router = Router(store, lambda error: log.error("routing_failed", exc_info=error))
    inbox = SqlInbox(store, router.nudge)
    files = StoreFiles(store) if shared else None
    return Parts(
        settings,
        store,
        github,
        engine,
        queue,
        wire,
        bell,
        router,
        inbox,
        Bundles(store, clock, settings.data_dir / "bundles", files=files),
        files,
        live,
    )


def _on_pass_error(key: str | None, error: BaseException) -> None:
    log.warning("pass_failed", key=key, error=type(error).__name__, message=str(error))


async def create_app(settings: Settings, world: World | None = None) -> web.Application:
    """The application with everything open but nothing running; it runs between start-up and clean-up.

    Raises SettingsError.
    """
    session = open_session()
    try:
        parts = await open_parts(settings, session, world or World())
    except BaseException:
        await session.close()
        raise
    app = web.Application(client_max_size=MAX_BODY, middlewares=[problems])
    app[PARTS] = parts
    add_routes(app, parts, session)

    async def life(_: web.Application) -> AsyncIterator[None]:
        try:
            async with _running(parts):
                yield
        finally:
            await parts.store.close()
            await session.close()

    app.cleanup_ctx.append(life)
    return app


def add_routes(app: web.Application, parts: Parts, session: aiohttp.ClientSession) -> None:
    """Serve every route; at the end those who follow live are told first, because their requests would not end."""
    for routes in routes_of(parts, session):
        app.add_routes(routes)

    async def drain(_: web.Application) -> None:
        parts.live.close()

    app.on_shutdown.append(drain)


def routes_of(parts: Parts, session: aiohttp.ClientSession) -> list[list[web.RouteDef]]:
    """Every route; who may call each is said where it is defined."""
    settings, engine, clock = parts.settings, parts.engine, parts.store.clock
    origin = Origin(settings.github_api_url, settings.graphql_url)
    people = People(
        parts.github,
        parts.store,
        whoami(session, origin, clock=clock, sleep=asyncio.sleep, jitter=random.random),
        clock,
    )
    callers = Callers(people, engine.pull, parts.store)
    webhook = Webhook(
        inbox=parts.inbox,
        secrets=settings.webhook_secret,
        serves=engine.accounts.serves,
        self_id=lambda: engine.sweep.bot.id if engine.sweep.bot is not None else None,
        metrics=engine.metrics,
    )
    health = Health(probes=_probes(parts), metrics=engine.metrics, clock=clock, version=version("tgs-bot"))
    oidc = OidcVerifier(settings.oidc_issuer, session)
    job = PublishingJob(engine.publishing, oidc, clock, settings.server_url)
    return [
        webhook.routes(),
        health.routes(),
        Dist(base_url=settings.server_url, folder=settings.data_dir / "dist", files=parts.files).routes(),
        OpenApi(lambda: document(ROUTES, version("tgs-bot"))).routes(),
        Runs(engine.runs, engine.asking, job, oidc, clock, settings.server_url).routes(),
        PublishingApi(job, engine.publishing, engine.runs, clock).routes(),
        BundlesApi(engine.runs, job, parts.bundles).routes(),
        CarriedApi(engine.runs, CarriedService(parts.store, clock)).routes(),
        *_of_people(parts, callers),
    ]


def _of_people(parts: Parts, callers: Callers) -> list[list[web.RouteDef]]:
    """The routes for people with a GitHub token."""
    engine, store, ids = parts.engine, parts.store, RandomIds()
    backlogs, html_url = Backlogs(store), parts.settings.web_url
    secrets = parts.settings.webhook_secret
    actions = Actions(callers, store, backlogs, engine.membership, engine.commands, ids)
    repos = ReposApi(callers, store, store.clock, backlogs, engine.repositories)
    url = parts.settings.server_url
    return [
        Items(callers, store, backlogs, engine.membership, engine.explainer, ids).routes(),
        actions.routes(),
        ChatApi(callers, ChatService(store, store.clock), engine.runs, store, parts.live, ids, url).routes(),
        EventsApi(callers, store, parts.live, url).routes(),
        repos.routes(),
        CiApi(callers, store, parts.inbox, store.clock, ids, secrets).routes(),
        ResyncApi(callers, engine.repositories).routes(),
        OlderApi(callers, store, store.clock, engine.membership, engine.repositories, repos, actions).routes(),
        TasksApi(callers, store, ids, engine.membership, html_url).routes(),
        BacklogApi(
            callers, backlogs, engine.checking, engine.repositories, Transfer(backlogs, engine.membership), ids
        ).routes(),
        QueueApi(callers, engine.pull, engine.workers, engine.runs, store).routes(),
        SessionsApi(callers, engine.sessions).routes(),
        WorkersApi(callers, engine.workers).routes(),
        WorkerTokensApi(callers, engine.pull).routes(),
        AttemptsApi(engine.endings).routes(),
    ]


def _probes(parts: Parts) -> Probes:
    async def write() -> None:
        await parts.store.write(lambda _: None)

    async def oldest() -> datetime | None:
        now = parts.store.clock.now()
        rows = await parts.store.read(lambda tx: tx.key_rows(now))
        return min((row.next_due_at for row in rows if row.next_due_at is not None), default=None)

    return Probes(write, oldest, lambda: parts.engine.sweep.last_success, parts.store.clock.now())


@asynccontextmanager
async def _running(parts: Parts) -> AsyncIterator[None]:
    """Queue, router, sweep and pruning as tasks; the end of one that should not end is logged loudly."""
    gauges = Gauges(
        parts.engine.metrics,
        parts.store.clock,
        parts.store.read,
        parts.github.usage,
        lambda: parts.engine.sweep.last_success,
    )
    jobs: dict[str, Coroutine[object, object, None]] = {
        "router": parts.router.run(),
        "prune": _prune(parts),
        "gauges": gauges.run(),
    }
    if parts.wire is not None:
        ears = Ears(parts.bell, parts.live.broadcast, parts.live.broadcast_all, parts.engine.acts.revoke_here)
        jobs |= {"news": listen(parts.wire, ears), "route": route_for_others(parts.router)}
    if parts.settings.disabled:
        # Deliveries are still taken and stored; whatever they ask for is done when the switch is off again.
        log.warning("disabled", remedy="unset TGS_DISABLED and restart to go on")
    else:
        jobs |= {"queue": parts.queue.run(parts.engine.handle), "sweep": parts.engine.sweep.run()}
    tasks = [asyncio.create_task(job, name=name) for name, job in jobs.items()]
    for task in tasks:
        task.add_done_callback(_report_end)
    try:
        yield
    finally:
        await parts.queue.drain(DRAIN_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _report_end(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("task_died", task=task.get_name(), exc_info=error)


async def _prune(parts: Parts) -> None:
    while True:
        try:
            await keep_house(parts)
        except Exception:
            log.exception("not_pruned")
        await asyncio.sleep(PRUNE_SECONDS)


async def keep_house(parts: Parts, keep: Keep | None = None) -> None:
    """Removes what is older than it is kept, and says what it was. Without `keep`: as the settings want it."""
    days = parts.settings.keep_history_days
    wanted = keep or replace(AS_USUAL, history=timedelta(days=days) if days else None)
    pruned = await prune(parts.store, parts.store.clock.now(), wanted)
    for table, rows in pruned.rows.items():
        parts.engine.metrics.forgotten.labels(table).inc(rows)
    if pruned:
        log.info("pruned", bodies=pruned.bodies, installations=pruned.installations, **pruned.rows)
    await parts.bundles.prune()
