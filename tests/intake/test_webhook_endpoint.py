"""What the webhook address answers, and that only verified, new, served deliveries have an effect."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import SecretStr

import bot.web.webhook as module
from bot.metrics import Metrics
from bot.web.webhook import MAX_BODY, RETRY_SECONDS, Webhook
from tests.intake.endpoint import NEW, OLD, UNSERVED, MemoryInbox, World, headers, sign


def payload(**more: Any) -> dict[str, Any]:
    return {
        "ref": "refs/heads/main",
        "installation": {"id": 1},
        "repository": {"id": 2, "full_name": "o/r", "default_branch": "main", "owner": {"id": 3, "login": "o"}},
        "sender": {"id": 9, "login": "ann", "type": "User"},
    } | more


PUSH = json.dumps(payload()).encode()


async def test_a_signed_delivery_is_stored_and_then_answered_with_202(world: World) -> None:
    answer = await world.post(PUSH, headers(PUSH))
    assert answer.status == 202
    assert [(a.delivery, a.event, a.body) for a in world.inbox.accepted] == [("8b1f", "push", None)]
    assert world.woken == [1]
    assert world.count("push", "accepted") == 1
    assert world.metrics.registry.get_sample_value("tgs_last_delivery_timestamp_seconds") == 1_700_000_000.0


async def test_the_answer_waits_for_the_commit(world: World) -> None:
    world.inbox.gate = asyncio.Event()
    request = asyncio.create_task(world.post(PUSH, headers(PUSH)))
    async with asyncio.timeout(5):
        await world.inbox.entered.wait()
    assert not request.done()
    world.inbox.gate.set()
    async with asyncio.timeout(5):
        assert (await request).status == 202


async def test_a_repeated_delivery_is_answered_with_202_and_has_no_effect(world: World) -> None:
    for _ in range(2):
        assert (await world.post(PUSH, headers(PUSH))).status == 202
    assert len(world.inbox.accepted) == 1
    assert world.woken == [1]
    assert world.count("push", "repeated") == 1


@pytest.mark.parametrize("secret", [OLD, NEW], ids=["the old secret while rotating", "the new secret"])
async def test_every_configured_secret_is_accepted(world: World, secret: str) -> None:
    assert (await world.post(PUSH, headers(PUSH, secret=secret))).status == 202


UNSIGNED = {
    "no signature at all": lambda body: {"X-Hub-Signature-256": ""},
    "another secret": lambda body: {"X-Hub-Signature-256": sign(body, "guess")},
    "the signature of another body": lambda body: {"X-Hub-Signature-256": sign(body + b" ")},
    "an empty secret": lambda body: {"X-Hub-Signature-256": sign(body, "")},
    "a cut signature": lambda body: {"X-Hub-Signature-256": sign(body)[:-1]},
    "the SHA-1 value in the SHA-256 header": lambda body: {"X-Hub-Signature-256": "sha1=" + "0" * 40},
    "letters outside ASCII": lambda body: {"X-Hub-Signature-256": "sha256=" + "é" * 64},
}


@pytest.mark.parametrize("change", UNSIGNED.values(), ids=UNSIGNED.keys())
async def test_without_a_valid_signature_nothing_happens(world: World, change: Any) -> None:
    answer = await world.post(PUSH, headers(PUSH) | change(PUSH))
    assert answer.status == 401
    assert world.inbox.accepted == []
    assert world.count("push", "unsigned") == 1


async def test_the_sha1_signature_alone_is_refused(world: World) -> None:
    answer = await world.post(PUSH, headers(PUSH, without="X-Hub-Signature-256"))
    assert answer.status == 401
    assert "SHA-1" in (await answer.json())["detail"]


@pytest.mark.parametrize("missing", ["X-GitHub-Event", "X-GitHub-Delivery"])
async def test_a_missing_header_is_named(world: World, missing: str) -> None:
    answer = await world.post(PUSH, headers(PUSH, without=missing))
    assert answer.status == 400
    assert missing in (await answer.json())["detail"]


MALFORMED = {
    "text that is not JSON": b"{",
    "an empty body": b"",
    "a list": b"[]",
    "bytes that are not UTF-8": b'{"ref": "\xff"}',
    "a missing field": b"{}",
    "a field of another kind": json.dumps(payload(ref=7)).encode(),
    "very deep nesting": b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
async def test_a_signed_body_that_cannot_be_read_is_a_400(world: World, body: bytes) -> None:
    answer = await world.post(body, headers(body))
    assert answer.status == 400
    assert answer.content_type == "application/problem+json"
    assert world.inbox.accepted == []


async def test_a_form_encoded_delivery_says_what_to_set(world: World) -> None:
    answer = await world.post(PUSH, headers(PUSH) | {"Content-Type": "application/x-www-form-urlencoded"})
    assert answer.status == 400
    assert "application/json" in (await answer.json())["detail"]


async def test_an_unknown_event_is_accepted_and_not_stored(world: World) -> None:
    answer = await world.post(b"{}", headers(b"{}", event="sponsorship"))
    assert answer.status == 202
    assert world.inbox.accepted == []
    assert world.count("other", "ignored") == 1


async def test_a_ping_is_answered(world: World) -> None:
    body = b'{"zen": "Keep it logically awesome.", "hook_id": 1}'
    assert (await world.post(body, headers(body, event="ping"))).status == 200
    assert world.inbox.accepted == []


async def test_an_account_that_is_not_served_has_no_effect(world: World) -> None:
    body = json.dumps(payload(repository=payload()["repository"] | {"owner": {"id": UNSERVED}})).encode()
    assert (await world.post(body, headers(body))).status == 202
    assert world.inbox.accepted == []
    assert world.count("push", "not_served") == 1


async def test_an_installation_of_an_account_that_is_not_served_is_still_known(world: World) -> None:
    body = json.dumps(
        {"action": "created", "installation": {"id": 5, "account": {"id": UNSERVED, "login": "x"}}}
    ).encode()
    assert (await world.post(body, headers(body, event="installation"))).status == 202
    assert len(world.inbox.accepted) == 1


async def test_a_body_is_kept_only_where_its_text_matters(world: World) -> None:
    body = json.dumps(payload(action="opened", issue={"number": 4})).encode()
    await world.post(body, headers(body, event="issues", delivery="1"))
    nothing = json.dumps(payload(action="pinned", issue={"number": 4})).encode()
    await world.post(nothing, headers(nothing, event="issues", delivery="2"))
    assert [(a.action, a.body) for a in world.inbox.accepted] == [("opened", body), ("pinned", None)]


@pytest.mark.parametrize("error", [RuntimeError("disk full"), OSError("gone"), TimeoutError()], ids=repr)
async def test_a_store_that_cannot_commit_is_a_503_that_may_be_tried_again(world: World, error: Exception) -> None:
    world.inbox.fails = error
    answer = await world.post(PUSH, headers(PUSH))
    assert answer.status == 503
    assert answer.headers["Retry-After"] == str(RETRY_SECONDS)
    assert "disk" not in await answer.text()
    assert world.woken == []
    world.inbox.fails = None
    assert (await world.post(PUSH, headers(PUSH))).status == 202


async def test_a_declared_length_over_the_cap_is_refused_without_waiting_for_the_body(world: World) -> None:
    reader, writer = await asyncio.open_connection(world.client.host, world.client.port)
    lines = headers(b"") | {"Host": "localhost", "Content-Length": str(MAX_BODY + 1)}
    writer.write(b"POST /webhook HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in lines.items()).encode() + b"\r\n")
    async with asyncio.timeout(5):
        status = await reader.readline()
    writer.close()
    await writer.wait_closed()
    assert b" 413 " in status
    assert world.count("push", "too_large") == 1


async def test_a_longer_body_than_declared_is_refused_while_reading(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BODY", 1000)

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 100

    answer = await world.client.post("/webhook", data=chunks(), headers=headers(b""))
    assert answer.status == 413


async def test_a_body_that_never_arrives_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READ_SECONDS", 0.05)
    hold = asyncio.Event()

    async def chunks() -> AsyncIterator[bytes]:
        yield b"{"
        await hold.wait()

    request = asyncio.create_task(world.client.post("/webhook", data=chunks(), headers=headers(b"")))
    async with asyncio.timeout(5):
        answer = await request
    hold.set()
    assert answer.status == 408


async def test_a_large_payload_within_the_cap_is_accepted(world: World) -> None:
    body = json.dumps(payload(commits=["x" * 1000] * 3000)).encode()
    assert (await world.post(body, headers(body))).status == 202


async def test_parallel_copies_of_one_delivery_are_stored_once(world: World) -> None:
    answers = await asyncio.gather(*(world.post(PUSH, headers(PUSH)) for _ in range(20)))
    assert {answer.status for answer in answers} == {202}
    assert len(world.inbox.accepted) == 1


@pytest.mark.parametrize(
    "secrets", [[], [SecretStr("")], [SecretStr("a"), SecretStr("")]], ids=["none", "empty", "one"]
)
def test_there_is_no_endpoint_without_a_secret(secrets: list[SecretStr]) -> None:
    with pytest.raises(ValueError, match="secret"):
        Webhook(
            inbox=MemoryInbox(),
            secrets=secrets,
            serves=lambda _: True,
            self_id=lambda: None,
            metrics=Metrics(),
        )
