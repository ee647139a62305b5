"""`tgs server backlog scan`: ask the bot to look at a repository's plans; called by the scan workflow after a push."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated

import typer

from bot.cli.exits import Exit
from bot.errors import UserError


def scan(
    server: Annotated[str, typer.Option("--server", envvar="TGS_SERVER_URL", help="The bot's address.")] = "",
    apply: Annotated[bool, typer.Option("--apply", help="Really ask; without it nothing is sent.")] = False,
) -> None:
    """Ask the bot to look at this repository again (in an Actions job). Asking twice changes nothing."""
    if not server:
        raise UserError("TGS_SERVER_URL is not set.", "Set it to the address of the running bot.")
    if not apply:
        print(f"Would ask {server} to look at this repository. Add --apply to do it.")
        raise typer.Exit(int(Exit.OK))
    print(f"The bot looks at {asyncio.run(_ask(server))}.")


async def _ask(server: str) -> str:
    import aiohttp

    from bot.worker.api import Api
    from bot.worker.oidc import ActionsIdentity

    async with aiohttp.ClientSession() as session:
        identity = ActionsIdentity(session, os.environ, f"{server.rstrip('/')}/scan")
        return await Api(session, server).scan(identity.token)
