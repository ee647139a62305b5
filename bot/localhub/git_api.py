"""The low-level git API: blobs, trees, commits and references.

Promise: error messages and codes are those pinned down against the real service (422 `Reference
already exists`, `Object does not exist`, `Reference does not exist`, `Update is not a fast
forward`; 409 `Git Repository is empty.`). Creating a reference is the one atomic claim REST has:
of two creators exactly one gets 201.
"""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

from bot.localhub import present_git
from bot.localhub.contents import EMPTY, text_field
from bot.localhub.git import BareRepo
from bot.localhub.git_host import RefusedError
from bot.localhub.git_model import ZERO_OID, GitError, Ident, RefConflictError, RefUpdate, TreeEntry
from bot.localhub.http import ApiError, Need, Reply, Request, Route, invalid, not_found
from bot.localhub.model import Json, Repository

if TYPE_CHECKING:
    from bot.localhub.hub import Hub

MIN_REF_PARTS = 3  # refs/heads/x: GitHub refuses shorter names
_READ = (Need("contents", "read"),)
_WRITE = (Need("contents", "write"),)
_GIT = "/repos/{owner}/{repo}/git"
_MODES = {"100644": "blob", "100755": "blob", "040000": "tree", "160000": "commit", "120000": "blob"}


def routes(hub: Hub) -> list[Route]:
    """git/blobs, git/trees, git/commits, git/ref(s), git/matching-refs."""

    async def get_blob(request: Request) -> Reply:
        bare, sha = hub.git.bare(request.repo), request.params["sha"]
        if bare.objects([sha])[0][1] != "blob":
            raise not_found()
        data = bare.blob(sha)
        out = _short_blob(hub, request.repo, sha) | {
            "node_id": present_git.node(hub, request.repo, sha),
            "size": len(data),
            "content": base64.encodebytes(data).decode(),
            "encoding": "base64",
        }
        return Reply(200, out)

    async def create_blob(request: Request) -> Reply:
        body = request.body()
        content = text_field(body, "content", "Blob")
        try:
            base64_given = body.get("encoding") == "base64"
            data = base64.b64decode(content, validate=True) if base64_given else content.encode()
        except binascii.Error:
            raise ApiError(422, "content is not valid Base64") from None
        bare = _not_empty(hub.git.bare(request.repo))
        return Reply(201, _short_blob(hub, request.repo, bare.write_blobs([data])[0]))

    async def get_tree(request: Request) -> Reply:
        bare, name = _not_empty(hub.git.bare(request.repo)), request.params["tree"]
        commit = bare.resolve(name)
        sha = bare.objects([f"{commit or name}^{{tree}}"])[0][0]
        if sha is None:
            raise not_found()
        # GitHub takes any value of `recursive`, even "0", as yes.
        rows = bare.tree(sha, recursive="recursive" in request.query)
        limit = hub.git.tree_limit
        return Reply(200, _tree(hub, request.repo, sha, bare, rows[:limit], len(rows) > limit))

    async def create_tree(request: Request) -> Reply:
        repo, bare = request.repo, _not_empty(hub.git.bare(request.repo))
        sha = _create_tree(bare, request.body())
        return Reply(201, _tree(hub, repo, sha, bare, bare.tree(sha), False))

    async def get_commit(request: Request) -> Reply:
        bare, sha = hub.git.bare(request.repo), request.params["sha"]
        if bare.objects([sha])[0] != (sha, "commit"):
            raise not_found()
        return Reply(200, present_git.git_commit(hub, request.repo, bare.commit(sha)))

    async def create_commit(request: Request) -> Reply:
        repo, body, bare = request.repo, request.body(), _not_empty(hub.git.bare(request.repo))
        tree = text_field(body, "tree", "Commit")
        parents = [str(p) for p in cast("list[object]", body.get("parents") or [])]
        kinds = bare.objects([tree, *parents])
        if kinds[0][1] != "tree":
            raise ApiError(422, "Tree SHA does not exist")
        if any(kind != "commit" for _, kind in kinds[1:]):
            raise ApiError(422, "Parent SHA does not exist or is not a commit object")
        default = hub.git.ident(request.actor.user)
        author = _person(body.get("author"), default)
        committer = _person(body.get("committer") or body.get("author"), default)
        message = text_field(body, "message", "Commit")
        sha = bare.write_commit(tree, parents, message, author, committer)
        return Reply(201, present_git.git_commit(hub, repo, bare.commit(sha)))

    async def get_ref(request: Request) -> Reply:
        bare, name = hub.git.bare(request.repo), f"refs/{request.params['ref']}"
        sha, kind = bare.objects([name])[0]
        if sha is None or kind is None:
            if not bare.refs("refs/heads/"):
                raise ApiError(409, EMPTY)
            raise not_found()
        return Reply(200, present_git.ref(hub, request.repo, name, sha, kind))

    async def matching_refs(request: Request) -> Reply:
        bare = hub.git.bare(request.repo)
        found = bare.refs(f"refs/{request.params['ref']}")
        kinds = bare.objects(list(found.values()))
        rows = [
            present_git.ref(hub, request.repo, name, sha, kind)
            for (name, sha), (_, kind) in zip(found.items(), kinds, strict=True)
            if kind is not None
        ]
        # Unlike other lists this one has no pages.
        return Reply(200, rows)

    async def create_ref(request: Request) -> Reply:
        body = request.body()
        name, sha = text_field(body, "ref", "Reference"), text_field(body, "sha", "Reference")
        bare = hub.git.bare(request.repo)
        if not name.startswith("refs/") or name.count("/") < MIN_REF_PARTS - 1:
            message = "Reference name must start with 'refs/' and have at least three components."
            raise ApiError(422, message)
        _not_empty(bare)
        if not bare.valid_ref_name(name):
            raise ApiError(422, f"{name} is not a valid ref name.")
        full, kind = bare.objects([sha])[0]
        if full != sha or kind is None:
            raise ApiError(422, "Object does not exist")
        if name.startswith("refs/heads/") and kind != "commit":
            raise ApiError(422, "Reference update failed")
        if bare.ref(name) is not None:
            raise ApiError(422, "Reference already exists")
        _move(hub, request, RefUpdate(name, ZERO_OID, sha), "Reference already exists")
        return Reply(201, present_git.ref(hub, request.repo, name, sha, kind))

    async def update_ref(request: Request) -> Reply:
        body, bare = request.body(), hub.git.bare(request.repo)
        name, sha = f"refs/{request.params['ref']}", text_field(body, "sha", "Reference")
        _not_empty(bare)
        (full, kind), (now, _) = bare.objects([sha, name])
        if now is None:
            raise ApiError(422, "Reference does not exist")
        if full != sha or kind is None:
            raise ApiError(422, "Object does not exist")
        if not body.get("force") and not bare.is_ancestor(now, sha):
            raise ApiError(422, "Update is not a fast forward")
        _move(hub, request, RefUpdate(name, now, sha), "Reference update failed")
        return Reply(200, present_git.ref(hub, request.repo, name, sha, kind))

    async def delete_ref(request: Request) -> Reply:
        name, bare = f"refs/{request.params['ref']}", hub.git.bare(request.repo)
        now = bare.ref(name)
        if now is None:
            raise ApiError(422, "Reference does not exist")
        if name == f"refs/heads/{request.repo.default_branch}":
            raise ApiError(422, "Cannot delete the default branch")
        _move(hub, request, RefUpdate(name, now, ZERO_OID), "Reference update failed")
        return Reply(204)

    return [
        Route("GET", f"{_GIT}/blobs/{{sha}}", get_blob, _READ),
        Route("POST", f"{_GIT}/blobs", create_blob, _WRITE),
        Route("GET", f"{_GIT}/trees/{{tree+}}", get_tree, _READ),
        Route("POST", f"{_GIT}/trees", create_tree, _WRITE),
        Route("GET", f"{_GIT}/commits/{{sha}}", get_commit, _READ),
        Route("POST", f"{_GIT}/commits", create_commit, _WRITE),
        Route("GET", f"{_GIT}/ref/{{ref+}}", get_ref, _READ),
        Route("GET", f"{_GIT}/matching-refs/{{ref...}}", matching_refs, _READ),
        Route("POST", f"{_GIT}/refs", create_ref, _WRITE),
        Route("PATCH", f"{_GIT}/refs/{{ref+}}", update_ref, _WRITE),
        Route("DELETE", f"{_GIT}/refs/{{ref+}}", delete_ref, _WRITE),
    ]


