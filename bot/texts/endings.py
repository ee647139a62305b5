"""What whoever worked on an item is told when they hand it in: what became of it, or what is missing."""

from __future__ import annotations

from datetime import datetime

from bot.domain.model import FailureReason, ItemState
from bot.texts.failures import SENTENCES
from bot.texts.phrases import at


def state_of(state: ItemState, *, pull: int | None, due_at: datetime | None, reason: FailureReason | None) -> str:
    """What became of the item, in one or two sentences."""
    match state:
        case ItemState.IN_REVIEW:
            return f"Pull request #{pull} is open as a draft; the checks are watched from here on."
        case ItemState.DONE:
            return "The item is done."
        case ItemState.IN_PROGRESS if due_at is not None:
            return f"{_failed(reason)} It is tried again after {at(due_at)}."
        case ItemState.FAILED:
            return f"{_failed(reason)} It is not tried again by itself; `/tgs retry` takes it up."
        case ItemState.CANCELLED:
            return "The item was called off."
        case _:
            return UNDER_WAY


UNDER_WAY = "It was handed in; what becomes of it is decided now. The issue shows it."
"""The answer when the decision takes longer than anybody waits."""

PUBLISHING = "The work was handed in. A run checks and pushes it, then a pull request is opened."
"""The answer to a pull worker."""


def no_branch(branch: str) -> tuple[str, str]:
    """What is missing, and what to do."""
    return (
        f"The branch `{branch}` is not on GitHub.",
        f"Push your work with `git push origin HEAD:refs/heads/{branch}`, then repeat.",
    )


def no_commits(branch: str) -> tuple[str, str]:
    """What is missing, and what to do."""
    return (
        f"The branch `{branch}` has no commits beyond its base.",
        "Commit and push your work, then repeat. If no change is needed, say why with `--evidence`.",
    )


def no_implementation(folder: str, branch: str) -> tuple[str, str]:
    """What is missing, and what to do."""
    return (
        f"`{folder}/implementation.md` is not on the branch `{branch}`.",
        "Describe there what was done, commit and push it, then repeat.",
    )


NO_BUNDLE = ("No result was uploaded for this attempt.", "Upload the bundle, report it, then repeat.")
NOT_A_RUN = ("A run of Actions hands in its work through its publishing job.", "Nothing was changed.")
NOBODY_SAID_SO = (
    "Only a person can say that no code is needed, and this claim belongs to a worker.",
    "Say so on the issue, or let somebody claim it who may merge.",
)


def may_not_say(login: str, role: str) -> tuple[str, str]:
    """Who lacks which role."""
    return (
        f"@{login} may not say that no code is needed: that takes the role `{role}`.",
        "Push the work, or ask somebody who may merge.",
    )


def _failed(reason: FailureReason | None) -> str:
    return SENTENCES[reason] if reason is not None else "The attempt failed."
