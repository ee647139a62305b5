"""The HTTP server: routing, authentication, limits, faults, conditional requests, the log.

Promise: listens on loopback only and refuses requests for another host name (a page in a browser
cannot reach it by rebinding DNS). Order of the checks is GitHub's: version, credentials, limits,
existence, permission, archived, then the handler. Redirects of renamed repositories answer 301
with the `/repositories/{id}` address.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from aiohttp import web

from bot.localhub.actor import ANONYMOUS, ActorKind
from bot.localhub.faults import Fault, FaultKind
from bot.localhub.features import routes
from bot.localhub.http import ApiError, Need, Reply, Request, Route, Surface, not_found
from bot.localhub.model import Repository, Role
from bot.localhub.reqlog import LogEntry

if TYPE_CHECKING:
    from bot.localhub.hub import Hub

API_PREFIX = "/api/v3"
GRAPHQL_PATH = "/api/graphql"
MAX_BODY = 256 * 1024 * 1024
"""Bytes: room for a push of a large repository."""
API_VERSIONS = ("2022-11-28", "2026-03-10")
"""Supported values of `X-GitHub-Api-Version`; the first is the default."""
JSON = "application/json; charset=utf-8"
BEFORE = (FaultKind.ERROR_BEFORE, FaultKind.DISCONNECT_BEFORE, FaultKind.HANG_BEFORE)


class Server:
    """Serves one hub."""

    def __init__(self, hub: Hub) -> None:
        """Collect the routes; nothing listens yet."""
        self.hub = hub
        self._routes: dict[tuple[Surface, str], list[Route]] = {}
        """In their order, by surface and method."""
        for route in routes(hub):
            self._routes.setdefault((route.surface, route.method), []).append(route)
        self._runner: web.AppRunner | None = None
        self._port = 0

    async def start(self, host: str, port: int) -> str:
        """Listen and return the base address. Raises ValueError for a host beyond loopback."""
        if host != "localhost" and not _is_loopback(host):
            raise ValueError(f"the local hub listens on loopback only, not on {host!r}")
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_route("*", "/{tail:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        address = self._runner.addresses[0]
        self._port = int(address[1])
        return f"http://{host}:{self._port}"

    async def stop(self) -> None:
        """Stop listening and close open connections."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _serve(self, incoming: web.Request) -> web.StreamResponse:
        if not self._is_our_host(incoming.headers.get("Host", "")):
            return web.Response(status=421, text="This server answers for loopback names only.\n")
        try:
            return await self._route(incoming)
        except Exception as error:
            self.hub.report(error)
            raise

    async def _route(self, incoming: web.Request) -> web.StreamResponse:
        path = incoming.path
        if path in (GRAPHQL_PATH, API_PREFIX) or path.startswith(API_PREFIX + "/"):
            return await self._serve_api(incoming)
        return await self._serve_web(incoming)

    def _is_our_host(self, value: str) -> bool:
        name, _, port = value.rpartition(":")
        return port == str(self._port) and (name == "localhost" or _is_loopback(name.strip("[]")))

    # Pages, git, OIDC

    async def _serve_web(self, incoming: web.Request) -> web.StreamResponse:
        try:
            route, params = self._match(Surface.WEB, incoming.method, incoming.path)
            actor = self.hub.tokens.resolve(incoming.headers.get("Authorization"))
            request = Request(
                self.hub,
                actor,
                incoming.method,
                incoming.path,
                params,
                dict(incoming.query),
                dict(incoming.headers),
                await incoming.read(),
                query_string=incoming.query_string,
            )
            reply = await route.handler(request)
        except ApiError as error:
            reply = error.reply()
        return _response(reply, {})

    # The API

    async def _serve_api(self, incoming: web.Request) -> web.StreamResponse:
        hub, started = self.hub, asyncio.get_running_loop().time()
        path = incoming.path
        path = "/graphql" if path == GRAPHQL_PATH else path[len(API_PREFIX) :] or "/"
        entry = LogEntry(
            hub.now(),
            incoming.method,
            path,
            path,
            correlation=incoming.headers.get(hub.correlation_header),
        )
        hub.log.entries.append(entry)
        raw = await incoming.read()
        fault = hub.faults.match(incoming.method, path + "?" + incoming.query_string)
        headers = {
            "X-GitHub-Request-Id": hub.new_guid().replace("-", ":", 4).upper(),
            "X-GitHub-Media-Type": "github.v3; format=json",
        }
        try:
            if fault is not None and fault.kind in BEFORE:
                return await self._strike(fault, incoming, entry, headers)
            try:
                reply = await self._answer(incoming, path, raw, entry, headers)
            except ApiError as error:
                reply = error.reply()
            if fault is not None:
                return await self._strike(fault, incoming, entry, headers)
            entry.status = reply.status
            return _response(reply, headers)
        finally:
            entry.duration = asyncio.get_running_loop().time() - started

    async def _strike(
        self, fault: Fault, incoming: web.Request, entry: LogEntry, headers: Mapping[str, str]
    ) -> web.StreamResponse:
        match fault.kind:
            case FaultKind.ERROR_BEFORE | FaultKind.ERROR_AFTER:
                entry.status = fault.status
                error = ApiError(fault.status, fault.message, headers=fault.headers)
                return _response(error.reply(), headers)
            case FaultKind.HANG_BEFORE | FaultKind.HANG_AFTER:
                await self.hub.stopping.wait()
            case FaultKind.DISCONNECT_BEFORE | FaultKind.DISCONNECT_AFTER:
                pass
        if incoming.transport is not None:
            incoming.transport.abort()
        return web.Response(status=500)

    async def _answer(
        self,
        incoming: web.Request,
        path: str,
        raw: bytes,
        entry: LogEntry,
        headers: dict[str, str],
    ) -> Reply:
        version = incoming.headers.get("X-GitHub-Api-Version", API_VERSIONS[0])
        if version not in API_VERSIONS:
            raise ApiError(400, f"Version {version} is not a supported version.")
        headers["X-GitHub-Api-Version-Selected"] = version
        if not incoming.headers.get("User-Agent"):
            raise ApiError(
                403, "Request forbidden by administrative rules. Please make sure your request has a User-Agent header."
            )
        actor = self.hub.tokens.resolve(incoming.headers.get("Authorization"))
        entry.actor = actor.kind.value
        entry.login = None if actor.account is None else actor.account.login
        resource = "graphql" if path == "/graphql" else "core"
        route, params = self._match(Surface.API, incoming.method, path)
        entry.template, entry.is_write, entry.is_content = (
            route.template,
            route.is_write,
            route.content,
        )
        request = Request(
            self.hub,
            actor,
            incoming.method,
            path,
            params,
            dict(incoming.query),
            {k.lower(): v for k, v in incoming.headers.items()},
            raw,
            query_string=incoming.query_string,
            entry=entry,
        )
        free = path == "/rate_limit"
        if resource == "core" and not free:
            # GraphQL admits itself: only its document says whether it writes.
            self.hub.limits.check(actor, resource, write=route.is_write, content=route.content)
        try:
            reply = await self._authorised(route, request, entry)
            reply = _conditional(incoming, reply)
        except ApiError as error:
            reply = error.reply()
        entry.conditional_hit = reply.status == 304
        if not (free or entry.conditional_hit):
            self.hub.limits.charge(actor, resource)
        headers |= self.hub.limits.headers(actor, resource)
        return reply

    async def _authorised(self, route: Route, request: Request, entry: LogEntry) -> Reply:
        actor = request.actor
        if number := request.params.get("issue_number") or request.params.get("pull_number"):
            entry.issue = int(number) if number.isdigit() else None
        if route.app_jwt:
            if actor.kind is not ActorKind.APP:
                raise ApiError(401, "A JSON web token could not be decoded")
            return await route.handler(request)
        if route.template.startswith("/repos/{owner}/{repo}"):
            request.repository = repo = self._repository(request)
            entry.repo = repo.full_name
            if not actor.can_see(repo):
                raise not_found()
            if actor.kind is ActorKind.ANONYMOUS and not (route.anyone or not route.is_write):
                raise ApiError(401, "Requires authentication")
            role = route.role or (Role.WRITE if route.is_write else Role.READ)
            actor.require_any(repo, route.needs or [Need("metadata", "read")], role=role)
            if repo.archived and route.is_write:
                raise ApiError(403, "Repository was archived so is read-only.")
        elif actor is ANONYMOUS and not route.anyone:
            raise ApiError(401, "Requires authentication")
        return await route.handler(request)

    def _repository(self, request: Request) -> Repository:
        hub, params = self.hub, request.params
        if "repository_id" in params:
            found = hub.repositories.get(int(params["repository_id"]))
            if found is None:
                raise not_found()
            return found
        name = f"{params['owner']}/{params['repo']}"
        found = hub.find_repository(name)
        if found is not None:
            return found
        moved = hub.repositories.get(hub.renamed.get(name.lower(), 0))
        if moved is None or not request.actor.can_see(moved):
            raise not_found()
        tail = request.path.split("/", 4)[4:]
        url = "/".join([f"{hub.api_url}/repositories/{moved.id}", *tail])
        if request.query_string:
            url += "?" + request.query_string
        raise ApiError(301, "Moved Permanently", headers={"Location": url}, extra={"url": url})

    def _match(self, surface: Surface, method: str, path: str) -> tuple[Route, dict[str, str]]:
        by_id = re.fullmatch(r"/repositories/([0-9]{1,18})(/.*)?", path)
        wanted = path
        if surface is Surface.API and by_id is not None:
            wanted = "/repos/-/-" + (by_id[2] or "")
        method = "GET" if method == "HEAD" else method
        for route in self._routes.get((surface, method), ()):
            found = route.pattern.fullmatch(wanted)
            if found is not None:
                params = found.groupdict()
                if by_id is not None and surface is Surface.API:
                    params["repository_id"] = by_id[1]
                return route, params
        raise not_found()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _conditional(incoming: web.Request, reply: Reply) -> Reply:
    """Add an ETag to a successful GET and answer 304 when the caller has that version."""
    if incoming.method not in ("GET", "HEAD") or reply.status != 200:
        return reply
    body = _bytes(reply)
    digest = hashlib.sha256(body)
    digest.update(incoming.headers.get("Accept", "").encode())
    etag = f'W/"{digest.hexdigest()}"'
    headers = dict(reply.headers) | {
        "ETag": etag,
        "Cache-Control": "private, max-age=60, s-maxage=60",
        "Vary": "Accept, Authorization, Cookie, X-GitHub-OTP",
    }
    given = [x.strip().removeprefix("W/") for x in incoming.headers.get("If-None-Match", "").split(",")]
    if etag.removeprefix("W/") in given:
        return Reply(304, None, headers)
    if reply.body is None:
        return Reply(reply.status, None, headers)
    return Reply(reply.status, body, {"Content-Type": JSON} | headers)


def _bytes(reply: Reply) -> bytes:
    if reply.body is None:
        return b""
    if isinstance(reply.body, bytes):
        return reply.body
    return json.dumps(reply.body, separators=(",", ":")).encode()


def _response(reply: Reply, headers: Mapping[str, str]) -> web.Response:
    merged = dict(headers) | dict(reply.headers)
    if reply.body is not None and "Content-Type" not in merged:
        merged["Content-Type"] = JSON
    return web.Response(status=reply.status, body=_bytes(reply), headers=merged)
