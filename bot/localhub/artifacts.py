"""Artifacts of runs: storing, listing, downloading.

Promise: an artifact never changes; its digest is the SHA-256 of exactly the bytes a download
yields. Zips are reproducible (sorted names, fixed times). Downloads go through a signed address
that is good for a minute and wants no credentials, as on GitHub.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import secrets
import zipfile
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from bot.localhub import present_actions
from bot.localhub.actions_model import Artifact, Run
from bot.localhub.http import ApiError, Need, Reply, Request, Route, Surface, not_found
from bot.localhub.model import Repository

if TYPE_CHECKING:
    from bot.localhub.hub import Hub

RETENTION_DAYS: Final = 90  # GitHub's default
DOWNLOAD_LIFE: Final = timedelta(minutes=1)  # how long a signed address works
_READ = (Need("actions", "read"),)
_WRITE = (Need("actions", "write"),)
_ACTIONS = "/repos/{owner}/{repo}/actions"
_FIXED_TIME = (1980, 1, 1, 0, 0, 0)


def zip_files(files: Mapping[str, bytes]) -> bytes:
    """A zip with these files; the same files give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, _FIXED_TIME)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, files[name])
    return buffer.getvalue()


class Downloads:
    """Signed addresses for bytes that are made when they are fetched."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self._key = secrets.token_bytes(32)
        self._made: dict[str, tuple[str, Callable[[], bytes]]] = {}

    def redirect(self, name: str, kind: str, make: Callable[[], bytes]) -> Reply:
        """302 to an address that serves `make()` once or more within a minute."""
        ends = int((self.hub.now() + DOWNLOAD_LIFE).timestamp())
        self._made[name] = (kind, make)
        url = f"{self.hub.html_url}/_hub/download/{name}?se={ends}&sig={self._sign(name, ends)}"
        return Reply(302, None, {"Location": url})

    def _sign(self, name: str, ends: int) -> str:
        return hmac.new(self._key, f"{name}:{ends}".encode(), hashlib.sha256).hexdigest()

    def serve(self, name: str, query: Mapping[str, str]) -> Reply:
        """The bytes. Raises ApiError 403 (bad or old signature) or 404."""
        ends = query.get("se", "")
        good = ends.isdigit() and hmac.compare_digest(self._sign(name, int(ends)), query.get("sig", ""))
        if not good or int(ends) < self.hub.now().timestamp():
            raise ApiError(403, "Signature not valid in the specified time frame")
        if name not in self._made:
            raise not_found()
        kind, make = self._made[name]
        return Reply(200, make(), {"Content-Type": kind})


def add_artifact(
    hub: Hub,
    run: Run,
    name: str,
    files: Mapping[str, bytes],
    *,
    retention_days: int = RETENTION_DAYS,
    overwrite: bool = False,
) -> Artifact:
    """Store an artifact of a run. Raises ValueError when the run has one of that name."""
    known = [a for a in hub.actions.artifacts.values() if a.run is run and a.name == name]
    if known and not overwrite:
        raise ValueError(
            f"Failed to CreateArtifact: (409) Conflict: an artifact with this name already "
            f"exists on the workflow run: {name}"
        )
    for old in known:
        del hub.actions.artifacts[old.id]
    number, data, now = hub.new_id(), zip_files(files), hub.now()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    ends = now + timedelta(days=retention_days)
    artifact = Artifact(number, hub.node_id("MDg", number), run, name, data, digest, now, ends)
    hub.actions.artifacts[number] = artifact
    return artifact


def read_artifact(artifact: Artifact) -> dict[str, bytes]:
    """The files of an artifact."""
    with zipfile.ZipFile(io.BytesIO(artifact.data)) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def routes(hub: Hub) -> list[Route]:
    """Artifact routes and the download address."""

    def of(repo: Repository) -> list[Artifact]:
        found = [a for a in hub.actions.artifacts.values() if a.run.repo is repo]
        return sorted(found, key=lambda a: -a.id)

    def answer(request: Request, rows: list[Artifact]) -> Reply:
        if name := request.query.get("name"):
            rows = [a for a in rows if a.name == name]
        return request.paginate([present_actions.artifact(hub, a) for a in rows], "artifacts")

    def find(request: Request) -> Artifact:
        found = hub.actions.artifacts.get(request.number("artifact_id"))
        if found is None or found.run.repo is not request.repo:
            raise not_found()
        return found

    async def list_all(request: Request) -> Reply:
        return answer(request, of(request.repo))

    async def of_run(request: Request) -> Reply:
        run = hub.actions.runs.get(request.number("run_id"))
        if run is None or run.repo is not request.repo:
            raise not_found()
        return answer(request, [a for a in of(request.repo) if a.run is run])

    async def get(request: Request) -> Reply:
        return Reply(200, present_actions.artifact(hub, find(request)))

    async def delete(request: Request) -> Reply:
        del hub.actions.artifacts[find(request).id]
        return Reply(204)

    async def download(request: Request) -> Reply:
        artifact = find(request)
        if request.params["format"] != "zip":
            raise not_found()
        if artifact.expires_at <= hub.now():
            raise ApiError(410, "Artifact has expired")
        name = f"artifact-{artifact.id}.zip"
        return hub.downloads.redirect(name, "application/zip", lambda: artifact.data)

    async def serve(request: Request) -> Reply:
        return hub.downloads.serve(request.params["name"], request.query)

    one = f"{_ACTIONS}/artifacts/{{artifact_id}}"
    return [
        Route("GET", f"{_ACTIONS}/artifacts", list_all, _READ),
        Route("GET", f"{_ACTIONS}/runs/{{run_id}}/artifacts", of_run, _READ),
        Route("GET", one, get, _READ),
        Route("DELETE", one, delete, _WRITE),
        Route("GET", f"{one}/{{format}}", download, _READ),
        Route("GET", "/_hub/download/{name}", serve, surface=Surface.WEB, anyone=True),
    ]
