"""The workflow files that the product writes into repositories are ones this hub can run."""

from __future__ import annotations

from bot.localhub.emulated_actions import ACTION_INPUTS
from bot.localhub.workflow_file import load_workflow
from bot.workflows import RUN_WORKFLOW, SCAN_WORKFLOW, render_run_workflow, render_scan_workflow

PLACE = ("http://127.0.0.1:8080", "http://127.0.0.1:8080/dist/tgs_bot-1-py3-none-any.whl", "0" * 64)


def test_the_run_workflow_loads_with_its_three_jobs_and_their_rights() -> None:
    file = load_workflow(f".github/workflows/{RUN_WORKFLOW}", render_run_workflow(*PLACE), ACTION_INPUTS)
    rights = {name: job.permissions for name, job in file.jobs.items()}
    assert rights == {
        "start": {"id_token": "write"},
        "agent": {"contents": "read"},
        "publish": {"contents": "read", "id_token": "write"},
    }


def test_the_scan_workflow_loads() -> None:
    file = load_workflow(f".github/workflows/{SCAN_WORKFLOW}", render_scan_workflow(*PLACE), ACTION_INPUTS)
    assert file.jobs
