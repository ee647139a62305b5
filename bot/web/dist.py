"""`GET /dist/`: the server offers its own wheel, so that runs install exactly the version they talk to.

Promises: `GET /dist/` names version, address and SHA-256 of the current wheel; the address contains the hash, and what
it serves never changes. A workflow file is pinned to that address, so the wheels of earlier versions are kept in a
folder and stay available after an upgrade; a pinned run then installs what it was pinned to. What is served is
public: it is the product's own code, and no setting or secret is in it.

Where several servers share a database, each folder is filled from what all of them share, so that any of them serves a
pinned wheel that another one packed.

Races it knows: two servers may store the same wheel at once; each writes its own temporary file and renames it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import tempfile
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Final

from aiohttp import web

from bot.protocols.files import Files
from bot.web.wheel import Wheel, build_wheel

KEPT: Final = 20
"""Wheels that are kept: some months of releases, a few megabytes each."""
FOREVER: Final = "public, max-age=31536000, immutable"
"""For addresses that contain the hash of what they serve."""

SHARED: Final = "wheel/"
"""Before hash and name, where servers share files."""

_HASH = re.compile(r"[0-9a-f]{64}")
_FILE = re.compile(r"[A-Za-z0-9_.!+-]{1,120}\.whl")


class Dist:
    """The endpoints. `base_url` is the server's public address; `folder` keeps the wheels (None: only the current
    one is served). Raises `bot.web.wheel.NotInstalled` from `prepare` when there is nothing to pack.
    """

    def __init__(
        self,
        *,
        base_url: str,
        folder: Path | None = None,
        build: Callable[[], Wheel] = build_wheel,
        files: Files | None = None,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._folder = folder
        self._build = build
        self._files = files
        self._lock = asyncio.Lock()
        self._wheel: Wheel | None = None

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/dist/", self.index),
            web.get("/dist/{file}", self.current),
            web.get("/dist/{sha256}/{file}", self.pinned),
        ]

    async def prepare(self) -> Wheel:
        """The current wheel, packed once per process and stored in the folder."""
        async with self._lock:
            if self._wheel is None:
                self._wheel = await asyncio.to_thread(self._pack)
                await self._share(self._wheel)
            return self._wheel

    def url(self, wheel: Wheel) -> str:
        """The address to pin."""
        return f"{self._base_url}/dist/{wheel.sha256}/{wheel.filename}"

    async def index(self, _: web.Request) -> web.Response:
        wheel = await self.prepare()
        body = {"version": wheel.version, "url": self.url(wheel), "sha256": wheel.sha256}
        return web.json_response(body, headers={"Cache-Control": "no-cache"})

    async def current(self, request: web.Request) -> web.Response:
        wheel = await self.prepare()
        if request.match_info["file"] != wheel.filename:
            raise web.HTTPNotFound(text=f"Only {wheel.filename} is offered here; see /dist/.\n")
        return _file(request, wheel.content, wheel.sha256, "no-cache")

    async def pinned(self, request: web.Request) -> web.Response:
        sha256, name = request.match_info["sha256"], request.match_info["file"]
        wheel = await self.prepare()
        if (sha256, name) == (wheel.sha256, wheel.filename):
            return _file(request, wheel.content, sha256, FOREVER)
        content = await asyncio.to_thread(self._kept, sha256, name)
        if content is None and await self._fetch(sha256, name):
            content = await asyncio.to_thread(self._kept, sha256, name)
        if content is None:
            raise web.HTTPNotFound(text="This version is not kept here any more. Run `tgs init` again.\n")
        return _file(request, content, sha256, FOREVER)

    async def _share(self, wheel: Wheel) -> None:
        if self._files is not None and self._folder is not None:
            place = f"{wheel.sha256}/{wheel.filename}"
            await self._files.put(f"{SHARED}{place}", self._folder / place)

    async def _fetch(self, sha256: str, name: str) -> bool:
        """Whether another server had it."""
        if self._files is None or self._folder is None or not _HASH.fullmatch(sha256) or not _FILE.fullmatch(name):
            return False
        return await self._files.fetch(f"{SHARED}{sha256}/{name}", self._folder / sha256 / name)

    def _pack(self) -> Wheel:
        wheel = self._build()
        if self._folder is not None:
            self._keep(self._folder, wheel)
        return wheel

    def _keep(self, folder: Path, wheel: Wheel) -> None:
        place = folder / wheel.sha256
        place.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=place)
        with os.fdopen(handle, "wb") as file:
            file.write(wheel.content)
        Path(temporary).replace(place / wheel.filename)
        os.utime(place)
        stored = [entry for entry in folder.iterdir() if _HASH.fullmatch(entry.name)]
        for old in sorted(stored, key=lambda entry: entry.stat().st_mtime, reverse=True)[KEPT:]:
            for file_ in old.iterdir():
                file_.unlink(missing_ok=True)
            old.rmdir()

    def _kept(self, sha256: str, name: str) -> bytes | None:
        """A kept wheel; None when it is not there, or is no longer what its hash says."""
        if self._folder is None or not _HASH.fullmatch(sha256) or not _FILE.fullmatch(name):
            return None
        try:
            content = (self._folder / sha256 / name).read_bytes()
        except OSError:
            return None
        return content if hashlib.sha256(content).hexdigest() == sha256 else None


def _file(request: web.Request, content: bytes, sha256: str, caching: str) -> web.Response:
    headers = {"ETag": f'"{sha256}"', "Cache-Control": caching}
    if any(tag.value in {sha256, "*"} for tag in request.if_none_match or ()):
        return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    return web.Response(
        body=content, headers=headers | {"X-Content-Type-Options": "nosniff"}, content_type="application/zip"
    )
