"""`tgs simulate`: play histories of the bot against a model of GitHub, one to read or many to count."""

from __future__ import annotations

import itertools
import secrets
from typing import TYPE_CHECKING, Annotated

import typer

from bot.cli.exits import Exit

if TYPE_CHECKING:
    from bot.simulate.history import Told
    from bot.simulate.many import Sum

FRESH = 2**31
"""Fresh seeds are drawn below this: easy to type again, and never one of the fixed set."""


def simulate(
    seed: Annotated[int | None, typer.Option("--seed", help="Play this one history and tell it.")] = None,
    seeds: Annotated[int | None, typer.Option("--seeds", min=1, help="Play this many histories, from 0 on.")] = None,
    seconds: Annotated[
        float | None, typer.Option("--seconds", min=1, help="Go on with fresh seeds until this time is over.")
    ] = None,
    processes: Annotated[int, typer.Option("--processes", min=1, help="Play in this many processes at once.")] = 2,
    quiet: Annotated[bool, typer.Option("--quiet", help="Of one history say only what failed.")] = False,
) -> None:
    """Play the bot's life in a simulated world.

    With people, workers, lost webhooks, crashes, and a clock that jumps to
    whatever happens next. A seed is a history: the same seed gives the same
    one on every machine. After each step it is checked that what must always
    hold does. Ends with 1 when something did not.
    """
    from bot.simulate.coverage import never_taken, too_seldom
    from bot.simulate.history import play, setup_of
    from bot.simulate.many import play_many

    if seed is not None:
        told = play(setup_of(seed))
        _tell(told, quiet=quiet)
        raise typer.Exit(Exit.INTERNAL if told.violations else Exit.OK)
    fixed = iter(range(seeds if seeds is not None else (0 if seconds else 100)))
    fresh = (1000 + secrets.randbelow(FRESH) for _ in itertools.count()) if seconds is not None else iter(())
    known: set[int] = set()

    def heard(total: Sum) -> None:
        for broken in total.broken.keys() - known:
            known.add(broken)
            typer.echo(f"seed {broken}: {'; '.join(total.broken[broken][:3])}")
            typer.echo(f"  tgs simulate --seed {broken}  tells it")

    total = play_many(itertools.chain(fixed, fresh), processes=processes, seconds=seconds, heard=heard)
    for fault, count in sorted(total.faults.items()):
        typer.echo(f"{count:>8,}  {fault.value}")
    seldom = too_seldom(total.faults, total.histories)
    for what in (*seldom, *never_taken(total.rows)):
        typer.echo(f"not seen enough: {what}")
    typer.echo(total.line)
    raise typer.Exit(Exit.INTERNAL if total.broken else Exit.OK)


def _tell(told: Told, *, quiet: bool) -> None:
    """One history as a story with times."""
    if not quiet:
        typer.echo(f"Seed {told.setup.seed}. The policy of the repository:")
        typer.echo("".join(f"    {line}\n" for line in told.setup.policy.splitlines()))
        for at, who, what in told.lines:
            hours, rest = divmod(at, 3600)
            typer.echo(f"{int(hours):>3}:{int(rest // 60):02}:{rest % 60:05.2f}  {who}: {what}")
        typer.echo("")
        for fault, count in sorted(told.faults.items()):
            typer.echo(f"{count:>4} × {fault.value}")
        typer.echo(f"{told.steps} steps in {told.hours:.1f} hours; fingerprint {told.digest[:16]}")
    for violation in told.violations:
        typer.echo(f"VIOLATED {violation}")
    if not told.violations:
        typer.echo("Everything that must hold did.")
