"""`tgs serve`: run the bot until it is told to stop.

Promise: SIGTERM and SIGINT end it cleanly with exit code 0: no new request is taken, running passes finish, the ledger
is closed. A second signal ends it at once; what was acknowledged is on disk either way. What a person must set right
before the start (settings, database, port) is one message and exit code 2.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from aiohttp import web

    from bot.settings import Settings

REQUEST_SECONDS = 5.0
"""How long requests under way may take at the end: a commit takes milliseconds, and platforms kill after ten seconds or
more. A body that is still arriving is not read on; nothing was acknowledged, so GitHub lists it as failed."""


def serve(
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Settings file; the environment goes first.")
    ] = None,
    host: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(metavar="PORT", help="Port to listen on; 0 for any free one.")] = None,
    dry_check: Annotated[bool, typer.Option("--check", help="Only check the settings.")] = False,
) -> None:
    """Run the bot: webhooks, queue and API.

    Settings come from flags, then from the environment (TGS_…), then from the file. SIGTERM ends it cleanly.
    """
    from bot.github.auth import PrivateKey
    from bot.logs import configure
    from bot.settings import LogFormat, load_settings

    settings = load_settings({"host": host, "port": port}, config)
    named = "TGS_PRIVATE_KEY" if settings.private_key is not None else "TGS_PRIVATE_KEY_PATH"
    PrivateKey(settings.key().get_secret_value(), setting=named)
    if dry_check:
        print("The settings are complete.")
        return
    configure(json=settings.log_format is LogFormat.JSON, level=settings.log_level.value)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_serve(settings))


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The quicker event loop; None, which means the usual one, where that does not run."""
    try:
        import uvloop
    except ImportError:  # there is none for Windows
        return None
    return uvloop.new_event_loop


NEW_OBJECTS = 10_000
"""So many are made before the collector looks for cycles among them: a hundred requests, which leave few. Usually it is
700; with that, looking took an eighth of the time from a webhook to its look at 1,000 a second."""


def settle() -> None:
    """What was made at the start stays for good: looking for garbage in it would hold up requests, each time anew."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS, *gc.get_threshold()[1:])


async def _serve(settings: Settings) -> None:
    """Listen until a signal comes. Raises SettingsError."""
    from importlib.metadata import version

    import structlog
    from aiohttp import web

    from bot.app import create_app

    log = structlog.get_logger(__name__)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(number: signal.Signals) -> None:
        log.info("stopping", signal=number.name)
        for other in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(other)  # the next one ends the process at once
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal, number)
    # The access log would repeat what the metrics say, with addresses of people.
    runner = web.AppRunner(await create_app(settings), access_log=None, shutdown_timeout=REQUEST_SECONDS)
    try:
        await runner.setup()
        settle()
        await _listen(runner, settings)
        log.info("listening", urls=_urls(runner), version=version("tgs-bot"))
        await stop.wait()
    finally:
        await runner.cleanup()
    log.info("stopped")


async def _listen(runner: web.AppRunner, settings: Settings) -> None:
    """Open the port. Raises SettingsError when the system does not give it."""
    from aiohttp import web

    from bot.errors import SettingsError

    try:
        await web.TCPSite(runner, settings.host, settings.port).start()
    except OSError as error:
        # asyncio words its own errors at length; host names that are not found have negative numbers.
        known = error.errno is not None and error.errno > 0
        why = os.strerror(error.errno or 0) if known else str(error.strerror or error)
        raise SettingsError(
            f"Cannot listen on {settings.host} port {settings.port}: {why}.",
            "Set TGS_HOST and TGS_PORT (or --host and --port) to an address of this machine and a free port.",
        ) from None


def _urls(runner: web.AppRunner) -> list[str]:
    """Where it really listens, also when any free port was asked for."""
    found = []
    for address in runner.addresses:
        host, port = address[0], address[1]
        found.append(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")
    return found
