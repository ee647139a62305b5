"""What every handler shares: whose repository a payload speaks of, and whether we caused the event ourselves.

A handler is pure: payload in, `Intake` out. It decides nothing; it names what to look at again and what a person
asked for. Nothing here raises for a payload that decoded.
"""

from __future__ import annotations

from dataclasses import dataclass

from bot import payloads
from bot.domain.intake import InstallationChange, Intake, SeenRepo, Touch, TouchKind
from bot.domain.intents import Intent
from bot.domain.model import InstallationId, IssueKey, Person, RepoId, RepoKey

NOTHING = Intake()
"""The payload says nothing to us."""

TRACK = "track"
"""Hint of an issue touch: the issue carries (or just gained or lost) one of our labels, so it may become an item."""


TALK = "talk"
"""Hint of an issue touch: one of its comments was edited or deleted."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The repository of one payload; makes touches and intents that belong to it."""

    repo: SeenRepo

    @property
    def key(self) -> RepoKey:
        return self.repo.key

    def touch(self, kind: TouchKind, value: object = "", hint: str = "") -> Touch:
        return Touch(kind, self.key.installation, self.key.repo, str(value), hint)

    def issue(self, number: int) -> IssueKey:
        return IssueKey(self.key.installation, self.key.repo, number)

    def intake(
        self,
        *touches: Touch,
        intents: tuple[Intent, ...] = (),
        installation: InstallationChange | None = None,
    ) -> Intake:
        return Intake(touches, intents, (self.repo,), installation)


def scope_of(payload: payloads.Payload) -> Scope | None:
    """None when the delivery is not the App's (no installation) or names no repository."""
    if payload.installation is None or payload.repository is None:
        return None
    repository = payload.repository
    return Scope(
        SeenRepo(
            key=RepoKey(InstallationId(payload.installation.id), RepoId(repository.id)),
            full_name=repository.full_name,
            owner_id=repository.owner.id,
            private=repository.private,
            default_branch=repository.default_branch,
            archived=repository.archived,
        )
    )


def own(payload: payloads.Payload, self_id: int | None) -> bool:
    """Whether our own bot user caused the event. Compares ids: names can be taken by others."""
    return self_id is not None and payload.sender is not None and payload.sender.id == self_id


def person(account: payloads.Account) -> Person:
    return Person(account.id, account.name, account.is_bot)


def head_touch(payload: payloads.Payload, sha: str) -> Intake:
    """Something about a commit changed; which item it belongs to is the router's question."""
    scope = scope_of(payload)
    return NOTHING if scope is None else scope.intake(scope.touch(TouchKind.HEAD, sha))


def installation_change(
    installation: payloads.Installation,
    *,
    removed: bool = False,
    active: bool | None = None,
    added: tuple[payloads.RepositoryName, ...] = (),
    taken: tuple[payloads.RepositoryName, ...] = (),
) -> Intake:
    """The intake of an installation's own event. `active` None: it is active unless the payload says suspended."""
    id_ = InstallationId(installation.id)
    seen = tuple(
        SeenRepo(RepoKey(id_, RepoId(repo.id)), repo.full_name, installation.account.id, repo.private) for repo in added
    )
    return Intake(
        touches=(Touch(TouchKind.INSTALLATION, id_, None),),
        repos=seen,
        installation=InstallationChange(
            installation=id_,
            account_id=installation.account.id,
            account_login=installation.account.name,
            active=(installation.suspended_at is None) if active is None else active,
            removed=removed,
            permissions=tuple(sorted(installation.permissions.items())),
            repos_added=seen,
            repos_removed=tuple(RepoId(repo.id) for repo in taken),
        ),
    )
