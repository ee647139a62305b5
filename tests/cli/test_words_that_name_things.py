"""What people type to name an item or a repository, and what is made of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.cli.backends import Backend, choose
from bot.cli.options import item_ref
from bot.client.backlog import ItemRef
from bot.errors import UserError
from tests.worker.support import git

FOLDER = "tgs/thoughts/a1b2c3-add-greeting"


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clone")
    git(folder, "init", "--quiet")
    (folder / FOLDER).mkdir(parents=True)
    (folder / "docs").mkdir()
    return folder


ITEMS = {
    "a number": ("12", ItemRef(number=12)),
    "a number as GitHub writes it": ("#12", ItemRef(number=12)),
    "a folder": (FOLDER, ItemRef(dir=FOLDER)),
    "a folder with the slash that shells add": (f"{FOLDER}/", ItemRef(dir=FOLDER)),
    "a folder's name alone": ("a1b2c3-add-greeting", ItemRef(dir=FOLDER)),
    "a folder from where one is": (f"../{FOLDER}", ItemRef(dir=FOLDER)),
}


@pytest.mark.parametrize(("text", "ref"), ITEMS.values(), ids=ITEMS.keys())
def test_an_item_can_be_named_in_several_ways(
    text: str, ref: ItemRef, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clone / "docs")
    assert item_ref(text) == ref


def test_a_full_path_counts_too(clone: Path) -> None:
    assert item_ref(str(clone / FOLDER), clone) == ItemRef(dir=FOLDER)


@pytest.mark.parametrize(
    "text", ["", "0", "#", "1 2", "-5", "../../etc/passwd", "tgs/thoughts/../../x", "tgs/thoughts/short", "\x1b[31mred"]
)
def test_what_names_nothing_is_refused(text: str, clone: Path) -> None:
    with pytest.raises(UserError) as caught:
        item_ref(text, clone)
    assert "\x1b" not in str(caught.value)


REMOTES = {
    "https": "https://github.com/acme/greeter.git",
    "https without suffix": "https://github.com/acme/greeter",
    "ssh": "git@github.com:acme/greeter.git",
    "ssh as an address": "ssh://git@github.com:22/acme/greeter.git/",
    "with a credential, which is not read": "https://x-access-token:ghs_secret@github.com/acme/greeter.git",
}


@pytest.mark.parametrize("remote", REMOTES.values(), ids=REMOTES.keys())
def test_the_repository_is_that_of_the_clone(remote: str, clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TGS_SERVER_URL", "https://tgs.example.org")
    monkeypatch.setenv("GITHUB_REPOSITORY", "acme/other")
    git(clone, "remote", "add", "origin", remote)
    try:
        where = choose(None, "", clone)
    finally:
        git(clone, "remote", "remove", "origin")
    assert (where.backend, where.repo) == (Backend.SERVER, "acme/greeter")
    assert choose(None, "", clone).repo == "acme/other", "the repository of the Actions job comes last"


def test_a_backlog_has_a_place_of_its_own(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TGS_SERVER_URL", "https://tgs.example.org")
    places = {
        choose(None, "acme/greeter", clone).place,
        choose(None, "acme/other", clone).place,
        choose(Backend.GITHUB, "acme/greeter", clone).place,
    }
    assert len(places) == 3
    assert choose(None, "Acme/Greeter", clone).place in places
