"""`tgs server locks`: which paths are held, by whom, and why an item waits for them."""

from __future__ import annotations

from typing import Annotated

import typer

from bot.cli import show
from bot.cli.answers import ExplainAnswer, LocksAnswer, SettledAnswer, print_json
from bot.cli.backends import choose
from bot.cli.backlog import ask
from bot.cli.options import AsJson, BackendChoice, ClonePath, Item, Repo, item_ref
from bot.client.backlog import Backlog, ItemRef, LockHeld
from bot.client.plain import plain

app = typer.Typer(help="The paths that items hold while they are worked on.", no_args_is_help=True)


@app.command("list")
def list_(repo: Repo = "", backend: BackendChoice = None, path: ClonePath = None, as_json: AsJson = False) -> None:
    """List the paths that are held. Only the header when there are none."""
    held = ask(choose(backend, repo, path), lambda backlog: backlog.locks())
    if as_json:
        print_json(LocksAnswer(tuple(held)))
    else:
        print(show.locks(held))


@app.command()
def release(
    lock: Annotated[str, typer.Argument(metavar="PATH", help="The path as `locks list` shows it.")],
    repo: Repo = "",
    backend: BackendChoice = None,
    path: ClonePath = None,
    as_json: AsJson = False,
) -> None:
    """Release a path that an item holds, so that others may start."""
    settled = ask(choose(backend, repo, path), lambda backlog: backlog.release_lock(lock))
    if as_json:
        print_json(SettledAnswer(settled.entry, settled.text, settled.due_at))
    else:
        show.say(settled.text or f"{plain(lock)} is free.")


@app.command()
def explain(
    item: Item, repo: Repo = "", backend: BackendChoice = None, path: ClonePath = None, as_json: AsJson = False
) -> None:
    """Explain what an item holds, and why it does or does not move."""
    ref = item_ref(item, path)

    async def all_of_it(backlog: Backlog) -> tuple[str, list[LockHeld], list[str]]:
        lines = await backlog.explain(ref)
        return await _holder(backlog, ref), await backlog.locks(), lines

    holder, held, lines = ask(choose(backend, repo, path), all_of_it)
    holds = [f"read:{one.path}" if one.mode == "read" else one.path for one in held if one.item == holder]
    if as_json:
        print_json(ExplainAnswer(str(ref), tuple(lines), tuple(holds)))
        return
    for line in lines:
        show.say(plain(line))
    print(f"{ref} holds {', '.join(plain(one) for one in holds)}." if holds else f"{ref} holds no path.")


async def _holder(backlog: Backlog, ref: ItemRef) -> str:
    """The item's name as locks show it, also when people name it by its folder."""
    if ref.dir is None:
        return str(ref)
    return next((entry.name for entry in await backlog.entries() if entry.dir == ref.dir), str(ref))
