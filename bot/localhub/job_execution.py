"""One job as real processes: its folders, environment, steps, logs and outputs.

Promise: a clean environment (nothing of the hub's process but the system PATH); secrets reach a
step only where the file refers to them; every secret and masked value is `***` in the log; outputs
that hold one are dropped; the job's token and its right to OIDC tokens end with the job, and so do
all its processes and files. Time limits and the grace of a cancel are real seconds, whatever the
hub's clock says.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import shutil
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bot.localhub.actions_context import (
    github_context,
    needs_context,
    secrets_of,
    variables_of,
)
from bot.localhub.actions_model import Conclusion, Job, Run, Step
from bot.localhub.emulated_actions import ACTIONS, ActionFailedError
from bot.localhub.expression_values import ExpressionError, Value, to_text, truthy
from bot.localhub.expressions import Scope, Template
from bot.localhub.file_commands import FileCommandError, read_list, read_pairs
from bot.localhub.job_log import JobLog
from bot.localhub.processes import Grace, ProcessGroup
from bot.localhub.workflow_file import split_uses
from bot.localhub.workflow_model import StepSpec

if TYPE_CHECKING:
    from bot.localhub.hub import Hub

# Shells by their `shell:` name; no name means bash without pipefail, as on GitHub.
SHELLS: Final[Mapping[str | None, tuple[str, ...]]] = {
    None: ("bash", "-e"),
    "bash": ("bash", "--noprofile", "--norc", "-eo", "pipefail"),
    "sh": ("sh", "-e"),
}
_FILES: Final = ("GITHUB_OUTPUT", "GITHUB_ENV", "GITHUB_PATH", "GITHUB_STEP_SUMMARY", "GITHUB_STATE")
_MINUTE: Final = 60.0


class JobExecution:
    """Runs one job, once."""

    def __init__(self, hub: Hub, job: Job, folder: Path, tools: Path, grace: Grace) -> None:
        self.hub, self.job, self.tools = hub, job, tools
        self.folder = folder
        self.workspace = folder / "work" / job.run.repo.name / job.run.repo.name
        self.temp, self.home = folder / "temp", folder / "home"
        self.processes = ProcessGroup(grace)
        self.logs = JobLog(hub.now, hub.actions.log_written)
        self.token = ""
        self.cancelled = self.failed = self.forced = False
        self._id_token: tuple[str, str] | None = None
        self._env: dict[str, str] = {}
        self._paths: list[str] = []
        self._steps: dict[str, Value] = {}
        self._step_env: dict[str, str] = {}

    @property
    def run_record(self) -> Run:
        return self.job.run

    # --- for emulated actions ---

    def log(self, line: str) -> None:
        self.logs.write(line)

    def mask(self, secret: str) -> None:
        self.logs.mask(secret)

    def add_path(self, folder: Path) -> None:
        self._paths.append(str(folder))

    async def execute(self, argv: list[str], cwd: Path, env: Mapping[str, str]) -> int:
        """Run a program as part of the present step."""
        return await self.processes.execute(argv, cwd, {**self._step_env, **env}, self.logs.write)

    # --- control ---

    def cancel(self, *, force: bool) -> None:
        """End: politely (steps with `always()` still run) or at once."""
        self.cancelled = True
        self.forced = self.forced or force
        if force:
            self.processes.kill()
        else:
            self.processes.interrupt()

    def _time_out(self) -> None:
        minutes = self.job.spec.timeout_minutes
        self.logs.write(f"##[error]The job has exceeded the maximum execution time of {minutes:g} minutes.")
        self.cancel(force=False)

    # --- the job ---

    async def run(self) -> tuple[Conclusion, dict[str, str]]:
        """Execute all steps; returns how the job ended and its outputs."""
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self.job.spec.timeout_minutes * _MINUTE, self._time_out)
        outputs: dict[str, str] = {}
        try:
            self._prepare()
            self._start_step("Set up job")
            self._set_up()
            self._end_step(Conclusion.SUCCESS)
            for spec in self.job.spec.steps:
                await self._step(spec)
            self._start_step("Complete job")
            outputs = self._outputs()
            self._end_step(Conclusion.SUCCESS)
        except ExpressionError as error:
            self.failed = True
            self.logs.write(f"##[error]{error}")
            self._end_step(Conclusion.FAILURE)
        finally:
            timer.cancel()
            await self._tear_down()
        if self.cancelled:
            return Conclusion.CANCELLED, outputs
        return (Conclusion.FAILURE if self.failed else Conclusion.SUCCESS), outputs

    def _prepare(self) -> None:
        for folder in (self.workspace, self.temp, self.home, self.folder / "tool-cache"):
            folder.mkdir(parents=True)
        hub, job, run = self.hub, self.job, self.job.run
        permissions = {k: v for k, v in job.permissions.items() if k != "id_token"}
        self.token = hub.tokens.for_job(run.repo, run.id, permissions)
        self.mask(self.token)
        if job.permissions.get("id_token") == "write":
            self._id_token = hub.oidc.open_for(job)
            self.mask(self._id_token[1])
        for secret in self._secrets().values():
            self.mask(secret)
        event = self.temp / "event.json"
        event.write_text(json.dumps(run.payload), encoding="utf-8")
        assert run.file is not None
        scope = self._scope()
        for name, template in run.file.env.items():
            self._env[name] = template.text(scope)
        scope = self._scope()
        for name, template in job.spec.env.items():
            self._env[name] = template.text(scope)

    def _set_up(self) -> None:
        job = self.job
        self.logs.write(f"Current runner: localhub on {platform.system()} {platform.machine()}")
        self.logs.write("##[group]GITHUB_TOKEN Permissions")
        for name, level in sorted(job.permissions.items()):
            self.logs.write(f"{name.replace('_', '-')}: {level}")
        self.logs.write("##[endgroup]")
        self.logs.write(f"Complete job name: {job.name}")

    def _secrets(self) -> dict[str, str]:
        actions, run = self.hub.actions, self.job.run
        if actions.from_fork(run):
            return {}
        name = self.job.environment
        environment = actions.environment(run.repo, name) if name else None
        return secrets_of(actions.settings(run.repo), environment)

    def _variables(self) -> dict[str, str]:
        actions, name = self.hub.actions, self.job.environment
        environment = actions.environment(self.job.run.repo, name) if name else None
        return variables_of(actions.settings(self.job.run.repo), environment)

    def _scope(self, env: Mapping[str, str] | None = None) -> Scope:
        status = "cancelled" if self.cancelled else ("failure" if self.failed else "success")
        runner: dict[str, Value] = {
            "name": "localhub",
            "os": "Linux",
            "arch": "X64",
            "temp": str(self.temp),
            "tool_cache": str(self.folder / "tool-cache"),
            "environment": "self-hosted" if self.job.self_hosted else "github-hosted",
        }
        job: dict[str, Value] = {"status": status, "check_run_id": self.job.id}
        github = github_context(self.hub, self.job.run, self.job, self.token)
        github["workspace"] = str(self.workspace)
        github["event_path"] = str(self.temp / "event.json")
        contexts: dict[str, Value] = {
            "github": github,
            "inputs": dict(self.job.run.inputs),
            "vars": dict(self._variables()),
            "secrets": {**self._secrets(), "GITHUB_TOKEN": self.token},
            "needs": needs_context(self.job.run, self.job.spec),
            "env": dict(self._env if env is None else env),
            "steps": dict(self._steps),
            "job": job,
            "runner": runner,
        }
        return Scope(contexts, failed=self.failed, cancelled=self.cancelled)

    # --- steps ---

    def _start_step(self, name: str) -> Step:
        step = Step(len(self.job.steps) + 1, self.logs.masked(name))
        self.job.steps.append(step)
        self.logs.open(step)
        self.hub.actions.step_started(step)
        return step

    def _end_step(self, conclusion: Conclusion) -> None:
        if self.job.steps:
            self.hub.actions.step_finished(self.job.steps[-1], conclusion)

    async def _step(self, spec: StepSpec) -> None:
        scope = self._scope()
        name = spec.name.text(scope) if spec.name is not None else spec.title()
        self._start_step(name)
        if self.forced or not truthy(spec.condition.evaluate(scope)):
            self._record(spec, Conclusion.SKIPPED, Conclusion.SKIPPED, {})
            return
        env = self._env | {key: t.text(scope) for key, t in spec.env.items()}
        files = {key: self.temp / f"{key.lower()}_{len(self.job.steps)}" for key in _FILES}
        for file in files.values():
            file.touch()
        self._step_env = self._environment(env, files)
        scope = self._scope(env)
        outcome, outputs = await self._attempt(spec, scope, env)
        try:
            outputs |= read_pairs(files["GITHUB_OUTPUT"])
            self._env |= read_pairs(files["GITHUB_ENV"])
            self._paths += read_list(files["GITHUB_PATH"])
        except FileCommandError as error:
            self.logs.write(f"##[error]{error}")
            outcome = Conclusion.FAILURE
        if self.cancelled and outcome is Conclusion.FAILURE:
            self.logs.write("##[error]The operation was canceled.")
            outcome = Conclusion.CANCELLED
        forgiven = spec.continue_on_error.flag(scope)
        conclusion = outcome
        if outcome is Conclusion.FAILURE and forgiven:
            conclusion = Conclusion.SUCCESS
        self._record(spec, outcome, conclusion, outputs)

    def _record(
        self,
        spec: StepSpec,
        outcome: Conclusion,
        conclusion: Conclusion,
        outputs: Mapping[str, str],
    ) -> None:
        self._end_step(conclusion)
        self.failed = self.failed or conclusion is Conclusion.FAILURE
        if spec.id is not None:
            self._steps[spec.id] = {
                "outcome": outcome.value,
                "conclusion": conclusion.value,
                "outputs": dict(outputs),
            }

    async def _attempt(self, spec: StepSpec, scope: Scope, env: Mapping[str, str]) -> tuple[Conclusion, dict[str, str]]:
        minutes = spec.timeout_minutes
        timed_out = False

        def give_up() -> None:
            nonlocal timed_out
            timed_out = True
            self.logs.write(f"##[error]The action has timed out after {minutes:g} minutes.")
            self.processes.interrupt()

        loop = asyncio.get_running_loop()
        timer = loop.call_later(minutes * _MINUTE, give_up) if minutes is not None else None
        try:
            if spec.uses is not None:
                outputs = await self._use(spec, scope, env)
                return (Conclusion.FAILURE if timed_out else Conclusion.SUCCESS), outputs
            code = await self._shell(spec, scope, env)
        except ActionFailedError as error:
            self.logs.write(f"##[error]{error}")
            return Conclusion.FAILURE, {}
        finally:
            if timer is not None:
                timer.cancel()
        if code != 0:
            self.logs.write(f"##[error]Process completed with exit code {code}.")
        return (Conclusion.SUCCESS if code == 0 else Conclusion.FAILURE), {}

    async def _use(self, spec: StepSpec, scope: Scope, env: Mapping[str, str]) -> dict[str, str]:
        assert spec.uses is not None
        inputs = {name: t.text(scope) for name, t in spec.with_.items()}
        self.logs.header(f"Run {spec.uses}", [], inputs=inputs, env=env)
        return await ACTIONS[split_uses(spec.uses)[0]].body(self, inputs)

    async def _shell(self, spec: StepSpec, scope: Scope, env: Mapping[str, str]) -> int:
        assert spec.run is not None
        text = spec.run.text(scope)
        shell = spec.shell or self.job.spec.shell
        script = self.temp / f"step_{len(self.job.steps)}.sh"
        script.write_text(text, encoding="utf-8")
        script.chmod(stat.S_IRWXU)
        command = SHELLS[shell]
        lines = text.strip().splitlines()
        shown = f"{shutil.which(command[0]) or command[0]} {' '.join(command[1:])} {{0}}"
        first = lines[0] if lines else ""
        self.logs.header(f"Run {first}", lines, shell=shown, env=env)
        folder = self._folder(spec.working_directory or self.job.spec.working_directory, scope)
        return await self.execute([*command, str(script)], folder, {})

    def _folder(self, template: Template | None, scope: Scope) -> Path:
        folder = self.workspace / template.text(scope) if template else self.workspace
        if not folder.is_dir():
            raise ActionFailedError(f"The working directory {folder} does not exist")
        return folder

    def _environment(self, env: Mapping[str, str], files: Mapping[str, Path]) -> dict[str, str]:
        context = github_context(self.hub, self.job.run, self.job)
        names = {key for key, value in context.items() if isinstance(value, str) and key != "token"}
        github = {f"GITHUB_{key.upper()}": to_text(context[key]) for key in names}
        github["GITHUB_REF_PROTECTED"] = to_text(context["ref_protected"])
        system = [str(self.home / ".local" / "bin"), str(self.tools), *_system_path()]
        path = os.pathsep.join([*reversed(self._paths), *system])
        out = {"PATH": path, "HOME": str(self.home), "LANG": "C.UTF-8"} | dict(env)
        if self._paths and "PATH" in env:
            out["PATH"] = os.pathsep.join([*reversed(self._paths), env["PATH"]])
        out |= github | {key: str(file) for key, file in files.items()}
        out |= {
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_WORKSPACE": str(self.workspace),
            "GITHUB_EVENT_PATH": str(self.temp / "event.json"),
            "RUNNER_OS": "Linux",
            "RUNNER_ARCH": "X64",
            "RUNNER_NAME": "localhub",
            "RUNNER_ENVIRONMENT": "self-hosted" if self.job.self_hosted else "github-hosted",
            "RUNNER_TEMP": str(self.temp),
            "RUNNER_TOOL_CACHE": str(self.folder / "tool-cache"),
            "GIT_CONFIG_NOSYSTEM": "1",
        }
        if self._id_token is not None:
            out["ACTIONS_ID_TOKEN_REQUEST_URL"] = self._id_token[0]
            out["ACTIONS_ID_TOKEN_REQUEST_TOKEN"] = self._id_token[1]
        return out

    # --- the end ---

    def _outputs(self) -> dict[str, str]:
        scope, outputs = self._scope(), {}
        for name, template in self.job.spec.outputs.items():
            value = template.text(scope)
            if self.logs.masked(value) != value:
                self.logs.write(f"##[warning]Skip output '{name}' since it may contain secret.")
            else:
                outputs[name] = value
        return outputs

    async def _tear_down(self) -> None:
        await self.processes.close()
        self.hub.tokens.revoke(self.token)
        if self._id_token is not None:
            self.hub.oidc.close(self._id_token[1])
        await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)


def _system_path() -> list[str]:
    """The PATH of this process without the virtual environment it may run in."""
    own = str(Path(sys.prefix) / "bin")
    entries = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return [entry for entry in entries if entry and entry != own]
