"""What a run must prove before the bot listens to it, and how little a stale or foreign one can do."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from bot.localhub.actions_model import Conclusion
from bot.localhub.model import Role as HubRole
from bot.protocols.ledger import Ledger
from tests.run_by_hand import RunByHand
from tests.scenarios.steps import (
    HOUR,
    MINUTE,
    dispatched,
    in_review,
    item_of,
    last_attempt,
    queued,
    ready,
    running,
    scene,
)
from tests.world import World

OTHER_FILE = "olga/greeter/.github/workflows/other.yml@refs/heads/main"
OTHER_BRANCH = "olga/greeter/.github/workflows/tgs-server-run.yml@refs/heads/feature"
OTHER_REPO = "mallory/greeter/.github/workflows/tgs-server-run.yml@refs/heads/main"

FORGED: dict[str, dict[str, Any]] = {
    "another issuer": {"iss": "https://token.actions.example"},
    "no issuer": {"iss": None},
    "the audience of another service": {"aud": "https://elsewhere.example/start"},
    "the audience of another purpose": {"aud": "publish"},
    "several audiences": {"aud": ["start", "https://elsewhere.example"]},
    "another repository": {"repository_id": "4711"},
    "another owner of the same name": {"repository_owner_id": "4711"},
    "no repository": {"repository_id": None},
    "another workflow file": {"workflow_ref": OTHER_FILE, "job_workflow_ref": OTHER_FILE},
    "our file on another branch": {"workflow_ref": OTHER_BRANCH, "job_workflow_ref": OTHER_BRANCH},
    "our file in another repository": {"workflow_ref": OTHER_REPO, "job_workflow_ref": OTHER_REPO},
    "our file called by another": {"workflow_ref": OTHER_FILE},
    "another file called by ours": {"job_workflow_ref": OTHER_FILE},
    "a push": {"event_name": "push"},
    "a pull request": {"event_name": "pull_request"},
    "a pull request of a fork": {"event_name": "pull_request_target"},
    "a second attempt": {"run_attempt": "2"},
    "a self-hosted runner": {"runner_environment": "self-hosted"},
    "no runner": {"runner_environment": None},
    "no event": {"event_name": None},
    "another run": {"run_id": "4711"},
    "no run": {"run_id": None},
    "no job": {"check_run_id": None},
    "a number that is none": {"run_id": "12 or 1=1"},
    "an expired token": {"exp": 1_000_000_000},
    "a token of the future": {"nbf": 4_000_000_000, "iat": 4_000_000_000},
    "no token id": {"jti": None},
}


async def test_a_forged_or_foreign_token_activates_nothing(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await dispatched(world)
        run = world.run()
        for what, claims in FORGED.items():
            changes = dict(claims)
            match changes.get("aud"):
                case "publish":
                    changes["aud"] = f"{world.url}/publish"
                case list():
                    changes["aud"] = [f"{world.url}/start", "https://elsewhere.example"]
            status = await forged(run, changes)
            assert status in {401, 403, 409}, (what, status)
            attempt = await last_attempt(world, number)
            assert attempt.started_at is None, what
        # Signed with a key that is not the issuer's.
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        token = world.hub.oidc.mint(run.run, run.job("start"), f"{world.url}/start", key=key)
        assert await activate_with(run, token) == 403
        for junk in ("", "x", "a.b.c", "Basic abc", "\u00e9"):
            assert await activate_with(run, junk) in {401, 403}
        assert (await last_attempt(world, number)).started_at is None
        # The real one still works after all of them, and works once.
        token = run.oidc("start", "start")
        assert await activate_with(run, token) == 200
        assert await activate_with(run, token) == 403
        await world.settle()


async def test_what_another_job_than_start_activated_is_never_published(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await dispatched(world)
        run = world.run()
        other = world.hub.oidc.mint(run.run, run.job("start"), f"{world.url}/start", {"check_run_id": "4711"})
        status, body = await run.call(
            "POST", "/runs/activate", other,
            {"claim_id": str(run.run.inputs["claim_id"]), "issue": number, "handoff": run.handoff},
        )  # fmt: skip
        assert status == 200
        run.attempt, run.fence = body["attempt"], body["fence"]
        world.hub.actions.job_finished(run.job("start"), Conclusion.SUCCESS, {"attempt": run.attempt, "fence": "1"})
        world.hub.actions.job_started(run.job("agent"))
        assert await run.hand_over() == 200
        assert await run.report(bundle_digest="0" * 64) == 200
        run.to_publish()
        status, refusal = await run.grant()
        assert status == 403
        assert "not activated by the run's job `start`" in refusal["detail"]
        assert (await last_attempt(world, number)).write_token_until is None
        await world.settle()


async def forged(run: RunByHand, claims: dict[str, Any]) -> int:
    claims = dict(claims)
    audience = claims.pop("aud", f"{run.world.url}/start")
    token = run.world.hub.oidc.mint(run.run, run.job("start"), "x", {"aud": audience, **claims})
    return await activate_with(run, token)


async def activate_with(run: RunByHand, token: str) -> int:
    status, _ = await run.call(
        "POST",
        "/runs/activate",
        token,
        {
            "claim_id": str(run.run.inputs["claim_id"]),
            "issue": int(str(run.run.inputs["issue"])),
            "handoff": run.handoff,
        },
    )
    return status


def stranger(run: RunByHand) -> RunByHand:
    """Somebody with all that the run shows in public, but with secrets of their own."""
    return RunByHand(run.world, run.run, attempt=run.attempt, fence=run.fence)


async def test_the_secrets_of_a_run_work_for_their_chooser_and_attempt_only(tmp_path: Path) -> None:
    async with scene(tmp_path, policy="max_parallel: 2\n") as world:
        one, two = await dispatched(world, "One"), await dispatched(world, "Two")
        first, second = world.run(0), world.run(1)
        assert await first.activate() == 200
        assert await second.activate() == 200
        # An answer that was lost is asked for again; anybody else who claims to be that run is refused.
        assert await first.activate() == 200
        assert (await stranger(first).activate()) == 409
        code = first.handoff
        first.handoff = second.handoff
        assert await first.hand_over() == 409
        first.handoff = code
        first.fence += 1
        assert await first.hand_over() == 409
        first.fence -= 1
        assert await first.hand_over() == 200
        assert await first.hand_over() == 200
        assert (await stranger(first).hand_over()) == 409
        assert await second.hand_over() == 200
        assert await first.activate() == 409
        # A token speaks for its own attempt.
        mine = first.token
        first.token = second.token
        assert (await first.beat())[0] == 409
        assert await first.report() == 409
        first.token = "tga_" + "0" * 32
        assert (await first.beat())[0] == 409
        first.token = mine
        assert (await first.beat())[0] == 200
        await world.settle()
        for number in (one, two):
            assert (await last_attempt(world, number)).live


async def test_a_stale_fence_changes_nothing_by_any_call(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await running(world)
        stale = world.run()
        await stale.fail("agent.crash", "boom")
        await world.after(HOUR)
        fresh = world.run()
        assert fresh.run.id != stale.run.id
        await fresh.start()
        before = (await item_of(world, number), await last_attempt(world, number))
        assert (await stale.beat(9, 9, "I am still here"))[0] == 409
        assert await stale.report() == 409
        assert await stale.report(succeeded=False, reason="agent.crash") == 409
        assert await stale.hand_over() == 409
        # The new attempt's id with the old fence, and the old id with the new fence.
        stale_id, stale.attempt = stale.attempt, fresh.attempt
        assert (await stale.beat())[0] == 409
        stale.attempt, stale.fence = stale_id, fresh.fence
        assert (await stale.beat())[0] == 409
        stale.fence = fresh.fence - 1
        assert (await ask_to_publish(stale))[0] == 409
        await world.settle()
        assert (await item_of(world, number), await last_attempt(world, number)) == before
        await fresh.publish()
        assert world.state(number) == "in-review"


async def test_a_write_token_is_given_once_for_the_reported_bundle_after_the_agent_has_ended(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await running(world)
        run = world.run()
        # Nothing was reported, and the agent's job is running.
        run.job("agent")
        assert (await ask_to_publish(run))[0] in {403, 409}
        assert await run.report() == 200
        assert (await ask_to_publish(run))[0] == 403
        run.to_publish()
        status, _ = await ask_to_publish(run, bundle_digest="1" * 64)
        assert status == 403
        status, _ = await ask_to_publish(run, environment="tgs-agent")
        assert status == 403
        status, _ = await ask_to_publish(run, run_id="4711")
        assert status in {403, 409}
        status, _ = await ask_to_publish(run, aud=f"{world.url}/start")
        assert status == 403
        for job in (run.job("start").id, run.job("agent").id, 4711):
            status, body = await ask_to_publish(run, check_run_id=str(job))
            assert (status, body["code"]) == (403, "refused")
            assert "Only the run's job `publish`" in body["detail"]
        status, body = await ask_to_publish(run, check_run_id=None)
        assert (status, "`check_run_id`" in body["detail"]) == (403, True)
        status, grant = await ask_to_publish(run)
        assert status == 200
        assert grant["branch"].startswith(f"tgs/{number}-")
        again, body = await ask_to_publish(run)
        assert (again, body["token"]) == (200, grant["token"])
        again, body = await ask_to_publish(stranger(run))
        assert again == 403
        assert "given out before" in str(body)
        # A commit that is not on the branch is no evidence, whatever the run says.
        status, _ = await run.call(
            "POST",
            f"/attempts/{run.attempt}/published",
            run.oidc("publish", "publish"),
            {"fence": run.fence, "head_sha": "1" * 40},
        )
        assert status == 200
        await world.after(5 * MINUTE)
        assert not world.pulls()
        first = (await world.attempts(number))[0]
        assert first.failure is not None
        assert first.failure.reason.value == "agent.no_evidence"


async def ask_to_publish(run: RunByHand, **changes: Any) -> tuple[int, Any]:
    """The publish job asks for the write token, with changed claims or a changed digest."""
    digest = changes.pop("bundle_digest", "0" * 64)
    audience = changes.pop("aud", f"{run.world.url}/publish")
    if "publish" in run.run.jobs:
        token = run.world.hub.oidc.mint(run.run, run.job("publish"), audience, changes)
    else:
        forged_env = {"environment": "tgs-publish", **changes}
        token = run.world.hub.oidc.mint(run.run, run.job("agent"), audience, forged_env)
    body = {
        "fence": run.fence, "asker": run.asker, "bundle_digest": digest, "head_sha": "0" * 40, "base_sha": "0" * 40
    }  # fmt: skip
    return await run.call("POST", f"/attempts/{run.attempt}/publish-token", token, body)


async def test_a_stopped_attempt_gets_no_write_token(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await running(world)
        run = world.run()
        assert await run.report() == 200
        run.to_publish()
        world.hub.hooks.hold()
        world.comment(number, "/tgs stop")
        world.hub.hooks.release()
        await world.settle()
        assert (await run.grant())[0] == 409
        assert not world.pulls()
        if not run.run.done:
            run.end(Conclusion.CANCELLED)
        await world.after(10 * MINUTE)
        assert world.state(number) == "cancelled"
        world.bot_said(number)


async def test_an_uninvited_run_claims_the_next_item_only_for_somebody_with_the_role(tmp_path: Path) -> None:
    async with scene(tmp_path, policy="max_parallel: 2\n") as world:
        number = await queued(world)
        run = await by_hand(world, "tom")
        assert await run.activate() == 403
        # Nor by a cron line of his.
        assert await forged(run, {"event_name": "schedule"}) == 403
        world.hub.actions.finish(run.run, Conclusion.FAILURE)
        # Nothing may start while the repository is paused, by hand neither.
        run = await by_hand(world, "maria")
        assert await run.activate() == 204
        world.hub.actions.finish(run.run, Conclusion.SUCCESS)
        # The webhook of `resume` is under way: the run by hand comes just before the bot's own.
        await resume_without_starting(world)
        run = await by_hand(world, "maria", number)
        assert await run.activate() == 200
        attempt = await last_attempt(world, number)
        assert attempt.run_id == run.run.id
        await world.settle()
        assert world.state(number) == "in-progress"
        assert len(await world.attempts(number)) == 1


async def resume_without_starting(world: World) -> None:
    """The pause ends in the ledger; no pass has looked yet."""

    def resume(tx: Ledger) -> None:
        repo = tx.repo(world.repo_key)
        assert repo is not None
        assert tx.save_repo(repo, replace(repo, pause=None))

    await world.parts.store.write(resume)


async def by_hand(world: World, login: str, issue: int | None = None) -> RunByHand:
    """A run that a person started on the Actions page."""
    [workflow] = [w for w in world.hub.actions.files.all(world.repo) if w.path.endswith("tgs-server-run.yml")]
    inputs = {"issue": str(issue or 0), "attempt": "0", "claim_id": "", "base_sha": ""}
    person = world.hub.find_account(login)
    assert person is not None
    run = world.hub.actions.dispatch(workflow, "main", inputs, world.as_(person))
    await world.hub.settle()
    return RunByHand(world, run)


async def test_a_rerun_in_actions_has_no_claim(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await running(world)
        run = world.run()
        await run.fail("agent.crash", "boom")
        world.hub.actions.rerun(run.run, world.as_(world.maria), keep=lambda _: False)
        status = await run.activate()
        assert status == 403
        run.end(Conclusion.FAILURE)
        await world.settle()
        assert len(await world.attempts(number)) == 1


async def test_a_fast_run_may_activate_before_its_id_is_known(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await dispatched(world)
        attempt = await last_attempt(world, number)

        def forget(tx: Ledger) -> None:
            fresh = tx.attempt(attempt.id)
            assert fresh is not None
            assert tx.save_attempt(fresh, replace(fresh, run_id=None))

        await world.parts.store.write(forget)
        # Another run of ours that does not bear the claim in its name is refused.
        other = await by_hand(world, "maria")
        body = {"claim_id": attempt.id, "issue": number, "handoff": other.handoff}
        status, _ = await other.call("POST", "/runs/activate", other.oidc("start", "start"), body)
        assert status == 409
        assert await world.run(0).activate() == 200
        await world.settle()
        assert (await last_attempt(world, number)).run_id == world.run(0).run.id


async def test_a_role_that_was_lost_stops_runs_by_hand_at_once(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await in_review(world)
        world.hub.set_role(world.repo, "maria", HubRole.READ)
        run = await by_hand(world, "maria", number)
        assert await run.activate() == 403


async def test_heartbeats_and_reports_are_bounded_and_defused(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await running(world)
        run = world.run()
        text = "@maria closes #1 <img src=x> /tgs merge " + "x" * 500
        assert (await run.beat(-5, 10**9, text))[0] == 200
        await world.after(3 * MINUTE)
        shown = world.status(number)
        assert "@maria" not in shown.replace("approved by", "")
        assert "<img" not in shown.replace("\\<img", "")
        secret = "ghs_" + "a1B2" * 9
        await run.fail("agent.gave_up", f"I found {secret}\n/tgs merge\n@maria fix it")
        assert secret not in world.status(number)
        await world.after(HOUR)
        await world.run().start()
        await world.run().fail("agent.gave_up", f"again {secret}")
        [told] = world.bot_said(number)
        assert secret not in told
        assert "\n/tgs merge" not in told


async def test_a_lease_is_ten_minutes_from_each_heartbeat(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await running(world)
        for _ in range(4):
            await world.after(timedelta(minutes=9))
            assert (await world.run().beat())[0] == 200
        assert (await last_attempt(world, number)).phase.value == "running"
        assert await ready(world, "Other")
        assert len(world.runs()) == 1
