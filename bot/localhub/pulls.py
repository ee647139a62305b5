"""Pull requests: opening, following their branches, drafts, reviews, closing.

Promise: a pull request is an issue with a `Pull` beside it; the number, title, body, labels and
comments are the issue's. `mergeable` is unknown (null) after every change of head or base until
somebody has asked once, as on GitHub. Heads are kept under `refs/pull/<n>/head`, trial merges
under `refs/pull/<n>/merge`.

Known race: none inside the hub (changes happen between two awaits); callers see the window between
`synchronize` and the answer of the push that caused it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final

from bot.localhub import present, present_pulls
from bot.localhub.actor import Actor
from bot.localhub.git_model import ZERO_OID, Commit, FileChange, MergeConflictError, RefUpdate
from bot.localhub.http import ApiError, invalid
from bot.localhub.issues import clean_body
from bot.localhub.model import Account, Issue, Json, Repository

if TYPE_CHECKING:
    from bot.localhub.hub import Hub

_CLOSING: Final = re.compile(
    r"\b(?:close[sd]?|fix(?:e[sd])?|resolve[sd]?):?\s+(?:([\w.-]+/[\w.-]+))?#([0-9]+)", re.IGNORECASE
)


@dataclass(eq=False)
class Review:
    """A submitted review; `state` is APPROVED, CHANGES_REQUESTED, COMMENTED or DISMISSED."""

    id: int
    node_id: str
    user: Account
    body: str
    state: str
    commit_id: str
    submitted_at: datetime


@dataclass(eq=False)
class Pull:
    """What a pull request has beyond its issue."""

    issue: Issue
    head_repo: Repository
    head_ref: str
    head_sha: str
    base_ref: str
    base_sha: str
    mergeable: bool | None = None
    test_merge_sha: str | None = None
    merged: bool = False
    merged_by: Account | None = None
    merge_commit_sha: str | None = None
    merging: bool = False
    reviews: list[Review] = field(default_factory=list)
    requested: list[Account] = field(default_factory=list)
    frozen_base: str | None = None
    """The base at the time of the merge; files and commits are counted from there."""

    @property
    def repo(self) -> Repository:
        return self.issue.repo

    @property
    def number(self) -> int:
        return self.issue.number


class Pulls:
    """The pull requests of a hub."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self._pulls: dict[int, Pull] = {}

    def get(self, repo: Repository, number: int) -> Pull | None:
        """The pull request with this number, or None (also for a plain issue)."""
        issue = repo.issues.get(number)
        return None if issue is None else self._pulls.get(issue.id)

    def of_issue(self, issue: Issue) -> Pull:
        """The pull side of an issue record. Raises KeyError for a plain issue."""
        return self._pulls[issue.id]

    def all(self, repo: Repository) -> list[Pull]:
        """All pull requests of a repository, newest first."""
        found = [p for p in self._pulls.values() if p.repo is repo]
        return sorted(found, key=lambda p: -p.number)

    def payload(self, issue: Issue) -> Json:
        """The full pull request object for REST and webhooks."""
        return present_pulls.pull(self.hub, self.of_issue(issue))

    def closing_issues(self, pull: Pull) -> list[Issue]:
        """Issues of the same repository that the body says this closes."""
        return self._mentioned(pull.repo, pull.issue.body or "")

    def _mentioned(self, repo: Repository, text: str) -> list[Issue]:
        found: list[Issue] = []
        for name, number in _CLOSING.findall(text):
            if name and name.lower() != repo.full_name.lower():
                continue
            issue = repo.issues.get(int(number))
            if issue is not None and not issue.is_pull and issue not in found:
                found.append(issue)
        return found

    # --- what it contains ---

    def commits(self, pull: Pull) -> list[Commit]:
        """Its commits, oldest first."""
        bare = self.hub.git.bare(pull.repo)
        return bare.log(pull.head_sha, f"^{self._base(pull)}", reverse=True)

    def files(self, pull: Pull) -> list[FileChange]:
        """Its changed files, against the merge base."""
        bare = self.hub.git.bare(pull.repo)
        base = bare.merge_base(self._base(pull), pull.head_sha)
        return bare.diff(base, pull.head_sha) if base else []

    def _base(self, pull: Pull) -> str:
        if pull.frozen_base is not None:
            return pull.frozen_base
        tip = self.hub.git.bare(pull.repo).ref(f"refs/heads/{pull.base_ref}")
        return tip or pull.base_sha

    # --- life ---

    def open(
        self,
        repo: Repository,
        *,
        title: str,
        head: str,
        base: str,
        actor: Actor,
        body: str | None = None,
        draft: bool = False,
        head_repo: Repository | None = None,
    ) -> Pull:
        """Open one. Raises ApiError 422 with GitHub's words (no commits, exists, unknown branch)."""
        hub, source = self.hub, head_repo or repo
        bare, origin = hub.git.bare(repo), hub.git.bare(source)
        base_sha = bare.ref(f"refs/heads/{base}")
        head_sha = origin.ref(f"refs/heads/{head}")
        if base_sha is None:
            raise invalid("PullRequest", "base")
        if head_sha is None:
            raise invalid("PullRequest", "head")
        for other in self.all(repo):
            same = (other.head_repo, other.head_ref, other.base_ref) == (source, head, base)
            if same and other.issue.state == "open":
                self._refuse(f"A pull request already exists for {source.owner.login}:{head}.")
        if source is not repo:
            bare.run("fetch", "--quiet", "--no-tags", str(source.git_dir), head_sha)
        if not bare.log(head_sha, f"^{base_sha}", limit=1):
            self._refuse(f"No commits between {base} and {head}")
        if bare.merge_base(base_sha, head_sha) is None:
            self._refuse(f"The {head} branch has no history in common with {base}")
        issue = hub.issues.create_record(repo, title, clean_body(body), actor, is_pull=True)
        issue.draft = draft
        pull = Pull(issue, source, head, head_sha, base, base_sha)
        self._pulls[issue.id] = pull
        bare.update_refs([RefUpdate(f"refs/pull/{pull.number}/head", None, head_sha)])
        self._announce(pull, "opened", actor)
        return pull

    def _refuse(self, message: str) -> None:
        error: Json = {"resource": "PullRequest", "code": "custom", "message": message}
        raise ApiError(422, "Validation Failed", [error])

    def _announce(self, pull: Pull, action: str, actor: Actor, extra: Json | None = None) -> None:
        self.hub.issues.emit(pull.issue, action, actor, extra)
        self.hub.actions.on_pull_request(pull, action, actor)

    async def set_draft(self, issue: Issue, draft: bool, actor: Actor) -> None:
        """Mark ready for review or convert to draft, with webhook."""
        self.mark_draft(self.of_issue(issue), draft, actor)

    def mark_ready(self, pull: Pull, actor: Actor) -> None:
        """Take a pull request out of draft."""
        self.mark_draft(pull, False, actor)

    def mark_draft(self, pull: Pull, draft: bool, actor: Actor) -> None:
        """Set the draft flag; setting it to what it is does nothing. Raises ApiError 422."""
        if pull.issue.state != "open":
            raise ApiError(422, "Pull request is closed")
        if pull.issue.draft is draft:
            return
        pull.issue.draft = draft
        event, action = (
            ("convert_to_draft", "converted_to_draft") if draft else ("ready_for_review", "ready_for_review")
        )
        self.hub.issues.record(pull.issue, event, actor)
        self._announce(pull, action, actor)

    async def set_state(self, issue: Issue, state: str, actor: Actor) -> None:
        """Close or reopen, with webhook. Raises ApiError 422."""
        self.change_state(self.of_issue(issue), state, actor)

    def change_state(self, pull: Pull, state: str, actor: Actor) -> None:
        """Close or reopen. Raises ApiError 422 for a merged one or one without its branch."""
        issue, hub = pull.issue, self.hub
        if state not in {"open", "closed"}:
            raise invalid("PullRequest", "state")
        if state == issue.state:
            return
        if state == "closed":
            self._close(pull, actor)
            return
        head = hub.git.bare(pull.head_repo).ref(f"refs/heads/{pull.head_ref}")
        if pull.merged or head is None:
            why = "merged" if pull.merged else "the head branch was deleted"
            self._refuse(f"state cannot be changed. The pull request cannot be reopened: {why}.")
        issue.state, issue.closed_at, issue.closed_by = "open", None, None
        hub.issues.record(issue, "reopened", actor)
        self._announce(pull, "reopened", actor)

    def _close(self, pull: Pull, actor: Actor) -> None:
        issue = pull.issue
        issue.state, issue.closed_at, issue.closed_by = "closed", self.hub.now(), actor.user
        self.hub.issues.record(issue, "closed", actor, commit_id=pull.merge_commit_sha)
        self._announce(pull, "closed", actor)

    def record_merge(self, pull: Pull, sha: str, base_before: str, actor: Actor) -> None:
        """Note that the base now contains it: close it, close what it closes."""
        issue, hub = pull.issue, self.hub
        pull.merged, pull.merged_by, pull.merge_commit_sha = True, actor.user, sha
        pull.frozen_base, pull.mergeable = base_before, None
        issue.merged_at = hub.now()
        hub.issues.record(issue, "merged", actor, commit_id=sha)
        self._close(pull, actor)
        if pull.base_ref == pull.repo.default_branch:
            for closed in self.closing_issues(pull):
                hub.issues.set_state(closed, "closed", actor, commit_id=sha)

    # --- branches move ---

    def branch_moved(self, repo: Repository, branch: str, before: str, after: str, actor: Actor) -> None:
        """Follow a branch: new heads, new bases, merges done by pushing, deleted branches."""
        for pull in self.all(repo):
            if pull.issue.state == "open" and not pull.merging and pull.base_ref == branch:
                self._base_moved(pull, before, after, actor)
        for pull in list(self._pulls.values()):
            is_head = pull.head_repo is repo and pull.head_ref == branch
            if is_head and pull.issue.state == "open" and not pull.merging:
                self._head_moved(pull, before, after, actor)
        if branch == repo.default_branch and after != ZERO_OID and before != ZERO_OID:
            for commit in self.hub.git.bare(repo).log(after, f"^{before}", reverse=True):
                for issue in self._mentioned(repo, commit.message):
                    self.hub.issues.set_state(issue, "closed", actor, commit_id=commit.sha)

    def _base_moved(self, pull: Pull, before: str, after: str, actor: Actor) -> None:
        if after == ZERO_OID:
            self._close(pull, actor)
            return
        pull.mergeable = None
        if self.hub.git.bare(pull.repo).is_ancestor(pull.head_sha, after):
            self.record_merge(pull, after, before, actor)

    def _head_moved(self, pull: Pull, before: str, after: str, actor: Actor) -> None:
        bare = self.hub.git.bare(pull.repo)
        if after == ZERO_OID:
            self.hub.issues.record(pull.issue, "head_ref_deleted", actor)
            self._close(pull, actor)
            return
        if pull.head_repo is not pull.repo:
            bare.run("fetch", "--quiet", "--no-tags", str(pull.head_repo.git_dir), after)
        if before != ZERO_OID and not bare.is_ancestor(before, after):
            self.hub.issues.record(pull.issue, "head_ref_force_pushed", actor, commit_id=after)
        pull.head_sha, pull.mergeable = after, None
        bare.update_refs([RefUpdate(f"refs/pull/{pull.number}/head", None, after)])
        self._announce(pull, "synchronize", actor, {"before": before, "after": after})

    # --- mergeability ---

    def test_merge(self, pull: Pull) -> str | None:
        """The trial merge commit of head into base, or None when they conflict."""
        if pull.mergeable is not None:
            return pull.test_merge_sha
        bare, base = self.hub.git.bare(pull.repo), self._base(pull)
        try:
            tree = bare.merge_trees(base, pull.head_sha)
        except MergeConflictError:
            pull.mergeable, pull.test_merge_sha = False, None
            return None
        who = self.hub.git.ident(pull.issue.user)
        message = f"Merge {pull.head_sha} into {base}"
        sha = bare.write_commit(tree, [base, pull.head_sha], message, who, who)
        bare.update_refs([RefUpdate(f"refs/pull/{pull.number}/merge", None, sha)])
        pull.mergeable, pull.test_merge_sha, pull.base_sha = True, sha, base
        return sha

    def blockers(self, pull: Pull) -> list[str]:
        """What the base branch's rule still asks for, in GitHub's words."""
        rule = self.hub.rules.of(pull.repo, pull.base_ref)
        if rule is None:
            return []
        states = self.hub.checks.states(pull.repo, pull.head_sha)
        missing = [
            f'Required status check "{name}" is ' + ("expected." if name not in states else f"{states[name]}.")
            for name in rule.required_checks
            if states.get(name) != "success"
        ]
        latest = self.latest_reviews(pull)
        approvals = sum(1 for r in latest if r.state == "APPROVED")
        if any(r.state == "CHANGES_REQUESTED" for r in latest) and rule.required_reviews:
            missing.append("Changes have been requested.")
        if approvals < rule.required_reviews:
            missing.append(
                f"At least {rule.required_reviews} approving review is required by reviewers with write access."
            )
        return missing

    def latest_reviews(self, pull: Pull) -> list[Review]:
        """The last deciding review of each reviewer."""
        latest: dict[int, Review] = {}
        for review in pull.reviews:
            if review.state != "COMMENTED":
                latest[review.user.id] = review
        return list(latest.values())

    def merge_state(self, pull: Pull) -> str:
        """`mergeable_state`: unknown, draft, dirty, blocked, unstable or clean."""
        if pull.mergeable is None:
            return "unknown"
        if not pull.mergeable:
            return "dirty"
        if pull.issue.draft:
            return "draft"
        if self.blockers(pull):
            return "blocked"
        states = self.hub.checks.states(pull.repo, pull.head_sha).values()
        return "clean" if all(s == "success" for s in states) else "unstable"

    # --- reviews ---

    def review(self, pull: Pull, state: str, body: str, actor: Actor) -> Review:
        """Submit a review. Raises ApiError 422 for one's own pull request."""
        if actor.user is pull.issue.user and state != "COMMENTED":
            verb = "approve" if state == "APPROVED" else "request changes on"
            raise ApiError(422, "Unprocessable Entity", [f"Can not {verb} your own pull request"])
        number = self.hub.new_id()
        node = self.hub.node_id("PRR", number)
        review = Review(number, node, actor.user, body, state, pull.head_sha, self.hub.now())
        pull.reviews.append(review)
        if actor.user in pull.requested:
            pull.requested.remove(actor.user)
        self._emit_review(pull, review, "submitted", actor)
        return review

    def dismiss(self, pull: Pull, review: Review, actor: Actor) -> None:
        """Dismiss a review; it no longer counts."""
        review.state = "DISMISSED"
        self._emit_review(pull, review, "dismissed", actor)

    def _emit_review(self, pull: Pull, review: Review, action: str, actor: Actor) -> None:
        shown = present_pulls.review(self.hub, pull, review)
        # Webhooks spell the state in lower case, REST in upper case.
        payload: Json = {
            "review": shown | {"state": review.state.lower()},
            "pull_request": self.payload(pull.issue),
        }
        self.hub.emit("pull_request_review", action, pull.repo, actor.user, payload)

    def request_review(self, pull: Pull, people: list[Account], actor: Actor) -> None:
        """Ask people for a review, one webhook each."""
        for person in people:
            if person not in pull.requested and person is not pull.issue.user:
                pull.requested.append(person)
                extra: Json = {"requested_reviewer": present.simple_user(self.hub, person)}
                self.hub.issues.record(pull.issue, "review_requested", actor, extra)
                self.hub.issues.emit(pull.issue, "review_requested", actor, extra)
