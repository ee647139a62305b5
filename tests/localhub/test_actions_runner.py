"""Jobs as real processes: outputs, artifacts, secrets, cancelling, time limits, tools."""

from __future__ import annotations

import asyncio
import hashlib
import io
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from bot.localhub.actions_model import Conclusion, Run
from bot.localhub.core import ApiError
from bot.localhub.processes import Grace
from bot.localhub.runner import ProcessRunner
from tests.localhub.flow import Flow, flow, log_of

THREE_JOBS = """\
on: {workflow_dispatch: {inputs: {name: {default: world}}}}
permissions: {}
env: {GREETING: "hello ${{ inputs.name }}"}
jobs:
  start:
    runs-on: ubuntu-latest
    outputs: {word: "${{ steps.say.outputs.word }}", long: "${{ steps.say.outputs.long }}"}
    steps:
      - id: say
        env: {NAME: "${{ inputs.name }}"}
        run: |
          echo "word=$NAME" >> "$GITHUB_OUTPUT"
          printf 'long<<E\\none\\ntwo\\nE\\n' >> "$GITHUB_OUTPUT"
  agent:
    needs: start
    if: needs.start.outputs.word == 'world'
    runs-on: ubuntu-latest
    permissions: {contents: read}
    outputs: {digest: "${{ steps.up.outputs.artifact-digest }}"}
    steps:
      - uses: actions/checkout@v4
      - run: mkdir -p out/deep && cp README.md out/deep/ && echo "$GREETING" > out/a.txt
      - id: up
        uses: actions/upload-artifact@v4
        with: {name: bundle, path: out, if-no-files-found: error}
  publish:
    needs: [start, agent]
    runs-on: ubuntu-latest
    steps:
      - uses: actions/download-artifact@v4
        with: {name: bundle, path: got}
      - env: {LONG: "${{ needs.start.outputs.long }}", DIGEST: "${{ needs.agent.outputs.digest }}"}
        run: |
          cat got/a.txt got/deep/README.md
          echo "long: $LONG"
          echo "digest: $DIGEST"
"""


@pytest.fixture
async def w(tmp_path: Path) -> AsyncIterator[Flow]:
    async with flow(tmp_path) as made:
        made.hub.actions.runner = ProcessRunner(made.hub, grace=Grace(interrupt=0.3, terminate=0.3))
        yield made


def start(w: Flow, text: str, **inputs: object) -> Run:
    """Put a workflow on the default branch and dispatch it."""
    w.commit({".github/workflows/w.yml": text}, message="Workflow [skip ci]")
    workflow = w.hub.actions.files.find(w.repo, "w.yml")
    assert workflow is not None
    return w.hub.actions.dispatch(workflow, "main", inputs, w.as_(w.writer))


def steps(*lines: str, job: str = "", top: str = "on: workflow_dispatch") -> str:
    """A workflow with one job of these steps (YAML flow mappings)."""
    rows = "".join(f"      - {line}\n" for line in lines)
    return f"{top}\njobs:\n  a:\n    runs-on: ubuntu-latest\n{job}    steps:\n{rows}"


async def said(w: Flow, run: Run, text: str) -> None:
    """Wait until a job has printed the text (a line begins with its time, which ends in Z)."""
    async with asyncio.timeout(20):
        await w.hub.actions.logged(run, f"Z {text}")


def alive(pid: str) -> bool:
    """Whether a process runs (one that waits to be collected does not)."""
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


async def test_three_jobs_pass_outputs_and_artifacts_as_real_processes(w: Flow) -> None:
    run = start(w, THREE_JOBS)
    assert await w.finished(run) is Conclusion.SUCCESS, [log_of(j) for j in run.jobs.values()]
    log = log_of(run.jobs["publish"])
    (artifact,) = w.hub.actions.artifacts.values()
    assert "hello world" in log
    assert "# Demo" in log
    assert "long: one" in log
    assert f"digest: {artifact.digest.removeprefix('sha256:')}" in log
    listed = await w.call("GET", f"/actions/runs/{run.id}/artifacts?name=bundle")
    (shown,) = listed.body["artifacts"]
    redirect = await w.call("GET", f"/actions/artifacts/{shown['id']}/zip")
    assert redirect.status == 302
    async with w.http.get(redirect.headers["Location"]) as answer:
        data = await answer.read()
    assert shown["digest"] == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert zipfile.ZipFile(io.BytesIO(data)).namelist() == ["a.txt", "deep/README.md"]
    forged = redirect.headers["Location"][:-1] + "0"
    async with w.http.get(forged) as answer:
        assert answer.status in {200, 403}
    none = await w.call("GET", f"/actions/runs/{run.id}/artifacts?name=other")
    assert none.body["total_count"] == 0


