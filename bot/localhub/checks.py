"""Check runs, check suites and commit statuses.

Promise: a check run belongs to the App that made it and nobody else can change it; the suite of an
App on a commit is completed when all its runs are, and says so once per change of outcome. Names,
limits (50 annotations, 3 actions, 65,535 characters) and webhooks are GitHub's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final

from bot.localhub import present_checks
from bot.localhub.model import Account, App, Json, Repository

if TYPE_CHECKING:
    from bot.localhub.hub import Hub

# Conclusions that let a merge pass; everything else that is completed counts as failed.
PASSING: Final = frozenset({"success", "neutral", "skipped"})
# Worst first: the conclusion of a suite is that of its worst run.
_SUITE_ORDER: Final = (
    "failure", "startup_failure", "timed_out", "action_required", "cancelled", "stale",
    "success", "neutral", "skipped",
)  # fmt: skip


@dataclass(eq=False)
class CheckSuite:
    """All check runs of one App on one commit."""

    id: int
    node_id: str
    repo: Repository
    app: App
    head_sha: str
    head_branch: str | None
    created_at: datetime
    updated_at: datetime
    before: str | None = None
    status: str = "queued"
    conclusion: str | None = None


@dataclass(eq=False)
class CheckRun:
    """One check; `conclusion` is None until it is completed."""

    id: int
    node_id: str
    suite: CheckSuite
    name: str
    status: str
    started_at: datetime | None
    completed_at: datetime | None = None
    conclusion: str | None = None
    external_id: str = ""
    details_url: str | None = None
    title: str | None = None
    summary: str | None = None
    text: str | None = None
    annotations: list[Json] = field(default_factory=list)
    actions: list[Json] = field(default_factory=list)

    @property
    def repo(self) -> Repository:
        return self.suite.repo


@dataclass(eq=False)
class CommitStatus:
    """One status of one context on one commit; the newest of a context counts."""

    id: int
    node_id: str
    repo: Repository
    sha: str
    state: str
    context: str
    description: str | None
    target_url: str | None
    creator: Account
    created_at: datetime


class Checks:
    """The checks and statuses of a hub."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.suites: dict[int, CheckSuite] = {}
        self.runs: dict[int, CheckRun] = {}
        self.statuses: list[CommitStatus] = []

    def suite(self, repo: Repository, app: App, sha: str, branch: str | None) -> CheckSuite:
        """The App's suite on a commit, made when there is none."""
        for known in self.suites.values():
            if (known.repo, known.app, known.head_sha) == (repo, app, sha):
                return known
        return self.new_suite(repo, app, sha, branch)

    def new_suite(self, repo: Repository, app: App, sha: str, branch: str | None) -> CheckSuite:
        """A suite of its own, as each workflow run has one."""
        number, now = self.hub.new_id(), self.hub.now()
        node = self.hub.node_id("CS", number)
        suite = CheckSuite(number, node, repo, app, sha, branch or self._branch(repo, sha), now, now)
        self.suites[number] = suite
        return suite

    def _branch(self, repo: Repository, sha: str) -> str | None:
        refs = self.hub.git.bare(repo).refs("refs/heads/")
        return next((name[11:] for name, at in refs.items() if at == sha), None)

    def for_commit(self, repo: Repository, sha: str) -> list[CheckRun]:
        """All check runs on a commit, newest first."""
        found = [r for r in self.runs.values() if r.repo is repo and r.suite.head_sha == sha]
        return sorted(found, key=lambda r: -r.id)

    def latest(self, repo: Repository, sha: str) -> list[CheckRun]:
        """The newest run of each name and App on a commit."""
        seen: dict[tuple[int, str], CheckRun] = {}
        for run in self.for_commit(repo, sha):
            seen.setdefault((run.suite.app.id, run.name), run)
        return list(seen.values())

    def create(
        self,
        repo: Repository,
        app: App,
        sha: str,
        name: str,
        *,
        branch: str | None = None,
        suite: CheckSuite | None = None,
        status: str = "queued",
        details_url: str | None = None,
        external_id: str = "",
    ) -> CheckRun:
        """A new check run, with `check_run.created`."""
        number = self.hub.new_id()
        owner = suite or self.suite(repo, app, sha, branch)
        node, started = self.hub.node_id("CR", number), self.hub.now()
        run = CheckRun(number, node, owner, name, status, started)
        run.external_id, run.details_url = external_id, details_url
        self.runs[number] = run
        self._emit(run, "created")
        self._follow(owner)
        return run

    def change(
        self,
        run: CheckRun,
        *,
        status: str | None = None,
        conclusion: str | None = None,
        completed_at: datetime | None = None,
    ) -> None:
        """Move a run on; a conclusion completes it and sends `check_run.completed` once."""
        was = run.status
        if conclusion is not None:
            run.status, run.conclusion = "completed", conclusion
            run.completed_at = completed_at or self.hub.now()
        elif status is not None:
            run.status = status
            if status != "completed":
                run.conclusion = run.completed_at = None
        if run.status == "completed" and was != "completed":
            self._emit(run, "completed")
        self._follow(run.suite)

    def _follow(self, suite: CheckSuite) -> None:
        runs = [r for r in self.runs.values() if r.suite is suite]
        suite.updated_at = self.hub.now()
        if any(r.status != "completed" for r in runs):
            suite.status = "in_progress" if any(r.status != "queued" for r in runs) else "queued"
            suite.conclusion = None
            return
        found = {r.conclusion for r in runs}
        worst = next((c for c in _SUITE_ORDER if c in found), "neutral")
        if (suite.status, suite.conclusion) != ("completed", worst):
            suite.status, suite.conclusion = "completed", worst
            payload: Json = {"check_suite": present_checks.suite(self.hub, suite)}
            self.hub.emit("check_suite", "completed", suite.repo, suite.app.bot, payload)

    def _emit(self, run: CheckRun, action: str) -> None:
        payload: Json = {"check_run": present_checks.run(self.hub, run)}
        self.hub.emit("check_run", action, run.repo, run.suite.app.bot, payload)

    def press(self, run: CheckRun, identifier: str, by: Account) -> None:
        """A person clicks one of the run's buttons; only the run's App hears of it."""
        if identifier not in {action["identifier"] for action in run.actions}:
            raise ValueError(f"check run {run.name!r} has no action {identifier!r}")
        payload: Json = {
            "check_run": present_checks.run(self.hub, run),
            "requested_action": {"identifier": identifier},
        }
        self.hub.emit("check_run", "requested_action", run.repo, by, payload, app=run.suite.app)

    def rerequest(self, run: CheckRun, by: Account) -> None:
        """A person clicks "re-run"; only the run's App hears of it."""
        payload: Json = {"check_run": present_checks.run(self.hub, run)}
        self.hub.emit("check_run", "rerequested", run.repo, by, payload, app=run.suite.app)

    def set_status(
        self,
        repo: Repository,
        sha: str,
        state: str,
        context: str,
        creator: Account,
        *,
        description: str | None = None,
        target_url: str | None = None,
    ) -> CommitStatus:
        """Add a commit status, with the `status` webhook."""
        number = self.hub.new_id()
        status = CommitStatus(
            number,
            self.hub.node_id("SC", number),
            repo,
            sha,
            state,
            context,
            description,
            target_url,
            creator,
            self.hub.now(),
        )
        self.statuses.append(status)
        payload = present_checks.status_payload(self.hub, status)
        self.hub.emit("status", None, repo, creator, payload)
        return status

    def latest_statuses(self, repo: Repository, sha: str) -> list[CommitStatus]:
        """The newest status of each context on a commit."""
        found: dict[str, CommitStatus] = {}
        for status in self.statuses:
            if status.repo is repo and status.sha == sha:
                found[status.context] = status
        return list(found.values())

    def states(self, repo: Repository, sha: str) -> dict[str, str]:
        """Name -> success, failure or pending of everything that reports on a commit."""
        states: dict[str, str] = {}
        for run in self.latest(repo, sha):
            done = run.status == "completed"
            passed = run.conclusion in PASSING
            states[run.name] = ("success" if passed else "failure") if done else "pending"
        for status in self.latest_statuses(repo, sha):
            states[status.context] = "failure" if status.state == "error" else status.state
        return states
