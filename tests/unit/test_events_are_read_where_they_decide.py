"""Label events cost a request for each issue after a database was lost: they are read only where they decide."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, product

from bot.domain.facts import RunStatus
from bot.domain.labels import state_label
from bot.domain.model import ItemState
from bot.domain.policy_model import Policy
from bot.domain.rebuild import Rebuilt, asks_events, rebuild
from bot.domain.sighting import Sighting
from tests.unit.test_what_is_remembered_on_github import (
    ANN,
    ATTEMPT,
    BOT,
    ITEM,
    NOW,
    REPO,
    issue,
    labelled,
    memory,
    ready_event,
    run,
)

HISTORIES = (
    (ready_event(ANN),),
    (ready_event(ANN), ready_event(BOT, added=False)),
    (ready_event(ANN), ready_event(ANN, added=False)),
    (labelled("tgs:done", ANN),),
    (labelled("tgs:done", BOT),),
)


def sightings() -> Iterator[Sighting]:
    shown = [names for count in range(3) for names in combinations(map(state_label, ItemState), count)]
    approved = [memory(state, attempt=attempt) for state in ItemState for attempt in (None, ATTEMPT)]
    known = [None, *approved, *(replace(one, approved_at=None, text=None, approver=None) for one in approved)]
    for names, remembered, runs in product(shown, known, ((), (run(RunStatus.IN_PROGRESS),))):
        yield Sighting(issue(*names), memory=remembered, runs=runs)
        if remembered is None:
            yield Sighting(issue(*names), runs=runs, thought=ITEM.thought)


def outcome(seen: Sighting) -> Rebuilt | None:
    """Without the words for why, and without who approved what is done: it is approved anew before more is done."""
    found = rebuild(seen, REPO, Policy.default(), NOW)
    if found is None:
        return None
    item = replace(found.item, snapshot=None) if found.item.state is ItemState.DONE else found.item
    return replace(found, item=item, because=())


def test_where_they_are_not_read_they_would_change_nothing() -> None:
    unread = [seen for seen in sightings() if not asks_events(seen)]
    assert len(unread) > 100
    for seen, events in product(unread, HISTORIES):
        assert outcome(replace(seen, events=events)) == outcome(seen), seen
