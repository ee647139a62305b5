"""`bot.protocols.github.GitHub` of one simulated process over the model, with the faults of the way there and back.

What it keeps from the real gateway: the error kinds, what is uncertain after them, one wait for all calls after a
limit, answers instead of wishes (assignees), compare-and-delete for branches, exclusive claim refs. Reads may be old.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar

from pydantic import SecretStr

from bot.domain.claim_record import NAMESPACE, ClaimRecord, ClaimRef
from bot.domain.commanded import Spoken
from bot.domain.facts import CiFacts, ContentEdit, IssueFacts, LabelEvent, Presence, PullFacts, RunFacts
from bot.domain.model import InstallationId, IssueKey, Person, RepoKey, Role
from bot.domain.redelivery import Delivery
from bot.errors import Conflict, GitHubError, NotFound, RateLimited, Unavailable
from bot.protocols.github import Comment, RepoView, Secret, Tree, TreeEntry, Visible, VisibleOutcome
from bot.simulate.faults import Fault, Weather
from bot.simulate.hub import (
    BOT,
    KEY,
    LAG_LIMIT,
    MAIN,
    OWNER,
    PERMISSIONS,
    WORKFLOW,
    Hub,
    ModelComment,
    ModelIssue,
    ModelRun,
    Versions,
    sha_of,
)
from bot.simulate.process import Process

T = TypeVar("T")

MERGEABLE_AFTER = timedelta(seconds=3)
"""GitHub computes in the background whether a pull request can be merged."""

TIMEOUT = 10.0
"""Seconds after which the client gives up."""


class Watcher:
    """Is told what a process asks GitHub to do, before anything can come in between, and what it reads."""

    def asks(self, process: Process, verb: str, subject: object) -> None:
        """A write is about to be sent."""

    def reads_issue(self, process: Process, number: int, facts: IssueFacts | None) -> None:
        """An issue was read fresh."""


class SimGateway:
    """GitHub as one process sees it."""

    def __init__(
        self, process: Process, hub: Hub, weather: Weather, watcher: Watcher, refs: dict[int, ClaimRef]
    ) -> None:
        self._process = process
        self._hub = hub
        self._weather = weather
        self._watcher = watcher
        self._refs = refs
        self.calls = 0
        self.before_write: Callable[[], Awaitable[None]] | None = None

    # --- the way

    async def _there(self, verb: str, *, write: bool) -> None:
        """The request travels. Raises what comes back in its place."""
        process, weather = self._process, self._weather
        await process.gate()
        self.calls += 1
        now = process.clock.now()
        if process.limited_until is not None and now < process.limited_until:
            raise RateLimited("still limited", until=process.limited_until, request=verb)
        await asyncio.sleep(weather.seldom_long(0.02, 1.5))
        await process.gate()
        if weather.fair:
            return
        if weather.strikes(Fault.RATE_LIMIT):
            raise self._limit(verb, weather.between(20, 300))
        if weather.strikes(Fault.SECONDARY_LIMIT):
            raise self._limit(verb, 60)
        if weather.strikes(Fault.SERVER_ERROR):
            raise Unavailable("HTTP 502", status=502, request=verb, uncertain=write)
        if write and weather.strikes(Fault.TIMEOUT_BEFORE):
            await self._no_answer()
            raise Unavailable("no answer (TimeoutError)", request=verb, uncertain=True)

    def _limit(self, verb: str, seconds: float) -> RateLimited:
        self._process.limited_until = self._process.clock.now() + timedelta(seconds=seconds)
        return RateLimited("You have exceeded a rate limit", until=self._process.limited_until, request=verb)

    async def _no_answer(self) -> None:
        await asyncio.sleep(TIMEOUT)
        await self._process.gate()

    async def _read(self, verb: str, look: Callable[[datetime], T]) -> T:
        await self._there(verb, write=False)
        at = self._hub.exactly()
        if not self._weather.fair and self._weather.strikes(Fault.STALE_READ):
            at -= timedelta(seconds=self._weather.seldom_long(1.0, LAG_LIMIT.total_seconds()))
        return look(at)

    async def _write(self, verb: str, subject: object, act: Callable[[], T]) -> T:
        if self.before_write is not None:
            await self.before_write()
        self._watcher.asks(self._process, verb, subject)
        await self._there(verb, write=True)
        done = act()
        if self._weather.strikes(Fault.TIMEOUT_AFTER):
            await self._no_answer()
            raise Unavailable("no answer (TimeoutError)", request=verb, uncertain=True)
        await self._process.breathe()
        return done

    # --- the App

    async def installations(self) -> list[tuple[InstallationId, int, str, bool, tuple[tuple[str, str], ...]]]:
        permissions = tuple(sorted(PERMISSIONS.items()))
        return await self._read(
            "installations", lambda _: [(KEY.installation, OWNER.id, OWNER.login, False, permissions)]
        )

    async def installation_repos(self, installation: InstallationId) -> list[RepoView]:
        return await self._read("installation_repos", lambda _: [self._hub.view()])

    async def app_owner(self) -> int:
        return await self._read("app_owner", lambda _: OWNER.id)

    async def bot_user(self, installation: InstallationId) -> Person:
        return await self._read("bot_user", lambda _: BOT)

    async def deliveries(self, after: int, since: datetime) -> list[Delivery]:
        def look(_: datetime) -> list[Delivery]:
            return [one for one in reversed(self._hub.tried()) if one.id > after and one.delivered_at >= since]

        return await self._read("deliveries", look)

    async def redeliver(self, delivery: int) -> None:
        await self._write("redeliver", delivery, lambda: self._hub.send_again(delivery))

    # --- reading

    async def repository(self, key: RepoKey) -> RepoView:
        return await self._read("repository", lambda _: self._hub.view())

    async def head(self, key: RepoKey, branch: str) -> str | None:
        def look(at: datetime) -> str | None:
            known = self._hub.branches.get(branch)
            return None if known is None or known.began() > at else known.as_of(at)

        return await self._read("head", look)

    async def commits_beyond(self, key: RepoKey, base: str, head: str) -> int:
        return await self._read("commits_beyond", lambda _: len(self._hub.ancestors(head) - self._hub.ancestors(base)))

    async def tree(self, key: RepoKey, commit: str, path: str, *, recursive: bool) -> Tree | None:
        return await self._read("tree", lambda _: self._tree(commit, path, recursive))

    def _tree(self, commit: str, path: str, recursive: bool) -> Tree | None:
        prefix = f"{path}/" if path else ""
        found = {
            name[len(prefix) :]: text for name, text in self._hub.commits[commit].items() if name.startswith(prefix)
        }
        if not found and path:
            return None
        entries: dict[str, TreeEntry] = {}
        for name, text in sorted(found.items()):
            parts = name.split("/")
            for depth in range(1, len(parts) if recursive else min(len(parts), 2)):
                folder = "/".join(parts[:depth])
                entries.setdefault(folder, TreeEntry(folder, "040000", "tree", sha_of(f"tree {commit} {folder}"), None))
            if recursive or len(parts) == 1:
                entries[name] = TreeEntry(name, "100644", "blob", sha_of(text), len(text))
        return Tree(sha_of(f"tree {commit} {path}"), tuple(entries.values()), False)

    async def blob(self, key: RepoKey, sha: str) -> bytes:
        def look(_: datetime) -> bytes:
            for files in self._hub.commits.values():
                for text in files.values():
                    if sha_of(text) == sha:
                        return text.encode()
            raise NotFound("Not Found", status=404, request="blob")

        return await self._read("blob", look)

    async def file(self, key: RepoKey, path: str, ref: str) -> tuple[str, bytes] | None:
        def look(_: datetime) -> tuple[str, bytes] | None:
            text = self._hub.commits[ref].get(path)
            return None if text is None else (sha_of(text), text.encode())

        return await self._read("file", look)

    async def issue(self, key: IssueKey) -> tuple[Presence, IssueFacts | None]:
        def look(at: datetime) -> tuple[Presence, IssueFacts | None]:
            found = self._hub.issues.get(key.number)
            if found is None:
                return Presence.UNREADABLE, None
            if found.deleted:
                return Presence.DELETED, None
            if key.number in self._hub.pulls:
                return Presence.PULL, None
            return Presence.HERE, found.facts.as_of(at)

        presence, facts = await self._read("issue", look)
        self._watcher.reads_issue(self._process, key.number, facts)
        return presence, facts

    async def issues_with_label(self, key: RepoKey, label: str) -> list[IssueFacts]:
        return await self._read(
            "issues_with_label", lambda at: [facts for facts in self._all(at) if label in facts.labels]
        )

    async def issues_by_bot(self, key: RepoKey, since: datetime | None = None) -> list[IssueFacts]:
        def look(at: datetime) -> list[IssueFacts]:
            own = [facts for facts in self._all(at) if facts.author.id == BOT.id]
            return [facts for facts in own if since is None or facts.updated_at >= since]

        return await self._read("issues_by_bot", look)

    def _all(self, at: datetime) -> Iterable[IssueFacts]:
        for number, issue in self._hub.issues.items():
            if number not in self._hub.pulls and not issue.deleted and issue.facts.began() <= at:
                yield issue.facts.as_of(at)

    async def label_events(self, key: IssueKey) -> list[LabelEvent]:
        return await self._read(
            "label_events", lambda at: [event for event in self._there_is(key).events if event.at <= at]
        )

    async def content_edits(self, key: IssueKey) -> list[ContentEdit]:
        return await self._read("content_edits", lambda at: [e for e in self._there_is(key).edits if e.at <= at])

    async def comment(self, key: RepoKey, comment_id: int) -> Comment | None:
        def look(_: datetime) -> Comment | None:
            found = self._hub.comments.get(comment_id)
            return None if found is None or found.deleted else _comment(found)

        return await self._read("comment", look)

    async def comments(self, key: IssueKey, since: datetime | None = None) -> list[Comment]:
        def look(at: datetime) -> list[Comment]:
            there = [one for one in self._there_is(key).comments if one.created_at <= at]
            return [_comment(one) for one in there if since is None or one.updated_at >= since]

        return await self._read("comments", look)

    async def comments_in(self, key: RepoKey, since: datetime) -> list[Spoken]:
        def look(at: datetime) -> list[Spoken]:
            there = [c for c in self._hub.comments.values() if not c.deleted and c.updated_at >= since]
            there = [c for c in there if c.created_at <= at and not self._hub.issues[c.number].deleted]
            there.sort(key=lambda c: (c.updated_at, c.id))
            return [
                Spoken(self._hub.key(c.number), c.id, c.node_id, c.body, c.author, c.created_at, c.updated_at)
                for c in there
            ]

        return await self._read("comments_in", look)

    async def labels_there(self, key: RepoKey) -> frozenset[str]:
        def look(at: datetime) -> frozenset[str]:
            return frozenset(label for facts in self._all(at) for label in facts.labels)

        return await self._read("labels_there", look)

    async def last_editors(self, key: RepoKey, nodes: Sequence[str]) -> dict[str, Person | None]:
        """People here edit their own texts only."""

        def look(_: datetime) -> dict[str, Person | None]:
            texts: dict[str, Person | None] = {
                c.node_id: c.author if c.updated_at > c.created_at else None for c in self._hub.comments.values()
            }
            return {node: texts.get(node) for node in nodes}

        return await self._read("last_editors", look)

    async def role(self, key: RepoKey, person: Person) -> Role:
        return await self._read("role", lambda _: self._hub.roles.get(person.id, Role.NONE))

    async def assignable(self, key: RepoKey, login: str) -> bool:
        return await self._read("assignable", lambda _: login in self._hub.assignable)

    async def run(self, key: RepoKey, run_id: int) -> RunFacts | None:
        def look(at: datetime) -> RunFacts | None:
            found = self._hub.runs.get(run_id)
            return None if found is None or found.deleted else found.facts.as_of(at)

        return await self._read("run", look)

    async def runs_named(self, key: RepoKey, workflow: str, text: str, since: datetime) -> list[RunFacts]:
        def look(at: datetime) -> list[RunFacts]:
            there = [run for run in self._hub.runs.values() if not run.deleted and run.facts.began() <= at]
            named = [run.facts.as_of(at) for run in there if text in run.now.display_title]
            return [facts for facts in named if facts.created_at >= since - timedelta(minutes=5)]

        return await self._read("runs_named", look)

    async def jobs(self, key: RepoKey, run_id: int) -> list[tuple[int, str, str, str | None]]:
        def look(_: datetime) -> list[tuple[int, str, str, str | None]]:
            jobs = self._hub.runs[run_id].jobs
            return [(id_, name, status, conclusion) for name, (id_, status, conclusion) in jobs.items()]

        return await self._read("jobs", look)

    async def pull(self, key: RepoKey, number: int) -> PullFacts | None:
        def look(at: datetime) -> PullFacts | None:
            known = self._hub.pulls.get(number)
            return None if known is None else _computed(known, at)

        return await self._read("pull", look)

    async def pulls_of_branch(self, key: RepoKey, branch: str) -> list[PullFacts]:
        def look(at: datetime) -> list[PullFacts]:
            there = [pull for pull in self._hub.pulls.values() if pull.began() <= at and pull.now.head_ref == branch]
            return [_computed(pull, at) for pull in reversed(there)]

        return await self._read("pulls_of_branch", look)

    async def ci(self, key: RepoKey, sha: str) -> CiFacts:
        return await self._read("ci", lambda _: self._hub.ci(sha))

    async def workflow_state(self, key: RepoKey, file: str) -> str | None:
        main = self._hub.branches[MAIN].now or ""
        return await self._read("workflow_state", lambda _: "active" if WORKFLOW in self._hub.commits[main] else None)

    async def environment_exists(self, key: RepoKey, name: str) -> bool:
        return await self._read("environment_exists", lambda _: True)

    async def permissions(self, installation: InstallationId, *, renew: bool = False) -> Mapping[str, str]:
        return dict(PERMISSIONS)

    # --- writing

    def _there_is(self, key: IssueKey) -> ModelIssue:
        found = self._hub.issues.get(key.number)
        if found is None or found.deleted:
            raise NotFound("This issue was deleted", status=410, request="issue")
        return found

    async def remove_label(self, key: IssueKey, label: str) -> bool:
        def act() -> bool:
            self._there_is(key)
            return self._hub.remove_label(key.number, label, BOT)

        return await self._write("remove_label", (key.number, label), act)

    async def add_labels(self, key: IssueKey, labels: Sequence[str]) -> None:
        def act() -> None:
            self._there_is(key)
            self._hub.add_labels(key.number, labels, BOT)

        await self._write("add_labels", (key.number, tuple(labels)), act)

    async def show(self, repo: RepoKey, visible: Visible) -> VisibleOutcome:
        return await self._write("show", visible, lambda: self._show(visible))

    def _show(self, visible: Visible) -> VisibleOutcome:
        hub, number = self._hub, visible.number
        issue = self._there_is(hub.key(number))
        failed: list[tuple[str, str]] = []
        hub.add_labels(number, visible.add_labels, BOT)
        for name in visible.remove_labels:
            hub.remove_label(number, name, BOT)
        assignees: tuple[str, ...] | None = None
        if visible.assign is not None:
            if visible.assign in hub.assignable and not self._weather.strikes(Fault.DROPPED_ASSIGNEE):
                hub.assign(number, visible.assign, BOT)
            assignees = tuple(person.login for person in issue.now.assignees)
        body: str | None = None
        if visible.comment_body is not None and visible.comment_node is not None:
            comment = hub.comments[int(visible.comment_node[1:])]
            if comment.deleted:
                failed.append(("comment_body", "Could not resolve to a node"))
            else:
                hub.edit_comment(comment, visible.comment_body, BOT)
                body = comment.body
        if visible.ready_pull_node is not None:
            hub.ready_pull(int(visible.ready_pull_node[1:]), BOT)
        if visible.delete_branch is not None:
            branch, expected = visible.delete_branch
            there = hub.branches.get(branch)
            if there is None or there.now != expected:
                failed.append(("delete_branch", "beforeOid does not match"))
            else:
                hub.move_branch(branch, None, BOT)
        return VisibleOutcome(assignees, body, tuple(failed))

    async def create_comment(self, key: IssueKey, body: str) -> Comment:
        def act() -> Comment:
            self._there_is(key)
            return _comment(self._hub.comment(key.number, body, BOT))

        return await self._write("create_comment", (key.number, body), act)

    async def react(self, key: RepoKey, comment_id: int, content: str) -> None:
        def act() -> None:
            found = self._hub.comments.get(comment_id)
            if found is None or found.deleted:
                raise NotFound("Not Found", status=404, request="react")
            found.reactions.add((BOT.id, content))

        await self._write("react", (comment_id, content), act)

    async def create_issue(self, key: RepoKey, title: str, body: str, labels: Sequence[str]) -> IssueFacts:
        return await self._write(
            "create_issue", (title, body), lambda: self._hub.open_issue(title, body, BOT, labels).now
        )

    async def edit_issue(
        self,
        key: IssueKey,
        *,
        title: str | None = None,
        body: str | None = None,
        open_: bool | None = None,
        reason: str | None = None,
    ) -> IssueFacts:
        def act() -> IssueFacts:
            issue = self._there_is(key)
            self._hub.edit_issue(key.number, BOT, title, body)
            if open_ is not None:
                self._hub.set_open(key.number, BOT, open_=open_, reason=reason)
            return issue.now

        return await self._write("edit_issue", (key.number, open_), act)

    async def dispatch(self, key: RepoKey, workflow: str, ref: str, inputs: Mapping[str, str]) -> int | None:
        made: ModelRun = await self._write("dispatch", dict(inputs), lambda: self._hub.dispatch(inputs, BOT))
        return None if self._weather.strikes(Fault.NAMELESS_RUN) else made.now.id

    async def cancel_run(self, key: RepoKey, run_id: int, *, force: bool) -> bool:
        def act() -> bool:
            run = self._hub.runs[run_id]
            if run.over:
                return False
            self._hub.log(BOT.login, f"{'forces the end of' if force else 'cancels'} the run {run_id}")
            run.cancel(force)
            return True

        return await self._write("cancel_run", run_id, act)

    async def open_pull(self, key: RepoKey, *, head: str, base: str, title: str, body: str) -> PullFacts:
        def act() -> PullFacts:
            there = self._hub.branches.get(head)
            if there is None or there.now is None:
                raise Conflict("head is invalid", status=422, request="open_pull")
            if any(pull.now.open and pull.now.head_ref == head for pull in self._hub.pulls.values()):
                raise Conflict("A pull request already exists", status=422, request="open_pull")
            if there.now in self._hub.ancestors(self._hub.branches[base].now):
                raise Conflict("No commits between", status=422, request="open_pull")
            return self._hub.open_pull(head, base, title, body, BOT)

        return await self._write("open_pull", (head, body), act)

    async def merge_pull(self, key: RepoKey, number: int, *, expected_head: str, method: str, title: str) -> str:
        def act() -> str:
            pull = self._hub.pulls[number].now
            if not pull.open or pull.draft:
                raise Conflict("Pull Request is not mergeable", status=405, request="merge_pull")
            if pull.head_sha != expected_head:
                raise Conflict("Head branch was modified", status=409, request="merge_pull")
            return self._hub.merge(number, BOT)

        return await self._write("merge_pull", (number, expected_head), act)

    async def mint_write_token(self, key: RepoKey) -> tuple[Secret, datetime]:
        def act() -> tuple[Secret, datetime]:
            return SecretStr(f"ghs_{self._hub.id()}"), self._process.clock.now() + timedelta(hours=1)

        return await self._write("mint_write_token", None, act)

    async def revoke(self, token: Secret) -> None:
        await self._write("revoke", None, lambda: None)

    async def put_file_pull(self, key: RepoKey, branch: str, files: Mapping[str, str], title: str, body: str) -> int:
        raise GitHubError("not part of the simulation")

    # --- claim refs

    async def claim_ref(self, key: IssueKey) -> tuple[ClaimRef, ...]:
        there = self._refs
        return await self._read("claim_ref", lambda _: (there[key.number],) if key.number in there else ())

    async def claim_refs(self, key: RepoKey) -> list[ClaimRef]:
        return await self._read("claim_refs", lambda _: list(self._refs.values()))

    async def publish_claim(self, key: IssueKey, record: ClaimRecord) -> ClaimRef:
        return await self._write(
            "publish_claim", record, lambda: self._refs.setdefault(key.number, _ref(key.number, record))
        )

    async def take_over_claim(self, key: IssueKey, record: ClaimRecord, known: ClaimRef) -> ClaimRef | None:
        def act() -> ClaimRef | None:
            if self._refs.get(key.number) != known:
                return None
            self._refs[key.number] = _ref(key.number, record)
            return self._refs[key.number]

        return await self._write("take_over_claim", record, act)

    async def release_claim(self, key: RepoKey, known: ClaimRef) -> bool:
        def act() -> bool:
            number = next((n for n, ref in self._refs.items() if ref == known), None)
            return number is not None and self._refs.pop(number) is not None

        return await self._write("release_claim", known, act)

    async def branches(self, key: RepoKey, prefix: str) -> dict[str, str]:
        def look(at: datetime) -> dict[str, str]:
            found = {name: head.as_of(at) for name, head in self._hub.branches.items() if name.startswith(prefix)}
            return {name: sha for name, sha in found.items() if sha is not None}

        return await self._read("branches", look)

    async def delete_branch(self, key: RepoKey, branch: str, expected: str) -> bool:
        def act() -> bool:
            there = self._hub.branches.get(branch)
            if there is None or there.now != expected:
                return False
            self._hub.move_branch(branch, None, BOT)
            return True

        return await self._write("delete_branch", branch, act)


def _ref(number: int, record: ClaimRecord) -> ClaimRef:
    return ClaimRef(f"{NAMESPACE}{number}", sha_of(record.nonce), record)


def _comment(made: ModelComment) -> Comment:
    return Comment(
        made.id, made.node_id, made.body, made.author, made.created_at, made.updated_at, f"https://sim/c/{made.id}"
    )


def _computed(pull: Versions[PullFacts], at: datetime) -> PullFacts:
    facts = pull.as_of(at)
    if not facts.open or at - pull.began() < MERGEABLE_AFTER:
        return facts
    return replace(facts, mergeable=True, mergeable_state="clean")
