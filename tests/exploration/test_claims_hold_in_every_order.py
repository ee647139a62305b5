"""The claim protocol in every order of its steps, with a death at any of them: the shipped code, not a copy of it.

What is explored, how large it is and what is left out stands in `docs/claims.md`; the figures there are these.
All effort explores the large settings as well (a minute or two).
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.effort import by_effort, more
from tests.exploration.claimers import Claims, Setting
from tests.exploration.explorer import Explored, Explorer
from tests.exploration.world import Defences

PAGE = Path(__file__).parents[2] / "docs" / "claims.md"

pytestmark = more

QUICK: dict[str, Setting] = {
    "Three deployments, one item, until it is held": Setting(3, 1, own_ledgers=True, late_requests=False, ends=False),
    "Two deployments, two items, until they are held": Setting(2, 2, own_ledgers=True, late_requests=False, ends=False),
    "Two deployments, one item, requests of the dead arrive later": Setting(2, 1, own_ledgers=True, ends=False),
    "Two deployments, one item, runs end and it is claimed again": Setting(2, 1, own_ledgers=True, late_requests=False),
    "Three processes over one ledger, one item": Setting(3, 1, own_ledgers=False, late_requests=False),
    "The same, and two deletions of a label both succeed": Setting(
        3, 1, own_ledgers=False, late_requests=False, atomic_deletion=False
    ),
    "Two processes over one ledger, two items": Setting(2, 2, own_ledgers=False, late_requests=False),
}
LARGE: dict[str, Setting] = {
    "Three deployments, two items, until they are held": Setting(
        3, 2, own_ledgers=True, late_requests=False, ends=False
    ),
    "Three processes over one ledger, two items": Setting(3, 2, own_ledgers=False, late_requests=False, ends=False),
    "The same with two items, and two deletions of a label both succeed": Setting(
        3, 2, own_ledgers=False, late_requests=False, ends=False, atomic_deletion=False
    ),
    "Two deployments, one item, requests arrive later, runs end": Setting(2, 1, own_ledgers=True),
    "Two deployments, one item, every read and every write a step of its own": Setting(
        2, 1, own_ledgers=True, late_requests=False, fine=True
    ),
}

PLAYED = QUICK | by_effort({}, {}, LARGE)


def explored(setting: Setting) -> Explored:
    claims = Claims(setting)
    return claims.explorer().explore(claims.start())


def documented() -> set[str]:
    """The settings of which the page tells figures."""
    return set(re.findall(r"^\| ([^|]+?) \| [\d,]+ \| [\d,]+ \| \d+ \|$", PAGE.read_text("utf-8"), re.MULTILINE))


@pytest.mark.parametrize("what", PLAYED)
def test_no_order_of_steps_breaks_a_rule(what: str) -> None:
    found = explored(PLAYED[what])
    assert found.flaw is None, str(found.flaw)
    row = f"| {what} | {found.states:,} | {found.steps:,} | {found.depth} |"
    assert row in PAGE.read_text("utf-8"), f"write the new figures into docs/claims.md:\n{row}"


def test_the_page_names_every_setting_and_no_other() -> None:
    assert documented() == {*QUICK, *LARGE}


NEEDED: dict[str, tuple[Setting, str, int]] = {
    "a ref is moved wherever it is: the second claimer takes the first one's ref away": (
        Setting(2, 1, own_ledgers=True, defences=Defences(before_oid=False)),
        "K1 took the claim ref of K0 away",
        6,
    ),
    "two claims look alike: each of two claimers takes the one ref for its own": (
        Setting(2, 1, own_ledgers=True, defences=Defences(nonce=False)),
        "two have one item: K0 and K1",
        6,
    ),
    "writes name no fence: one that is over speaks for the one that has the item now": (
        Setting(2, 1, own_ledgers=False, defences=Defences(fence=False)),
        "a write of K0-1 is taken after its end, while K1-1 has the item",
        13,
    ),
    "neither the index on live attempts nor the item's revision is looked at: two transactions both insert": (
        Setting(2, 1, own_ledgers=False, defences=Defences(unique_index=False, revisions=False)),
        "two have one item: K0 and K1",
        4,
    ),
    "a decision on old records is written: it contradicts what was written meanwhile": (
        Setting(2, 1, own_ledgers=False, defences=Defences(revisions=False)),
        "a decision would break what always holds: issue/1/1/1: the live attempt has fence 2, the item 1",
        16,
    ),
}


@pytest.mark.parametrize(("setting", "what", "steps"), NEEDED.values(), ids=NEEDED)
def test_each_defence_is_needed(setting: Setting, what: str, steps: int) -> None:
    """With one of them gone, the search finds the harm and the shortest way to it."""
    flaw = explored(setting).flaw
    assert flaw is not None
    assert (flaw.what, len(flaw.trace)) == (what, steps), str(flaw)


def test_the_items_revision_alone_refuses_the_second_of_two_claims_too() -> None:
    """The index is the last of two lines; a defect in either is caught by the other."""
    setting = Setting(2, 1, own_ledgers=False, late_requests=False, defences=Defences(unique_index=False))
    assert explored(setting).flaw is None


def test_the_search_itself_finds_what_is_lost_for_good() -> None:
    """Two states, and no way back from the second."""

    def moves(state: int) -> list[tuple[str, int]]:
        return [("falls", 1)] if state == 0 else []

    found = Explorer(moves, lambda _: None, lambda state: {"the top": state == 0}).explore(0)
    assert str(found.flaw) == "the top cannot be reached any more\n  1. falls"
