"""`tgs demo`: the whole loop on a local GitHub."""

from __future__ import annotations

from typing import Annotated

import typer


def demo(
    once: Annotated[bool, typer.Option("--once", help="End when all work is done instead of serving on.")] = False,
) -> None:
    """Show the whole loop on a local GitHub.

    Plans are pushed, claimed, built, tested and merged, with real git, processes and HTTP, all on this machine; it
    takes about a minute. On a terminal it then serves on, to look around and to push plans, until Ctrl-C.
    """
    import asyncio

    from bot.demo.play import play

    raise typer.Exit(asyncio.run(play(once=once)))
