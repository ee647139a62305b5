"""The exit codes of every `tgs` command, and the one place where errors become them."""

from __future__ import annotations

from enum import IntEnum

from bot.errors import GitHubError, LostClaim, Refused, SettingsError, TgsError, UserError


class Exit(IntEnum):
    """Scripts rely on these numbers."""

    OK = 0
    INTERNAL = 1
    USAGE = 2
    EMPTY = 3
    CONFLICT = 4
    LOST_CLAIM = 5
    REFUSED = 6
    UPSTREAM = 7


def exit_of(error: TgsError) -> Exit:
    """The exit code of an error that the product raised on purpose."""
    match error:
        case LostClaim():
            return Exit.LOST_CLAIM
        case Refused():
            return Exit.REFUSED
        case SettingsError() | UserError():
            return Exit.USAGE
        case GitHubError():
            return Exit.UPSTREAM
        case _:
            return Exit.INTERNAL
