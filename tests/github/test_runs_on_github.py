"""Dispatching, finding and cancelling runs through the gateway, against a local Actions service."""

from __future__ import annotations

from datetime import timedelta

import aiohttp
import pytest
from pydantic import SecretStr

from bot.domain.facts import RunStatus
from bot.errors import Invalid, NotFound, Unauthorized, Unavailable
from bot.github.calls import Origin
from bot.github.whoami import whoami
from bot.localhub.core import Fault, FaultKind
from tests.github.hub import World

WORKFLOW = "tgs-server-run.yml"
TEXT = """
name: tgs
run-name: "tgs #${{ inputs.issue }} ${{ inputs.claim_id }}"
on:
  workflow_dispatch:
    inputs:
      issue: {type: string, required: true}
      claim_id: {type: string, required: true}
jobs:
  start:
    runs-on: ubuntu-latest
    steps:
      - run: echo hello
"""
INPUTS = {"issue": "5", "claim_id": "claim-1"}


class Nobody:
    """A runner on which no job ever starts, so that a test decides how far a run gets."""

    def queue(self, job: object) -> None:
        """The job stays queued."""

    def cancel(self, job: object, *, force: bool) -> None:
        """Nothing runs."""


@pytest.fixture
def r(w: World) -> World:
    """A repository with the workflow."""
    w.hub.actions.runner = Nobody()
    w.repo = w.hub.create_repo(w.owner, "runs", files={f".github/workflows/{WORKFLOW}": TEXT})
    w.hub.change_repositories(w.installation, add=[w.repo])
    w.known_name = w.repo.full_name
    return w


async def test_a_dispatched_run_is_known_by_its_id(r: World) -> None:
    id_ = await r.gateway.dispatch(r.key, WORKFLOW, "main", INPUTS)
    assert id_ is not None
    run = await r.gateway.run(r.key, id_)
    assert run is not None
    assert (run.status, run.run_attempt, run.display_title) == (RunStatus.QUEUED, 1, "tgs #5 claim-1")
    assert run.head_sha == await r.gateway.head(r.key, "main")
    assert [(name, status) for _, name, status, _ in await r.gateway.jobs(r.key, id_)] == [("start", "queued")]


async def test_a_run_whose_dispatch_lost_its_answer_is_found_by_its_title(r: World) -> None:
    await r.gateway.repository(r.key)
    r.hub.faults.add(Fault(FaultKind.DISCONNECT_AFTER, method="POST", path="dispatches"))
    with pytest.raises(Unavailable) as caught:
        await r.gateway.dispatch(r.key, WORKFLOW, "main", INPUTS)
    assert caught.value.uncertain
    now = r.clock.now()
    [run] = await r.gateway.runs_named(r.key, WORKFLOW, "claim-1", now)
    assert await r.gateway.runs_named(r.key, WORKFLOW, "claim-2", now) == []
    assert await r.gateway.runs_named(r.key, WORKFLOW, "claim-1", now + timedelta(minutes=5)) == []
    assert run.display_title == "tgs #5 claim-1"


async def test_a_cancelled_run_cannot_be_cancelled_again(r: World) -> None:
    id_ = await r.gateway.dispatch(r.key, WORKFLOW, "main", INPUTS)
    assert id_ is not None
    assert await r.gateway.cancel_run(r.key, id_, force=False)
    run = await r.gateway.run(r.key, id_)
    assert run is not None
    assert (run.status, run.conclusion) == (RunStatus.COMPLETED, "cancelled")
    assert not await r.gateway.cancel_run(r.key, id_, force=False)
    assert not await r.gateway.cancel_run(r.key, id_, force=True)


async def test_what_cannot_be_dispatched(r: World) -> None:
    with pytest.raises(NotFound):
        await r.gateway.dispatch(r.key, "nothing.yml", "main", INPUTS)
    with pytest.raises(Invalid):
        await r.gateway.dispatch(r.key, WORKFLOW, "main", {"unexpected": "1"})
    with pytest.raises(Invalid):
        await r.gateway.dispatch(r.key, WORKFLOW, "no-such-branch", INPUTS)


async def test_workflows_and_environments_are_looked_up(r: World) -> None:
    assert await r.gateway.workflow_state(r.key, f".github/workflows/{WORKFLOW}") == "active"
    assert await r.gateway.workflow_state(r.key, "nothing.yml") is None
    assert not await r.gateway.environment_exists(r.key, "tgs-agent")
    r.hub.actions.environment(r.repo, "tgs-agent")
    assert await r.gateway.environment_exists(r.key, "tgs-agent")


async def test_a_token_names_its_person(w: World) -> None:
    async with aiohttp.ClientSession() as session:
        ask = whoami(
            session,
            Origin(w.hub.api_url, w.hub.graphql_url),
            clock=w.clock,
            sleep=w.clock.sleep,
            jitter=lambda: 0.5,
        )
        assert await ask(w.hub.user_token("wim")) == w.person("wim")
        with pytest.raises(Unauthorized) as caught:
            await ask("ghp_unknown")
    assert "ghp_unknown" not in str(caught.value)
    assert "ghp_unknown" not in repr(SecretStr("ghp_unknown"))
