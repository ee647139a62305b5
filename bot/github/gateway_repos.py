"""Repositories, trees, files, roles: what is there and who may do what.

Promises: a missing folder or file is None, a commit that GitHub does not show is NotFound (it may only be early, and
must not look like an empty backlog). `file` gives regular files only. Roles fail closed: another account under the
login, a bot, or nobody is `Role.NONE`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping

from bot.domain.model import Person, RepoKey, Role
from bot.errors import Conflict, Invalid, Unavailable
from bot.github.answers import read
from bot.github.base import GatewayBase, fetch_repo
from bot.github.limits import Lane
from bot.github.shapes import (
    BlobShape,
    CommitShape,
    ComparisonShape,
    ContentShape,
    ObjectShape,
    PermissionShape,
    RefShape,
    RepoShape,
    TreeShape,
    WorkflowShape,
)
from bot.protocols.github import RepoView, Tree, TreeEntry

MAX_BLOB = 10 * 1024 * 1024
"""Bytes of a blob we fetch: a plan or policy is far smaller, and Base64 must fit the cap on answers."""

ROLES: Mapping[str, Role] = {
    "admin": Role.ADMIN,
    "maintain": Role.MAINTAIN,
    "write": Role.WRITE,
    "triage": Role.TRIAGE,
    "read": Role.READ,
    "none": Role.NONE,
}
"""GitHub's own role names; a custom role falls back to the basic permission it grants."""


