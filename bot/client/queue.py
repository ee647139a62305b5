"""The queue of one repository for programs in Python: put work in, take it out, ask, answer, count.

Promise: thin, as `server_backlog.py`: the bot decides, and its troubles come as typed errors. The secret of a claim is
made here and sent with the question, so a claim whose answer was lost is won by asking again with the same secret.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import SecretStr

from bot.client.http import BotHttp
from bot.domain.identity import RunSecret
from bot.protocols.clock import Ids

LONGEST_WAIT: Final = 20.0
"""Seconds that a question for work may stay open; the connection is given up after 30."""


class QueueClient:
    """One repository's queue at one server, with a person's or a worker's token. The caller opens and closes `http`."""

    def __init__(self, http: BotHttp, full_name: str, ids: Ids) -> None:
        self._http = http
        self._repo = full_name
        self._ids = ids

    def new_secret(self) -> str:
        """The secret of a claim that is to be made."""
        return self._ids.new(RunSecret.ATTEMPT)

    async def enqueue_task(
        self, *, number: int | None = None, folder: str | None = None, priority: int | None = None
    ) -> Mapping[str, Any]:
        """Put an issue or a plan into the queue; the item as it is then. Needs a person's token."""
        wish = {"repo": self._repo, "number": number, "dir": folder, "priority": priority}
        body = {name: value for name, value in wish.items() if value is not None}
        answer = await self._http.send("POST", "/api/v1/queue/enqueue", body)
        found: Mapping[str, Any] = answer.body.get("item") or {}
        return found

    async def claim_work(
        self,
        name: str,
        secret: str,
        *,
        number: int | None = None,
        capabilities: Sequence[str] = (),
        worker_id: str | None = None,
        session: str | None = None,
        wait: float = 0.0,
    ) -> Mapping[str, Any] | None:
        """Take the next item, or the named one. None: nothing can start now. Raises Taken, Refused or LostClaim."""
        body: dict[str, Any] = {"repo": self._repo, "name": name, "token": secret, "wait": min(wait, LONGEST_WAIT)}
        body |= {"capabilities": list(capabilities)}
        wish = {"number": number, "worker_id": worker_id, "session": session}
        body |= {key: value for key, value in wish.items() if value is not None}
        answer = await self._http.send("POST", "/api/v1/queue/claim", body)
        claims: list[Mapping[str, Any]] = answer.body.get("claims", [])
        return claims[0] if claims else None

    async def enqueue_worker_request(self, attempt: str, secret: str, text: str) -> Mapping[str, Any]:
        """Say something to the people about the item that is worked on; the message as it stands there."""
        body = {"attempt": attempt, "text": text}
        return (await self._http.send("POST", "/api/v1/chat/messages", body, bearer=SecretStr(secret))).body

    async def enqueue_controller_response(
        self, number: int, text: str, *, parent: int | None = None
    ) -> Mapping[str, Any]:
        """Answer on an item, as a person; `parent` is the message that is answered."""
        body: dict[str, Any] = {"repo": self._repo, "number": number, "text": text}
        if parent is not None:
            body["parent"] = parent
        return (await self._http.send("POST", "/api/v1/chat/messages", body)).body

    async def get_queue_stats(self) -> Mapping[str, int]:
        """The ready items by priority, the open questions, and the answers that no attempt has taken up yet."""
        answer = await self._http.get("/api/v1/queue/status", [("repo", self._repo)])
        found: Mapping[str, int] = answer.body["queues"]
        return found
