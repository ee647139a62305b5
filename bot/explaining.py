"""Why an item does or does not move, asked outside of its own pass: fresh facts, the same rules, nothing written."""

from __future__ import annotations

from bot.domain.draft import Draft
from bot.domain.explain import explain, in_line
from bot.domain.model import IssueKey, Waiting
from bot.domain.reasons import ReasonCode, waiting
from bot.observe import Observer
from bot.policies import policy_of
from bot.protocols.clock import Clock


class Explainer:
    """Answers `why`."""

    def __init__(self, observer: Observer, clock: Clock) -> None:
        self._observer = observer
        self._clock = clock

    async def reasons(self, key: IssueKey) -> tuple[Waiting, ...]:
        """The reasons in the order in which they should be read. Raises GitHubError when facts cannot be read."""
        facts = await self._observer.item(key, asked=True)
        if facts is None:
            return (waiting(ReasonCode.NOT_TRACKED),)
        found = explain(Draft(facts, self._clock.now()), policy_of(facts.repo), asked=True)
        if facts.exact is None:
            return found
        # There is no headline here that could say it.
        place = in_line(facts.exact[1], exact=True)
        return found if place in found else (place, *found)
