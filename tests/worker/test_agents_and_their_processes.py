"""The adapters and what runs their processes: contracts, endings, output, isolation."""

from __future__ import annotations

import asyncio
import os
import select
import signal
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bot.domain.model import FailureReason
from bot.errors import TgsError, UserError
from bot.worker import isolation
from bot.worker.adapters import ADAPTERS, adapter_named
from bot.worker.adapters.base import AgentResult, Session
from bot.worker.adapters.scripted import parse_script
from bot.worker.isolation import Isolation, OtherUid, SameUser, SudoUser
from bot.worker.log import RunLog, log_name
from bot.worker.outputs import Outputs
from bot.worker.process import MAX_LINE, Ending, Graces, LineSplitter, OutputLimit, run
from bot.worker.workspace import Workspace, agent_environment, create, fill, read_agent_file
from tests.worker.support import LIMIT, NOW, THOUGHT, Origin, context, git, make_origin

SH = {"PATH": os.environ["PATH"]}


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    return make_origin(tmp_path / "hub")


class World:
    """A filled workspace and what the agent said."""

    def __init__(self, origin: Origin, place: Workspace) -> None:
        self.origin = origin
        self.place = place
        self.stop = asyncio.Event()
        self.progress: list[tuple[int, int, str]] = []
        self.lines: list[str] = []

    def session(self, seconds: float = LIMIT, **changes: Any) -> Session:
        bundle = context(self.origin, **changes)
        return Session(
            context=bundle,
            workspace=self.place,
            work=self.place.work,
            launcher=SameUser(),
            environment=agent_environment(self.place, bundle),
            stop=self.stop,
            deadline=asyncio.get_running_loop().time() + seconds,
            progress=lambda *p: self.progress.append(p),
            on_line=self.lines.append,
            graces=lambda: Graces(5, 5),
        )

    async def script(self, text: str, **changes: Any) -> AgentResult:
        (self.place.work / "s.yml").write_text(text)
        agent = {"adapter": "scripted", "command": ["s.yml"]}
        return await ADAPTERS["scripted"].run(self.session(**({"agent": agent} | changes)))


@pytest.fixture
async def world(origin: Origin, tmp_path: Path) -> AsyncIterator[World]:
    place = create(tmp_path)
    await fill(place, context(origin), origin.source, SameUser())
    yield World(origin, place)
    await SameUser().remove(place.root)


# --- adapters


def test_the_table_of_adapters_is_what_errors_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"claude-code, command, scripted; or add tgs/adapters/magic\.sh"):
        adapter_named("magic", tmp_path)
    assert set(ADAPTERS) == {"claude-code", "command", "scripted"}


async def test_a_command_gets_the_context_by_stdin_and_file_and_a_bare_environment(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "must-not-pass")
    monkeypatch.setenv("ACTIONS_RUNTIME_TOKEN", "must-not-pass")
    script = "cat > in.json; grep -q att-1 in.json; grep -q att-1 $TGS_CONTEXT; env > env.txt"
    result = await ADAPTERS["command"].run(world.session(agent={"command": ["sh", "-ec", script]}))
    assert result.succeeded, (result, world.lines)
    names = {line.split("=")[0] for line in (world.place.work / "env.txt").read_text().splitlines()}
    allowed = {"PATH", "LANG", "LC_ALL", "TZ", "HOME", "TMPDIR", "CI", "PWD", "OLDPWD", "SHLVL", "_"}
    assert {n for n in names if not n.startswith(("TGS_", "GIT_"))} <= allowed
    ours = {"TGS_CONTEXT", "TGS_RESULT", "TGS_STEER", "TGS_TRANSCRIPT"}
    assert {n for n in names if n.startswith("TGS_")} == ours


async def test_progress_lines_are_taken_out_of_the_output(world: World) -> None:
    script = "echo one; echo '::tgs progress 2/5 tests'; echo '::tgs progress x/5'; echo two >&2"
    await ADAPTERS["command"].run(world.session(agent={"command": ["sh", "-c", script]}))
    assert world.progress == [(2, 5, "tests")]
    assert world.lines == ["one", "::tgs progress x/5", "two"]


