"""JSON of commits, trees, comparisons and files as GitHub's REST API shows them.

Promise: every object has the members that GitHub's OpenAPI description requires. Reads the bare
repository where a member needs it; changes nothing.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from bot.localhub import present
from bot.localhub.git_model import Commit, Comparison, FileChange, Ident, TreeEntry
from bot.localhub.model import Account, Json, Repository

if TYPE_CHECKING:
    from bot.localhub.hub import Hub

UNSIGNED: Json = {
    "verified": False,
    "reason": "unsigned",
    "signature": None,
    "payload": None,
    "verified_at": None,
}


def api(hub: Hub, repo: Repository) -> str:
    """Root of the repository's REST addresses."""
    return f"{hub.api_url}/repos/{repo.full_name}"


def web(hub: Hub, repo: Repository) -> str:
    """Root of the repository's pages."""
    return f"{hub.html_url}/{repo.full_name}"


def node(hub: Hub, repo: Repository, sha: str) -> str:
    """Node id of a git object."""
    return f"{hub.node_id('C', repo.id)}{sha[:16]}"


def ident(who: Ident) -> Json:
    return {"name": who.name, "email": who.email, "date": present.time(who.at)}


def git_commit(hub: Hub, repo: Repository, commit: Commit) -> Json:
    """A `git-commit`."""
    root, page = api(hub, repo), web(hub, repo)
    return {
        "sha": commit.sha,
        "node_id": node(hub, repo, commit.sha),
        "url": f"{root}/git/commits/{commit.sha}",
        "html_url": f"{page}/commit/{commit.sha}",
        "author": ident(commit.author),
        "committer": ident(commit.committer),
        "message": commit.message.rstrip("\n"),
        "tree": {"sha": commit.tree, "url": f"{root}/git/trees/{commit.tree}"},
        "parents": [
            {"sha": p, "url": f"{root}/git/commits/{p}", "html_url": f"{page}/commit/{p}"} for p in commit.parents
        ],
        "verification": UNSIGNED,
    }


def _person(hub: Hub, who: Ident) -> Json | None:
    account: Account | None = hub.git.account_of(who)
    return present.maybe_user(hub, account)


def commit(hub: Hub, repo: Repository, item: Commit, files: list[FileChange] | None = None) -> Json:
    """A `commit`; with `files` also its statistics."""
    root, page = api(hub, repo), web(hub, repo)
    out: Json = {
        "url": f"{root}/commits/{item.sha}",
        "sha": item.sha,
        "node_id": node(hub, repo, item.sha),
        "html_url": f"{page}/commit/{item.sha}",
        "comments_url": f"{root}/commits/{item.sha}/comments",
        "commit": {
            "url": f"{root}/git/commits/{item.sha}",
            "author": ident(item.author),
            "committer": ident(item.committer),
            "message": item.message.rstrip("\n"),
            "comment_count": 0,
            "tree": {"sha": item.tree, "url": f"{root}/git/trees/{item.tree}"},
            "verification": UNSIGNED,
        },
        "author": _person(hub, item.author),
        "committer": _person(hub, item.committer),
        "parents": [{"sha": p, "url": f"{root}/commits/{p}", "html_url": f"{page}/commit/{p}"} for p in item.parents],
    }
    if files is not None:
        added, removed = sum(f.additions for f in files), sum(f.deletions for f in files)
        out["stats"] = {"additions": added, "deletions": removed, "total": added + removed}
        out["files"] = [file_change(hub, repo, item.sha, f) for f in files]
    return out


def simple_commit(item: Commit) -> Json:
    """A `simple-commit`, as runs and suites show their head."""
    return {
        "id": item.sha,
        "tree_id": item.tree,
        "message": item.message.rstrip("\n"),
        "timestamp": present.time(item.committer.at),
        "author": {"name": item.author.name, "email": item.author.email},
        "committer": {"name": item.committer.name, "email": item.committer.email},
    }


