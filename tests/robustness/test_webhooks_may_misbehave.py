"""Webhooks may be lost, come twice under other names or in another order: what people see in the end is the same.

Two items that share a lock are worked on one after the other. The same story is told with a faultless line first and
then with lines that misbehave, followed by the looks that the bot takes by itself. A command whose webhook is lost
was never heard, so people merge by hand where webhooks get lost, and use commands where they only come twice or late.
"""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.localhub import merging
from bot.localhub.hooks import HookFault, HookFaultKind
from tests.world import World, new_world

EXAMPLES = 2
"""Lines per story: one telling takes two to three seconds."""

LOOKS = 40
MINUTE = timedelta(minutes=1)
BODY = "```yaml tgs\nlocks: [{}]\n```\nDo it."

EVENTS = ("issues", "issue_comment", "workflow_run", "pull_request", "status", "push")


@dataclass(frozen=True, slots=True)
class Trouble:
    """What happens to deliveries of an event with a chance, for as long as the story lasts."""

    kind: HookFaultKind
    event: str | None
    chance: float
    behind: int


def troubles(*kinds: HookFaultKind) -> st.SearchStrategy[list[Trouble]]:
    one = st.builds(
        Trouble,
        st.sampled_from(kinds),
        st.sampled_from((None, *EVENTS)),
        st.sampled_from((0.3, 0.6, 1.0)),
        st.integers(1, 6),
    )
    return st.lists(one, min_size=1, max_size=3)


@dataclass
class Told:
    """A story in progress."""

    world: World
    commands: bool
    sweeps: bool
    items: list[int] = field(default_factory=list)
    judged: set[int] = field(default_factory=set)
    asked: set[int] = field(default_factory=set)

    async def look(self) -> None:
        """A minute passes in which the bot also looks by itself."""
        await self.world.settle()
        if self.sweeps:
            await self.world.sweep()
        await self.world.settle()
        await self.world.after(MINUTE)

    async def tell(self) -> None:
        world = self.world
        self.items = [
            world.issue("One", BODY.format("src/auth/")),
            world.issue("Two", BODY.format("src/auth/login.py")),
        ]
        for number in self.items:
            world.label(number, "tgs:ready")
        if self.commands:
            world.comment(self.items[1], "/tgs hold not yet")
            world.comment(self.items[1], "/tgs unhold")
            world.comment(self.items[1], "/tgs priority -5")
        for _ in range(LOOKS):
            await self.look()
            if all(world.state(number) == "done" for number in self.items):
                break
            for index, run in enumerate(sorted(world.runs(), key=lambda run: run.id)):
                if not run.done and not run.jobs["start"].conclusion:
                    await world.run(index).work({f"{run.id}.txt": "work\n"})
            for pull in world.pulls():
                self.judge(pull)
        await world.after(15 * MINUTE)

    def judge(self, pull: Any) -> None:
        """People and their CI: checks first, then the merge."""
        if pull.issue.state != "open":
            return
        number = pull.issue.number
        if number not in self.judged:
            self.judged.add(number)
            self.world.ci(pull.head_sha)
        elif pull.issue.draft:
            return
        elif not self.commands:
            merging.merge(self.world.hub, pull, self.world.as_(self.world.maria))
        elif number not in self.asked:
            self.asked.add(number)
            self.world.comment(number, "/tgs merge")

    def seen(self) -> dict[str, Any]:
        """What people see; numbers of pull requests depend on who was first."""
        world = self.world
        return {
            "runs": len(world.runs()),
            "pull requests": sorted(pull.issue.merged_at is not None for pull in world.pulls()),
            "items": [
                (
                    sorted(world.labels(number)),
                    world.record(number).state,
                    sum("<!-- tgs:status -->" in comment.body for comment in world.comments(number)),
                    sorted(words(comment.body) for comment in world.comments(number)),
                )
                for number in self.items
            ],
            "on pull requests": sorted(
                words(comment.body) for pull in world.pulls() for comment in world.comments(pull.issue.number)
            ),
        }


def words(text: str) -> str:
    """A comment without what differs from run to run: markers, numbers, addresses."""
    text = re.sub(r"<!--.*?-->|\(http[^)]*\)", "", text, flags=re.DOTALL)
    return re.sub(r"\d+", "n", text).strip()


async def end_of(folder: Path, faults: Sequence[Trouble], *, commands: bool, sweeps: bool) -> dict[str, Any]:
    async with new_world(folder, policy="max_parallel: 2\nmax_unreviewed_prs: 5\n") as world:
        world.hub.hooks.faults.extend(
            HookFault(one.kind, one.event, None, None, one.chance, one.behind) for one in faults
        )
        told = Told(world, commands, sweeps)
        await told.tell()
        seen = told.seen()
        assert not world.errors
        for number in world.repo.issues:
            world.bot_said(number)
        return seen


Ends = dict[bool, dict[str, Any]]


@pytest.fixture(scope="module")
def faultless() -> Ends:
    """What is seen in the end when every webhook comes once and in order: without and with commands."""
    ends = {commands: end_now((), commands=commands) for commands in (False, True)}
    for end in ends.values():
        assert [state for _, state, _, _ in end["items"]] == ["closed", "closed"]
        assert end["runs"] == 2
        assert end["pull requests"] == [True, True]
    return ends


def end_now(faults: Sequence[Trouble], *, commands: bool, sweeps: bool = True) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=os.environ.get("PYTEST_DEBUG_TEMPROOT")) as folder:
        return asyncio.run(end_of(Path(folder), faults, commands=commands, sweeps=sweeps))


QUICK = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@QUICK
@given(faults=troubles(HookFaultKind.DROP, HookFaultKind.DUPLICATE, HookFaultKind.DELAY))
def test_lost_doubled_and_late_webhooks_change_nothing(faultless: Ends, faults: list[Trouble]) -> None:
    assert end_now(faults, commands=False) == faultless[False]


@QUICK
@given(faults=troubles(HookFaultKind.DUPLICATE, HookFaultKind.DELAY))
def test_doubled_and_late_webhooks_change_nothing_for_commands(faultless: Ends, faults: list[Trouble]) -> None:
    assert end_now(faults, commands=True) == faultless[True]


ALL_LOST = (Trouble(HookFaultKind.DROP, None, 1.0, 1),)


def test_with_every_webhook_lost_the_looks_alone_lead_to_the_same_end(faultless: Ends) -> None:
    assert end_now(ALL_LOST, commands=False) == faultless[False]


def test_without_the_looks_lost_webhooks_would_be_felt(faultless: Ends) -> None:
    assert end_now(ALL_LOST, commands=False, sweeps=False) != faultless[False]
