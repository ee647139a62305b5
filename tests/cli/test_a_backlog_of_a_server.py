"""`tgs server backlog` against a running bot, as transcripts: real HTTP on both sides, one virtual clock."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import structlog

from bot.client import http
from bot.domain.model import AttemptId
from bot.protocols.ledger import LockRow
from tests.cli.terminal import Terminal, home
from tests.world import START, World, new_world

PULL = "workers: pull\nmax_parallel: 3\nagent:\n  adapter: scripted\nallow_unisolated: true\n"
POLICY = "agent:\n  adapter: scripted\nallow_unisolated: true\n"
TICKET = "id: fr-1\ntitle: Greet in French\ntype: feature\npriority: high\nlocks: src/fr/\ndescription: Say bonjour.\n"


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    # A server that is away stays away for as long as a transcript lasts.
    monkeypatch.setattr(http, "PAUSES", (0.0,) * len(http.PAUSES))
    # The transcript holds what the command said, not what the bot in the same process logs.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.__stderr__))
    async with new_world(tmp_path, policy=POLICY) as made:
        made.leave_due = True
        yield made
    structlog.reset_defaults()


@pytest.fixture
def maria(world: World, tmp_path: Path) -> Terminal:
    return at(world, tmp_path, "maria")


def at(world: World, tmp: Path, login: str) -> Terminal:
    (tmp / login).mkdir()
    environment = home(tmp) | {
        "USER": login,
        "LOGNAME": login,
        "XDG_STATE_HOME": str(tmp / f"state-{login}"),
        "TGS_SERVER_URL": world.url,
        "GH_TOKEN": world.hub.user_token(login),
        "GITHUB_REPOSITORY": world.repo.full_name,
    }
    names = {world.url: "https://tgs.example.org", world.hub.html_url: "https://github.com", str(tmp): "~"}
    return Terminal(environment, tmp / login, names, world)


async def test_items_are_added_listed_and_removed(world: World, maria: Terminal) -> None:
    backlog = "tgs server backlog"
    folder = world.thought("a1b2c3", "say-goodbye")
    issue = world.issue("Add a greeting in a rather long title, \x1b[31mred\x1b[0m and [bold]loud")
    (maria.cwd / "french.yaml").write_text(TICKET)
    await world.settle()
    # The bot may have started on it by the time the answer is written.
    maria.names["[bold]loud): in-progress."] = "[bold]loud): ready."
    await maria.type(f"{backlog} list")
    await maria.type(f"{backlog} add {issue}")
    await maria.type(f"{backlog} add '#{issue}'")
    await maria.type(f"{backlog} add {folder}")
    await maria.type(f"{backlog} add french.yaml")
    await maria.type(f"{backlog} add french.yaml --json")
    await maria.type(f"{backlog} list")
    await maria.type(f"{backlog} list --wide")
    await maria.type(f"{backlog} list --state ready --label tgs:priority/high --json")
    await maria.type(f"{backlog} list --status failed")
    await maria.type(f"{backlog} remove {issue}")
    await maria.type(f"{backlog} remove {issue} --force")
    await maria.type(f"{backlog} remove {folder} --json")
    await maria.type(f"{backlog} validate")
    await maria.type(f"{backlog} validate --json")
    maria.equals_golden("server-items")
    for number in world.repo.issues:
        world.bot_said(number)


async def test_each_trouble_has_its_words_and_its_exit_code(world: World, maria: Terminal) -> None:
    line = "tgs server backlog list"
    world.hub.create_user("sam")
    await maria.type(line)
    await maria.type(line, env={"TGS_SERVER_URL": ""})
    await maria.type(line, env={"TGS_SERVER_URL": "http://tgs.example.org"})
    await maria.type(line, env={"GH_TOKEN": ""})
    await maria.type(line, env={"GH_TOKEN": "ghp_wrong"})
    await maria.type(line, env={"GH_TOKEN": world.hub.user_token("sam")})
    await maria.type(f"{line} --repo olga/other --json")
    await maria.type(line, env={"GITHUB_REPOSITORY": ""})
    await maria.type(f"{line} --repo greeter")
    await maria.type(line, env={"TGS_SERVER_URL": world.hub.html_url})
    await maria.type("tgs server backlog add 77")
    await maria.type("tgs server backlog add tgs/thoughts/a1b2c3-nowhere")
    await maria.type("tgs server backlog remove tgs/thoughts/a1b2c3-nowhere")
    await maria.type("tgs server backlog complete 5")
    await maria.type("tgs server backlog complete")
    await world.stop_bot()
    await maria.type(line)
    await maria.type(f"{line} --json")
    await maria.type("tgs server backlog remove 5")
    maria.equals_golden("server-troubles")


EVERY = (
    "backlog add 1",
    "backlog remove 1",
    "backlog list",
    "backlog next",
    "backlog claim 1",
    "backlog heartbeat 1",
    "backlog complete 1",
    "backlog fail 1 --message gone",
    "backlog validate",
    "backlog scan",
    "backlog export",
    "backlog import backlog.json",
    "locks list",
    "locks explain 1",
    "locks release src/",
)
"""Every command about the backlog; #1 is the set-up issue, which is no item."""

