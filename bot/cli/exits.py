"""The exit codes of every `tgs` command, and the one place where errors become them and are told."""

from __future__ import annotations

from dataclasses import replace
from enum import IntEnum

from bot.cli.answers import ErrorAnswer, ErrorShown
from bot.client.backlog import Moved, NothingThere, Taken
from bot.errors import GitHubError, LostClaim, Refused, SettingsError, TgsError, Unavailable, UserError
from bot.texts.phrases import at


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


MEANING = {
    Exit.OK: "It is done.",
    Exit.INTERNAL: "Something went wrong inside `tgs`, or it was interrupted.",
    Exit.USAGE: "The command, its input or the settings are wrong.",
    Exit.EMPTY: "There is nothing to give.",
    Exit.CONFLICT: "Somebody else has it, or it changed meanwhile.",
    Exit.LOST_CLAIM: "The claim is not yours any more: stop.",
    Exit.REFUSED: "Policy, rights or evidence forbid it, or a check found errors.",
    Exit.UPSTREAM: "The server or GitHub cannot be reached or failed.",
}
"""What each number tells a script."""


def exit_of(error: TgsError) -> Exit:
    """The exit code of an error that the product raised on purpose."""
    match error:
        case NothingThere():
            return Exit.EMPTY
        case Taken() | Moved():
            return Exit.CONFLICT
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


def told(error: TgsError) -> str:
    """The error for people: what is wrong, and what to do."""
    if isinstance(error, NothingThere):
        return "\n".join([error.what, *(f"  {why}" for why in error.why)])
    if isinstance(error, Taken):
        who = "" if error.owner in error.what else f" {error.owner} has it."
        until = "" if error.lease_until is None else f" The claim holds at least until {at(error.lease_until)}."
        return f"{error.what}{who}{until} {error.remedy}".strip()
    if isinstance(error, Unavailable) and error.request:
        return f"GitHub cannot be reached ({error}). Check TGS_GITHUB_API_URL and the network."
    # What is wrong may be a list with a line each; the remedy then begins a line of its own.
    return str(error).replace("\n ", "\n")


def as_record(error: TgsError) -> ErrorAnswer:
    """The error for programs."""
    code = exit_of(error)
    shown = ErrorShown(code.name.lower(), int(code), told(error))
    if isinstance(error, Taken):
        shown = replace(shown, owner=error.owner, lease_until=error.lease_until)
    return ErrorAnswer(shown)
