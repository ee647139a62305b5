"""`tgs demo`: the whole loop on a local GitHub."""

from __future__ import annotations

from typing import Annotated

import typer


def demo(
    once: Annotated[bool, typer.Option("--once", help="End when all work is done instead of serving on.")] = False,
) -> None:
    """Show the main job on a local GitHub with a real repository: plans, claims, runs, pull requests, merges."""
    import asyncio

    from bot.demo.play import play

    raise typer.Exit(asyncio.run(play(once=once)))
