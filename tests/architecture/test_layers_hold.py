"""Who imports whom: the contracts hold, and they speak of every part of the product."""

from __future__ import annotations

import ast
import configparser
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BOT = ROOT / "bot"


def contracts() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / ".importlinter", encoding="utf-8")
    return parser


def parts() -> set[str]:
    """The direct children of `bot`, as import names."""
    packages = {f"bot.{path.parent.name}" for path in BOT.glob("*/__init__.py")}
    return packages | {f"bot.{path.stem}" for path in BOT.glob("*.py") if path.stem != "__init__"}


def words(text: str) -> set[str]:
    return {word.strip("():") for word in text.split()} - {""}


def modules(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def imports(path: Path) -> set[str]:
    """The modules that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found.add(node.module)
            if node.module in {"bot", "handlers"}:
                found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_the_contracts_are_kept() -> None:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    done = subprocess.run([*command, "--no-logo", "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


APART = {"bot.github", "bot.localhub", "bot.queue", "bot.store", "bot.worker", "bot.workflows"}
"""Parts beside the layers; each has a contract of its own, or (workflow templates) no imports of ours to forbid."""


def test_every_part_has_its_layer() -> None:
    layered = words(contracts()["importlinter:contract:layers"]["layers"])
    assert parts() - layered - APART == set()


ALONE = {"queue": set[str](), "localhub": set[str](), "worker": {"clock", "domain", "texts", "errors", "workflows"}}
"""What of ours each of these may import, beside itself."""


@pytest.mark.parametrize("part", ALONE)
def test_a_part_that_stands_alone_imports_nothing_else_of_ours(part: str) -> None:
    allowed = {"bot", f"bot.{part}", *(f"bot.{name}" for name in ALONE[part])}
    for path in modules(BOT / part):
        ours = {".".join(name.split(".")[:2]) for name in imports(path) if name.split(".")[0] in {"bot", "handlers"}}
        assert ours - allowed == set(), path.relative_to(ROOT)


HANDLER_IMPORTS = {"__future__", "collections.abc", "dataclasses", "datetime", "types", "typing", "msgspec"}


def test_handlers_import_only_the_domain_and_the_payloads() -> None:
    for path in modules(ROOT / "handlers"):
        for name in imports(path):
            ours = name == "bot" or name.startswith(("bot.domain", "bot.payloads", "handlers"))
            assert ours or name in HANDLER_IMPORTS, f"{path.name} imports {name}"


def test_the_core_imports_only_pure_parts_of_the_standard_library() -> None:
    pure = {
        *("__future__", "abc", "base64", "bisect", "collections", "contextlib", "dataclasses", "datetime", "difflib"),
        *("enum", "fnmatch", "functools", "hashlib", "heapq", "hmac", "html", "inspect", "itertools", "json", "math"),
        *("operator", "posixpath", "re", "shlex", "string", "textwrap", "types", "typing", "unicodedata", "urllib"),
        *("zlib", "zoneinfo"),
        *("markdown_it", "pydantic", "pydantic_core", "yaml", "msgspec", "jinja2", "bot"),
    }
    for folder in (BOT / "domain", BOT / "texts"):
        for path in modules(folder):
            for name in imports(path):
                assert name.split(".")[0] in pure, f"{path.relative_to(ROOT)} imports {name}"
                assert not name.startswith("urllib.request"), path.relative_to(ROOT)


ENVIRONMENT_READERS = {
    "bot/settings.py": "the settings",
    "bot/cli/": "hands the environment to what it calls; a job's credentials come by it",
    "bot/worker/": "runs in a job: its inputs are variables, and it builds environments for its children",
    "bot/localhub/": "starts runner processes and git with an environment of its own making",
}


def test_the_environment_is_read_in_the_listed_places_only() -> None:
    readers = set()
    for path in [*modules(BOT), *modules(ROOT / "handlers")]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            named = isinstance(node, ast.Attribute) and node.attr in {"environ", "environb", "getenv"}
            taken = isinstance(node, ast.ImportFrom) and node.module == "os"
            taken = taken and any(alias.name in {"environ", "getenv"} for alias in node.names)  # type: ignore[attr-defined]
            if named or taken:
                readers.add(path.relative_to(ROOT).as_posix())
    stray = {name for name in readers if not name.startswith(tuple(ENVIRONMENT_READERS))}
    assert stray == set()
    assert "bot/settings.py" in readers


MOST_LINES = 450
"""The aim is about 400 lines, so that a file is read in one sitting; beyond this it must be divided."""


@pytest.mark.parametrize("folder", ["bot", "handlers"])
def test_files_stay_readable_in_one_sitting(folder: str) -> None:
    long = {
        path.relative_to(ROOT).as_posix(): lines
        for path in modules(ROOT / folder)
        if (lines := len(path.read_text("utf-8").splitlines())) > MOST_LINES
    }
    assert long == {}


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        path.relative_to(ROOT).as_posix()
        for path in [*modules(BOT), *modules(ROOT / "handlers")]
        if (text := path.read_text("utf-8")).strip() and not ast.get_docstring(ast.parse(text))
    ]
    assert silent == []