async def test_a_command_that_cannot_be_started_names_the_setting(world: World) -> None:
    with pytest.raises(UserError, match=r"agent\.command"):
        await ADAPTERS["command"].run(world.session(agent={"command": ["/nonexistent/agent"]}))
    with pytest.raises(UserError, match=r"agent\.command"):
        await ADAPTERS["command"].run(world.session(agent={"command": []}))


async def test_a_script_really_edits_and_commits(world: World) -> None:
    result = await world.script(
        """
        steps:
          - progress: {step: 1, total: 2, text: writing}
          - write: {path: src/deep/new.py, content: "x = 1"}
          - append: {path: README.md, content: "more"}
          - delete: src/app.py
          - run: "echo '::tgs progress 2/2 ran'"
          - commit: Do it
        summary: all done
        """
    )
    assert result == AgentResult("all done")
    assert world.progress == [(1, 2, "writing"), (2, 2, "ran")]
    assert git(world.place.work, "log", "-1", "--format=%s") == "Do it"
    assert git(world.place.work, "show", "HEAD:README.md") == "# Project\nmore"
    assert "src/app.py" not in git(world.place.work, "ls-tree", "-r", "--name-only", "HEAD")


async def test_a_script_in_the_thoughts_folder_is_found(world: World) -> None:
    (world.place.work / THOUGHT / "script.json").write_text('{"steps": [{"run": "true"}]}')
    assert (await ADAPTERS["scripted"].run(world.session(agent={"adapter": "scripted"}))).succeeded


@pytest.mark.parametrize(("number", "reason"), [(1, FailureReason.QUOTA_PROVIDER), (2, None)])
async def test_a_script_can_fail_on_one_attempt_only(number: int, reason: FailureReason | None, world: World) -> None:
    text = "steps: [{fail: {reason: quota.provider, detail: busy}, on_attempts: [1]}]"
    assert (await world.script(text, number=number)).reason is reason


async def test_a_failing_command_of_a_script_ends_it(world: World) -> None:
    result = await world.script("steps: [{run: exit 3}, {write: {path: never}}]")
    assert (result.reason, "exit code 3" in result.detail) == (FailureReason.AGENT_CRASH, True)
    assert not (world.place.work / "never").exists()


async def test_a_waiting_script_ends_when_asked_and_when_its_time_is_over(world: World) -> None:
    job = asyncio.create_task(world.script("steps: [{progress: {step: 1, total: 1}}, {wait: 3600}]"))
    world.stop.set()
    async with asyncio.timeout(LIMIT):
        assert (await job).succeeded
    world.stop.clear()
    agent = {"adapter": "scripted", "command": ["s.yml"]}
    late = await ADAPTERS["scripted"].run(world.session(seconds=0.05, agent=agent))
    assert late.reason is FailureReason.AGENT_TIMEOUT


SCRIPTS = {
    "two actions in one step": ("steps: [{run: a, commit: b}]", "steps.0"),
    "an unknown action": ("steps: [{dance: now}]", "steps.0.dance"),
    "no YAML": ("steps: [", "not valid YAML"),
    "an unknown reason": ("steps: [{fail: {reason: bored}}]", "steps.0.fail.reason"),
}


