"""`tgs serve` as operators run it: it starts, answers, refuses what would do harm, and ends cleanly."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import signal
import socket
import sqlite3
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bot.localhub.core import Fault, FaultKind
from tests.cli.terminal import here
from tests.cli.town import SECRET, Server, Town, plain_environment, tgs

SERVE_TIME = 90


def ping() -> bytes:
    return json.dumps({"zen": "Keep it logically awesome.", "hook_id": 1}).encode()


async def post(server: Server, event: str, body: bytes, *, secret: str = SECRET, delivery: str = "d-1") -> int:
    signature = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    headers = {
        "Content-Type": "application/json",
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": delivery,
        "X-Hub-Signature-256": signature,
    }
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{server.url}/webhook", data=body, headers=headers) as answer,
    ):
        return answer.status


def rows(database: Path, query: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return connection.execute(query).fetchall()


@pytest.mark.timeout(SERVE_TIME)
async def test_it_starts_answers_takes_webhooks_and_ends_on_sigterm(town: Town) -> None:
    async with town.serving() as server:
        assert server.url == town.url
        status, body = await server.get("/healthz")
        assert (status, json.loads(body)["status"]) == (200, "ok")
        status, body = await server.get("/readyz")
        assert (status, json.loads(body)["status"]) == (200, "ready")
        assert await post(server, "ping", ping()) == 200
        assert await post(server, "ping", ping(), secret="another") == 401
        town.install()
        number = town.ready_issue("Add a greeting")
        await town.until_states({number: "in-progress"})
        status, metrics = await server.get("/metrics")
        assert status == 200
        assert 'tgs_deliveries_total{event="issues",outcome="accepted"}' in metrics
        assert await server.stop() == 0
    # What was acknowledged is on disk, and nothing is left unrouted or half written.
    assert rows(town.database, "SELECT count(*) FROM deliveries WHERE event = 'issues'") >= [(1,)]
    assert rows(town.database, "PRAGMA integrity_check") == [("ok",)]
    assert not town.database.with_name("tgs.db-wal").exists()


@pytest.mark.timeout(SERVE_TIME)
async def test_its_log_is_json_and_holds_no_secret(town: Town) -> None:
    town.install()
    town.hub.faults.add(Fault(FaultKind.ERROR_BEFORE, status=500, path="/issues", count=1))
    async with town.serving() as server:
        await post(server, "ping", ping(), secret="another")
        number = town.ready_issue("Add a greeting")
        await town.until_states({number: "in-progress"})
        assert await server.stop() == 0
    entries = [json.loads(line) for line in server.logs]
    events = [entry["event"] for entry in entries]
    assert {"listening", "delivery refused", "stopping", "stopped"} <= set(events)
    for entry in entries:
        assert {"event", "level", "timestamp"} <= set(entry)
    assert {"warning", "error"} & {entry["level"] for entry in entries}, "GitHub's errors left no word"
    text = "".join(server.logs)
    key_line = town.app.private_key_pem.splitlines()[1]
    tokens = list(town.hub.tokens._live)
    for secret in (SECRET, key_line, *tokens):
        assert secret not in text
    assert "locals" not in text


@pytest.mark.timeout(SERVE_TIME)
async def test_it_starts_while_github_is_away_and_says_so_in_the_log(town: Town) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{closed.getsockname()[1]}"
    async with town.serving(TGS_GITHUB_API_URL=nowhere, TGS_GITHUB_GRAPHQL_URL=f"{nowhere}/graphql") as server:
        assert (await server.get("/healthz"))[0] == 200
        assert await post(server, "ping", ping()) == 200
        assert await server.stop(signal.SIGINT) == 0
    assert "Traceback" not in "".join(server.logs)


@pytest.mark.timeout(SERVE_TIME)
async def test_a_second_server_on_the_same_database_is_refused_and_a_backup_is_not(town: Town) -> None:
    async with town.serving() as server:
        environment = town.server_environment()
        second = await tgs("serve", "--port", "0", env=environment)
        assert (second.code, second.out) == (2, "")
        assert f"The database {town.database} is in use by another process (pid {server.process.pid}" in second.err
        assert "Stop that process first" in second.err
        assert "Traceback" not in second.err
        upgrade = await here("db", "upgrade", env=environment)
        assert (upgrade.code, "in use by another process" in upgrade.err) == (2, True)
        backup = await here("db", "backup", env=environment)
        assert backup.code == 0
        copy = Path(backup.out.strip())
        assert rows(copy, "PRAGMA integrity_check") == [("ok",)]
        assert (await server.get("/healthz"))[0] == 200


@pytest.mark.timeout(SERVE_TIME)
async def test_a_port_that_is_taken_is_named(town: Town) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", town.port))
        taken.listen()
        done = await tgs("serve", env=town.server_environment())
    assert (done.code, done.out) == (2, "")
    assert f"Cannot listen on 127.0.0.1 port {town.port}: Address already in use." in done.err
    assert "--port" in done.err
    assert "Traceback" not in done.err


@pytest.mark.timeout(SERVE_TIME)
async def test_an_address_of_another_machine_is_named(town: Town) -> None:
    done = await tgs("serve", "--host", "192.0.2.1", env=town.server_environment())
    assert (done.code, "Cannot listen on 192.0.2.1" in done.err, "Traceback" in done.err) == (2, True, False), done.err


@pytest.mark.timeout(SERVE_TIME)
async def test_a_database_of_a_newer_version_is_refused_and_left_alone(town: Town) -> None:
    environment = town.server_environment()
    assert (await here("db", "upgrade", env=environment)).code == 0
    with contextlib.closing(sqlite3.connect(town.database)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    before = town.database.read_bytes()
    done = await tgs("serve", env=environment)
    assert (done.code, done.out) == (2, "")
    assert "schema revision 9999, which this version does not know" in done.err
    assert "Install that version again, or put back the backup" in done.err
    assert "Traceback" not in done.err
    assert town.database.read_bytes() == before


@pytest.mark.timeout(SERVE_TIME)
async def test_the_schema_goes_down_with_a_backup_and_the_server_brings_it_up_again(town: Town) -> None:
    environment = town.server_environment()
    assert "Schema revision none -> 0" in (await here("db", "upgrade", env=environment)).out
    assert (await here("db", "upgrade", env=environment)).out.endswith("nothing to do\n")
    assert "up to date" in (await here("db", "current", env=environment)).out
    down = await here("db", "downgrade", "base", "--json", env=environment)
    answer = json.loads(down.out)
    assert (down.code, answer["after"]) == (0, None)
    assert rows(Path(answer["backup"]), "PRAGMA integrity_check") == [("ok",)]
    assert "run `tgs db upgrade`" in (await here("db", "current", env=environment)).out
    async with town.serving() as server:
        assert (await server.get("/readyz"))[0] == 200
        assert await server.stop() == 0
    wrong = await here("db", "downgrade", "nonsense", env=environment)
    assert (wrong.code, "Traceback" in wrong.err, "nonsense" in wrong.err) == (2, False, True)


async def test_without_settings_each_missing_one_is_named_with_what_to_do(tmp_path: Path) -> None:
    done = await here("serve", env=plain_environment(tmp_path))
    assert (done.code, done.out) == (2, "")
    for name in ("TGS_APP_ID", "TGS_PRIVATE_KEY", "TGS_WEBHOOK_SECRET", "TGS_PUBLIC_URL"):
        assert f"- {name} is missing. " in done.err
    assert "Set them in the environment" in done.err
    assert "Traceback" not in done.err


WRONG = {
    "an id that is no number": ({"TGS_APP_ID": "greeter"}, "TGS_APP_ID"),
    "a key that is no key": ({"TGS_PRIVATE_KEY": "hush-hush"}, "TGS_PRIVATE_KEY is not PEM text"),
    "a key that only looks like one": (
        {"TGS_PRIVATE_KEY": "-----BEGIN RSA PRIVATE KEY-----\nhush-hush\n-----END RSA PRIVATE KEY-----"},
        "TGS_PRIVATE_KEY is not an RSA private key",
    ),
    "a key file that is not there": (
        {"TGS_PRIVATE_KEY": "", "TGS_PRIVATE_KEY_PATH": "/nonexistent/hush-hush.pem"},
        "TGS_PRIVATE_KEY_PATH names a file that cannot be read",
    ),
    "an address without encryption": ({"TGS_PUBLIC_URL": "http://tgs.example.org"}, "TGS_PUBLIC_URL must use https"),
    "a port out of range": ({"TGS_PORT": "70000"}, "TGS_PORT"),
    "a well-known secret on a real GitHub": (
        {"TGS_GITHUB_API_URL": "https://api.github.com", "TGS_OIDC_ISSUER": "", "TGS_WEBHOOK_SECRET": "changeme",
         "TGS_PUBLIC_URL": "https://tgs.example.org"},
        "TGS_WEBHOOK_SECRET is a well-known example",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "words"), WRONG.values(), ids=WRONG.keys())
async def test_a_wrong_setting_is_named_with_what_to_do(changes: dict[str, str], words: str, town: Town) -> None:
    done = await here("serve", "--check", env=town.server_environment() | changes)
    assert (done.code, done.out) == (2, "")
    assert words in done.err
    assert "Traceback" not in done.err
    assert "hush-hush" not in done.err.replace("hush-hush.pem", "")


async def test_the_settings_can_be_checked_without_a_start(town: Town) -> None:
    done = await here("serve", "--check", env=town.server_environment())
    assert (done.code, done.out, done.err) == (0, "The settings are complete.\n", "")
    assert not town.database.exists()


async def test_a_settings_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = await here("serve", "--config", "missing.yaml", env=plain_environment(tmp_path))
    assert (done.code, "missing.yaml cannot be read" in done.err) == (2, True)


@pytest.mark.timeout(SERVE_TIME)
async def test_a_request_that_never_ends_does_not_hold_up_the_end(town: Town) -> None:
    async with town.serving() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", town.port)
        writer.write(
            b"POST /webhook HTTP/1.1\r\nHost: bot\r\nContent-Type: application/json\r\nX-GitHub-Event: ping\r\n"
            b"X-GitHub-Delivery: slow\r\nContent-Length: 100\r\n\r\n{"
        )
        await writer.drain()
        assert (await server.get("/healthz"))[0] == 200  # a later request was answered: the first one is under way
        assert await server.stop() == 0
        writer.close()
        assert b" 200 " not in await reader.readline()
