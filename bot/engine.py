"""Everything that works without a web server, put together: observer, rules, applier, queue handler, sweep.

The composition root gives it a store, a GitHub and a clock; tests give it others. Nothing here knows HTTP.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bot.acts import Acts, WriteTokens
from bot.apply import Applier
from bot.bell import Bell
from bot.checking import Checking
from bot.ci_reader import CiReader
from bot.endings import Endings
from bot.explaining import Explainer
from bot.incident_issues import IncidentIssues
from bot.inline_asking import InlineAsking
from bot.kept import Kept
from bot.look import Look
from bot.membership import Membership
from bot.metrics import Metrics, PassKind, PassOutcome
from bot.mirror_acts import MirrorActs
from bot.observe import Observer
from bot.protocols.clock import Clock, Ids
from bot.protocols.github import GitHub
from bot.protocols.ledger import Store
from bot.publishing import Publishing
from bot.pull_service import PullService
from bot.queue.api import Result
from bot.rebuild import Rebuilder
from bot.rebuilt_records import Report
from bot.reconcile import Reconciler
from bot.repo_pass import RepoPass
from bot.repository_service import RepositoryService
from bot.resync import Resync
from bot.run_proof import RunProof
from bot.run_service import RunService
from bot.service import CommandService
from bot.session_service import SessionService
from bot.setup_issue import SetUpIssue
from bot.starter import Starter
from bot.sweep import Accounts, Sweep
from bot.talk import Talk
from bot.thought_reader import ThoughtReader
from bot.words import Words
from bot.worker_service import WorkerService


@dataclass(frozen=True, slots=True)
class Engine:
    """The parts that others hold on to."""

    store: Store
    reconcile: Reconciler
    looks: RepoPass
    runs: RunService
    asking: InlineAsking
    publishing: Publishing
    pull: PullService
    endings: Endings
    workers: WorkerService
    sessions: SessionService
    commands: CommandService
    membership: Membership
    explainer: Explainer
    checking: Checking
    repositories: RepositoryService
    sweep: Sweep
    accounts: Accounts
    metrics: Metrics
    acts: Acts

    async def rebuild(self) -> list[Report]:
        """Rebuild the records of every repository that is served; each report says whether GitHub stopped it.

        Raises GitHubError when the repositories cannot be listed.
        """
        await self.sweep.find()
        repos = await self.store.read(lambda tx: tx.repos())
        found = [await self.looks.rebuild(repo.key) for repo in repos]
        return [report for report in found if report is not None]

    async def handle(self, key: str) -> Result:
        """The queue's handler: one pass over one key. Raises what shall be tried again with back-off."""
        kind = PassKind.REPO if key.startswith("repo/") else PassKind.ISSUE
        began = time.perf_counter()
        outcome = PassOutcome.FAILED
        try:
            look: Look = await self.reconcile(key)
            outcome = PassOutcome.WAITING if look.at else PassOutcome.CHANGED if look.again else PassOutcome.SETTLED
            return Result(next_due_at=look.at, again=look.again)
        finally:
            self.metrics.passes.labels(kind.value, outcome.value).inc()
            self.metrics.pass_seconds.labels(kind.value).observe(time.perf_counter() - began)


def build_engine(
    store: Store,
    github: GitHub,
    clock: Clock,
    ids: Ids,
    metrics: Metrics,
    *,
    html_url: str,
    allowed_accounts: frozenset[int],
    disabled: bool,
    deployment_limit: int | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    bell: Bell | None = None,
    process: str | None = None,
) -> Engine:
    """Wire the parts. `html_url` is where repositories are browsed and cloned; `deployment_limit` in micro-dollars;
    `process` is this one's name among several that share the ledger (None: it is alone)."""
    tokens = WriteTokens()
    starter = Starter(github, store, clock, ids, metrics, disabled=disabled, deployment_limit=deployment_limit)
    kept = Kept()
    words = Words(github, store, clock, html_url)
    acts = Acts(github, store, clock, tokens, html_url, kept, words)
    applier = Applier(github, store, clock, acts, html_url, kept, words, metrics)
    accounts = Accounts(allowed_accounts)
    sessions = SessionService(store, clock, ids)
    thoughts = ThoughtReader(github, store)
    observer = Observer(github, store, clock, kept, starter.exactly)
    mirror_acts = MirrorActs(github, store, clock, html_url)
    rebuilder = Rebuilder(github, store, clock)
    commands = CommandService(store, clock, sleep, html_url)
    repos = RepoPass(
        github,
        store,
        clock,
        starter,
        mirror_acts,
        SetUpIssue(github, store, clock, html_url),
        IncidentIssues(github, store, clock),
        accounts.serves,
        sessions,
        Resync(github, store, clock),
        rebuilder,
        kept,
    )
    bell = bell or Bell()
    proof = RunProof(store, github)
    runs = RunService(store, github, clock, starter, proof, html_url)
    return Engine(
        store,
        Reconciler(observer, repos, applier, Talk(github, store, clock), store, clock, metrics),
        repos,
        runs,
        InlineAsking(store, clock, bell),
        Publishing(store, github, clock, tokens, proof, CiReader(github, store), html_url),
        PullService(store, clock, ids, starter, sleep, bell),
        Endings(store, github, clock, sleep),
        WorkerService(store, clock, ids, runs),
        sessions,
        commands,
        Membership(store, github, clock, commands, mirror_acts, thoughts),
        Explainer(observer, clock),
        Checking(store, github, clock, thoughts, sleep),
        RepositoryService(store, github, clock, thoughts, sleep),
        Sweep(github, store, clock, accounts, process=process),
        accounts,
        metrics,
        acts,
    )
