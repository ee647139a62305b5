"""Files, commits, branches and comparisons of a repository over REST.

Promise: reads answer from the real git objects; `PUT contents` makes one commit on one branch with
the blob id as expectation (409 when the file has changed meanwhile), which is how a person's edit
in the web interface is played.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

from bot.localhub import present_git
from bot.localhub.git import BareRepo
from bot.localhub.git_host import RefusedError
from bot.localhub.git_model import EMPTY_TREE, ZERO_OID, RefConflictError, RefUpdate, TreeEntry
from bot.localhub.http import ApiError, Need, Reply, Request, Route, invalid, not_found
from bot.localhub.model import Json

if TYPE_CHECKING:
    from bot.localhub.hub import Hub

EMPTY = "Git Repository is empty."
MAX_COMPARE_FILES = 300  # GitHub lists no more files of one comparison
_READ = (Need("contents", "read"),)
_WRITE = (Need("contents", "write"),)


def commit_of(bare: BareRepo, ref: str) -> str:
    """The commit a caller's ref names. Raises ApiError 404 or 409 (empty repository)."""
    sha = bare.resolve(ref)
    if sha is not None:
        return sha
    if not bare.refs("refs/heads/"):
        raise ApiError(409, EMPTY)
    raise not_found(f"No commit found for the ref {ref}")


def text_field(body: Json, name: str, resource: str) -> str:
    """A required string of a request body. Raises ApiError 422."""
    value = body.get(name)
    if not isinstance(value, str):
        raise invalid(resource, name, "missing_field")
    return value


def routes(hub: Hub) -> list[Route]:
    """Contents, commits, branches, compare."""

    async def get_contents(request: Request) -> Reply:
        bare, repo = hub.git.bare(request.repo), request.repo
        rev = request.query.get("ref") or repo.default_branch
        path = request.params.get("path", "").strip("/")
        if not bare.refs("refs/heads/"):
            raise not_found("This repository is empty.")
        commit = commit_of(bare, rev)
        entry = bare.entry(commit, path) if path else None
        if path and entry is None:
            raise not_found()
        if entry is None or entry.type == "tree":
            rows = bare.tree(entry.sha if entry else commit)
            full = [TreeEntry(e.mode, e.type, e.sha, e.size, f"{path}/{e.path}" if path else e.path) for e in rows]
            return Reply(200, [present_git.content(hub, repo, e, rev) for e in full])
        data = bare.blob(entry.sha) if entry.type == "blob" else b""
        if request.headers.get("accept", "").startswith("application/vnd.github.raw"):
            return Reply(200, data, {"Content-Type": "application/octet-stream"})
        return Reply(200, present_git.content(hub, repo, entry, rev, data))

    async def put_contents(request: Request) -> Reply:
        return _change_file(hub, request)

    async def delete_contents(request: Request) -> Reply:
        return _change_file(hub, request)

    async def get_commit(request: Request) -> Reply:
        bare, repo, ref = hub.git.bare(request.repo), request.repo, request.params["ref"]
        sha = bare.resolve(ref)
        if sha is None:
            if not bare.refs("refs/heads/"):
                raise ApiError(409, EMPTY)
            raise ApiError(422, f"No commit found for SHA: {ref}")
        if request.headers.get("accept", "").startswith("application/vnd.github.sha"):
            return Reply(200, sha.encode(), {"Content-Type": "text/plain"})
        commit = bare.commit(sha)
        files = bare.diff(commit.parents[0] if commit.parents else EMPTY_TREE, sha)
        return Reply(200, present_git.commit(hub, repo, commit, files))

    async def list_commits(request: Request) -> Reply:
        bare, repo = hub.git.bare(request.repo), request.repo
        start = commit_of(bare, request.query.get("sha") or repo.default_branch)
        rows = bare.log(start, path=request.query.get("path", ""))
        page = request.paginate(rows)
        shown = page.body if isinstance(page.body, list) else []
        return Reply(200, [present_git.commit(hub, repo, c) for c in shown], page.headers)

    async def compare(request: Request) -> Reply:
        bare, repo, basehead = hub.git.bare(request.repo), request.repo, request.params["basehead"]
        base, dots, head = basehead.partition("...")
        if not dots:
            raise not_found()
        shas = [bare.resolve(name.rpartition(":")[2]) for name in (base, head)]
        seen = bare.compare(shas[0], shas[1]) if shas[0] and shas[1] else None
        if seen is None:
            raise not_found()
        out = present_git.comparison(hub, repo, seen, basehead)
        page = request.paginate(list(seen.commits))
        shown = page.body if isinstance(page.body, list) else []
        out["commits"] = [present_git.commit(hub, repo, c) for c in shown]
        first = request.page()[0] == 1
        files = seen.files[:MAX_COMPARE_FILES] if first else ()
        out["files"] = [present_git.file_change(hub, repo, seen.head, f) for f in files]
        return Reply(200, out, page.headers)

    async def list_branches(request: Request) -> Reply:
        refs = hub.git.bare(request.repo).refs("refs/heads/")
        rows = [
            {
                "name": name[11:],
                "commit": {
                    "sha": sha,
                    "url": f"{present_git.api(hub, request.repo)}/commits/{sha}",
                },
                "protected": hub.rules.of(request.repo, name[11:]) is not None,
            }
            for name, sha in refs.items()
        ]
        if "protected" in request.query:
            rows = [row for row in rows if row["protected"] is request.flag("protected")]
        return request.paginate(rows)

    async def get_branch(request: Request) -> Reply:
        bare, repo, name = hub.git.bare(request.repo), request.repo, request.params["branch"]
        sha = bare.ref(f"refs/heads/{name}")
        if sha is None:
            raise not_found("Branch not found")
        root = present_git.api(hub, repo)
        rule = hub.rules.of(repo, name)
        contexts = list(rule.required_checks) if rule else []
        checks = {"enforcement_level": "everyone" if rule else "off", "contexts": contexts, "checks": []}
        return Reply(
            200,
            {
                "name": name,
                "commit": present_git.commit(hub, repo, bare.commit(sha)),
                "_links": {
                    "self": f"{root}/branches/{name}",
                    "html": f"{present_git.web(hub, repo)}/tree/{name}",
                },
                "protected": rule is not None,
                "protection": {"enabled": rule is not None, "required_status_checks": checks},
                "protection_url": f"{root}/branches/{name}/protection",
            },
        )

    contents = "/repos/{owner}/{repo}/contents/{path...}"
    return [
        Route("GET", "/repos/{owner}/{repo}/contents", get_contents, _READ),
        Route("GET", contents, get_contents, _READ),
        Route("PUT", contents, put_contents, _WRITE),
        Route("DELETE", contents, delete_contents, _WRITE),
        Route("GET", "/repos/{owner}/{repo}/commits", list_commits, _READ),
        Route("GET", "/repos/{owner}/{repo}/compare/{basehead+}", compare, _READ),
        Route("GET", "/repos/{owner}/{repo}/branches", list_branches, _READ),
        Route("GET", "/repos/{owner}/{repo}/branches/{branch+}", get_branch, _READ),
        Route("GET", "/repos/{owner}/{repo}/commits/{ref+}", get_commit, _READ),
    ]