@pytest.mark.parametrize(("text", "words"), SCRIPTS.values(), ids=SCRIPTS.keys())
def test_a_wrong_script_names_file_and_place(text: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_script(text, "script.yml")
    assert str(caught.value).startswith("script.yml")
    assert words in str(caught.value)


# --- processes


async def sh(script: str, tmp_path: Path, on_output: Callable[[bytes], None] = lambda _: None, **options: Any) -> Any:
    stop = options.pop("stop", asyncio.Event())
    async with asyncio.timeout(LIMIT):
        return await run(
            SameUser(), ["sh", "-c", script], cwd=tmp_path, env=SH, stop=stop, on_output=on_output, **options
        )


def ends(pid: int) -> bool:
    """Whether the process is gone, or is gone within the limit: a killed process takes a moment to die."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], LIMIT)[0])
    finally:
        os.close(handle)


async def test_output_larger_than_a_pipe_is_read_to_the_end(tmp_path: Path) -> None:
    seen: list[bytes] = []
    finished = await sh("head -c 3000000 /dev/zero; exit 4", tmp_path, seen.append)
    assert (finished.code, finished.ending, sum(map(len, seen))) == (4, Ending.BY_ITSELF, 3_000_000)


async def test_a_grandchild_that_keeps_the_pipe_open_does_not_hold_the_job(tmp_path: Path) -> None:
    finished = await sh("sleep 3600 & echo $! > pid; exit 0", tmp_path)
    assert finished.ending is Ending.BY_ITSELF
    pid = int((tmp_path / "pid").read_text())
    assert ends(pid)


async def test_the_signals_come_in_order_of_politeness(tmp_path: Path) -> None:
    script = "trap 'echo int' INT; trap 'echo term' TERM; echo ready; while :; do sleep 0.02; done"
    seen: list[bytes] = []
    stop = asyncio.Event()

    def output(chunk: bytes) -> None:
        seen.append(chunk)
        stop.set()

    finished = await sh(script, tmp_path, output, stop=stop, graces=lambda: Graces(0.2, 0.2))
    said = [line for line in b"".join(seen).split() if line in {b"ready", b"int", b"term"}]
    assert said == [b"ready", b"int", b"term"]
    assert (finished.ending, finished.code) == (Ending.STOPPED, -signal.SIGKILL)


async def test_a_process_that_saves_its_work_on_the_first_signal_ends_by_its_own_code(tmp_path: Path) -> None:
    stop = asyncio.Event()
    script = "trap 'echo saved > saved; exit 7' INT; echo ready; while :; do sleep 0.02; done"
    finished = await sh(script, tmp_path, lambda _: stop.set(), stop=stop)
    assert (finished.code, (tmp_path / "saved").exists()) == (7, True)


async def test_a_process_over_its_time_is_stopped(tmp_path: Path) -> None:
    finished = await sh("exec sleep 3600", tmp_path, seconds=0.05)
    assert finished.ending is Ending.TIMED_OUT


async def test_a_sink_that_takes_no_more_stops_the_process(tmp_path: Path) -> None:
    def full(_: bytes) -> None:
        raise OutputLimit

    with pytest.raises(OutputLimit):
        await sh("while :; do echo x; done", tmp_path, full, graces=lambda: Graces(1, 1))


def test_lines_are_bounded_and_complete() -> None:
    lines: list[str] = []
    splitter = LineSplitter(lines.append)
    for chunk in (b"a\nb", b"c\n\n", b"x" * (MAX_LINE + 5), b"\nlast \xff"):
        splitter.feed(chunk)
    splitter.close()
    assert lines == ["a", "bc", "", "x" * MAX_LINE, "x" * 5, "last \ufffd"]


# --- isolation


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give the agent a user id of its own")
async def test_the_probe_believes_what_it_sees(tmp_path: Path) -> None:
    place = create()
    try:
        secret = place.private / "probe"
        assert await isolation.probe(OtherUid("a"), secret, place.root) is Isolation.USER
        assert await isolation.probe(SameUser(), secret, place.root) is Isolation.NONE
        open_file = place.root / "open"
        open_file.write_text("anyone may read this\n")
        assert await isolation.probe(OtherUid("a"), open_file, place.root) is Isolation.NONE
        assert await isolation.probe(OtherUid("a"), secret, place.private) is Isolation.NONE
    finally:
        await SameUser().remove(place.root)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give the agent a user id of its own")
async def test_what_an_agent_leaves_running_in_another_session_is_killed(tmp_path: Path) -> None:
    launcher = OtherUid(str(tmp_path))
    seen: list[bytes] = []
    async with asyncio.timeout(LIMIT):
        await run(
            launcher, ["sh", "-c", "setsid sh -c 'echo $$; exec sleep 3600' & read x < /dev/null; sleep 0.2"],
            cwd=Path("/"), env=SH, stop=asyncio.Event(), on_output=seen.append,
        )  # fmt: skip
    assert ends(int(b"".join(seen)))


@pytest.mark.skipif(os.geteuid() != 0, reason="the stand-in for sudo changes the user id")
async def test_with_sudo_the_agent_is_another_user_and_the_environment_stays_out_of_argv(tmp_path: Path) -> None:
    """A stand-in for sudo that does what the options say; the real one is not on every machine."""
    sudo = tmp_path / "sudo"
    sudo.write_text(
        '#!/bin/sh\necho "$@" >> "$(dirname "$0")/calls"\nuser=\n'
        'while [ "$1" != -- ]; do [ "$1" = -u ] && { user=$2; shift; }; shift; done; shift\n'
        'case "$1" in id|useradd) exit 0;; chown) shift 3; exec chown -hR 61199:0 "$@";; esac\n'
        '[ -z "$user" ] && exec "$@"\nexec setpriv --reuid 61199 --regid 61199 --clear-groups -- "$@"\n'
    )
    sudo.chmod(0o755)
    launcher = SudoUser(str(sudo))
    await launcher.prepare()
    place = create()
    try:
        assert await isolation.probe(launcher, place.private / "probe", place.root) is Isolation.USER
        await launcher.give(place.box)
        assert oct(place.box.stat().st_mode) == "0o42750"
        assert (place.box.stat().st_uid, place.box.stat().st_gid) == (61199, 0)
        read, write = os.pipe()
        process = await launcher.start(
            ["sh", "-c", "echo $MARK $TMPDIR; pwd; env | grep -c SUDO_; touch made"], cwd=place.box,
            env={**SH, "MARK": "seen-by-the-agent", "TMPDIR": "/agents", "SUDO_USER": "x"},
            stdin=asyncio.subprocess.DEVNULL, stdout=write, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        os.close(write)
        await process.wait()
        with os.fdopen(read, "rb") as out:
            assert out.read().decode().split() == ["seen-by-the-agent", "/agents", str(place.box), "0"]
        assert (place.box / "made").stat().st_gid == 0
    finally:
        await launcher.remove(place.root)
    assert not place.root.exists()
    assert "seen-by-the-agent" not in (tmp_path / "calls").read_text()


async def test_without_sudo_there_is_no_isolation(tmp_path: Path) -> None:
    with pytest.raises(TgsError):
        await SudoUser(str(tmp_path / "no-sudo")).prepare()


# --- files, log, outputs

EVIL_FILES: dict[str, Callable[[Path], object]] = {
    "a link": lambda p: p.symlink_to("/etc/passwd"),
    "a folder": lambda p: p.mkdir(),
    "a named pipe": os.mkfifo,
    "a huge file": lambda p: p.write_bytes(b"x" * 101),
}


@pytest.mark.parametrize("make", EVIL_FILES.values(), ids=EVIL_FILES.keys())
def test_a_file_of_the_agent_is_not_trusted_to_be_a_file(make: Callable[[Path], object], tmp_path: Path) -> None:
    make(tmp_path / "result.json")
    with pytest.raises(UserError):
        read_agent_file(tmp_path / "result.json", 100)
    assert read_agent_file(tmp_path / "absent", 100) is None


def test_steering_does_not_follow_a_link_of_the_agents(tmp_path: Path) -> None:
    place = create(tmp_path)
    place.steer("first")
    assert place.steer_file.read_text() == '"first"\n'
    victim = tmp_path / "victim"
    victim.write_text("")
    place.steer_file.unlink()
    place.steer_file.symlink_to(victim)
    place.steer("second")
    assert victim.read_text() == ""


def test_the_log_is_bounded_redacted_and_named_after_the_item(tmp_path: Path) -> None:
    name = log_name("../weird name\n", NOW + timedelta(hours=1))
    assert name == "weird-name-20260304T060607Z.log"
    log = RunLog(tmp_path / name, lambda: NOW, limit=300)
    log.hide("sesame-open")
    log.info("said", text="sesame-open ghs_0123456789abcdefghijklmn")
    for _ in range(20):
        log.info("again", text="x" * 50)
    log.close()
    text = (tmp_path / name).read_text()
    assert "sesame" not in text
    assert "ghs_" not in text
    assert text.count("log limit reached") == 1
    assert len(text) < 500


@pytest.mark.parametrize("value", ["a\nforged=1", "a\r", "\x1b[0m"])
def test_an_output_cannot_forge_another(value: str, tmp_path: Path) -> None:
    outputs = Outputs({"GITHUB_OUTPUT": str(tmp_path / "out")})
    with pytest.raises(TgsError):
        outputs.write("name", value)
    outputs.write("name", "good")
    assert (tmp_path / "out").read_text() == "name=good\n"
