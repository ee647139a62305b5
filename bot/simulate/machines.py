"""Pull workers and people's own sessions in a history; like the runs in `workers.py` nobody believes what they say."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

from bot.claims import NotClaimed
from bot.domain.attempt import Attempt, WorkerReport
from bot.domain.model import Person
from bot.errors import LostClaim
from bot.protocols.ledger import Ledger
from bot.protocols.worker_ledger import BundleRow
from bot.pull_service import Asker, Given
from bot.simulate.faults import Fault
from bot.simulate.process import START, Down
from bot.simulate.things import KEY, MARIA
from bot.simulate.workers import Refusal, Silent, Site, push, report_to, sum_of

if TYPE_CHECKING:
    from bot.simulate.replica import Replica

WAIT = 8.0
"""Seconds for which a patient machine lets the bot look for work before it answers."""


class UnknownToken(Exception):
    """The bot does not know this machine's token."""


async def pull_worker(site: Site, name: str) -> None:
    """A machine that asks for work for ever."""
    repo_token = ""
    turn = 0
    while True:
        turn += 1
        if not repo_token:
            with suppress(Down, Refusal):
                repo_token = await site.call(lambda bot: _token(bot, name))
        secret, patient = f"tga_{sum_of(f'{name} {turn}')[:48]}", site.rng.random() < 0.5

        async def claim(
            bot: Replica, secret: str = secret, own: str = repo_token, patient: bool = patient
        ) -> Given | NotClaimed:
            repo = await bot.store.read(lambda tx: tx.repo(KEY))
            known = await bot.engine.pull.token(own)
            if repo is None:
                raise Down("not served yet")
            if known is None:
                raise UnknownToken
            wait = WAIT if patient else 0.0
            return await bot.engine.pull.claim(repo, Asker(name, token=known), secret, None, wait=wait)

        try:
            found = await site.call(claim)
            if isinstance(found, Given):
                await _one_claim(site, name, found.attempt, secret)
        except UnknownToken:
            repo_token = ""  # the bot has lost its database; a maintainer makes a new one
        except (Down, Refusal, LostClaim) as error:
            site.log(name, f"goes without: {type(error).__name__} {error}")
        except Silent:
            await asyncio.sleep(site.up_to(600, 4000))
            site.log(name, "is started again")
        await asyncio.sleep(site.weather.between(20, 200))


async def _token(bot: Replica, name: str) -> str:
    repo = await bot.store.read(lambda tx: tx.repo(KEY))
    if repo is None:
        raise Down("not served yet")
    _, secret = await bot.engine.pull.create_token([repo], MARIA, name, timedelta(days=5))
    return secret


async def _one_claim(site: Site, name: str, attempt: Attempt, secret: str) -> None:
    site.log(name, f"works on #{attempt.key.number}")
    stopped = await site.work(name, attempt, secret, site.mostly(40, 1500))
    if site.weather.strikes(Fault.WORKER_CRASH):
        site.log(name, "crashes")
        return
    reason = stopped or site.result()
    digest = sum_of(f"bundle of {attempt.id}") if reason is None else None
    if digest is not None:

        async def upload(bot: Replica) -> None:
            known = await bot.engine.runs.authenticate(attempt.id, secret)

            def note(tx: Ledger) -> None:
                fresh = tx.attempt(known.id)
                if fresh is None or not fresh.live or fresh.fence != attempt.fence:
                    raise LostClaim("the attempt is not current any more")
                tx.put_bundle(BundleRow(known.id, digest, 10, bot.process.clock.now()))

            await bot.store.write(note)

        await site.call(upload)
    site.log(name, f"reports {reason.value if reason else 'a result'}")
    report = WorkerReport(reason is None, START, reason, detail="simulated", bundle_digest=digest, usage=site.usage())
    await site.call(lambda bot: report_to(bot, attempt, secret, report))


async def session(site: Site, person: Person, number: int, turn: int) -> None:
    """A person takes an item themselves, and pushes, says that no code is needed, or just leaves."""
    name, secret = f"{person.login}'s session", f"tga_{sum_of(f'{person.login} {number} {turn}')[:48]}"

    async def claim(bot: Replica) -> Given | NotClaimed:
        repo = await bot.store.read(lambda tx: tx.repo(KEY))
        if repo is None:
            raise Down("not served yet")
        return await bot.engine.pull.claim(repo, Asker("laptop", person=person), secret, number)

    try:
        found = await site.call(claim)
        if not isinstance(found, Given):
            return
        attempt = found.attempt
        site.log(name, f"works on #{number}")
        if await site.work(name, attempt, secret, site.up_to(60, 900)) is not None:
            await site.call(lambda bot: bot.engine.endings.fail(attempt.id, secret, attempt.fence, "agent.gave_up", ""))
            return
        evidence = "It was a question." if site.rng.random() < 0.5 else None
        if evidence is None:
            push(site.hub, attempt.branch, attempt, person)
        site.log(name, "says that no code is needed" if evidence else "says that it is done")
        await site.call(lambda bot: bot.engine.endings.complete(attempt.id, secret, attempt.fence, evidence))
    except (Down, Refusal, LostClaim) as error:
        site.log(name, f"goes without: {type(error).__name__} {error}")
    except Silent:
        return
