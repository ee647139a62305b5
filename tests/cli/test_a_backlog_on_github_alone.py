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
