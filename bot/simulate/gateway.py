"""`bot.protocols.github.GitHub` of one simulated process over the model, with the faults of the way there and back.

What it keeps from the real gateway: the error kinds, what is uncertain after them, one wait for all calls after a
limit, answers instead of wishes (assignees), compare-and-delete for branches, exclusive claim refs. Reads may be old.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from pydantic import SecretStr

from bot.domain.claim_record import ClaimRecord, ClaimRef
from bot.domain.facts import IssueFacts, PullFacts
from bot.domain.model import IssueKey, RepoKey
from bot.errors import Conflict, GitHubError, NotFound
from bot.protocols.github import Comment, Secret, Visible, VisibleOutcome
from bot.simulate.elsewhere import ref_of
from bot.simulate.faults import Fault
from bot.simulate.reads import Reads, comment_of
from bot.simulate.things import (
    BOT,
    ModelRun,
)


class SimGateway(Reads):
    """GitHub as one process sees it."""

    # --- writing

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
            return comment_of(self._hub.comment(key.number, body, BOT))

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
            "publish_claim", record, lambda: self._refs.setdefault(key.number, ref_of(key.number, record))
        )

    async def take_over_claim(self, key: IssueKey, record: ClaimRecord, known: ClaimRef) -> ClaimRef | None:
        def act() -> ClaimRef | None:
            if self._refs.get(key.number) != known:
                return None
            self._refs[key.number] = ref_of(key.number, record)
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
