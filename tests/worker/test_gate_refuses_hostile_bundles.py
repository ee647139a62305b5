"""The corpus of hostile bundles: each is refused with the reason and the words a person needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bot.domain.model import FailureReason
from bot.worker.gate import RefusedBundle, inspect
from tests.redteam.report import Reached, Record, Technique, judge
from tests.worker.hostile import Forge, entry, pack
from tests.worker.support import BASE_FILES, THOUGHT, context, git, make_origin

BAD = FailureReason.SECURITY_BUNDLE
PROTECTED = FailureReason.POLICY_PROTECTED_PATH
SECRET = FailureReason.SECURITY_SECRET_IN_DIFF
SIZE = FailureReason.QUALITY_GATE
EMPTY = FailureReason.AGENT_EMPTY_OUTPUT
ZERO = "0" * 40
TOKEN = "ghs_" + "aB3.x-" * 20


@dataclass(frozen=True)
class Case:
    name: str
    build: Callable[[Forge], Path]
    reason: FailureReason
    words: str
    context: dict[str, Any] | None = None


def one(changes: dict[Any, Any], **options: Any) -> Callable[[Forge], Path]:
    return lambda f: f.bundle(f.commit(changes, **options))


def two(first: dict[Any, Any], second: dict[Any, Any], *, finished: bool = True) -> Callable[[Forge], Path]:
    def build(f: Forge) -> Path:
        return f.bundle(f.commit(second, parents=[f.commit(first, finished=finished)], finished=finished))

    return build


def mode(path: str, bits: str) -> Callable[[Forge], Path]:
    return lambda f: f.bundle(f.commit({path: (bits, f.blob("README.md"))}))


def merge(f: Forge) -> Path:
    left, right = f.commit({"a": "1"}), f.commit({"b": "2"})
    return f.bundle(f.commit({}, parents=[left, right]))


def unrelated(f: Forge) -> Path:
    return f.bundle(f.commit({"a": "1"}, parents=[]))


def older_base(f: Forge) -> Path:
    root = f.commit({"z": "1"}, parents=[])
    return f.bundle(f.commit({"a": "1"}, parents=[root]), since=root)


def two_refs(f: Forge) -> Path:
    git(f.folder, "update-ref", "refs/heads/one", f.commit({"a": "1"}))
    git(f.folder, "update-ref", "refs/heads/two", f.commit({"b": "1"}))
    target = f.folder.parent / "tgs.bundle"
    git(f.folder, "bundle", "create", "-q", str(target), "refs/heads/one", "refs/heads/two", f"^{f.base}")
    return target


def tag(f: Forge) -> Path:
    git(f.folder, "tag", "-a", "-m", "x", "release", f.commit({"a": "1"}))
    target = f.folder.parent / "tgs.bundle"
    git(f.folder, "bundle", "create", "-q", str(target), f"{f.base}..refs/tags/release")
    return target


def bomb(f: Forge) -> Path:
    return f.raw_bundle(["# v2 git bundle", f"-{f.base} base", f"{'1' * 40} HEAD"], pack(entry(3, b"\0" * 6_000_000)))


def liar(f: Forge) -> Path:
    big = entry(3, b"\0" * 6_000_000, declared=10)
    return f.raw_bundle(["# v2 git bundle", f"-{f.base} base", f"{'1' * 40} HEAD"], pack(big))


def delta_bomb(f: Forge) -> Path:
    def number(value: int) -> bytes:
        out = bytearray()
        while value > 0x7F:
            out.append(value & 0x7F | 0x80)
            value >>= 7
        return bytes([*out, value])

    delta = number(10) + number(1 << 40) + b"\x90\x0a" * 4
    one_entry = entry(7, delta)
    head = one_entry[:2] if one_entry[0] & 0x80 else one_entry[:1]
    forged = head + b"\x11" * 20 + one_entry[len(head) :]
    return f.raw_bundle(["# v2 git bundle", f"-{f.base} base", f"{'1' * 40} HEAD"], pack(forged))


def header(*lines: str) -> Callable[[Forge], Path]:
    return lambda f: f.raw_bundle([line.format(base=f.base) for line in lines], pack())


def many_objects(f: Forge) -> Path:
    return f.raw_bundle(["# v2 git bundle", f"{'1' * 40} HEAD"], pack(count=9_999_999))


def cut_off(f: Forge) -> Path:
    data = f.bundle(f.commit({"a": "1"})).read_bytes()
    return f.write_bundle(data[:-30])


def flipped(f: Forge) -> Path:
    data = bytearray(f.bundle(f.commit({"a": "1"})).read_bytes())
    data[-1] ^= 0xFF
    return f.write_bundle(bytes(data))


def trailing(f: Forge) -> Path:
    return f.write_bundle(f.bundle(f.commit({"a": "1"})).read_bytes() + b"#!/bin/sh\n")


def missing_blob(f: Forge) -> Path:
    head = f.commit({"a": ("100644", "1234567890" * 4)})
    commit = f_raw(f, head, "commit")
    tree = f_raw(f, f"{head}^{{tree}}", "tree")
    return f.raw_bundle(["# v2 git bundle", f"-{f.base} base", f"{head} HEAD"], pack(entry(1, commit), entry(2, tree)))


def f_raw(f: Forge, name: str, kind: str) -> bytes:
    import subprocess

    return subprocess.run(["git", "cat-file", kind, name], cwd=f.folder, capture_output=True, check=True).stdout


def ref_is_a_blob(f: Forge) -> Path:
    blob = f.blob("not a commit")
    return f.raw_bundle(["# v2 git bundle", f"{blob} HEAD"], pack(entry(3, b"not a commit")))


def deletes_and_restores_a_workflow(f: Forge) -> Path:
    first = f.commit({".github/workflows/ci.yml": None})
    return f.bundle(f.commit({".github/workflows/ci.yml": BASE_FILES[".github/workflows/ci.yml"]}, parents=[first]))


def renames_a_workflow_away(f: Forge) -> Path:
    return f.bundle(f.commit({".github/workflows/ci.yml": None, "ci.yml": "on: push\n"}))


CASES = [
    Case("a workflow is changed", one({".github/workflows/ci.yml": "x"}), PROTECTED, ".github/workflows/ci.yml"),
    Case("a workflow is added", one({".github/workflows/new.yml": "x"}), PROTECTED, "protected path '.github/**'"),
    Case("a workflow is added in capitals", one({".GitHub/workflows/x.yml": "x"}), PROTECTED, ".GitHub"),
    Case("a workflow is added in full-width letters", one({".ｇithub/workflows/x.yml": "x"}), PROTECTED, "ithub"),
    Case("a workflow is deleted", one({".github/workflows/ci.yml": None}), PROTECTED, "ci.yml"),
    Case("a workflow is renamed away", renames_a_workflow_away, PROTECTED, ".github/workflows/ci.yml"),
    Case("a workflow changes only in between", deletes_and_restores_a_workflow, PROTECTED, ".github"),
    Case(
        "a file changes only in between and is a hook",
        two({".husky/pre-commit": "x"}, {".husky/pre-commit": None}),
        PROTECTED,
        ".husky",
    ),
    Case("code owners in a sub-folder", one({"docs/CODEOWNERS": "* @me"}), PROTECTED, "CODEOWNERS"),
    Case("the policy is changed", one({".tgs/policy.yml": "enabled: true"}), PROTECTED, ".tgs"),
    Case("agent configuration in a sub-folder", one({"pkg/.claude/settings.json": "{}"}), PROTECTED, ".claude"),
    Case("agent instructions in lower case", one({"claude.md": "obey"}), PROTECTED, "claude.md"),
    Case("agent tools", one({".mcp.json": "{}"}), PROTECTED, ".mcp.json"),
    Case("editor tasks", one({".vscode/tasks.json": "{}"}), PROTECTED, ".vscode"),
    Case("attributes that start filters", one({"src/.gitattributes": "* filter=x"}), PROTECTED, ".gitattributes"),
    Case("submodule definitions", one({".gitmodules": "[submodule]"}), PROTECTED, ".gitmodules"),
    Case("registry configuration", one({"web/.npmrc": "registry=x"}), PROTECTED, ".npmrc"),
    Case("pre-commit hooks", one({".pre-commit-config.yaml": "x"}), PROTECTED, ".pre-commit"),
    Case("another CI system", one({".gitlab-ci.yml": "x"}), PROTECTED, ".gitlab-ci.yml"),
    Case(
        "a path that policy protects",
        one({"Deploy/prod/main.tf": "x"}),
        PROTECTED,
        "deploy/**",
        {"protected_paths": ["deploy/**"]},
    ),
    Case("the approved plan is rewritten", one({f"{THOUGHT}/plan.md": "better plan"}), PROTECTED, "approved plan"),
    Case("a new thought is planted", one({"tgs/thoughts/fff-more/plan.md": "do"}), PROTECTED, "own thought"),
    Case("a symbolic link", mode("link", "120000"), BAD, "symbolic link"),
    Case("a submodule", lambda f: f.bundle(f.commit({"sub": ("160000", f.base)})), BAD, "submodule"),
    Case("a file with group-write mode", mode("odd", "100664"), BAD, "badFilemode"),
    Case("a setuid mode", mode("odd", "104755"), BAD, "badFilemode"),
    Case("a .git folder", one({".git/config": "x"}), BAD, ".git"),
    Case("a .GIT folder", one({"sub/.GIT/hooks/post-checkout": "x"}), BAD, ".git"),
    Case("a .git hidden by characters HFS ignores", one({".g\u200cit/config": "x"}), BAD, ""),
    Case("a .git in full-width letters", one({".ｇｉｔ/config": "x"}), BAD, ".git"),
    Case("the NTFS short name of .git", one({"git~1/config": "x"}), BAD, ""),
    Case("the NTFS short name of .gitmodules", one({"GITMOD~1": "x"}), BAD, "short alias"),
    Case("an NTFS stream", one({".git::$INDEX_ALLOCATION": "x"}), BAD, ""),
    Case("a parent folder", one({b"../outside": "x"}), BAD, ""),
    Case("a single dot as folder", one({b"./inside": "x"}), BAD, ""),
    Case("a backslash in a name", one({"src\\..\\evil": "x"}), BAD, "backslash"),
    Case("a colon in a name", one({"C:evil": "x"}), BAD, "colon"),
    Case("a line break in a name", one({"a\nb": "x"}), BAD, "control character"),
    Case("an escape sequence in a name", one({"a\x1b[2Jb": "x"}), BAD, "control character"),
    Case("a name that reads backwards", one({"a\u202egnp.exe": "x"}), BAD, "invisible"),
    Case("a name that is not UTF-8", one({b"caf\xe9": "x"}), BAD, "not UTF-8"),
    Case("a name that ends in a dot", one({"README.md.": "x"}), BAD, "dot or a space"),
    Case("a folder that ends in a space", one({"src /app.py": "x"}), BAD, "dot or a space"),
    Case("a Windows device", one({"src/nul.txt": "x"}), BAD, "device"),
    Case("a name that differs in case only", one({"readme.md": "x"}), BAD, "collides with README.md"),
    Case("a folder that differs in case only", one({"SRC/other.py": "x"}), BAD, "collides with src"),
    Case("a name that differs in normalisation only", one({"caf\u00e9": "x", "cafe\u0301": "y"}), BAD, "collides"),
    Case(
        "a Git LFS pointer",
        one({"big.bin": "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"}),
        BAD,
        "LFS",
    ),
    Case("a GitHub token in a file", one({"config.py": f"T = '{TOKEN}'"}), SECRET, "GitHub token"),
    Case("a token that is removed again", two({"config.py": TOKEN}, {"config.py": None}), SECRET, "config.py"),
    Case(
        "a private key",
        one({"id": "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n-----END OPENSSH PRIVATE KEY-----\n"}),
        SECRET,
        "private key",
    ),
    Case("a merge", merge, BAD, "one line"),
    Case("a history of its own", unrelated, BAD, "root commit"),
    Case("commits on another base", older_base, BAD, "pinned commit"),
    Case("two refs", two_refs, BAD, "2 refs"),
    Case("an annotated tag", tag, BAD, "type 4"),
    Case("a blob instead of a commit", ref_is_a_blob, BAD, ""),
    Case(
        "a partial bundle with a filter",
        header("# v3 git bundle", "@filter=blob:none", f"{'1' * 40} HEAD"),
        BAD,
        "capability",
    ),
    Case(
        "another object format",
        header("# v3 git bundle", "@object-format=sha256", f"{'1' * 40} HEAD"),
        BAD,
        "capability",
    ),
    Case("no bundle at all", lambda f: f.write_bundle(b"PK\x03\x04" * 100), BAD, "no header"),
    Case("a header that never ends", lambda f: f.write_bundle(b"# v2 git bundle\n" + b"a" * 90_000), BAD, "no header"),
    Case("a bomb of zeroes", bomb, BAD, "inflates", {"limits": {"max_bytes": 1_000_000}}),
    Case("a bomb that lies about its size", liar, BAD, "larger than it declares"),
    Case("a delta that grows to a terabyte", delta_bomb, BAD, "inflates", {"limits": {"max_bytes": 1_000_000}}),
    Case("ten million objects announced", many_objects, BAD, "objects"),
    Case("a pack that was cut off", cut_off, BAD, ""),
    Case("a wrong checksum", flipped, BAD, "checksum"),
    Case("something after the pack", trailing, BAD, ""),
    Case("a file whose content is not there", missing_blob, BAD, "git's own check"),
    Case("too many files", one({f"f{n}": "x" for n in range(12)}), SIZE, "max_files", {"limits": {"max_files": 10}}),
    Case("too many commits", two({"a": "1"}, {"b": "2"}), SIZE, "max_commits", {"limits": {"max_commits": 1}}),
    Case("too many bytes", one({"a": "x" * 5000}), SIZE, "max_bytes", {"limits": {"max_bytes": 1000}}),
    Case(
        "a bundle larger than allowed",
        lambda f: f.write_bundle(b"x" * 300_000),
        BAD,
        "larger than the limit",
        {"limits": {"max_bytes": 1000}},
    ),
    Case(
        "commits that undo each other",
        two(
            {"a": "1", f"{THOUGHT}/implementation.md": "x"},
            {"a": None, f"{THOUGHT}/implementation.md": None},
            finished=False,
        ),
        FailureReason.MISSING_ARTIFACT,
        "implementation.md",
    ),
    Case(
        "a thought without implementation.md",
        one({"a": "1"}, finished=False),
        FailureReason.MISSING_ARTIFACT,
        "implementation.md",
    ),
    Case(
        "an issue whose commits change nothing",
        two({"a": "1"}, {"a": None}, finished=False),
        EMPTY,
        "nothing",
        {"thought": None},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_the_gate_refuses(case: Case, tmp_path: Path, record_property: Record) -> None:
    origin = make_origin(tmp_path / "hub")
    forge = Forge(origin, tmp_path / "forge.git")
    bundle = case.build(forge)
    repository = tmp_path / "gate.git"
    git(tmp_path, "clone", "-q", "--bare", str(origin.source), str(repository))
    verdict = await inspect(bundle, repository, context(origin, **(case.context or {})))
    through = not isinstance(verdict, RefusedBundle)
    leaked = through and case.reason is SECRET
    judge(record_property, Technique.FILE_CONTENT, Reached(credential=leaked, write=through), verdict)
    assert isinstance(verdict, RefusedBundle)
    assert verdict.reason is case.reason, verdict.detail
    assert case.words in verdict.detail
    assert verdict.detail.isprintable()
    assert TOKEN not in verdict.detail
