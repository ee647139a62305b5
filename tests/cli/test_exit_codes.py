"""The numbers that scripts rely on."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bot.cli.exits import MEANING, Exit, exit_of, told
from bot.client.backlog import Moved, NothingThere, Taken
from bot.errors import (
    Conflict,
    Forbidden,
    Invalid,
    LostClaim,
    NotFound,
    RateLimited,
    Refused,
    SettingsError,
    Suspended,
    TgsError,
    Unauthorized,
    Unavailable,
    UserError,
)

CODES = {
    "a missing setting is wrong use": (SettingsError("x"), 2),
    "what a person can mend is wrong use": (UserError("x"), 2),
    "nothing to give": (NothingThere("x"), 3),
    "somebody else has it": (Taken("x", owner="tom"), 4),
    "it changed meanwhile": (Moved("x"), 4),
    "a lost claim has its own number": (LostClaim("x"), 5),
    "what policy or evidence forbids": (Refused("x"), 6),
    "GitHub is away": (Unavailable("x"), 7),
    "GitHub limits us": (RateLimited("x", until=datetime(2026, 1, 1, tzinfo=UTC)), 7),
    "GitHub forbids": (Forbidden("x"), 7),
    "GitHub does not know the credential": (Unauthorized("x"), 7),
    "GitHub does not know the thing": (NotFound("x"), 7),
    "GitHub says the state is another": (Conflict("x"), 7),
    "GitHub rejects the request": (Invalid("x"), 7),
    "the installation is suspended": (Suspended("x"), 7),
    "anything else of ours is internal": (TgsError("x"), 1),
}


@pytest.mark.parametrize(("error", "code"), CODES.values(), ids=CODES.keys())
def test_every_error_has_one_code(error: TgsError, code: int) -> None:
    assert exit_of(error) == code


def test_the_codes_are_never_renumbered() -> None:
    assert {one.name: int(one) for one in Exit} == {
        "OK": 0, "INTERNAL": 1, "USAGE": 2, "EMPTY": 3, "CONFLICT": 4, "LOST_CLAIM": 5, "REFUSED": 6, "UPSTREAM": 7,
    }  # fmt: skip


def test_every_code_is_explained() -> None:
    assert set(MEANING) == set(Exit)


TOLD = {
    "what is wrong and what to do": (UserError("It is not there.", "Look again."), "It is not there. Look again."),
    "reasons have a line each": (
        NothingThere("Nothing.", ["#1 waits.", "#2 waits."]),
        "Nothing.\n  #1 waits.\n  #2 waits.",
    ),
    "who has it, and until when": (
        Taken("#5 is taken.", owner="tom", lease_until=datetime(2026, 1, 1, 9, 30, tzinfo=UTC), remedy="Take another."),
        "#5 is taken. tom has it. The claim holds at least until 2026-01-01 09:30 UTC. Take another.",
    ),
    "GitHub is away": (
        Unavailable("no connection", request="GET /user"),
        "GitHub cannot be reached (GET /user: no connection). Check TGS_GITHUB_API_URL and the network.",
    ),
    "the owner is named once": (Taken("tom has #5.", owner="tom"), "tom has #5."),
}


@pytest.mark.parametrize(("error", "text"), TOLD.values(), ids=TOLD.keys())
def test_errors_are_told_with_what_to_do(error: TgsError, text: str) -> None:
    assert told(error) == text
