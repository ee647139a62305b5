"""One clone for each repository of a machine: temporary bare repositories, real git."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bot.domain.bundle import RepositoryPart
from bot.worker.clones import Clones, machine_environment
from bot.worker.git import GitError
from bot.worker.workspace import create, safe_name
from tests.worker.support import GIT_ENV, Origin, git, make_origin


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    return make_origin(tmp_path / "hub")


def repository(origin: Origin, name: str = "acme/shop") -> RepositoryPart:
    return RepositoryPart(full_name=name, clone_url=str(origin.bare), default_branch="main")


def clones(tmp_path: Path) -> Clones:
    return Clones(tmp_path / "clones", GIT_ENV)


def commit(origin: Origin, name: str) -> str:
    """One more commit on `main` of the server; its id."""
    (origin.source / name).write_text("x\n")
    git(origin.source, "add", "-A")
    git(origin.source, "commit", "-q", "-m", name)
    git(origin.source, "push", "-q", "--force", str(origin.bare), "HEAD:main")
    return git(origin.source, "rev-parse", "HEAD")


async def test_a_repository_is_cloned_once_and_then_only_fetched(origin: Origin, tmp_path: Path) -> None:
    here = clones(tmp_path)
    async with here.at(repository(origin), origin.base) as first:
        assert git(first, "rev-parse", "HEAD") == origin.base
    kept = git(first, "count-objects")
    newer = commit(origin, "later.txt")
    async with here.at(repository(origin), newer) as second:
        assert second == first
        assert git(second, "rev-parse", "HEAD") == newer
    assert git(second, "count-objects") != kept
    assert git(second, "cat-file", "-t", origin.base) == "commit"


async def test_a_commit_that_no_branch_has_any_more_is_fetched_by_its_id(origin: Origin, tmp_path: Path) -> None:
    newer = commit(origin, "later.txt")
    git(origin.source, "reset", "-q", "--hard", origin.base)
    git(origin.source, "push", "-q", "--force", str(origin.bare), "HEAD:main")
    git(origin.bare, "config", "uploadpack.allowAnySHA1InWant", "true")
    async with clones(tmp_path).at(repository(origin), newer) as clone:
        assert git(clone, "rev-parse", "HEAD") == newer


async def test_without_the_server_what_is_there_is_enough_and_what_is_not_is_an_error(
    origin: Origin, tmp_path: Path
) -> None:
    here = clones(tmp_path)
    async with here.at(repository(origin), origin.base):
        pass
    origin.bare.rename(tmp_path / "away")
    async with here.at(repository(origin), origin.base) as clone:
        assert git(clone, "rev-parse", "HEAD") == origin.base
    with pytest.raises(GitError):
        async with here.at(repository(origin), "9" * 40):
            pass


async def test_attempts_of_one_repository_take_turns_also_in_several_processes(origin: Origin, tmp_path: Path) -> None:
    newer = commit(origin, "later.txt")
    heads: list[tuple[str, str]] = []
    inside = 0

    async def use(here: Clones, sha: str) -> None:
        nonlocal inside
        async with here.at(repository(origin), sha) as clone:
            inside += 1
            assert inside == 1
            await asyncio.sleep(0)
            heads.append((sha, git(clone, "rev-parse", "HEAD")))
            inside -= 1

    one, two = clones(tmp_path), clones(tmp_path)
    await asyncio.gather(*(use(here, sha) for here in (one, two) for sha in (origin.base, newer)))
    assert all(wanted == found for wanted, found in heads)
    assert len(heads) == 4


SAME = {"letter case is the server's own business": ("Acme/Shop", "acme/shop")}
DIFFERENT = {
    "a slash is no dash": ("acme/shop", "acme-shop/x"),
    "a dash in the owner is not one in the name": ("a-b/c", "a/b-c"),
    "a dot is kept apart from nothing": ("a/b.", "a/b"),
    "names that begin alike for a long time": ("a/" + "x" * 90 + "1", "a/" + "x" * 90 + "2"),
}


@pytest.mark.parametrize(("one", "two"), DIFFERENT.values(), ids=DIFFERENT.keys())
def test_two_repositories_never_share_a_clone(one: str, two: str, tmp_path: Path) -> None:
    here = clones(tmp_path)
    assert here.folder(one) != here.folder(two)


@pytest.mark.parametrize(("one", "two"), SAME.values(), ids=SAME.keys())
def test_one_repository_has_one_clone(one: str, two: str, tmp_path: Path) -> None:
    here = clones(tmp_path)
    assert here.folder(one) == here.folder(two)


HOSTILE = ["../../etc", "..", ".", "", "a\0b", "a/../b", "-rf", "a b;$(id)", "ünïcode", "\u202etxt", "CON", "x" * 5_000]


@pytest.mark.parametrize("text", HOSTILE, ids=repr)
def test_a_name_stays_one_harmless_part_of_a_path(text: str, tmp_path: Path) -> None:
    name = safe_name(text)
    assert (tmp_path / name).resolve().parent == tmp_path
    assert name[0] not in ".-"
    assert len(name) <= 60
    assert name.isascii()
    assert name.isprintable()
    assert not set(name) & set(" ;$()/\\:*?\"'`")
    (tmp_path / name).mkdir()


def test_a_second_workspace_of_one_attempt_is_refused(tmp_path: Path) -> None:
    place = create(tmp_path, "a1")
    assert place.root.parent == tmp_path
    with pytest.raises(FileExistsError):
        create(tmp_path, "a1")


def test_fetching_keeps_the_machines_credentials_and_nothing_of_ours() -> None:
    given = {
        "HOME": "/nowhere", "SSH_AUTH_SOCK": "/run/agent", "GIT_SSH_COMMAND": "ssh -i key", "GH_TOKEN": "gho_x",
        "TGS_TOKEN": "tgw_x", "TGS_SERVER_URL": "https://x", "GIT_DIR": "/elsewhere", "GIT_TRACE": "1",
        "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "credential.helper", "GIT_CONFIG_VALUE_0": "store",
    }  # fmt: skip
    env = machine_environment(given)
    assert {name for name in given if name not in env} == {"TGS_TOKEN", "TGS_SERVER_URL", "GIT_DIR", "GIT_TRACE"}
    assert (env["GIT_CONFIG_KEY_0"], env["GIT_CONFIG_VALUE_0"]) == ("credential.helper", "store")
    assert env[f"GIT_CONFIG_KEY_{int(env['GIT_CONFIG_COUNT']) - 1}"] == "safe.directory"
    assert env["GIT_TERMINAL_PROMPT"] == "0"


async def test_hooks_of_the_machine_do_not_run_in_a_clone(origin: Origin, tmp_path: Path) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    marker = tmp_path / "ran"
    for name in ("reference-transaction", "post-checkout", "post-update"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {marker}\n")
        (hooks / name).chmod(0o755)
    config = tmp_path / "gitconfig"
    config.write_text(f"[core]\n\thooksPath = {hooks}\n")
    here = Clones(tmp_path / "clones", GIT_ENV | {"GIT_CONFIG_GLOBAL": str(config)})
    async with here.at(repository(origin), origin.base):
        pass
    assert not marker.exists()
