"""`tgs server backlog` against a running server: what people and programs see, and what each trouble is called."""

from __future__ import annotations

import json
import socket

import pytest

from tests.cli.town import Town, tgs

SERVE_TIME = 120
REPO = "olga/greeter"

TABLE = """\
#  state        place  prio  title                     now
{first}  in-progress               Add a greeting            Attempt 1 is with
                                                       actions.
{second}  ready            1        Say goodbye in a rather   All places are taken: 1
                             long title, red and       of 1 is working.
                             [bold]loud
"""

EMPTY = "The backlog is empty. Label an issue `tgs:ready`, or commit a plan under tgs/thoughts/.\n"


@pytest.mark.timeout(SERVE_TIME)
async def test_items_are_listed_in_the_order_of_the_queue_with_why_they_wait(town: Town) -> None:
    town.install()
    mine = town.client_environment()
    async with town.serving():
        first = town.ready_issue("Add a greeting")
        await town.until_states({first: "in-progress"})
        second = town.ready_issue("Say goodbye in a rather long title, \x1b[31mred\x1b[0m and [bold]loud")
        await town.until_states({first: "in-progress", second: "ready"})

        listed = await tgs("server", "backlog", "list", "--repo", REPO, env=mine)
        assert (listed.code, listed.err, listed.out) == (0, "", TABLE.format(first=first, second=second))

        as_json = await tgs("server", "backlog", "list", "--repo", REPO, "--json", env=mine)
        [working, waiting] = json.loads(as_json.out)["items"]
        assert (working["number"], working["state"], working["attempts"]) == (first, "in-progress", 1)
        assert (waiting["number"], waiting["state"], waiting["position"]) == (second, "ready", 1)
        assert waiting["waiting"] == ["All places are taken: 1 of 1 is working."]

        only = await tgs("server", "backlog", "list", "--repo", REPO, "--state", "ready", "--json", env=mine)
        assert [item["number"] for item in json.loads(only.out)["items"]] == [second]
        none = await tgs("server", "backlog", "list", "--repo", REPO, "--state", "failed", env=mine)
        assert (none.code, none.out) == (0, "No item is like that.\n")

        checked = await tgs("server", "backlog", "validate", "--repo", REPO, env=mine)
        assert (checked.code, checked.out) == (0, "Everything fits together.\n")


@pytest.mark.timeout(SERVE_TIME)
async def test_each_trouble_has_its_words_and_its_exit_code(town: Town) -> None:
    town.hub.git.commit(town.repo, {".github/workflows/tgs-server-run.yml": None}, by=town.maria)
    town.install()
    mine = town.client_environment()
    async with town.serving():
        await town.until_states({})
        troubles = {
            "nothing in it": (mine, REPO, 0, EMPTY, ""),
            "no address": (mine | {"TGS_SERVER_URL": ""}, REPO, 2, "", "TGS_SERVER_URL is not set."),
            "an address in the clear": (
                mine | {"TGS_SERVER_URL": "http://tgs.example.org"}, REPO, 2, "", "is not encrypted. Use https",
            ),
            "no token": (mine | {"GH_TOKEN": ""}, REPO, 2, "", "No token is set. Set TGS_TOKEN or GH_TOKEN"),
            "an unknown token": (mine | {"GH_TOKEN": "ghp_wrong"}, REPO, 6, "", "does not know the token"),
            "a stranger": (town.client_environment("sam"), REPO, 6, "", "`olga/greeter` is not served here, or @sam"),
            "another repository": (mine, "olga/other", 6, "", "`olga/other` is not served here, or @maria"),
        }  # fmt: skip
        for name, (environment, repo, code, out, err) in troubles.items():
            done = await tgs("server", "backlog", "list", "--repo", repo, env=environment)
            assert (done.code, done.out) == (code, out), (name, done)
            assert err in done.err, (name, done)
            assert "Traceback" not in done.err, name
            assert environment["GH_TOKEN"] == "" or environment["GH_TOKEN"] not in done.err, name

        broken = await tgs("server", "backlog", "validate", "--repo", REPO, env=mine)
        assert broken.code == 6
        assert broken.out.startswith("error: ")
        as_json = await tgs("server", "backlog", "validate", "--repo", REPO, "--json", env=mine)
        assert as_json.code == 6
        assert json.loads(as_json.out)["ok"] is False

    away = await tgs("server", "backlog", "list", "--repo", REPO, env=mine)
    assert (away.code, away.out) == (7, "")
    assert f"The server at {town.url} cannot be reached" in away.err
    assert "Traceback" not in away.err


async def test_an_address_that_is_not_the_bots_is_named(town: Town) -> None:
    mine = town.client_environment() | {"TGS_SERVER_URL": town.hub.html_url}
    done = await tgs("server", "backlog", "list", "--repo", REPO, env=mine)
    assert (done.code, "Check that TGS_SERVER_URL is the address of the bot" in done.err) == (7, True), done
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
    gone = await tgs(
        "server", "backlog", "list", "--repo", REPO, env=mine | {"TGS_SERVER_URL": f"http://127.0.0.1:{port}"}
    )
    assert gone.code == 7
