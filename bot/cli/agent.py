"""`tgs agent exec`: runs one agent on one context in the current repository, without a bot, to try an agent out.

Thin, and honest about what it is not: the agent runs with the caller's own rights, so the caller must say that this is
wanted. Nothing is published; the commits stay where they are made.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from bot.errors import UserError

if TYPE_CHECKING:
    from bot.domain.bundle import ContextBundle

app = typer.Typer(name="agent", help="Run an agent by hand.", no_args_is_help=True)


@app.callback()
def agent() -> None:
    """Run an agent by hand."""


@app.command(name="exec")
def exec_(
    context: Annotated[Path, typer.Option("--context", help="The context bundle, a JSON file.", exists=True)],
    adapter: Annotated[
        str | None,
        typer.Option("--adapter", help="A built-in one or a script of the repository; default: the context's."),
    ] = None,
    work: Annotated[Path, typer.Option("--work", help="The repository to work in.")] = Path(),
    allow_unisolated: Annotated[
        bool, typer.Option("--allow-unisolated", envvar="TGS_ALLOW_UNISOLATED", help="Run it with your own rights.")
    ] = False,
) -> None:
    """Run the agent on CONTEXT, in a checkout.

    Exit code 0 when it says that it is done, 1 when not, 2 for wrong use, 6 refused.
    """
    from pydantic import ValidationError

    from bot.domain.bundle import ContextBundle

    try:
        bundle = ContextBundle.model_validate_json(context.read_bytes())
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        _fail(f"{context}: {'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}.", 2)
    if not (allow_unisolated or bundle.allow_unisolated):
        _fail("The agent would run with your own rights. Say --allow-unisolated if you want that.", 6)
    try:
        result = asyncio.run(_run(bundle, adapter or bundle.agent.adapter, work.absolute()))
    except UserError as error:
        _fail(str(error), 2)
    print(json.dumps(result))
    raise typer.Exit(0 if result["succeeded"] else 1)


def _fail(text: str, code: int) -> NoReturn:
    print(f"tgs: {text}", file=sys.stderr)
    raise typer.Exit(code)


async def _run(bundle: ContextBundle, name: str, work: Path) -> dict[str, object]:
    from bot.worker import workspace as workspaces
    from bot.worker.adapters import adapter_named
    from bot.worker.adapters.base import Session
    from bot.worker.isolation import SameUser
    from bot.worker.model_proxy import ModelLimits, access_from, open_door

    place = workspaces.create()
    model = access_from(os.environ)
    try:
        place.context_file.write_text(bundle.model_dump_json(indent=2), encoding="utf-8")
        session = Session(
            context=bundle,
            workspace=place,
            work=work,
            launcher=SameUser(),
            environment=workspaces.agent_environment(place, bundle),
            stop=asyncio.Event(),
            deadline=asyncio.get_running_loop().time() + bundle.agent.timeout_minutes * 60,
            progress=lambda step, total, text: print(f"{step}/{total} {text}", file=sys.stderr),
            on_line=lambda line: print(line, file=sys.stderr),
        )
        async with contextlib.AsyncExitStack() as stack:
            if model is not None:
                door = await stack.enter_async_context(open_door(model, ModelLimits(cost_usd=bundle.spec.budget_usd)))
                session = replace(session, model=door, environment={**session.environment, **door.environment})
            result = await adapter_named(name, work).run(session)
    finally:
        shutil.rmtree(place.root, ignore_errors=True)
    asked = {"asked": [asdict(question) for question in result.asked]} if result.asked else {}
    used = {"usage": asdict(result.usage)} if result.usage is not None else {}
    return {
        "succeeded": result.succeeded,
        "summary": result.summary,
        "reason": result.reason.value if result.reason is not None else None,
        "detail": result.detail,
        **asked,
        **used,
    }
