"""Merging pull requests: merge commit, squash, rebase; and updating a branch from its base.

Promise: the reviewed head is an expectation (`sha`, `expected_head_sha`); the base moves by
compare-and-set, so a push between the trial and the merge gives an error and no merge. Words and
status codes are GitHub's: 405 not mergeable, 409 head modified.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, assert_never

from bot.localhub.actor import Actor
from bot.localhub.git_host import RefusedError
from bot.localhub.git_model import (
    ZERO_OID,
    Ident,
    MergeConflictError,
    RefConflictError,
    RefUpdate,
)
from bot.localhub.http import ApiError
from bot.localhub.pulls import Pull

if TYPE_CHECKING:
    from bot.localhub.hub import Hub

HEAD_MODIFIED = "Head branch was modified. Review and try the merge again."
BASE_MODIFIED = "Base branch was modified. Review and try the merge again."


class MergeMethod(Enum):
    """How the commits get into the base."""

    MERGE = "merge"
    SQUASH = "squash"
    REBASE = "rebase"


def merge(
    hub: Hub,
    pull: Pull,
    actor: Actor,
    *,
    sha: str | None = None,
    method: MergeMethod = MergeMethod.MERGE,
    title: str | None = None,
    message: str | None = None,
) -> str:
    """Merge and return the new base commit. Raises ApiError 405, 409 or 403."""
    _check(hub, pull, sha, method)
    bare, repo = hub.git.bare(pull.repo), pull.repo
    base = bare.ref(f"refs/heads/{pull.base_ref}") or ZERO_OID
    try:
        new = _new_base(hub, pull, base, hub.git.ident(actor.user), method, title, message)
    except MergeConflictError as error:
        raise ApiError(405, "Pull Request is not mergeable") from error
    pull.merging = True
    try:
        update = RefUpdate(f"refs/heads/{pull.base_ref}", base, new)
        hub.git.move(repo, [update], actor, bypass=True)
    except RefusedError as error:
        raise ApiError(403 if error.forbidden else 405, str(error)) from error
    except RefConflictError as error:
        raise ApiError(405, BASE_MODIFIED) from error
    finally:
        pull.merging = False
    hub.pulls.record_merge(pull, new, base, actor)
    if repo.delete_branch_on_merge and pull.head_repo is repo:
        _delete_head(hub, pull, actor)
    return new


def _check(hub: Hub, pull: Pull, sha: str | None, method: MergeMethod) -> None:
    repo = pull.repo
    allowed = {
        MergeMethod.MERGE: (repo.allow_merge_commit, "Merge commits are"),
        MergeMethod.SQUASH: (repo.allow_squash_merge, "Squash merges are"),
        MergeMethod.REBASE: (repo.allow_rebase_merge, "Rebase merges are"),
    }[method]
    if not allowed[0]:
        raise ApiError(405, f"{allowed[1]} not allowed on this repository.")
    if pull.issue.state != "open":
        raise ApiError(405, "Pull Request is not mergeable")
    if sha is not None and sha != pull.head_sha:
        raise ApiError(409, HEAD_MODIFIED)
    if pull.issue.draft:
        raise ApiError(405, "Pull Request is still a draft")
    if hub.pulls.test_merge(pull) is None:
        raise ApiError(405, "Pull Request is not mergeable")
    if missing := hub.pulls.blockers(pull):
        raise ApiError(405, missing[0])


def _new_base(
    hub: Hub,
    pull: Pull,
    base: str,
    who: Ident,
    method: MergeMethod,
    title: str | None,
    message: str | None,
) -> str:
    bare = hub.git.bare(pull.repo)
    if method is MergeMethod.REBASE:
        return bare.replay(base, hub.pulls.commits(pull), who)
    tree = bare.merge_trees(base, pull.head_sha)
    match method:
        case MergeMethod.MERGE:
            source = f"{pull.head_repo.owner.login}/{pull.head_ref}"
            subject = title or f"Merge pull request #{pull.number} from {source}"
            parents = [base, pull.head_sha]
            text = pull.issue.title if message is None else message
        case MergeMethod.SQUASH:
            subject = title or f"{pull.issue.title} (#{pull.number})"
            parents = [base]
            rows = hub.pulls.commits(pull)
            listed = "\n\n".join(f"* {c.message.strip()}" for c in rows) if len(rows) > 1 else ""
            text = listed if message is None else message
        case _:
            assert_never(method)
    return bare.write_commit(tree, parents, f"{subject}\n\n{text}".strip() + "\n", who, who)


def _delete_head(hub: Hub, pull: Pull, actor: Actor) -> None:
    ref = f"refs/heads/{pull.head_ref}"
    try:
        hub.git.move(pull.repo, [RefUpdate(ref, pull.head_sha, ZERO_OID)], actor, bypass=True)
    except RefConflictError:
        return  # somebody pushed to it meanwhile: GitHub keeps the branch then
    hub.issues.record(pull.issue, "head_ref_deleted", actor)


def update_branch(hub: Hub, pull: Pull, actor: Actor, expected: str | None) -> None:
    """Merge the base into the head branch. Raises ApiError 422."""
    bare = hub.git.bare(pull.repo)
    if expected is not None and expected != pull.head_sha:
        raise ApiError(422, "expected head sha didn\u2019t match current head ref.")
    base = bare.ref(f"refs/heads/{pull.base_ref}")
    if base is None or bare.is_ancestor(base, pull.head_sha):
        raise ApiError(422, "There are no new commits on the base branch.")
    try:
        tree = bare.merge_trees(pull.head_sha, base)
    except MergeConflictError as error:
        raise ApiError(422, "merge conflict between base and head") from error
    who = hub.git.ident(actor.user)
    message = f"Merge branch '{pull.base_ref}' into {pull.head_ref}\n"
    sha = bare.write_commit(tree, [pull.head_sha, base], message, who, who)
    try:
        update = RefUpdate(f"refs/heads/{pull.head_ref}", pull.head_sha, sha)
        hub.git.move(pull.head_repo, [update], actor)
    except (RefusedError, RefConflictError) as error:
        raise ApiError(422, str(error)) from error
