"""`tgs server backlog --backend file` as transcripts: real git, one shared repository, two people, a clone each."""

from __future__ import annotations

import json
import os
import re
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bot.clock import SystemClock
from bot.localhub.core import Actor, ActorKind
from bot.localhub.core import Role as HubRole
from bot.localhub.merging import merge
from tests.cli.terminal import Terminal, home
from tests.cli.town import Town
from tests.client.clones import git, template, write

ADD, SAY, OLD = "tgs/thoughts/a1b2c3-add-greeting", "tgs/thoughts/b2c3d4-say-goodbye", "tgs/thoughts/c3d4e5-rename"


@pytest.fixture
def maria(tmp_path: Path) -> Terminal:
    made = tmp_path / "made"
    made.mkdir()
    template(made)
    return at(tmp_path, "maria")


def at(tmp: Path, login: str) -> Terminal:
    """A person with a clone of their own."""
    clone = tmp / login
    git(tmp, "clone", "--quiet", str(tmp / "made/origin.git"), str(clone))
    git(clone, "config", "user.name", login)
    git(clone, "config", "user.email", f"{login}@example.org")
    environment = home(tmp) | {"USER": login, "LOGNAME": login, "XDG_STATE_HOME": str(tmp / f"state-{login}")}
    return Terminal(environment, clone, {str(tmp): "~"})


def commit(person: Terminal, files: dict[str, str], message: str) -> None:
    for name, text in files.items():
        write(person.cwd, name, text)
    git(person.cwd, "add", "--all")
    git(person.cwd, "commit", "--quiet", "--message", message)
    git(person.cwd, "push", "--quiet")


def plan(folder: str, front: str = "") -> dict[str, str]:
    return {f"{folder}/research.md": "# Research\n", f"{folder}/plan.md": f"{front}# Plan\n"}


async def test_an_item_from_its_plan_to_its_end(maria: Terminal) -> None:
    backlog = "tgs server backlog"
    file = "--backend file"
    commit(maria, plan(ADD) | plan(SAY, "---\npriority: high\n---\n"), "Plan two things")
    await maria.type(f"{backlog} list {file}")
    await maria.type(f"{backlog} next {file}")
    await maria.type(f"{backlog} scan {file}")
    await maria.type(f"{backlog} scan --apply {file}")
    await maria.type(f"{backlog} scan --apply {file}")
    await maria.type(f"{backlog} add {ADD} {file}")
    await maria.type(f"{backlog} list {file}")
    await maria.type(f"{backlog} next --peek {file}")
    await maria.type(f"{backlog} next {file}")
    await maria.type(f"{backlog} list --wide {file}")
    await maria.type(f"{backlog} complete {file}")
    commit(maria, {f"{SAY}/implementation.md": "# Done\n"}, "Say goodbye")
    await maria.type(f"{backlog} complete {SAY.rpartition('/')[2]} {file}")
    await maria.type(f"{backlog} claim {ADD} {file} --json")
    await maria.type(f"{backlog} fail {file} --reason agent.gave_up --message 'It needs a word list.' --retryable")
    await maria.type(f"{backlog} remove {ADD} {file}")
    await maria.type(f"{backlog} validate {file}")
    await maria.type(f"{backlog} export {file}")
    await maria.type(f"{backlog} list {file} --status completed --json")
    await maria.type(f"tgs server locks list {file}")
    maria.equals_golden("file-normal")
    kept = list((Path(maria.env["XDG_STATE_HOME"]) / "tgs/claims").glob("*"))
    assert kept == [], "what was settled is forgotten"


async def test_two_people_and_one_item(maria: Terminal, tmp_path: Path) -> None:
    commit(maria, plan(ADD) | plan(SAY), "Plan two things")
    tom = at(tmp_path, "tom")
    await maria.type("tgs server backlog scan --apply --backend file")
    await maria.type(f"tgs server backlog claim {ADD} --backend file")
    [kept] = (Path(maria.env["XDG_STATE_HOME"]) / "tgs/claims").glob("*")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
    secret = json.loads(kept.read_text())["token"]

    taken = await tom.type(f"tgs server backlog claim {ADD} --backend file")
    assert taken.code == 4
    await tom.type(f"tgs server backlog claim {ADD} --backend file --json")
    await tom.type(f"tgs server backlog claim {ADD} --or-next --backend file --name tom")
    await tom.type("tgs server backlog next --backend file")
    await tom.type("tgs server backlog next --backend file --json")
    await tom.type(f"tgs server backlog remove {ADD} --backend file")
    await tom.type(f"tgs server backlog remove {ADD} --force --backend file")
    maria.lines += ["--- at the same time, tom's terminal", "", *tom.lines, "--- maria again", ""]
    lost = await maria.type("tgs server backlog complete --backend file")
    assert lost.code == 5
    await maria.type("tgs server backlog complete --backend file")
    maria.equals_golden("file-two-people")
    assert secret not in "\n".join(maria.lines)


