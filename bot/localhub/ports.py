"""What the hub's core asks of its git, pull request, Actions and OIDC parts.

Promise: the core (issues, webhooks, GraphQL, pages) knows those parts by these protocols only, so
that a test of the core may run without them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from bot.localhub.actor import Actor
from bot.localhub.model import Issue, Json, Repository

ZERO_OID = "0" * 40
"""As `before`: the ref must not exist. As `after`: delete the ref."""


@dataclass(frozen=True)
class RefUpdate:
    """One entry of a GraphQL `updateRefs`; `before` None means "whatever it is now"."""

    name: str
    before: str | None
    after: str
    force: bool = False


class RefConflictError(Exception):
    """No ref of the batch was changed; the message says which one did not match and why."""


@dataclass(frozen=True)
class GitObject:
    """A commit, tree, blob or tag as GraphQL shows it; `text` for blobs that are text."""

    kind: str
    oid: str
    text: str | None = None
    byte_size: int = 0
    message: str = ""


class GitPort(Protocol):
    """Bare repositories below the hub's root."""

    def init(self, repo: Repository, files: Mapping[str, str | bytes]) -> None:
        """Create `repo.git_dir`; with files also one commit on the default branch."""

    async def refs(self, repo: Repository) -> dict[str, str]:
        """All refs, full name to object id."""

    async def update_refs(self, repo: Repository, updates: Sequence[RefUpdate], actor: Actor) -> None:
        """All or nothing. Raises RefConflictError."""

    async def lookup(self, repo: Repository, expression: str) -> GitObject | None:
        """The object of a revision expression such as `main:README.md`, or None."""


class PullsPort(Protocol):
    """Pull requests, which share numbers and the issue record with issues."""

    def payload(self, issue: Issue) -> Json:
        """The full pull request object for REST and webhooks."""

    async def set_draft(self, issue: Issue, draft: bool, actor: Actor) -> None:
        """Mark ready for review or convert to draft, with webhook."""

    async def set_state(self, issue: Issue, state: str, actor: Actor) -> None:
        """Close or reopen, with webhook. Raises ApiError 422."""
