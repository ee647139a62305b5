"""Pull requests and the checks on a commit.

Promises: a merge names the head it was decided on. A commit has passed only when every check run and status of
others than our own App has completed and none of them failed; a conclusion we don't know is a failure.
"""

from __future__ import annotations

from collections.abc import Mapping

from bot.domain.facts import Ci, CiFacts, PullFacts
from bot.domain.model import RepoKey
from bot.errors import Conflict, Invalid
from bot.github.answers import read
from bot.github.gateway_issues import check_text
from bot.github.gateway_runs import RunVerbs
from bot.github.limits import Lane
from bot.github.shapes import CheckRunShape, MergeShape, PullShape, RefShape, StatusShape, person

PASSED = frozenset({"success", "neutral", "skipped"})
"""Conclusions of a check run that do not stand in the way; GitHub's own merge rule."""


class PullVerbs(RunVerbs):
    """Verbs about pull requests and CI."""

    async def pull(self, key: RepoKey, number: int) -> PullFacts | None:
        path = "/pulls/{pull_number}"
        answer = await self._find(key, path, {"pull_number": number})
        if answer is None:
            return None
        return self._pull_facts(key, self._read(PullShape, answer, f"GET {path}"))

    async def pulls_of_branch(self, key: RepoKey, branch: str) -> list[PullFacts]:
        """Open and closed pull requests from a branch of this repository, newest first. Lists do not say whether a
        pull request can be merged."""
        owner, _ = await self._name(key)
        query = {"head": f"{owner}:{branch}", "state": "all", "sort": "created", "direction": "desc"}
        shapes = [read(PullShape, raw, "GET /pulls") for raw in await self._pages(key, "/pulls", query=query)]
        return [self._pull_facts(key, shape) for shape in shapes if shape.head.ref == branch]

    async def ci(self, key: RepoKey, sha: str) -> CiFacts:
        """The sum of check runs and statuses. `failed` holds (name, address) of each; our own App's are left out."""
        path = "/commits/{ref}/check-runs"
        found = await self._pages(key, path, {"ref": sha}, query={"filter": "latest"}, under="check_runs")
        runs = [read(CheckRunShape, raw, f"GET {path}") for raw in found]
        ours = self._clients.auth.app_id
        runs = [run for run in runs if run.app is None or run.app.id != ours]
        statuses = await self._statuses(key, sha)
        pending = any(run.status != "completed" for run in runs) or any(x.state == "pending" for x in statuses)
        failed = [
            (run.name, run.html_url or run.details_url or "")
            for run in runs
            if run.status == "completed" and run.conclusion not in PASSED
        ]
        failed += [(x.context, x.target_url or "") for x in statuses if x.state not in {"success", "pending"}]
        total = len(runs) + len(statuses)
        if total == 0:
            state = Ci.NONE
        elif pending:
            state = Ci.PENDING
        else:
            state = Ci.FAILED if failed else Ci.PASSED
        return CiFacts(sha, state, tuple(failed), total)

    async def open_pull(self, key: RepoKey, *, head: str, base: str, title: str, body: str) -> PullFacts:
        """Opens a draft; an ordinary pull request where the repository's plan has no drafts."""
        return await self._open_pull(key, head=head, base=base, title=title, body=body, draft=True)

    async def merge_pull(self, key: RepoKey, number: int, *, expected_head: str, method: str, title: str) -> str:
        """The merge commit. Raises Conflict when the head moved or GitHub refuses to merge."""
        path = "/pulls/{pull_number}/merge"
        body = {"sha": expected_head, "merge_method": method}
        if title:
            body["commit_title"] = title
        answer = await self._send(key, "PUT", path, {"pull_number": number}, body=body, lane=Lane.RELEASE)
        shape = self._read(MergeShape, answer, f"PUT {path}")
        if not shape.merged:
            raise Conflict(shape.message or "GitHub did not merge", status=200, request=f"PUT {path}")
        return shape.sha

    async def put_file_pull(self, key: RepoKey, branch: str, files: Mapping[str, str], title: str, body: str) -> int:
        """Commits files on a new branch and opens a pull request (set-up); returns its number.

        Can be repeated after a lost answer: a branch that holds exactly these files is ours, and its open pull
        request is returned. Raises Conflict when the branch exists with other content or the repository is empty.
        """
        view = await self.repository(key)
        base = await self.head(key, view.default_branch)
        if base is None:
            raise Conflict("the repository has no commit yet", request="POST /git/refs")
        commit = await self._commit_files(key, base, files, title)
        try:
            ref = {"ref": f"refs/heads/{branch}", "sha": commit.sha}
            self._read(
                RefShape, await self._send(key, "POST", "/git/refs", body=ref, lane=Lane.BOARD), "POST /git/refs"
            )
        except Conflict:
            there = await self.head(key, branch)
            if there is None or await self._commit_tree(key, there) != commit.tree.sha:
                raise
            existing = next((pull for pull in await self.pulls_of_branch(key, branch) if pull.open), None)
            if existing is not None:
                return existing.number
        pull = await self._open_pull(key, head=branch, base=view.default_branch, title=title, body=body, draft=False)
        return pull.number

    async def _open_pull(self, key: RepoKey, *, head: str, base: str, title: str, body: str, draft: bool) -> PullFacts:
        check_text(body, "POST /pulls")
        wanted: dict[str, object] = {"head": head, "base": base, "title": title, "body": body, "draft": draft}
        try:
            answer = await self._send(key, "POST", "/pulls", body=wanted, lane=Lane.RELEASE, content=True)
        except Invalid as error:
            if not draft or "draft pull requests are not supported" not in error.message.lower():
                raise
            wanted["draft"] = False
            answer = await self._send(key, "POST", "/pulls", body=wanted, lane=Lane.RELEASE, content=True)
        return self._pull_facts(key, self._read(PullShape, answer, "POST /pulls"))

    async def _statuses(self, key: RepoKey, sha: str) -> list[StatusShape]:
        """The newest status of each context. Not asked for when the installation may not read statuses."""
        granted = await self.permissions(key.installation)
        if granted and "statuses" not in granted:
            return []
        path = "/commits/{ref}/status"
        found = await self._pages(key, path, {"ref": sha}, under="statuses")
        return [read(StatusShape, raw, f"GET {path}") for raw in found]

    def _pull_facts(self, key: RepoKey, shape: PullShape) -> PullFacts:
        base_repo = shape.base.repo.id if shape.base.repo is not None else key.repo
        self._check_repo(key, base_repo, "GET /pulls/{pull_number}")
        merged = shape.merged if shape.merged is not None else shape.merged_at is not None
        return PullFacts(
            number=shape.number,
            node_id=shape.node_id,
            author=person(shape.user),
            open=shape.state == "open",
            merged=merged,
            draft=shape.draft,
            head_sha=shape.head.sha,
            head_ref=shape.head.ref,
            head_repo_id=shape.head.repo.id if shape.head.repo is not None else None,
            base_ref=shape.base.ref,
            base_repo_id=base_repo,
            mergeable=shape.mergeable,
            mergeable_state=shape.mergeable_state,
            merge_commit_sha=shape.merge_commit_sha,
            merged_by=person(shape.merged_by) if shape.merged_by is not None else None,
            body=shape.body or "",
            html_url=shape.html_url,
            created_at=shape.created_at,
        )