async def test_a_claim_goes_to_a_job_elsewhere(maria: Terminal, tmp_path: Path) -> None:
    commit(maria, plan(ADD) | plan(SAY) | plan(OLD), "Plan three things")
    await maria.type("tgs server backlog scan --apply --backend file")
    done = await maria.type("tgs server backlog next --count 2 --json --with-token --backend file")
    first, second = json.loads(done.out)["claims"]
    assert {first["dir"], second["dir"]} == {ADD, SAY}
    tom = at(tmp_path, "tom")
    ticket = {"TGS_ATTEMPT_TOKEN": first["token"], "TGS_ATTEMPT": first["attempt"], "TGS_FENCE": str(first["fence"])}
    line = f"tgs server backlog fail {first['dir']} --reason infra.runner_lost --backend file"
    assert (await tom.type(line)).code == 6, "nothing is remembered there"
    assert (await tom.type(line, env=ticket | {"TGS_ATTEMPT_TOKEN": second["token"]})).code in {5, 6}
    assert (await tom.type(line, env=ticket)).code == 0


async def test_a_log_is_kept_without_credentials(maria: Terminal) -> None:
    commit(maria, plan(ADD), "Plan one thing")
    await maria.type("tgs server backlog scan --apply --backend file")
    await maria.type("tgs server backlog next --backend file")
    (maria.cwd / "agent.log").write_text("first line\npushing with ghp_" + "a" * 36 + "\nlast line\n")
    done = await maria.type("tgs server backlog fail --log agent.log --log-folder logs --backend file")
    assert done.code == 0
    [kept] = (maria.cwd / "logs").iterdir()
    assert re.fullmatch(r"a1b2c3-add-greeting-\d{8}T\d{6}Z\.log", kept.name)
    assert kept.read_text() == "first line\npushing with [redacted]\nlast line\n"


async def test_what_cannot_be_is_said(maria: Terminal) -> None:
    commit(maria, plan(ADD) | {f"{SAY}/plan.md": "# Plan\n"}, "Plan one thing and a half")
    write(maria.cwd, f"{OLD}/plan.md", "# Only here\n")
    for line in (
        f"add {SAY} --backend file",
        f"add {OLD} --backend file",
        "add ../elsewhere --backend file",
        "add --backend file",
        "add 7 --backend file",
        f"add {ADD} --priority urgent --backend file",
        f"add {ADD} --depends-on soon --backend file",
        "claim 12 --backend file",
        f"fail {ADD} --reason quota.provder --backend file",
        f"fail {ADD} --log nowhere.log --backend file",
        f"complete {ADD} --backend file",
        f"remove {ADD} --backend file",
        "list --label bug --backend file",
        "list --backend cloud",
        "import nowhere.json --backend file",
        "import - --backend file",
        "validate --backend file --path /",
    ):
        await maria.type(f"tgs server backlog {line}", stdin='{\n  "version": "1",\n  thoughts')
    maria.equals_golden("file-mistakes")


async def test_a_damaged_file_comes_back_from_git(maria: Terminal) -> None:
    commit(maria, plan(ADD), "Plan one thing")
    await maria.type("tgs server backlog scan --apply --backend file")
    git(maria.cwd, "pull", "--quiet")
    good = git(maria.cwd, "rev-parse", "HEAD")
    path = maria.cwd / "tgs/server/backlog.json"
    commit(maria, {"tgs/server/backlog.json": f"<<<<<<< HEAD\n{path.read_text()}"}, "Merge badly")
    await maria.type("tgs server backlog list --backend file")
    await maria.type("tgs server backlog restore --from nowhere")
    await maria.type(f"tgs server backlog restore --from {good}")
    await maria.type(f"tgs server backlog restore --from {good} --json")
    await maria.type("tgs server backlog list --backend file")
    maria.names[good[:12]] = "<sha>"
    maria.lines = [line.replace(good[:12], "<sha>") for line in maria.lines]
    maria.equals_golden("file-damaged")


async def test_a_scan_is_proposed_as_one_pull_request(
    town: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = town.hub.create_repo(town.owner, "fresh", files={"README.md": "# Fresh\n"}, roles={"maria": HubRole.WRITE})
    town.hub.git.commit(repo, plan(ADD), by=town.maria)
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(repo.git_dir), str(clone))
    environment = town.client_environment() | {"TGS_SERVER_URL": ""}
    maria = Terminal(environment, clone, {town.hub.html_url: "https://github.com", town.url: "https://tgs.example.org"})
    line = "tgs server backlog scan --pr --backend file --repo olga/fresh"
    first = await maria.type(line)
    monkeypatch.setattr(SystemClock, "now", lambda _: datetime.now(UTC) + timedelta(minutes=5))
    await maria.type(line)
    [pull] = town.hub.pulls.all(repo)
    assert (first.code, pull.head_ref, pull.issue.title) == (0, "tgs/backlog", "Add new plans to the backlog")
    assert f"`{ADD}`" in pull.issue.body
    merge(town.hub, pull, Actor(ActorKind.USER, town.maria))
    await maria.type(line)
    await maria.type("tgs server backlog list --backend file")
    await maria.type("tgs server backlog scan --pr --repo olga/fresh", env={"TGS_SERVER_URL": town.url})
    maria.equals_golden("file-proposed")


async def test_the_list_is_watched_until_ctrl_c(maria: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(maria, plan(ADD), "Plan one thing")
    rounds = iter([lambda: None, lambda: os.chdir(maria.cwd)])

    def pause(seconds: float) -> None:
        step = next(rounds, None)
        if step is None:
            raise KeyboardInterrupt
        step()

    monkeypatch.setattr("bot.cli.backlog.sleep", pause)
    watched = await maria.type("tgs server backlog list --watch --backend file")
    assert (watched.code, watched.out.count("The backlog is empty.")) == (0, 1), "what did not change is said once"
