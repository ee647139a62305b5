"""Holds every answer of the bot against its own description: statuses, media types and bodies.

Wrapped around each bot of a world, so that all scenarios check the API on the way; `problems` are sentences.
"""

from __future__ import annotations

import functools
import json
from typing import Any

import jsonschema_rs
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from jsonschema import Draft202012Validator

from bot.web.api.openapi import document
from bot.web.api.table import ROUTES


@functools.cache
def description() -> dict[str, Any]:
    """The OpenAPI document of this version."""
    return json.loads(json.dumps(document(ROUTES, "0"))) | {}


@functools.cache
def _schema(method: str, path: str, status: int, media: str) -> dict[str, Any] | bool | str:
    operation = description()["paths"].get(path, {}).get(method.lower())
    if operation is None:
        return f"{method} {path} is not described"
    response = operation["responses"].get(str(status))
    if response is None:
        return f"{method} {path} answered {status}, which is not described"
    content = response.get("content")
    if content is None:
        return True if not media else f"{method} {path} answered {status} with a body"
    if media not in content:
        return f"{method} {path} answered {status} as {media or 'nothing'}, not {sorted(content)}"
    return {**content[media]["schema"], "components": description()["components"]}


@functools.cache
def _quick(method: str, path: str, status: int, media: str) -> jsonschema_rs.Draft202012Validator:
    """Says whether a body fits, a hundred times as fast as the one that says why it does not."""
    return jsonschema_rs.Draft202012Validator(_schema(method, path, status, media), validate_formats=False)


def check(method: str, path: str, status: int, media: str, body: bytes) -> list[str]:
    """What is wrong with an answer; `path` is the route's, with its parameters' names."""
    schema = _schema(method, path, status, media if body else "")
    if isinstance(schema, str):
        return [schema]
    if not body or not media.endswith("json"):
        return []
    value = json.loads(body)
    if _quick(method, path, status, media).is_valid(value):
        return []
    where = f"{method} {path} {status}"
    errors = [f"{where}: {e.json_path}: {e.message}" for e in Draft202012Validator(schema).iter_errors(value)]
    return errors or [f"{where}: only the slow reading of the schema says that it fits"]


def around(problems: list[str]) -> Middleware:
    """Checks each answer under `/api/` on its way out."""

    @web.middleware
    async def watch(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        resource = request.match_info.route.resource
        if request.path.startswith("/api/") and resource is not None and isinstance(response, web.Response):
            body = response.body if isinstance(response.body, bytes) else b""
            problems.extend(check(request.method, resource.canonical, response.status, response.content_type, body))
        return response

    return watch
