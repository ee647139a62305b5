"""`tgs init --pull-request`: the set-up proposed with a person's token, overwriting nothing."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from bot.localhub.core import Actor, ActorKind, Repository
from bot.localhub.core import Role as HubRole
from bot.localhub.merging import merge
from tests.cli.terminal import here
from tests.cli.town import Done, Town

WHEEL = ["--wheel-url", "https://tgs.example.org/dist/tgs_bot-0.1.0-py3-none-any.whl", "--wheel-sha256", "ab" * 32]
SERVER = ["--server", "https://tgs.example.org"]
FILES = [".github/workflows/tgs-server-run.yml", ".github/workflows/tgs-server-scan.yml", ".tgs/policy.yml"]
BIN = Path(sys.executable).parent


@pytest.fixture
def fresh(town: Town) -> Repository:
    """A repository that the bot has never seen, with another default branch than usual."""
    return town.hub.create_repo(
        town.owner,
        "fresh",
        files={"README.md": "# Fresh\n"},
        roles={"maria": HubRole.WRITE, "sam": HubRole.READ},
        default_branch="trunk",
    )


async def init(town: Town, *args: str, login: str = "maria", **changes: str) -> Done:
    environment = town.client_environment(login) | changes
    return await here("init", *SERVER, *WHEEL, *args, env=environment, cwd=town.tmp)


def pulls(town: Town, repo: Repository) -> list[Any]:
    return town.hub.pulls.all(repo)


async def content(town: Town, repo: Repository, branch: str, path: str) -> str | None:
    """A file at the head of a branch, asked of git itself."""
    code, out = await run("git", "--git-dir", str(repo.git_dir), "show", f"{branch}:{path}")
    return out if code == 0 else None


async def run(*command: str) -> tuple[int, str]:
    """Exit code and output of a tool."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=asyncio.subprocess.STDOUT)
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


async def test_the_files_come_as_one_pull_request_and_nothing_is_written_here(
    town: Town, fresh: Repository, tmp_path: Path
) -> None:
    done = await init(town, "--pull-request", "olga/fresh")
    assert (done.code, done.err) == (0, "")
    [pull] = pulls(town, fresh)
    assert done.out.splitlines() == [
        *(f"created    {path}" for path in FILES),
        "",
        f"Pull request: {town.hub.html_url}/olga/fresh/pull/{pull.issue.number}",
    ]
    assert (pull.head_ref, pull.base_ref, pull.issue.user.login) == ("tgs/set-up", "trunk", "maria")
    assert "Nothing runs before it is merged" in pull.issue.body
    assert not (tmp_path / ".tgs").exists()
    scan = await content(town, fresh, "tgs/set-up", FILES[1])
    assert scan is not None
    assert "trunk" in scan
    for path in FILES:
        assert await content(town, fresh, "trunk", path) is None

    again = await init(town, "--pull-request", "olga/fresh", "--json")
    assert json.loads(again.out)["pull_request"].endswith(f"/pull/{pull.issue.number}")
    assert len(pulls(town, fresh)) == 1

    merge(town.hub, pull, Actor(ActorKind.USER, town.maria))
    settled = await init(town, "--pull-request", "olga/fresh")
    assert (settled.code, settled.out.splitlines()) == (
        0, [*(f"unchanged  {path}" for path in FILES), "", "There is nothing to propose."],
    )  # fmt: skip


async def test_files_that_somebody_changed_are_kept_unless_force_proposes_them(town: Town, fresh: Repository) -> None:
    town.hub.git.commit(fresh, {".tgs/policy.yml": "max_parallel: 3\n"}, by=town.maria)
    done = await init(town, "--pull-request", "olga/fresh")
    assert done.code == 4
    assert "kept       .tgs/policy.yml: differs (+" in done.out
    assert "--force replaces it" in done.out
    [pull] = pulls(town, fresh)
    assert await content(town, fresh, "tgs/set-up", ".tgs/policy.yml") == "max_parallel: 3\n"
    assert "kept as it is" in pull.issue.body

    taken = await init(town, "--pull-request", "olga/fresh", "--force")
    assert (taken.code, taken.out) == (4, "")
    assert "The branch tgs/set-up of olga/fresh exists and holds something else" in taken.err
    assert await content(town, fresh, "tgs/set-up", ".tgs/policy.yml") == "max_parallel: 3\n"


TROUBLES = {
    "who may only read": ("sam", "olga/fresh", {}, 6, "may not propose changes to olga/fresh. It needs write access"),
    "who cannot see it": ("sam", "olga/greeter", {}, 6, "cannot see olga/greeter. Check the name."),
    "a repository that is not there": ("maria", "olga/nothing", {}, 6, "cannot see olga/nothing"),
    "an unknown token": ("maria", "olga/fresh", {"GH_TOKEN": "ghp_wrong"}, 6, "does not know the token"),
    "no token": ("maria", "olga/fresh", {"GH_TOKEN": ""}, 2, "GH_TOKEN is not set."),
    "a name that is none": ("maria", "fresh", {}, 2, "Give it as owner/name."),
    "an API in the clear": (
        "maria", "olga/fresh", {"TGS_GITHUB_API_URL": "http://api.example.org"}, 2, "is not encrypted. Use https",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("login", "name", "changes", "code", "words"), TROUBLES.values(), ids=TROUBLES.keys())
async def test_each_trouble_has_its_words_and_its_exit_code(
    login: str, name: str, changes: dict[str, str], code: int, words: str, town: Town, fresh: Repository
) -> None:
    done = await init(town, "--pull-request", name, login=login, **changes)
    assert (done.code, done.out) == (code, ""), done
    assert words in done.err
    assert "Traceback" not in done.err
    assert town.hub.user_token(login) not in done.err
    assert pulls(town, fresh) == []


async def test_an_empty_repository_is_named(town: Town) -> None:
    town.hub.create_repo(town.owner, "empty", roles={"maria": HubRole.WRITE})
    done = await init(town, "--pull-request", "olga/empty")
    assert (done.code, "has no commit yet. Push a first commit" in done.err) == (2, True), done


async def test_a_checkout_and_a_pull_request_exclude_each_other(town: Town, tmp_path: Path) -> None:
    done = await init(town, "--pull-request", "olga/fresh", "--directory", str(tmp_path))
    assert (done.code, "exclude each other" in done.err) == (2, True)


async def test_what_is_written_passes_the_tools_that_check_workflows(town: Town, tmp_path: Path) -> None:
    folder = tmp_path / "checkout"
    folder.mkdir()
    done = await init(town, "--directory", str(folder))
    assert done.code == 0, done
    workflows = [str(folder / path) for path in FILES[:2]]
    for command in (
        [str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.github-workflows", *workflows],
        [str(BIN / "zizmor"), "--offline", "--no-progress", *workflows],
    ):
        code, out = await run(*command)
        assert code == 0, out
