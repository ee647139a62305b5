"""Reads a request's body and query into forms, and writes an answer. What does not fit is named by its field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar, get_origin, get_type_hints

import msgspec
from aiohttp import web

from bot.web.api.problems import ApiProblem, Code

MAX_BODY = 256 * 1024
"""Bytes of a request; the largest is a report with its summary."""

T = TypeVar("T")


async def raw_body(request: web.Request, limit: int = MAX_BODY) -> bytes:
    """The request's bytes as they were sent. Raises ApiProblem beyond `limit`."""
    raw = await request.content.read(limit + 1)
    while len(raw) <= limit and not request.content.at_eof():
        raw += await request.content.read(limit + 1 - len(raw))
    if len(raw) > limit:
        raise ApiProblem(Code.INVALID, f"The body is larger than {limit} bytes.")
    return raw


async def body_of(request: web.Request, form: type[T], limit: int = MAX_BODY) -> T:
    """The request's JSON. An empty body is an empty object. Raises ApiProblem that names the field."""
    raw = await raw_body(request, limit)
    try:
        return msgspec.json.decode(raw or b"{}", type=form)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ApiProblem(Code.INVALID, f"The body does not fit: {error}.") from None


def query_of(request: web.Request, form: type[T]) -> T:
    """The query as a struct. Lists are repeated parameters; empty values count as absent.

    Raises ApiProblem that names the parameter; one that is not known is refused, for it would silently do nothing.
    """
    hints = get_type_hints(form)
    unknown = sorted(set(request.query) - set(hints))
    if unknown:
        known = ", ".join(f"`{name}`" for name in hints)
        raise ApiProblem(Code.INVALID, f"`{unknown[0]}` is not a parameter here; there are: {known or 'none'}.")
    found: dict[str, object] = {}
    for name, hint in hints.items():
        values = [value for value in request.query.getall(name, []) if value]
        if values:
            found[name] = values if get_origin(hint) in {list, tuple} else values[-1]
    try:
        return msgspec.convert(found, form, strict=False)
    except msgspec.ValidationError as error:
        raise ApiProblem(Code.INVALID, f"The query does not fit: {error}.") from None


def answer(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """An answer in JSON that nobody keeps."""
    return web.Response(
        status=status,
        body=msgspec.json.encode(body),
        content_type="application/json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )
