"""The actions that workflow steps may `uses:`, done by the hub itself.

Promise: each does for real what its name says (clone over HTTP, zip and store, put an interpreter
on the PATH), with the inputs and outputs listed in `ACTIONS`; another action or another input is
refused when the workflow file is read. No action code is downloaded or executed.
"""

from __future__ import annotations

import base64
import glob
import os
import platform
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from bot.localhub.actions_model import Run
from bot.localhub.artifacts import RETENTION_DAYS, add_artifact, read_artifact

if TYPE_CHECKING:
    from bot.localhub.hub import Hub


class ActionFailedError(Exception):
    """The action failed; the message goes to the step's log."""


class StepHost(Protocol):
    """What an emulated action may use of the job it runs in."""

    hub: Hub
    workspace: Path
    token: str
    tools: Path

    @property
    def run_record(self) -> Run: ...

    def log(self, line: str) -> None: ...

    def mask(self, secret: str) -> None: ...

    def add_path(self, folder: Path) -> None: ...

    async def execute(self, argv: list[str], cwd: Path, env: Mapping[str, str]) -> int: ...


Inputs = Mapping[str, str]
Body = Callable[[StepHost, Inputs], Awaitable[dict[str, str]]]


@dataclass(frozen=True)
class EmulatedAction:
    """One row of the table."""

    inputs: frozenset[str]
    body: Body


def _flag(inputs: Inputs, name: str, default: bool) -> bool:
    text = inputs.get(name, "").strip().lower()
    if text not in {"", "true", "false"}:
        raise ActionFailedError(f"Input {name!r} must be true or false, not {inputs[name]!r}")
    return default if not text else text == "true"


def _inside(host: StepHost, path: str) -> Path:
    folder = (host.workspace / path).resolve()
    if not folder.is_relative_to(host.workspace.resolve()):
        raise ActionFailedError(f"Repository path '{folder}' is not under '{host.workspace}'")
    return folder


async def _checkout(host: StepHost, inputs: Inputs) -> dict[str, str]:
    run, hub = host.run_record, host.hub
    name = inputs.get("repository") or run.repo.full_name
    own = name.lower() == run.repo.full_name.lower()
    folder = _inside(host, inputs.get("path") or ".")
    depth = inputs.get("fetch-depth", "").strip() or "1"
    if not depth.isdigit():
        raise ActionFailedError(f"Input 'fetch-depth' must be a number, not {depth!r}")
    token = inputs.get("token") or host.token
    header = base64.b64encode(f"x-access-token:{token}".encode()).decode()
    host.mask(header)
    ref = inputs.get("ref") or (run.ref if own else "HEAD")
    # The run's own ref means the run's commit, even when the branch has moved on since.
    wanted = run.sha if own and not inputs.get("ref") else ref
    folder.mkdir(parents=True, exist_ok=True)

    async def git(*args: str, may_fail: bool = False) -> int:
        code = await host.execute(["git", *args], folder, {"GIT_TERMINAL_PROMPT": "0"})
        if code != 0 and not may_fail:
            raise ActionFailedError(f"The process 'git {args[0]}' failed with exit code {code}")
        return code

    await git("init", "--quiet", "--initial-branch=main", ".")
    await git("config", "--local", "gc.auto", "0")
    extra = f"http.{hub.html_url}/.extraheader"
    await git("config", "--local", extra, f"AUTHORIZATION: basic {header}")
    await git("remote", "add", "origin", f"{hub.html_url}/{name}.git")
    if depth == "0":
        spec = "+refs/heads/*:refs/remotes/origin/*"
        await git("fetch", "--quiet", "--prune", "--tags", "origin", spec)
        await git("fetch", "--quiet", "--no-tags", "origin", wanted)
    else:
        await git("fetch", "--quiet", "--no-tags", f"--depth={depth}", "origin", wanted)
    branch = ref.removeprefix("refs/heads/")
    known = hub.find_repository(name)
    is_branch = known is not None and hub.git.bare(known).ref(f"refs/heads/{branch}") is not None
    if is_branch:
        await git("update-ref", f"refs/remotes/origin/{branch}", "FETCH_HEAD")
        await git("checkout", "--quiet", "--force", "-B", branch, f"refs/remotes/origin/{branch}")
    else:
        await git("checkout", "--quiet", "--force", "--detach", "FETCH_HEAD")
    if not _flag(inputs, "persist-credentials", True):
        await git("config", "--local", "--unset-all", extra)
    return {"ref": ref}


def _matches(host: StepHost, pattern: str) -> list[Path]:
    hits = glob.glob(str(_target(host, pattern)), recursive=True, include_hidden=True)
    files: list[Path] = []
    for hit in sorted(hits):
        found = Path(hit)
        rows = [p for p in sorted(found.rglob("*")) if p.is_file()] if found.is_dir() else [found]
        files += rows
    return files


