"""Who makes a request, and what that actor may do.

Promise: the one place that compares permissions. Persons are judged by their role on the
repository; Apps and job tokens by the permissions and repositories of their token. What an actor
may not see does not exist for it (404); what it sees but may not do is 403.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import assert_never

from bot.localhub.http import ApiError, Need, not_found
from bot.localhub.model import Account, AccountType, App, Installation, Repository, Role

LEVELS = {"none": 0, "read": 1, "write": 2, "admin": 3}
"""Order of the permission levels of Apps."""


class ActorKind(Enum):
    """How a request is authenticated."""

    ANONYMOUS = "anonymous"
    USER = "user"
    """A person's token; with `app` one that an App got by sign-in, limited to both."""
    APP = "app"
    """The JWT of an App: good for the `/app` endpoints only."""
    INSTALLATION = "installation"
    """A token of an installation: acts as the App's bot user."""
    JOB = "job"
    """The GITHUB_TOKEN of an Actions job: acts as `github-actions[bot]`."""


def level_covers(have: str | None, want: str) -> bool:
    """Whether the permission level `have` includes `want`."""
    return LEVELS[have or "none"] >= LEVELS[want]


def role_on(repo: Repository, account: Account) -> Role:
    """The role of an account: the highest of owner, organization and collaborator grants.

    Everybody has at least read on a public repository.
    """
    role = Role.NONE if repo.private else Role.READ
    if account.id == repo.owner.id:
        return Role.ADMIN
    if repo.owner.type is AccountType.ORGANIZATION:
        role = max(role, repo.owner.members.get(account.id, Role.NONE))
    return max(role, repo.collaborators.get(account.id, Role.NONE))


@dataclass(frozen=True, eq=False)
class Actor:
    """The caller of one request.

    `account` is who the writes are attributed to; None only for anonymous callers. `run_id` is set
    for job tokens, `repository_ids` for installation and job tokens.
    """

    kind: ActorKind
    account: Account | None = None
    app: App | None = None
    installation: Installation | None = None
    permissions: Mapping[str, str] = field(default_factory=dict)
    repository_ids: frozenset[int] = frozenset()
    run_id: int | None = None

    @property
    def user(self) -> Account:
        """The account that acts. Raises ApiError 401 for anonymous callers and App JWTs."""
        if self.account is None:
            raise ApiError(401, "Requires authentication")
        return self.account

    @property
    def via_app(self) -> App | None:
        """The App to name in `performed_via_github_app`."""
        return None if self.kind is ActorKind.APP else self.app

    @property
    def is_app(self) -> bool:
        """Whether the actor is judged by token permissions and not by a person's role."""
        return self.kind in (ActorKind.INSTALLATION, ActorKind.JOB)

    def role(self, repo: Repository) -> Role:
        """The role of a person; NONE for every other kind of actor on a private repository."""
        if self.kind is ActorKind.USER and self.account is not None:
            return role_on(repo, self.account)
        return Role.NONE if repo.private else Role.READ

    def can_see(self, repo: Repository) -> bool:
        """Whether the repository exists for this actor."""
        match self.kind:
            case ActorKind.USER:
                covered = self.app is None or not repo.private or repo.id in self.repository_ids
                return covered and self.role(repo) >= Role.READ
            case ActorKind.ANONYMOUS:
                return not repo.private
            case ActorKind.APP:
                return False
            case ActorKind.INSTALLATION | ActorKind.JOB:
                return repo.id in self.repository_ids
            case _:
                assert_never(self.kind)

    def may(self, repo: Repository, permission: str, level: str, *, role: Role | None = None) -> bool:
        """Whether `require` with the same arguments would pass."""
        if not self.can_see(repo):
            return False
        if self.is_app:
            return self._granted(permission, level)
        # Signed in through an App: no more than the App has, where it is installed.
        beyond = repo.id not in self.repository_ids or not self._granted(permission, level)
        if self.app is not None and level != "read" and beyond:
            return False
        return self.role(repo) >= (role or default_role(level))

    def _granted(self, permission: str, level: str) -> bool:
        return permission == "metadata" or level_covers(self.permissions.get(permission), level)

    def require(self, repo: Repository, permission: str, level: str, *, role: Role | None = None) -> None:
        """Pass, or raise ApiError 404 (not visible), 401 (anonymous) or 403 (not enough)."""
        self.require_any(repo, [Need(permission, level)], role=role)

    def require_any(self, repo: Repository, needs: Sequence[Need], *, role: Role | None = None) -> None:
        """Like `require`, with alternatives for Apps (issues *or* pull_requests)."""
        if not self.can_see(repo):
            raise not_found()
        if not needs or any(self.may(repo, x.permission, x.level, role=role) for x in needs):
            return
        if self.kind is ActorKind.ANONYMOUS:
            raise ApiError(401, "Requires authentication")
        accepted = "; ".join(f"{x.permission}={x.level}" for x in needs)
        headers = {"X-Accepted-GitHub-Permissions": accepted}
        if self.is_app:
            raise ApiError(403, "Resource not accessible by integration", headers=headers)
        raise ApiError(403, "Must have admin rights to Repository.", headers=headers)


def default_role(level: str) -> Role:
    """The role a person needs where an App needs the permission level."""
    return {"none": Role.NONE, "read": Role.READ, "write": Role.WRITE}.get(level, Role.ADMIN)


ANONYMOUS = Actor(ActorKind.ANONYMOUS)
