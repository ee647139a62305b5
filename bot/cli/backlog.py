"""`tgs server backlog list|validate`: the backlog of a repository as the running bot sees it.

Promise: the token goes to the server of the settings and nowhere else, never over an unencrypted line to another
machine, and is never printed. What the server says is made harmless before it is shown on a terminal.
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import Annotated, Any, cast

import typer

from bot.cli.exits import Exit
from bot.cli.scan import scan
from bot.domain.model import ItemState
from bot.errors import Refused, Unavailable, UserError

app = typer.Typer(help="The backlog of a repository.", no_args_is_help=True)

app.command()(scan)

Repo = Annotated[str, typer.Argument(help="The repository as owner/name.", metavar="OWNER/NAME")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
States = Annotated[
    list[ItemState] | None,
    typer.Option("--state", metavar="STATE", help=f"Only these: {', '.join(ItemState)}. May be repeated."),
]

SECONDS = 30.0
"""How long the server may take to answer."""

_FULL_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100}")


@app.command("list")
def list_(repo: Repo, state: States = None, as_json: AsJson = False) -> None:
    """List the items in the order in which they will be worked on."""
    query = [("state", one.value) for one in state or []]
    items = _get(repo, "items", query)["items"]
    if as_json:
        print(json.dumps({"items": items}, indent=2))
        return
    if not items and state:
        print("No item is in that state.")
        return
    if not items:
        print("The backlog is empty. Label an issue `tgs:ready`, or commit a plan under tgs/thoughts/.")
        return
    _table(items)


@app.command()
def validate(repo: Repo, as_json: AsJson = False) -> None:
    """Check that ledger, labels, plans and locks fit together.

    Exit code 6 when an error was found; warnings alone are fine.
    """
    answer = _get(repo, "validate", [])
    if as_json:
        print(json.dumps(answer, indent=2))
    elif not answer["findings"]:
        print("Everything fits together.")
    else:
        for finding in answer["findings"]:
            where = f"#{finding['item']}: " if finding["item"] else ""
            print(_plain(f"{finding['severity']}: {where}{finding['message']}"))
            if finding["remedy"]:
                print(f"    what to do: {_plain(finding['remedy'])}")
    if not answer["ok"]:
        raise typer.Exit(int(Exit.REFUSED))


def _table(items: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("place", justify="right", no_wrap=True)
    table.add_column("prio", justify="right", no_wrap=True)
    table.add_column("title", ratio=2)
    table.add_column("now", ratio=3)
    for item in items:
        table.add_row(
            str(item["number"]),
            item["state"],
            str(item["position"] or ""),
            str(item["priority"] or ""),
            _safe(item["title"]),
            _safe(_going_on(item)),
        )
    console = Console()
    with console.capture() as shown:
        console.print(table)
    # Cells are padded to the full width; what is copied from the terminal or piped on should not be.
    print("\n".join(line.rstrip() for line in shown.get().splitlines()))


def _going_on(item: dict[str, Any]) -> str:
    """One sentence or more about what happens with the item."""
    said = []
    if item["pull_request"]:
        said.append(f"Pull request #{item['pull_request']}.")
    if item["claimed_by"]:
        said.append(f"Attempt {item['attempts']} is with {item['claimed_by']}.")
    return " ".join([*said, *item["waiting"]])


def _plain(text: str) -> str:
    from bot.domain.sanitise import for_terminal

    return " ".join(for_terminal(text).split())


def _safe(text: str) -> str:
    from rich.markup import escape

    return escape(_plain(text))


def _get(repo: str, what: str, query: list[tuple[str, str]]) -> dict[str, Any]:
    """The server's answer. Raises UserError, Refused or Unavailable."""
    if _FULL_NAME.fullmatch(repo) is None:
        raise UserError(f"`{_plain(repo)}` is no repository name.", "Give it as owner/name.")
    return asyncio.run(_ask(f"/api/v1/repos/{repo}/{what}", query))


async def _ask(path: str, query: list[tuple[str, str]]) -> dict[str, Any]:
    import aiohttp

    from bot.settings import load_client_settings
    from bot.workflows import check_url

    settings = load_client_settings()
    if settings.server_url is None:
        raise UserError("TGS_SERVER_URL is not set.", "Set it to the address of the running bot.")
    token = settings.token or settings.gh_token
    if token is None:
        raise UserError("No token is set.", "Set TGS_TOKEN or GH_TOKEN to a GitHub token that can read the repository.")
    server = check_url(settings.server_url, "address in TGS_SERVER_URL")
    timeout = aiohttp.ClientTimeout(total=SECONDS)
    headers = {"Authorization": f"Bearer {token.get_secret_value()}"}
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, headers=headers) as session,
            session.get(server + path, params=query, allow_redirects=False) as answer,
        ):
            status, raw = answer.status, await answer.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Unavailable(
            f"The server at {server} cannot be reached ({type(error).__name__}). "
            "Check TGS_SERVER_URL, and that `tgs serve` runs there."
        ) from None
    return _judged(server, status, raw)


def _judged(server: str, status: int, raw: bytes) -> dict[str, Any]:
    """What an answer means. Raises UserError, Refused or Unavailable."""
    try:
        body = json.loads(raw)
    except ValueError:
        body = None
    # Every trouble that the bot itself reports has a code; anything else answers under its address.
    if not isinstance(body, dict) or (status != 200 and "code" not in body):
        raise Unavailable(
            f"The server at {server} did not answer as the bot does (status {status}). "
            "Check that TGS_SERVER_URL is the address of the bot.",
            status=status,
        )
    if status == 200:
        return cast("dict[str, Any]", body)
    detail = _plain(str(body.get("detail", "")))
    if status == 401:
        raise Refused("The server does not know the token.", "Set TGS_TOKEN or GH_TOKEN to a GitHub token that works.")
    if status == 403:
        raise Refused(detail)
    if 400 <= status < 500:
        raise UserError(f"The server did not accept the request: {detail}")
    raise Unavailable(f"The server at {server} answered {status}. {detail}", status=status)
