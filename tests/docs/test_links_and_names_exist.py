"""What the documentation points at exists: pages, headings, files, commands, settings."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pytest

from bot.domain.command_parser import ParseError, parse
from bot.domain.commands import COMMANDS, Verb
from bot.settings import ClientSettings, Settings, environment_name
from tests.docs.command_line import unknown_command
from tests.docs.pages import ROOT, anchors, blocks, inline_code, links, page_names

SETTINGS = {environment_name(name) for form in (Settings, ClientSettings) for name in form.model_fields}
WHEN = datetime(2026, 1, 1, tzinfo=UTC)
_FILE = re.compile(r"(?:bot|handlers|tests|scripts|docs|examples|requirements)/[\w./-]*[\w/]")


@pytest.mark.parametrize("page", page_names())
def test_every_relative_link_leads_somewhere(page: str) -> None:
    for target in links(page):
        if re.match(r"[a-z]+:", target):
            assert target.startswith("https://"), f"{page}: {target}"
            continue
        path, _, anchor = target.partition("#")
        place = (ROOT / page).parent / path if path else ROOT / page
        assert place.exists(), f"{page} links to {target}, which does not exist"
        if anchor:
            other = place.resolve().relative_to(ROOT).as_posix()
            assert anchor in anchors(other), f"{page} links to {target}; {other} has {sorted(anchors(other))}"


@pytest.mark.parametrize("page", page_names())
def test_every_file_that_is_named_exists(page: str) -> None:
    for code in inline_code(page):
        if _FILE.fullmatch(code):
            assert (ROOT / code).exists(), f"{page} names {code}"


def _command_lines(page: str) -> list[str]:
    """Every `tgs …` of a page, from shell blocks and from inline code."""
    lines = [code for code in inline_code(page) if code.startswith("tgs ")]
    for block in blocks("sh"):
        if block.page == page:
            text = block.text.replace("\\\n", " ")
            lines += [line for line in text.splitlines() if line.startswith("tgs ")]
    return lines


@pytest.mark.parametrize("page", page_names())
def test_every_tgs_command_line_exists(page: str) -> None:
    planned = "docs/limits.md"
    for line in _command_lines(page):
        if page != planned:
            problem = unknown_command(line)
            assert problem is None, f"{page}: `{line}`: {problem}"


def test_an_invented_command_line_is_noticed() -> None:
    assert unknown_command("tgs server backlog dance") == "there is no command 'dance'"
    assert unknown_command("tgs serve --loudly") == "there is no option --loudly"


@pytest.mark.parametrize("page", [name for name in page_names() if name != "docs/reference/commands.md"])
def test_every_slash_command_is_understood(page: str) -> None:
    for code in inline_code(page):
        if not code.startswith("/tgs "):
            continue
        verb = code.split()[1]
        assert verb in {v.value for v in Verb}, f"{page}: {code}"
        assert COMMANDS[Verb(verb)].available, f"{page}: {code} is not available in this version"
        if not re.search(r"[<\[|]", code) and len(code.split()) > 2:
            problems = [found.message for found in parse(code, WHEN) if isinstance(found, ParseError)]
            assert problems == [], f"{page}: {code}: {problems}"


@cache
def _spelled_in_code() -> set[str]:
    """Every `TGS_…` name in the shipped code, scripts and workflow files: what jobs and agents are given."""
    files: list[Path] = [
        *(ROOT / "bot").rglob("*.py"),
        *(ROOT / "bot").rglob("*.yml"),
        *(ROOT / "scripts").rglob("*.sh"),
    ]
    return {name for path in files for name in re.findall(r"\bTGS_[A-Z0-9_]+\b", path.read_text("utf-8"))}


@pytest.mark.parametrize("page", page_names())
def test_every_environment_variable_is_known(page: str) -> None:
    named = set(re.findall(r"\bTGS_[A-Z0-9_]+\b", (ROOT / page).read_text("utf-8")))
    known = SETTINGS | (set() if page == "docs/operating.md" else _spelled_in_code())
    if page == "CONTRIBUTING.md":
        known |= {
            name for path in (ROOT / "tests").rglob("*.py") for name in re.findall(r"TGS_[A-Z_]+", path.read_text())
        }
    assert named <= known, f"{page} names {sorted(named - known)}"


@pytest.mark.parametrize("page", page_names())
def test_every_make_target_exists(page: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    lines = [*inline_code(page), *(line for b in blocks("sh") if b.page == page for line in b.text.splitlines())]
    named = {match[1] for line in lines if (match := re.match(r"make ([a-z-]+)", line))}
    assert named <= targets
