"""The gate's other half: what honest agents do passes, with the right numbers; and how commits are re-created."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.worker.gate import Accepted, inspect
from bot.worker.gate_paths import ProtectedPaths, Spellings, is_test, spelling_problem
from bot.worker.git import Git
from bot.worker.pack import BundleError, measure_pack, read_header
from bot.worker.redaction import redact, secrets_in
from bot.worker.rewrite import rewrite, sanitise_message
from tests.worker.hostile import Forge
from tests.worker.support import BASE_FILES, NOW, THOUGHT, Origin, context, git, make_origin


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    return make_origin(
        tmp_path / "hub", {**BASE_FILES, "old/Key.py": "K = 'ghs_0123456789abcdefghijklmn'\n", "A/x": "", "a/y": ""}
    )


@pytest.fixture
def forge(origin: Origin, tmp_path: Path) -> Forge:
    return Forge(origin, tmp_path / "forge.git")


async def judge(origin: Origin, bundle: Path, tmp_path: Path, **changes: Any) -> tuple[Any, Path]:
    repository = tmp_path / "gate.git"
    git(tmp_path, "clone", "-q", "--bare", str(origin.source), str(repository))
    return await inspect(bundle, repository, context(origin, **changes)), repository


ACCEPTED: dict[str, dict[Any, Any]] = {
    "a new file": {"src/search.py": "x = 1\n"},
    "an executable": {"bin/run": ("100755", None)},
    "a deep new folder": {"a1/b/c/d/e.txt": "x"},
    "names with spaces, accents and tildes": {
        "docs/Übersicht über alles~.md": "x",
        "a b/c d.txt": "x",
        "x~y~1z.py": "x",
    },
    "a name in another script": {"docs/日本語.md": "x"},
    "an emoji joined of several": {"docs/ok.md": "👩‍💻"},
    "a folder whose spelling collided before": {"A/z": "1"},
    "a file that held a credential before": {"old/Key.py": "K = 'ghs_0123456789abcdefghijklmn'\nL = 2\n"},
    "a file that is renamed in case only": {"README.md": None, "readme.md": "# Project\n"},
    "notes in the thought's own folder": {f"{THOUGHT}/notes/one.md": "x"},
    "a file named like a word for tests": {"src/latest.py": "x"},
    "a dot file of no importance": {".prettierrc": "{}", ".gitignore": "x\n"},
    "binary content": {"logo.png": bytes(range(256))},
}


@pytest.mark.parametrize("changes", ACCEPTED.values(), ids=ACCEPTED.keys())
async def test_the_gate_accepts(changes: dict[Any, Any], origin: Origin, forge: Forge, tmp_path: Path) -> None:
    blob = forge.blob("#!/bin/sh\n")
    wanted = {k: (v[0], blob) if isinstance(v, tuple) else v for k, v in changes.items()}
    verdict, _ = await judge(origin, forge.bundle(forge.commit(wanted)), tmp_path)
    assert isinstance(verdict, Accepted), verdict


async def test_the_numbers_count_the_whole_change_not_its_steps(origin: Origin, forge: Forge, tmp_path: Path) -> None:
    first = forge.commit({"a.py": "1\n2\n3\n", "tests/test_app.py": None})
    second = forge.commit({"a.py": "1\n3\n"}, parents=[first])
    verdict, _ = await judge(origin, forge.bundle(second), tmp_path)
    assert verdict == Accepted(second, (first, second), 3, 3, 2, ("tests/test_app.py",))


async def test_re_created_commits_keep_trees_and_lose_the_agents_identity(
    origin: Origin, forge: Forge, tmp_path: Path
) -> None:
    first = forge.commit({"a.py": "1\n"}, message="First\n\nReviewed-by: Boss <b@example.org>")
    second = forge.commit({"b.py": "2\n"}, parents=[first], env={"GIT_COMMITTER_DATE": "@4102444800 +0000"})
    verdict, repository = await judge(origin, forge.bundle(second), tmp_path)
    one = await rewrite(Git(repository), context(origin), verdict.commits, NOW)
    again = await rewrite(Git(repository), context(origin), verdict.commits, NOW)
    assert one == again
    for new, old in ((one, second), (f"{one}^", first)):
        assert git(repository, "rev-parse", f"{new}^{{tree}}") == git(repository, "rev-parse", f"{old}^{{tree}}")
        assert git(repository, "show", "-s", "--format=%an%cn", new) == "tgs[bot]tgs[bot]"
    assert "Boss" not in git(repository, "log", "--format=%B", one)
    assert int(git(repository, "show", "-s", "--format=%ct", one)) == int(NOW.timestamp())
    assert git(repository, "rev-parse", f"{one}~2") == origin.base


MESSAGES = {
    "closing keywords": ("Fix\n\nFixes #12", "Fixes #12"),
    "mentions": ("Fix for @octocat", "@octocat"),
    "switches that skip CI": ("Fix [skip ci]", "[skip ci]"),
    "trailers of the agent": ("Fix\n\nCo-authored-by: X <x@y>", "Co-authored-by"),
    "trailers that skip checks": ("Fix\n\ntext\nskip-checks: true\nmore", "skip-checks: true"),
    "commands": ("Fix\n\n/tgs merge", "\n/tgs"),
    "hidden comments": ("Fix\n\n<!-- tgs: secret -->", "secret"),
    "our own trailer": ("Fix\n\nTgs-Attempt: other", "other"),
    "credentials": ("Fix ghs_0123456789abcdefghijklmn", "ghs_"),
    "control sequences": ("Fix \x1b[31mred", "\x1b"),
}


@pytest.mark.parametrize(("message", "gone"), MESSAGES.values(), ids=MESSAGES.keys())
def test_messages_lose(message: str, gone: str, tmp_path: Path) -> None:
    made = sanitise_message(message, context(Origin(tmp_path, "0" * 40)))
    assert gone not in made
    assert made.startswith("Fix")
    assert made.endswith("\n\nTgs-Attempt: att-1\n")


@given(st.text())
def test_any_message_becomes_one_with_a_subject_and_our_trailer_alone(message: str) -> None:
    made = sanitise_message(message, context(Origin(Path(), "0" * 40)))
    assert made.strip().splitlines()[0]
    assert made.count("Tgs-Attempt: ") == 1


@given(st.binary(max_size=300))
def test_no_bytes_make_the_path_rules_raise(raw: bytes) -> None:
    problem = spelling_problem(raw)
    ProtectedPaths(["*", "a/**"]).rule_for(raw.decode("utf-8", "backslashreplace"))
    assert problem is None or problem.isprintable()


@settings(max_examples=300)
@given(st.binary(max_size=400))
def test_no_bytes_make_the_bundle_reader_raise_anything_else(tail: bytes) -> None:
    data = b"# v2 git bundle\n" + b"1" * 40 + b" HEAD\n\nPACK\x00\x00\x00\x02\x00\x00\x00\x02" + tail
    header = read_header(data)
    with pytest.raises(BundleError):
        measure_pack(data, header.pack_offset, max_objects=10, max_inflated=10_000)


PATTERNS = {
    "a bare name matches anywhere": ("Makefile", "deep/down/makefile", True),
    "a bare name covers a folder": ("secrets", "a/secrets/b.txt", True),
    "a bare name is a whole name": ("secrets", "a/secrets2/b.txt", False),
    "a slash anchors at the root": ("infra/prod", "x/infra/prod/a", False),
    "an anchored folder covers its content": ("infra/prod", "infra/prod/a/b", True),
    "a last slash does not anchor": ("vendor/", "x/vendor/a", True),
    "a star stays within a name": ("infra/*.tf", "infra/a/b.tf", False),
    "two stars cross folders": ("**/*.pem", "a/b/c.pem", True),
    "two stars match no folder too": ("**/*.pem", "c.pem", True),
    "everything": ("**", "anything", True),
}


@pytest.mark.parametrize(("pattern", "path", "protected"), PATTERNS.values(), ids=PATTERNS.keys())
def test_patterns_of_policy(pattern: str, path: str, protected: bool) -> None:
    assert (ProtectedPaths([pattern]).rule_for(path) is not None) is protected


def test_spellings_forget_what_was_removed() -> None:
    spellings = Spellings(["Docs/a"])
    assert spellings.add("docs/b") == "Docs"
    spellings.remove("docs/b")
    spellings.remove("Docs/a")
    assert spellings.add("DOCS/c") is None


@pytest.mark.parametrize("path", ["tests/a.py", "src/test_a.py", "a_test.go", "web/x.spec.ts", "x/__tests__/y.js"])
def test_tests_are_recognised(path: str) -> None:
    assert is_test(path)


@pytest.mark.parametrize("path", ["src/latest.py", "contest/a.py", "docs/testing.md"])
def test_other_files_are_no_tests(path: str) -> None:
    assert not is_test(path)


@given(st.text())
def test_redaction_settles(text: str) -> None:
    assert redact(redact(text)) == redact(text)


def test_each_credential_is_named_and_blacked_out() -> None:
    text = f"a ghs_{'x.' * 30} b sk-ant-{'y' * 20} c https://user:hunter22@example.org/"
    assert sorted(secrets_in(text).values()) == ["Anthropic key", "GitHub token", "password in a URL"]
    assert "hunter22" not in redact(text)
    assert "sesame-open" not in redact("said sesame-open", ["sesame-open"])
