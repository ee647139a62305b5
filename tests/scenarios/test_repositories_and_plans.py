"""What happens to repositories and to the plans in them, and what the bot makes of it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bot.localhub.actions_model import Conclusion
from bot.localhub.git_model import RefUpdate
from bot.localhub.model import Role as HubRole
from tests.scenarios.steps import (
    HOUR,
    MINUTE,
    dispatched,
    item_of,
    last_attempt,
    ready,
    running,
    say,
    scene,
    set_up,
    settled_for,
)
from tests.world import AUTO_POLICY, PERMISSIONS, World

PROPOSE = "mirror:\n  auto_ready: false\nmax_parallel: 25\nmax_unreviewed_prs: 100\n"


def mirrored(world: World, name: str) -> int:
    """The number of the one issue of a thought."""
    found = [
        number
        for number, record in world.repo.issues.items()
        if record in issues(world) and f"tgs/thoughts/{name}" in (record.body or "")
    ]
    assert len(found) == 1, f"{len(found)} issues for {name}"
    return found[0]


def issues(world: World) -> list[Any]:
    """All issues but the set-up issue."""
    return [r for r in world.repo.issues.values() if not r.is_pull and "<!-- tgs:setup -->" not in (r.body or "")]


# --- installations and repositories -----------------------------------------------------------------


async def test_a_suspended_installation_is_left_alone_and_goes_on_afterwards(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        assert world.installation is not None
        number = await running(world)
        world.hub.suspend(world.installation, by=world.owner)
        await world.settle()
        # The worker is told to stop at its next heartbeat.
        status, beat = await world.run().beat()
        assert status == 409 or beat["cancel"]
        world.expected_errors = True
        await world.after(HOUR)
        world.hub.unsuspend(world.installation, by=world.owner)
        await world.settle()
        await world.sweep()
        await world.after(3 * HOUR)
        attempts = await world.attempts(number)
        assert not attempts[0].live
        assert len([a for a in attempts if a.live]) <= 1
        other = await ready(world, "Other")
        assert (await item_of(world, other)).state.value in {"ready", "in-progress"}


async def test_an_uninstalled_app_touches_nothing_any_more_and_may_come_back(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        assert world.installation is not None
        number = await running(world)
        world.hub.uninstall(world.installation, by=world.owner)
        await world.settle()
        status, beat = await world.run().beat()
        assert status == 409 or beat["cancel"]
        world.label(number, "tgs:ready")
        await world.sweep()
        await settled_for(world, 2 * HOUR, number)
        await world.install()
        # What was going on is found again, and holds its place until its run is seen to have ended.
        other = await ready(world, "Other")
        assert world.state(other) == "ready"
        world.run().end(Conclusion.CANCELLED)
        await world.after(5 * MINUTE)
        assert world.state(other) == "in-progress"


async def test_a_repository_taken_from_the_installation_is_left_alone(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        assert world.installation is not None
        number = await ready(world, "One", labels=["tgs:hold"])
        world.hub.change_repositories(world.installation, remove=[world.repo], by=world.owner)
        await world.settle()
        world.unlabel(number, "tgs:hold")
        await settled_for(world, HOUR, number)
        assert not world.runs()
        world.hub.change_repositories(world.installation, add=[world.repo], by=world.owner)
        await world.settle()
        await world.sweep()
        await world.settle()
        assert len(world.runs()) == 1


async def test_an_archived_repository_waits_without_being_written_to(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await ready(world, "One", labels=["tgs:hold"])
        world.hub.set_archived(world.repo, True, by=world.owner)
        await world.settle()
        await world.sweep()
        await settled_for(world, HOUR, number)
        world.hub.set_archived(world.repo, False, by=world.owner)
        world.unlabel(number, "tgs:hold")
        await world.settle()
        assert world.state(number) == "in-progress"


async def test_a_renamed_repository_keeps_its_items(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await running(world)
        world.hub.rename_repo(world.repo, "welcomer", by=world.owner)
        await world.settle()
        assert (await world.repo_record()).full_name == "olga/welcomer"
        assert (await world.run().beat())[0] == 200
        await world.run().publish()
        assert world.state(number) == "in-review"
        assert "olga/welcomer" in world.status(number)
        assert await dispatched(world, "After the rename")


async def test_an_empty_repository_says_what_is_missing_and_wakes_up_with_the_first_commit(tmp_path: Path) -> None:
    async with scene(tmp_path, installed=False) as world:
        world.repo = world.hub.create_repo(world.owner, "empty", private=True, files={}, roles={"maria": HubRole.WRITE})
        await world.install()
        _, body = set_up(world)
        assert "empty" in body
        number = await ready(world)
        assert not world.runs()
        assert "empty" in world.status(number)


async def test_accounts_that_are_not_allowed_are_ignored(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        stranger = world.hub.create_user("stranger")
        theirs = world.hub.create_repo(stranger, "elsewhere", files={"README.md": "x"})
        world.hub.install(world.app, stranger, [theirs], by=stranger)
        issue = world.hub.issues.open(theirs, "Spend", "money", actor=world.as_(stranger), labels=["tgs:ready"])
        world.hub.comments.create(issue, "/tgs start", world.as_(stranger))
        await world.settle()
        await world.sweep()
        await world.after(HOUR)
        assert list(theirs.issues) == [issue.number]
        assert len(issue.comments) == 1
        assert not world.hub.actions.runs_of(theirs)


async def test_everything_missing_is_listed_in_one_set_up_issue_that_is_only_edited(tmp_path: Path) -> None:
    async with scene(tmp_path, bare=True) as world:
        number, _ = set_up(world)
        assert len(world.repo.issues) == 1
        for text in ("max_paralel: 2\n", "max_parallel: 0\n", "max_parallel: [\n"):
            world.push({".tgs/policy.yml": text})
            await world.settle()
        assert len(world.repo.issues) == 1
        assert world.comments(number) == []


# --- policy -----------------------------------------------------------------------------------------


async def test_an_invalid_policy_keeps_the_last_good_one_and_is_told_with_its_position(tmp_path: Path) -> None:
    async with scene(tmp_path, policy="max_parallel: 2\n") as world:
        good = (await world.repo_record()).policy_hash
        number, before = set_up(world)
        edits = len(world.record(number).body_edits)
        world.push({".tgs/policy.yml": "enabled: true\nmax_parallel: many\n"})
        await world.settle()
        repo = await world.repo_record()
        assert repo.policy_hash == good
        _, body = set_up(world)
        assert body != before
        assert "line 2" in body
        assert "max_parallel" in body
        # Another commit with the same content says nothing again.
        told = len(world.record(number).body_edits)
        assert told == edits + 1
        world.push({"README.md": "# Changed\n"})
        await world.after(HOUR)
        assert len(world.record(number).body_edits) == told
        one, two = await ready(world, "One"), await ready(world, "Two")
        assert len(world.runs()) == 2
        assert {one, two} == {int(run.inputs["issue"]) for run in world.runs()}
        # Mended: the problem is gone from the issue.
        world.push({".tgs/policy.yml": "enabled: true\nmax_parallel: 3\n"})
        await world.settle()
        assert "line 2" not in set_up(world)[1]
        # Removed: the defaults hold.
        world.push({".tgs/policy.yml": None})
        await world.settle()
        assert (await world.repo_record()).policy_text is None


async def test_a_policy_that_is_a_link_a_folder_or_huge_is_no_policy(tmp_path: Path) -> None:
    async with scene(tmp_path, policy="max_parallel: 2\n") as world:
        world.push({".tgs/policy.yml": None, ".tgs/policy.yml/inner": "x\n"})
        await world.settle()
        assert (await world.repo_record()).policy_text is None
        world.push({".tgs/policy.yml/inner": None, ".tgs/policy.yml": "#" * 300_000 + "\nmax_parallel: 9\n"})
        await world.settle()
        repo = await world.repo_record()
        assert repo.policy_problems
        assert repo.policy_text is None


# --- plans ------------------------------------------------------------------------------------------


async def test_a_plan_that_is_pushed_becomes_one_ready_issue_and_is_built(tmp_path: Path) -> None:
    async with scene(tmp_path, policy=AUTO_POLICY) as world:
        folder = world.thought("a1b2c3", "greet-people")
        await world.settle()
        number = mirrored(world, "a1b2c3-greet-people")
        assert world.record(number).title == "Greet people"
        assert world.state(number) == "in-progress"
        await world.run().start()
        assert world.run().context["thought"]["dir"] == folder
        await world.run().publish()
        assert world.state(number) == "in-review"
        # Other pushes mirror nothing twice.
        world.push({"README.md": "# Again\n"})
        await world.sweep()
        await world.after(HOUR)
        assert mirrored(world, "a1b2c3-greet-people") == number
        world.bot_said(number)


async def test_without_auto_ready_a_plan_is_proposed_until_a_maintainer_approves(tmp_path: Path) -> None:
    async with scene(tmp_path, policy=PROPOSE) as world:
        world.thought("a1b2c3", "one")
        world.thought("b1b2c3", "two")
        await world.settle()
        one, two = mirrored(world, "a1b2c3-one"), mirrored(world, "b1b2c3-two")
        assert (world.state(one), world.state(two)) == ("proposed", "proposed")
        world.label(one, "tgs:ready")
        await world.settle()
        assert world.state(one) == "in-progress"
        [answer] = await say(world, two, "/tgs approve")
        assert "approved" in answer
        assert world.state(two) == "in-progress"
        assert {two, one} == {int(run.inputs["issue"]) for run in world.runs()}


async def test_a_draft_is_never_started_before_it_is_released(tmp_path: Path) -> None:
    async with scene(tmp_path, policy=AUTO_POLICY) as world:
        folder = world.thought("a1b2c3", "one", front="status: draft")
        await world.settle()
        assert not world.runs()
        world.push({f"{folder}/plan.md": "# Plan for one\n"})
        await world.settle()
        assert len(world.runs()) == 1
        assert world.state(mirrored(world, "a1b2c3-one")) == "in-progress"


async def test_a_plan_that_changes_after_its_approval_must_be_approved_again(tmp_path: Path) -> None:
    async with scene(tmp_path, policy=PROPOSE) as world:
        folder = world.thought("a1b2c3", "one", front="title: The first title")
        await world.settle()
        number = mirrored(world, "a1b2c3-one")
        world.label(number, "tgs:hold", by=world.tom)
        world.label(number, "tgs:ready")
        await world.settle()
        assert world.state(number) == "ready"
        world.push({f"{folder}/plan.md": "---\ntitle: The second title\n---\n# Another plan\n"})
        await world.settle()
        assert world.record(number).title == "The second title"
        assert world.state(number) == "proposed"
        [told] = world.bot_said(number)
        assert "changed" in told
        await settled_for(world, HOUR, number)
        world.label(number, "tgs:ready")
        world.unlabel(number, "tgs:hold", by=world.tom)
        await world.settle()
        assert world.state(number) == "in-progress"
        snapshot = (await item_of(world, number)).snapshot
        thought = (await item_of(world, number)).thought
        assert snapshot is not None
        assert thought is not None
        assert snapshot.plan_sha == thought.plan_sha


async def test_with_auto_ready_a_changed_plan_is_approved_by_policy_again(tmp_path: Path) -> None:
    async with scene(tmp_path, policy=AUTO_POLICY) as world:
        first = world.thought("a1b2c3", "one")
        second = world.thought("b1b2c3", "two")
        await world.settle()
        assert len(world.runs()) == 1
        number = mirrored(world, "b1b2c3-two")
        assert world.state(number) == "ready"
        world.push({f"{second}/plan.md": "# Another plan\n"})
        await world.settle()
        assert world.state(number) == "ready"
        item = await item_of(world, number)
        assert item.snapshot is not None
        assert item.thought is not None
        assert item.snapshot.plan_sha == item.thought.plan_sha
        remembered = await world.parts.store.read(lambda tx: tx.thought_blobs(world.repo_key))
        assert sorted(remembered.values()) == ["# Another plan\n", "# Plan for one\n"], "not the one that it was"
        assert first
        world.bot_said(number)


async def test_a_title_changed_by_a_person_is_not_changed_back(tmp_path: Path) -> None:
    async with scene(tmp_path, policy=PROPOSE) as world:
        world.thought("a1b2c3", "one")
        await world.settle()
        number = mirrored(world, "a1b2c3-one")
        world.edit(number, by=world.maria, title="A better title")
        await world.settle()
        world.push({"README.md": "# Again\n"})
        await world.sweep()
        await world.after(HOUR)
        assert world.record(number).title == "A better title"
        assert world.state(number) == "proposed"


async def test_a_removed_plan_calls_its_issue_off_and_one_that_is_built_is_done(tmp_path: Path) -> None:
    async with scene(tmp_path, policy=PROPOSE) as world:
        gone = world.thought("a1b2c3", "one")
        built = world.thought("b1b2c3", "two")
        moved = world.thought("c1b2c3", "three")
        await world.settle()
        numbers = [mirrored(world, name) for name in ("a1b2c3-one", "b1b2c3-two", "c1b2c3-three")]
        world.push({f"{gone}/plan.md": None, f"{gone}/research.md": None})
        world.push({f"{built}/implementation.md": "# By hand\n"})
        renamed = "tgs/thoughts/c1b2c3-three-better"
        world.push(
            {
                f"{moved}/plan.md": None,
                f"{moved}/research.md": None,
                f"{renamed}/plan.md": "# Plan for three\n",
                f"{renamed}/research.md": "# Research\n",
            }
        )
        await world.after(5 * MINUTE)
        assert [world.state(number) for number in numbers] == ["cancelled", "done", "proposed"]
        assert world.record(numbers[1]).state == "closed"
        thought = (await item_of(world, numbers[2])).thought
        assert thought is not None
        assert thought.dir == renamed
        assert len(issues(world)) == 3


async def test_a_removed_plan_does_not_tear_a_running_attempt_down(tmp_path: Path) -> None:
    async with scene(tmp_path, policy=AUTO_POLICY) as world:
        folder = world.thought("a1b2c3", "one")
        await world.settle()
        number = mirrored(world, "a1b2c3-one")
        await world.run().start()
        world.push({f"{folder}/plan.md": None, f"{folder}/research.md": None})
        await world.settle()
        assert (await last_attempt(world, number)).live
        await world.run().publish()
        assert world.state(number) == "in-review"


async def test_hundreds_of_plans_at_once_are_mirrored_slowly_and_listed(tmp_path: Path) -> None:
    policy = "mirror:\n  auto_ready: false\n  max_backlog: 12\n  per_hour: 5\n"
    async with scene(tmp_path, policy=policy) as world:
        files: dict[str, str | None] = {}
        for index in range(500):
            folder = f"tgs/thoughts/aa{index:04d}-plan-{index}"
            files[f"{folder}/plan.md"] = f"# Plan {index}\n"
            files[f"{folder}/research.md"] = "# Research\n"
        world.push(files)
        await world.settle()
        assert len(issues(world)) == 5
        _, body = set_up(world)
        assert "490 more" in body or "495" in body or "mirror.per_hour" in body
        await world.after(timedelta(hours=4))
        assert len(issues(world)) == 12
        assert len(body) < 60_000
        assert all(world.state(record.number) == "proposed" for record in issues(world))


async def test_plans_that_were_there_at_the_installation_wait_for_a_decision(tmp_path: Path) -> None:
    there = {
        f"tgs/thoughts/{name}/{file}": f"# {file}\n"
        for name in ("a1b2c3-old", "b1b2c3-older")
        for file in ("plan.md", "research.md")
    }
    async with scene(tmp_path, policy=PROPOSE, files=there) as world:
        number, body = set_up(world)
        assert "a1b2c3-old" in body
        assert "b1b2c3-older" in body
        assert issues(world) == []
        # A new one does not wait for that decision.
        world.thought("c1b2c3", "new")
        await world.settle()
        assert len(issues(world)) == 1
        [refused] = await say(world, number, "/tgs approve", by=world.tom)
        assert "write" in refused
        assert len(issues(world)) == 1
        answers = await say(world, number, "/tgs approve")
        assert len(answers) == 1
        await world.settle()
        assert len(issues(world)) == 3
        assert "a1b2c3-old" not in set_up(world)[1]
        assert await world.item(number) is None


async def test_the_ready_label_on_the_set_up_issue_releases_the_plans_and_comes_off(tmp_path: Path) -> None:
    there = {f"tgs/thoughts/a1b2c3-old/{file}": "# x\n" for file in ("plan.md", "research.md")}
    async with scene(tmp_path, policy=PROPOSE, files=there) as world:
        number, _ = set_up(world)
        world.label(number, "tgs:ready")
        await world.settle()
        await world.after(MINUTE)
        assert len(issues(world)) == 1
        assert "tgs:ready" not in world.labels(number)
        assert await world.item(number) is None
        assert not world.runs()


HOSTILE = {
    "an alias bomb": "a: &a [x, x, x]\nb: &b [*a, *a]\nc: [*b, *b]",
    "a tag": "title: !!python/object/apply:os.system ['true']",
    "nothing but noise": "\t{[}",
    "a list": "- one\n- two",
    "secret wishes": "title: Fine\nbudget: 100000\nrepository: mallory/other\nlocks: ['../../etc']",
    "a title that mentions and closes": "title: '@everyone fixes #1 <img src=x onerror=alert(1)>'",
}


async def test_hostile_front_matter_is_refused_or_defused_and_named(tmp_path: Path) -> None:
    async with scene(tmp_path, policy=PROPOSE) as world:
        for index, front in enumerate(HOSTILE.values()):
            world.thought(f"a{index:05d}", f"plan-{index}", front=front)
        world.thought("b00000", "honest")
        await world.settle()
        assert world.state(mirrored(world, "b00000-honest")) == "proposed"
        for record in issues(world):
            # GitHub shows titles as plain text; what counts is that they mention and close nothing.
            assert "@everyone" not in record.title
            assert "fixes #1" not in record.title
        _, body = set_up(world)
        assert "plan.md" in body
        assert "line" in body
        assert not world.runs()


async def test_links_and_huge_files_are_no_plans(tmp_path: Path) -> None:
    async with scene(tmp_path, policy=AUTO_POLICY) as world:
        world.push({"tgs/thoughts/a1b2c3-huge/research.md": "x\n", "tgs/thoughts/a1b2c3-huge/plan.md": "x" * 2_000_000})
        world.push({"tgs/thoughts/b1b2c3-alone/plan.md": "# No research\n", "tgs/thoughts/README.md": "hello\n"})
        link(world, "tgs/thoughts/c1b2c3-link/plan.md", "../../../.git/config")
        world.push({"tgs/thoughts/c1b2c3-link/research.md": "x\n", "tgs/thoughts/Not a name/plan.md": "x\n"})
        await world.settle()
        assert issues(world) == []
        assert not world.runs()
        _, body = set_up(world)
        for name in ("a1b2c3-huge", "b1b2c3-alone", "c1b2c3-link"):
            assert name in body
        assert "symbolic link" in body


def link(world: World, path: str, target: str) -> None:
    """A symbolic link on the default branch, as only git itself can push one."""
    bare = world.hub.git.bare(world.repo)
    base = bare.ref("refs/heads/main")
    assert base is not None
    [blob] = bare.write_blobs([target.encode()])
    tree = bare.write_tree(base, [(path, "120000", blob)])
    who = world.hub.git.ident(world.maria)
    sha = bare.write_commit(tree, [base], "A link", who, who)
    world.hub.git.move(world.repo, [RefUpdate("refs/heads/main", base, sha)], world.as_(world.maria))


@pytest.mark.parametrize("name", sorted(set(PERMISSIONS) - {"statuses", "checks", "metadata"}))
async def test_every_permission_that_is_missing_is_named(tmp_path: Path, name: str) -> None:
    async with scene(tmp_path, installed=False) as world:
        world.app.permissions = {key: level for key, level in PERMISSIONS.items() if key != name}
        world.expected_errors = True
        await world.install()
        await world.after(MINUTE)
        number = world.issue()
        world.label(number, "tgs:ready")
        await world.after(MINUTE)
        assert not world.runs()
        if name != "issues":
            assert name in set_up(world)[1]
