"""The first loop: label, claim, run, pull request, CI, merge, done."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from tests.world import World, new_world


async def to_review(world: World, title: str = "Add a greeting") -> int:
    """An issue whose work is published: its pull request is open."""
    number = world.issue(title)
    world.label(number, "tgs:ready")
    await world.settle()
    await world.run().work()
    return number


async def test_a_labelled_issue_is_worked_on_and_merged_by_command(tmp_path: Path) -> None:
    async with new_world(tmp_path) as world:
        number = world.issue()
        world.label(number, "tgs:ready")
        await world.settle()
        assert world.state(number) == "in-progress"
        assert [user.login for user in world.record(number).assignees] == ["maria"]
        assert len(world.runs()) == 1

        sha = await world.run().work()
        assert world.state(number) == "in-review"
        [pull] = world.pulls()
        assert pull.issue.user is world.app.bot
        assert pull.issue.draft
        assert f"Closes #{number}" in pull.issue.body

        world.ci(sha)
        await world.settle()
        assert not pull.issue.draft
        [wanted] = world.bot_said(number)
        assert "maria" in wanted

        asked = world.comment(number, "/tgs merge")
        await world.settle()
        assert pull.issue.merged_at is not None
        assert "rocket" in world.reactions(asked) or "eyes" in world.reactions(asked)
        await world.after(timedelta(minutes=1))
        assert world.state(number) == "done"
        assert world.record(number).state == "closed"
        assert f"refs/heads/{pull.head_ref}" not in await world.hub.git.refs(world.repo)
        status = world.status(number)
        assert status.startswith("**Done**")
        assert f"merged in #{pull.number}" in status
