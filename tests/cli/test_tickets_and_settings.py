"""`tgs server ticket` and `tgs server config`: what is wrong is named with place and remedy, and no secret shows."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from bot.domain.front_matter import TICKET_REQUIRED
from tests.cli.terminal import Terminal, home

AVATAR = (Path(__file__).resolve().parents[2] / "examples/avatar.yaml").read_text()

BROKEN = """\
id: avatar-1
title: Show the avatar
type: feture
priority: urgent
locks: ../secrets
reviewer: maria
description: It shows.
"""


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    (tmp_path / "work").mkdir()
    return Terminal(home(tmp_path), tmp_path / "work", {str(tmp_path / "home"): "~", str(tmp_path): "~"})


async def test_tickets_are_checked(terminal: Terminal) -> None:
    (terminal.cwd / "avatar.yaml").write_text(AVATAR)
    (terminal.cwd / "broken.yaml").write_text(BROKEN)
    (terminal.cwd / "odd.yaml").write_text(AVATAR + "reviewer: maria\n")
    for file in ("avatar.yaml", "odd.yaml", "broken.yaml", "nowhere.yaml"):
        await terminal.type(f"tgs server ticket validate {file}")
    await terminal.type("tgs server ticket validate avatar.yaml --json")
    await terminal.type("tgs server ticket validate broken.yaml --json")
    await terminal.type("tgs server backlog add broken.yaml")
    terminal.equals_golden("tickets")


@pytest.mark.parametrize("field", TICKET_REQUIRED)
async def test_each_missing_field_is_named(terminal: Terminal, field: str) -> None:
    kept = [line for line in AVATAR.splitlines() if not line.startswith(f"{field}:")]
    (terminal.cwd / "avatar.yaml").write_text("\n".join(kept))
    done = await terminal.type("tgs server ticket validate avatar.yaml")
    said = " ".join(done.out.split())
    assert (done.code, f"the field `{field}` is missing" in said, f"`{field}: …`" in said) == (2, True, True)


async def test_settings_are_shown_with_where_they_come_from(terminal: Terminal) -> None:
    file = terminal.cwd / "tgs.yaml"
    file.write_text("port: 9000\nlog_level: debug\nlog_levle: info\nwebhook_secret: hush-in-the-file\n")
    terminal.env |= {"TGS_APP_ID": "7", "TGS_LOG_LEVEL": "error", "GH_TOKEN": "hush-in-the-environment"}
    await terminal.type("tgs server config check")
    await terminal.type("tgs server config show")
    await terminal.type("tgs server config show --config tgs.yaml --port 9001 --effective")
    await terminal.type("tgs server config check --config tgs.yaml")
    await terminal.type("tgs --config tgs.yaml server config check --json")
    await terminal.type("tgs server config show --config nowhere.yaml")
    assert "hush" not in "\n".join(terminal.lines)
    terminal.equals_golden("settings")


async def test_a_machine_without_settings_is_fine(terminal: Terminal) -> None:
    assert (await terminal.type("tgs server config check")).out == "The settings of the command line are complete.\n"
    shown = await terminal.type("tgs server config show")
    assert shown.out == f"Settings file: {terminal.env['HOME']}/.config/tgs/config.yaml (not there)\nNothing is set.\n"


async def test_the_shell_can_complete(terminal: Terminal) -> None:
    (terminal.cwd / "tgs/thoughts/a1b2c3-add-greeting").mkdir(parents=True)
    await asyncio.to_thread(subprocess.run, ["git", "init", "-q", str(terminal.cwd)], check=True)
    # Which shell it is is found by looking at the parents of the process; here there may be none.
    named = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    script = await terminal.type("tgs --show-completion bash", env=named)
    assert (script.code, "_TGS_COMPLETE" in script.out) == (0, True)
    for typed, words in {
        "tgs server backlog cl": {"claim"},
        "tgs server backlog claim tgs/": {"tgs/thoughts/a1b2c3-add-greeting"},
        "tgs server backlog fail --reason quo": {"quota.provider", "quota.github"},
    }.items():
        asked = {"_TGS_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}
        offered = await terminal.type("tgs", env=asked)
        assert set(offered.out.split()) == words, typed
