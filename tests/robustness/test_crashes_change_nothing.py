"""The process may end at any moment: the item still ends as it would have, and nothing happens twice.

Each story is played once without a fault, and every request to GitHub and every commit of the store is noted. Then it
is played again for a choice of moments before and after those, ending the process there and starting a new one on the
same files. A sample holds every kind of effect, and the process ends before it or after it in turn; more effort takes
both and spreads over the rest, all effort takes every moment.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.effort import EFFORT, Effort, by_effort, more
from tests.robustness.crashing import KINDS, Moment, Power
from tests.robustness.lives import STORIES, life_of, told

LIMIT_S = by_effort(120, 300, 3_600)
"""Seconds for one part of a story: what every test has, unless it plays the whole list."""

SLICES = 4
"""Parts of each story's choice, so that several processes share the work."""

SPREAD = by_effort(0, 8, 0)
"""Moments of each story beside those that the kinds of effect need."""

SIDES = ("before", "after")

pytestmark = more


async def played(folder: Path, story: str, off_at: Moment | None) -> tuple[dict[str, Any], Power]:
    """The story's end, and its moments."""
    power = Power(off_at)
    async with life_of(folder, story, power) as life:
        return await told(life, story), power


@pytest.fixture(scope="session")
def recordings() -> dict[str, tuple[dict[str, Any], list[Moment]]]:
    """What was seen of each story without a fault; filled by those who need it."""
    return {}


async def recorded(
    recordings: dict[str, tuple[dict[str, Any], list[Moment]]], folder: Path, story: str
) -> tuple[dict[str, Any], list[Moment]]:
    if story not in recordings:
        end, power = await played(folder / "recording", story, None)
        recordings[story] = (end, power.moments)
    return recordings[story]


def earlier(story: str) -> list[str]:
    """The stories that are listed before this one."""
    names = list(STORIES)
    return names[: names.index(story)]


def chosen(moments: list[Moment], told_before: list[list[Moment]]) -> list[Moment]:
    """The first moment of each kind before and after that no earlier story has, and others evenly spread.

    In a sample it is before or after, in turn; with all effort it is every moment.
    """
    if EFFORT is Effort.ALL:
        return moments
    known = {(moment.when, kind) for story in told_before for moment in story for kind in moment.kinds}
    first: dict[tuple[str, str], int] = {}
    for number, moment in enumerate(moments):
        for kind in sorted(moment.kinds):
            if (moment.when, kind) not in known and moment.when in sides(kind):
                first.setdefault((moment.when, kind), number)
    spread = {round(i * (len(moments) - 1) / (SPREAD - 1)) for i in range(SPREAD)}
    return [moments[number] for number in sorted({*first.values(), *spread})]


def sides(kind: str) -> tuple[str, ...]:
    """When a process ends at an effect of this kind."""
    return (SIDES[sorted(KINDS).index(kind) % 2],) if EFFORT is Effort.SAMPLE else SIDES


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a dead process closes no connection
@pytest.mark.timeout(LIMIT_S)
@pytest.mark.parametrize("part", range(SLICES))
@pytest.mark.parametrize("story", STORIES)
async def test_an_item_ends_as_if_nothing_had_happened(
    tmp_path: Path, recordings: dict[str, tuple[dict[str, Any], list[Moment]]], story: str, part: int
) -> None:
    before = [(await recorded(recordings, tmp_path / name, name))[1] for name in earlier(story)]
    expected, moments = await recorded(recordings, tmp_path, story)
    wrong: list[str] = []
    for number, name in enumerate(chosen(moments, before)[part::SLICES]):
        try:
            end, power = await played(tmp_path / str(number), story, name)
        except AssertionError as error:
            wrong.append(f"{name}: {error}")
            continue
        if not power.went_off and not name.is_commit:
            wrong.append(f"{name}: was not reached this time")
        wrong.extend(
            f"{name}: {what} are {end[what]!r} instead of {seen!r}"
            for what, seen in expected.items()
            if end[what] != seen
        )
    assert not wrong, "\n".join(wrong)


async def test_every_kind_of_effect_is_a_moment_at_which_the_process_ends(
    tmp_path: Path, recordings: dict[str, tuple[dict[str, Any], list[Moment]]]
) -> None:
    reached: dict[str, set[str]] = {side: set() for side in SIDES}
    for story in STORIES:
        _, moments = await recorded(recordings, tmp_path / story, story)
        before = [recordings[name][1] for name in earlier(story)]
        for moment in chosen(moments, before):
            reached[moment.when] |= moment.kinds
    assert reached["before"] | reached["after"] == KINDS
    assert all({kind for kind in KINDS if side in sides(kind)} <= reached[side] for side in SIDES)
