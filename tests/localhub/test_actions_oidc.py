"""The identity tokens of Actions jobs: claims, keys, and tokens that a verifier has to refuse."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from bot.localhub.actions_model import Job, Run
from tests.localhub.flow import Flow, by_hand, flow

TEXT = """\
on: {workflow_dispatch: }
permissions: {id-token: write}
jobs:
  start: {runs-on: ubuntu-latest, steps: [{run: x}]}
  publish: {runs-on: [self-hosted], environment: tgs-publish, steps: [{run: x}]}
"""


@pytest.fixture
async def w(tmp_path: Path) -> AsyncIterator[Flow]:
    async with flow(tmp_path, files={".github/workflows/run.yml": TEXT}) as made:
        by_hand(made)
        yield made


def running(w: Flow, job: str = "start") -> tuple[Run, Job]:
    workflow = w.hub.actions.files.find(w.repo, "run.yml")
    assert workflow is not None
    run = w.hub.actions.dispatch(workflow, "main", {}, w.as_(w.writer))
    w.hub.actions.start(run)
    return run, run.jobs[job]


async def verified(w: Flow, token: str, audience: str = "https://bot") -> dict[str, Any]:
    """The claims, after verification with the published key."""
    issuer = w.hub.oidc_issuer
    discovery = await w.call("GET", f"{issuer}/.well-known/openid-configuration", token="")
    assert discovery.body["issuer"] == issuer
    keys = await w.call("GET", discovery.body["jwks_uri"], token="")
    by_id = {key.key_id: key for key in jwt.PyJWKSet.from_dict(keys.body).keys}
    key = by_id[jwt.get_unverified_header(token)["kid"]]
    claims: dict[str, Any] = jwt.decode(token, key.key, ["RS256"], audience=audience, issuer=issuer)
    return claims


async def test_a_job_gets_a_token_that_says_which_run_it_is(w: Flow) -> None:
    run, job = running(w)
    url, request_token = w.hub.oidc.open_for(job)
    answer = await w.call("GET", f"{url}&audience=https://bot", token=request_token)
    claims = await verified(w, answer.body["value"])
    ref = "ada/demo/.github/workflows/run.yml@refs/heads/main"
    expected = {
        "sub": f"repo:ada@{w.owner.id}/demo@{w.repo.id}:ref:refs/heads/main",
        "repository": "ada/demo",
        "repository_id": str(w.repo.id),
        "repository_owner_id": str(w.owner.id),
        "actor": "wim",
        "actor_id": str(w.writer.id),
        "event_name": "workflow_dispatch",
        "ref": "refs/heads/main",
        "ref_type": "branch",
        "sha": run.sha,
        "workflow_ref": ref,
        "job_workflow_ref": ref,
        "run_id": str(run.id),
        "run_attempt": "1",
        "run_number": "1",
        "check_run_id": str(job.id),
        "runner_environment": "github-hosted",
    }
    assert {name: claims[name] for name in expected} == expected
    assert "environment" not in claims
    assert claims["exp"] - claims["iat"] == 300


async def test_the_environment_and_the_runner_are_named(w: Flow) -> None:
    run, job = running(w, "publish")
    claims = w.hub.oidc.claims(run, job, "a")
    assert (claims["environment"], claims["runner_environment"]) == ("tgs-publish", "self-hosted")
    assert str(claims["sub"]).endswith(":environment:tgs-publish")


async def test_without_an_audience_the_owner_is_it(w: Flow) -> None:
    _, job = running(w)
    url, request_token = w.hub.oidc.open_for(job)
    answer = await w.call("GET", url, token=request_token)
    await verified(w, answer.body["value"], f"{w.hub.html_url}/ada")


async def test_each_token_has_its_own_id(w: Flow) -> None:
    run, job = running(w)
    first, second = (w.hub.oidc.claims(run, job, "a")["jti"] for _ in range(2))
    assert first != second


@pytest.mark.parametrize("how", ["of another job", "after the end of the job", "made up", "missing"])
async def test_a_request_token_is_good_for_its_own_running_job_only(w: Flow, how: str) -> None:
    run, job = running(w)
    url, token = w.hub.oidc.open_for(job)
    match how:
        case "of another job":
            token = w.hub.oidc.open_for(run.jobs["publish"])[1]
        case "after the end of the job":
            w.hub.oidc.close(token)
        case "made up":
            token = "ghs_1_a.b.c"
        case _:
            token = ""
    assert (await w.call("GET", url, token=token)).status == 401


async def test_wrong_tokens_can_be_made_for_tests_of_verifiers(w: Flow) -> None:
    run, job = running(w)
    changed = w.hub.oidc.mint(run, job, "https://bot", {"repository_id": "1", "jti": None})
    claims = await verified(w, changed)
    assert claims["repository_id"] == "1"
    assert "jti" not in claims
    with pytest.raises(jwt.InvalidAudienceError):
        await verified(w, w.hub.oidc.mint(run, job, "https://other"))
    with pytest.raises(jwt.ExpiredSignatureError):
        await verified(w, w.hub.oidc.mint(run, job, "https://bot", {"exp": 1}))
    forged = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    with pytest.raises(jwt.InvalidSignatureError):
        await verified(w, w.hub.oidc.mint(run, job, "https://bot", key=forged))