def _not_empty(bare: BareRepo) -> BareRepo:
    if not bare.refs("refs/heads/"):
        raise ApiError(409, EMPTY)
    return bare


def _move(hub: Hub, request: Request, update: RefUpdate, lost: str) -> None:
    try:
        hub.git.move(request.repo, [update], request.actor)
    except RefusedError as error:
        raise ApiError(403 if error.forbidden else 422, str(error)) from error
    except RefConflictError as error:
        raise ApiError(422, lost) from error


def _short_blob(hub: Hub, repo: Repository, sha: str) -> Json:
    return {"sha": sha, "url": f"{present_git.api(hub, repo)}/git/blobs/{sha}"}


def _tree(hub: Hub, repo: Repository, sha: str, bare: BareRepo, rows: list[TreeEntry], cut: bool) -> Json:
    return {
        "sha": sha,
        "url": f"{present_git.api(hub, repo)}/git/trees/{sha}",
        "tree": [present_git.tree_entry(hub, repo, entry) for entry in rows],
        "truncated": cut,
    }


def _create_tree(bare: BareRepo, body: Json) -> str:
    rows = body.get("tree")
    if not isinstance(rows, list):
        raise ApiError(422, "Invalid tree info")
    base = body.get("base_tree")
    base_sha = bare.objects([f"{base}^{{tree}}"])[0][0] if base else None
    if base and base_sha is None:
        raise ApiError(422, "base_tree is not a valid tree oid")
    contents = [r for r in rows if isinstance(r, dict) and isinstance(r.get("content"), str)]
    written = iter(bare.write_blobs([str(r["content"]).encode() for r in contents]))
    changes: list[tuple[str, str | None, str | None]] = []
    for row in rows:
        path = row.get("path") if isinstance(row, dict) else None
        if not isinstance(path, str) or not _safe_path(path):
            raise ApiError(422, "tree.path contains a malformed path component")
        mode = str(row.get("mode", "100644"))
        if mode not in _MODES:
            raise ApiError(422, "tree.mode must be one of 100644, 100755, 040000, 160000, 120000")
        if isinstance(row.get("content"), str):
            changes.append((path, mode, next(written)))
        elif row.get("sha") is None:
            changes.append((path, mode, None))
        else:
            sha = str(row["sha"])
            if mode != "160000" and bare.objects([sha])[0][1] != _MODES[mode]:
                raise ApiError(422, f"tree.sha {sha} is not a valid {_MODES[mode]}")
            changes.append((path, mode, sha))
    try:
        return bare.write_tree(base_sha, changes)
    except GitError as error:
        raise ApiError(422, f"Invalid tree info: {error.stderr}") from error


def _safe_path(path: str) -> bool:
    parts = path.split("/")
    return all(p not in {"", ".", ".."} and p.lower() != ".git" for p in parts) and "\0" not in path


def _person(given: object, default: Ident) -> Ident:
    if not isinstance(given, dict):
        return default
    if not isinstance(given.get("name"), str) or not isinstance(given.get("email"), str):
        raise invalid("Commit", "author")
    at = default.at
    if isinstance(given.get("date"), str):
        try:
            at = datetime.fromisoformat(given["date"])
        except ValueError:
            raise invalid("Commit", "date") from None
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return Ident(given["name"], given["email"], at)
