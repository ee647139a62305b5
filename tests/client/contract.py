"""What every backlog behind `tgs server backlog` does, as tests that each implementation runs.

A module of tests makes a fixture `stage` that gives a `Stage`, and a class `Test…(BacklogContract)`. A stage is one
repository with plans on its default branch and a backlog that is empty at first. `session(name)` is somebody who works
on it from a place of their own; everything else is what people do beside the backlog.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Protocol

import jsonschema
import pytest

from bot.client.backlog import (
    Addition,
    Backlog,
    Claim,
    Ending,
    Entry,
    Held,
    ItemRef,
    NothingThere,
    Status,
    Taken,
    Wanted,
)
from bot.client.backlog_file import json_schema
from bot.domain.model import ItemState
from bot.errors import LostClaim, Refused, UserError

Z = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


class Stage(Protocol):
    async def session(self, name: str) -> Backlog:
        """Somebody with a way of their own to the same backlog; the same one when asked again."""
        ...

    async def thought(self, title: str, *, front_matter: str = "") -> str:
        """Commits a plan and its research on the default branch; its folder."""
        ...

    async def implement(self, claim: Claim) -> None:
        """Brings the evidence that `complete` asks for."""
        ...

    def later(self, by: timedelta) -> None:
        """Time passes for everybody."""
        ...


def held(claim: Claim) -> Held:
    """The claim as its owner names it when it is settled."""
    return Held(ItemRef(dir=claim.entry.dir), attempt=claim.attempt, fence=claim.fence, token=claim.token)


def ref(folder: str) -> ItemRef:
    return ItemRef(dir=folder)


async def queued(stage: Stage, *titles: str) -> list[str]:
    """Plans that were committed and added, a second apart, in this order."""
    backlog = await stage.session("ada")
    folders = []
    for title in titles:
        folder = await stage.thought(title)
        await backlog.add(Addition(ref=ref(folder)))
        stage.later(timedelta(seconds=1))
        folders.append(folder)
    return folders


async def entry(backlog: Backlog, folder: str) -> Entry:
    (found,) = [one for one in await backlog.entries() if one.dir == folder]
    return found


class BacklogContract:
    """Run by every implementation."""

    async def test_a_plan_is_added_listed_claimed_and_completed(self, stage: Stage) -> None:
        folder = await stage.thought("Add search")
        ada, ben = await stage.session("ada"), await stage.session("ben")

        added = await ada.add(Addition(ref=ref(folder), priority=10))
        assert added.new
        assert (added.entry.dir, added.entry.title, added.entry.priority) == (folder, "Add search", 10)

        listed = await entry(ben, folder)
        assert (listed.state, listed.status, listed.position) == (ItemState.READY, Status.QUEUED, 1)
        assert listed.added_at is not None

        (claim,) = await ben.claim(Wanted(name="ben"))
        assert claim.entry.dir == folder
        assert claim.token.startswith("tga_")
        assert claim.fence >= 1
        assert claim.base_sha is not None
        assert f"{folder}/plan.md" in claim.context
        listed = await entry(ada, folder)
        assert (listed.state, listed.status, listed.claimed_by) == (ItemState.IN_PROGRESS, Status.IN_PROGRESS, "ben")
        assert listed.claimed_at is not None

        await stage.implement(claim)
        settled = await ben.complete(held(claim))
        assert settled.entry.dir == folder
        assert folder in settled.text
        assert (await entry(ada, folder)).status in {Status.COMPLETED, Status.IN_PROGRESS}
        with pytest.raises(NothingThere):
            await ada.claim(Wanted(name="ada"))

    async def test_a_second_add_says_that_it_is_queued_already(self, stage: Stage) -> None:
        (folder,) = await queued(stage, "Add search")
        again = await (await stage.session("ben")).add(Addition(ref=ref(folder)))
        assert not again.new
        assert again.entry.dir == folder
        assert len(await (await stage.session("ada")).entries()) == 1

    async def test_a_folder_that_is_not_there_is_refused(self, stage: Stage) -> None:
        backlog = await stage.session("ada")
        await stage.thought("Another one")
        for wrong in ("tgs/thoughts/abc999-missing", "tgs/thoughts/../secrets", "docs"):
            with pytest.raises(UserError):
                await backlog.add(Addition(ref=ref(wrong)))
        assert await backlog.entries() == []

    async def test_an_empty_backlog_gives_nothing_and_says_so(self, stage: Stage) -> None:
        backlog = await stage.session("ada")
        assert await backlog.entries() == []
        with pytest.raises(NothingThere) as nothing:
            await backlog.claim(Wanted(name="ada"))
        assert nothing.value.what

    async def test_the_next_one_is_the_most_urgent_then_the_oldest(self, stage: Stage) -> None:
        first, second, third = await queued(stage, "First", "Second", "Third")
        backlog = await stage.session("ada")
        await backlog.add(Addition(ref=ref(third), priority=100))
        order = [third, first, second]
        assert [one.dir for one in await backlog.entries()] == order
        assert [claim.entry.dir for claim in await backlog.claim(Wanted(name="ada", count=2))] == order[:2]

    async def test_a_look_at_the_next_one_claims_nothing(self, stage: Stage) -> None:
        (folder,) = await queued(stage, "Add search")
        backlog = await stage.session("ada")
        (seen,) = await backlog.claim(Wanted(name="ada", peek=True))
        assert (seen.entry.dir, seen.token) == (folder, "")
        assert (await entry(backlog, folder)).status is Status.QUEUED

    async def test_who_wants_a_claimed_one_is_told_who_has_it(self, stage: Stage) -> None:
        (folder,) = await queued(stage, "Add search")
        ada, ben = await stage.session("ada"), await stage.session("ben")
        await ada.claim(Wanted(name="ada", ref=ref(folder)))
        with pytest.raises(Taken) as taken:
            await ben.claim(Wanted(name="ben", ref=ref(folder)))
        assert taken.value.owner == "ada"

    @pytest.mark.parametrize("order", [("ada", "ben"), ("ben", "ada")], ids=["ada asks first", "ben asks first"])
    async def test_two_who_claim_at_once_get_different_ones(self, stage: Stage, order: tuple[str, str]) -> None:
        folders = await queued(stage, "First", "Second")
        asking = [(await stage.session(name)).claim(Wanted(name=name)) for name in order]
        claims = [claim for got in await asyncio.gather(*asking) for claim in got]
        assert sorted(str(claim.entry.dir) for claim in claims) == sorted(folders)
        assert len({claim.token for claim in claims}) == 2

    async def test_without_evidence_nothing_is_completed(self, stage: Stage) -> None:
        (folder,) = await queued(stage, "Add search")
        backlog = await stage.session("ada")
        (claim,) = await backlog.claim(Wanted(name="ada"))
        with pytest.raises(Refused, match=r"implementation\.md"):
            await backlog.complete(held(claim))
        assert (await entry(backlog, folder)).status is Status.IN_PROGRESS

    async def test_a_persons_word_is_evidence(self, stage: Stage) -> None:
        (folder,) = await queued(stage, "Add search")
        backlog = await stage.session("ada")
        (claim,) = await backlog.claim(Wanted(name="ada"))
        await backlog.complete(held(claim), evidence="The work was done by hand last week.")
        assert (await entry(backlog, folder)).status is Status.COMPLETED

    @pytest.mark.parametrize(
        "spoil",
        [
            pytest.param(lambda h: Held(h.ref, h.attempt, h.fence, "tga_guessed"), id="another token"),
            pytest.param(lambda h: Held(h.ref, h.attempt, (h.fence or 0) - 1, h.token), id="an older fence"),
        ],
    )
    async def test_a_claim_that_is_not_the_callers_settles_nothing(
        self, stage: Stage, spoil: Callable[[Held], Held]
    ) -> None:
        (folder,) = await queued(stage, "Add search")
        backlog = await stage.session("ada")
        (claim,) = await backlog.claim(Wanted(name="ada"))
        with pytest.raises(LostClaim):
            await backlog.complete(spoil(held(claim)), evidence="done")
        with pytest.raises(LostClaim):
            await backlog.fail(spoil(held(claim)), Ending("agent.crash"))
        assert (await entry(backlog, folder)).status is Status.IN_PROGRESS

    async def test_a_claim_that_was_taken_away_is_lost(self, stage: Stage) -> None:
        (folder,) = await queued(stage, "Add search")
        ada, ben = await stage.session("ada"), await stage.session("ben")
        (old,) = await ada.claim(Wanted(name="ada"))
        await ben.remove(ref(folder), force=True)
        await ben.add(Addition(ref=ref(folder)))
        (new,) = await ben.claim(Wanted(name="ben"))
        assert new.fence > old.fence
        with pytest.raises(LostClaim):
            await ada.complete(held(old), evidence="done")
        assert (await entry(ada, folder)).claimed_by == "ben"

    async def test_a_failure_that_may_pass_is_tried_again_later(self, stage: Stage) -> None:
        (folder,) = await queued(stage, "Add search")
        backlog = await stage.session("ada")
        (claim,) = await backlog.claim(Wanted(name="ada"))
        settled = await backlog.fail(held(claim), Ending("agent.crash", "It stopped.", log="the last line"))
        assert settled.due_at is not None
        with pytest.raises(NothingThere):
            await backlog.claim(Wanted(name="ada"))
        stage.later(timedelta(minutes=31))
        (again,) = await backlog.claim(Wanted(name="ada"))
        assert (again.entry.dir, again.fence > claim.fence) == (folder, True)

    async def test_a_failure_for_good_is_not_tried_again(self, stage: Stage) -> None:
        await queued(stage, "Add search")
        backlog = await stage.session("ada")
        (claim,) = await backlog.claim(Wanted(name="ada"))
        settled = await backlog.fail(held(claim), Ending("agent.crash", "Impossible.", retryable=False))
        assert (settled.due_at, settled.entry.status) == (None, Status.FAILED)
        stage.later(timedelta(days=1))
        with pytest.raises(NothingThere):
            await backlog.claim(Wanted(name="ada"))

    async def test_an_unknown_reason_is_refused_and_nothing_is_lost(self, stage: Stage) -> None:
        (folder,) = await queued(stage, "Add search")
        backlog = await stage.session("ada")
        (claim,) = await backlog.claim(Wanted(name="ada"))
        with pytest.raises(UserError, match=r"agent\.crash"):
            await backlog.fail(held(claim), Ending("agent.crashed"))
        assert (await entry(backlog, folder)).status is Status.IN_PROGRESS

    async def test_what_is_queued_can_be_removed_and_what_is_worked_on_only_by_force(self, stage: Stage) -> None:
        first, second = await queued(stage, "First", "Second")
        backlog = await stage.session("ada")
        await backlog.remove(ref(first))
        (claim,) = await backlog.claim(Wanted(name="ada"))
        assert claim.entry.dir == second
        with pytest.raises(Refused):
            await backlog.remove(ref(second))
        await backlog.remove(ref(second), force=True)
        assert not [one for one in await backlog.entries() if one.status is not Status.CANCELLED]

    async def test_the_list_is_filtered_by_state_and_by_status(self, stage: Stage) -> None:
        first, second = await queued(stage, "First", "Second")
        backlog = await stage.session("ada")
        await backlog.claim(Wanted(name="ada"))
        assert [one.dir for one in await backlog.entries(states=[ItemState.READY])] == [second]
        assert [one.dir for one in await backlog.entries(statuses=[Status.IN_PROGRESS])] == [first]
        assert len(await backlog.entries(statuses=[Status.IN_PROGRESS, Status.QUEUED])) == 2

    async def test_a_scan_adds_what_is_new_once(self, stage: Stage) -> None:
        folder = await stage.thought("Add search", front_matter="title: Search everywhere\npriority: high")
        await stage.thought("Not yet", front_matter="status: draft")
        backlog = await stage.session("ada")
        assert [one.dir for one in (await backlog.scan(apply=False)).added] == [folder]
        assert await backlog.entries() == []
        assert [one.dir for one in (await backlog.scan(apply=True)).added] == [folder]
        again = await backlog.scan(apply=True)
        assert (again.added, again.known) == ((), 1)
        listed = await entry(backlog, folder)
        assert (listed.title, listed.priority) == ("Search everywhere", 100)

    async def test_an_export_is_the_agreed_file_and_importing_it_changes_nothing(self, stage: Stage) -> None:
        await queued(stage, "First", "Second")
        backlog = await stage.session("ada")
        await backlog.claim(Wanted(name="ada"))
        exported = await backlog.export()
        jsonschema.validate(exported, json_schema())
        thoughts = exported["thoughts"]
        assert isinstance(thoughts, list)
        assert [row["status"] for row in thoughts] == ["in_progress", "queued"]
        assert all(Z.fullmatch(row["added_at"]) for row in thoughts)
        before = await backlog.entries()
        assert [one.new for one in await backlog.import_(exported)] == [False, False]
        assert await backlog.entries() == before

    async def test_an_import_adds_what_is_missing_and_leaves_the_rest(self, stage: Stage) -> None:
        first, second = await queued(stage, "First", "Second")
        backlog = await stage.session("ada")
        exported = await backlog.export()
        await backlog.remove(ref(first))
        await backlog.add(Addition(ref=ref(second), priority=7))
        assert [one.new for one in await backlog.import_(exported)] == [True, False]
        assert {one.dir for one in await backlog.entries(statuses=[Status.QUEUED])} == {first, second}
        assert (await entry(backlog, second)).priority == 7

    async def test_a_sound_backlog_has_no_errors(self, stage: Stage) -> None:
        await queued(stage, "First")
        backlog = await stage.session("ada")
        assert [found for found in await backlog.validate() if found.severity == "error"] == []

    async def test_people_can_ask_why_something_does_not_move(self, stage: Stage) -> None:
        _, second = await queued(stage, "First", "Second")
        assert await (await stage.session("ada")).explain(ref(second))
