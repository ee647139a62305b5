"""Which workflows hold secrets, or a right to write, while they run what a branch of ours brought."""

from __future__ import annotations

import pytest

from bot.domain.ci_trust import is_workflow, look_wanted, risky
from bot.domain.policy_model import CiTrust

BRANCH = "tgs/7-add-search"
READS = "permissions:\n  contents: read\n"
JOBS = "jobs:\n  test:\n    runs-on: ubuntu-latest\n    steps:\n      - run: make test\n"
LEAKS = f"{READS}{JOBS}      - run: deploy\n        env:\n          KEY: ${{{{ secrets.DEPLOY_KEY }}}}\n"
SAFE = READS + JOBS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(f"on: push\n{SAFE}", False, id="tests that may only read are harmless"),
        pytest.param(f"on: push\n{LEAKS}", True, id="a secret in a step's environment is at risk"),
        pytest.param(f"on: [push, pull_request]\n{JOBS}", True, id="without permissions the default may be to write"),
        pytest.param(f"on: push\npermissions: write-all\n{JOBS}", True, id="all rights to write"),
        pytest.param(f"on: push\npermissions: read-all\n{JOBS}", False, id="all rights to read"),
        pytest.param(f"on: push\npermissions: {{}}\n{JOBS}", False, id="no rights at all"),
        pytest.param(f"on: push\npermissions:\n  packages: write\n{JOBS}", True, id="one right to write is enough"),
        pytest.param(f"on: push\npermissions:\n  id-token: write\n{JOBS}", True, id="an identity for a cloud is one"),
        pytest.param(
            f"on: push\n{READS}jobs:\n  a:\n    permissions:\n      contents: write\n    runs-on: x\n",
            True,
            id="a job may widen the rights of all",
        ),
        pytest.param(
            "on: push\njobs:\n  a:\n    permissions:\n      contents: read\n    runs-on: x\n",
            False,
            id="every job may narrow them by itself",
        ),
        pytest.param(
            "on: push\njobs:\n  a:\n    permissions: {}\n    runs-on: x\n  b:\n    runs-on: x\n",
            True,
            id="one job that does not is enough",
        ),
        pytest.param(
            f"on: push\n{READS}jobs:\n  a:\n    uses: ./.github/workflows/b.yml\n    secrets: inherit\n",
            True,
            id="secrets handed on to a called workflow",
        ),
        pytest.param(
            f"on: push\n{SAFE}    env:\n      A: ${{{{ toJSON(secrets) }}}}\n", True, id="all secrets at once"
        ),
        pytest.param(
            f"on: push\n{SAFE}    env:\n      T: ${{{{ secrets.GITHUB_TOKEN }}}}\n",
            False,
            id="the run's own token is as good as its permissions",
        ),
        pytest.param(f"# no secrets here\non: push\n{SAFE}", False, id="a comment mentions nothing"),
        pytest.param(f"on:\n  push:\n    branches: [main]\n{LEAKS}", False, id="pushes to main are not ours"),
        pytest.param(f"on:\n  push:\n    branches: ['**']\n{LEAKS}", True, id="two stars match every branch"),
        pytest.param(f"on:\n  push:\n    branches: ['*']\n{LEAKS}", False, id="one star ends at a slash"),
        pytest.param(f"on:\n  push:\n    branches: 'tgs/*'\n{LEAKS}", True, id="one pattern without a list"),
        pytest.param(f"on:\n  push:\n    branches: ['[m-t]*/**']\n{LEAKS}", True, id="an unusual pattern may match"),
        pytest.param(f"on:\n  push:\n    branches-ignore: ['tgs/**']\n{LEAKS}", False, id="ours are left out"),
        pytest.param(
            f"on:\n  push:\n    branches-ignore: ['tgs/[0-9]*']\n{LEAKS}",
            True,
            id="an unusual pattern may leave nothing out",
        ),
        pytest.param(f"on:\n  push:\n    tags: ['v*']\n{LEAKS}", False, id="tags are no branches"),
        pytest.param(f"on:\n  push:\n{LEAKS}", True, id="a push without a filter"),
        pytest.param(f"on:\n  push:\n    paths: [docs/**]\n{LEAKS}", True, id="paths are the agent's to choose"),
        pytest.param(f"on:\n  pull_request:\n    branches: [main]\n{LEAKS}", True, id="our pull request asks for main"),
        pytest.param(f"on: pull_request_target\n{LEAKS}", True, id="a target of pull requests"),
        pytest.param(f"on:\n  workflow_run:\n    workflows: [ci]\n{LEAKS}", True, id="what follows another workflow"),
        pytest.param(f"on: create\n{LEAKS}", True, id="a new branch"),
        pytest.param(f"on: something_new\n{LEAKS}", True, id="a trigger that nobody knows"),
        pytest.param(f"on:\n  schedule:\n    - cron: '0 0 * * *'\n  workflow_dispatch:\n{LEAKS}", False, id="a clock"),
        pytest.param(f"on: [issues, workflow_call]\n{LEAKS}", False, id="issues and calls"),
        pytest.param(LEAKS, True, id="no trigger that can be read"),
        pytest.param("on: push\npermissions: {}\n", True, id="no jobs that can be read"),
        pytest.param(f"on: &a push\n{SAFE}", True, id="an anchor is not followed"),
        pytest.param("on: [push\n", True, id="what is not YAML"),
        pytest.param("", True, id="an empty file"),
        pytest.param(f"on: push\n{SAFE}# {'x' * 200_000}", True, id="a file too long to read"),
    ],
)
def test_what_a_push_of_ours_may_reach(text: str, expected: bool) -> None:
    assert risky(text, BRANCH) is expected


def test_when_the_policy_wants_a_look() -> None:
    wanted = {trust: [look_wanted(trust, outsider_text=outsider) for outsider in (False, True)] for trust in CiTrust}
    assert wanted == {CiTrust.ASK: [True, True], CiTrust.OUTSIDERS: [False, True], CiTrust.AUTO: [False, False]}


def test_only_the_repositorys_own_workflow_files_are_judged() -> None:
    names = ["ci.yml", "deploy.yaml", "README.md", "tgs-server-run.yml", "tgs-server-scan.yml", "old/ci.yml"]
    assert [name for name in names if is_workflow(name)] == ["ci.yml", "deploy.yaml"]
