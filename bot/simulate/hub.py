"""A model of GitHub in memory: issues, pull requests, branches, runs, and the webhooks that tell of them.

Promise: every change is atomic, has an author, is stamped with the true time in whole seconds, is kept with what was
there before (so that a read may be old) and queues the webhooks that GitHub would send. Nothing here knows the bot.
What people and workers do is called directly; what the bot does comes through `gateway.py`, which adds the faults.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextvars import copy_context
from dataclasses import replace
from datetime import datetime
from typing import Any

from bot.domain.facts import Ci, CiFacts, ContentEdit, IssueFacts, LabelEvent, PullFacts, RunFacts, RunStatus
from bot.domain.model import IssueKey, Person
from bot.domain.redelivery import Delivery as Tried
from bot.protocols.github import RepoView
from bot.simulate.things import (
    FULL_NAME,
    KEY,
    MAIN,
    MARIA,
    OWNER,
    RITA,
    ROLES,
    TOM,
    Delivery,
    ModelComment,
    ModelIssue,
    ModelRun,
    Versions,
    sha_of,
)


class Hub:
    """The truth. `tell` is called with each webhook, `log` with each change."""

    def __init__(self, now: Callable[[], datetime], log: Callable[[str, str], None]) -> None:
        self._now = now
        self.log = log
        self.world = copy_context()
        """In which what somebody asked of GitHub goes on, whether or not they live: runs, webhooks, what people do."""
        self.tell: Callable[[Delivery], None] = lambda _delivery: None
        self.on_run: Callable[[ModelRun], None] = lambda _run: None
        self.tried: Callable[[], list[Tried]] = list
        self.send_again: Callable[[int], None] = lambda _delivery: None
        self.issues: dict[int, ModelIssue] = {}
        self.pulls: dict[int, Versions[PullFacts]] = {}
        self.runs: dict[int, ModelRun] = {}
        self.comments: dict[int, ModelComment] = {}
        self.commits: dict[str, dict[str, str]] = {}
        self.parents: dict[str, str | None] = {}
        self.branches: dict[str, Versions[str | None]] = {}
        self.statuses: dict[str, dict[str, str]] = {}
        self.roles = dict(ROLES)
        self.assignable = {"olga", "maria", "tom"}
        self._numbers = 0
        self._ids = 1000

    # --- small things

    @property
    def now(self) -> datetime:
        """GitHub's clock, as it stamps things: in whole seconds."""
        return self._now().replace(microsecond=0)

    def exactly(self) -> datetime:
        return self._now()

    def id(self) -> int:
        self._ids += 1
        return self._ids

    def key(self, number: int) -> IssueKey:
        return IssueKey(KEY.installation, KEY.repo, number)

    def view(self) -> RepoView:
        return RepoView(
            KEY, "R21", FULL_NAME, OWNER.id, OWNER.login, MAIN, False, False, False, f"https://sim/{FULL_NAME}"
        )

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    # --- webhooks

    def _send(self, event: str, action: str | None, by: Person, **parts: Any) -> None:
        payload: dict[str, Any] = {
            "installation": {"id": KEY.installation},
            "repository": {
                "id": KEY.repo,
                "full_name": FULL_NAME,
                "owner": _account(OWNER),
                "private": False,
                "default_branch": MAIN,
                "archived": False,
            },
            "sender": _account(by),
            **parts,
        }
        if action is not None:
            payload["action"] = action
        number = self.id()
        self.tell(Delivery(number, f"guid-{number}", event, payload))

    def _issue_part(self, issue: ModelIssue) -> dict[str, Any]:
        part: dict[str, Any] = {
            "number": issue.number,
            "labels": [{"name": name} for name in sorted(issue.now.labels)],
        }
        if issue.number in self.pulls:
            part["pull_request"] = {}
        return part

    def _issue_event(self, issue: ModelIssue, action: str, by: Person, **more: Any) -> None:
        self._send("issues", action, by, issue=self._issue_part(issue), **more)

    def _pull_event(self, pull: PullFacts, action: str, by: Person) -> None:
        head = {"ref": pull.head_ref, "sha": pull.head_sha, "repo": {"id": KEY.repo}}
        self._send("pull_request", action, by, pull_request={"number": pull.number, "head": head})

    # --- issues

    def _put(self, issue: ModelIssue, **changes: Any) -> None:
        issue.facts.put(self.exactly(), replace(issue.now, updated_at=self.now, **changes))

    def open_issue(self, title: str, body: str, by: Person, labels: Iterable[str] = ()) -> ModelIssue:
        number = self._number()
        facts = IssueFacts(
            self.key(number), f"I{number}", title, body, True, None, by, frozenset(labels), (), self.now, self.now
        )
        issue = self.issues[number] = ModelIssue(Versions(self.exactly(), facts))
        self.log(by.login, f"opened #{number} “{title}”")
        for name in sorted(facts.labels):
            issue.events.append(LabelEvent(self.id(), name, True, by, self.now))
        self._issue_event(issue, "opened", by)
        return issue

    def add_labels(self, number: int, names: Iterable[str], by: Person) -> None:
        issue = self.issues[number]
        for name in names:
            if name in issue.now.labels:
                continue
            self._put(issue, labels=issue.now.labels | {name})
            issue.events.append(LabelEvent(self.id(), name, True, by, self.now))
            self.log(by.login, f"labelled #{number} {name}")
            self._issue_event(issue, "labeled", by, label={"name": name})

    def remove_label(self, number: int, name: str, by: Person) -> bool:
        issue = self.issues[number]
        if name not in issue.now.labels:
            return False
        self._put(issue, labels=issue.now.labels - {name})
        issue.events.append(LabelEvent(self.id(), name, False, by, self.now))
        self.log(by.login, f"took {name} off #{number}")
        self._issue_event(issue, "unlabeled", by, label={"name": name})
        return True

    def edit_issue(self, number: int, by: Person, title: str | None = None, body: str | None = None) -> None:
        issue = self.issues[number]
        changes = {k: v for k, v in (("title", title), ("body", body)) if v is not None and v != getattr(issue.now, k)}
        if not changes:
            return
        self._put(issue, **changes)
        issue.edits.append(ContentEdit(by, self.now))
        self.log(by.login, f"edited the {' and '.join(changes)} of #{number}")
        self._issue_event(issue, "edited", by)

    def set_open(self, number: int, by: Person, *, open_: bool, reason: str | None = None) -> None:
        issue = self.issues[number]
        if issue.now.open is open_:
            return
        self._put(issue, open=open_, state_reason=None if open_ else (reason or "completed"))
        issue.closed_by = None if open_ else by
        self.log(by.login, f"{'reopened' if open_ else 'closed'} #{number}")
        self._issue_event(issue, "reopened" if open_ else "closed", by)

    def delete_issue(self, number: int, by: Person) -> None:
        issue = self.issues[number]
        issue.deleted = True
        self.log(by.login, f"deleted #{number}")
        self._issue_event(issue, "deleted", by)

    def assign(self, number: int, login: str, by: Person) -> None:
        issue = self.issues[number]
        person = next(one for one in (OWNER, MARIA, TOM, RITA) if one.login == login)
        if person not in issue.now.assignees:
            self._put(issue, assignees=(*issue.now.assignees, person))
            self._issue_event(issue, "assigned", by)

    # --- comments

    def comment(self, number: int, body: str, by: Person) -> ModelComment:
        issue = self.issues[number]
        made = ModelComment(self.id(), number, by, self.now, self.now, body)
        issue.comments.append(made)
        self.comments[made.id] = made
        self._put(issue, comments=issue.now.comments + 1)
        self.log(by.login, f"wrote on #{number}: {_first_line(body)}")
        self._comment_event(issue, made, "created", by)
        return made

    def edit_comment(self, comment: ModelComment, body: str, by: Person) -> None:
        before, comment.body, comment.updated_at = comment.body, body, self.now
        self.log(by.login, f"edited a comment on #{comment.number}")
        issue = self.issues[comment.number]
        self._comment_event(issue, comment, "edited", by, changes={"body": {"from": before}})

    def delete_comment(self, comment: ModelComment, by: Person) -> None:
        comment.deleted = True
        issue = self.issues[comment.number]
        issue.comments.remove(comment)
        self._put(issue, comments=issue.now.comments - 1)
        self.log(by.login, f"deleted a comment on #{comment.number}")
        self._comment_event(issue, comment, "deleted", by)

    def _comment_event(self, issue: ModelIssue, comment: ModelComment, action: str, by: Person, **more: Any) -> None:
        part = {
            "id": comment.id,
            "created_at": comment.created_at.isoformat(),
            "updated_at": comment.updated_at.isoformat(),
            "body": comment.body,
            "node_id": comment.node_id,
            "user": _account(comment.author),
        }
        self._send("issue_comment", action, by, issue=self._issue_part(issue), comment=part, **more)

    # --- git

    def commit(self, branch: str, changes: Mapping[str, str | None], by: Person, parent: str | None = None) -> str:
        """Commits on the branch's head, or on `parent`; makes the branch if need be. The new head."""
        head = self.branches[branch].now if branch in self.branches else None
        base = parent or head or self.branches[MAIN].now if branch != MAIN or head else None
        files = dict(self.commits[base]) if base is not None else {}
        for path, text in changes.items():
            if text is None:
                files.pop(path, None)
            else:
                files[path] = text
        sha = sha_of(f"{base}{sorted(files.items())}{self.id()}")
        self.commits[sha] = files
        self.parents[sha] = base
        self.move_branch(branch, sha, by)
        return sha

    def move_branch(self, branch: str, sha: str | None, by: Person) -> None:
        if branch in self.branches:
            self.branches[branch].put(self.exactly(), sha)
        else:
            self.branches[branch] = Versions(self.exactly(), sha)
        self.log(by.login, f"pushed {sha[:7]} to {branch}" if sha else f"deleted the branch {branch}")
        for number, pull in self.pulls.items():
            if sha is not None and pull.now.head_ref == branch and pull.now.open:
                pull.put(self.exactly(), replace(pull.now, head_sha=sha))
                self._pull_event(pull.now, "synchronize", by)
                self.log("GitHub", f"pull request #{number} is at {sha[:7]}")
        self._send("push", None, by, ref=f"refs/heads/{branch}", deleted=sha is None)

    def ancestors(self, sha: str | None) -> set[str]:
        found: set[str] = set()
        while sha is not None and sha not in found:
            found.add(sha)
            sha = self.parents.get(sha)
        return found

    # --- pull requests

    def open_pull(self, head: str, base: str, title: str, body: str, by: Person) -> PullFacts:
        number = self._number()
        sha = self.branches[head].now
        assert sha is not None
        facts = IssueFacts(
            self.key(number), f"I{number}", title, body, True, None, by, frozenset(), (), self.now, self.now
        )
        self.issues[number] = ModelIssue(Versions(self.exactly(), facts))
        pull = PullFacts(
            number, f"P{number}", by, True, False, True, sha, head, KEY.repo, base, KEY.repo, None, "unknown",
            None, None, body, f"https://sim/{FULL_NAME}/pull/{number}", self.now,
        )  # fmt: skip
        self.pulls[number] = Versions(self.exactly(), pull)
        self.log(by.login, f"opened the pull request #{number} of {head}")
        self._pull_event(pull, "opened", by)
        return pull

    def ready_pull(self, number: int, by: Person) -> None:
        pull = self.pulls[number]
        if pull.now.draft:
            pull.put(self.exactly(), replace(pull.now, draft=False))
            self.log(by.login, f"marked #{number} ready for review")
            self._pull_event(pull.now, "ready_for_review", by)

    def merge(self, number: int, by: Person) -> str:
        """Merges; closes the issue that the body names."""
        pull = self.pulls[number]
        files = dict(self.commits[self.branches[MAIN].now or ""])
        files |= self.commits[pull.now.head_sha]
        sha = sha_of(f"merge {number} {pull.now.head_sha}")
        self.commits[sha] = files
        self.parents[sha] = self.branches[MAIN].now
        merged = replace(pull.now, open=False, merged=True, draft=False, merge_commit_sha=sha, merged_by=by)
        pull.put(self.exactly(), merged)
        self._put(self.issues[number], open=False)
        self.log(by.login, f"merged #{number}")
        self._pull_event(merged, "closed", by)
        self.move_branch(MAIN, sha, by)
        for other in self.issues.values():
            if not other.deleted and f"Closes #{other.number}\n" in f"{merged.body}\n" and other.now.open:
                self._put(other, open=False, state_reason="completed")
                self.log("GitHub", f"closed #{other.number} with the merge")
                self._issue_event(other, "closed", by)
        return sha

    def close_pull(self, number: int, by: Person) -> None:
        pull = self.pulls[number]
        if pull.now.open:
            pull.put(self.exactly(), replace(pull.now, open=False))
            self._put(self.issues[number], open=False)
            self.log(by.login, f"closed the pull request #{number} unmerged")
            self._pull_event(pull.now, "closed", by)

    def reopen_pull(self, number: int, by: Person) -> None:
        pull = self.pulls[number]
        if not pull.now.open and not pull.now.merged and self.branches[pull.now.head_ref].now is not None:
            pull.put(self.exactly(), replace(pull.now, open=True))
            self._put(self.issues[number], open=True)
            self.log(by.login, f"reopened the pull request #{number}")
            self._pull_event(pull.now, "reopened", by)

    def set_status(self, sha: str, name: str, state: str) -> None:
        self.statuses.setdefault(sha, {})[name] = state
        self.log("CI", f"{name} of {sha[:7]}: {state}")
        self._send("status", None, OWNER, sha=sha)

    def ci(self, sha: str) -> CiFacts:
        states = self.statuses.get(sha, {})
        failed = tuple((name, "") for name, state in states.items() if state == "failure")
        sum_ = (
            Ci.NONE
            if not states
            else Ci.FAILED
            if failed
            else Ci.PENDING
            if "pending" in states.values()
            else Ci.PASSED
        )
        return CiFacts(sha, sum_, failed, len(states))

    # --- runs

    def dispatch(self, inputs: Mapping[str, str], by: Person) -> ModelRun:
        number = self.id()
        title = f"tgs #{inputs.get('issue', '')} {inputs.get('claim_id', '')}"
        head = self.branches[MAIN].now or ""
        facts = RunFacts(number, RunStatus.QUEUED, None, 1, f"https://sim/runs/{number}", title, head, self.now)
        run = self.runs[number] = ModelRun(Versions(self.exactly(), facts), dict(inputs), by)
        self.log(by.login, f"dispatched the run {number} for #{inputs.get('issue', '')}")
        self._run_event(run, "requested")
        self.on_run(run)
        return run

    def start_run(self, run: ModelRun) -> None:
        run.facts.put(self.exactly(), replace(run.now, status=RunStatus.IN_PROGRESS))
        self._run_event(run, "in_progress")

    def job(self, run: ModelRun, name: str, status: str, conclusion: str | None = None) -> int:
        """A job moves; its id."""
        id_ = run.jobs[name][0] if name in run.jobs else self.id()
        run.jobs[name] = (id_, status, conclusion)
        return id_

    def end_run(self, run: ModelRun, conclusion: str) -> None:
        if run.over:
            return
        for name, (id_, status, _) in run.jobs.items():
            if status != "completed":
                run.jobs[name] = (id_, "completed", conclusion)
        run.facts.put(self.exactly(), replace(run.now, status=RunStatus.COMPLETED, conclusion=conclusion))
        self.log("Actions", f"the run {run.now.id} ended: {conclusion}")
        self._run_event(run, "completed")

    def _run_event(self, run: ModelRun, action: str) -> None:
        part = {"id": run.now.id, "head_sha": run.now.head_sha, "status": run.now.status.value}
        self._send("workflow_run", action, run.dispatched_by, workflow_run=part)


def _account(person: Person) -> dict[str, Any]:
    return {"id": person.id, "login": person.login, "type": "Bot" if person.is_bot else "User"}


def _first_line(text: str) -> str:
    line = text.strip().split("\n", 1)[0]
    return line if len(line) <= 100 else f"{line[:99]}…"
