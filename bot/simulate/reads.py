"""What one simulated process reads of the model of GitHub: the reading verbs of `bot.protocols.github.GitHub`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from bot.domain.commanded import Spoken
from bot.domain.facts import CiFacts, ContentEdit, IssueFacts, LabelEvent, Presence, PullFacts, RunFacts
from bot.domain.model import InstallationId, IssueKey, Person, RepoKey, Role
from bot.domain.redelivery import Delivery
from bot.errors import NotFound
from bot.protocols.github import Comment, Remark, RepoView, Tree, TreeEntry
from bot.simulate.things import (
    BOT,
    KEY,
    MAIN,
    OWNER,
    PERMISSIONS,
    WORKFLOW,
    ModelComment,
    Versions,
    sha_of,
)
from bot.simulate.way import Way

MERGEABLE_AFTER = timedelta(seconds=3)
"""GitHub computes in the background whether a pull request can be merged."""


class Reads(Way):
    """GitHub as one process reads it."""

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

    async def issues_with_label(
        self, key: RepoKey, label: str, closed_since: datetime | None = None
    ) -> list[IssueFacts]:
        def look(at: datetime) -> list[IssueFacts]:
            there = [facts for facts in self._all(at) if label in facts.labels]
            return [x for x in there if x.open or closed_since is None or x.updated_at >= closed_since]

        return await self._read("issues_with_label", look)

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
            return None if found is None or found.deleted else comment_of(found)

        return await self._read("comment", look)

    async def comments(self, key: IssueKey, since: datetime | None = None) -> list[Comment]:
        def look(at: datetime) -> list[Comment]:
            there = [one for one in self._there_is(key).comments if one.created_at <= at]
            return [comment_of(one) for one in there if since is None or one.updated_at >= since]

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
        """A repository keeps a label that no issue has any more."""

        def look(at: datetime) -> frozenset[str]:
            put = (event for issue in self._hub.issues.values() for event in issue.events if event.added)
            return frozenset(event.label for event in put if event.at <= at)

        return await self._read("labels_there", look)

    async def last_editors(self, key: RepoKey, nodes: Sequence[str]) -> dict[str, Person | None]:
        """People here edit their own texts only."""

        def look(_: datetime) -> dict[str, Person | None]:
            texts: dict[str, Person | None] = {
                c.node_id: c.author if c.updated_at > c.created_at else None for c in self._hub.comments.values()
            }
            return {node: texts.get(node) for node in nodes}

        return await self._read("last_editors", look)

    async def conversations(self, key: RepoKey, nodes: Sequence[str]) -> dict[str, list[Remark]]:
        """Some are left out, as on GitHub."""

        def look(at: datetime) -> dict[str, list[Remark]]:
            found: dict[str, list[Remark]] = {}
            for number, issue in self._hub.issues.items():
                node = issue.facts.now.node_id
                if node in nodes and not issue.deleted and number % 3:
                    there = [one for one in issue.comments if one.created_at <= at]
                    found[node] = [
                        Remark(comment_of(one), one.author if one.updated_at > one.created_at else None)
                        for one in there
                    ]
            return found

        return await self._read("conversations", look)

    async def histories(self, key: RepoKey, nodes: Sequence[str]) -> dict[str, list[LabelEvent]]:
        """Some are left out, as on GitHub."""

        def look(at: datetime) -> dict[str, list[LabelEvent]]:
            return {
                issue.facts.now.node_id: [event for event in issue.events if event.at <= at]
                for number, issue in self._hub.issues.items()
                if issue.facts.now.node_id in nodes and not issue.deleted and number % 3
            }

        return await self._read("histories", look)

    async def pulls_of_branches(self, key: RepoKey, branches: Sequence[str]) -> dict[str, list[PullFacts]]:
        def look(at: datetime) -> dict[str, list[PullFacts]]:
            there = [pull for pull in self._hub.pulls.values() if pull.began() <= at]
            return {
                name: [_computed(pull, at) for pull in reversed(there) if pull.now.head_ref == name]
                for name in branches
            }

        return await self._read("pulls_of_branches", look)

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


def comment_of(made: ModelComment) -> Comment:
    return Comment(
        made.id, made.node_id, made.body, made.author, made.created_at, made.updated_at, f"https://sim/c/{made.id}"
    )


def _computed(pull: Versions[PullFacts], at: datetime) -> PullFacts:
    facts = pull.as_of(at)
    if not facts.open or at - pull.began() < MERGEABLE_AFTER:
        return facts
    return replace(facts, mergeable=True, mergeable_state="clean")
