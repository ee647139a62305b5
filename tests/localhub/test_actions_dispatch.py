"""Workflows started by hand and by events; runs and jobs moved by the test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bot.localhub.actions_model import Conclusion, WorkflowState
from bot.localhub.core import Actor, ActorKind
from bot.localhub.runner import ManualRunner
from bot.localhub.workflow_model import TriggerEvent
from tests.localhub.flow import Flow, by_hand, flow

RUN = """\
name: Agent
run-name: "tgs #${{ inputs.issue }} ${{ inputs.claim }}"
on:
  workflow_dispatch:
    inputs:
      issue: {required: true, type: string}
      claim: {type: string, default: none}
      mode: {type: choice, options: [fast, slow], default: fast}
      dry: {type: boolean, default: false}
permissions: {contents: read}
concurrency: {group: "tgs-issue-${{ inputs.issue }}"}
jobs:
  start:
    runs-on: ubuntu-latest
    steps: [{run: "true"}]
  agent:
    needs: start
    runs-on: ubuntu-latest
    environment: tgs-agent
    steps: [{run: "true"}]
  publish:
    needs: [start, agent]
    if: always() && needs.start.result == 'success'
    runs-on: ubuntu-latest
    steps: [{run: "true"}]
"""
OTHER = "on: {push: {branches: [main], paths: ['src/**']}}\njobs: {a: {runs-on: x, steps: [{run: x}]}}\n"
FILES = {".github/workflows/run.yml": RUN, ".github/workflows/other.yml": OTHER, "README.md": "x\n"}
DISPATCH = "/actions/workflows/run.yml/dispatches"


@pytest.fixture
async def w(tmp_path: Path) -> AsyncIterator[Flow]:
    async with flow(tmp_path, files=FILES) as made:
        by_hand(made)
        yield made


async def dispatched(w: Flow, issue: str = "7", **inputs: str) -> int:
    body = {"ref": "main", "inputs": {"issue": issue, **inputs}, "return_run_details": True}
    answer = await w.call("POST", DISPATCH, body)
    assert answer.status == 200, answer.body
    return int(answer.body["workflow_run_id"])


async def test_a_dispatch_answers_with_its_run_only_when_asked_or_with_the_newer_version(w: Flow) -> None:
    body: dict[str, Any] = {"ref": "main", "inputs": {"issue": "1"}}
    plain = await w.call("POST", DISPATCH, body)
    assert (plain.status, plain.body) == (204, b"")
    asked = await w.call("POST", DISPATCH, body | {"return_run_details": True})
    assert asked.status == 200
    newer = await w.call("POST", DISPATCH, body, headers={"X-GitHub-Api-Version": "2026-03-10"})
    assert newer.status == 200
    run = await w.call("GET", f"/actions/runs/{asked.body['workflow_run_id']}")
    assert (run.body["display_title"], run.body["event"]) == ("tgs #1 none", "workflow_dispatch")
    assert run.body["actor"]["login"] == "tgs[bot]"
    assert asked.body["run_url"] == run.body["url"]


@pytest.mark.parametrize(
    ("workflow", "body", "status", "message"),
    [
        pytest.param("no.yml", {"ref": "main"}, 404, "Not Found", id="a file that does not exist"),
        pytest.param("run.yml", {"ref": "no"}, 422, "No ref found for: no", id="a ref that does not exist"),
        pytest.param(
            "other.yml", {"ref": "main"}, 422, "Workflow does not have 'workflow_dispatch' trigger", id="no trigger"
        ),
        pytest.param("run.yml", {"ref": "main"}, 422, "Required input 'issue' not provided", id="a missing input"),
        pytest.param(
            "run.yml",
            {"ref": "main", "inputs": {"issue": "1", "isue": "2"}},
            422,
            'Unexpected inputs provided: ["isue"]',
            id="a misspelt input",
        ),
        pytest.param(
            "run.yml",
            {"ref": "main", "inputs": {"issue": "1", "mode": "turbo"}},
            422,
            "Provided value 'turbo' for input 'mode' not in the list of allowed values",
            id="a choice that is none",
        ),
    ],
)
async def test_wrong_dispatches_are_refused_and_start_nothing(
    w: Flow, workflow: str, body: dict[str, Any], status: int, message: str
) -> None:
    answer = await w.call("POST", f"/actions/workflows/{workflow}/dispatches", body)
    assert (answer.status, answer.body["message"]) == (status, message)
    assert w.hub.actions.runs_of(w.repo) == []


async def test_a_dispatch_needs_the_right_to_write_actions(w: Flow) -> None:
    answer = await w.call("POST", DISPATCH, {"ref": "main"}, token=w.token(actions="read"))
    assert answer.status == 403


async def test_a_disabled_workflow_cannot_be_dispatched(w: Flow) -> None:
    await w.call("PUT", "/actions/workflows/run.yml/disable")
    answer = await w.call("POST", DISPATCH, {"ref": "main", "inputs": {"issue": "1"}})
    assert answer.status == 422
    assert "disabled workflow" in answer.body["message"]
    listed = await w.call("GET", "/actions/workflows")
    states = {x["path"]: x["state"] for x in listed.body["workflows"]}
    assert states[".github/workflows/run.yml"] == WorkflowState.DISABLED_MANUALLY.value


async def test_jobs_follow_their_needs_and_every_move_is_announced(w: Flow) -> None:
    number = await dispatched(w)
    run = w.hub.actions.runs[number]
    assert list(run.jobs) == ["start"]
    w.hub.actions.start(run)
    assert (await w.call("GET", f"/actions/runs/{number}")).body["status"] == "in_progress"
    w.hub.actions.job_finished(run.jobs["start"], Conclusion.SUCCESS, {"go": "1"})
    assert list(run.jobs) == ["start", "agent"]
    w.hub.actions.finish(run)
    shown = await w.call("GET", f"/actions/runs/{number}")
    assert (shown.body["status"], shown.body["conclusion"]) == ("completed", "success")
    jobs = await w.call("GET", f"/actions/runs/{number}/jobs")
    assert [(j["name"], j["conclusion"]) for j in jobs.body["jobs"]] == [
        ("start", "success"),
        ("agent", "success"),
        ("publish", "success"),
    ]
    assert sorted(await w.actions("workflow_run")) == ["completed", "in_progress", "requested"]
    assert sorted(await w.actions("workflow_job")) == ["completed"] * 3 + ["in_progress"] * 3 + ["queued"] * 3
    checks = await w.call("GET", f"/commits/{run.head_sha}/check-runs")
    assert {c["name"] for c in checks.body["check_runs"]} == {"start", "agent", "publish"}
    assert {c["id"] for c in checks.body["check_runs"]} == {j["id"] for j in jobs.body["jobs"]}


async def test_a_failed_job_skips_what_needs_it_unless_it_says_always(w: Flow) -> None:
    run = w.hub.actions.runs[await dispatched(w)]
    w.hub.actions.start(run)
    w.hub.actions.job_finished(run.jobs["start"], Conclusion.SUCCESS)
    w.hub.actions.start(run)
    w.hub.actions.job_finished(run.jobs["agent"], Conclusion.FAILURE)
    w.hub.actions.start(run)
    w.hub.actions.job_finished(run.jobs["publish"], Conclusion.SUCCESS)
    assert (run.conclusion, run.jobs["publish"].conclusion) == (Conclusion.FAILURE, Conclusion.SUCCESS)
    other = w.hub.actions.runs[await dispatched(w, "8")]
    w.hub.actions.start(other)
    w.hub.actions.job_finished(other.jobs["start"], Conclusion.FAILURE)
    ends = {name: job.conclusion for name, job in other.jobs.items()}
    assert ends == {
        "start": Conclusion.FAILURE,
        "agent": Conclusion.SKIPPED,
        "publish": Conclusion.SKIPPED,
    }


async def test_a_lost_answer_is_found_again_by_event_time_and_title(w: Flow) -> None:
    wanted = await dispatched(w, "1", claim="c-1")
    await dispatched(w, "2", claim="c-2")
    w.commit({"src/a": "1"})
    found = await w.call("GET", "/actions/runs?event=workflow_dispatch&created=%3E%3D2020-01-01T00:00:00Z")
    titles = {r["id"]: r["display_title"] for r in found.body["workflow_runs"]}
    assert titles[wanted] == "tgs #1 c-1"
    assert len(titles) == 2
    none = await w.call("GET", "/actions/runs?created=%3C2020-01-01")
    assert none.body["total_count"] == 0
    pushed = await w.call("GET", f"/actions/runs?head_sha={w.hub.git.bare(w.repo).resolve('main')}&branch=main")
    assert [r["event"] for r in pushed.body["workflow_runs"]] == ["push"]
    of_file = await w.call("GET", "/actions/workflows/other.yml/runs")
    assert of_file.body["total_count"] == 1


async def test_filters_of_branches_and_paths_decide_about_a_push(w: Flow) -> None:
    w.commit({"docs": "1"})
    w.commit({"src/a": "1"}, branch="topic")
    assert w.hub.actions.runs_of(w.repo) == []
    w.commit({"src/b": "1"}, message="Skipped [skip ci]")
    assert w.hub.actions.runs_of(w.repo) == []
    w.commit({"src/c": "1"}, message="Real")
    assert [r.title for r in w.hub.actions.runs_of(w.repo)] == ["Real"]


async def test_events_made_with_a_job_token_start_nothing_but_dispatches(w: Flow) -> None:
    permissions = {"contents": "write", "actions": "write"}
    token = w.hub.tokens.for_job(w.repo, 1, permissions)
    body = {"message": "m", "content": "eA=="}
    assert (await w.call("PUT", "/contents/src/x", body, token=token)).status == 201
    assert w.hub.actions.runs_of(w.repo) == []
    answer = await w.call("POST", DISPATCH, {"ref": "main", "inputs": {"issue": "1"}}, token=token)
    assert answer.status == 204
    assert [r.actor.login for r in w.hub.actions.runs_of(w.repo)] == ["github-actions[bot]"]


async def test_a_cancelled_run_still_runs_what_says_always(w: Flow) -> None:
    number = await dispatched(w)
    run = w.hub.actions.runs[number]
    w.hub.actions.start(run)
    w.hub.actions.job_finished(run.jobs["start"], Conclusion.SUCCESS)
    w.hub.actions.start(run)
    assert (await w.call("POST", f"/actions/runs/{number}/cancel")).status == 202
    assert run.jobs["agent"].conclusion is Conclusion.CANCELLED
    assert not run.done
    w.hub.actions.finish(run)
    assert (run.jobs["publish"].conclusion, run.conclusion) == (Conclusion.SUCCESS, Conclusion.CANCELLED)
    again = await w.call("POST", f"/actions/runs/{number}/cancel")
    assert (again.status, again.body["message"]) == (409, "Cannot cancel a workflow run that is completed.")


async def test_a_forced_cancel_ends_the_run_at_once(w: Flow) -> None:
    w.hub.actions.runner = runner = ManualRunner(w.hub, obey_cancel=False)
    number = await dispatched(w)
    run = w.hub.actions.runs[number]
    w.hub.actions.start(run)
    await w.call("POST", f"/actions/runs/{number}/cancel")
    assert not run.done
    assert (await w.call("POST", f"/actions/runs/{number}/force-cancel")).status == 202
    assert (run.conclusion, list(run.jobs)) == (Conclusion.CANCELLED, ["start"])
    assert runner.cancelled == [run.jobs["start"]] * 2


async def test_one_run_of_a_group_works_one_waits_and_a_newer_one_replaces_it(w: Flow) -> None:
    numbers = [await dispatched(w, claim=f"c{i}") for i in range(3)]
    runs = [w.hub.actions.runs[n] for n in numbers]
    states = [(r.status.value, r.conclusion) for r in runs]
    assert states == [("queued", None), ("completed", Conclusion.CANCELLED), ("pending", None)]
    group = await w.call("GET", "/actions/concurrency_groups/tgs-issue-7")
    assert [m["run_id"] for m in group.body["group_members"]] == [numbers[0], numbers[2]]
    w.hub.actions.finish(runs[0])
    assert runs[2].status.value == "queued"
    w.hub.actions.finish(runs[2])
    assert (await w.call("GET", "/actions/concurrency_groups/tgs-issue-7")).status == 404


async def test_a_rerun_keeps_the_id_and_counts_attempts(w: Flow) -> None:
    number = await dispatched(w)
    run = w.hub.actions.runs[number]
    assert (await w.call("POST", f"/actions/runs/{number}/rerun")).status == 403
    w.hub.actions.start(run)
    w.hub.actions.job_finished(run.jobs["start"], Conclusion.SUCCESS)
    w.hub.actions.finish(run, Conclusion.FAILURE)
    assert (await w.call("POST", f"/actions/runs/{number}/rerun-failed-jobs")).status == 201
    assert (run.attempt, list(run.jobs)) == (2, ["start", "agent"])
    w.hub.actions.finish(run)
    shown = await w.call("GET", f"/actions/runs/{number}")
    assert (shown.body["run_attempt"], shown.body["conclusion"]) == (2, "success")
    first = await w.call("GET", f"/actions/runs/{number}/attempts/1")
    assert (first.body["run_attempt"], first.body["conclusion"]) == (1, "failure")
    jobs = await w.call("GET", f"/actions/runs/{number}/attempts/1/jobs")
    assert [j["conclusion"] for j in jobs.body["jobs"]] == ["success", "failure", "failure"]


async def test_execution_policy_gives_a_run_that_fails_at_once(w: Flow) -> None:
    w.hub.actions.settings(w.repo).blocked_events.add(TriggerEvent.WORKFLOW_DISPATCH)
    run = w.hub.actions.runs[await dispatched(w)]
    assert (run.conclusion, run.jobs) == (Conclusion.FAILURE, {})
    assert run.message == "Event 'workflow_dispatch' is not allowed to trigger Actions workflows"
    assert sorted(await w.actions("workflow_run")) == ["completed", "requested"]


async def test_a_broken_file_gives_a_failed_run_that_says_where(w: Flow) -> None:
    w.commit({".github/workflows/bad.yml": "on: push\njobs:\n  a:\n    steps: [{run: x}]\n"})
    run = w.run()
    assert (run.conclusion, run.title) == (Conclusion.FAILURE, "Change")
    assert run.message == (".github/workflows/bad.yml, line 3, jobs.a: required key 'runs-on' is missing")
    listed = await w.call("GET", "/actions/workflows")
    assert "on.workflow" not in str(listed.body)
    assert listed.body["total_count"] == 3


async def test_an_environment_may_be_limited_to_branches(w: Flow) -> None:
    environment = w.hub.actions.environment(w.repo, "tgs-agent")
    environment.branches = ("release",)
    run = w.hub.actions.runs[await dispatched(w)]
    w.hub.actions.start(run)
    w.hub.actions.job_finished(run.jobs["start"], Conclusion.SUCCESS)
    assert run.jobs["agent"].conclusion is Conclusion.FAILURE
    assert run.message is not None
    assert 'Branch "main" is not allowed to deploy to tgs-agent' in run.message
    shown = await w.call("GET", "/environments/tgs-agent")
    assert shown.body["deployment_branch_policy"]["custom_branch_policies"] is True
    assert (await w.call("GET", "/environments/none")).status == 404
    assert [e["name"] for e in (await w.call("GET", "/environments")).body["environments"]] == ["tgs-agent"]


async def test_a_pull_request_runs_its_trial_merge_and_reports_on_its_head(w: Flow) -> None:
    text = "on: pull_request\njobs: {a: {runs-on: x, steps: [{run: x}]}}\n"
    w.commit({".github/workflows/pr.yml": text})
    sha = w.commit({"b": "1"}, branch="x")
    await w.call("POST", "/pulls", {"title": "PR", "head": "x", "base": "main"})
    run = w.run()
    assert (run.event, run.ref, run.head_sha, run.head_branch) == (
        TriggerEvent.PULL_REQUEST,
        "refs/pull/1/merge",
        sha,
        "x",
    )
    assert w.hub.git.bare(w.repo).commit(run.sha).parents[1] == sha
    states = w.hub.checks.states(w.repo, sha)
    assert states == {"a": "pending"}
    w.hub.actions.finish(run, Conclusion.FAILURE)
    assert w.hub.checks.states(w.repo, sha) == {"a": "failure"}
    assert (await w.events("check_suite"))[-1]["check_suite"]["conclusion"] == "failure"
    assert (await w.call("GET", f"/commits/{sha}/check-suites")).body["total_count"] == 1


async def test_code_from_a_fork_gets_a_reading_token_and_no_secrets(w: Flow) -> None:
    text = "on: pull_request\npermissions: write-all\njobs: {a: {runs-on: x, steps: [{run: x}]}}\n"
    w.commit({".github/workflows/pr.yml": text})
    eve = w.hub.create_user("eve")
    fork = w.hub.create_repo(eve, "demo")
    bare = w.hub.git.bare(fork)
    bare.run("fetch", "--quiet", str(w.repo.git_dir), "main:refs/heads/main")
    w.hub.git.commit(fork, {"b": "1"}, by=eve, branch="x")
    w.hub.pulls.open(w.repo, title="t", head="x", base="main", head_repo=fork, actor=Actor(ActorKind.USER, eve))
    job = w.run().jobs["a"]
    assert set(job.permissions.values()) == {"read"}
    assert "id_token" not in job.permissions
    assert w.hub.actions.from_fork(job.run)
