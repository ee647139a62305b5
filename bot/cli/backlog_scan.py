"""`tgs server backlog scan`: the plan folders into the backlog."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated

import typer

from bot.cli import show
from bot.cli.answers import ScanAnswer, print_json
from bot.cli.backends import Backend, Where, choose
from bot.cli.backlog import ask
from bot.cli.options import AsJson, BackendChoice, ClonePath, Repo
from bot.client.backlog import Scanned
from bot.errors import Unavailable


def scan(
    apply: Annotated[bool, typer.Option("--apply", help="Do it; without it nothing is changed.")] = False,
    repo: Repo = "",
    backend: BackendChoice = None,
    path: ClonePath = None,
    as_json: AsJson = False,
) -> None:
    """Look for plans that are not in the backlog yet.

    Doing it twice changes nothing. In an Actions job without a token, the job's
    identity asks the server to look at the job's repository.
    """
    from bot.worker.oidc import URL_VARIABLE

    where = choose(backend, repo, path)
    if where.backend is Backend.SERVER and not where.token and os.environ.get(URL_VARIABLE):
        _by_run(where, apply=apply)
        return
    found = ask(where, lambda backlog: backlog.scan(apply=apply))
    if as_json:
        print_json(ScanAnswer(found.added, found.known, found.refused, apply))
    else:
        print(_told(found, apply=apply))


def _told(found: Scanned, *, apply: bool) -> str:
    lines = show.added(found.added) if apply else [f"would add: {entry.dir or entry.name}" for entry in found.added]
    if found.refused:
        lines.append(show.findings(found.refused))
    lines.append(show.counted(len(found.added), "plan", found.known))
    if found.added and not apply:
        lines.append("Nothing was changed. Add --apply to do it.")
    return "\n".join(lines)


def _by_run(where: Where, *, apply: bool) -> None:
    """The workflow's way: no token, no checkout; the server reads the repository itself."""
    server = where.settings.server_url or ""
    if not apply:
        print(f"Would ask {server} to look at this repository. Add --apply to do it.")
        return
    print(f"The bot looks at {asyncio.run(_ask_as_run(server))}.")


async def _ask_as_run(server: str) -> str:
    import aiohttp

    from bot.worker.api import Api, ApiDown, ApiError
    from bot.worker.oidc import ActionsIdentity
    from bot.workflows import check_url

    address = check_url(server, "address in TGS_SERVER_URL")
    async with aiohttp.ClientSession() as session:
        identity = ActionsIdentity(session, os.environ, f"{address}/scan")
        try:
            return await Api(session, address).scan(identity.token)
        except (ApiDown, ApiError) as error:
            raise Unavailable(f"The server at {address} could not be asked: {error}.") from None
