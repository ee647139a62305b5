"""REST: the App's webhook, its deliveries and redelivery; webhooks of a repository.

Promise: deliveries are listed newest first, for three days, with a cursor; a redelivery keeps the
GUID and is a record of its own.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING

from bot.localhub import present
from bot.localhub.apps_api import calling_app
from bot.localhub.http import ApiError, Need, Reply, Request, Route, not_found
from bot.localhub.model import Delivery, Hook, Json, Role

if TYPE_CHECKING:
    from bot.localhub.hub import Hub

KEPT = timedelta(days=3)
"""How long a delivery can be seen and repeated."""
ADMINISTER = (Need("repository_hooks", "write"),)


def _hook(request: Request) -> Hook:
    hook = calling_app(request).hook
    if hook is None:
        raise not_found()
    return hook


def _config(hook: Hook) -> Json:
    out: Json = {"content_type": "json", "insecure_ssl": "0", "url": hook.url}
    return out | ({"secret": "********"} if hook.secret else {})


async def get_config(request: Request) -> Reply:
    """`GET /app/hook/config`."""
    return Reply(200, _config(_hook(request)))


async def set_config(request: Request) -> Reply:
    """`PATCH /app/hook/config`: where to send to, and the secret."""
    hook, body = _hook(request), request.body()
    if isinstance(url := body.get("url"), str):
        hook.url = url
    if isinstance(secret := body.get("secret"), str):
        hook.secret = secret
    return Reply(200, _config(hook))


def _item(delivery: Delivery) -> Json:
    return {
        "id": delivery.id,
        "guid": delivery.guid,
        "delivered_at": present.time(delivery.delivered_at or delivery.queued_at),
        "redelivery": delivery.redelivery,
        "duration": delivery.duration,
        "status": delivery.status,
        "status_code": delivery.status_code,
        "event": delivery.event,
        "action": delivery.action,
        "installation_id": delivery.installation_id,
        "repository_id": delivery.repository_id,
        "throttled_at": None,
    }


def _visible(request: Request) -> list[Delivery]:
    hook, since = calling_app(request).hook, request.hub.now() - KEPT
    return [
        x
        for x in reversed(request.hub.hooks.deliveries)
        if x.hook is hook and x.delivered_at is not None and x.delivered_at >= since
    ]


async def list_deliveries(request: Request) -> Reply:
    """`GET /app/hook/deliveries?per_page&cursor&status`."""
    found = _visible(request)
    match request.query.get("status"):
        case None:
            pass
        case "success":
            found = [x for x in found if 200 <= x.status_code < 400]
        case "failure":
            # Codes 400 to 599 only: a time-out carries another code and is not among them.
            found = [x for x in found if 400 <= x.status_code < 600]
        case other:
            raise ApiError(422, f"Invalid status: {other}")
    cursor = request.query.get("cursor")
    if cursor is not None:
        if not cursor.isdigit():
            raise ApiError(422, "Invalid cursor")
        found = [x for x in found if x.id < int(cursor)]
    size = request.page()[1]
    part, headers = found[:size], {}
    if len(found) > size:
        kept = [x for x in request.query_string.split("&") if x and not x.startswith("cursor=")]
        query = "&".join([*kept, f"cursor={part[-1].id}"])
        headers["Link"] = f'<{request.hub.api_url}{request.path}?{query}>; rel="next"'
    return Reply(200, [_item(x) for x in part], headers)


def _delivery(request: Request) -> Delivery:
    wanted = request.number("delivery_id")
    found = next((x for x in _visible(request) if x.id == wanted), None)
    if found is None:
        raise not_found()
    return found


async def get_delivery(request: Request) -> Reply:
    """`GET /app/hook/deliveries/{id}` with request and response."""
    found = _delivery(request)
    return Reply(
        200,
        _item(found)
        | {
            "url": found.hook.url,
            "request": {"headers": dict(found.headers), "payload": json.loads(found.body)},
            "response": {"headers": found.response_headers, "payload": found.response_body},
        },
    )


async def redeliver(request: Request) -> Reply:
    """`POST /app/hook/deliveries/{id}/attempts`."""
    request.hub.hooks.redeliver(_delivery(request))
    return Reply(202, {})


async def create_repository_hook(request: Request) -> Reply:
    """`POST /repos/{owner}/{repo}/hooks`, for administrators."""
    body = request.body()
    config = body.get("config")
    if not isinstance(config, dict) or not isinstance(config.get("url"), str):
        raise ApiError(422, "Validation Failed", [{"resource": "Hook", "code": "missing_field"}])
    events = body.get("events", ["push"])
    if not isinstance(events, list):
        raise ApiError(422, "events must be a list")
    hook = Hook(
        request.hub.new_id(),
        config["url"],
        str(config.get("secret", "")),
        [str(x) for x in events],
        request.repo.id,
        "repository",
    )
    request.hub.hooks.repository_hooks.setdefault(request.repo.id, []).append(hook)
    at = present.time(request.hub.now())
    url = f"{request.hub.api_url}/repos/{request.repo.full_name}/hooks/{hook.id}"
    return Reply(
        201,
        {
            "type": "Repository",
            "id": hook.id,
            "name": "web",
            "active": True,
            "events": hook.events,
            "config": _config(hook),
            "created_at": at,
            "updated_at": at,
            "url": url,
            "test_url": f"{url}/test",
            "ping_url": f"{url}/pings",
            "deliveries_url": f"{url}/deliveries",
            "last_response": {"code": None, "status": "unused", "message": None},
        },
    )


def routes(hub: Hub) -> list[Route]:
    """All routes of this module."""
    every = "/app/hook/deliveries"
    one = f"{every}/{{delivery_id}}"
    return [
        Route("GET", "/app/hook/config", get_config, app_jwt=True),
        Route("PATCH", "/app/hook/config", set_config, app_jwt=True),
        Route("GET", every, list_deliveries, app_jwt=True),
        Route("GET", one, get_delivery, app_jwt=True),
        Route("POST", f"{one}/attempts", redeliver, app_jwt=True),
        Route("POST", "/repos/{owner}/{repo}/hooks", create_repository_hook, ADMINISTER, Role.ADMIN),
    ]