def _root(host: StepHost, patterns: list[str]) -> Path:
    """Where names inside the zip start: what the patterns have in common before any wildcard."""
    roots = []
    for pattern in patterns:
        parts = []
        for part in Path(pattern).parts:
            if any(c in part for c in "*?["):
                break
            parts.append(part)
        root = host.workspace / Path(*parts) if parts else host.workspace
        roots.append(root.parent if root.is_file() else root)
    return Path(os.path.commonpath(roots))


async def _upload(host: StepHost, inputs: Inputs) -> dict[str, str]:
    name = inputs.get("name") or "artifact"
    lines = [x.strip() for x in inputs.get("path", "").splitlines() if x.strip()]
    wanted = [x for x in lines if not x.startswith("!")]
    if not wanted:
        raise ActionFailedError("Input required and not supplied: path")
    dropped = {p for x in lines if x.startswith("!") for p in _matches(host, x[1:])}
    root = _root(host, wanted)
    hidden = _flag(inputs, "include-hidden-files", False)
    files: dict[str, bytes] = {}
    for pattern in wanted:
        for file in _matches(host, pattern):
            inner = file.relative_to(root)
            if file in dropped or (not hidden and any(x.startswith(".") for x in inner.parts)):
                continue
            files[inner.as_posix()] = file.read_bytes()
    if not files:
        message = f"No files were found with the provided path: {' '.join(wanted)}."
        match inputs.get("if-no-files-found") or "warn":
            case "error":
                raise ActionFailedError(message)
            case "warn":
                host.log(f"##[warning]{message} No artifacts will be uploaded.")
            case "ignore":
                host.log(message)
            case other:
                raise ActionFailedError(f"Unrecognized if-no-files-found input {other!r}")
        return {}
    days = inputs.get("retention-days", "").strip() or "0"
    if not days.isdigit():
        raise ActionFailedError(f"Input 'retention-days' must be a number, not {days!r}")
    try:
        artifact = add_artifact(
            host.hub,
            host.run_record,
            name,
            files,
            retention_days=int(days) or RETENTION_DAYS,
            overwrite=_flag(inputs, "overwrite", False),
        )
    except ValueError as error:
        raise ActionFailedError(str(error)) from error
    run = host.run_record
    url = f"{host.hub.html_url}/{run.repo.full_name}/actions/runs/{run.id}/artifacts/{artifact.id}"
    host.log(f"Artifact {name} has been successfully uploaded! Artifact ID is {artifact.id}")
    return {
        "artifact-id": str(artifact.id),
        "artifact-url": url,
        "artifact-digest": artifact.digest.removeprefix("sha256:"),
    }


def _target(host: StepHost, text: str) -> Path:
    path = Path(text)
    return path if path.is_absolute() else host.workspace / path


async def _download(host: StepHost, inputs: Inputs) -> dict[str, str]:
    hub, run = host.hub, host.run_record
    if number := inputs.get("run-id", "").strip():
        other = hub.actions.runs.get(int(number)) if number.isdigit() else None
        if other is None or other.repo is not run.repo:
            raise ActionFailedError(f"Run {number} does not exist in {run.repo.full_name}")
        run = other
    found = [a for a in hub.actions.artifacts.values() if a.run is run]
    name = inputs.get("name")
    folder = _target(host, inputs.get("path") or ".")
    if name:
        found = [a for a in found if a.name == name]
        if not found:
            raise ActionFailedError(f"Unable to download artifact(s): Artifact not found for name: {name}")
    for artifact in found:
        into = folder if name else folder / artifact.name
        for path, data in read_artifact(artifact).items():
            file = into / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        host.log(f"Artifact {artifact.name} ({artifact.digest}) was downloaded to {into}")
    return {"download-path": str(folder)}


async def _setup_python(host: StepHost, inputs: Inputs) -> dict[str, str]:
    wanted, have = inputs.get("python-version", "").strip(), platform.python_version()
    if wanted and not f"{have}.".startswith(f"{wanted.removesuffix('.x').removeprefix('>=')}."):
        host.log(f"##[warning]Python {wanted} was asked for; this machine has {have}.")
    host.add_path(host.tools)
    host.log(f"Successfully set up CPython ({have})")
    return {"python-version": have, "python-path": str(host.tools / "python"), "cache-hit": "false"}


ACTIONS: Final[Mapping[str, EmulatedAction]] = {
    "actions/checkout": EmulatedAction(
        frozenset({"repository", "ref", "fetch-depth", "path", "persist-credentials", "token"}),
        _checkout,
    ),
    "actions/upload-artifact": EmulatedAction(
        frozenset(
            {
                "name", "path", "if-no-files-found", "retention-days", "overwrite",
                "compression-level", "include-hidden-files",
            }
        ),
        _upload,
    ),
    "actions/download-artifact": EmulatedAction(
        frozenset({"name", "path", "run-id", "github-token"}), _download
    ),
    "actions/setup-python": EmulatedAction(frozenset({"python-version"}), _setup_python),
}  # fmt: skip

# What a workflow file is checked against when it is read.
ACTION_INPUTS: Final[Mapping[str, frozenset[str]]] = {name: action.inputs for name, action in ACTIONS.items()}
