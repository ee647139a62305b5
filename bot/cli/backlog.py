"""`tgs server backlog list|validate`: the backlog of a repository as the running bot sees it."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any, cast

import typer

from bot.cli.exits import Exit
from bot.errors import Refused, Unavailable, UserError

app = typer.Typer(help="The backlog of a repository.", no_args_is_help=True)

Repo = Annotated[str, typer.Argument(help="The repository as owner/name.", metavar="OWNER/NAME")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
States = Annotated[list[str] | None, typer.Option("--state", help="Only items in this state; may be repeated.")]

SECONDS = 30.0
"""How long the server may take to answer."""


@app.command("list")
def list_(repo: Repo, state: States = None, as_json: AsJson = False) -> None:
    """List the items in the order in which they will be worked on."""
    query = [("state", name) for name in state or []]
    items = _get(f"/api/v1/repos/{repo}/items", query)["items"]
    if as_json:
        print(json.dumps({"items": items}, indent=2))
        return
    if not items:
        print("The backlog is empty. Label an issue `tgs:ready`, or commit a plan under tgs/thoughts/.")
        return
    _table(items)


@app.command()
def validate(repo: Repo, as_json: AsJson = False) -> None:
    """Check that ledger, labels, plans and locks fit together. Exit code 6 when something is wrong."""
    answer = _get(f"/api/v1/repos/{repo}/validate", [])
    if as_json:
        print(json.dumps(answer, indent=2))
    elif not answer["findings"]:
        print("Everything fits together.")
    else:
        for finding in answer["findings"]:
            where = f"#{finding['item']}: " if finding["item"] else ""
            print(f"{finding['severity']}: {where}{finding['message']} ({finding['remedy']})")
    if not answer["ok"]:
        raise typer.Exit(int(Exit.REFUSED))


def _table(items: list[dict[str, Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name, justify in (("#", "right"), ("state", "left"), ("pos", "right"), ("prio", "right"), ("title", "left")):
        table.add_column(name, justify=cast("Any", justify), overflow="fold")
    table.add_column("waiting for / worked on by", overflow="fold")
    for item in items:
        why = "; ".join(item["waiting"]) or (item["claimed_by"] or "")
        if item["pull_request"]:
            why = f"pull request #{item['pull_request']}" + (f"; {why}" if why else "")
        table.add_row(
            str(item["number"]),
            item["state"],
            str(item["position"] or ""),
            str(item["priority"]),
            _safe(item["title"]),
            _safe(why),
        )
    Console().print(table)


def _safe(text: str) -> str:
    from rich.markup import escape

    from bot.domain.sanitise import for_terminal

    return escape(for_terminal(text))


def _get(path: str, query: list[tuple[str, str]]) -> dict[str, Any]:
    return asyncio.run(_ask(path, query))


async def _ask(path: str, query: list[tuple[str, str]]) -> dict[str, Any]:
    import aiohttp

    from bot.settings import load_client_settings

    settings = load_client_settings()
    if settings.server_url is None:
        raise UserError("TGS_SERVER_URL is not set.", "Set it to the address of the running bot.")
    token = settings.token or settings.gh_token
    if token is None:
        raise UserError("No token is set.", "Set TGS_TOKEN or GH_TOKEN to a GitHub token that can read the repository.")
    url = settings.server_url.rstrip("/") + path
    timeout = aiohttp.ClientTimeout(total=SECONDS)
    headers = {"Authorization": f"Bearer {token.get_secret_value()}"}
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, headers=headers) as session,
            session.get(url, params=query, allow_redirects=False) as answer,
        ):
            body = await answer.json(content_type=None)
            if answer.status == 200:
                return cast("dict[str, Any]", body)
            detail = body.get("detail", "") if isinstance(body, dict) else ""
            if answer.status in {401, 403}:
                raise Refused(f"The server refused: {detail}")
            if answer.status < 500:
                raise UserError(f"The server did not accept the request: {detail}")
            raise Unavailable(f"the server answered {answer.status}. {detail}", status=answer.status)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise Unavailable(f"the server at {settings.server_url} cannot be reached ({type(error).__name__})") from None
