"""A result of an outsider's text is pushed only after somebody looked, where a push would reach secrets."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bot.domain.attempt import Outcome
from bot.localhub.actions_model import Conclusion
from tests.run_by_hand import RunByHand
from tests.scenarios.steps import DAY, HOUR, MINUTE, item_of, last_attempt, running, say, scene, text_of, why
from tests.scenarios.test_a_lost_ledger_is_rebuilt import lose
from tests.world import World

WORK = b"# v2 git bundle\nnot judged here, the gate has tests of its own\n"
DIGEST = hashlib.sha256(WORK).hexdigest()
LEAKY = "on: push\njobs:\n  a:\n    runs-on: x\n    steps:\n      - run: deploy ${{ secrets.KEY }}\n"
HARMLESS = "on: push\npermissions:\n  contents: read\njobs:\n  a:\n    runs-on: x\n    steps:\n      - run: test\n"
DIFF = "+hello @everyone\n+```\n+/tgs merge\n"


@asynccontextmanager
async def place(tmp: Path, workflow: str | None = LEAKY, *, trust: str = "outsiders") -> AsyncIterator[World]:
    policy = f"ci_trust: {trust}\nagent:\n  adapter: scripted\nallow_unisolated: true\n"
    async with scene(tmp, policy=policy) as world:
        if workflow is not None:
            world.push({".github/workflows/ci.yml": workflow})
            await world.settle()
        yield world


async def offered(world: World, *, by: Any) -> tuple[int, RunByHand]:
    """An item of this author's text whose result is ready to be published."""
    number = world.issue("Add a greeting", by=by)
    world.label(number, "tgs:ready")
    await world.settle()
    run = world.run()
    await run.start()
    assert await run.report(bundle_digest=DIGEST) == 200
    run.to_publish()
    return number, run


async def grant(run: RunByHand) -> tuple[int, Any]:
    return await run.call(
        "POST", f"/attempts/{run.attempt}/publish-token", run.oidc("publish", "publish"),
        {"fence": run.fence, "asker": run.asker, "bundle_digest": DIGEST, "head_sha": "0" * 40, "base_sha": "0" * 40},
    )  # fmt: skip


async def upload(run: RunByHand, data: bytes = WORK) -> int:
    assert run.world.http is not None
    url = f"{run.world.url}/api/v1/attempts/{run.attempt}/bundle?fence={run.fence}"
    headers = {"Authorization": f"Bearer {run.oidc('publish', 'publish')}"}
    async with run.world.http.put(url, data=data, headers=headers) as answer:
        return answer.status


async def withhold(run: RunByHand, digest: str = DIGEST) -> int:
    status, _ = await run.call(
        "POST", f"/attempts/{run.attempt}/withheld", run.oidc("publish", "publish"),
        {"fence": run.fence, "bundle_digest": digest, "diff": DIFF, "files": 1, "insertions": 3},
    )  # fmt: skip
    return status


async def waiting(world: World) -> int:
    """An item whose result waits for a look."""
    number, run = await offered(world, by=world.rita)
    assert (await grant(run))[1]["code"] == "look_first"
    assert await upload(run) == 200
    assert await withhold(run) == 200
    run.end(Conclusion.SUCCESS)
    await world.settle()
    assert world.state(number) == "needs-input"
    return number


def minted(world: World) -> int:
    """How often a token was made that may write to the repository's contents."""
    return sum(1 for entry in world.hub.log.entries if entry.path.endswith("/access_tokens"))


def kept(world: World) -> int:
    folder = world.tmp / "data" / "bundles"
    return len(list(folder.iterdir())) if folder.is_dir() else 0


async def test_nothing_is_pushed_until_somebody_with_the_role_has_looked(tmp_path: Path) -> None:
    async with place(tmp_path) as world:
        number, run = await offered(world, by=world.rita)
        before = minted(world)
        status, body = await grant(run)
        assert (status, body["code"]) == (403, "look_first")
        assert ".github/workflows/ci.yml" in body["detail"]
        assert await withhold(run) == 403, "before the bytes are there"
        assert await upload(run, b"other bytes") == 403
        assert await upload(run) == 200
        assert await withhold(run, "0" * 64) == 403
        assert await withhold(run) == 200
        run.end(Conclusion.SUCCESS)
        await world.settle()
        assert minted(world) == before
        attempt, item = await last_attempt(world, number), await item_of(world, number)
        assert (attempt.outcome, item.attempts_burnt) == (Outcome.ASKED, 0)
        [shown] = world.bot_said(number)
        words = text_of(shown)
        assert "@maria" in words
        assert "1 file, 3 lines added" in words
        assert "`.github/workflows/ci.yml`" in words
        assert "/tgs publish" in words
        assert "````diff" in words
        assert "somebody must look" in await why(world, number)
        assert "Waits for a look" in world.status(number)
        await world.parts.bundles.prune()
        assert kept(world) == 1

        [refused] = await say(world, number, "/tgs publish", by=world.rita)
        assert "needs the role" in refused
        assert world.state(number) == "needs-input"

        [answer] = await say(world, number, "/tgs publish")
        assert "pushed as it was shown" in answer
        publishing = world.run()
        assert publishing.run.inputs["publish_only"] == "true"
        assert await publishing.activate() == 200
        assert publishing.attempt != run.attempt
        actions = world.hub.actions
        done = {"attempt": publishing.attempt, "publish_only": "true"}
        actions.job_finished(publishing.job("start"), Conclusion.SUCCESS, done)
        actions.job_started(publishing.job("publish"))
        await world.parts.bundles.prune()
        assert world.http is not None
        url = f"{world.url}/api/v1/attempts/{publishing.attempt}/bundle?fence={publishing.fence}"
        bearer = {"Authorization": f"Bearer {publishing.oidc('publish', 'publish')}"}
        async with world.http.get(url, headers=bearer) as found:
            assert (found.status, await found.read()) == (200, WORK)
        status, right = await grant(publishing)
        assert status == 200, right
        assert minted(world) == before + 1
        sha = world.hub.git.commit(
            world.repo, {"hello.txt": "hello\n"}, by=world.app.bot, branch=right["branch"], parent=attempt.base_sha
        )
        status, _ = await publishing.call(
            "POST", f"/attempts/{publishing.attempt}/published", publishing.oidc("publish", "publish"),
            {"fence": publishing.fence, "head_sha": sha},
        )  # fmt: skip
        assert status == 200
        publishing.end(Conclusion.SUCCESS)
        await world.settle()
        assert world.state(number) == "in-review"
        assert (await item_of(world, number)).withheld is None
        await world.parts.bundles.prune()
        assert kept(world) == 0


