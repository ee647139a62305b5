"""REST: Apps, installations, tokens, accounts, webhook deliveries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bot.localhub import present
from bot.localhub.http import Reply, Request, Route, not_found

if TYPE_CHECKING:
    from bot.localhub.hub import Hub


async def get_user(request: Request) -> Reply:
    """`GET /users/{username}`, also for `<slug>[bot]`."""
    account = request.hub.find_account(request.params["username"])
    if account is None:
        raise not_found()
    return Reply(200, present.full_user(request.hub, account))


def routes(hub: Hub) -> list[Route]:
    """All routes of this module."""
    return [Route("GET", "/users/{username}", get_user, anyone=True)]
