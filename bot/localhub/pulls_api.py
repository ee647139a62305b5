"""REST of pull requests: create, list, read, change, merge, update, review.

Promise: the answers and refusals of the real service for the operations a bot uses; asking for one
pull request makes the hub compute `mergeable` for the next reader, as on GitHub.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bot.localhub import present_git, present_pulls
from bot.localhub.http import ApiError, Need, Reply, Request, Route, invalid, not_found
from bot.localhub.issues import clean_title
from bot.localhub.merging import MergeMethod, merge, update_branch
from bot.localhub.model import Json, Role
from bot.localhub.pulls import Pull, Review

if TYPE_CHECKING:
    from bot.localhub.hub import Hub

_READ = (Need("pull_requests", "read"),)
_WRITE = (Need("pull_requests", "write"),)
_MERGE = (Need("contents", "write"),)
_PULLS = "/repos/{owner}/{repo}/pulls"
_PULL = f"{_PULLS}/{{pull_number}}"
_REVIEW_STATES = {
    "APPROVE": "APPROVED",
    "REQUEST_CHANGES": "CHANGES_REQUESTED",
    "COMMENT": "COMMENTED",
}


def routes(hub: Hub) -> list[Route]:
    """All pull request routes."""
    return [
        *_life(hub),
        *_merge_routes(hub),
        *_review_routes(hub),
    ]


def _pull(hub: Hub, request: Request) -> Pull:
    found = hub.pulls.get(request.repo, request.number("pull_number"))
    if found is None:
        raise not_found()
    return found


def _life(hub: Hub) -> list[Route]:
    async def create(request: Request) -> Reply:
        repo, body = request.repo, request.body()
        head = body.get("head")
        base = body.get("base")
        if not isinstance(head, str):
            raise invalid("PullRequest", "head", "missing_field")
        if not isinstance(base, str):
            raise invalid("PullRequest", "base", "missing_field")
        owner, colon, branch = head.rpartition(":")
        source = repo
        if colon and owner.lower() != repo.owner.login.lower():
            fork = hub.find_repository(f"{owner}/{repo.name}")
            if fork is None:
                raise invalid("PullRequest", "head")
            source = fork
        text = body.get("body")
        pull = hub.pulls.open(
            repo,
            title=clean_title(body.get("title")),
            head=branch,
            base=base,
            body=text if isinstance(text, str) else None,
            draft=body.get("draft") is True,
            actor=request.actor,
            head_repo=source,
        )
        return Reply(201, present_pulls.pull(hub, pull))

    async def list_all(request: Request) -> Reply:
        query, rows = request.query, hub.pulls.all(request.repo)
        state = query.get("state", "open")
        if state not in {"open", "closed", "all"}:
            raise invalid("PullRequest", "state")
        rows = [p for p in rows if state in {"all", p.issue.state}]
        if head := query.get("head"):
            owner, _, ref = head.rpartition(":")
            rows = [p for p in rows if p.head_ref == ref and owner.lower() in {"", p.head_repo.owner.login.lower()}]
        if base := query.get("base"):
            rows = [p for p in rows if p.base_ref == base]
        if query.get("sort") == "updated":
            rows.sort(key=lambda p: p.issue.updated_at)
            rows.reverse()
        if query.get("direction") == "asc":
            rows.reverse()
        page = request.paginate(rows)
        shown = page.body if isinstance(page.body, list) else []
        return Reply(200, [present_pulls.simple(hub, p) for p in shown], page.headers)

    async def get(request: Request) -> Reply:
        pull = _pull(hub, request)
        accept = request.headers.get("accept", "")
        if "diff" in accept and "json" not in accept:
            text = "\n".join(f.patch or "" for f in hub.pulls.files(pull))
            return Reply(200, text.encode(), {"Content-Type": "text/plain; charset=utf-8"})
        shown = present_pulls.pull(hub, pull)
        if pull.issue.state == "open":
            hub.pulls.test_merge(pull)  # for the next reader
        return Reply(200, shown)

    async def edit(request: Request) -> Reply:
        pull, body, actor = _pull(hub, request), request.body(), request.actor
        title = clean_title(body["title"]) if "title" in body else None
        text = body.get("body")
        hub.issues.edit(pull.issue, actor, title=title, body=text if isinstance(text, str) else None)
        if isinstance(base := body.get("base"), str) and base != pull.base_ref:
            if hub.git.bare(pull.repo).ref(f"refs/heads/{base}") is None:
                raise invalid("PullRequest", "base")
            changes: Json = {"base": {"ref": {"from": pull.base_ref}}}
            pull.base_ref, pull.mergeable = base, None
            hub.issues.emit(pull.issue, "edited", actor, {"changes": changes})
        if "state" in body:
            hub.pulls.change_state(pull, str(body["state"]), actor)
        return Reply(200, present_pulls.pull(hub, pull))

    async def files(request: Request) -> Reply:
        pull = _pull(hub, request)
        rows = hub.pulls.files(pull)
        return request.paginate([present_git.file_change(hub, pull.repo, pull.head_sha, f) for f in rows])

    async def commits(request: Request) -> Reply:
        pull = _pull(hub, request)
        rows = [present_git.commit(hub, pull.repo, c) for c in hub.pulls.commits(pull)]
        return request.paginate(rows)

    async def of_commit(request: Request) -> Reply:
        sha = hub.git.bare(request.repo).resolve(request.params["sha"])
        rows = [
            p
            for p in hub.pulls.all(request.repo)
            if sha in {p.head_sha, p.merge_commit_sha} or sha in {c.sha for c in hub.pulls.commits(p)}
        ]
        return request.paginate([present_pulls.simple(hub, p) for p in rows])

    return [
        Route("POST", _PULLS, create, _WRITE, role=Role.READ, content=True),
        Route("GET", _PULLS, list_all, _READ),
        Route("GET", _PULL, get, _READ),
        Route("PATCH", _PULL, edit, _WRITE),
        Route("GET", f"{_PULL}/files", files, _READ),
        Route("GET", f"{_PULL}/commits", commits, _READ),
        Route("GET", "/repos/{owner}/{repo}/commits/{sha}/pulls", of_commit, _READ),
    ]


def _merge_routes(hub: Hub) -> list[Route]:
    async def do_merge(request: Request) -> Reply:
        pull, body = _pull(hub, request), request.body()
        try:
            method = MergeMethod(body.get("merge_method", "merge"))
        except ValueError:
            raise invalid("PullRequest", "merge_method") from None
        sha, title, text = (body.get(x) for x in ("sha", "commit_title", "commit_message"))
        new = merge(
            hub,
            pull,
            request.actor,
            sha=str(sha) if sha else None,
            method=method,
            title=str(title) if title else None,
            message=str(text) if text is not None else None,
        )
        out: Json = {"sha": new, "merged": True, "message": "Pull Request successfully merged"}
        return Reply(200, out)

    async def is_merged(request: Request) -> Reply:
        if not _pull(hub, request).merged:
            raise not_found()
        return Reply(204)

    async def update(request: Request) -> Reply:
        pull = _pull(hub, request)
        expected = request.body().get("expected_head_sha")
        update_branch(hub, pull, request.actor, str(expected) if expected else None)
        url = f"{present_git.web(hub, pull.repo)}/pull/{pull.number}"
        return Reply(202, {"message": "Updating pull request branch.", "url": url})

    return [
        Route("PUT", f"{_PULL}/merge", do_merge, _MERGE),
        Route("GET", f"{_PULL}/merge", is_merged, (Need("contents", "read"),)),
        Route("PUT", f"{_PULL}/update-branch", update, _WRITE),
    ]


def _review_routes(hub: Hub) -> list[Route]:
    def find(request: Request) -> tuple[Pull, Review]:
        pull, number = _pull(hub, request), request.number("review_id")
        found = next((r for r in pull.reviews if r.id == number), None)
        if found is None:
            raise not_found()
        return pull, found

    async def list_all(request: Request) -> Reply:
        pull = _pull(hub, request)
        return request.paginate([present_pulls.review(hub, pull, r) for r in pull.reviews])

    async def create(request: Request) -> Reply:
        pull, body = _pull(hub, request), request.body()
        event, text = body.get("event"), str(body.get("body") or "")
        if event not in _REVIEW_STATES:
            raise invalid("PullRequestReview", "event")
        if event != "APPROVE" and not text.strip():
            raise ApiError(422, "Unprocessable Entity", ["Body can't be blank"])
        review = hub.pulls.review(pull, _REVIEW_STATES[str(event)], text, request.actor)
        return Reply(200, present_pulls.review(hub, pull, review))

    async def dismiss(request: Request) -> Reply:
        pull, review = find(request)
        hub.pulls.dismiss(pull, review, request.actor)
        return Reply(200, present_pulls.review(hub, pull, review))

    async def ask(request: Request) -> Reply:
        pull, names = _pull(hub, request), request.body().get("reviewers")
        people = [
            account
            for name in (names if isinstance(names, list) else [])
            if (account := hub.find_account(str(name))) is not None
            and hub.issues.assignable(pull.repo, account, pull.issue)
        ]
        hub.pulls.request_review(pull, people, request.actor)
        return Reply(201, present_pulls.simple(hub, pull))

    return [
        Route("GET", f"{_PULL}/reviews", list_all, _READ),
        Route("POST", f"{_PULL}/reviews", create, _WRITE, role=Role.READ, content=True),
        Route("PUT", f"{_PULL}/reviews/{{review_id}}/dismissals", dismiss, _WRITE),
        Route("POST", f"{_PULL}/requested_reviewers", ask, _WRITE),
    ]