def _change_file(hub: Hub, request: Request) -> Reply:
    repo, body, path = request.repo, request.body(), request.params["path"].strip("/")
    bare, delete = hub.git.bare(request.repo), request.method == "DELETE"
    message = text_field(body, "message", "Commit")
    branch = str(body.get("branch") or repo.default_branch)
    tip = bare.ref(f"refs/heads/{branch}")
    if tip is None and bare.refs("refs/heads/"):
        raise not_found(f"Branch {branch} not found")
    now = bare.entry(tip, path) if tip else None
    given = body.get("sha")
    if delete and now is None:
        raise not_found()
    if now is not None and given is None:
        raise ApiError(422, 'Invalid request.\n\n"sha" wasn\'t supplied.')
    if now is not None and given != now.sha:
        raise ApiError(409, f"{path} does not match {given}")
    data: bytes | None = None
    if not delete:
        try:
            data = base64.b64decode(text_field(body, "content", "Commit"), validate=False)
        except binascii.Error:
            raise ApiError(422, "content is not valid Base64") from None
    sha = bare.commit_files(tip, {path: data}, message, hub.git.ident(request.actor.user))
    try:
        update = RefUpdate(f"refs/heads/{branch}", tip or ZERO_OID, sha)
        hub.git.move(repo, [update], request.actor)
    except RefusedError as error:
        raise ApiError(403 if error.forbidden else 409, str(error)) from error
    except RefConflictError as error:
        raise ApiError(409, f"{branch} has changed meanwhile") from error
    entry = bare.entry(sha, path)
    shown = present_git.content(hub, repo, entry, branch) if entry else None
    out: Json = {
        "content": shown,
        "commit": present_git.git_commit(hub, repo, bare.commit(sha)),
    }
    return Reply(200 if now is not None else 201, out)
