"""A terminal in this process: command lines are typed, what comes back is written down and held against a golden file.

A golden file is a transcript: what was typed, standard output, standard error with `!` before each line, and the exit
code when it is not 0. `python -m tests.cli.terminal` writes all of them anew; look at the difference before you commit.
What differs from run to run (ports, hashes, folders) is written as a name.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import platform
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import jsonschema
import pytest

from bot.cli.answers import ANSWERS, schemas
from bot.cli.main import run
from tests.cli.town import Done
from tests.world import World

GOLDEN = Path(__file__).parent / "golden"
UPDATE = "TGS_UPDATE_GOLDEN"
_UPDATING = UPDATE in os.environ
_SCHEMAS = schemas()
_ALWAYS = (
    (re.compile(r"\b[0-9a-f]{40}\b"), "<sha>"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "<sum>"),
    (re.compile(r"\b[a-z][0-9a-f]{48}\b"), "<attempt>"),
    (re.compile(r"\btga_[A-Za-z0-9_-]{40,}"), "<secret>"),
    (re.compile(r"\brequest [0-9a-f]{32}\b"), "request <id>"),
    (re.compile(r"\(claim [0-9a-f]{12}\)"), "(claim <sha>)"),
    (re.compile(r"\ba\d{6}\b"), "<attempt>"),
    (re.compile(rf"(?<=[@/(]){re.escape(platform.node())}\b"), "laptop"),
)
_TIME = re.compile(r"\b20\d\d-\d\d-\d\d(T\d\d:\d\d:\d\dZ| \d\d:\d\d UTC)")
"""Real times; a world has a clock of its own, which repeats."""


def call(args: list[str], env: Mapping[str, str], cwd: Path, stdin: str = "") -> Done:
    """One command line in this process, with this environment and folder and nothing else."""
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    before, folder, typed = dict(os.environ), Path.cwd(), sys.stdin
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin.encode()))
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            run(args)
    except SystemExit as end:
        code = end.code
    finally:
        sys.stdin = typed
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(before)
    assert isinstance(code, int | None)
    return Done(code or 0, out.getvalue(), err.getvalue())


async def here(*args: str, env: Mapping[str, str], cwd: Path | None = None) -> Done:
    """As `town.tgs`, without a process of its own: nine tenths of a short command's time are the start of Python."""
    done = await asyncio.to_thread(call, list(args), env, cwd or Path.cwd())
    assert "Traceback" not in done.err
    return done


@dataclass
class Terminal:
    """One person's terminal. `names` are what is replaced in the transcript: text → name."""

    env: dict[str, str]
    cwd: Path
    names: dict[str, str] = field(default_factory=dict)
    world: World | None = None
    lines: list[str] = field(default_factory=list)

    async def type(self, line: str, *, stdin: str = "", env: Mapping[str, str] | None = None) -> Done:
        """Types the line, writes it down with its answer. The world goes on meanwhile."""
        words = shlex.split(line)
        assert words[0] == "tgs"
        task = asyncio.create_task(asyncio.to_thread(call, words[1:], self.env | dict(env or {}), self.cwd, stdin))
        while self.world is not None and not task.done():
            if self.world.bot is not None:
                await self.world.settle()
            await asyncio.wait({task}, timeout=0.005)
        done = await task
        if self.world is not None and self.world.bot is not None:
            await self.world.settle()
        assert "Traceback" not in done.err
        for secret in (
            value for name, value in (self.env | dict(env or {})).items() if name.endswith("_TOKEN") and value
        ):
            assert secret not in done.out + done.err
        if "--json" in words:
            fits_its_schema(words[1:], done)
        changes = (
            f"{name}={'…' if name.endswith('_TOKEN') and value else value}" for name, value in (env or {}).items()
        )
        self.note(" ".join(["$", *changes, line]))
        self.note(done.out.rstrip("\n"))
        self.note("\n".join(f"! {one}".rstrip() for one in done.err.rstrip("\n").split("\n")) if done.err else "")
        self.note(f"[exit code {done.code}]" if done.code else "")
        self.lines.append("")
        return done

    def note(self, text: str) -> None:
        """Into the transcript, with names for what differs."""
        if not text:
            return
        for said, name in sorted(self.names.items(), key=lambda pair: -len(pair[0])):
            text = text.replace(said, name)
        for pattern, name in _ALWAYS:
            text = pattern.sub(name, text)
        if self.world is None:
            text = _TIME.sub(lambda found: _same_width(found, text), text)
        self.lines.append("\n".join(line.rstrip() for line in text.split("\n")))

    def equals_golden(self, name: str) -> None:
        """The transcript is what the golden file says."""
        text = "\n".join(self.lines).rstrip("\n") + "\n"
        path = GOLDEN / f"{name}.txt"
        if _UPDATING:
            path.write_text(text, encoding="utf-8")
        assert path.is_file(), f"there is no {path.name}: python -m tests.cli.terminal writes it"
        assert text == path.read_text(encoding="utf-8")


def _same_width(time: re.Match[str], text: str) -> str:
    """The name of a time; in a table as wide as the time, so that the columns stay where they are."""
    return f"{'<time>':<{len(time[0])}}" if text[time.end() : time.end() + 2] == "  " else "<time>"


def fits_its_schema(words: list[str], done: Done) -> None:
    """What `--json` printed is what the documentation says."""
    command = next(name for name in ANSWERS if name in " ".join(words))
    if done.out:
        jsonschema.validate(json.loads(done.out), {"$ref": f"#/$defs/{ANSWERS[command].__name__}", "$defs": _SCHEMAS})
    if done.code and not done.out:
        jsonschema.validate(json.loads(done.err), {"$ref": "#/$defs/ErrorAnswer", "$defs": _SCHEMAS})


def home(tmp: Path) -> dict[str, str]:
    """An environment of a person who has set nothing up."""
    (tmp / "home").mkdir(exist_ok=True)
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp / "home"),
        "USER": "maria",
        "LOGNAME": "maria",
        "LANG": "C.UTF-8",
        "COLUMNS": "80",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_SYSTEM": "/dev/null",
    }


if __name__ == "__main__":
    os.environ[UPDATE] = "1"
    raise SystemExit(pytest.main(["-q", "tests/cli"]))
