"""How followers are written to: server-sent events and WebSockets. Both stop reading the table while a write waits.

A write waits when the other side does not read and the socket's buffer is full; whoever takes longer than
`SEND_SECONDS` for one message is cut off and can resume after the last id it got. Only the `Authorization` header
says who calls: cookies count for nothing, so a foreign page cannot open a connection in somebody's name; one that
tries is refused by its `Origin` as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from bot.web.api.problems import ApiProblem, Code
from bot.web.live import HEARTBEAT, Connection, ConnectionManager, Ended, Found

SEND_SECONDS = 30.0
"""How long one message may wait for a follower that does not read."""

MAX_MESSAGE = 64 * 1024
"""Bytes of one message from a follower."""

CLOSE_CODES = {
    Ended.GONE: WSCloseCode.OK,
    Ended.DRAINING: WSCloseCode.GOING_AWAY,
    Ended.REFUSED: WSCloseCode.POLICY_VIOLATION,
    Ended.UPSTREAM: WSCloseCode.TRY_AGAIN_LATER,
    Ended.SLOW: WSCloseCode.TRY_AGAIN_LATER,
}

Frames = AsyncIterator[Found | None]


def check_origin(request: web.Request, public_url: str) -> None:
    """Programs send no `Origin`; a browser's page must be ours. Raises ApiProblem."""
    origin = request.headers.get("Origin")
    if origin is None:
        return
    ours, theirs = urlsplit(public_url), urlsplit(origin)
    if (theirs.scheme, theirs.netloc.lower()) != (ours.scheme, ours.netloc.lower()):
        raise ApiProblem(Code.REFUSED, "A page of another origin may not connect here.")


async def server_sent(
    request: web.Request, hub: ConnectionManager, connection: Connection, frames: Frames
) -> web.StreamResponse:
    """Write frames as server-sent events until the connection ends. The first says from where it follows."""
    response = web.StreamResponse(
        headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )
    with _until_gone(request, hub, connection):
        await response.prepare(request)
        await _bounded(response.write(_event("hello", {"after": connection.cursor}, connection.cursor)))
        async for found in frames:
            data = b": still here\n\n" if found is None else _event("", found.data, found.id)
            await _bounded(response.write(data))
        await _bounded(response.write(_event("end", {"why": connection.ended or Ended.GONE}, None)))
    return response


def _event(name: str, data: object, id_: int | None) -> bytes:
    lines = [b"event: " + name.encode()] if name else []
    if id_ is not None:
        lines.append(b"id: %d" % id_)
    lines.append(b"data: " + msgspec.json.encode(data))
    return b"\n".join(lines) + b"\n\n"


async def socket(
    request: web.Request,
    hub: ConnectionManager,
    connection: Connection,
    frames: Frames,
    on_text: Callable[[str], Awaitable[None]] | None = None,
) -> web.StreamResponse:
    """Write frames as messages of a WebSocket until the connection ends; what comes in goes to `on_text`."""
    ws = web.WebSocketResponse(heartbeat=HEARTBEAT, max_msg_size=MAX_MESSAGE)
    with _until_gone(request, hub, connection):
        await ws.prepare(request)
        listener = asyncio.create_task(_listen(ws, connection, on_text))
        try:
            await _bounded(_send(ws, {"type": "hello", "after": connection.cursor}))
            async for found in frames:
                if found is not None:
                    await _bounded(_send(ws, found.data))
            await _bounded(ws.close(code=CLOSE_CODES[connection.ended or Ended.GONE]))
        finally:
            listener.cancel()
            with suppress(asyncio.CancelledError):
                await listener
    return ws


def check_upgrade(request: web.Request) -> None:
    """Raises ApiProblem when the request does not ask for a WebSocket."""
    if not web.WebSocketResponse().can_prepare(request).ok:
        raise ApiProblem(Code.INVALID, "This address speaks WebSocket: send the headers of an upgrade.")


async def _send(ws: web.WebSocketResponse, data: object) -> None:
    await ws.send_str(msgspec.json.encode(data).decode())


async def _listen(
    ws: web.WebSocketResponse, connection: Connection, on_text: Callable[[str], Awaitable[None]] | None
) -> None:
    """Takes what comes in, one after another; the end of it is the end of the connection."""
    try:
        async for message in ws:
            if message.type is WSMsgType.TEXT and on_text is not None:
                await on_text(message.data)
    finally:
        connection.end(Ended.GONE)


async def _bounded(sending: Awaitable[object]) -> None:
    async with asyncio.timeout(SEND_SECONDS):
        await sending


@contextmanager
def _until_gone(request: web.Request, hub: ConnectionManager, connection: Connection) -> Iterator[None]:
    """What is written in here goes to a follower who may leave or be too slow; the hub forgets them at the end."""
    try:
        yield
    except TimeoutError:
        _cut(request, connection)
    except ConnectionResetError:
        connection.end(Ended.GONE)
    finally:
        hub.disconnect(connection)


def _cut(request: web.Request, connection: Connection) -> None:
    connection.end(Ended.SLOW)
    if request.transport is not None:
        request.transport.abort()
