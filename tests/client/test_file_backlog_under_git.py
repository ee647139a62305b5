"""The backlog in a file under real git: late pushes, lost answers, broken files, and people's own work."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import jsonschema
import pytest

from bot.client.backlog import Addition, Backlog, Ending, ItemRef, NothingThere, Status, Ticket, Wanted
from bot.client.backlog_branch import TRIES, Contended, pause
from bot.client.backlog_file import PATH, BrokenFile, UnknownVersion, json_schema, parse
from bot.client.file_backlog import FileBacklog
from bot.errors import LostClaim, Refused, Unavailable, UserError
from tests.client.clones import Clones, git, write
from tests.client.contract import entry, held, queued, ref

ROOT = Path(__file__).resolve().parents[2]


def hook(clones: Clones, name: str, script: str) -> None:
    """Something the shared side does at a push."""
    path = clones.origin / "hooks" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def rival(clones: Clones, times: int) -> None:
    """Somebody pushes between our read and our push, in each of the next `times` tries."""
    looks = itertools.count()

    def push() -> None:
        # A try looks at the clock twice: when it decides, and when it commits.
        look = next(looks)
        if look % 2 == 0 and look // 2 < times:
            clones.push({"README.md": f"Changed {look // 2}\n"})

    clones.wall.at_look = push


# --- one commit after the other


async def test_the_file_appears_with_the_first_add_and_is_what_was_agreed(clones: Clones) -> None:
    backlog = await clones.session("ada")
    before = clones.tip()
    await backlog.scan(apply=True)
    assert await backlog.validate(fix=True) == []
    assert await backlog.import_({"version": "1", "thoughts": []}) == []
    assert clones.tip() == before

    (folder,) = await queued(clones, "Add search")
    assert git(clones.origin, "log", "-1", "--format=%s|%an", "main") == f"Add {folder} in the backlog|Somebody"
    assert git(clones.origin, "diff", "--name-only", "main~1", "main") == PATH
    jsonschema.validate(clones.data(), json_schema())
    assert clones.data()["thoughts"] == [
        {
            "dir": folder,
            "title": "Add search",
            "priority": 0,
            "status": "queued",
            "added_at": "2026-03-04T05:06:07Z",
            "started_at": None,
            "completed_at": None,
            "claimed_by": None,
            "claimed_at": None,
            "tgs": {"changed_at": "2026-03-04T05:06:07Z"},
        }
    ]


async def test_doing_something_again_commits_nothing(clones: Clones) -> None:
    (folder,) = await queued(clones, "Add search")
    backlog = await clones.session("ada")
    (claim,) = await backlog.claim(Wanted(name="ada"))
    first = await backlog.complete(held(claim), evidence="By hand.")
    before = clones.tip()
    assert (await backlog.complete(held(claim), evidence="By hand.")).entry == first.entry
    with pytest.raises(Refused, match="cannot become queued"):
        await backlog.add(Addition(ref=ref(folder)))
    with pytest.raises(LostClaim):
        await backlog.fail(held(claim), Ending("agent.crash"))
    assert clones.tip() == before


@pytest.mark.parametrize("rivals", [1, 2], ids=["one lost race", "two lost races"])
async def test_a_push_that_comes_too_late_is_done_again_on_what_is_there(clones: Clones, rivals: int) -> None:
    (folder,) = await queued(clones, "Add search")
    rival(clones, rivals)
    (claim,) = await (await clones.session("ada")).claim(Wanted(name="ada"))
    assert claim.entry.dir == folder
    assert clones.slept == [pause(tried, 0.5) for tried in range(1, rivals + 1)]
    assert git(clones.origin, "show", "main:README.md") == f"Changed {rivals - 1}"


async def test_after_three_lost_races_it_says_so_and_has_changed_nothing(clones: Clones) -> None:
    (folder,) = await queued(clones, "Add search")
    rival(clones, 10)
    backlog = await clones.session("ada")
    with pytest.raises(Contended, match=f"each of the {TRIES} times") as lost:
        await backlog.claim(Wanted(name="ada"))
    assert "Try again" in lost.value.remedy
    clones.wall.at_look = lambda: None
    assert (await entry(backlog, folder)).status is Status.QUEUED


@pytest.mark.parametrize("chance", [0.0, 0.999], ids=["the longest", "the shortest"])
def test_the_pauses_grow_and_stay_short(chance: float) -> None:
    assert [round(pause(tried, chance), 1) for tried in (1, 2)] == ([0.5, 1.0] if chance == 0 else [0.3, 0.5])


@pytest.mark.parametrize("winner", ["ada", "ben"])
async def test_whoever_pushes_first_has_it_and_the_other_one_gets_the_next(clones: Clones, winner: str) -> None:
    first, second = await queued(clones, "First", "Second")
    loser = "ben" if winner == "ada" else "ada"
    fast = await clones.opened(clones.clone(f"{winner}-fast"))
    slow = await clones.session(loser)
    slow_claim = _claim_after(clones, fast, winner)
    (got,) = await slow.claim(Wanted(name=loser))
    assert (await entry(slow, first)).claimed_by == winner
    assert (got.entry.dir, (await entry(fast, second)).claimed_by) == (second, loser)
    assert slow_claim() == 1


def _claim_after(clones: Clones, fast: FileBacklog, winner: str) -> Callable[[], int]:
    """At our next look at the clock the other one claims, whole, in a thread of its own."""
    done = itertools.count()
    todo = [True]

    def claim() -> None:
        if todo and todo.pop():
            from concurrent.futures import ThreadPoolExecutor

            with ThreadPoolExecutor(1) as pool:
                pool.submit(asyncio.run, fast.claim(Wanted(name=winner))).result()  # type: ignore[arg-type]
            next(done)

    clones.wall.at_look = claim
    return lambda: next(done)


async def test_two_sessions_of_one_clone_take_turns(clones: Clones) -> None:
    folders = await queued(clones, "First", "Second", "Third")
    here = clones.clone("ada")
    sessions = [await clones.opened(here, sleep=asyncio.sleep) for _ in folders]
    claims = await asyncio.gather(*(one.claim(Wanted(name=str(i))) for i, one in enumerate(sessions)))
    assert sorted(str(got[0].entry.dir) for got in claims) == sorted(folders)


# --- the other side


async def test_a_refused_push_says_what_the_other_side_said(clones: Clones) -> None:
    folder = await clones.thought("Add search")
    hook(clones, "pre-receive", "echo 'main is protected'; exit 1")
    backlog = await clones.session("ada")
    with pytest.raises(Refused, match="main is protected"):
        await backlog.add(Addition(ref=ref(folder)))
    assert clones.slept == []


async def test_a_lost_answer_to_a_push_is_found_out(clones: Clones) -> None:
    folder = await clones.thought("Add search")
    # The receiving side dies after it has taken the commit and before it says so.
    hook(clones, "post-receive", "kill -9 $PPID")
    backlog = await clones.session("ada")
    assert (await backlog.add(Addition(ref=ref(folder)))).new
    assert len(clones.data()["thoughts"]) == 1


async def test_an_unreachable_side_is_said(clones: Clones) -> None:
    backlog = await clones.session("ada")
    clones.origin.rename(clones.folder / "elsewhere.git")
    with pytest.raises(Unavailable, match="origin cannot be reached"):
        await backlog.entries()


async def test_a_lock_that_a_killed_git_left_is_named(clones: Clones) -> None:
    await queued(clones, "Add search")
    write(clones.clone("ada"), ".git/refs/tgs/backlog.lock", "")
    clones.push({"README.md": "Something new.\n"})
    with pytest.raises(UserError, match=r"backlog\.lock.*remove it"):
        await (await clones.session("ada")).entries()


async def test_a_process_that_is_killed_leaves_the_file_whole(clones: Clones) -> None:
    folders = await queued(clones, "First", "Second")
    script = (
        "import asyncio, pathlib, sys\n"
        "from bot.client.backlog import Wanted\n"
        "from bot.client.file_backlog import open_file_backlog\n"
        "async def main():\n"
        "    backlog = await open_file_backlog(pathlib.Path(sys.argv[1]))\n"
        "    print('ready', flush=True)\n"
        "    await backlog.claim(Wanted(name='victim'))\n"
        "asyncio.run(main())\n"
    )
    # The other side's hook runs in the middle of the push; it waits for the claimer's death. Later pushes pass.
    pushing, dead = clones.folder / "pushing", clones.folder / "dead"
    os.mkfifo(pushing)
    os.mkfifo(dead)
    hook(clones, "pre-receive", f"test -p {pushing} || exit 0; echo yes > {pushing}; cat {dead}")
    here = clones.clone("victim")
    victim = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(here), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert victim.stdout is not None
    assert await victim.stdout.readline() == b"ready\n"
    await asyncio.to_thread(pushing.read_text)
    victim.kill()
    await victim.wait()
    pushing.unlink()
    await asyncio.to_thread(dead.write_text, "yes")

    # Whether the push arrived is decided by the other side alone; both are whole versions, and work goes on.
    claims = await (await clones.opened(here, sleep=asyncio.sleep)).claim(Wanted(name="ada", count=2))
    owners = {row.dir: row.claimed_by for row in parse(clones.text().encode()).thoughts}
    assert set(owners) == set(folders)
    assert {owners[str(claim.entry.dir)] for claim in claims} == {"ada"}
    assert set(owners.values()) <= {"ada", "victim"}


# --- what people have in their clone


async def test_a_persons_work_is_neither_touched_nor_pushed(clones: Clones) -> None:
    here = clones.clone("ada")
    git(here, "switch", "--quiet", "--create", "feature")
    write(here, "mine.txt", "committed, not pushed\n")
    git(here, "add", "mine.txt")
    git(here, "commit", "--quiet", "--message", "Mine")
    write(here, "README.md", "half an idea\n")
    write(here, "staged.txt", "staged\n")
    git(here, "add", "staged.txt")
    before = git(here, "status", "--porcelain"), git(here, "rev-parse", "HEAD")

    await queued(clones, "Add search")
    (claim,) = await (await clones.session("ada")).claim(Wanted(name="ada"))

    assert claim.base_sha == git(clones.origin, "rev-parse", "main~1")
    assert (git(here, "status", "--porcelain"), git(here, "rev-parse", "HEAD")) == before
    assert "mine.txt" not in git(clones.origin, "ls-tree", "--name-only", "main")


async def test_a_checkout_of_the_branch_follows_unless_something_is_in_the_way(clones: Clones) -> None:
    here = clones.clone("ada")
    write(here, "notes.txt", "my own\n")
    first, second = await queued(clones, "First", "Second")
    assert git(here, "rev-parse", "HEAD") == clones.tip()
    assert git(here, "status", "--porcelain") == "?? notes.txt"

    write(here, PATH, "my own edit\n")
    (claim,) = await (await clones.session("ada")).claim(Wanted(name="ada"))
    assert claim.entry.dir == first
    assert (here / PATH).read_text() == "my own edit\n"
    assert second in clones.text()


async def test_only_what_is_committed_on_the_branch_is_discovered(clones: Clones) -> None:
    here = clones.clone("ada")
    for name in ("research.md", "plan.md"):
        write(here, f"tgs/thoughts/abc123-mine/{name}", "Not committed.\n")
    backlog = await clones.session("ada")
    assert (await backlog.scan(apply=False)).added == ()
    with pytest.raises(UserError, match="not committed on main"):
        await backlog.add(Addition(ref=ref("tgs/thoughts/abc123-mine")))


async def test_the_implementation_counts_where_others_can_see_it(clones: Clones) -> None:
    (folder,) = await queued(clones, "Add search")
    backlog = await clones.session("ada")
    (claim,) = await backlog.claim(Wanted(name="ada"))
    here = clones.clone("ada")
    git(here, "switch", "--quiet", "--create", "tgs/abc123-add-search")
    write(here, f"{folder}/implementation.md", "How it was built.\n")
    with pytest.raises(Refused):
        await backlog.complete(held(claim))
    git(here, "add", "--all")
    git(here, "commit", "--quiet", "--message", "Build it")
    with pytest.raises(Refused, match="pushed"):
        await backlog.complete(held(claim))
    git(here, "push", "--quiet", "origin", "HEAD")
    await backlog.complete(held(claim))
    (row,) = clones.data()["thoughts"]
    assert row["tgs"]["evidence"] == f"implementation.md in commit {git(here, 'rev-parse', 'HEAD')}"
    assert await backlog.validate() == []


async def test_a_repository_without_a_remote_is_its_own_shared_side(clones: Clones) -> None:
    folder = await clones.thought("Add search")
    here = clones.clone("alone")
    git(here, "pull", "--quiet")
    git(here, "remote", "remove", "origin")
    backlog = await clones.opened(here)
    await backlog.add(Addition(ref=ref(folder)))
    assert git(here, "status", "--porcelain") == ""
    assert len(parse((here / PATH).read_bytes()).thoughts) == 1

    write(here, PATH, "my own edit\n")
    with pytest.raises(UserError, match="not committed"):
        await backlog.claim(Wanted(name="ada"))
    git(here, "checkout", "HEAD", "--", PATH)
    await backlog.claim(Wanted(name="ada"))
    assert git(here, "status", "--porcelain") == ""


async def test_a_container_without_a_name_commits_under_ours(clones: Clones, monkeypatch: pytest.MonkeyPatch) -> None:
    here = clones.clone("ada")
    git(here, "config", "--remove-section", "user")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "user.useConfigOnly")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "true")
    folder = await clones.thought("Add search")
    # As inside a hook of another repository.
    monkeypatch.setenv("GIT_DIR", str(clones.folder / "of-another-command"))
    await (await clones.session("ada")).add(Addition(ref=ref(folder)))
    monkeypatch.delenv("GIT_DIR")
    assert git(clones.origin, "log", "-1", "--format=%an <%ae>", "main") == "tgs <tgs@localhost>"


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        pytest.param(lambda here: shutil.rmtree(here / ".git"), "no git repository", id="no clone"),
        pytest.param(
            lambda here: [git(here, "remote", "rename", "origin", "one"), git(here, "remote", "add", "two", "x")],
            "several remotes",
            id="no clear remote",
        ),
    ],
)
async def test_a_place_that_is_not_clear_is_refused(clones: Clones, spoil: Callable[[Path], object], why: str) -> None:
    here = clones.clone("ada")
    spoil(here)
    with pytest.raises(UserError, match=why):
        await clones.opened(here)


async def test_the_branch_can_be_named_and_must_be_there(clones: Clones) -> None:
    clones.push({"README.md": "For machines.\n"}, branch="machines")
    backlog = await clones.opened(clones.clone("ada"), branch="machines")
    assert (backlog.branch, await backlog.entries()) == ("machines", [])
    with pytest.raises(UserError, match="no branch `missing` on origin"):
        await (await clones.opened(clones.clone("ada"), branch="missing")).entries()


# --- broken files


async def test_a_broken_file_names_the_last_good_version_and_it_can_be_put_back(clones: Clones) -> None:
    (folder,) = await queued(clones, "Add search")
    good = clones.tip()
    ours, theirs = clones.text(), clones.text().replace("Add search", "Search")
    clones.push({PATH: f"<<<<<<< HEAD\n{ours}=======\n{theirs}>>>>>>> feature\n"})
    clones.push({PATH: "{"})
    backlog = await clones.session("ada")
    for act in (backlog.entries(), backlog.claim(Wanted(name="ada")), backlog.validate()):
        with pytest.raises(BrokenFile, match=f"restore --from {good[:12]}"):
            await act

    restored = await backlog.restore(good[:12])
    assert (restored.commit, restored.thoughts, restored.changed) == (good, 1, True)
    assert [one.dir for one in await backlog.entries()] == [folder]
    assert not (await backlog.restore(good)).changed


@pytest.mark.parametrize(
    ("source", "why"),
    [
        pytest.param("deadbeef", "no commit", id="an unknown commit"),
        pytest.param("--output=x", "no commit", id="an option"),
        pytest.param("main~1", "has no tgs/server", id="before the first add"),
    ],
)
async def test_what_is_no_version_is_not_restored(clones: Clones, source: str, why: str) -> None:
    await queued(clones, "Add search")
    with pytest.raises(UserError, match=why):
        await (await clones.session("ada")).restore(source)


async def test_an_old_version_takes_no_live_claim_away_and_uses_no_fence_again(clones: Clones) -> None:
    (folder,) = await queued(clones, "Add search")
    old = clones.tip()
    backlog = await clones.session("ada")
    (claim,) = await backlog.claim(Wanted(name="ada"))
    with pytest.raises(Refused, match=folder):
        await backlog.restore(old)
    await backlog.restore(old, force=True)
    (again,) = await backlog.claim(Wanted(name="ben"))
    assert again.fence == claim.fence + 1
    with pytest.raises(LostClaim, match="ben has it now"):
        await backlog.complete(held(claim), evidence="done")


async def test_a_version_of_a_later_format_is_left_alone(clones: Clones) -> None:
    await queued(clones, "Add search")
    clones.change(lambda data: data.update(version="2"))
    before = clones.tip()
    with pytest.raises(UnknownVersion, match="newer"):
        await (await clones.session("ada")).claim(Wanted(name="ada"))
    assert clones.tip() == before


async def test_a_link_in_the_place_of_the_file_is_not_followed(clones: Clones) -> None:
    here = clones.clone("desk")
    (here / PATH).parent.mkdir(parents=True)
    (here / PATH).symlink_to("/etc/hostname")
    git(here, "add", "--all")
    git(here, "commit", "--quiet", "--message", "Link")
    git(here, "push", "--quiet", "origin", "main")
    with pytest.raises(BrokenFile, match="symbolic link"):
        await (await clones.session("ada")).entries()


async def test_keys_of_others_survive_every_write(clones: Clones) -> None:
    await queued(clones, "Add search")
    clones.change(lambda data: data.update(team="red", tgs={"later": 1}))
    clones.change(lambda data: data["thoughts"][0].update(estimate={"hours": 3}))
    clones.change(lambda data: data["thoughts"][0]["tgs"].update(later=[1, 2]))
    backlog = await clones.session("ada")
    (claim,) = await backlog.claim(Wanted(name="ada"))
    await backlog.fail(held(claim), Ending("infra.network", "Gone.", log="ghp_" + "a" * 36 + " was used"))
    data = clones.data()
    assert (data["team"], data["tgs"]["later"]) == ("red", 1)
    assert data["thoughts"][0]["estimate"] == {"hours": 3}
    assert data["thoughts"][0]["tgs"]["later"] == [1, 2]
    assert claim.token not in clones.text()
    assert "ghp_" not in clones.text()


async def test_a_merge_that_stopped_at_the_file_is_resolved(clones: Clones) -> None:
    first, second = await queued(clones, "First", "Second")
    here = clones.clone("merger")
    git(here, "pull", "--quiet")
    data = json.loads((here / PATH).read_text())
    data["thoughts"][1].update(title="Second, by hand", status="failed", completed_at=None)
    data["thoughts"][1]["tgs"]["changed_at"] = "2026-03-04T05:00:00Z"
    write(here, PATH, json.dumps(data, indent=2) + "\n")
    git(here, "commit", "--quiet", "--all", "--message", "Edit by hand")
    await (await clones.session("ada")).claim(Wanted(name="ada", ref=ref(second)))
    git(here, "fetch", "--quiet")
    with pytest.raises(AssertionError):
        git(here, "merge", "--quiet", "origin/main")

    backlog = await clones.opened(here)
    assert await backlog.resolve()
    assert not await backlog.resolve()
    git(here, "commit", "--quiet", "--no-edit")
    merged = {row.dir: row for row in parse((here / PATH).read_bytes()).thoughts}
    assert (merged[first].status, merged[second].status) == ("queued", "in_progress")
    assert (merged[second].title, merged[second].claimed_by) == ("Second, by hand", "ada")


# --- what needs issues, and what holds paths


MEANINGLESS: list[tuple[str, Callable[[Backlog], object]]] = [
    ("a number", lambda b: b.add(Addition(ref=ItemRef(number=7)))),
    ("a number to claim", lambda b: b.claim(Wanted(name="ada", ref=ItemRef(number=7)))),
    ("a number to remove", lambda b: b.remove(ItemRef(number=7))),
    ("a ticket", lambda b: b.add(Addition(ticket=Ticket("Add search", "Please.")))),
    ("labels", lambda b: b.entries(labels=["bug"])),
    ("dependencies", lambda b: b.add(Addition(ref=ref("tgs/thoughts/abc123-add-search"), depends_on=(7,)))),
]


async def test_what_needs_issues_says_so(clones: Clones) -> None:
    backlog = await clones.session("ada")
    for name, act in MEANINGLESS:
        with pytest.raises(UserError, match="a backlog in a file has n") as refused:
            await act(backlog)  # type: ignore[misc]
        assert refused.value.remedy, name


async def test_paths_and_needs_keep_work_apart(clones: Clones) -> None:
    backlog = await clones.session("ada")
    folders = [
        await clones.thought("First", front_matter="locks: src"),
        await clones.thought("Second", front_matter="locks: src/login.py"),
        await clones.thought("Third", front_matter="needs: GPU"),
    ]
    await backlog.scan(apply=True)
    (claim,) = await backlog.claim(Wanted(name="ada", count=3))
    assert claim.entry.dir == folders[0]
    with pytest.raises(NothingThere) as nothing:
        await backlog.claim(Wanted(name="ben"))
    assert any("`src/login.py` is held by" in why for why in nothing.value.why)
    assert any("It needs GPU." in why for why in nothing.value.why)
    (third,) = await backlog.claim(Wanted(name="ben", capabilities=("gpu",)))
    assert third.entry.dir == folders[2]

    (lock,) = await backlog.locks()
    assert (lock.path, lock.item, lock.owner) == ("src", folders[0], "ada")
    await backlog.release_lock("src")
    assert await backlog.locks() == []
    assert [one.entry.dir for one in await backlog.claim(Wanted(name="ben"))] == [folders[1]]
    with pytest.raises(UserError, match="Nobody holds"):
        await backlog.release_lock("src")


async def test_a_failure_is_told_with_its_retry_until_the_attempts_are_used_up(clones: Clones) -> None:
    (folder,) = await queued(clones, "Add search")
    clones.push({".tgs/policy.yml": "attempts: 2\n"})
    backlog = await clones.session("ada")
    (claim,) = await backlog.claim(Wanted(name="ada"))
    settled = await backlog.fail(held(claim), Ending("agent.crash", "It stopped."))
    assert settled.due_at is not None
    assert f"{folder} is queued again. The agent crashed." in settled.text
    assert any("It stopped." in line for line in await backlog.explain(ref(folder)))

    clones.later(timedelta(minutes=31))
    (claim,) = await backlog.claim(Wanted(name="ada"))
    settled = await backlog.fail(held(claim), Ending("agent.crash", "Again."))
    assert (settled.due_at, settled.entry.status) == (None, Status.FAILED)

    assert (await backlog.add(Addition(ref=ref(folder)))).new
    assert (await entry(backlog, folder)).status is Status.QUEUED
