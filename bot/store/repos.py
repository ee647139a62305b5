"""Repositories of installations, and the front-matter texts cached for the mirror."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import Row, bindparam, delete, func, select

from bot.domain.model import InstallationId, RepoId, RepoKey
from bot.domain.repository import RepoRecord
from bot.store.dialect import insert_new
from bot.store.tables import items, repos, thought_blobs
from bot.store.verbs import Verbs, given, in_given_repo, update_changed

_FORGET_BLOB = delete(thought_blobs).where(in_given_repo(thought_blobs), thought_blobs.c.sha == bindparam("sha_of"))
_ALL_REPOS = select(repos).order_by(repos.c.installation, repos.c.repo)
_REPOS_OF = _ALL_REPOS.where(repos.c.installation == bindparam("of"))
_THOUGHT_BLOBS = select(thought_blobs.c.sha, thought_blobs.c.text).where(in_given_repo(thought_blobs))
_MIRRORED_SINCE = (
    select(func.count())
    .select_from(items)
    .where(in_given_repo(items), items.c.thought_dir.is_not(None), items.c.created_at >= bindparam("since"))
)


def repo_values(repo: RepoRecord) -> dict[str, Any]:
    """The columns of a record, without its key and revision."""
    return {
        "full_name": repo.full_name,
        "owner_id": repo.owner_id,
        "default_branch": repo.default_branch,
        "private": repo.private,
        "active": repo.active,
        "archived": repo.archived,
        "head_sha": repo.head_sha,
        "policy_sha": repo.policy_sha,
        "policy_text": repo.policy_text,
        "policy_hash": repo.policy_hash,
        "policy_error_sha": repo.policy_error_sha,
        "policy_problems": repo.policy_problems,
        "thoughts_tree_sha": repo.thoughts_tree_sha,
        "preflight_ok": repo.preflight_ok,
        "preflight_problems": repo.preflight_problems,
        "preflight_at": repo.preflight_at,
        "preflight_head": repo.preflight_head,
        "setup_issue": repo.setup_issue,
        "setup_hash": repo.setup_hash,
        "mirror_decided": repo.mirror_decided,
        "thoughts_at_installation": repo.thoughts_at_installation,
        "pause": repo.pause,
        "pause_said_at": repo.pause_said_at,
        "permissions": repo.permissions,
        "bot": repo.bot,
        "resync_asked_at": repo.resync_asked_at,
        "rebuilt_at": repo.rebuilt_at,
        "heard_until": repo.heard_until,
        "listening_since": repo.listening_since,
    }


def repo_of(row: Row[Any]) -> RepoRecord:
    """The record of a row."""
    return RepoRecord(
        key=RepoKey(InstallationId(row.installation), RepoId(row.repo)),
        full_name=row.full_name,
        owner_id=row.owner_id,
        default_branch=row.default_branch,
        private=row.private,
        revision=row.revision,
        active=row.active,
        archived=row.archived,
        head_sha=row.head_sha,
        policy_sha=row.policy_sha,
        policy_text=row.policy_text,
        policy_hash=row.policy_hash,
        policy_error_sha=row.policy_error_sha,
        policy_problems=row.policy_problems,
        thoughts_tree_sha=row.thoughts_tree_sha,
        preflight_ok=row.preflight_ok,
        preflight_problems=row.preflight_problems,
        preflight_at=row.preflight_at,
        preflight_head=row.preflight_head,
        setup_issue=row.setup_issue,
        setup_hash=row.setup_hash,
        mirror_decided=row.mirror_decided,
        thoughts_at_installation=row.thoughts_at_installation,
        pause=row.pause,
        pause_said_at=row.pause_said_at,
        permissions=row.permissions,
        bot=row.bot,
        resync_asked_at=row.resync_asked_at,
        rebuilt_at=row.rebuilt_at,
        heard_until=row.heard_until,
        listening_since=row.listening_since,
    )


_ONE = select(repos).where(in_given_repo(repos))


class RepoVerbs(Verbs):
    """The verbs of `bot.protocols.ledger.Ledger` about repositories."""

    def repo(self, key: RepoKey) -> RepoRecord | None:
        row = self.connection.execute(_ONE, given(key)).one_or_none()
        return None if row is None else repo_of(row)

    def repos(self, installation: InstallationId | None = None) -> list[RepoRecord]:
        """All repositories, or one installation's, by key."""
        query, place = (_ALL_REPOS, None) if installation is None else (_REPOS_OF, {"of": installation})
        return [repo_of(row) for row in self.connection.execute(query, place)]

    def repo_by_name(self, full_name: str) -> RepoRecord | None:
        """The repository of that name, letter case ignored as GitHub does. Names can be reused: active and the
        newest installation first."""
        row = self.connection.execute(
            select(repos)
            .where(func.lower(repos.c.full_name) == full_name.lower())
            .order_by(repos.c.active.desc(), repos.c.installation.desc(), repos.c.repo.desc())
            .limit(1)
        ).one_or_none()
        return None if row is None else repo_of(row)

    def put_repo(self, repo: RepoRecord) -> None:
        insert_new(
            self.connection,
            repos,
            {
                "installation": repo.key.installation,
                "repo": repo.key.repo,
                "revision": repo.revision,
                **repo_values(repo),
            },
        )

    def save_repo(self, before: RepoRecord, after: RepoRecord) -> bool:
        if before.key != after.key:
            raise ValueError(f"{before.key} cannot be saved as {after.key}")
        return update_changed(
            self.connection,
            repos,
            given(before.key),
            before.revision,
            repo_values(before),
            repo_values(after),
        )

    def thought_blobs(self, repo: RepoKey) -> dict[str, str]:
        return {row.sha: row.text for row in self.connection.execute(_THOUGHT_BLOBS, given(repo))}

    def put_thought_blob(self, repo: RepoKey, sha: str, text: str) -> None:
        """Content is named by its hash, so a text that is there already is the same text."""
        insert_new(
            self.connection,
            thought_blobs,
            {"installation": repo.installation, "repo": repo.repo, "sha": sha, "text": text},
        )

    def drop_thought_blobs(self, repo: RepoKey, shas: Collection[str]) -> None:
        """Forgets texts of plans that are no longer there."""
        for sha in sorted(shas):
            self.connection.execute(_FORGET_BLOB, {**given(repo), "sha_of": sha})

    def count_mirrored(self, repo: RepoKey, since: datetime) -> int:
        """Items made from thoughts since then."""
        return self.connection.execute(_MIRRORED_SINCE, {**given(repo), "since": since}).scalar_one()
