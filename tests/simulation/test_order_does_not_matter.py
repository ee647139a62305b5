"""What comes of a story is the same whether webhooks come in order, late, twice, in another order or not at all.

People act far enough apart for the bot to come to rest in between; each story is played with a quiet post and with a
bad one, and what is there at the end is compared.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest

from bot.domain.facts import IssueFacts, Presence
from bot.observe import Observer
from bot.simulate.faults import Fault
from bot.simulate.setup import Setup
from bot.simulate.things import MARIA
from handlers import REGISTRY
from tests.effort import by_effort, more
from tests.simulation.stage import Stage, staged

POST = (Fault.WEBHOOK_DELAYED, Fault.WEBHOOK_DUPLICATED, Fault.WEBHOOK_VANISHED, Fault.WEBHOOK_FAILED)
POLICY = "max_parallel: 2\nassignee: none\nbudgets:\n  per_item: 1000\n  per_day: 1000\n"
APART = 75.0
"""Minutes between two acts: longer than every run, every delay of a webhook, and the look that finds a lost one."""

STORIES = by_effort(1, 6, 200)
MOST = 40

pytestmark = more


def story_of(seed: int) -> list[Callable[[Stage], None]]:
    """What people do, one after the other."""
    rng = Random(f"story {seed}")

    def opens(stage: Stage) -> None:
        stage.hub.open_issue(
            f"Thing {sum(1 for i in stage.hub.issues.values() if i.now.author == MARIA)}",
            "It should.",
            MARIA,
            ["tgs:ready"],
        )

    def on(act: Callable[[Stage, int], None]) -> Callable[[Stage], None]:
        place = rng.random()

        def act_on_one(stage: Stage) -> None:
            there = sorted(
                number
                for number, issue in stage.hub.issues.items()
                if issue.now.author == MARIA and number not in stage.hub.pulls
            )
            act(stage, there[int(place * len(there))])

        return act_on_one

    acts: list[Callable[[Stage, int], None]] = [
        lambda stage, number: stage.hub.set_open(number, MARIA, open_=False),
        lambda stage, number: stage.hub.set_open(number, MARIA, open_=True),
        lambda stage, number: stage.hub.add_labels(number, ["tgs:ready"], MARIA),
        lambda stage, number: stage.hub.add_labels(number, ["tgs:hold"], MARIA),
        lambda stage, number: bool(stage.hub.remove_label(number, "tgs:hold", MARIA)) and None,
        lambda stage, number: bool(stage.hub.comment(number, "/tgs retry", MARIA)) and None,
        lambda stage, number: bool(stage.hub.comment(number, "/tgs stop", MARIA)) and None,
        lambda stage, _number: _merge_one(stage),
    ]
    return [opens, *(on(rng.choice(acts)) for _ in range(2)), opens, *(on(rng.choice(acts)) for _ in range(4))]


def _merge_one(stage: Stage) -> None:
    for number, pull in sorted(stage.hub.pulls.items()):
        if pull.now.open:
            stage.hub.merge(number, MARIA)
            return


def closed_while_held() -> list[Callable[[Stage], None]]:
    """The shortest story in which it matters what was heard last. Nothing runs in it."""

    def opens(stage: Stage) -> None:
        stage.hub.open_issue("Thing", "It should.", MARIA, ["tgs:ready", "tgs:hold"])

    def closes(stage: Stage) -> None:
        stage.hub.set_open(max(stage.hub.issues), MARIA, open_=False)

    return [opens, closes]


def outcome(
    seed: int, story: Sequence[Callable[[Stage], None]], *, bad_post: bool, often: tuple[Fault, ...] = ()
) -> list[tuple[Any, ...]]:
    """What is there at the end of the story."""
    setup = Setup(seed, scale=3.0 if bad_post else 0.0, policy=POLICY, only=POST, often=often)
    with staged(setup=setup) as stage:
        site = stage.history.site
        site.result = lambda: None  # type: ignore[method-assign]
        site.questions = lambda: ()  # type: ignore[method-assign]
        stage.passes(minutes=15)
        for act in story:
            stage.does(lambda act=act: act(stage))  # type: ignore[misc]
            stage.passes(minutes=APART)
        stage.history.weather.clear()
        stage.passes(minutes=60)
        items = {row["number"]: row["state"] for row in stage.history.disk.rows("SELECT number, state FROM items")}
        own = [issue for number, issue in stage.hub.issues.items() if number not in stage.hub.pulls]
        # By name: a number is only the order in which issues and pull requests were opened.
        return sorted(
            [(i.now.title, items.get(i.number), i.now.open, tuple(sorted(i.now.labels))) for i in own]
            + [(p.now.head_ref.partition("-")[2], p.now.open, p.now.merged) for p in stage.hub.pulls.values()],
            key=str,
        )


@pytest.mark.parametrize("seed", range(STORIES))
def test_what_comes_of_it_is_the_same(seed: int) -> None:
    assert outcome(seed, story_of(seed), bad_post=True) == outcome(seed, story_of(seed), bad_post=False)


@pytest.mark.timeout(600)
def test_it_would_matter_if_webhooks_were_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: an observer that takes from the last webhook whether an issue is open."""
    told: dict[int, bool] = {}
    whole_read, whole_issue = REGISTRY["issues"].read, Observer._issue

    def read(body: bytes, self_id: int | None) -> Any:
        payload = json.loads(body)
        if payload["action"] in {"closed", "reopened", "opened"}:
            told[payload["issue"]["number"]] = payload["action"] != "closed"
        return whole_read(body, self_id)

    async def issue(self: Any, key: Any, *more: Any) -> tuple[Presence, IssueFacts | None]:
        presence, facts = await whole_issue(self, key, *more)
        if facts is not None and key.number in told:
            facts = dataclasses.replace(facts, open=told[key.number])
        return presence, facts

    monkeypatch.setattr(REGISTRY["issues"], "read", read)
    monkeypatch.setattr(Observer, "_issue", issue)
    calm = outcome(0, closed_while_held(), bad_post=False)
    for seed in range(MOST):
        told.clear()
        if outcome(seed, closed_while_held(), bad_post=True, often=(Fault.WEBHOOK_VANISHED,)) != calm:
            return
    raise AssertionError("the order of webhooks never mattered")
