"""The agent's job in Actions: from the once-only code to a bundle for the next job and a report.

Promise: as `bot/worker/life.py`; what is different here is where things come from and go to. The checkout of an earlier
step is the source, the bundle stays in a folder for the step that keeps it as an artifact, and the publishing job takes
it up only with the digest that this job wrote after the bot took its report.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from bot.domain.model import FailureReason
from bot.errors import LostClaim
from bot.worker.api import Api
from bot.worker.life import POLITE, Interrupted, Task, live
from bot.worker.log import RunLog, log_name
from bot.worker.model_proxy import ModelAccess
from bot.worker.outcome import RunOutcome
from bot.worker.outputs import Outputs
from bot.worker.process import Graces

CANCELLED: Final = Interrupted(FailureReason.CANCELLED_IN_ACTIONS, "The run was cancelled in Actions.")


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What the job was given. `hide` are values that must not appear in the log."""

    attempt: str
    fence: int
    handoff: SecretStr
    source: Path
    out: Path
    allow_unisolated: bool = False
    hide: tuple[str, ...] = ()
    graces: Graces = POLITE
    model: ModelAccess | None = None


async def run_attempt(
    settings: RunSettings, api: Api, clock: Callable[[], datetime], outputs: Outputs, interrupt: asyncio.Event
) -> RunOutcome:
    """Does the whole job. `interrupt` is set when the runner wants us to end.

    Raises LostClaim when the attempt is no longer ours, and the API's errors when the hand-over fails.
    """
    handover = await api.handoff(settings.attempt, settings.fence, settings.handoff)
    context = handover.context
    if context.attempt != settings.attempt or context.fence != settings.fence:
        raise LostClaim("the bot handed over another attempt")

    @asynccontextmanager
    async def checkout() -> AsyncIterator[Path]:
        yield settings.source

    task = Task(
        context=context,
        token=handover.attempt_token,
        heartbeat_seconds=handover.heartbeat_seconds,
        source=checkout,
        out=settings.out / "bundle",
        interrupted=CANCELLED,
        allow_unisolated=settings.allow_unisolated,
        graces=settings.graces,
        model=settings.model,
    )
    log = RunLog(settings.out / "log" / log_name(context.label, clock()), clock)
    try:
        outputs.write("log_name", log.path.name)
        log.hide(handover.attempt_token.get_secret_value(), settings.handoff.get_secret_value(), *settings.hide)
        outcome = await live(task, api, log, interrupt)
    finally:
        log.close()
    if outcome.bundle_digest is not None:
        outputs.write("bundle_digest", outcome.bundle_digest)
    return outcome
