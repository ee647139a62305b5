"""Bare repositories: compare-and-set references, trees, comparisons and merges with real git."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from bot.localhub.git import BareRepo
from bot.localhub.git_model import (
    ZERO_OID,
    GitError,
    Ident,
    MergeConflictError,
    RefConflictError,
    RefUpdate,
)

WHO = Ident("Ada", "ada@example.com", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))


@pytest.fixture
def repo(tmp_path: Path) -> BareRepo:
    return BareRepo.create(tmp_path / "r.git", "main", {})


@pytest.fixture
def first(repo: BareRepo) -> str:
    sha = repo.commit_files(None, {"a.txt": "one\n", "dir/b.txt": "two\n", "run": "#!/bin/sh\n"}, "first", WHO)
    repo.update_refs([RefUpdate("refs/heads/main", ZERO_OID, sha)])
    return sha


def test_an_empty_repository_has_no_refs_and_resolves_nothing(repo: BareRepo) -> None:
    assert repo.refs() == {}
    assert repo.resolve("main") is None
    assert repo.resolve("HEAD") is None


def test_the_same_calls_give_the_same_commit_id(repo: BareRepo, tmp_path: Path) -> None:
    other = BareRepo.create(tmp_path / "other.git", "main", {})
    files = {"a.txt": "one\n"}
    assert repo.commit_files(None, files, "m", WHO) == other.commit_files(None, files, "m", WHO)


def test_scripts_are_executable_and_plain_files_are_not(repo: BareRepo, first: str) -> None:
    modes = {e.path: e.mode for e in repo.tree(first, recursive=True)}
    assert modes == {"a.txt": "100644", "dir": "040000", "dir/b.txt": "100644", "run": "100755"}


@pytest.mark.parametrize("name", ["main", "heads/main", "refs/heads/main", "HEAD"])
def test_a_branch_resolves_under_each_of_its_names(repo: BareRepo, first: str, name: str) -> None:
    assert repo.resolve(name) == first
    assert repo.resolve(first[:8]) == first


@pytest.mark.parametrize("name", ["--help", "main\nmain", "main:a.txt", "", "no such", "../x"])
def test_hostile_ref_names_resolve_to_nothing(repo: BareRepo, first: str, name: str) -> None:
    assert repo.resolve(name) is None


def test_of_two_creators_of_one_ref_exactly_one_wins(repo: BareRepo, first: str) -> None:
    repo.update_refs([RefUpdate("refs/tgs/claims/1", ZERO_OID, first)])
    with pytest.raises(RefConflictError):
        repo.update_refs([RefUpdate("refs/tgs/claims/1", ZERO_OID, first)])


def test_a_transaction_with_one_stale_expectation_changes_nothing(repo: BareRepo, first: str) -> None:
    with pytest.raises(RefConflictError):
        repo.update_refs(
            [
                RefUpdate("refs/heads/new", ZERO_OID, first),
                RefUpdate("refs/heads/main", "1" * 40, first),
            ]
        )
    assert set(repo.refs()) == {"refs/heads/main"}


def test_delete_needs_the_expected_value(repo: BareRepo, first: str) -> None:
    second = repo.commit_files(first, {"a.txt": "x"}, "second", WHO)
    with pytest.raises(RefConflictError):
        repo.update_refs([RefUpdate("refs/heads/main", second, ZERO_OID)])
    repo.update_refs([RefUpdate("refs/heads/main", first, ZERO_OID)])
    assert repo.refs() == {}


def test_trees_can_replace_remove_and_graft(repo: BareRepo, first: str) -> None:
    blob = repo.write_blobs([b"new"])[0]
    subtree = repo.write_tree(None, [("deep/c.txt", "100644", blob)])
    tree = repo.write_tree(
        f"{first}^{{tree}}",
        [("a.txt", "100644", None), ("dir", "040000", subtree), ("run", "100644", blob)],
    )
    assert [e.path for e in repo.tree(tree, recursive=True) if e.type == "blob"] == [
        "dir/deep/c.txt",
        "run",
    ]


def test_compare_tells_ahead_behind_files_and_patches(repo: BareRepo, first: str) -> None:
    left = repo.commit_files(first, {"a.txt": "left\n"}, "left", WHO)
    right = repo.commit_files(first, {"dir/b.txt": None, "dir/c d\t.txt": "two\n", "n": "1\n"}, "r", WHO)
    seen = repo.compare(left, right)
    assert seen is not None
    assert (seen.status, seen.ahead_by, seen.behind_by, seen.merge_base) == ("diverged", 1, 1, first)
    assert [(f.path, f.previous, f.status, f.additions) for f in seen.files] == [
        ("dir/c d\t.txt", "dir/b.txt", "renamed", 0),
        ("n", None, "added", 1),
    ]
    assert seen.files[1].patch == "@@ -0,0 +1 @@\n+1"
    assert [c.message for c in seen.commits] == ["r"]


def test_merge_joins_separate_changes_and_reports_conflicts(repo: BareRepo, first: str) -> None:
    left = repo.commit_files(first, {"a.txt": "left\n"}, "left", WHO)
    right = repo.commit_files(first, {"dir/b.txt": "right\n"}, "right", WHO)
    tree = repo.merge_trees(left, right)
    assert repo.run("cat-file", "blob", f"{tree}:a.txt") == b"left\n"
    assert repo.run("cat-file", "blob", f"{tree}:dir/b.txt") == b"right\n"
    clash = repo.commit_files(first, {"a.txt": "clash\n"}, "clash", WHO)
    with pytest.raises(MergeConflictError) as caught:
        repo.merge_trees(left, clash)
    assert caught.value.paths == ["a.txt"]


def test_replay_keeps_author_and_message_on_the_new_base(repo: BareRepo, first: str) -> None:
    author = Ident("Grace", "grace@example.com", datetime(2026, 2, 1, tzinfo=UTC))
    base = repo.commit_files(first, {"a.txt": "base\n"}, "base", WHO)
    one = repo.commit_files(first, {"x": "1\n"}, "one\n\nbody\n", author)
    two = repo.commit_files(one, {"x": "2\n"}, "two", author)
    tip = repo.replay(base, repo.log(two, f"^{base}", reverse=True), WHO)
    log = repo.log(tip, f"^{first}", reverse=True)
    assert [c.message for c in log] == ["base", "one\n\nbody\n", "two"]
    assert log[1].author == author
    assert log[1].committer == WHO
    assert repo.file(tip, "x") == b"2\n"


def answers(repo: BareRepo, first: str) -> list[object]:
    """What is asked of a repository in many ways."""
    blob = repo.objects([f"{first}:a.txt"])[0][0]
    assert blob is not None
    names = [first, "refs/heads/main", "refs/heads/none", blob, "f" * 40, f"{first}^{{tree}}", f"{blob}^{{commit}}"]
    return [
        repo.objects(names),
        repo.refs(),
        repo.ref("refs/heads/main"),
        repo.ref("refs/heads/none"),
        repo.resolve("main"),
        repo.resolve(first[:8]),
        repo.tree(first, recursive=True),
        repo.tree(first),
        repo.entry(first, "dir/b.txt"),
        repo.entry(first, "dir/none"),
        repo.blob(blob),
        repo.commit(first),
        repo.log(first),
    ]


def test_what_is_packed_is_answered_as_before(repo: BareRepo, first: str) -> None:
    loose = answers(repo, first)
    repo.run("gc", "--quiet", "--prune=now")
    assert (repo.path / "packed-refs").exists()
    assert not list(repo.path.glob("objects/??"))
    again = BareRepo(repo.path)
    assert answers(again, first) == loose
    second = again.commit_files(first, {"dir/b.txt": None, "new": "3\n"}, "second", WHO)
    again.update_refs([RefUpdate("refs/heads/main", first, second)])
    assert [e.path for e in again.tree(second)] == ["a.txt", "new", "run"]
    assert again.refs() == {"refs/heads/main": second}


def test_git_itself_finds_nothing_wrong_and_lists_the_same(repo: BareRepo, first: str) -> None:
    files = {"dir.txt": "1", "dir-a": "2", "dir/ä b\n": "3", "a.txt": None, "empty": "", "x/y/z/deep": "4"}
    second = repo.commit_files(first, files, "second\n\nwith a body", Ident("Ünal ß", "u@example.com", WHO.at))
    odd = repo.write_commit(f"{second}^{{tree}}", [second], "third", Ident("Dr. <No>", "n", WHO.at), WHO)
    repo.update_refs([RefUpdate("refs/heads/main", first, odd)])
    assert repo.run("fsck", "--strict", "--full").decode().split() in ([], ["notice:"])
    listed = repo.run("ls-tree", "-r", "-t", "-l", "-z", odd).decode("utf-8", "surrogateescape").split("\0")[:-1]
    ours = [
        f"{e.mode} {e.type} {e.sha} {'-' if e.size is None else e.size:>7}\t{e.path}"
        for e in repo.tree(odd, recursive=True)
    ]
    assert ours == listed
    assert repo.commit(odd).author.name == "Dr. No"


@pytest.mark.parametrize("path", ["../x", ".git/config", "a//b", "/a", ".GIT/hooks/x", "git~1/x", ".git. /x", ""])
def test_a_path_that_git_would_refuse_is_refused(repo: BareRepo, first: str, path: str) -> None:
    with pytest.raises(GitError, match="Invalid path"):
        repo.commit_files(first, {path: "x"}, "m", WHO)


def test_a_commit_of_a_tree_that_is_not_there_is_refused(repo: BareRepo, first: str) -> None:
    with pytest.raises(GitError):
        repo.write_commit("1" * 40, [first], "m", WHO, WHO)
    with pytest.raises(GitError):
        repo.write_commit(f"{first}^{{tree}}", ["1" * 40], "m", WHO, WHO)


def test_a_file_takes_the_place_of_a_folder_and_a_folder_that_of_a_file(repo: BareRepo, first: str) -> None:
    second = repo.commit_files(first, {"dir": "now a file", "a.txt/inside": "now a folder"}, "m", WHO)
    assert [e.path for e in repo.tree(second, recursive=True)] == ["a.txt", "a.txt/inside", "dir", "run"]
