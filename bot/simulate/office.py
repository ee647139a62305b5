"""How webhooks travel from the model to the bot: late, twice, in another order, in vain, or never.

As GitHub does: every delivery is tried once; one that was not taken is listed as failed and sent again only when asked
for. A duplicate comes under another id. The receiver is whoever answers at the bot's address when it arrives.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

from bot.domain.redelivery import Delivery as Tried
from bot.simulate.faults import Fault, Weather
from bot.simulate.hub import Hub
from bot.simulate.process import Down
from bot.simulate.things import Delivery

if TYPE_CHECKING:
    from bot.simulate.replica import Replica

SECRET = "a webhook secret of the simulation"  # noqa: S105 - nothing is protected by it


class PlainRequest:
    """As much of a request as the webhook's endpoint reads."""

    content_type = "application/json"

    def __init__(self, delivery: Delivery) -> None:
        self.body = msgspec.json.encode(delivery.payload)
        self.content_length = len(self.body)
        self.content = self
        self.headers = {
            "X-GitHub-Event": delivery.event,
            "X-GitHub-Delivery": delivery.guid,
            "X-Hub-Signature-256": "sha256=" + hmac.new(SECRET.encode(), self.body, hashlib.sha256).hexdigest(),
        }

    def is_eof(self) -> bool:
        return False

    async def iter_any(self) -> AsyncIterator[bytes]:
        yield self.body


class Office:
    """`receiver` is asked for whoever listens at the address now; `taken` is told of each accepted delivery."""

    def __init__(
        self, hub: Hub, weather: Weather, receiver: Callable[[], Replica | None], taken: Callable[[Delivery], None]
    ) -> None:
        self._hub = hub
        self._weather = weather
        self._receiver = receiver
        self._taken = taken
        self._tried: list[tuple[Tried, Delivery]] = []
        self._last_arrived = 0
        self.vanished: set[int] = set()
        self.lose_everything = False
        self.under_way = 0
        hub.tell = self.send
        hub.tried = lambda: [tried for tried, _ in self._tried]
        hub.send_again = self._send_again

    def send(self, delivery: Delivery) -> None:
        """Takes one delivery; never raises, never waits."""
        weather = self._weather
        if self.lose_everything or weather.strikes(Fault.WEBHOOK_VANISHED):
            self.vanished.add(delivery.id)
            return
        late = weather.strikes(Fault.WEBHOOK_DELAYED)
        self._post(delivery, weather.between(20, 900) if late else weather.seldom_long(0.1, 4.0))
        if weather.strikes(Fault.WEBHOOK_DUPLICATED):
            self._post(replace(delivery, guid=f"{delivery.guid}-again"), weather.between(0.1, 300))

    def _post(self, delivery: Delivery, seconds: float) -> None:
        self.under_way += 1
        loop = asyncio.get_running_loop()
        loop.call_later(seconds, lambda: loop.create_task(self._arrive(delivery)))

    async def _arrive(self, delivery: Delivery) -> None:
        self.under_way -= 1
        if delivery.id < self._last_arrived:
            self._weather.note(Fault.WEBHOOK_REORDERED)
        self._last_arrived = max(self._last_arrived, delivery.id)
        receiver = self._receiver()
        status = 0
        if receiver is not None and not self._weather.strikes(Fault.WEBHOOK_FAILED):
            try:
                status = await receiver.receive(PlainRequest(delivery))
            except Down:
                status = 0
        ok = status == HTTPStatus.ACCEPTED
        self._tried.append((Tried(len(self._tried) + 1, delivery.guid, self._hub.now, ok), delivery))
        if ok:
            self._taken(delivery)

    def _send_again(self, attempt: int) -> None:
        self._post(self._tried[attempt - 1][1], self._weather.between(0.2, 3.0))
