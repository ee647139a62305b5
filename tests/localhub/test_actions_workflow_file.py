"""Workflow files: what is understood, and errors that name file, line and key path."""

from __future__ import annotations

import textwrap

import pytest

from bot.localhub.workflow_file import load_workflow
from bot.localhub.workflow_model import TriggerEvent, glob_matches, paths_match, ref_matches
from bot.localhub.yaml_nodes import WorkflowError

ACTIONS = {"actions/checkout": frozenset({"fetch-depth"})}
SHA = "11bd71901bbe5b1630ceea73d27597364c9af683"
GOOD = f"""\
name: Run
run-name: "tgs #${{{{ inputs.issue }}}}"
on:
  workflow_dispatch:
    inputs:
      issue: {{description: which, required: true, type: string}}
      dry: {{type: boolean, default: false}}
  schedule: [{{cron: "0 3 * * *"}}]
permissions: {{}}
concurrency: {{group: "g-${{{{ inputs.issue }}}}", cancel-in-progress: false}}
jobs:
  start:
    runs-on: ubuntu-latest
    permissions: {{id-token: write}}
    outputs: {{go: "${{{{ steps.a.outputs.go }}}}"}}
    steps:
      - id: a
        run: echo "go=yes" >> "$GITHUB_OUTPUT"
  agent:
    needs: start
    if: needs.start.outputs.go == 'yes'
    environment: tgs-agent
    timeout-minutes: 330
    runs-on: [self-hosted]
    steps:
      - uses: actions/checkout@{SHA} # v4
        with: {{fetch-depth: 0}}
"""


def load(text: str) -> object:
    return load_workflow(".github/workflows/x.yml", textwrap.dedent(text), ACTIONS)


def test_a_complete_file_is_understood() -> None:
    file = load_workflow(".github/workflows/x.yml", GOOD, ACTIONS)
    assert set(file.triggers) == {TriggerEvent.WORKFLOW_DISPATCH, TriggerEvent.SCHEDULE}
    inputs = file.triggers[TriggerEvent.WORKFLOW_DISPATCH].inputs
    assert (inputs["issue"].required, inputs["dry"].default) == (True, "false")
    assert file.permissions == {}
    assert file.jobs["start"].permissions == {"id_token": "write"}
    agent = file.jobs["agent"]
    assert (agent.needs, agent.timeout_minutes, agent.runs_on) == (("start",), 330.0, ("self-hosted",))
    assert agent.steps[0].uses == f"actions/checkout@{SHA}"


HEAD = "on: push\njobs:\n  a:\n    runs-on: x\n    steps:\n"


@pytest.mark.parametrize(
    ("text", "line", "path", "problem"),
    [
        pytest.param("on: push\n", 1, "", "'jobs' is missing", id="no jobs"),
        pytest.param("on: [push\n", 2, "", "not YAML", id="broken YAML"),
        pytest.param("", 1, "", "empty", id="empty file"),
        pytest.param(
            "on: push\njobs:\n  a:\n    runs-on: x\n    timeout-minuts: 1\n    steps: [{run: x}]\n",
            5, "jobs.a.timeout-minuts", "unexpected key", id="a misspelt key",
        ),
        pytest.param(
            "on: push\njobs:\n  a:\n    runs-on: x\n    strategy: {}\n    steps: [{run: x}]\n",
            5, "jobs.a.strategy", "unexpected key", id="a matrix is not modelled",
        ),
        pytest.param(
            "on: issues\njobs: {a: {runs-on: x, steps: [{run: x}]}}\n",
            1, "on.issues", "starts nothing here", id="an event the hub does not start",
        ),
        pytest.param(
            HEAD + "      - uses: actions/checkout@main\n",
            6, "jobs.a.steps[0].uses", "not pinned", id="an action at a branch",
        ),
        pytest.param(
            HEAD + "      - uses: other/action@v1\n",
            6, "jobs.a.steps[0].uses", "not emulated", id="an unknown action",
        ),
        pytest.param(
            HEAD + "      - uses: actions/checkout@v4\n        with: {fetchdepth: 0}\n",
            7, "jobs.a.steps[0].with.fetchdepth", "unexpected key", id="an input that is not there",
        ),
        pytest.param(
            HEAD + "      - run: x\n      - run: echo ${{ inputz.a }}\n",
            7, "jobs.a.steps[1].run", "unrecognized named-value", id="a typo in an expression",
        ),
        pytest.param(
            HEAD + "      - run: x\n        if: secrets.A != ''\n",
            7, "jobs.a.steps[0].if", "context 'secrets' is not available", id="secrets in an if",
        ),
        pytest.param(
            HEAD + "      - run: x\n        env: {A: '${{ always() }}'}\n",
            7, "jobs.a.steps[0].env.A", "available in 'if' only", id="a status function in env",
        ),
        pytest.param(
            HEAD + "      - run: x\n        shell: pwsh\n",
            7, "jobs.a.steps[0].shell", "not available", id="a shell that is not there",
        ),
        pytest.param(
            HEAD + "      - name: nothing\n",
            6, "jobs.a.steps[0]", "either run or uses", id="a step without work",
        ),
        pytest.param(
            "on: push\njobs:\n  a: {runs-on: x, needs: b, steps: [{run: x}]}\n"
            "  b: {runs-on: x, needs: a, steps: [{run: x}]}\n",
            2, "jobs", "in a circle", id="jobs that wait for each other",
        ),
        pytest.param(
            "on: push\njobs:\n  a: {runs-on: x, needs: [z], steps: [{run: x}]}\n",
            3, "jobs.a.needs", "'z' does not exist", id="a need without a job",
        ),
        pytest.param(
            "on: push\npermissions: {content: read}\njobs: {a: {runs-on: x, steps: [{run: x}]}}\n",
            2, "permissions.content", "unexpected key", id="a misspelt permission",
        ),
        pytest.param(
            "on: push\non: push\njobs: {a: {runs-on: x, steps: [{run: x}]}}\n",
            2, "on", "given twice", id="a key given twice",
        ),
    ],
)  # fmt: skip
def test_errors_name_line_key_path_and_problem(text: str, line: int, path: str, problem: str) -> None:
    with pytest.raises(WorkflowError) as caught:
        load(text)
    assert (caught.value.file, caught.value.line) == (".github/workflows/x.yml", line)
    assert caught.value.path == path
    assert problem in caught.value.problem
    assert str(caught.value).startswith(f".github/workflows/x.yml, line {line}")


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("main", "main", True),
        ("feature/*", "feature/a", True),
        ("feature/*", "feature/a/b", False),
        ("feature/**", "feature/a/b", True),
        ("**.py", "a/b.py", True),
        ("**/README.md", "README.md", True),
        ("v[0-9]+", "v12", True),
        ("a.b", "axb", False),
    ],
)
def test_filter_patterns(pattern: str, name: str, matches: bool) -> None:
    assert glob_matches(pattern, name) is matches


def test_branch_and_path_filters_select_pushes() -> None:
    text = "on: {push: {branches: [main, 'r/*', '!r/x'], paths-ignore: ['docs/**']}}\n"
    file = load_workflow("f", text + "jobs: {a: {runs-on: x, steps: [{run: x}]}}\n", {})
    trigger = file.triggers[TriggerEvent.PUSH]
    refs = ["refs/heads/main", "refs/heads/r/1", "refs/heads/r/x", "refs/heads/z", "refs/tags/v1"]
    assert [ref_matches(trigger, ref) for ref in refs] == [True, True, False, False, False]
    assert not paths_match(trigger, ["docs/a.md"])
    assert paths_match(trigger, ["docs/a.md", "src/a.py"])
