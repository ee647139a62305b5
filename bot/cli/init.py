"""`tgs init`: writes the workflow files and the commented policy into a checkout, or proposes them as a pull request.

Promise: idempotent; a file that is already as it should be is left alone; a file that somebody changed is shown as a
summary of the differences and kept, unless `--force` says otherwise. An existing policy file is never replaced without
`--force`, for it is the maintainers' own. In a checkout nothing is committed.
"""

from __future__ import annotations

import asyncio
import difflib
import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer
from pydantic import BaseModel, ConfigDict, ValidationError

from bot.cli.exits import Exit
from bot.cli.options import AsJson
from bot.errors import UserError

WORKFLOWS_DIR: Final = ".github/workflows"
DIST_SECONDS: Final = 30.0  # the server reads one small file; a cold start may take some seconds
MAX_DIST_ANSWER: Final = 10_000  # bytes
DEFAULT_BRANCH: Final = "main"  # what git hosts name the first branch


class Change(StrEnum):
    """What happened to one file."""

    CREATED = "created"
    UNCHANGED = "unchanged"
    REPLACED = "replaced"
    KEPT = "kept"


@dataclass(frozen=True, slots=True)
class Written:
    """One file and what happened to it; `added` and `removed` are lines that differ."""

    path: str
    change: Change
    added: int = 0
    removed: int = 0


class Distribution(BaseModel):
    """The bot's own wheel, as its server names it."""

    model_config = ConfigDict(extra="ignore")

    version: str
    url: str
    sha256: str


def files_for(server: str, distribution: Distribution, *, default_branch: str, agent_minutes: int) -> dict[str, str]:
    """The files of a set-up, by path. Raises UserError for values that cannot stand in them."""
    from bot.domain.policy import POLICY_PATH, example_policy
    from bot.workflows import RUN_WORKFLOW, SCAN_WORKFLOW, render_run_workflow, render_scan_workflow

    wheel = (distribution.url, distribution.sha256)
    return {
        f"{WORKFLOWS_DIR}/{RUN_WORKFLOW}": render_run_workflow(server, *wheel, agent_minutes=agent_minutes),
        f"{WORKFLOWS_DIR}/{SCAN_WORKFLOW}": render_scan_workflow(server, *wheel, default_branch=default_branch),
        POLICY_PATH: example_policy(),
    }


def write_files(directory: Path, files: dict[str, str], *, force: bool) -> list[Written]:
    """Writes the files below `directory`. Raises UserError when a path leads out of it or is no plain file."""
    root = directory.resolve()
    results = []
    for name, text in files.items():
        path = root / name
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise UserError(f"{name} is not a plain file.", "Move it away first.")
        if not path.parent.resolve().is_relative_to(root):
            raise UserError(f"{name} leads out of {directory}.", "Remove the link in its path first.")
        results.append(_write(path, name, text, force=force))
    return results


def _write(path: Path, name: str, text: str, *, force: bool) -> Written:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
        return Written(name, Change.CREATED, added=text.count("\n"))
    old = path.read_text(encoding="utf-8", errors="replace")
    if old == text:
        return Written(name, Change.UNCHANGED)
    added, removed = differing_lines(old, text)
    if force:
        path.write_text(text, encoding="utf-8", newline="\n")
    return Written(name, Change.REPLACED if force else Change.KEPT, added, removed)


def differing_lines(old: str, new: str) -> tuple[int, int]:
    """How many lines the new text adds and removes."""
    lines = list(difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=0))[2:]
    return sum(line.startswith("+") for line in lines), sum(line.startswith("-") for line in lines)


async def fetch_distribution(server: str) -> Distribution:
    """Asks the server for its wheel. Raises UserError when it gives no usable answer."""
    import aiohttp

    url = f"{server.rstrip('/')}/dist/"
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=DIST_SECONDS)) as session,
            session.get(url, allow_redirects=False) as response,
        ):
            if response.status != 200:
                raise UserError(f"{url} answered {response.status}.", "Is this the address of your bot?")
            raw = await response.content.read(MAX_DIST_ANSWER)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise UserError(f"{url} cannot be reached: {type(error).__name__}.", "Check address and network.") from None
    try:
        return Distribution.model_validate_json(raw)
    except ValidationError:
        raise UserError(f"{url} did not answer with version, url and sha256.", "Update the bot.") from None


