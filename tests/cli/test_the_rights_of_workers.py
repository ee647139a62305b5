"""`tgs worker token`: an administrator gives the right, sees it, takes it back; nobody else does."""

from __future__ import annotations

from pathlib import Path

from bot.domain.attempt import WorkerKind
from tests.cli.test_a_backlog_of_a_server import at
from tests.scenarios.steps import ready
from tests.web.asking import PULL_POLICY
from tests.world import new_world


async def test_the_right_is_given_seen_and_taken_back(tmp_path: Path) -> None:
    async with new_world(tmp_path) as world:
        world.leave_due = True
        olga, maria = at(world, tmp_path, "olga"), at(world, tmp_path, "maria")
        await olga.type("tgs worker token list")
        made = await olga.type("tgs worker token create 'build box' --days 30")
        piped = await olga.type("tgs worker token create other --max-claims 1 --quiet")
        assert piped.out.startswith("tgw_")
        assert len(piped.out.split()) == 1
        listed = await olga.type("tgs worker token list")
        assert made.out.split()[0] not in listed.out
        id_ = listed.out.split()[0]
        await olga.type(f"tgs worker token revoke {id_}")
        await olga.type("tgs worker token list --json")
        await olga.type("tgs worker token revoke wt-unknown")
        await maria.type("tgs worker token create mine")
        olga.lines += maria.lines
        olga.equals_golden("worker-tokens")


async def test_a_worker_claims_with_its_token_and_may_do_nothing_else(tmp_path: Path) -> None:
    async with new_world(tmp_path, policy=PULL_POLICY) as world:
        world.leave_due = True
        number = await ready(world, "Add a greeting")
        olga, box = at(world, tmp_path, "olga"), at(world, tmp_path, "tom")
        made = await olga.type("tgs worker token create box --quiet")
        box.env |= {"GH_TOKEN": "", "TGS_TOKEN": made.out.strip()}
        await box.type("tgs server backlog next --peek")
        taken = await box.type("tgs server backlog next --name box")
        assert (taken.code, (await world.attempts(number))[-1].worker.kind) == (0, WorkerKind.PULL)
        await box.type("tgs server backlog heartbeat")
        await box.type("tgs server backlog list")
        await box.type("tgs server backlog remove 1 --force")
        await box.type("tgs server backlog fail --reason infra.runner_lost --message 'The box goes down.'")
        await box.type("tgs server backlog next")
        await olga.type("tgs worker token revoke wt000003")
        await box.type("tgs server backlog next")
        box.equals_golden("worker-claims")
