"""The three jobs as the workflow calls them: real processes, exit codes, outputs; and trying out an agent by hand."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest
import typer

from bot.cli import worker
from bot.cli.exits import Exit
from bot.worker.api import ApiDown
from tests.worker.support import (
    BASE_FILES,
    HANDOFF,
    LIMIT,
    PUSH_TOKEN,
    READ_TOKEN,
    THOUGHT,
    FakeBot,
    Origin,
    context,
    fake_bot,
    git,
    make_origin,
)

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = (ROOT / "examples/agents/echo_agent.py").read_text()


@dataclass
class Ran:
    code: int
    out: str
    err: str


async def tgs(module: str, *args: str, env: Mapping[str, str], cwd: Path) -> Ran:
    process = await start(module, *args, env=env, cwd=cwd)
    async with asyncio.timeout(LIMIT):
        out, err = await process.communicate()
    return Ran(process.returncode or 0, out.decode(), err.decode())


async def tgs_here(module: str, *args: str, env: Mapping[str, str]) -> Ran:
    """The same in this process, which is ten times quicker: for what starts no process and waits for no signal."""

    def call() -> Ran:
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err), pytest.MonkeyPatch.context() as patch:
            given = {"PATH": os.environ["PATH"], **env}
            for name in {*os.environ} - {*given}:
                patch.delenv(name)
            for name, value in given.items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as end:
                import_module(f"bot.cli.{module}").app(list(args))
        return Ran(int(end.value.code or 0), out.getvalue(), err.getvalue())

    return await asyncio.to_thread(call)


async def start(module: str, *args: str, env: Mapping[str, str], cwd: Path) -> asyncio.subprocess.Process:
    code = f"from bot.cli.{module} import app; app()"
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, *args, cwd=cwd,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **env},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


def identity(bot: FakeBot) -> dict[str, str]:
    return {
        "TGS_SERVER_URL": bot.url,
        "ACTIONS_ID_TOKEN_REQUEST_URL": f"{bot.url}/oidc",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "runner-secret",
    }


def agent_env(bot: FakeBot, origin: Origin, tmp_path: Path, outputs: Mapping[str, str]) -> dict[str, str]:
    return {
        "TGS_SERVER_URL": bot.url,
        "TGS_ATTEMPT": outputs["attempt"],
        "TGS_FENCE": outputs["fence"],
        "TGS_HANDOFF": outputs["handoff"],
        "TGS_SOURCE": str(origin.source),
        "TGS_OUT": str(tmp_path / "out"),
        "GITHUB_OUTPUT": str(tmp_path / "agent.out"),
        "ANTHROPIC_API_KEY": "model-key-0123456789",
    }


def read_outputs(path: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in path.read_text().splitlines()) if path.exists() else {}


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    return make_origin(tmp_path / "hub", {**BASE_FILES, "agent.py": EXAMPLE})


AGENT = {"adapter": "command", "command": ["python3", "agent.py"]}
ACTIVE = {"attempt": "att-1", "fence": "3", "handoff": HANDOFF}


async def test_the_three_jobs_take_an_item_from_claim_to_branch(origin: Origin, tmp_path: Path) -> None:
    async with fake_bot(origin, agent=AGENT) as bot:
        env = identity(bot) | {
            "TGS_CLAIM_ID": "claim-1",
            "TGS_ISSUE": "7",
            "GITHUB_OUTPUT": str(tmp_path / "start.out"),
        }
        first = await tgs("worker", "start", env=env, cwd=tmp_path)
        assert first.code == 0, first
        assert bot.named("activate")[0].body == {"claim_id": "claim-1", "issue": 7, "handoff": bot.handoff}
        assert bot.named("activate")[0].bearer == f"oidc:{bot.url}/start:1"
        started = read_outputs(tmp_path / "start.out")
        assert started == {**ACTIVE, "handoff": bot.handoff, "issue": "7"}

        second = await tgs("worker", "run", env=agent_env(bot, origin, tmp_path, started), cwd=tmp_path)
        assert second.code == 0, second
        done = read_outputs(tmp_path / "agent.out")

        env = identity(bot) | {
            "TGS_ATTEMPT": "att-1", "TGS_FENCE": "3", "TGS_AGENT_RESULT": "success",
            "TGS_BUNDLE_DIGEST": done["bundle_digest"], "TGS_IN": str(tmp_path / "out/bundle"),
            "TGS_READ_TOKEN": READ_TOKEN,
        }  # fmt: skip
        third = await tgs("worker", "publish", env=env, cwd=tmp_path)
        assert third.code == 0, third
    branch = origin.branch_sha()
    assert branch is not None
    assert bot.named("published")[0].body["head_sha"] == branch
    assert f"{THOUGHT}/implementation.md" in git(origin.bare, "ls-tree", "-r", "--name-only", branch)
    assert not any(s in str((first, second, third)) for s in (bot.token, bot.handoff, PUSH_TOKEN, READ_TOKEN))
    log = (tmp_path / "out/log" / done["log_name"]).read_text()
    assert "model-key" not in log


async def test_a_run_nobody_asked_for_ends_well_without_outputs(origin: Origin, tmp_path: Path) -> None:
    async with fake_bot(origin) as bot:
        bot.errors["activate"] = (204, "")
        ran = await tgs_here("worker", "start", env=identity(bot) | {"GITHUB_OUTPUT": str(tmp_path / "o")})
    assert (ran.code, ran.out.strip(), read_outputs(tmp_path / "o")) == (0, "Nothing to do.", {})


ENDS = {
    "a lost claim is exit code 5": ((409, "lost_claim"), 5, "claim is lost"),
    "a refusal is exit code 6": ((403, "refused"), 6, "refused"),
    "an unknown problem is exit code 7": ((422, "invalid"), 7, "invalid"),
}


@pytest.mark.parametrize(("error", "code", "words"), ENDS.values(), ids=ENDS.keys())
async def test_the_bots_answer_decides_the_exit_code(
    error: tuple[int, str], code: int, words: str, origin: Origin, tmp_path: Path
) -> None:
    async with fake_bot(origin) as bot:
        bot.errors["activate"] = error
        ran = await tgs_here("worker", "start", env=identity(bot))
    assert ran.code == code
    assert words in ran.err
    assert len(ran.err.splitlines()) == 1


def test_a_bot_that_is_down_is_exit_code_7(capsys: pytest.CaptureFixture[str]) -> None:
    """In this process: the command itself asks again for some seconds first."""

    async def job() -> Exit:
        raise ApiDown("POST /runs/activate: the bot answered 503")

    with pytest.raises(typer.Exit) as ended:
        worker._finish("https://tgs.example.org", job)
    assert ended.value.exit_code == 7
    assert "could not be asked" in capsys.readouterr().err


MISUSE = {
    "a job without an identity": ({"ACTIONS_ID_TOKEN_REQUEST_URL": ""}, "id-token: write"),
    "a claim id with a line break": ({"TGS_CLAIM_ID": "a\nb"}, "claim_id"),
    "an issue that is no number": ({"TGS_ISSUE": "#7"}, "number"),
    "a server without encryption": ({"TGS_SERVER_URL": "http://tgs.example.org"}, "encrypted"),
}


@pytest.mark.parametrize(("change", "words"), MISUSE.values(), ids=MISUSE.keys())
async def test_wrong_use_is_exit_code_2_with_the_remedy(
    change: dict[str, str], words: str, origin: Origin, tmp_path: Path
) -> None:
    async with fake_bot(origin) as bot:
        ran = await tgs_here("worker", "start", env=identity(bot) | change)
        assert bot.calls == []
    assert ran.code == 2
    assert words in ran.err


async def test_a_signal_of_the_runner_ends_the_agent_and_is_reported(origin: Origin, tmp_path: Path) -> None:
    command = ["sh", "-c", "echo '::tgs progress 1/1 on'; while :; do sleep 0.05; done"]
    async with fake_bot(origin, agent={"adapter": "command", "command": command}) as bot:
        bot.heartbeat_seconds = 0.05
        process = await start("worker", "run", env=agent_env(bot, origin, tmp_path, ACTIVE), cwd=tmp_path)
        async with asyncio.timeout(LIMIT), bot.changed:
            await bot.changed.wait_for(lambda: any(c.body["progress"] for c in bot.named("heartbeat")))
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(LIMIT):
            out, _ = await process.communicate()
        assert bot.named("report")[0].body["reason"] == "cancelled.actions_ui"
    assert process.returncode == 1
    assert b"cancelled.actions_ui" in out


async def test_a_refused_agent_is_exit_code_6_and_leaves_no_bundle(origin: Origin, tmp_path: Path) -> None:
    command = ["sh", "-c", "echo x > .github/workflows/own.yml"]
    async with fake_bot(origin, agent={"adapter": "command", "command": command}) as bot:
        ran = await tgs("worker", "run", env=agent_env(bot, origin, tmp_path, ACTIVE), cwd=tmp_path)
    assert ran.code == 6
    assert ".github/workflows/own.yml" in ran.out
    assert "bundle_digest" not in read_outputs(tmp_path / "agent.out")


async def test_an_agent_can_be_tried_out_by_hand(origin: Origin, tmp_path: Path) -> None:
    file = tmp_path / "context.json"
    file.write_text(context(origin, agent=AGENT, allow_unisolated=False).model_dump_json())
    args = ("exec", "--context", str(file), "--adapter", "command", "--work", str(origin.source))
    refused = await tgs_here("agent", *args, env={})
    assert (refused.code, "--allow-unisolated" in refused.err) == (6, True)
    ran = await tgs("agent", *args, "--allow-unisolated", env={}, cwd=tmp_path)
    assert ran.code == 0, ran
    assert json.loads(ran.out)["summary"] == f"Wrote {THOUGHT}/implementation.md."
    assert "1/2 reading the plan" in ran.err
    assert git(origin.source, "log", "-1", "--format=%s") == "Answer: Add search"


@pytest.mark.parametrize(
    ("text", "words"), [("{}", "attempt: Field required"), ("nonsense", "Invalid JSON")], ids=["empty", "no JSON"]
)
async def test_a_wrong_context_file_names_the_place(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "context.json"
    file.write_text(text)
    ran = await tgs_here("agent", "exec", "--context", str(file), env={})
    assert ran.code == 2
    assert words in ran.err


async def test_a_run_that_was_started_to_publish_lets_no_agent_work(origin: Origin, tmp_path: Path) -> None:
    async with fake_bot(origin) as bot:
        env = identity(bot) | {
            "TGS_CLAIM_ID": "claim-1", "TGS_PUBLISH_ONLY": "true", "GITHUB_OUTPUT": str(tmp_path / "o"),
        }  # fmt: skip
        bot.activation = {"publish_only": True, "bundle_digest": "a" * 64}
        ran = await tgs_here("worker", "start", env=env)
        assert ran.code == 0, ran
        outputs = read_outputs(tmp_path / "o")
        assert (outputs["publish_only"], outputs["bundle_digest"], "handoff" in outputs) == ("true", "a" * 64, False)
        (tmp_path / "o").unlink()
        bot.activation = {}
        ran = await tgs_here("worker", "start", env=env)
        assert (ran.code, read_outputs(tmp_path / "o")) == (5, {})
