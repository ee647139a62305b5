"""The typed errors of the product. `bot/domain/failures.py` maps them to retry, wait, tell the person, give up.

An error names what was wrong, where, and what to do; it never carries a credential or a response body in full.
"""

from __future__ import annotations

from datetime import datetime


class TgsError(Exception):
    """Base of all errors that the product raises on purpose."""


class UserError(TgsError):
    """A person can mend it: `what` is wrong, `remedy` says what to do. Shown to people as it is."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(f"{what} {remedy}".strip())
        self.what = what
        self.remedy = remedy


class SettingsError(UserError):
    """A setting is missing or wrong; the process exits with code 2."""


class GitHubError(TgsError):
    """A call to GitHub did not do what was asked.

    `status` is the HTTP status (None: no answer). `uncertain` means a write may have happened although no answer
    came, so the caller must look before it repeats. `request` is method and path template, never a query or body.
    """

    def __init__(self, message: str, *, status: int | None = None, request: str = "", uncertain: bool = False) -> None:
        super().__init__(f"{request}: {message}" if request else message)
        self.message = message
        self.status = status
        self.request = request
        self.uncertain = uncertain


class Unavailable(GitHubError):
    """5xx, time-out or no connection: try again later."""


class TooLong(Unavailable):
    """A list is longer than any that we read: part of it would look like all of it."""


class RateLimited(GitHubError):
    """A primary or secondary limit; nothing of this installation may be sent before `until`."""

    def __init__(self, message: str, *, until: datetime, status: int | None = None, request: str = "") -> None:
        super().__init__(message, status=status, request=request)
        self.until = until


class Forbidden(GitHubError):
    """403 that no waiting mends. `needs` is GitHub's `X-Accepted-GitHub-Permissions`, e.g. `issues=write`."""

    def __init__(self, message: str, *, needs: str = "", request: str = "") -> None:
        super().__init__(message, status=403, request=request)
        self.needs = needs


class Suspended(GitHubError):
    """The installation is suspended or was removed."""


class Unauthorized(GitHubError):
    """401: the credential is no longer good; a fresh one may be."""


class NotFound(GitHubError):
    """404 or 410. Just after an event it may only be early (webhooks can outrun the API)."""


class Conflict(GitHubError):
    """409, 405 or 422 because the state is not what the caller expected; re-read and decide again."""


class Invalid(GitHubError):
    """422 for a request that will never work as it is."""


class TooBig(Invalid):
    """An answer is larger than any that we read; less may be asked for at a time."""


class LedgerDown(TgsError):
    """The ledger did not do a unit of work. A caller looks again before it repeats what must happen once."""


class LostClaim(TgsError):
    """The caller's attempt or fence is no longer current; it must stop and change nothing."""


class Superseded(TgsError):
    """Another run of the same key has begun, perhaps in another process; this one must stop and change nothing."""


class Refused(UserError):
    """Policy or evidence forbids it."""


class Unproved(Refused):
    """The attempt is there, but whose it is can no longer be checked: its secret was lost together with the ledger.

    The caller goes on with its work; the run proves itself when it publishes.
    """


class LookFirst(Refused):
    """The result may be pushed only after a person has looked at it."""