async def test_logs_are_fetched_through_a_signed_address(w: Flow) -> None:
    run = start(w, steps("run: echo visible"))
    await w.finished(run)
    redirect = await w.call("GET", f"/actions/jobs/{run.jobs['a'].id}/logs")
    assert redirect.status == 302
    async with w.http.get(redirect.headers["Location"]) as answer:
        text = await answer.text()
    assert "##[group]Run echo visible" in text
    assert "Z visible" in text
    tampered = redirect.headers["Location"].replace("sig=", "sig=0")
    async with w.http.get(tampered) as answer:
        assert answer.status == 403


async def test_a_job_sees_a_clean_environment(w: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_HUB", "leak")
    w.hub.actions.settings(w.repo).secrets["UNUSED"] = "not referred to"
    run = start(w, steps("run: env"))
    await w.finished(run)
    names = {line.split(" ", 1)[1].partition("=")[0] for line in run.jobs["a"].steps[1].log}
    assert "SECRET_OF_THE_HUB" not in names
    assert not names & {"GITHUB_TOKEN", "UNUSED", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "VIRTUAL_ENV"}
    assert names >= {"CI", "GITHUB_RUN_ID", "GITHUB_REPOSITORY_ID", "GITHUB_SHA", "RUNNER_TEMP", "HOME", "PATH"}


async def test_secrets_are_masked_and_outputs_that_hold_one_are_dropped(w: Flow) -> None:
    w.hub.actions.settings(w.repo).secrets["KEY"] = "s3cret-value"
    job = "    outputs: {bad: '${{ steps.a.outputs.bad }}', made: '${{ steps.a.outputs.made }}', good: ok}\n"
    run = start(
        w,
        steps(
            "id: a\n        env: {KEY: '${{ secrets.KEY }}'}\n        run: |\n"
            '          echo "key is $KEY"\n          echo "::add-mask::made-up"\n          echo "now made-up"\n'
            '          echo "bad=x$KEY" >> "$GITHUB_OUTPUT"\n          echo "made=made-up" >> "$GITHUB_OUTPUT"',
            job=job,
        ),
    )
    assert await w.finished(run) is Conclusion.SUCCESS
    log = log_of(run.jobs["a"])
    assert "s3cret-value" not in log
    assert "key is ***" in log
    assert "KEY: ***" in log
    assert "now ***" in log
    assert run.jobs["a"].outputs == {"good": "ok"}


async def test_secrets_of_an_environment_exist_only_in_its_jobs(w: Flow) -> None:
    w.hub.actions.environment(w.repo, "prod").secrets["KEY"] = "deep"
    text = """\
on: workflow_dispatch
jobs:
  without:
    runs-on: x
    steps: [{env: {K: "${{ secrets.KEY }}"}, run: 'test -z "$K"'}]
  with:
    runs-on: x
    environment: prod
    steps: [{env: {K: "${{ secrets.KEY }}"}, run: 'test "$K" = deep'}]
"""
    assert await w.finished(start(w, text)) is Conclusion.SUCCESS


async def test_the_job_token_has_exactly_the_jobs_permissions_and_ends_with_it(w: Flow) -> None:
    w.repo.private = True
    text = steps(
        "env: {T: '${{ github.token }}', A: '${{ github.api_url }}/repos/${{ github.repository }}'}\n        run: |\n"
        '          echo "$T" > "$RUNNER_TEMP/../../../token"\n'
        "          python3 - <<'E'\n"
        "          import os, urllib.request, urllib.error\n"
        "          def ask(path, data=None):\n"
        "              headers = {'Authorization': 'Bearer ' + os.environ['T']}\n"
        "              request = urllib.request.Request(os.environ['A'] + path, data, headers)\n"
        "              try: return urllib.request.urlopen(request).status\n"
        "              except urllib.error.HTTPError as e: return e.code\n"
        "          print('codes', ask('/contents/README.md'), ask('/issues/1/labels', b'[\"x\"]'), ask('/pulls'))\n"
        "          E",
        job="    permissions: {contents: read}\n",
    )
    w.hub.issues.open(w.repo, "I", actor=w.as_(w.owner))
    run = start(w, text)
    assert await w.finished(run) is Conclusion.SUCCESS, log_of(run.jobs["a"])
    assert "codes 200 403 403" in log_of(run.jobs["a"])
    token = (w.hub.root / "token").read_text().strip()
    assert token.startswith("ghs_")
    with pytest.raises(ApiError, match="Bad credentials"):
        w.hub.tokens.resolve(f"Bearer {token}")


async def test_failing_steps_stop_the_job_but_for_what_asks_to_run(w: Flow) -> None:
    run = start(
        w,
        steps(
            "{id: soft, run: exit 3, continue-on-error: true}",
            "run: echo soft ${{ steps.soft.outcome }} ${{ steps.soft.conclusion }}",
            "{run: exit 4}",
            "{run: echo never}",
            "{if: failure(), run: echo cleaning}",
            "{if: always(), run: 'echo status ${{ job.status }}'}",
        ),
    )
    assert await w.finished(run) is Conclusion.FAILURE
    log = log_of(run.jobs["a"])
    assert "soft failure success" in log
    assert "Process completed with exit code 4." in log
    assert "Z cleaning" in log
    assert "Z status failure" in log
    ends = [s.conclusion.value for s in run.jobs["a"].steps if s.conclusion]
    assert ends == ["success", "success", "success", "failure", "skipped", "success", "success", "success"]


async def test_environment_and_path_pass_from_step_to_step(w: Flow) -> None:
    run = start(
        w,
        steps(
            'run: |\n          echo "A=1" >> "$GITHUB_ENV"\n          mkdir tools\n'
            "          printf '#!/bin/sh\\necho tool ran\\n' > tools/mytool\n          chmod +x tools/mytool\n"
            '          echo "$PWD/tools" >> "$GITHUB_PATH"',
            'run: mytool && echo "A is $A" && test "$A" = "${{ env.A }}"',
            "{working-directory: tools, shell: bash, run: 'false | true; test -x mytool'}",
        ),
    )
    assert await w.finished(run) is Conclusion.FAILURE  # pipefail of the explicit shell
    assert "Z tool ran" in log_of(run.jobs["a"])
    assert "Z A is 1" in log_of(run.jobs["a"])


async def test_a_cancel_interrupts_the_process_and_always_steps_still_run(w: Flow) -> None:
    run = start(
        w,
        steps(
            "run: |\n          trap 'echo got INT; exit 130' INT\n          echo ready\n          sleep 60 & wait $!",
            "{run: echo never}",
            "{if: always(), run: echo cleaned up}",
        ),
    )
    await said(w, run, "ready")
    assert (await w.call("POST", f"/actions/runs/{run.id}/cancel")).status == 202
    assert await w.finished(run) is Conclusion.CANCELLED
    log = log_of(run.jobs["a"])
    assert "Z got INT" in log
    assert "Z cleaned up" in log
    assert "Z never" not in log
    assert run.jobs["a"].conclusion is Conclusion.CANCELLED
    assert run.jobs["a"].check.conclusion == "cancelled"


async def test_a_process_that_ignores_every_signal_is_killed_in_the_end(w: Flow) -> None:
    run = start(
        w, steps("run: |\n          trap '' INT TERM\n          echo ready\n          while :; do sleep 1; done")
    )
    await said(w, run, "ready")
    w.hub.actions.cancel(run)
    assert await w.finished(run) is Conclusion.CANCELLED


async def test_a_forced_cancel_kills_at_once_and_runs_nothing_more(w: Flow) -> None:
    w.hub.actions.runner = ProcessRunner(w.hub, grace=Grace(interrupt=60, terminate=60))
    run = start(
        w,
        steps("run: |\n          trap '' INT\n          echo ready\n          sleep 60", "{if: always(), run: echo x}"),
    )
    await said(w, run, "ready")
    w.hub.actions.cancel(run)
    assert not run.done
    assert (await w.call("POST", f"/actions/runs/{run.id}/force-cancel")).status == 202
    assert run.conclusion is Conclusion.CANCELLED
    await w.hub.settle(timeout=10)
    assert "Z x" not in log_of(run.jobs["a"])


async def test_background_processes_end_with_the_job(w: Flow) -> None:
    run = start(w, steps('run: (sleep 300 & echo "pid $!")'))
    assert await w.finished(run) is Conclusion.SUCCESS
    line = next(x for x in run.jobs["a"].steps[1].log if "Z pid " in x)
    pid = line.rsplit(" ", 1)[1]
    assert not alive(pid)


async def test_a_job_that_takes_too_long_is_cancelled_and_a_step_fails(w: Flow) -> None:
    run = start(w, steps("{timeout-minutes: 0.005, run: sleep 60}", "{if: failure(), run: echo late}"))
    assert await w.finished(run) is Conclusion.FAILURE
    assert "has timed out after 0.005 minutes" in log_of(run.jobs["a"])
    assert "Z late" in log_of(run.jobs["a"])
    run = start(w, steps("run: sleep 60", job="    timeout-minutes: 0.005\n"))
    assert await w.finished(run) is Conclusion.CANCELLED
    assert "exceeded the maximum execution time of 0.005 minutes" in log_of(run.jobs["a"])


async def test_stopping_the_hub_leaves_no_process_behind(tmp_path: Path) -> None:
    async with flow(tmp_path) as made:
        run = start(made, steps('run: echo "pid $$" && sleep 300'))
        await said(made, run, "pid ")
        line = next(x for x in log_of(run.jobs["a"]).splitlines() if "Z pid " in x and "$$" not in x)
        await made.hub.stop()
    assert not alive(line.rsplit(" ", 1)[1])


async def test_checkout_takes_the_runs_commit_and_persists_credentials_only_when_asked(w: Flow) -> None:
    w.repo.private = True
    run = start(
        w,
        steps(
            "{uses: actions/checkout@v4, with: {fetch-depth: 0}}",
            "run: git log --oneline | wc -l && git branch --show-current && git fetch --quiet origin main",
            "{uses: actions/checkout@v4, with: {path: clean, persist-credentials: false}}",
            "{working-directory: clean, run: git rev-list --count HEAD && ! git fetch origin main}",
            job="    permissions: {contents: read}\n",
        ),
    )
    assert await w.finished(run) is Conclusion.SUCCESS, log_of(run.jobs["a"])
    log = log_of(run.jobs["a"])
    assert "Z 2" in log
    assert "Z main" in log
    assert "Z 1" in log


async def test_checkout_without_the_permission_fails(w: Flow) -> None:
    w.repo.private = True
    run = start(w, steps("uses: actions/checkout@v4", job="    permissions: {}\n"))
    assert await w.finished(run) is Conclusion.FAILURE


async def test_artifacts_want_files_and_names_that_are_not_taken(w: Flow) -> None:
    upload = "{uses: actions/upload-artifact@v4, with: {name: n, path: '*.txt', if-no-files-found: error}}"
    run = start(w, steps(upload, f"{{if: always(), {upload[1:]}"))
    assert await w.finished(run) is Conclusion.FAILURE
    assert "No files were found with the provided path: *.txt" in log_of(run.jobs["a"])
    run = start(w, steps("run: touch a.txt b.txt .hidden.txt", upload, upload))
    assert await w.finished(run) is Conclusion.FAILURE
    assert "an artifact with this name already exists" in log_of(run.jobs["a"])
    (artifact,) = w.hub.actions.artifacts.values()
    assert zipfile.ZipFile(io.BytesIO(artifact.data)).namelist() == ["a.txt", "b.txt"]


async def test_a_malformed_output_file_fails_the_step(w: Flow) -> None:
    run = start(w, steps('run: echo "no equals sign" >> "$GITHUB_OUTPUT"'))
    assert await w.finished(run) is Conclusion.FAILURE
    assert "Invalid format 'no equals sign'" in log_of(run.jobs["a"])


async def test_oidc_is_offered_only_to_jobs_that_ask_for_it(w: Flow) -> None:
    script = (
        "run: |\n          python3 - <<'E'\n          import json, os, urllib.request\n"
        "          url = os.environ['ACTIONS_ID_TOKEN_REQUEST_URL'] + '&audience=https://bot/start'\n"
        "          headers = {'Authorization': 'bearer ' + os.environ['ACTIONS_ID_TOKEN_REQUEST_TOKEN']}\n"
        "          value = json.load(urllib.request.urlopen(urllib.request.Request(url, None, headers)))['value']\n"
        "          print('segments', len(value.split('.')))\n          E"
    )
    run = start(w, steps(script, job="    permissions: {id-token: write}\n"))
    assert await w.finished(run) is Conclusion.SUCCESS, log_of(run.jobs["a"])
    assert "Z segments 3" in log_of(run.jobs["a"])
    assert await w.finished(start(w, steps(script))) is Conclusion.FAILURE


def wheel(name: str, script: str) -> bytes:
    """A wheel with one module and one program, and what the program needs from outside."""
    files = {
        f"{name}/__init__.py": f"def main():\n    import sys, aiohttp\n    print({script!r}, aiohttp.__name__)\n",
        f"{name}-1.0.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{name}-1.0.dist-info/entry_points.txt": f"[console_scripts]\n{name}-run = {name}:main\n",
        f"{name}-1.0.dist-info/RECORD": "",
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return buffer.getvalue()


async def test_a_wheel_is_installed_by_address_and_digest_without_an_index(w: Flow) -> None:
    data = wheel("bot", "the wheel's own bot")
    server = web.Application()

    async def serve(_: web.Request) -> web.Response:
        return web.Response(body=data)

    server.router.add_get("/bot-1.0-py3-none-any.whl", serve)
    runner = web.AppRunner(server, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/bot-1.0-py3-none-any.whl"
    good, bad = hashlib.sha256(data).hexdigest(), "0" * 64
    text = steps(
        f"run: pipx install 'bot @ {url}#sha256={good}'",
        "run: mkdir bot && touch bot/__init__.py && bot-run",
        f"{{if: always(), run: \"pipx install --force 'bot @ {url}#sha256={bad}'\"}}",
    )
    run = start(w, text)
    assert await w.finished(run) is Conclusion.FAILURE
    await runner.cleanup()
    log = log_of(run.jobs["a"])
    assert "installed package bot" in log, log
    assert "Z the wheel's own bot aiohttp" in log, log
    assert "DO NOT MATCH THE HASHES" in log
    ends = [s.conclusion for s in run.jobs["a"].steps[1:4]]
    assert ends == [Conclusion.SUCCESS, Conclusion.SUCCESS, Conclusion.FAILURE]


@pytest.mark.parametrize(
    "spec",
    ["bot", "bot==1.0", "bot @ https://example.com/bot.whl#sha256=" + "0" * 64, "bot @ http://127.0.0.1:1/bot.whl"],
)
async def test_other_ways_of_installing_are_refused(w: Flow, spec: str) -> None:
    run = start(w, steps(f"run: pipx install '{spec}'"))
    assert await w.finished(run) is Conclusion.FAILURE
    assert "pipx: error:" in log_of(run.jobs["a"])


async def test_only_as_many_jobs_run_at_once_as_allowed(w: Flow) -> None:
    w.hub.actions.runner = ProcessRunner(w.hub, max_jobs=1)
    one = "{runs-on: x, steps: [{run: echo go}]}"
    run = start(w, f"on: workflow_dispatch\njobs:\n  a: {one}\n  b: {one}\n")
    await w.finished(run)
    spans = sorted((j.started_at, j.completed_at) for j in run.jobs.values() if j.started_at and j.completed_at)
    assert len(spans) == 2
    assert spans[0][1] <= spans[1][0]


async def test_python_is_there_for_unit_tests(w: Flow, tmp_path: Path) -> None:
    run = start(
        w,
        steps(
            "{id: py, uses: actions/setup-python@v5, with: {python-version: '3.11'}}",
            "run: python -c 'import sys; print(sys.prefix == sys.base_prefix)'",
            "run: ${{ steps.py.outputs.python-path }} -V",
        ),
    )
    assert await w.finished(run) is Conclusion.SUCCESS
    assert "Z True" in log_of(run.jobs["a"])


async def test_a_download_wants_a_signature(w: Flow) -> None:
    async with aiohttp.ClientSession() as http, http.get(f"{w.hub.html_url}/_hub/download/artifact-1.zip") as answer:
        assert answer.status == 403
