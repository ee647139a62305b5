"""An outside CI reports: the bot looks at once, whatever is claimed; a report without proof is refused."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import subprocess
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bot.domain.ci_report import CiReport, read_report
from tests.scenarios.test_people_over_http import PLAIN, ask
from tests.world import World, new_world

SHA = "a" * 40
SCRIPT = Path(__file__).parents[2] / "scripts/ci/report.sh"
REPO = {"full_name": "olga/greeter"}


@pytest.mark.parametrize(
    ("data", "found"),
    [
        pytest.param(
            {"repository": REPO, "sha": SHA, "state": "success", "branches": [{"name": "tgs/1-x"}]},
            CiReport("olga/greeter", SHA, "tgs/1-x"), id="a commit status",
        ),
        pytest.param(
            {"repository": REPO, "workflow_run": {"head_sha": SHA, "head_branch": "b", "conclusion": "failure"}},
            CiReport("olga/greeter", SHA, "b"), id="a workflow run",
        ),
        pytest.param(
            {"repository": REPO, "check_suite": {"head_sha": SHA}}, CiReport("olga/greeter", SHA, None),
            id="a check suite",
        ),
        pytest.param(
            {"object_kind": "pipeline", "project": {"path_with_namespace": "olga/greeter"},
             "object_attributes": {"sha": SHA, "ref": "refs/heads/b", "status": "failed"}},
            CiReport("olga/greeter", SHA, "b"), id="a pipeline of GitLab",
        ),
        pytest.param(
            {"project": {"path_with_namespace": "olga/greeter"}, "sha": SHA, "ref": "b"},
            CiReport("olga/greeter", SHA, "b"), id="a build of GitLab",
        ),
        pytest.param({"repository": REPO, "sha": "HEAD"}, None, id="a commit that is none"),
        pytest.param({"repository": REPO, "branches": [{"name": "a\nb"}]}, None, id="a branch that is none"),
        pytest.param({"repository": "olga/greeter", "sha": SHA}, None, id="a repository that is a text"),
        pytest.param({"repository": REPO, "workflow_run": 7}, None, id="a run that is a number"),
        pytest.param([SHA], None, id="a list"),
    ],
)  # fmt: skip
def test_a_report_points_at_a_commit_or_at_nothing(data: object, found: CiReport | None) -> None:
    assert read_report(data) == found


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with new_world(tmp_path, policy=PLAIN) as found:
        yield found


async def send(world: World, data: object, **headers: str) -> tuple[int, Any]:
    assert world.http is not None
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    async with world.http.post(f"{world.url}/api/v1/ci/report", data=raw, headers=headers) as answer:
        return answer.status, await answer.json(content_type=None)


def sign(token: str, raw: bytes) -> str:
    return "sha256=" + hmac.new(token.encode(), raw, hashlib.sha256).hexdigest()


async def test_a_report_makes_the_bot_look_and_decides_nothing(world: World) -> None:
    number = world.issue()
    world.label(number, "tgs:ready")
    await world.settle()
    sha = await world.run().work()
    token = (await ask(world, "GET", "ci-token")).body["token"]
    assert (await ask(world, "GET", "ci-token", by=world.tom)).status == 403
    await world.settle()
    world.hub.log.clear()
    raw = json.dumps({"repository": REPO, "sha": sha, "state": "failure"}).encode()
    status, body = await send(world, raw, **{"X-Tgs-Signature-256": sign(token, raw)})
    assert (status, body) == (202, {"repo": "olga/greeter", "sha": sha, "branch": None})
    await world.settle()
    assert any(sha in entry.path for entry in world.hub.log.entries), "the commit was not looked at"
    item = await world.item(number)
    assert item is not None
    assert item.state.value == "in-review"
    assert world.bot_said(number) == []


async def test_a_report_needs_a_proof_that_fits(world: World) -> None:
    token = (await ask(world, "GET", "ci-token")).body["token"]
    raw = json.dumps({"repository": REPO, "sha": SHA}).encode()
    other = json.dumps({"repository": {"full_name": "otto/theirs"}, "sha": SHA}).encode()
    reader = {"Authorization": f"Bearer {world.hub.user_token('rita')}"}
    stranger = {"Authorization": f"Bearer {world.hub.user_token(world.hub.create_user('sam').login)}"}
    cases: list[tuple[str, bytes, dict[str, str], int]] = [
        ("nothing", raw, {}, 401),
        ("the token itself", raw, {"X-Project-Token": token}, 202),
        ("the token as GitLab sends it", raw, {"X-Gitlab-Token": token}, 202),
        ("a signature as GitHub sends it", raw, {"X-Hub-Signature-256": sign(token, raw)}, 202),
        ("a person who can read", raw, reader, 202),
        ("a stranger", raw, stranger, 403),
        ("another token", raw, {"X-Project-Token": token[:-1] + "x"}, 401),
        ("a signature of other words", raw, {"X-Tgs-Signature-256": sign(token, raw + b" ")}, 401),
        ("a good person with a bad signature", raw, {**reader, "X-Tgs-Signature-256": "sha256=0"}, 401),
        ("a good signature with a stranger", raw, {**stranger, "X-Tgs-Signature-256": sign(token, raw)}, 403),
        ("another repository", other, {"X-Tgs-Signature-256": sign(token, other)}, 401),
        ("no report", b"{", {"X-Project-Token": token}, 401),
        ("no report of a person", b"{", reader, 400),
    ]
    for what, body, headers, wanted in cases:
        status, answer = await send(world, body, **headers)
        assert status == wanted, f"{what}: {status} {answer}"
    await world.settle()


async def test_a_token_ends_with_the_second_month_after_it_was_made(tmp_path: Path) -> None:
    raw = json.dumps({"repository": REPO, "sha": SHA}).encode()
    async with new_world(tmp_path, policy=PLAIN) as world:
        assert world.clock.now() == datetime(2026, 11, 2, 9, tzinfo=UTC)
        first = (await ask(world, "GET", "ci-token")).body
        assert first["expires_at"] == "2027-02-01T00:00:00Z"

        async def taken(token: str) -> set[int]:
            """What the proofs made with it are answered."""
            ways = ({"X-Project-Token": token}, {"X-Tgs-Signature-256": sign(token, raw)})
            return {(await send(world, raw, **way))[0] for way in ways}

        world.clock.advance(datetime(2027, 1, 31, 23, 59, 59, tzinfo=UTC) - world.clock.now())
        assert await taken(first["token"]) == {202}
        second = (await ask(world, "GET", "ci-token")).body
        assert (second["expires_at"], second["token"] != first["token"]) == ("2027-04-01T00:00:00Z", True)
        world.clock.advance(timedelta(seconds=1))
        assert (await taken(first["token"]), await taken(second["token"])) == ({401}, {202})
        status, body = await send(world, raw, **{"X-Project-Token": first["token"]})
        assert (status, "its token has ended; read the current one" in body["detail"]) == (401, True)
        await world.settle()


@pytest.mark.parametrize("style", ["github", "gitlab"])
async def test_the_script_reports_and_never_fails_the_job(world: World, style: str) -> None:
    token = (await ask(world, "GET", "ci-token")).body["token"]
    of_ci = (
        {"GITHUB_REPOSITORY": "olga/greeter", "GITHUB_SHA": SHA, "GITHUB_REF_NAME": "tgs/1-x"}
        if style == "github"
        else {"CI_PROJECT_PATH": "olga/greeter", "CI_COMMIT_SHA": SHA, "CI_COMMIT_BRANCH": "tgs/1-x"}
    )

    async def run(*args: str, **env: str) -> tuple[int, str]:
        found = await asyncio.to_thread(
            subprocess.run,
            [str(SCRIPT), *args],
            env={"PATH": os.environ["PATH"], **of_ci, **env},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return found.returncode, found.stdout + found.stderr

    assert await run("success", TGS_API_BASE=world.url, TGS_WEBHOOK_TOKEN=token) == (0, "Reported success: 202.\n")
    assert await run("failure", TGS_API_BASE=world.url, TGS_PROJECT_TOKEN=token) == (0, "Reported failure: 202.\n")
    code, said = await run("success", TGS_API_BASE=world.url, TGS_WEBHOOK_TOKEN="tgc_wrong")
    assert (code, "did not take the report: 401" in said, "tgc_wrong" in said) == (0, True, False)
    assert await run("success") == (0, "TGS_API_BASE is not set; nothing was reported.\n")
    assert (await run("maybe"))[0] == 2
    code, said = await run("success", TGS_API_BASE="http://example.org", TGS_WEBHOOK_TOKEN=token)
    assert (code, "must begin with https" in said) == (1, True)
    await world.settle()
