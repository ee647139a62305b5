"""Which command that was carried out stands in the way of an older one that is heard after it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bot.domain.commands import COMMANDS, Verb
from bot.domain.intents import Intent, IntentSource
from bot.domain.model import InstallationId, IssueKey, Person, RepoId
from bot.domain.overtaken import overtaken_by, wish_of

KEY = IssueKey(InstallationId(1), RepoId(10), 7)
START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def said(verb: str, *args: str, after: int = 0, comment: int = 1, api: bool = False) -> Intent:
    """A command, so many seconds after the start."""
    return Intent(
        id=f"api:{comment}" if api else f"comment:{comment}:0",
        key=KEY,
        source=IntentSource.API if api else IntentSource.COMMENT,
        verb=verb,
        args=args,
        actor=Person(100, "alice"),
        created_at=START + timedelta(seconds=after),
        comment_id=None if api else comment,
    )


@pytest.mark.parametrize(
    ("late", "heeded", "newest"),
    [
        pytest.param(said("hold"), [], None, id="nothing was carried out"),
        pytest.param(said("hold"), [said("unhold", after=9, comment=2)], 0, id="the opposite, written later"),
        pytest.param(said("hold", after=9), [said("unhold", comment=2)], None, id="the opposite, written before"),
        pytest.param(said("hold"), [said("unhold", comment=2)], 0, id="in the same second numbers of comments decide"),
        pytest.param(said("hold", comment=2), [said("unhold")], None, id="in the same second, and before"),
        pytest.param(said("hold"), [said("unhold")], None, id="lines of one comment have their own order"),
        pytest.param(
            said("hold"),
            [said("hold", after=8, comment=3), said("unhold", after=4, comment=2)],
            None,
            id="the newest wishes the same",
        ),
        pytest.param(
            said("start"),
            [said("stop", after=4, comment=2), said("reject", "no", after=8, comment=3)],
            1,
            id="the newest of several is named",
        ),
        pytest.param(said("start"), [said("unhold", after=9, comment=2)], None, id="about something else"),
        pytest.param(said("retry"), [said("approve", after=9, comment=2)], None, id="another word for the same wish"),
        pytest.param(said("priority", "1"), [said("priority", "2", after=9, comment=2)], 0, id="another number"),
        pytest.param(said("priority", "1"), [said("priority", "1", after=9, comment=2)], None, id="the same number"),
        pytest.param(said("lock", "a"), [said("unlock", "b", after=9, comment=2)], None, id="another path"),
        pytest.param(said("depends", "#4"), [said("undepends", "4", after=9, comment=2)], 0, id="one issue, two ways"),
        pytest.param(said("why"), [said("stop", after=9, comment=2)], None, id="a question is never too late"),
        pytest.param(
            said("hold", api=True), [said("unhold", after=9, comment=2)], None, id="who asks over the API speaks now"
        ),
        pytest.param(said("hold"), [said("unhold", after=9, api=True)], 0, id="a newer word over the API counts"),
    ],
)
def test_what_overtakes(late: Intent, heeded: list[Intent], newest: int | None) -> None:
    assert overtaken_by(late, heeded) == (None if newest is None else heeded[newest])


NEVER = {
    Verb.PAUSE,  # these two are about the repository, which remembers when the newest was written
    Verb.RESUME,
    Verb.ANSWER,  # an answer that is late is told so by its question
    Verb.STEER,
    Verb.PUBLISH,  # these two look at what there is to publish and to merge
    Verb.MERGE,
    Verb.SYNC,
    Verb.NEXT,
    Verb.WHY,
    Verb.STATUS,
    Verb.HELP,
    Verb.COST,
    Verb.POLICY,
}
"""Commands that no other one contradicts."""


@pytest.mark.parametrize("verb", [verb for verb, row in COMMANDS.items() if row.available], ids=str)
def test_each_available_command_wishes_something_that_another_may_contradict_or_is_listed(verb: Verb) -> None:
    args = {Verb.LOCK: ("src",), Verb.UNLOCK: ("src",), Verb.DEPENDS: ("#1",), Verb.UNDEPENDS: ("#1",)}.get(verb, ())
    assert (wish_of(said(verb.value, *args)) is None) == (verb in NEVER)