def init(
    server: Annotated[str, typer.Option("--server", envvar="TGS_SERVER_URL", help="The bot's public address.")],
    directory: Annotated[
        Path | None, typer.Option("--directory", help="The checkout to write to; default: here.", file_okay=False)
    ] = None,
    pull_request: Annotated[
        str | None,
        typer.Option("--pull-request", metavar="OWNER/NAME", help="Open a pull request there, with GH_TOKEN."),
    ] = None,
    wheel_url: Annotated[str, typer.Option(help="Take the distribution from here (with --wheel-sha256).")] = "",
    wheel_sha256: Annotated[str, typer.Option(help="The distribution's SHA-256, in hex.")] = "",
    default_branch: Annotated[
        str | None,
        typer.Option(help="The branch whose pushes the scan watches; default: main, or the repository's own."),
    ] = None,
    agent_minutes: Annotated[int, typer.Option(help="Time limit of the agent's job, in minutes.")] = 330,
    force: Annotated[bool, typer.Option("--force", help="Replace files that somebody changed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the workflow files and a commented policy.

    They go into a checkout, or into a pull request on the branch tgs/set-up. Files that somebody changed are kept; the
    exit code is then 4.
    """
    if pull_request is not None and directory is not None:
        raise UserError("--directory and --pull-request exclude each other.", "Give one of them.")
    folder = directory if directory is not None else Path()
    distribution = _distribution(server, folder, wheel_url, wheel_sha256)

    def files_of(branch: str) -> dict[str, str]:
        watched = default_branch or branch
        return files_for(server, distribution, default_branch=watched, agent_minutes=agent_minutes)

    if pull_request is None:
        results, url = write_files(folder, files_of(DEFAULT_BRANCH), force=force), None
    else:
        results, url = _propose(pull_request, files_of, force=force)
    if as_json:
        rows = [{"path": r.path, "change": r.change, "added": r.added, "removed": r.removed} for r in results]
        print(json.dumps(rows if pull_request is None else {"files": rows, "pull_request": url}))
    else:
        for result in results:
            print(_line(result))
        if pull_request is not None:
            print(f"\nPull request: {url}" if url else "\nThere is nothing to propose.")
    raise typer.Exit(int(Exit.CONFLICT if any(r.change is Change.KEPT for r in results) else Exit.OK))


def _propose(
    full_name: str, files_of: Callable[[str], dict[str, str]], *, force: bool
) -> tuple[list[Written], str | None]:
    """The pull request's address, and what it does with each file."""
    from bot.cli.set_up_pull import propose

    done = asyncio.run(propose(full_name, files_of, force=force))
    found = done.compared
    results = [Written(path, Change.CREATED, added=text.count("\n")) for path, text in found.create.items()]
    results += [Written(path, Change.UNCHANGED) for path in found.unchanged]
    change = Change.REPLACED if force else Change.KEPT
    results += [Written(path, change, *differing_lines(it.old, it.new)) for path, it in found.differ.items()]
    return results, done.url


def _distribution(server: str, directory: Path, wheel_url: str, wheel_sha256: str) -> Distribution:
    from bot.workflows import check_url

    if not directory.is_dir():
        raise UserError(f"There is no folder {directory}.", "Give the root of a checkout.")
    if bool(wheel_url) != bool(wheel_sha256):
        raise UserError("--wheel-url and --wheel-sha256 belong together.", "Give both, or neither.")
    check_url(server, "bot's address")
    if wheel_url:
        return Distribution(version="", url=wheel_url, sha256=wheel_sha256)
    return asyncio.run(fetch_distribution(server))


def _line(result: Written) -> str:
    match result.change:
        case Change.KEPT:
            return f"kept       {result.path}: differs (+{result.added} -{result.removed}); --force replaces it"
        case Change.REPLACED:
            return f"replaced   {result.path} (+{result.added} -{result.removed})"
        case Change.CREATED | Change.UNCHANGED:
            return f"{result.change:<10} {result.path}"
