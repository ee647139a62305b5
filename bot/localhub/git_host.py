"""Git as the hub offers it: repositories by record, checked reference changes, and what follows.

Promise: however a reference moves (push, REST, GraphQL, merge), `announce` runs once per moved
reference afterwards: webhooks `create`, `delete`, `push`, then pull requests, then workflows. What
GitHub refuses is refused before anything moves: protected branches, hidden `refs/pull/*`, workflow
files from an App without the `workflows` permission, non-fast-forwards without force.

Known race: a push through `git http-backend` moves the reference before its webhooks are queued,
so another request can see the new commit first; GitHub has the same window.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Final

from bot.localhub import present
from bot.localhub.actor import Actor, ActorKind, level_covers
from bot.localhub.git import BareRepo
from bot.localhub.git_model import (
    EMPTY_TREE,
    ZERO_OID,
    Commit,
    Ident,
    RefConflictError,
    RefUpdate,
)
from bot.localhub.model import Account, Json, Repository
from bot.localhub.ports import GitObject
from bot.localhub.ports import RefConflictError as PortConflictError
from bot.localhub.ports import RefUpdate as PortUpdate

if TYPE_CHECKING:
    from bot.localhub.hub import Hub

WORKFLOWS: Final = ".github/workflows/"
MAX_PUSH_COMMITS: Final = 2048  # GitHub cuts the `commits` of a push payload here
MAX_TAG_EVENTS: Final = 3  # pushing more tags than this at once sends no events for them

MAX_TREE_ENTRIES: Final = 100_000  # GitHub cuts recursive tree listings here

# $HUB_CLOSED: protected refs, one a line. $HUB_WORKFLOWS: "no" when workflow files are off limits.
PRE_RECEIVE: Final = """\
#!/bin/sh
zero=0000000000000000000000000000000000000000
newline='
'
while read -r old new ref; do
  case "$ref" in
    refs/pull/*|refs/hub/*) echo "error: deny updating a hidden ref $ref" >&2; exit 1;;
  esac
  case "$newline$HUB_CLOSED$newline" in
    *"$newline$ref$newline"*)
      echo "error: GH006: Protected branch update failed for $ref." >&2
      echo "error: Changes must be made through a pull request." >&2
      exit 1;;
  esac
  if [ "$HUB_WORKFLOWS" = no ] && [ "$new" != "$zero" ]; then
    head=$(git rev-parse --quiet --verify HEAD) || head=4b825dc642cb6eb9a060e54bf8d69288fbee4904
    base=$old
    kept=
    [ "$base" = "$zero" ] && base=$head && kept=--diff-filter=d
    touched=$(git diff --name-only $kept "$base" "$new" -- .github/workflows)
    IFS=$newline
    for path in $touched; do
      git diff --quiet "$head" "$new" -- "$path" || {
        printf 'refusing to allow a GitHub App to create or update workflow `%s`' "$path" >&2
        echo ' without `workflows` permission' >&2
        exit 1
      }
    done
    unset IFS
  fi
done
"""
POST_RECEIVE: Final = '#!/bin/sh\nexec cat >> "$HUB_MOVED"\n'


class RefusedError(Exception):
    """A rule forbids this reference change; `forbidden` tells missing permission from a rule."""

    def __init__(self, message: str, *, forbidden: bool = False) -> None:
        super().__init__(message)
        self.forbidden = forbidden


@dataclass(frozen=True)
class Moved:
    """One reference that has moved; zeros stand for "was not there" and "is gone"."""

    ref: str
    before: str
    after: str

    @property
    def branch(self) -> str | None:
        return self.ref[11:] if self.ref.startswith("refs/heads/") else None


class GitHost:
    """All repositories of a hub."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self._bare: dict[int, BareRepo] = {}
        self.tree_limit = MAX_TREE_ENTRIES
        """Rows after which a tree listing is cut; set it low to see `truncated`."""
        self.closed_namespaces: tuple[str, ...] = ()
        """Prefixes of refs that nobody may make or move, as a ruleset may; what GitHub says then is not documented."""

    def bare(self, repo: Repository) -> BareRepo:
        """The storage of a repository."""
        found = self._bare.get(repo.id)
        if found is None:
            found = self._bare[repo.id] = BareRepo(repo.git_dir)
        return found

    def ident(self, account: Account) -> Ident:
        """Author of commits an account makes through the API: the no-reply address GitHub uses."""
        email = f"{account.id}+{account.login}@users.noreply.github.com"
        return Ident(account.name or account.login, email, self.hub.now())

    def account_of(self, ident: Ident) -> Account | None:
        """The account behind a commit's address, or None."""
        local, _, host = ident.email.partition("@")
        number = local.partition("+")[0]
        if host != "users.noreply.github.com" or not number.isdigit():
            return None
        return self.hub.accounts.get(int(number))

    def init(self, repo: Repository, files: Mapping[str, str | bytes]) -> None:
        """Create the repository; with files also one commit on the default branch."""
        hooks = {"pre-receive": PRE_RECEIVE, "post-receive": POST_RECEIVE}
        bare = self._bare[repo.id] = BareRepo.create(repo.git_dir, repo.default_branch, hooks)
        if files:
            sha = bare.commit_files(None, files, "Initial commit", self.ident(repo.owner))
            bare.update_refs([RefUpdate(f"refs/heads/{repo.default_branch}", ZERO_OID, sha)])

    async def refs(self, repo: Repository) -> dict[str, str]:
        """All refs, full name to object id."""
        return self.bare(repo).refs()

    async def update_refs(self, repo: Repository, updates: Sequence[PortUpdate], actor: Actor) -> None:
        """All or nothing. Raises the port's RefConflictError."""
        try:
            for update in updates:
                self._check_update(repo, update)
            rows = [RefUpdate(update.name, update.before, update.after) for update in updates]
            self.move(repo, rows, actor)
        except (RefusedError, RefConflictError) as error:
            raise PortConflictError(str(error)) from error

    def _check_update(self, repo: Repository, update: PortUpdate) -> None:
        bare = self.bare(repo)
        if not update.name.startswith("refs/") or not bare.valid_ref_name(update.name):
            raise RefusedError(f"{update.name} is not a valid ref name")
        now = bare.ref(update.name)
        if update.after != ZERO_OID and not bare.objects([update.after])[0][0]:
            raise RefusedError(f"object {update.after} does not exist")
        moves = now is not None and update.after != ZERO_OID
        if moves and not update.force and not bare.is_ancestor(now or "", update.after):
            raise RefusedError(f"update of {update.name} is not a fast forward")

    async def lookup(self, repo: Repository, expression: str) -> GitObject | None:
        """The object of a revision expression such as `main:README.md`, or None."""
        bare = self.bare(repo)
        rev, colon, path = expression.partition(":")
        commit = bare.resolve(rev)
        name = f"{commit}:{path}" if colon and commit else (commit or rev)
        sha, kind = bare.objects([name])[0]
        if sha is None or kind is None:
            return None
        data = bare.run("cat-file", kind, sha)
        text = None
        if kind == "blob" and b"\0" not in data:
            text = data.decode("utf-8", "replace")
        message = bare.commit(sha).message if kind == "commit" else ""
        return GitObject(kind, sha, text, len(data), message)

    # --- changing references ---

    def move(
        self,
        repo: Repository,
        updates: Sequence[RefUpdate],
        actor: Actor,
        *,
        bypass: bool = False,
    ) -> list[Moved]:
        """Check, change in one transaction, announce.

        `bypass` is for merges, whose own conditions stand in for the branch rule. Raises
        RefusedError and RefConflictError; then nothing has changed.
        """
        bare = self.bare(repo)
        names = [f"{u.name}" for u in updates]
        before = [sha or ZERO_OID for sha, _ in bare.objects(names)] if names else []
        closed = () if bypass else self.hub.rules.closed_refs(repo, actor.user.id)
        for update, old in zip(updates, before, strict=True):
            if self.closed_namespaces and update.name.startswith(self.closed_namespaces):
                raise RefusedError(f"Repository rule violations found for {update.name}")
            if update.name in closed:
                raise RefusedError(f"Protected branch update failed for {update.name}.")
            self._check_workflows(repo, bare, old, update.after, actor)
        # The value just read is the expectation where the caller has none: the push event must
        # name the true predecessor, and a push beside us makes this transaction fail cleanly.
        rows = [
            RefUpdate(u.name, old if u.before is None else u.before, u.after)
            for u, old in zip(updates, before, strict=True)
        ]
        bare.update_refs(rows)
        moved = [Moved(u.name, old, u.after) for u, old in zip(updates, before, strict=True) if old != u.after]
        self.announce(repo, moved, actor)
        return moved

    def commit(
        self,
        repo: Repository,
        files: Mapping[str, str | bytes | None],
        *,
        by: Account,
        branch: str | None = None,
        message: str = "Update files",
        parent: str | None = None,
    ) -> str:
        """Commit files to a branch (made from the default branch if new) as a person's push."""
        bare = self.bare(repo)
        name = branch or repo.default_branch
        tip = bare.ref(f"refs/heads/{name}")
        base = parent or tip or bare.resolve(repo.default_branch)
        sha = bare.commit_files(base, files, message, self.ident(by))
        actor = Actor(ActorKind.USER, by)
        self.move(repo, [RefUpdate(f"refs/heads/{name}", tip or ZERO_OID, sha)], actor)
        return sha

    def may_touch_workflows(self, actor: Actor) -> bool:
        """Whether commits of this actor may change workflow files."""
        return not actor.is_app or level_covers(actor.permissions.get("workflows"), "write")

    def _check_workflows(self, repo: Repository, bare: BareRepo, before: str, after: str, actor: Actor) -> None:
        if after == ZERO_OID or self.may_touch_workflows(actor):
            return
        if bare.objects([f"{after}^{{tree}}"])[0][0] is None:
            return  # a reference to a blob carries no workflow
        head = bare.resolve(repo.default_branch) or EMPTY_TREE
        base = head if before == ZERO_OID else before
        default = {c.path for c in bare.diff(head, after, patches=False)}
        for change in bare.diff(base, after, patches=False):
            if before == ZERO_OID and change.status == "removed":
                continue  # a new ref without the file creates and updates no workflow
            if change.path.startswith(WORKFLOWS) and change.path in default:
                raise RefusedError("Resource not accessible by integration", forbidden=True)

    # --- what follows ---

    def announce(self, repo: Repository, moved: Sequence[Moved], actor: Actor) -> None:
        """Webhooks, pull requests and workflows for references that have moved."""
        hub, sender = self.hub, actor.user
        tags = [m for m in moved if m.ref.startswith("refs/tags/")]
        for move in moved:
            if move.branch is None and move.ref not in {t.ref for t in tags}:
                continue  # other namespaces are nobody's event
            if move in tags and len(tags) > MAX_TAG_EVENTS:
                continue
            repo.pushed_at = repo.updated_at = hub.now()
            kind = "branch" if move.branch is not None else "tag"
            short = move.ref.split("/", 2)[2]
            simple: Json = {"ref": short, "ref_type": kind, "pusher_type": "user"}
            if move.before == ZERO_OID:
                more: Json = {"master_branch": repo.default_branch, "description": None}
                hub.emit("create", None, repo, sender, simple | more)
            if move.after == ZERO_OID:
                hub.emit("delete", None, repo, sender, simple)
            payload = self.push_payload(repo, move, actor)
            hub.emit("push", None, repo, sender, payload)
            if move.branch is not None:
                hub.pulls.branch_moved(repo, move.branch, move.before, move.after, actor)
            hub.actions.on_push(repo, move.ref, move.before, move.after, actor, payload)

    def push_payload(self, repo: Repository, move: Moved, actor: Actor) -> Json:
        """The members of a `push` webhook that are about the push."""
        bare, hub = self.bare(repo), self.hub
        commits: list[Json] = []
        head: Json | None = None
        forced = False
        if move.after != ZERO_OID and bare.objects([move.after])[0][1] == "commit":
            default = bare.resolve(repo.default_branch)
            known = move.before if move.before != ZERO_OID else default
            forced = move.before != ZERO_OID and not bare.is_ancestor(move.before, move.after)
            start = [f"^{known}"] if known and known != move.after else []
            new = [] if known == move.after else bare.log(move.after, *start)
            paths = changed_names(bare, [c.sha for c in new[:MAX_PUSH_COMMITS]])
            rows = [self._push_commit(repo, c, paths.get(c.sha, {})) for c in new[:MAX_PUSH_COMMITS]]
            commits = rows[::-1]
            last = bare.commit(move.after)
            head = self._push_commit(repo, last, paths.get(last.sha, {}))
        author = self.ident(actor.user)
        web = f"{hub.html_url}/{repo.full_name}"
        return {
            "ref": move.ref,
            "before": move.before,
            "after": move.after,
            "base_ref": None,
            "created": move.before == ZERO_OID,
            "deleted": move.after == ZERO_OID,
            "forced": forced,
            "compare": f"{web}/compare/{move.before[:12]}...{move.after[:12]}",
            "commits": commits,
            "head_commit": head,
            "pusher": {"name": actor.user.login, "email": author.email},
        }

    def _push_commit(self, repo: Repository, commit: Commit, paths: Mapping[str, list[str]]) -> Json:
        def person(ident: Ident) -> Json:
            row: Json = {"name": ident.name, "email": ident.email, "date": present.time(ident.at)}
            account = self.account_of(ident)
            return row if account is None else row | {"username": account.login}

        return {
            "id": commit.sha,
            "tree_id": commit.tree,
            "distinct": True,
            "message": commit.message.rstrip("\n"),
            "timestamp": commit.committer.at.astimezone(UTC).isoformat(),
            "url": f"{self.hub.html_url}/{repo.full_name}/commit/{commit.sha}",
            "author": person(commit.author),
            "committer": person(commit.committer),
            "added": paths.get("A", []),
            "removed": paths.get("D", []),
            "modified": paths.get("M", []),
        }


def changed_names(bare: BareRepo, commits: Sequence[str]) -> dict[str, dict[str, list[str]]]:
    """Per commit the paths added (A), removed (D) and modified (M), with one process for all."""
    if not commits:
        return {}
    stdin = "".join(f"{sha}\n" for sha in commits).encode()
    args = ("diff-tree", "--stdin", "-r", "--root", "-m", "--first-parent", "--name-status", "-z")
    words = bare.run(*args, stdin=stdin).decode("utf-8", "surrogateescape").split("\0")
    found: dict[str, dict[str, list[str]]] = {}
    rows: dict[str, list[str]] = {}
    at = 0
    while at < len(words) and words[at]:
        if len(words[at]) > 1:  # a commit id; a status is one letter
            rows = found.setdefault(words[at], {})
            at += 1
        else:
            kind = words[at] if words[at] in "AD" else "M"
            rows.setdefault(kind, []).append(words[at + 1])
            at += 2
    return found