def file_change(hub: Hub, repo: Repository, sha: str, change: FileChange) -> Json:
    """A `diff-entry`."""
    page = web(hub, repo)
    out: Json = {
        "sha": change.sha,
        "filename": change.path,
        "status": change.status,
        "additions": change.additions,
        "deletions": change.deletions,
        "changes": change.additions + change.deletions,
        "blob_url": f"{page}/blob/{sha}/{change.path}",
        "raw_url": f"{page}/raw/{sha}/{change.path}",
        "contents_url": f"{api(hub, repo)}/contents/{change.path}?ref={sha}",
    }
    if change.patch is not None:
        out["patch"] = change.patch
    if change.previous is not None:
        out["previous_filename"] = change.previous
    return out


def comparison(hub: Hub, repo: Repository, seen: Comparison, basehead: str) -> Json:
    """A `commit-comparison`, without pagination of its commits."""
    page, bare = web(hub, repo), hub.git.bare(repo)
    link = f"{page}/compare/{basehead}"
    return {
        "url": f"{api(hub, repo)}/compare/{basehead}",
        "html_url": link,
        "permalink_url": f"{page}/compare/{seen.base[:7]}...{seen.head[:7]}",
        "diff_url": f"{link}.diff",
        "patch_url": f"{link}.patch",
        "base_commit": commit(hub, repo, bare.commit(seen.base)),
        "merge_base_commit": commit(hub, repo, bare.commit(seen.merge_base)),
        "status": seen.status,
        "ahead_by": seen.ahead_by,
        "behind_by": seen.behind_by,
        "total_commits": len(seen.commits),
        "commits": [commit(hub, repo, c) for c in seen.commits],
        "files": [file_change(hub, repo, seen.head, f) for f in seen.files],
    }


def ref(hub: Hub, repo: Repository, name: str, sha: str, kind: str) -> Json:
    """A `git-ref`."""
    root = api(hub, repo)
    plural = {"commit": "commits", "tag": "tags", "tree": "trees", "blob": "blobs"}[kind]
    return {
        "ref": name,
        "node_id": hub.node_id("REF", repo.id) + base64.urlsafe_b64encode(name.encode()).decode(),
        "url": f"{root}/git/{name}",
        "object": {"sha": sha, "type": kind, "url": f"{root}/git/{plural}/{sha}"},
    }


def tree_entry(hub: Hub, repo: Repository, entry: TreeEntry) -> Json:
    """A row of a `git-tree`."""
    out: Json = {"path": entry.path, "mode": entry.mode, "type": entry.type, "sha": entry.sha}
    if entry.size is not None:
        out["size"] = entry.size
    if entry.type != "commit":
        kind = "trees" if entry.type == "tree" else "blobs"
        out["url"] = f"{api(hub, repo)}/git/{kind}/{entry.sha}"
    return out


def content(hub: Hub, repo: Repository, entry: TreeEntry, rev: str, data: bytes | None = None) -> Json:
    """A `content-file` (with `data`) or a row of a directory listing."""
    root, page = api(hub, repo), web(hub, repo)
    kind = {"tree": "dir", "blob": "file", "commit": "submodule"}[entry.type]
    if entry.mode == "120000":
        kind = "symlink"
    url = f"{root}/contents/{entry.path}?ref={rev}"
    git_kind = "trees" if entry.type == "tree" else "blobs"
    git_url = f"{root}/git/{git_kind}/{entry.sha}"
    html_url = f"{page}/{'tree' if entry.type == 'tree' else 'blob'}/{rev}/{entry.path}"
    out: Json = {
        "name": entry.path.rsplit("/", 1)[-1],
        "path": entry.path,
        "sha": entry.sha,
        "size": entry.size or 0,
        "url": url,
        "html_url": html_url,
        "git_url": git_url,
        "download_url": f"{page}/raw/{rev}/{entry.path}" if entry.type == "blob" else None,
        "type": kind,
        "_links": {"self": url, "git": git_url, "html": html_url},
    }
    if data is not None:
        out["content"] = base64.encodebytes(data).decode()
        out["encoding"] = "base64"
    return out
