"""`tgs serve`: run the bot until it is told to stop."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def serve(
    config: Annotated[Path | None, typer.Option(help="Settings file; the environment goes first.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    dry_check: Annotated[bool, typer.Option("--check", help="Only check the settings.")] = False,
) -> None:
    """Run the bot: webhooks, queue, API. Settings come from flags, the environment (TGS_…) and the file."""
    from aiohttp import web

    from bot.app import create_app
    from bot.logs import configure
    from bot.settings import LogFormat, load_settings

    settings = load_settings({"host": host, "port": port}, config)
    settings.key()
    if dry_check:
        print("The settings are complete.")
        return
    configure(json=settings.log_format is LogFormat.JSON, level=settings.log_level.value)
    web.run_app(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        print=lambda *_: print(f"Listening on http://{settings.host}:{settings.port}"),
        # The access log would repeat what the structured log says, with addresses of people.
        access_log=None,
    )
