"""People who work without the bot: they claim by a ref on GitHub, as `tgs` does where no server answers.

They keep the protocol of docs/claims.md: the ref first, then a last look, then the labels, and the ref goes last. How
it ends is theirs: handed in, done without code, failed, or given back to the queue.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from bot.domain.claim_record import NAMESPACE, ClaimRecord, ClaimRef
from bot.domain.model import Person
from bot.simulate.things import MAIN, sha_of
from bot.simulate.workers import Site, push_work, sum_of

LEASE = timedelta(hours=8)
"""For how long the command line says that its owner may be silent."""

READY, IN_PROGRESS = "tgs:ready", "tgs:in-progress"
WORKED_ON = {IN_PROGRESS, "tgs:needs-input", "tgs:in-review"}

Refs = dict[int, ClaimRef]


async def works_alone(site: Site, refs: Refs, person: Person, number: int, turn: int) -> None:
    """One claim of one issue, from the ref to its release."""
    hub, name = site.hub, f"{person.login} alone"
    await _travel(site)
    issue = hub.issues[number]
    if READY not in issue.now.labels or not issue.now.open or issue.deleted or number in refs:
        return
    record = ClaimRecord(
        issue=number,
        claim_id=f"c{turn}-{number}",
        owner=person.login,
        name="laptop",
        fence=turn,
        nonce=sum_of(f"{person.login} {number} {turn} alone"),
        made_at=hub.exactly(),
        lease_until=hub.exactly() + LEASE,
        branch=f"tgs/{number}-by-hand",
        base_sha=hub.branches[MAIN].now or "",
        locks=("src/**",),
    )
    await _travel(site)
    mine = refs.setdefault(number, ref_of(number, record))
    if mine.record != record:
        return
    site.log(name, f"claims #{number}")
    await _travel(site)
    facts = issue.now
    free = facts.open and not issue.deleted and not facts.labels & {"tgs:hold", "tgs:no-agent"}
    if not free or len(refs) > 1 or _somebody_works(site, number) or not hub.remove_label(number, READY, person):
        await _release(site, refs, mine, name)
        return
    await _travel(site)
    hub.add_labels(number, [IN_PROGRESS], person)
    await asyncio.sleep(site.up_to(60, 1800))
    if issue.now.open and not issue.deleted:
        ending = site.rng.choice([_hands_in, _gives_back, _gives_back, _fails, _needed_no_code])
        await ending(site, person, record)
    await _release(site, refs, mine, name)


def ref_of(number: int, record: ClaimRecord) -> ClaimRef:
    """The ref as GitHub shows it."""
    return ClaimRef(f"{NAMESPACE}{number}", sha_of(record.nonce), record)


def _somebody_works(site: Site, number: int) -> bool:
    """Another item shows that somebody has it; which paths it holds is not asked, so it may be the same one."""
    others = [issue for other, issue in site.hub.issues.items() if other != number and not issue.deleted]
    return any(issue.now.labels & WORKED_ON for issue in others)


async def _travel(site: Site) -> None:
    await asyncio.sleep(site.weather.seldom_long(0.05, 1.5))


async def _release(site: Site, refs: Refs, mine: ClaimRef, name: str) -> None:
    await _travel(site)
    number = next((number for number, ref in refs.items() if ref == mine), None)
    if number is not None:
        del refs[number]
        site.log(name, f"gives up the claim of #{number}")


async def _show(site: Site, person: Person, number: int, label: str) -> None:
    site.hub.add_labels(number, [label], person)
    await _travel(site)
    site.hub.remove_label(number, IN_PROGRESS, person)


async def _gives_back(site: Site, person: Person, record: ClaimRecord) -> None:
    await _show(site, person, record.issue, READY)


async def _fails(site: Site, person: Person, record: ClaimRecord) -> None:
    await _show(site, person, record.issue, "tgs:failed")


async def _needed_no_code(site: Site, person: Person, record: ClaimRecord) -> None:
    await _show(site, person, record.issue, "tgs:done")
    site.hub.set_open(record.issue, person, open_=False, reason="completed")


async def _hands_in(site: Site, person: Person, record: ClaimRecord) -> None:
    hub, number = site.hub, record.issue
    push_work(hub, record.branch, number, "by hand\n", record.base_sha, person)
    await _travel(site)
    opened = any(pull.now.open and pull.now.head_ref == record.branch for pull in hub.pulls.values())
    merged = hub.branches[record.branch].now in hub.ancestors(hub.branches[MAIN].now)
    if not opened and not merged:
        hub.open_pull(record.branch, MAIN, hub.issues[number].now.title, f"Closes #{number}", person)
    await _show(site, person, number, "tgs:in-review")
