"""What a webhook is turned into before anything is decided: touches (look again) and intents (a person asked).

The handlers produce these from payloads without any I/O; the intake commits them together with the delivery.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bot.domain.intents import Intent
from bot.domain.model import InstallationId, RepoId, RepoKey


class TouchKind(StrEnum):
    """What a webhook pointed at; the router turns each into keys."""

    REPO = "repo"
    ISSUE = "issue"
    RUN = "run"
    HEAD = "head"
    PULL = "pull"
    BRANCH = "branch"
    INSTALLATION = "installation"


@dataclass(frozen=True, slots=True)
class Touch:
    """One thing to look at again. `value` is an issue number, run id, SHA, pull number or branch name."""

    kind: TouchKind
    installation: InstallationId
    repo: RepoId | None
    value: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class SeenRepo:
    """A repository as a payload described it; the ledger remembers it before anything refers to it."""

    key: RepoKey
    full_name: str
    owner_id: int
    private: bool
    default_branch: str | None = None
    archived: bool | None = None


@dataclass(frozen=True, slots=True)
class InstallationChange:
    """The App was installed, changed, suspended or removed."""

    installation: InstallationId
    account_id: int
    account_login: str
    active: bool
    removed: bool = False
    permissions: tuple[tuple[str, str], ...] | None = None
    repos_added: tuple[SeenRepo, ...] = ()
    repos_removed: tuple[RepoId, ...] = ()


@dataclass(frozen=True, slots=True)
class Intake:
    """What a handler made of one payload. Empty means: nothing of ours."""

    touches: tuple[Touch, ...] = ()
    intents: tuple[Intent, ...] = ()
    repos: tuple[SeenRepo, ...] = ()
    installation: InstallationChange | None = None