NOWHERE = ("backlog add", "backlog remove", "backlog claim", "backlog complete", "backlog fail", "locks explain")


async def test_every_command_has_words_for_an_empty_backlog_a_missing_folder_and_a_server_that_is_away(
    world: World, maria: Terminal
) -> None:
    (maria.cwd / "backlog.json").write_text('{"version": "1", "thoughts": []}')
    for command in EVERY[2:]:
        await maria.type(f"tgs server {command}")
    for command in NOWHERE:
        await maria.type(f"tgs server {command} tgs/thoughts/ffffff-nowhere")
    await world.stop_bot()
    for command in EVERY:
        away = await maria.type(f"tgs server {command}")
        assert away.code in {6, 7}, command
    maria.equals_golden("server-every-command")


async def test_a_repository_that_is_not_set_up_is_found_out(tmp_path: Path) -> None:
    async with new_world(tmp_path, bare=True) as world:
        world.leave_due = True
        maria = at(world, tmp_path, "maria")
        checked = await maria.type("tgs server backlog validate")
        assert checked.code == 6
        assert checked.out.startswith("error: ")
        assert max(map(len, checked.out.splitlines())) <= 80
        assert (await maria.type("tgs server backlog validate --json")).code == 6


async def test_the_backlog_is_carried_over_and_put_right(world: World, maria: Terminal) -> None:
    """Plans that nobody mirrored, a file from elsewhere, broken files, a lock without a holder."""
    backlog = "tgs server backlog"
    world.push({".tgs/policy.yml": f"{PULL}mirror:\n  enabled: false\n"})
    folder = world.thought("a1b2c3", "say-goodbye")
    await world.settle()
    await maria.type(f"{backlog} list")
    await maria.type(f"{backlog} scan")
    await maria.type(f"{backlog} scan --apply")
    await maria.type(f"{backlog} scan --apply --json")
    await maria.type(f"{backlog} export")
    carried = {"version": "1", "thoughts": [{"dir": folder, "status": "queued", "priority": 100}]}
    file = maria.cwd / "backlog.json"
    file.write_text(json.dumps(carried))
    await maria.type(f"{backlog} import backlog.json")
    await maria.type(f"{backlog} import backlog.json --json")
    file.write_text('{\n"version": "1",\n<<<<<<< ours\n"thoughts": []}')
    await maria.type(f"{backlog} import backlog.json")
    file.write_text('{"version": "1", "thoughts": [{"dir": 7}]}')
    await maria.type(f"{backlog} import backlog.json")
    file.write_text('{"version": "2", "thoughts": []}')
    await maria.type(f"{backlog} import backlog.json")
    for verb in ("claim", "complete", "fail --message gone"):
        await maria.type(f"{backlog} {verb} tgs/thoughts/ffffff-nowhere")
    [item] = await world.parts.store.read(lambda tx: tx.items(world.repo_key))
    await world.parts.store.write(
        lambda tx: tx.take_locks([LockRow(world.repo_key, "src/", item.key.number, AttemptId("gone"), START)])
    )
    await maria.type("tgs server locks list")
    await maria.type(f"{backlog} validate")
    await maria.type(f"{backlog} validate --fix")
    await maria.type("tgs server locks release src/")
    await maria.type("tgs server locks list")
    maria.equals_golden("server-moves")
    for number in world.repo.issues:
        world.bot_said(number)


