"""The contract of adapters, as docs/adapters.md has it, held to `tgs agent exec` with each way of naming a program."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from bot.domain.bundle import ContextBundle
from bot.worker.adapters.command import OWN_REASONS, ResultFile
from tests.docs.pages import ROOT, Block, blocks
from tests.worker.support import BASE_FILES, Origin, context, git, make_origin
from tests.worker.test_commands_of_the_jobs import Ran, tgs, tgs_here

FAKE = """\
cat > from-stdin.json
cp "$TGS_CONTEXT" from-file.json
env | sort > environment.txt
pwd > where.txt
test -f "$TGS_STEER"
echo "::tgs progress 1/2 half way"
echo "plain words"
mode=$(cat mode 2>/dev/null || true)
case "$mode" in
  result)
    printf '{"outcome": "failed", "summary": "S", "reason": "agent.no_evidence", "detail": "D"}' > "$TGS_RESULT"
    exit 0 ;;
  exit) exit 3 ;;
esac
"""
"""A program that writes down what it gets and ends as the file `mode` says."""

WAYS = {
    "a command": ("command", ["sh", "fake.sh"]),
    "a script of the repository": ("fake", []),
    "an executable of the repository": ("fake-too", []),
}


def repository(tmp_path: Path) -> Origin:
    origin = make_origin(tmp_path / "hub", {**BASE_FILES, "fake.sh": FAKE, "tgs/adapters/fake.sh": FAKE})
    executable = origin.source / "tgs" / "adapters" / "fake-too"
    executable.write_text("#!/bin/sh\n" + FAKE)
    executable.chmod(0o755)
    return origin


async def exec_(
    origin: Origin, tmp_path: Path, adapter: str, command: list[str], **env: str
) -> tuple[Ran, ContextBundle]:
    bundle = context(origin, agent={"adapter": "scripted", "command": command}, allow_unisolated=False)
    file = tmp_path / "context.json"
    file.write_text(bundle.model_dump_json())
    args = ("exec", "--context", str(file), "--adapter", adapter, "--work", str(origin.source), "--allow-unisolated")
    return await tgs("agent", *args, env={"GITHUB_TOKEN": "ghp_must-not-pass-0123456789", **env}, cwd=tmp_path), bundle


@pytest.mark.parametrize(("adapter", "command"), WAYS.values(), ids=WAYS.keys())
async def test_it_gets_the_context_twice_files_and_a_bare_environment(
    adapter: str, command: list[str], tmp_path: Path
) -> None:
    origin = repository(tmp_path)
    ran, bundle = await exec_(origin, tmp_path, adapter, command)
    assert ran.code == 0, ran
    assert json.loads(ran.out) == {"succeeded": True, "summary": "", "reason": None, "detail": ""}
    given = [ContextBundle.model_validate_json((origin.source / name).read_text()) for name in
             ("from-stdin.json", "from-file.json")]  # fmt: skip
    assert given == [bundle, bundle]
    assert (origin.source / "where.txt").read_text().strip() == str(origin.source)
    environment = (origin.source / "environment.txt").read_text()
    assert "CI=true" in environment
    assert "must-not-pass" not in environment
    assert "1/2 half way" in ran.err
    assert "plain words" in ran.err


@pytest.mark.parametrize(("adapter", "command"), WAYS.values(), ids=WAYS.keys())
async def test_the_result_file_goes_before_the_exit_code(adapter: str, command: list[str], tmp_path: Path) -> None:
    origin = repository(tmp_path)
    (origin.source / "mode").write_text("result")
    ran, _ = await exec_(origin, tmp_path, adapter, command)
    assert (ran.code, json.loads(ran.out)) == (
        1, {"succeeded": False, "summary": "S", "reason": "agent.no_evidence", "detail": "D"},
    )  # fmt: skip
    (origin.source / "mode").write_text("exit")
    ran, _ = await exec_(origin, tmp_path, adapter, command)
    assert (ran.code, json.loads(ran.out)["reason"]) == (1, "agent.crash")
    assert "exit code 3" in json.loads(ran.out)["detail"]


async def test_the_script_of_the_page_works(tmp_path: Path) -> None:
    [script] = [block for block in blocks("sh") if block.mark == "adapter"]
    origin = make_origin(tmp_path / "hub", {**BASE_FILES, "tgs/adapters/notes.sh": script.text})
    ran, bundle = await exec_(origin, tmp_path, "notes", [])
    assert json.loads(ran.out)["summary"] == "Wrote notes/title.txt."
    assert (origin.source / "notes" / "title.txt").read_text().strip() == bundle.title
    assert "2/2 saying so" in ran.err


def test_the_question_of_the_page_is_understood(tmp_path: Path) -> None:
    [script] = [block for block in blocks("sh") if block.mark == "asks"]
    result = tmp_path / "result.json"
    environment = {"HOME": str(tmp_path), "TGS_RESULT": str(result), "PATH": os.environ["PATH"]}
    subprocess.run(["sh", "-eu", "-c", script.text], env=environment, check=True)
    said = ResultFile.model_validate_json(result.read_bytes())
    assert (said.outcome, said.session, [q.id for q in said.questions]) == ("asked", "talk-1", ["name"])
    assert said.transcript is not None
    assert Path(said.transcript).is_file()


WRONG = ["none", "../fake", "Fake", "fake-three", "", "a b"]


@pytest.mark.parametrize("name", WRONG, ids=repr)
async def test_a_name_that_is_neither_is_wrong_use(name: str, tmp_path: Path) -> None:
    origin = repository(tmp_path)
    (origin.source / "tgs" / "fake.sh").write_text("touch ran")
    (origin.source / "tgs" / "adapters" / "fake-three").write_text("not executable")
    bundle = context(origin, agent={"adapter": name or "nothing"})
    file = tmp_path / "context.json"
    file.write_text(bundle.model_dump_json())
    ran = await tgs_here(
        "agent", "exec", "--context", str(file), "--work", str(origin.source), *(("--adapter", name) if name else ()),
        env={},
    )  # fmt: skip
    assert ran.code == 2, ran
    assert "command, scripted" in ran.err
    assert not (origin.source / "ran").exists()


def test_a_script_cannot_take_the_place_of_a_built_in_adapter(tmp_path: Path) -> None:
    from bot.worker.adapters import ADAPTERS, adapter_named

    (tmp_path / "tgs" / "adapters").mkdir(parents=True)
    (tmp_path / "tgs" / "adapters" / "command.sh").write_text("true")
    assert adapter_named("command", tmp_path) is ADAPTERS["command"]


def test_the_page_names_every_reason_that_an_agent_may_give() -> None:
    page = (ROOT / "docs" / "adapters.md").read_text("utf-8")
    assert [reason.value for reason in OWN_REASONS if f"`{reason.value}`" not in page] == []


def test_the_gate_keeps_attempts_away_from_the_adapters() -> None:
    from bot.worker.gate_paths import ProtectedPaths

    rules = ProtectedPaths((), thought_dir=None)
    assert rules.rule_for("tgs/adapters/notes.sh") is not None
    assert rules.rule_for("TGS/Adapters/notes.sh") is not None
    assert rules.rule_for("src/tgs/adapters/notes.sh") is None


AGENTS = [block for block in blocks("sh") if block.mark.startswith("agent ")]
PROGRAM = """\
#!/bin/sh
[ "$1" = {first} ] || exit 3
{{ cat; printf '%s' "$@"; }} | grep -q '"title": "Add search"' || exit 4
echo 'work' > made.txt && git add made.txt && git commit -qm 'Work of {name}'
"""


@pytest.mark.parametrize("block", AGENTS, ids=lambda block: block.mark)
async def test_the_scripts_for_other_agents_start_them_with_the_context(block: Block, tmp_path: Path) -> None:
    """A stand-in for the program; the script, the contract and the repository are real."""
    name = block.mark.removeprefix("agent ")
    programs = tmp_path / "programs"
    programs.mkdir()
    program = programs / name
    program.write_text(PROGRAM.format(name=name, first={"codex": "exec", "amp": "--execute"}[name]))
    program.chmod(0o755)
    origin = make_origin(tmp_path / "hub", {**BASE_FILES, f"tgs/adapters/{name}.sh": block.text})
    ran, _ = await exec_(origin, tmp_path, name, [], PATH=f"{programs}:{os.environ['PATH']}")
    assert (ran.code, json.loads(ran.out)["succeeded"]) == (0, True), ran
    assert git(origin.source, "log", "-1", "--format=%s") == f"Work of {name}"


def test_codex_and_amp_are_shown() -> None:
    assert [block.mark for block in AGENTS] == ["agent codex", "agent amp"]
