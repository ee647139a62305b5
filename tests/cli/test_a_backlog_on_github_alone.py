"""`tgs server backlog` without a server, as a transcript: people with their own tokens and a local GitHub."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.cli.terminal import Terminal, home
from tests.client.github_stage import GithubStage, github_stage


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[GithubStage]:
    async with github_stage(tmp_path / "hub") as made:
        yield made


def at(stage: GithubStage, tmp: Path, login: str) -> Terminal:
    (tmp / login).mkdir()
    environment = home(tmp) | {
        "USER": login,
        "LOGNAME": login,
        "XDG_STATE_HOME": str(tmp / f"state-{login}"),
        "GH_TOKEN": stage.hub.user_token(login),
        "TGS_GITHUB_API_URL": stage.hub.api_url,
        "GITHUB_REPOSITORY": stage.repo.full_name,
    }
    return Terminal(environment, tmp / login, {stage.hub.html_url: "https://github.com", str(tmp): "~"})


async def test_two_people_share_a_backlog_without_a_server(stage: GithubStage, tmp_path: Path) -> None:
    backlog = "tgs server backlog"
    ada, ben, rob = (at(stage, tmp_path, login) for login in ("ada", "ben", "rob"))
    folder = await stage.thought("Say goodbye")
    number = stage.issue("Add a greeting")
    await ada.type(f"{backlog} list")
    await ada.type(f"{backlog} next")
    await ada.type(f"{backlog} add {number} --priority high")
    await ada.type(f"{backlog} add {number}")
    await ada.type(f"{backlog} scan --apply")
    await ada.type(f"{backlog} list")
    await ada.type(f"{backlog} next")
    await ada.type(f"{backlog} list")
    taken = await ben.type(f"{backlog} claim {number} --json")
    assert taken.code == 4
    await ben.type(f"{backlog} add {folder}")
    await ben.type(f"{backlog} claim {number} --or-next")
    await rob.type(f"{backlog} add {number}")
    await ada.type(f"{backlog} complete")
    claim = json.loads(next((tmp_path / "state-ada/tgs/claims").glob("*.json")).read_text())
    assert claim["token"] not in "\n".join(ada.lines)
    await ada.type(f"{backlog} fail --reason agent.gave_up --message 'It needs a word list.' --terminal")
    await ada.type(f"{backlog} complete {number}")
    await ada.type(f"{backlog} validate")
    await ada.type("tgs server locks list")
    await ada.type(f"{backlog} list", env={"TGS_GITHUB_API_URL": "http://127.0.0.1:1"})
    await ada.type(f"{backlog} list", env={"GH_TOKEN": "ghp_wrong"})
    await ada.type(f"{backlog} list", env={"GH_TOKEN": "", "TGS_TOKEN": "tgw_a-token-of-a-server"})
    lines = [*ada.lines, "--- ben's terminal", "", *ben.lines, "--- rob's terminal", "", *rob.lines]
    ada.lines = lines
    ada.equals_golden("github-normal")


async def test_claims_are_refused_lost_and_settled_without_a_server(stage: GithubStage, tmp_path: Path) -> None:
    backlog = "tgs server backlog"
    ada, ben = (at(stage, tmp_path, login) for login in ("ada", "ben"))
    folder = await stage.thought("Say goodbye", front_matter="title: Say goodbye\nlocks: src/bye/")
    number = stage.issue("Add a greeting")
    await ada.type(f"{backlog} add {folder}")
    await ada.type(f"{backlog} next --peek")
    await ada.type(f"{backlog} claim {folder}")
    await ada.type("tgs server locks list")
    await ada.type(f"tgs server locks explain {folder}")
    assert (await ben.type("tgs server locks release 'src/bye/**'")).code == 6
    await ben.type("tgs server locks release src/other/")
    assert (await ben.type(f"{backlog} remove {folder}")).code == 6
    assert (await ada.type(f"{backlog} complete")).code == 6, "there is no pull request"
    [item] = [one.number for one in stage.repo.issues.values() if one.title == "Say goodbye"]
    branch = f"tgs/{item}-say-goodbye"
    pull = stage.pull_request(branch, {"bye.py": "print('bye')\n"}, closes=item)
    assert (await ada.type(f"{backlog} complete")).code == 6, "the pull request has no implementation.md"
    await ada.type("tgs server locks release 'src/bye/**'")
    stage.push({f"{folder}/implementation.md": "# Done\n"}, branch=branch)
    assert (await ada.type(f"{backlog} complete")).code == 0
    await ada.type(f"{backlog} add {number} --priority low")
    await ada.type(f"{backlog} next --json")
    await ada.type(f"{backlog} fail --reason infra.runner_lost --message 'The machine went away.'")
    await ada.type(f"{backlog} list")
    await ada.type(f"{backlog} next")
    stage.merge(pull)
    second = stage.issue("Translate it")
    await ada.type(f"{backlog} add {second}")
    await ada.type(f"{backlog} claim {second}")
    await ben.type(f"{backlog} remove {second} --force")
    assert (await ada.type(f"{backlog} complete {second}")).code == 5
    assert (await ada.type(f"{backlog} fail {second}")).code == 6, "a lost claim is forgotten"
    await ada.type(f"{backlog} add {second}")
    await ada.type(f"{backlog} claim {second}")
    await ada.type(f"{backlog} complete {second} --evidence 'It was only a question; answered in the issue.'")
    await ada.type(f"{backlog} list --wide")
    ada.lines += ["--- ben's terminal, meanwhile", "", *ben.lines]
    ada.equals_golden("github-claims")


async def test_a_backlog_is_carried_over_without_a_server(stage: GithubStage, tmp_path: Path) -> None:
    """The empty backlog, folders that are not there, a file from elsewhere, broken files, labels put right."""
    backlog = "tgs server backlog"
    ada = at(stage, tmp_path, "ada")
    for line in ("scan", "export", "validate"):
        await ada.type(f"{backlog} {line}")
    nowhere = "tgs/thoughts/ffffff-nowhere"
    for line in ("add", "claim", "complete", "fail", "remove"):
        await ada.type(f"{backlog} {line} {nowhere}")
    await ada.type(f"tgs server locks explain {nowhere}")
    first, second = await stage.thought("Say goodbye"), await stage.thought("Say hello")
    stage.push({"tgs/thoughts/abcdef-half/plan.md": "# Half\n"})
    await ada.type(f"{backlog} scan")
    file = ada.cwd / "backlog.json"
    rows = [{"dir": first, "status": "queued", "priority": 7}, {"dir": second, "status": "completed"}]
    file.write_text(json.dumps({"version": "1", "thoughts": rows}))
    await ada.type(f"{backlog} import backlog.json")
    await ada.type(f"{backlog} import backlog.json")
    await ada.type(f"{backlog} scan --apply --json")
    await ada.type(f"{backlog} export -o out.json")
    await ada.type(f"{backlog} import - --json", stdin=(ada.cwd / "out.json").read_text())
    await ada.type(f"{backlog} export")
    file.write_text(json.dumps({"version": "1", "thoughts": [{"dir": nowhere, "status": "queued"}]}))
    await ada.type(f"{backlog} import backlog.json")
    await ada.type(f"{backlog} import nowhere.json")
    await ada.type(f"{backlog} list --backend cloud")
    [number] = [one.number for one in stage.repo.issues.values() if one.title == "Say goodbye"]
    stage.label(number, "tgs:in-progress")
    await ada.type(f"{backlog} validate")
    await ada.type(f"{backlog} validate --fix")
    await ada.type(f"{backlog} validate --json")
    await ada.type(f"{backlog} remove {number}")
    await ada.type(f"{backlog} remove {number} --force")
    await ada.type(f"{backlog} remove {number}")
    await ada.type(f"{backlog} list --status cancelled")
    ada.equals_golden("github-moves")
