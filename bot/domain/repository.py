"""What the ledger keeps of a repository, and its pause."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from bot.domain.model import Person, Problem, RepoKey


@dataclass(frozen=True, slots=True)
class Pause:
    """`pause [until DATE] <reason>`: stops starts, merges and deadlines of one repository."""

    by: str
    reason: str
    since: datetime
    until: datetime | None = None

    def active(self, now: datetime) -> bool:
        return self.until is None or now < self.until


@dataclass(frozen=True, slots=True)
class RepoRecord:
    """What the ledger keeps of one repository of one installation.

    `resync_asked_at`: the next look reads everything that webhooks may not have told. `heard_until` is the newest
    change of a comment that such a look has seen, and `listening_since` when this ledger began to listen: what was
    commanded before is not carried out. `pause_said_at`: when the newest `pause` or `resume` that was heard was
    written; an older one that is heard later no longer counts. `rebuilt_at`: when its records were made from what
    GitHub shows; None: not yet, and nothing is decided before.
    """

    key: RepoKey
    full_name: str
    owner_id: int
    default_branch: str
    private: bool
    revision: int = 0
    active: bool = True
    archived: bool = False
    head_sha: str | None = None
    policy_sha: str | None = None
    policy_text: str | None = None
    policy_hash: str = ""
    policy_error_sha: str | None = None
    policy_problems: tuple[Problem, ...] = ()
    thoughts_tree_sha: str | None = None
    preflight_ok: bool = False
    preflight_problems: tuple[Problem, ...] = ()
    preflight_at: datetime | None = None
    preflight_head: str | None = None
    setup_issue: int | None = None
    setup_hash: str | None = None
    mirror_decided: bool = False
    thoughts_at_installation: tuple[str, ...] | None = None
    pause: Pause | None = None
    pause_said_at: datetime | None = None
    permissions: tuple[tuple[str, str], ...] = ()
    bot: Person | None = None
    resync_asked_at: datetime | None = None
    rebuilt_at: datetime | None = None
    heard_until: datetime | None = None
    listening_since: datetime | None = None

    def permission(self, name: str) -> str | None:
        return dict(self.permissions).get(name)
