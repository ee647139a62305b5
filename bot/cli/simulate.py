"""`tgs simulate`: play histories of the bot against a model of GitHub, one to read or many to count."""

from __future__ import annotations

import itertools
import os
import secrets
import time
from typing import TYPE_CHECKING, Annotated

import typer

from bot.cli.exits import Exit

if TYPE_CHECKING:
    from bot.simulate.history import Told
    from bot.simulate.many import Sum

FRESH = 2**31
"""Fresh seeds are drawn below this: easy to type again, and never one of the fixed set."""


PROGRESS_EVERY = 10.0
"""Seconds between two lines on how far it is."""


def simulate(
    seed: Annotated[int | None, typer.Option("--seed", help="Play this one history and tell it.")] = None,
    seeds: Annotated[int | None, typer.Option("--seeds", min=1, help="Play this many histories.")] = None,
    first: Annotated[int, typer.Option("--from", min=0, help="The first seed of --seeds.")] = 0,
    seconds: Annotated[
        float | None, typer.Option("--seconds", min=1, help="Go on with fresh seeds until this time is over.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", min=1, help="Play in this many processes (default: one per core).")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Of one history say only what failed.")] = False,
) -> None:
    """Play the bot's life in a simulated world.

    With people, workers, lost webhooks, crashes, and a clock that jumps to
    whatever happens next. A seed is a history: the same seed gives the same
    one on every machine. After each step it is checked that what must always
    hold does. Ends with 1 when something did not, or when 2,000 histories or
    more have not shown every kind of fault and every change of a state. Many
    can be played in pieces: --from 5000 --seeds 1000 plays the sixth thousand.
    """
    from bot.simulate.coverage import FAIR, not_seen
    from bot.simulate.history import play
    from bot.simulate.many import chunk_for, play_many
    from bot.simulate.setup import setup_of

    if seed is not None:
        told = play(setup_of(seed))
        _tell(told, quiet=quiet)
        raise typer.Exit(Exit.INTERNAL if told.violations else Exit.OK)
    count = seeds if seeds is not None else (0 if seconds else 100)
    fresh = (1000 + secrets.randbelow(FRESH) for _ in itertools.count()) if seconds is not None else iter(())
    wanted = count if seconds is None else None
    total = play_many(
        itertools.chain(range(first, first + count), fresh),
        processes=jobs or os.cpu_count() or 1,
        seconds=seconds,
        chunk=chunk_for(wanted),
        heard=_Progress(wanted).heard,
    )
    for fault, times in sorted(total.faults.items()):
        typer.echo(f"{times:>8,}  {fault.value}")
    unseen = not_seen(total.faults, total.rows, total.histories)
    for what in unseen:
        typer.echo(f"not seen enough: {what}")
    for broken in sorted(total.broken):
        typer.echo(f"violated: tgs simulate --seed {broken}")
    typer.echo(total.line)
    blind = bool(unseen) and total.histories >= FAIR
    raise typer.Exit(Exit.INTERNAL if total.broken or blind else Exit.OK)


class _Progress:
    """Says what failed at once, and now and then how far it is; on standard error, so that the result is the same."""

    def __init__(self, wanted: int | None) -> None:
        self._wanted = wanted
        self._known: set[int] = set()
        self._began = self._said = time.monotonic()

    def heard(self, total: Sum) -> None:
        for broken in sorted(total.broken.keys() - self._known):
            self._known.add(broken)
            typer.echo(f"seed {broken}: {'; '.join(total.broken[broken][:3])}", err=True)
            typer.echo(f"  tgs simulate --seed {broken}  tells it", err=True)
        now = time.monotonic()
        if now - self._said < PROGRESS_EVERY:
            return
        self._said = now
        rate = total.histories / (now - self._began)
        left = "" if self._wanted is None else f", {(self._wanted - total.histories) / rate / 60:.0f} minutes left"
        of = "" if self._wanted is None else f" of {self._wanted:,}"
        typer.echo(f"{total.histories:,}{of} histories, {rate:.1f} a second{left}", err=True)


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
