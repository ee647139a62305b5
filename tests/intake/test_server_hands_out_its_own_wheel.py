"""The wheel that the server offers: reproducible, installable by hash, and kept after an upgrade."""

from __future__ import annotations

import asyncio
import base64
import csv
import hashlib
import io
import os
import sys
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from bot.web.dist import KEPT, Dist
from bot.web.wheel import Wheel, build_wheel

Client = TestClient[web.Request, web.Application]
Serve = Callable[[Dist], Awaitable[Client]]


@pytest.fixture(scope="module")
def wheel() -> Wheel:
    return build_wheel()


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Serves a `Dist`; the clients are closed at the end."""
    clients: list[Client] = []

    async def start(dist: Dist) -> Client:
        app = web.Application()
        app.add_routes(dist.routes())
        client = TestClient(TestServer(app))
        await client.start_server()
        clients.append(client)
        return client

    yield start
    for client in clients:
        await client.close()


def count(folder: Path) -> int:
    return len(list(folder.iterdir()))


def fake(text: str, version: str = "1") -> Wheel:
    content = text.encode()
    return Wheel(version, f"tgs_bot-{version}-py3-none-any.whl", content, hashlib.sha256(content).hexdigest())


async def run(*command: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"PATH": os.environ["PATH"], "PIP_CONFIG_FILE": os.devnull} | (env or {}),
        cwd="/",
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


def test_two_builds_are_the_same_bytes(wheel: Wheel) -> None:
    assert build_wheel() == wheel
    assert hashlib.sha256(wheel.content).hexdigest() == wheel.sha256


def test_the_wheel_holds_our_packages_and_nothing_else(wheel: Wheel) -> None:
    with zipfile.ZipFile(io.BytesIO(wheel.content)) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        info = f"tgs_bot-{wheel.version}.dist-info"
        assert {name.split("/")[0] for name in names} == {"bot", "handlers", info}
        assert {"bot/__init__.py", "handlers/push.py", f"{info}/METADATA", f"{info}/entry_points.txt"} <= set(names)
        assert not [name for name in names if "__pycache__" in name or "/." in name]
        assert names[-1] == f"{info}/RECORD"
        assert {entry.date_time for entry in archive.infolist()} == {(2020, 1, 1, 0, 0, 0)}


def test_the_record_lists_every_file_with_its_hash(wheel: Wheel) -> None:
    with zipfile.ZipFile(io.BytesIO(wheel.content)) as archive:
        record = archive.namelist()[-1]
        rows = list(csv.reader(io.StringIO(archive.read(record).decode())))
        assert [row[0] for row in rows] == archive.namelist()
        for name, digest, size in rows[:-1]:
            content = archive.read(name)
            expected = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            assert (digest, size) == (f"sha256={expected}", str(len(content)))
        assert rows[-1] == [record, "", ""]


async def test_the_index_names_version_address_and_hash(serve: Serve, wheel: Wheel) -> None:
    client = await serve(Dist(base_url="https://tgs.example.org/", build=lambda: wheel))
    answer = await client.get("/dist/")
    assert await answer.json() == {
        "version": metadata.version("tgs-bot"),
        "url": f"https://tgs.example.org/dist/{wheel.sha256}/{wheel.filename}",
        "sha256": wheel.sha256,
    }


@pytest.mark.parametrize("pinned", [True, False], ids=["by hash", "by name"])
async def test_the_file_has_its_hash_as_etag(serve: Serve, pinned: bool) -> None:
    one = fake("one")
    client = await serve(Dist(base_url="http://x", build=lambda: one))
    path = f"/dist/{one.sha256}/{one.filename}" if pinned else f"/dist/{one.filename}"
    answer = await client.get(path)
    assert (answer.status, await answer.read()) == (200, b"one")
    assert answer.headers["ETag"] == f'"{one.sha256}"'
    assert ("immutable" in answer.headers["Cache-Control"]) is pinned
    again = await client.get(path, headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status, await again.read()) == (304, b"")
    other = await client.get(path, headers={"If-None-Match": '"other"'})
    assert other.status == 200


async def test_the_wheel_is_packed_once_for_all_requests(serve: Serve) -> None:
    built = []
    client = await serve(Dist(base_url="http://x", build=lambda: built.append(1) or fake("one")))
    await asyncio.gather(*(client.get("/dist/") for _ in range(10)))
    assert built == [1]


async def test_an_earlier_version_stays_available_after_an_upgrade(serve: Serve, tmp_path: Path) -> None:
    old, new = fake("old", "1"), fake("new", "2")
    await serve(Dist(base_url="http://x", folder=tmp_path, build=lambda: old))
    await Dist(base_url="http://x", folder=tmp_path, build=lambda: old).prepare()
    client = await serve(Dist(base_url="http://x", folder=tmp_path, build=lambda: new))
    assert (await (await client.get("/dist/")).json())["version"] == "2"
    answer = await client.get(f"/dist/{old.sha256}/{old.filename}")
    assert (answer.status, await answer.read()) == (200, b"old")


async def test_a_kept_file_that_was_changed_on_disk_is_not_served(serve: Serve, tmp_path: Path) -> None:
    old, new = fake("old"), fake("new", "2")
    await Dist(base_url="http://x", folder=tmp_path, build=lambda: old).prepare()
    (tmp_path / old.sha256 / old.filename).write_bytes(b"tampered")
    client = await serve(Dist(base_url="http://x", folder=tmp_path, build=lambda: new))
    assert (await client.get(f"/dist/{old.sha256}/{old.filename}")).status == 404


async def test_only_so_many_wheels_are_kept(tmp_path: Path) -> None:
    for number in range(KEPT + 3):
        one = fake(f"wheel {number}")
        await Dist(base_url="http://x", folder=tmp_path, build=lambda one=one: one).prepare()
    assert count(tmp_path) == KEPT


WRONG = {
    "another name": "/dist/other-1-py3-none-any.whl",
    "another hash": "/dist/" + "0" * 64 + "/tgs_bot-1-py3-none-any.whl",
    "the folder above": "/dist/..%2f..%2fetc/passwd.whl",
    "a hash that is a path": "/dist/%2e%2e/tgs_bot-1-py3-none-any.whl",
}


@pytest.mark.parametrize("path", WRONG.values(), ids=WRONG.keys())
async def test_nothing_else_is_served(serve: Serve, tmp_path: Path, path: str) -> None:
    client = await serve(Dist(base_url="http://x", folder=tmp_path / "d", build=lambda: fake("one")))
    assert (await client.get(path)).status == 404


async def test_pip_installs_it_by_hash_and_what_is_installed_packs_the_same_wheel(
    serve: Serve, tmp_path: Path, wheel: Wheel
) -> None:
    client = await serve(Dist(base_url="http://x", build=lambda: wheel))
    path = urlsplit((await (await client.get("/dist/")).json())["url"]).path
    address = f"http://127.0.0.1:{client.port}{path}"
    venv = tmp_path / "venv"
    assert (await run(sys.executable, "-m", "venv", "--without-pip", str(venv)))[0] == 0
    python = str(venv / "bin" / "python")
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", "--no-cache-dir")

    code, out = await run(*pip, f"tgs-bot @ {address}#sha256={'0' * 64}")
    assert code != 0, out
    assert "hash" in out.lower()

    code, out = await run(*pip, f"tgs-bot @ {address}#sha256={wheel.sha256}")
    assert code == 0, out
    code, out = await run(python, "-c", "import bot; print(bot.__file__)")
    assert code == 0, out
    assert str(venv) in out
    assert (venv / "bin" / "tgs").exists()
    code, out = await run(python, "-c", "from bot.web.wheel import build_wheel; print(build_wheel().sha256)")
    assert (code, out.strip()) == (0, wheel.sha256)