async def test_several_items_are_claimed_at_once(world: World, maria: Terminal) -> None:
    world.push({".tgs/policy.yml": PULL})
    for title in ("One", "Two", "Three"):
        world.issue(title, labels=["tgs:ready"])
    await world.settle()
    asked = await maria.type("tgs server backlog next --count 2 --json")
    assert len({claim["number"] for claim in json.loads(asked.out)["claims"]}) == 2
    for number in world.repo.issues:
        world.bot_said(number)


async def test_an_item_is_claimed_and_settled(world: World, maria: Terminal, tmp_path: Path) -> None:
    backlog = "tgs server backlog"
    world.push({".tgs/policy.yml": PULL})
    await world.settle()
    olga = at(world, tmp_path, "olga")
    folder = world.thought("a1b2c3", "say-goodbye")
    await world.settle()
    await maria.type(f"{backlog} next")
    await maria.type(f"{backlog} add {folder}")
    await maria.type(f"{backlog} next --peek")
    await maria.type(f"{backlog} next")
    taken = await olga.type(f"{backlog} claim {folder}")
    assert taken.code == 4
    await olga.type(f"{backlog} claim {folder} --json")
    await olga.type(f"{backlog} next --json")
    second = world.issue("Add a greeting", labels=["tgs:ready"])
    await world.settle()
    await olga.type(f"{backlog} claim {folder} --or-next")
    await maria.type(f"{backlog} list")
    await maria.type("tgs server locks list")
    await maria.type(f"tgs server locks explain {folder}")
    await maria.type(f"{backlog} complete")
    claim = json.loads(next((tmp_path / "state-maria/tgs/claims").glob("*.json")).read_text())
    item = await world.attempts(claim["number"])
    world.push({"bye.py": "print('bye')\n"}, branch=item[-1].branch)
    assert (await maria.type(f"{backlog} complete {folder}")).code == 6
    world.push({f"{folder}/implementation.md": "# Done\n"}, branch=item[-1].branch)
    await maria.type(f"{backlog} complete {folder}")
    await maria.type(f"{backlog} add {folder}")
    await olga.type(f"{backlog} fail --reason agent.crash --message 'It ran out of memory.'")
    await olga.type(f"{backlog} add {second}")
    await olga.type(f"{backlog} claim {second}")
    await world.after(timedelta(minutes=2))
    await olga.type(f"{backlog} claim {second} --name phone")
    await olga.type(f"{backlog} heartbeat --note 'Half of it is there.'")
    await maria.type(f"{backlog} remove {second} --force")
    stop = await olga.type(f"{backlog} heartbeat")
    assert stop.code == 5
    await world.after(timedelta(minutes=65))
    lost = await olga.type(f"{backlog} complete")
    assert lost.code == 5
    await olga.type(f"{backlog} complete")
    await maria.type(f"{backlog} list")
    maria.lines += ["--- olga's terminal, meanwhile", "", *olga.lines]
    maria.equals_golden("server-claims")
    kept = list((tmp_path / "state-olga/tgs/claims").glob("*.json"))
    assert kept == [], "a lost claim is forgotten"
    assert claim["token"] not in "\n".join(maria.lines)
    for number in world.repo.issues:
        world.bot_said(number)
