"""`tgs worker run --once|--watch`: a pull worker on a machine.

Thin: reads the token, says where things go, turns signals into "take nothing new" and "hand back", prints a line for
each thing that happens, ends with the documented exit code. The first SIGTERM or SIGINT lets running work finish within
its grace; the second, or the end of the grace, hands it back.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import SecretStr

from bot.cli.exits import Exit
from bot.clock import RandomIds
from bot.domain.workers import WORKER_PREFIX
from bot.errors import UserError

if TYPE_CHECKING:
    from bot.worker.machine import Stop, Tally

FROM_ENVIRONMENT: Final = "TGS_TOKEN"
"""The variable with the worker token."""
FROM_FILE: Final = "TGS_TOKEN_FILE"
"""The variable with the name of a file that holds it."""
_REPO: Final = re.compile(r"[A-Za-z0-9._-]{1,100}/[A-Za-z0-9._-]{1,100}")
_SECRET_NAME: Final = re.compile(r".*(_API_KEY|_TOKEN|_SECRET|_PASSWORD)")


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the command line said."""

    repos: tuple[str, ...]
    once: bool
    slots: int
    capabilities: tuple[str, ...]
    name: str
    directory: Path | None
    logs: Path | None
    grace: float
    allow_unisolated: bool


async def work(server: str, wishes: Wishes) -> Exit:
    """Runs the machine to its end. Raises UserError for wrong use, and what `Machine.run` raises."""
    import aiohttp

    from bot.worker.machine import Machine, MachineSettings, Stop
    from bot.worker.machine_api import MachineApi
    from bot.worker.model_proxy import access_from

    token = _token()
    for repo in wishes.repos:
        if _REPO.fullmatch(repo) is None:
            raise UserError(f"{repo!r} is no repository.", "Write --repo owner/name.")
    if not wishes.repos:
        raise UserError("No repository is named.", "Give --repo owner/name, once for each, or set TGS_REPOS.")
    model = access_from(os.environ)
    settings = MachineSettings(
        name=wishes.name or socket.gethostname(),
        repos=wishes.repos,
        root=(wishes.directory or _default_folder()).absolute(),
        slots=wishes.slots,
        capabilities=wishes.capabilities,
        once=wishes.once,
        allow_unisolated=wishes.allow_unisolated,
        logs=wishes.logs.absolute() if wishes.logs else None,
        model=model,
        hide=(
            token.get_secret_value(),
            *([model.key.get_secret_value()] if model is not None else []),
            *(value for name, value in os.environ.items() if value and _SECRET_NAME.fullmatch(name)),
        ),
    )
    stop, ids = Stop(), RandomIds()
    _on_signals(stop, wishes.grace)
    async with aiohttp.ClientSession() as session:
        api = MachineApi(session, server, token)
        machine = Machine(settings, api, lambda: datetime.now(UTC), ids.new, _say, dict(os.environ))
        tally = await machine.run(stop)
    return exit_of_tally(tally) if wishes.once else Exit.OK


def exit_of_tally(tally: Tally) -> Exit:
    """How `--once` ends: 3 for nothing to do, 0 for work done, else what went wrong first."""
    from bot.cli.worker import exit_of_reason

    if not tally.taken:
        print("There is nothing to do.", flush=True)
        return Exit.EMPTY
    if tally.failed:
        return exit_of_reason(tally.failed[0])
    return Exit.LOST_CLAIM if tally.lost else Exit.OK


def _token() -> SecretStr:
    """The worker token, taken out of the environment, so that no process we start inherits it."""
    from bot.settings import load_client_settings

    path = os.environ.pop(FROM_FILE, "")
    if path:
        os.environ.pop(FROM_ENVIRONMENT, None)
        try:
            return _checked(Path(path).read_text(encoding="utf-8").strip())
        except OSError as error:
            raise UserError(f"The file of {FROM_FILE} cannot be read: {error.strerror}.") from None
    settings = load_client_settings()
    os.environ.pop(FROM_ENVIRONMENT, None)
    return _checked(settings.token.get_secret_value() if settings.token is not None else "")


def _checked(token: str) -> SecretStr:
    if not token:
        remedy = f"Put it into {FROM_ENVIRONMENT}, or its file's name into {FROM_FILE}."
        raise UserError("There is no worker token.", remedy)
    if not token.startswith(WORKER_PREFIX) or not token.isprintable():
        raise UserError("This is no worker token.", f"Worker tokens begin with {WORKER_PREFIX}.")
    return SecretStr(token)


def _default_folder() -> Path:
    """Where agents with a user of their own can get to: not below a home that is closed to them."""
    state = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    if state:
        return Path(state)
    if os.geteuid() == 0:
        return Path("/var/lib/tgs-worker")
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "tgs-worker"


def _on_signals(stop: Stop, grace: float) -> None:
    loop = asyncio.get_running_loop()

    def asked() -> None:
        if stop.drain.is_set():
            _say("Handing back what is being worked on.")
            stop.now.set()
        else:
            _say(f"Taking nothing new; what is being worked on may finish within {grace:.0f} seconds.")
            stop.drain.set()
            loop.call_later(grace, stop.now.set)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked)


def _say(text: str) -> None:
    print(" ".join(text.split()), flush=True)
