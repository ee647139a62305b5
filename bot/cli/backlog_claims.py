"""`tgs server backlog next|claim|heartbeat|complete|fail`: one item, from its claim to its end.

Promise: no secret in an argument and none printed unasked. A claim is remembered for its end (`remembered.py`); a claim
that is lost or ended is forgotten. A claim that cannot be remembered is still printed, because the item is taken.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import typer

from bot.cli import show
from bot.cli.answers import BeatAnswer, ClaimsAnswer, ClaimShown, print_json
from bot.cli.backends import Backend, Where, choose, opened_server
from bot.cli.backlog import ask
from bot.cli.backlog_change import print_settled
from bot.cli.exits import Exit
from bot.cli.options import AsJson, BackendChoice, ClonePath, Item, Repo, folder_names, item_ref, reason_codes
from bot.cli.show import say
from bot.client.backlog import Claim, Ending, Held, ItemRef, NothingThere, Settled, Taken, Wanted
from bot.client.plain import plain
from bot.domain.model import FailureReason
from bot.errors import LostClaim, Refused, UserError
from bot.texts.phrases import at

if TYPE_CHECKING:
    from bot.client.server_backlog import Beat

Answer = TypeVar("Answer")

MAX_COUNT: Final = 50
"""Claims of one call; more would empty the backlog for everybody else."""
MAX_LOG: Final = 500_000
"""Bytes of a log that are sent: its end, where the cause stands."""
DEFAULT_REASON: Final = FailureReason.AGENT_GAVE_UP

Name = Annotated[
    str, typer.Option("--name", metavar="NAME", help="What others see beside your login; else the machine.")
]
WithToken = Annotated[
    bool, typer.Option("--with-token", help="Print the claim's secret too, for a job on another machine.")
]
Capabilities = Annotated[
    list[str] | None,
    typer.Option("--capability", metavar="WORD", help="What is there to work with. May be repeated."),
]
OptionalItem = Annotated[
    str,
    typer.Argument(
        metavar="ITEM",
        help="The plan's folder, or the issue as 12 or '#12'; else the one claimed from here.",
        autocompletion=folder_names,
        show_default=False,
    ),
]
AttemptId = Annotated[
    str, typer.Option("--attempt", envvar="TGS_ATTEMPT", metavar="ID", help="The attempt, when claimed elsewhere.")
]
Fence = Annotated[int | None, typer.Option("--fence", envvar="TGS_FENCE", metavar="N", help="Its fence.")]


def next_(
    peek: Annotated[bool, typer.Option("--peek", help="Only show what would be next.")] = False,
    count: Annotated[int, typer.Option("--count", metavar="K", min=1, max=MAX_COUNT, help="Claim up to so many.")] = 1,
    name: Name = "",
    capability: Capabilities = None,
    with_token: WithToken = False,
    repo: Repo = "",
    backend: BackendChoice = None,
    path: ClonePath = None,
    as_json: AsJson = False,
) -> None:
    """Claim the next item and show what is needed to work on it.

    Nobody else gets it meanwhile. Exit code 3 when there is nothing.
    """
    where = choose(backend, repo, path)
    wanted = Wanted(name or _machine(), count=count, peek=peek, capabilities=tuple(capability or ()))
    _claimed(where, wanted, as_json, with_token=with_token)


def claim(
    item: Item,
    or_next: Annotated[bool, typer.Option("--or-next", help="Take the next one when somebody has it.")] = False,
    name: Name = "",
    capability: Capabilities = None,
    with_token: WithToken = False,
    repo: Repo = "",
    backend: BackendChoice = None,
    path: ClonePath = None,
    as_json: AsJson = False,
) -> None:
    """Claim a certain item and show what is needed to work on it.

    Exit code 4 when somebody else has it.
    """
    where = choose(backend, repo, path)
    wanted = Wanted(name or _machine(), ref=item_ref(item, path), capabilities=tuple(capability or ()))
    try:
        _claimed(where, wanted, as_json, with_token=with_token)
    except Taken as taken:
        if not or_next:
            raise
        print(show.for_reading(f"{taken.what} Taking the next one.", sys.stderr), file=sys.stderr)
        _claimed(where, Wanted(wanted.name, capabilities=wanted.capabilities), as_json, with_token=with_token)


def _claimed(where: Where, wanted: Wanted, as_json: bool, *, with_token: bool) -> None:
    """Claim, remember, print."""
    try:
        claims = ask(where, lambda backlog: backlog.claim(wanted))
    except NothingThere as nothing:
        if not as_json:
            raise
        print_json(ClaimsAnswer((), nothing.why))
        raise typer.Exit(int(Exit.EMPTY)) from None
    if not wanted.peek:
        remembered = where.remembered()
        for one in claims:
            try:
                remembered.keep(one)
            except UserError as error:
                print(f"warning: {error} Report its end with TGS_ATTEMPT_TOKEN (--with-token).", file=sys.stderr)
    shown = [_shown(where, one, peek=wanted.peek, with_token=with_token) for one in claims]
    if as_json:
        print_json(ClaimsAnswer(tuple(shown)))
        return
    print("\n\n".join(show.claim(one, told.commands) for one, told in zip(claims, shown, strict=True)))
    if with_token and not wanted.peek:
        for one in claims:
            print(f"\nTGS_ATTEMPT={one.attempt} TGS_FENCE={one.fence} TGS_ATTEMPT_TOKEN={one.token}")


def _shown(where: Where, claim: Claim, *, peek: bool, with_token: bool) -> ClaimShown:
    entry = claim.entry
    name = str(entry.number) if entry.number is not None else str(entry.dir).rpartition("/")[2]
    options = f" {where.options}" if where.options else ""
    beat = {"heartbeat": f"tgs server backlog heartbeat {name}{options}"} if where.backend is Backend.SERVER else {}
    commands = {
        **beat,
        "complete": f"tgs server backlog complete {name}{options}",
        "fail": f'tgs server backlog fail {name} --message "…"{options}',
    }
    return ClaimShown(
        dir=entry.dir,
        number=entry.number,
        title=plain(entry.title),
        context=claim.context,
        branch=claim.branch,
        base_sha=claim.base_sha,
        lease_until=claim.lease_until,
        attempt=claim.attempt,
        fence=claim.fence,
        commands={} if peek else {**claim.commands, **commands},
        token=claim.token if with_token and not peek else None,
    )


def heartbeat(
    item: OptionalItem = "",
    note: Annotated[str, typer.Option("--note", metavar="TEXT", help="How far the work is.")] = "",
    attempt: AttemptId = "",
    fence: Fence = None,
    repo: Repo = "",
    backend: BackendChoice = None,
    path: ClonePath = None,
    as_json: AsJson = False,
) -> None:
    """Tell the server that a claimed item is still being worked on.

    A claim that is silent for long is taken back. Without a server there are
    no heartbeats. Exit code 5 when the claim is lost or the work is to stop.
    """
    where = choose(backend, repo, path)
    if where.backend is not Backend.SERVER:
        raise UserError("Only a server hears heartbeats.", "Without one a claim holds until you settle it.")
    held = _held(where, item, path, attempt, fence)

    async def beat() -> Beat:
        async with opened_server(where) as backlog:
            return await backlog.heartbeat(held, note)

    answer = _unless_lost(where, held, lambda: asyncio.run(beat()))
    if as_json:
        print_json(BeatAnswer(str(held.ref), answer.lease_until, answer.cancel, answer.steer))
    else:
        for text in answer.steer:
            say(f"Somebody says: {plain(text)}")
        if answer.cancel:
            say(f"Stop working on {held.ref}: somebody asked for it. Report it with `tgs server backlog fail`.")
        elif answer.lease_until is not None:
            say(f"The claim of {held.ref} holds until {at(answer.lease_until)}.")
    if answer.cancel:
        raise typer.Exit(int(Exit.LOST_CLAIM))


def complete(
    item: OptionalItem = "",
    evidence: Annotated[
        str | None,
        typer.Option("--evidence", metavar="TEXT", help="Your word that no pull request is needed, and why."),
    ] = None,
    attempt: AttemptId = "",
    fence: Fence = None,
    repo: Repo = "",
    backend: BackendChoice = None,
    path: ClonePath = None,
    as_json: AsJson = False,
) -> None:
    """Report that the work on a claimed item is complete.

    The evidence is checked: a pull request with commits, and the plan's
    implementation.md. Without it: exit code 6. Claim lost: exit code 5.
    """
    where = choose(backend, repo, path)
    held = _held(where, item, path, attempt, fence)
    settled = _settle(where, held, lambda: ask(where, lambda backlog: backlog.complete(held, evidence=evidence)))
    print_settled(settled, as_json)


def fail(
    item: OptionalItem = "",
    reason: Annotated[
        str,
        typer.Option(
            "--reason",
            metavar="CODE",
            autocompletion=reason_codes,
            help="Why, as a code; it decides about a retry.",
        ),
    ] = DEFAULT_REASON.value,
    message: Annotated[str, typer.Option("--message", metavar="TEXT", help="Why, for people.")] = "",
    retryable: Annotated[
        bool | None,
        typer.Option(
            "--retryable/--terminal", help="Whether to try again; else the reason decides.", show_default=False
        ),
    ] = None,
    log: Annotated[
        Path | None, typer.Option("--log", metavar="FILE", help="A log to keep; credentials are taken out.")
    ] = None,
    log_folder: Annotated[
        Path | None, typer.Option("--log-folder", metavar="FOLDER", help="Keep a copy of the log there as well.")
    ] = None,
    attempt: AttemptId = "",
    fence: Fence = None,
    repo: Repo = "",
    backend: BackendChoice = None,
    path: ClonePath = None,
    as_json: AsJson = False,
) -> None:
    """Report that the work on a claimed item failed.

    Retry rules decide what follows. Claim lost: exit code 5.
    """
    if log_folder is not None and log is None:
        raise UserError("There is no log to copy.", "Name it with --log.")
    ending = Ending(_reason(reason), message, retryable, None if log is None else _log(log))
    where = choose(backend, repo, path)
    held = _held(where, item, path, attempt, fence)
    if log_folder is not None and ending.log is not None:
        _copy(ending.log, log_folder, held.ref)
    settled = _settle(where, held, lambda: ask(where, lambda backlog: backlog.fail(held, ending)))
    print_settled(settled, as_json)


def _held(where: Where, item: str, path: Path | None, attempt: str, fence: int | None) -> Held:
    """The claim that is meant: named by environment and options, else the remembered one.

    Raises UserError when no item is named, Refused when it was not claimed from here.
    """
    token = os.environ.get("TGS_ATTEMPT_TOKEN") or None
    ref = item_ref(item, path) if item else None
    known = where.remembered().find(ref) if not attempt else None
    if known is not None:
        # A secret in the environment belongs to a claim made elsewhere; it is right about its own.
        return known if token is None else Held(known.ref, known.attempt, known.fence, token)
    if ref is None:
        raise UserError("No claim is remembered here.", "Name the item, or claim one with `tgs server backlog next`.")
    if token is None or not attempt or fence is None:
        raise Refused(
            f"Only who claimed {ref} can settle it, and no claim of it is known here.",
            "Claim it with `tgs server backlog claim`, or set TGS_ATTEMPT_TOKEN, TGS_ATTEMPT and TGS_FENCE.",
        )
    return Held(ref, attempt, fence, token)


def _settle(where: Where, held: Held, call: Callable[[], Settled]) -> Settled:
    settled = _unless_lost(where, held, call)
    where.remembered().forget(held)
    return settled


def _unless_lost(where: Where, held: Held, call: Callable[[], Answer]) -> Answer:
    """What the call gives; a claim that turns out to be lost is forgotten. Raises as the call does."""
    try:
        return call()
    except LostClaim:
        where.remembered().forget(held)
        raise


def _reason(text: str) -> str:
    codes = [code.value for code in FailureReason]
    if text in codes:
        return text
    from difflib import get_close_matches

    near = get_close_matches(text, codes, n=1, cutoff=0.4)
    hint = f"Did you mean `{near[0]}`?" if near else f"One of: {', '.join(codes)}."
    raise UserError(f"`{plain(text)}` is no reason for a failure.", hint)


def _log(file: Path) -> str:
    """The end of the log, without credentials. Raises UserError when it cannot be read."""
    from bot.worker.redaction import redact

    try:
        with file.open("rb") as source:
            size = source.seek(0, os.SEEK_END)
            source.seek(max(0, size - MAX_LOG))
            raw = source.read(MAX_LOG)
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}.", "Name the log, or leave --log out.") from None
    return redact(raw.decode("utf-8", "replace"))


def _copy(log: str, folder: Path, ref: ItemRef) -> None:
    """`<plan or issue>-<time>.log` in the folder. Raises UserError when it cannot be written."""
    from bot.clock import SystemClock
    from bot.worker.log import log_name

    label = ref.dir.rpartition("/")[2] if ref.dir else f"issue-{ref.number}"
    path = folder / log_name(label, SystemClock().now())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(log, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}.", "Name another folder.") from None


def _machine() -> str:
    """The machine's name; who the person is, the token says."""
    import platform

    return platform.node() or "here"
