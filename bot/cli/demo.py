"""`tgs demo`: the whole loop on a local GitHub."""

from __future__ import annotations

from typing import Annotated

import typer

from bot.errors import UserError


def demo(
    once: Annotated[bool, typer.Option("--once", help="End when all work is done instead of serving on.")] = False,
    agent: Annotated[
        str, typer.Option("--agent", help="`scripted`, or `claude-code`: the real program with a scripted model.")
    ] = "scripted",
) -> None:
    """Show the whole loop on a local GitHub.

    Plans are pushed, claimed, built, tested and merged, with real git, processes and HTTP, all on this machine; it
    takes a minute or less. On a terminal it then serves on, to look around and to push plans, until Ctrl-C. With
    `--agent claude-code` Claude Code itself does the work (`pip install 'tgs-bot[claude]'`); nothing is paid for.
    """
    import asyncio

    from bot.demo.play import play
    from bot.demo.stage import DemoAgent

    if agent not in set(DemoAgent):
        raise UserError(f"There is no agent {agent!r} in the demo.", f"Use one of: {', '.join(DemoAgent)}.")
    raise typer.Exit(asyncio.run(play(once=once, agent=DemoAgent(agent))))
