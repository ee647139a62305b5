"""The workflow files that are written into repositories: valid, lint-clean, split in privileges, without logic."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from bot.errors import UserError
from bot.workflows import render_run_workflow, render_scan_workflow

SERVER, WHEEL, SHA = "https://tgs.example.org", "https://tgs.example.org/dist/tgs_bot-0.1.0-py3-none-any.whl", "ab" * 32
BIN = Path(sys.executable).parent

RENDERED = {"run": render_run_workflow(SERVER, WHEEL, SHA), "scan": render_scan_workflow(SERVER, WHEEL, SHA)}


def load(name: str) -> dict[str, Any]:
    # YAML 1.1 reads the key `on` as true.
    loaded: dict[Any, Any] = yaml.safe_load(RENDERED[name])
    loaded["on"] = loaded.pop(True)
    return loaded


def steps(name: str) -> list[dict[str, Any]]:
    return [step for job in load(name)["jobs"].values() for step in job["steps"]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repo") / ".github" / "workflows"
    folder.mkdir(parents=True)
    for name, text in RENDERED.items():
        (folder / f"tgs-server-{name}.yml").write_text(text)
    return folder


def test_both_files_satisfy_the_schema_of_workflows(folder: Path) -> None:
    files = [str(path) for path in sorted(folder.iterdir())]
    done = subprocess.run(
        [BIN / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", *files],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_zizmor_finds_nothing_in_either_file(folder: Path) -> None:
    done = subprocess.run([BIN / "zizmor", "--offline", "--no-progress", str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_job_has_exactly_its_privileges() -> None:
    workflow = load("run")
    assert workflow["permissions"] == {}
    assert {name: job["permissions"] for name, job in workflow["jobs"].items()} == {
        "start": {"id-token": "write"},
        "agent": {"contents": "read"},
        "publish": {"contents": "read", "id-token": "write"},
    }
    assert {name: job.get("environment") for name, job in workflow["jobs"].items()} == {
        "start": None,
        "agent": "tgs-agent",
        "publish": "tgs-publish",
    }


def test_only_the_agents_job_sees_code_and_the_model_credential() -> None:
    jobs = load("run")["jobs"]
    with_checkout = {
        n for n, job in jobs.items() for s in job["steps"] if s.get("uses", "").startswith("actions/checkout")
    }
    with_secrets = {n for n, job in jobs.items() if "secrets." in str(job)}
    assert (with_checkout, with_secrets) == ({"agent"}, {"agent"})
    checkout = jobs["agent"]["steps"][0]["with"]
    assert checkout["persist-credentials"] is False
    assert checkout["fetch-depth"] == 0
    assert checkout["ref"] == "${{ inputs.base_sha }}"


def test_the_jobs_are_chained_so_that_a_failure_is_still_reported() -> None:
    jobs = load("run")["jobs"]
    assert jobs["agent"]["if"] == "needs.start.outputs.attempt != '' && needs.start.outputs.publish_only != 'true'"
    assert jobs["publish"]["needs"] == ["start", "agent"]
    assert jobs["publish"]["if"] == "always() && needs.start.outputs.attempt != ''"


def test_a_result_from_elsewhere_reaches_the_publishing_job_by_the_bots_word_only() -> None:
    jobs = load("run")["jobs"]
    publish = jobs["publish"]["steps"][-1]["env"]
    assert publish["TGS_PUBLISH_ONLY"] == "${{ needs.start.outputs.publish_only }}"
    assert publish["TGS_BUNDLE_DIGEST"].startswith("${{ needs.agent.outputs.bundle_digest || needs.start.outputs.")
    with_input = [(name, step["name"]) for name, job in jobs.items() for step in job["steps"]
                  if "inputs.publish_only" in str(step)]  # fmt: skip
    assert with_input == [("start", "Activate the claim")]


def test_the_run_can_be_found_by_its_name_and_runs_once_an_issue() -> None:
    workflow = load("run")
    assert workflow["run-name"] == "tgs #${{ inputs.issue }} ${{ inputs.claim_id }}"
    assert workflow["concurrency"]["group"].startswith("tgs-issue-${{ inputs.issue")
    assert workflow["concurrency"]["cancel-in-progress"] is False
    assert set(workflow["on"]["workflow_dispatch"]["inputs"]) == {
        "issue",
        "attempt",
        "claim_id",
        "base_sha",
        "publish_only",
    }
    assert "schedule" not in workflow["on"]
    assert "# schedule:" in RENDERED["run"]


@pytest.mark.parametrize("name", RENDERED)
def test_no_step_holds_logic_or_an_untrusted_value(name: str) -> None:
    for step in steps(name):
        if "run" in step:
            assert "${{" not in step["run"]
            wheel = r"\$\{TGS_WHEEL_URL\}#sha256=\$\{TGS_WHEEL_SHA256\}"
            assert re.fullmatch(rf'(tgs [a-z -]+|pipx install "tgs-bot(\[claude\])? @ {wheel}")', step["run"].strip())
        else:
            assert re.fullmatch(r"actions/(checkout|upload-artifact|download-artifact)@[0-9a-f]{40}", step["uses"])


def test_the_limits_of_time_come_from_the_arguments() -> None:
    text = render_run_workflow(SERVER, WHEEL, SHA, agent_minutes=45)
    jobs = yaml.safe_load(text)["jobs"]
    assert {name: job["timeout-minutes"] for name, job in jobs.items()} == {"start": 10, "agent": 45, "publish": 20}
    assert load("run")["jobs"]["agent"]["timeout-minutes"] == 330


BAD = {
    "a server that is not encrypted": ("http://tgs.example.org", WHEEL, SHA, {}),
    "a server that breaks out of its string": ('https://tgs.example.org"\n    run: evil', WHEEL, SHA, {}),
    "a wheel with a shell expression": (SERVER, "https://x.example/$(id).whl", SHA, {}),
    "a wheel with an expression of Actions": (SERVER, "https://x.example/${{github.token}}", SHA, {}),
    "a digest in capitals": (SERVER, WHEEL, "AB" * 32, {}),
    "a digest that is too short": (SERVER, WHEEL, "ab" * 31, {}),
    "no time for the agent": (SERVER, WHEEL, SHA, {"agent_minutes": 0}),
    "more time than a job may take": (SERVER, WHEEL, SHA, {"agent_minutes": 361}),
}


@pytest.mark.parametrize(("server", "wheel", "digest", "options"), BAD.values(), ids=BAD.keys())
def test_a_value_that_cannot_stand_in_the_file_is_refused(
    server: str, wheel: str, digest: str, options: dict[str, int]
) -> None:
    with pytest.raises(UserError):
        render_run_workflow(server, wheel, digest, **options)


def test_a_loopback_server_may_be_unencrypted() -> None:
    assert 'TGS_SERVER_URL: "http://127.0.0.1:8080"' in render_run_workflow("http://127.0.0.1:8080/", WHEEL, SHA)


def test_a_branch_name_that_is_no_branch_name_is_refused() -> None:
    with pytest.raises(UserError):
        render_scan_workflow(SERVER, WHEEL, SHA, default_branch="main\n  evil: true")


def test_the_local_runner_understands_both_files() -> None:
    workflow_file = pytest.importorskip("bot.localhub.workflow_file")
    actions = pytest.importorskip("bot.localhub.emulated_actions").ACTION_INPUTS
    for name, text in RENDERED.items():
        loaded = workflow_file.load_workflow(f".github/workflows/tgs-server-{name}.yml", text, actions)
        assert loaded.jobs
