"""The checks that people asked for: run before the agent begins and after it has finished, as the agent's user.

Promise: a check that fails afterwards ends the attempt with its last lines. One that passed before the work began
proves nothing about it; that is remembered for the reviewers, not held against the agent. Before the work a check gets
little time, and what it leaves behind is removed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from bot.domain.model import FailureReason
from bot.worker.adapters.base import Session
from bot.worker.log import RunLog
from bot.worker.look import CheckSaid
from bot.worker.outcome import AttemptFailed
from bot.worker.process import Ending

LINES: Final = 15
"""Last lines of a failed check that the report quotes."""
BEFORE_SHARE: Final = 0.05
"""Part of the attempt's time that one check may take before the work begins; a longer one counts as not known."""


def checks_of(session: Session) -> tuple[str, ...]:
    """The commands, each once."""
    return tuple(dict.fromkeys((*session.context.acceptance, *session.context.spec.acceptance)))


async def green_before(session: Session, log: RunLog) -> frozenset[str]:
    """The checks that pass although nothing was done yet. Only when the work starts from its base."""
    if session.resume is not None or session.context.existing_branch_sha is not None:
        return frozenset()
    found = set()
    for command in checks_of(session):
        end = session.deadline - session.seconds_left * (1 - BEFORE_SHARE)
        finished = await replace(session, deadline=end).run(["sh", "-c", command], on_line=lambda _: None)
        if finished.code == 0 and finished.ending is Ending.BY_ITSELF:
            found.add(command)
    if checks_of(session):
        for clean in (["git", "reset", "--quiet", "--hard"], ["git", "clean", "--quiet", "-d", "-x", "--force"]):
            await session.run(clean, on_line=lambda _: None)
        log.info("checks before the work", passed=len(found), of=len(checks_of(session)))
    return frozenset(found)


async def accept(session: Session, log: RunLog) -> tuple[CheckSaid, ...]:
    """Runs the checks on the finished work; what they said. Raises AttemptFailed for the first that fails."""
    passed: list[CheckSaid] = []
    for command in checks_of(session):
        lines: list[str] = []
        finished = await session.run(["sh", "-c", command], on_line=lines.append)
        for line in lines:
            log.info("acceptance", text=line)
        if finished.ending is Ending.STOPPED:
            break
        if finished.code != 0 or finished.ending is Ending.TIMED_OUT:
            said = "\n".join(lines[-LINES:])
            how = "did not end in time" if finished.ending is Ending.TIMED_OUT else f"ended with {finished.code}"
            raise AttemptFailed(FailureReason.QUALITY_ACCEPTANCE, f"The check `{command}` {how}.\n{said}".strip())
        passed.append(CheckSaid(command, "\n".join(lines[-LINES:])))
    return tuple(passed)