class RepoVerbs(GatewayBase):
    """Verbs about a repository and its files."""

    async def repository(self, key: RepoKey) -> RepoView:
        """The repository as it is now, also after a rename. Raises NotFound."""
        owner, name = await self._name(key)
        shape = await fetch_repo(self._client(key.installation), key.repo, f"{owner}/{name}")
        self._names.learn(key, shape.full_name)
        return await self._view(key, shape)

    async def head(self, key: RepoKey, branch: str) -> str | None:
        """The SHA of a branch, None when it does not exist or the repository is empty."""
        path = "/git/ref/heads{/branch*}"
        try:
            answer = await self._find(key, path, {"branch": branch.split("/")})
        except Conflict:
            return None  # an empty repository answers 409
        if answer is None:
            return None
        return self._read(RefShape, answer, f"GET {path}").object.sha

    async def commits_beyond(self, key: RepoKey, base: str, head: str) -> int:
        """How many commits `head` has that `base` has not; 0 also when they have no common history."""
        path = "/compare/{basehead}"
        answer = await self._find(key, path, {"basehead": f"{base}...{head}"}, query={"per_page": 1})
        return 0 if answer is None else self._read(ComparisonShape, answer, f"GET {path}").ahead_by

    async def tree(self, key: RepoKey, commit: str, path: str, *, recursive: bool) -> Tree | None:
        """The tree at `path` of a commit (empty path: the root), None when there is no such folder.

        Walks from the root, one request a level, because the API documents trees by SHA only; each is immutable and
        answered from the ETag cache the next time.
        """
        segments = [part for part in path.split("/") if part]
        sha = commit
        for depth in range(len(segments) + 1):
            last = depth == len(segments)
            shape = await self._tree(key, sha, recursive=recursive and last)
            if shape is None:
                return None
            if last:
                entries = tuple(TreeEntry(x.path, x.mode, x.type, x.sha, x.size) for x in shape.tree)
                return Tree(shape.sha, entries, shape.truncated)
            below = next((x for x in shape.tree if x.path == segments[depth] and x.type == "tree"), None)
            if below is None:
                if shape.truncated:
                    raise Unavailable("GitHub cut the list of a folder", request="GET /git/trees/{tree_sha}")
                return None
            sha = below.sha
        raise AssertionError("the last level returns")

    async def blob(self, key: RepoKey, sha: str) -> bytes:
        """The content of a blob. Raises Invalid above MAX_BLOB bytes."""
        path = "/git/blobs/{file_sha}"
        shape = self._read(BlobShape, await self._send(key, "GET", path, {"file_sha": sha}), f"GET {path}")
        if shape.size > MAX_BLOB:
            raise Invalid(f"the blob has {shape.size} bytes, more than {MAX_BLOB}", request=f"GET {path}")
        return decoded(shape.content, shape.encoding, f"GET {path}")

    async def file(self, key: RepoKey, path: str, ref: str) -> tuple[str, bytes] | None:
        """(blob SHA, content) of a file, None when absent. Raises Invalid for folders, symlinks and submodules."""
        template = "/contents{/path*}"
        label = f"GET {template}"
        answer = await self._find(key, template, {"path": path.split("/")}, query={"ref": ref})
        if answer is None:
            return None
        if isinstance(answer.data, list):
            raise Invalid(f"{path} is a folder, not a file", request=label)
        shape = self._read(ContentShape, answer, label)
        if shape.type != "file":
            raise Invalid(f"{path} is a {shape.type}, not a file", request=label)
        if shape.encoding == "none" and shape.size > 0:
            return shape.sha, await self.blob(key, shape.sha)  # above 1 MB the content is left out
        content = decoded(shape.content, shape.encoding, label)
        # The API follows a symlink and then shows its target: another path, or content that is not the blob named.
        if shape.path != path or shape.sha != blob_sha(content):
            raise Invalid(f"{path} is a symlink, not a file", request=label)
        return shape.sha, content

    async def role(self, key: RepoKey, person: Person) -> Role:
        """The person's role now, from `role_name`. NONE for bots, strangers and another account under the login."""
        if person.is_bot:
            return Role.NONE
        path = "/collaborators/{username}/permission"
        answer = await self._find(key, path, {"username": person.login})
        if answer is None:
            return Role.NONE
        shape = self._read(PermissionShape, answer, f"GET {path}")
        if shape.user is None or shape.user.id != person.id or shape.user.type == "Bot":
            return Role.NONE
        return ROLES.get(shape.role_name, ROLES.get(shape.permission, Role.NONE))

    async def assignable(self, key: RepoKey, login: str) -> bool:
        """Whether GitHub would accept this assignee."""
        return await self._find(key, "/assignees/{assignee}", {"assignee": login}) is not None

    async def environment_exists(self, key: RepoKey, name: str) -> bool:
        return await self._find(key, "/environments/{environment_name}", {"environment_name": name}) is not None

    async def workflow_state(self, key: RepoKey, file: str) -> str | None:
        """`active`, `disabled_…`, or None when GitHub knows no such workflow."""
        path = "/actions/workflows/{workflow_id}"
        answer = await self._find(key, path, {"workflow_id": workflow_id(file)})
        if answer is None:
            return None
        return self._read(WorkflowShape, answer, f"GET {path}").state

    async def _view(self, key: RepoKey, shape: RepoShape) -> RepoView:
        """`size` is in kilobytes and late, so 0 only raises the question whether the repository is empty."""
        empty = shape.size == 0 and await self.head(key, shape.default_branch) is None
        return RepoView(
            key=key,
            node_id=shape.node_id,
            full_name=shape.full_name,
            owner_id=shape.owner.id,
            owner_login=shape.owner.login,
            default_branch=shape.default_branch,
            private=shape.private,
            archived=shape.archived,
            empty=empty,
            html_url=shape.html_url,
        )

    async def _tree(self, key: RepoKey, sha: str, *, recursive: bool) -> TreeShape | None:
        """None for an empty repository (409)."""
        path = "/git/trees/{tree_sha}"
        query: dict[str, str | int] = {"recursive": 1} if recursive else {}
        try:
            answer = await self._send(key, "GET", path, {"tree_sha": sha}, query=query)
        except Conflict:
            return None
        return self._read(TreeShape, answer, f"GET {path}")

    async def _commit_files(self, key: RepoKey, base: str, files: Mapping[str, str], message: str) -> CommitShape:
        """A commit on top of `base` with these files, not yet on any branch; safe to repeat, it only adds objects."""
        path = "/git/commits/{commit_sha}"
        parent = self._read(CommitShape, await self._send(key, "GET", path, {"commit_sha": base}), f"GET {path}")
        entries = [{"path": name, "mode": "100644", "type": "blob", "content": text} for name, text in files.items()]
        body: dict[str, object] = {"base_tree": parent.tree.sha, "tree": entries}
        answer = await self._send(key, "POST", "/git/trees", body=body, lane=Lane.BOARD)
        tree = self._read(ObjectShape, answer, "POST /git/trees")
        body = {"message": message, "tree": tree.sha, "parents": [base]}
        answer = await self._send(key, "POST", "/git/commits", body=body, lane=Lane.BOARD)
        return self._read(CommitShape, answer, "POST /git/commits")

    async def _commit_tree(self, key: RepoKey, sha: str) -> str:
        path = "/git/commits/{commit_sha}"
        return read(CommitShape, (await self._send(key, "GET", path, {"commit_sha": sha})).data, f"GET {path}").tree.sha


def decoded(content: str, encoding: str, request: str) -> bytes:
    """The bytes of a blob or file as the API wrote them. Raises Unavailable for anything but Base64 and UTF-8."""
    if encoding == "utf-8":
        return content.encode()
    if encoding not in {"base64", "none"}:
        raise Unavailable(f"unknown encoding {encoding!r}", request=request)
    try:
        return base64.b64decode(content)
    except binascii.Error:
        raise Unavailable("the content is not Base64", request=request) from None


def blob_sha(content: bytes) -> str:
    """git's name of a blob with this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def workflow_id(file: str) -> str:
    """The API names a workflow by its file name without the folder."""
    return file.rsplit("/", 1)[-1]
