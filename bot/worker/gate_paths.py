"""Which paths a change may touch: spelling that other file systems read differently, and protected files.

Promise: pure. Paths are compared NFC-normalised and casefolded, because a checkout on macOS or Windows would write
`.GITHUB/` or a decomposed name into the same folder. A path is judged by its bytes, before anything is written.

Patterns of policy follow `.gitignore`: a pattern without a slash (but for a last one) matches a file or folder of that
name anywhere; one with a slash is anchored at the root; `*` and `?` stay within a name, `**` crosses folders; a folder
covers all it contains.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import Final

MAX_PATH: Final = 1000  # bytes; git on Windows and many tools stop far below
THOUGHTS_DIR: Final = "tgs/thoughts"

# Files that steer GitHub, git, package managers, the agent, editors and other CI systems. Names match anywhere.
PROTECTED: Final = (
    "/.github/**", "/.tgs/**", "/tgs/adapters/**",
    "CODEOWNERS", ".gitattributes", ".gitmodules", ".gitconfig", ".lfsconfig", ".mailmap",
    ".npmrc", ".yarnrc", ".yarnrc.yml", ".pnpmfile.cjs", ".pypirc", "pip.conf", ".netrc", ".envrc",
    ".claude", ".claude.json", "CLAUDE.md", "CLAUDE.local.md", "AGENTS.md", "AGENT.md", "GEMINI.md", ".mcp.json",
    ".cursor", ".cursorrules", ".windsurf", ".windsurfrules", ".clinerules", ".codex", ".gemini", ".aider.conf.yml",
    ".ripgreprc",
    ".husky", ".githooks", ".lefthook", "lefthook.yml", ".lefthook.yml", ".pre-commit-config.yaml",
    ".pre-commit-hooks.yaml", ".overcommit.yml",
    ".vscode", ".idea", ".devcontainer", ".devcontainer.json", ".fleet", ".zed", "*.code-workspace",
    ".gitlab-ci.yml", ".circleci", ".travis.yml", ".buildkite", "azure-pipelines.yml", "bitbucket-pipelines.yml",
    ".drone.yml", ".cirrus.yml", "Jenkinsfile", "appveyor.yml", ".appveyor.yml",
)  # fmt: skip

# Code points that HFS+ drops when it compares names: `.g\u200cit` is `.git` there.
_HFS_IGNORED: Final = frozenset(
    chr(c) for c in (*range(0x200C, 0x2010), *range(0x202A, 0x202F), *range(0x206A, 0x2070), 0xFEFF)
)
_BIDI: Final = frozenset(chr(c) for c in (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C))
_ZERO_WIDTH: Final = frozenset(chr(c) for c in (0x200B, 0x2060, 0x00AD, 0x180E)) | _HFS_IGNORED
_SHORT_NAME: Final = re.compile(r"[^~.]{1,8}~[0-9]{1,6}(?:\.[^.]{0,3})?\Z")  # NTFS' 8.3 alias of a longer name
_DEVICES: Final = re.compile(r"(?:con|prn|nul|com[0-9]|lpt[0-9])(?:\..*)?\Z")
_TEST_FILE: Final = re.compile(
    r"(?:^|/)(?:tests?|__tests__|specs?|testing)/|(?:^|/)(?:test_[^/]*|conftest\.py|[^/]*(?:_test|_spec|\.test|\.spec)\.[^/.]+)\Z"
)


def fold(path: str) -> str:
    """The form in which paths are compared."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def spelling_problem(raw: bytes) -> str | None:
    """What is wrong with a path's spelling, as a phrase; None when every file system reads it alike."""
    try:
        path = raw.decode("utf-8")
    except UnicodeDecodeError:
        return "the name is not UTF-8"
    if len(raw) > MAX_PATH:
        return f"the name is longer than {MAX_PATH} bytes"
    if path.startswith("/"):
        return "the path is absolute"
    for character in path:
        if unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"}:
            return "the name contains a control character"
        if character in _BIDI or character in _ZERO_WIDTH:
            return "the name contains an invisible or direction-changing character"
    if "\\" in path:
        return "the name contains a backslash"
    if ":" in path:
        return "the name contains a colon"
    for part in path.split("/"):
        problem = _component_problem(part)
        if problem is not None:
            return problem
    return None