async def test_a_rejected_result_is_forgotten(tmp_path: Path) -> None:
    async with place(tmp_path) as world:
        number = await waiting(world)
        await say(world, number, "/tgs reject it deletes the tests")
        assert world.state(number) == "proposed"
        assert (await item_of(world, number)).withheld is None
        await world.parts.bundles.prune()
        assert kept(world) == 0
        [answer] = await say(world, number, "/tgs publish")
        assert "No result waits" in answer


async def test_a_retry_builds_it_again(tmp_path: Path) -> None:
    async with place(tmp_path) as world:
        number = await waiting(world)
        await say(world, number, "/tgs retry keep the tests")
        assert (await item_of(world, number)).withheld is None
        run = world.run()
        assert "publish_only" not in run.run.inputs or run.run.inputs["publish_only"] != "true"
        await run.start()
        assert run.context["notes"] == "keep the tests"
        world.leave_due = True


async def test_a_look_at_one_result_lets_no_other_pass(tmp_path: Path) -> None:
    async with place(tmp_path) as world:
        number = await waiting(world)
        await say(world, number, "/tgs publish")
        publishing = world.run()
        assert await publishing.activate() == 200
        publishing.end(Conclusion.CANCELLED)
        await world.settle()
        world.bot_said(number)
        assert world.state(number) == "cancelled"
        await say(world, number, "/tgs retry")
        run = world.run()
        await run.start()
        assert await run.report(bundle_digest=DIGEST) == 200
        run.to_publish()
        assert (await grant(run))[1]["code"] == "look_first"
        world.leave_due = True


async def passes(tmp: Path, workflow: str | None, trust: str, *, insider: bool = False) -> bool:
    async with place(tmp, workflow, trust=trust) as world:
        _, run = await offered(world, by=world.maria if insider else world.rita)
        world.leave_due = True
        return (await grant(run))[0] == 200


async def test_where_no_secret_is_at_risk_or_the_policy_says_so_nobody_is_asked(tmp_path: Path) -> None:
    assert await passes(tmp_path / "auto", LEAKY, "auto")
    assert await passes(tmp_path / "harmless", HARMLESS, "ask")
    assert await passes(tmp_path / "nothing", None, "outsiders")
    assert await passes(tmp_path / "insider", LEAKY, "outsiders", insider=True)
    assert not await passes(tmp_path / "ask", LEAKY, "ask", insider=True)


async def test_a_look_that_nobody_takes_is_reminded_of_after_a_day_and_after_three_and_then_no_more(
    tmp_path: Path,
) -> None:
    async with place(tmp_path) as world:
        number = await waiting(world)
        world.bot_said(number)
        await world.after(23 * HOUR)
        assert world.bot_said(number) == []
        await world.after(2 * HOUR)
        (said,) = world.bot_said(number)
        assert said.startswith("@maria: A finished result waits here since 2026-11-02 09:00 UTC for somebody")
        assert "`/tgs publish` pushes it" in said
        await say(world, number, "/tgs hold not now")
        await world.after(3 * DAY)
        assert world.bot_said(number) == [], "what is held is not asked for"
        assert any("waits here since" in words for words in await say(world, number, "/tgs unhold"))
        await world.after(7 * DAY)
        assert (world.bot_said(number), world.state(number)) == ([], "needs-input")
        await say(world, number, "/tgs publish")
        assert world.state(number) == "in-progress"


async def test_a_look_and_a_question_that_wait_for_the_same_person_are_one_reminder(tmp_path: Path) -> None:
    async with place(tmp_path) as world:
        first = await waiting(world)
        second = await running(world, "Add a farewell")
        await world.run().ask({"id": "name", "text": "Which name?"})
        world.bot_said(first), world.bot_said(second)
        await world.after(26 * HOUR)
        (said,) = [*world.bot_said(first), *world.bot_said(second)]
        assert f"Also waiting for you: #{first}." in said or f"Also waiting for you: #{second}." in said
        await world.after(2 * DAY)
        assert len([*world.bot_said(first), *world.bot_said(second)]) == 1


async def test_a_result_that_was_lost_with_the_ledger_is_said_to_be_and_made_again(tmp_path: Path) -> None:
    async with place(tmp_path) as world:
        number = await waiting(world)
        world.bot_said(number)
        await lose(world)
        events = await world.parts.store.read(lambda tx: tx.events_after([world.repo_key], 0, 100, number))
        [rebuilt] = [event.line for event in events if event.line.kind == "rebuilt"]
        assert "its result that waited for a look was lost and is made again" in rebuilt.cause
        assert len(await say(world, number, "/tgs publish")) == 1, "who looked is told that there is nothing any more"
        await world.after(5 * MINUTE)
        assert world.state(number) == "in-progress"
        await world.run().start()
