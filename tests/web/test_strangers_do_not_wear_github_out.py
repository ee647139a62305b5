"""Whoever brings tokens that GitHub does not know cannot make the bot ask GitHub without end."""

from __future__ import annotations

from typing import cast

import pytest

from bot.clock import SystemClock
from bot.domain.model import Person
from bot.errors import RateLimited, Unauthorized
from bot.people import MAX_STRANGERS, People
from bot.protocols.github import GitHub
from bot.protocols.ledger import Store

MARIA = Person(1, "maria")


async def test_an_unknown_token_is_asked_about_once_and_many_are_refused_without_asking() -> None:
    asked: list[str] = []

    async def whoami(token: str) -> Person:
        asked.append(token)
        if token == "hers":
            return MARIA
        raise Unauthorized("Bad credentials", status=401)

    # Neither is needed to know whose token it is.
    people = People(cast("GitHub", None), cast("Store", None), whoami, SystemClock())
    assert await people.person("hers") == MARIA
    for number in [*range(MAX_STRANGERS), 0, 1]:
        assert await people.person(f"unknown {number}") is None
    assert len(asked) == 1 + MAX_STRANGERS
    with pytest.raises(RateLimited):
        await people.person("one more")
    assert await people.person("hers") == MARIA
    assert len(asked) == 1 + MAX_STRANGERS