def _component_problem(part: str) -> str | None:
    if part in {"", ".", ".."}:
        return "the path contains an empty, '.' or '..' component"
    if part[-1] in ". ":
        return "a name ends in a dot or a space"
    if part[0] == " ":
        return "a name starts with a space"
    folded = fold(unicodedata.normalize("NFKC", "".join(c for c in part if c not in _HFS_IGNORED)))
    if folded.rstrip(". ") == ".git":
        return "a name reads as '.git'"
    if _SHORT_NAME.match(part):
        return "a name looks like the short alias of another file (NTFS)"
    if _DEVICES.match(folded):
        return "a name is a device on Windows"
    return None


class ProtectedPaths:
    """The built-in protected paths and those of policy, for one attempt."""

    def __init__(self, extra: Iterable[str] = (), *, thought_dir: str | None = None) -> None:
        self._patterns = tuple((p, compile_pattern(p)) for p in (*PROTECTED, *extra))
        self._thought = fold(thought_dir) if thought_dir is not None else None

    def rule_for(self, path: str) -> str | None:
        """The rule that protects the path, as people are told it; None when it may be changed."""
        # Compatibility forms too: a full-width `.ｇithub` must not pass as another name.
        for spelled in {fold(path), fold(unicodedata.normalize("NFKC", path))}:
            for pattern, regex in self._patterns:
                if regex.match(spelled):
                    return f"protected path '{pattern.removeprefix('/')}'"
        return self._thought_rule(fold(path))

    def _thought_rule(self, folded: str) -> str | None:
        """Plans are approved by people: an attempt may write into its own thought's folder only, and not its plan."""
        if folded != THOUGHTS_DIR and not folded.startswith(THOUGHTS_DIR + "/"):
            return None
        if self._thought is None or not folded.startswith(self._thought + "/"):
            return f"'{THOUGHTS_DIR}/**' but for the item's own thought"
        if folded.rsplit("/", 1)[-1] in {"plan.md", "research.md"}:
            return "the approved plan and research of the thought"
        return None


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """The regular expression over folded paths that a pattern means. Never raises: any text is some pattern."""
    text = fold(pattern.strip())
    anchored = "/" in text.rstrip("/")
    text = text.strip("/")
    out = []
    index = 0
    while index < len(text):
        if text.startswith("**/", index):
            out.append("(?:.*/)?")
            index += 3
        elif text.startswith("/**", index) and index + 3 == len(text):
            index += 3  # the folder itself and all below, which the suffix says already
        elif text.startswith("**", index):
            out.append(".*")
            index += 2
        else:
            character = text[index]
            out.append({"*": "[^/]*", "?": "[^/]"}.get(character) or re.escape(character))
            index += 1
    prefix = "" if anchored else "(?:.*/)?"
    return re.compile(f"{prefix}{''.join(out)}(?:/.*)?\\Z", re.DOTALL)


class Spellings:
    """All paths of a tree by their folded form, kept up to date commit by commit, to find case collisions."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._spelled: dict[str, Counter[str]] = {}
        for path in paths:
            self.add(path)

    def add(self, path: str) -> str | None:
        """Adds a path; returns another spelling of it (or of one of its folders) that exists, if there is one."""
        clash = None
        for prefix in _prefixes(path):
            spellings = self._spelled.setdefault(fold(prefix), Counter())
            if prefix not in spellings and spellings and clash is None:
                clash = next(iter(spellings))
            spellings[prefix] += 1
        return clash

    def remove(self, path: str) -> None:
        """Forgets one path; unknown ones are ignored."""
        for prefix in _prefixes(path):
            spellings = self._spelled.get(fold(prefix))
            if spellings is None or prefix not in spellings:
                continue
            spellings[prefix] -= 1
            if spellings[prefix] == 0:
                del spellings[prefix]


def _prefixes(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[: n + 1]) for n in range(len(parts))]


def is_test(path: str) -> bool:
    """Whether a path looks like a test, by the habits of the common languages."""
    return _TEST_FILE.search(path.casefold()) is not None
