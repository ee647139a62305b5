"""The scan workflow: where webhooks do not reach the bot, a push still brings its plans."""

from __future__ import annotations

from pathlib import Path

from bot.localhub.hooks import HookFault, HookFaultKind
from bot.workflows import render_scan_workflow
from tests.world import AUTO_POLICY, World, new_world

SCAN = ".github/workflows/tgs-server-scan.yml"


async def ask(world: World, **overrides: object) -> int:
    """The scan job of the newest run of the workflow asks the bot to look."""
    runs = [r for r in world.hub.actions.runs_of(world.repo) if r.workflow.path == SCAN]
    run = max(runs, key=lambda r: r.id)
    token = world.hub.oidc.mint(run, run.jobs["scan"], f"{world.url}/scan", overrides)
    assert world.http is not None
    async with world.http.post(
        f"{world.url}/api/v1/runs/scan", json={}, headers={"Authorization": f"Bearer {token}"}
    ) as answer:
        return answer.status


async def test_a_push_is_noticed_without_any_webhook(tmp_path: Path) -> None:
    async with new_world(tmp_path, policy=AUTO_POLICY) as world:
        wheel = f"{world.url}/dist/tgs_bot-0.1.0-py3-none-any.whl"
        world.push({SCAN: render_scan_workflow(world.url, wheel, "0" * 64)})
        await world.settle()
        world.hub.hooks.faults.append(HookFault(HookFaultKind.DROP))
        folder = world.thought("abc123", "say-goodbye")
        await world.settle()
        assert all(issue.title != "Say goodbye" for issue in world.repo.issues.values())

        assert await ask(world, repository_id="1") == 403
        assert await ask(world, event_name="pull_request") == 403
        assert await ask(world, workflow_ref="olga/greeter/.github/workflows/evil.yml@refs/heads/main") == 403
        assert await ask(world) == 200
        await world.settle()
        found = [issue for issue in world.repo.issues.values() if folder in (issue.body or "")]
        assert len(found) == 1
        assert await ask(world) == 200
        await world.settle()
        assert len([issue for issue in world.repo.issues.values() if folder in (issue.body or "")]) == 1


async def test_wishes_that_are_not_honoured_are_shown(tmp_path: Path) -> None:
    async with new_world(tmp_path) as world:
        body = "Say hello.\n\n```yaml tgs\ntype: bugfix\nautomerge: true\n```\n"
        number = world.issue(body=body)
        world.label(number, "tgs:ready")
        await world.settle()
        status = world.status(number)
        assert "type: bugfix" in status
        assert "ignored:" in status
        assert "automerge" in status
