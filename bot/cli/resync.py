"""`tgs server resync`: have the server look at everything again, as if every webhook had been lost."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
import typer

from bot.cli import show
from bot.cli.answers import ResyncAnswer, print_json
from bot.cli.backends import Backend, choose
from bot.cli.config import client_settings
from bot.cli.options import AsJson, Repo
from bot.client.plain import plain
from bot.errors import Refused, Unavailable, UserError


def resync(
    repo: Repo = "",
    every: Annotated[bool, typer.Option("--all", help="Every repository in which you may.")] = False,
    as_json: AsJson = False,
) -> None:
    """Have the server look at everything in a repository again.

    It finds what webhooks did not tell: labels, closed issues, merges, pushes,
    commands in comments. It needs the role of /tgs hold.
    """
    if every and repo:
        raise UserError("`--all` and `--repo` exclude each other.", "Give one of them.")
    if every:
        server = client_settings().server_url
        if not server:
            raise UserError("TGS_SERVER_URL is not set.", "Set it to the address of the running bot.")
        found = asyncio.run(_ask("/api/v1/resync"))
    else:
        where = choose(Backend.SERVER, repo, None)
        found = asyncio.run(_ask(f"/api/v1/repos/{where.repo}/resync"))
    if as_json:
        print_json(found)
    else:
        show.say(plain(found.text))
    if not found.repos:
        raise Refused("Nothing is looked at: in no repository that is served here is your role enough.")


async def _ask(path: str) -> ResyncAnswer:
    import aiohttp

    from bot.client.http import BotHttp

    settings = client_settings()
    async with aiohttp.ClientSession() as session:
        http = BotHttp(session, settings.server_url or "", settings.token or settings.gh_token)
        body = (await http.send("POST", path)).body
    try:
        return msgspec.convert(body, ResyncAnswer)
    except msgspec.ValidationError as error:
        raise Unavailable(f"The server answered in a form that this version does not know ({error}).") from None
