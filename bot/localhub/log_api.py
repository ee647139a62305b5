"""The hub's own pages for machines: the request log and avatars.

Promise: nothing here exists on the real service, so everything is below `/_hub/`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bot.localhub.http import Reply, Request, Route, Surface, not_found

if TYPE_CHECKING:
    from bot.localhub.hub import Hub

COLORS = ("#0969da", "#1a7f37", "#8250df", "#bf3989", "#9a6700", "#cf222e", "#1b7c83", "#57606a")
"""Background of avatars, chosen by account id."""


async def show_log(request: Request) -> Reply:
    """`GET /_hub/log?since=<index>&repo=&issue=&writes=true`: entries and their counts."""
    query, log = request.query, request.hub.log
    start = int(query.get("since", "0")) if query.get("since", "0").isdigit() else 0
    found = [
        x
        for x in log.entries[start:]
        if query.get("repo") in (None, x.repo)
        and query.get("issue") in (None, str(x.issue))
        and (not request.flag("writes") or x.is_write)
    ]
    body = {"summary": log.summary(), "entries": [x.as_json() for x in found]}
    return Reply(200, body | {"next": len(log.entries)})


async def avatar(request: Request) -> Reply:
    """A letter on a coloured square."""
    account = request.hub.accounts.get(request.number("account_id"))
    if account is None:
        raise not_found()
    letter = account.login[:1].upper()
    letter = letter if letter.isalnum() else "?"
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 40" role="img">'
        f'<rect width="40" height="40" rx="20" fill="{COLORS[account.id % len(COLORS)]}"/>'
        '<text x="20" y="27" font-family="sans-serif" font-size="20" fill="#fff" '
        f'text-anchor="middle">{letter}</text></svg>'
    )
    return Reply(200, svg.encode(), {"Content-Type": "image/svg+xml"})


async def icon(request: Request) -> Reply:
    """The icon of the pages."""
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><circle cx="8" cy="8" r="7" fill="#1a7f37"/></svg>'
    )
    return Reply(200, svg.encode(), {"Content-Type": "image/svg+xml"})


def routes(hub: Hub) -> list[Route]:
    """All routes of this module."""
    return [
        Route("GET", "/_hub/log", show_log, surface=Surface.WEB),
        Route("GET", "/_hub/icon.svg", icon, surface=Surface.WEB),
        Route("GET", "/_hub/avatar/{account_id}.svg", avatar, surface=Surface.WEB),
    ]
