"""Log lines are structured, and nothing that looks like a credential leaves through them."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from bot.logs import MAX_TEXT, configure, redact_value

TOKENS = {
    "an installation token": "ghs_16C7e42F292c6912E7710c838347Ae178B4a",
    "a stateless installation token": "ghs_" + "A1b2." * 60,
    "a fine-grained token": "github_pat_11ABCDEFG0abcdefghij_klmnop",
    "a personal token": "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
    "a model key": "sk-ant-api03-abcdefghijklmnop",
    "an identity token": "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJyZXBvIn0.c2lnbmF0dXJl",
    "a private key": "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n-----END RSA PRIVATE KEY-----",
    "a password in an address": "postgresql://tgs:hunter2hunter2@db/tgs",
}
PLAIN = "hunter2hunter2"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Where the log goes; everything is put back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    out = io.StringIO()
    configure(json=True, level="debug", stream=out)
    yield out
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_line_has_time_level_logger_message_and_fields(stream: io.StringIO) -> None:
    with structlog.contextvars.bound_contextvars(delivery="8b1f"):
        structlog.get_logger("tgs.test").info("delivery taken", outcome="accepted", count=3)
    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "delivery taken",
        "level": "info",
        "logger": "tgs.test",
        "delivery": "8b1f",
        "outcome": "accepted",
        "count": 3,
    }


def fail(text: str) -> None:
    raise RuntimeError(text)


@pytest.mark.parametrize("token", TOKENS.values(), ids=TOKENS.keys())
def test_a_credential_is_hidden_wherever_it_stands(stream: io.StringIO, token: str) -> None:
    log = structlog.get_logger("tgs.test")
    log.info("a field", text=f"before {token} after")
    log.info("nested", data={"list": [{"deep": token}], "tuple": (token,)})
    message = f"in the message {token}"
    log.info(message)
    log.info("an object", thing=RuntimeError(token))
    try:
        fail(token)
    except RuntimeError:
        log.exception("in a traceback")
    logging.getLogger("some.library").warning("from a library: %s", token)
    text = stream.getvalue()
    assert len(lines(stream)) == 6
    for piece in (token, json.dumps(token)[1:-1], PLAIN, "MIIEpAIBAAKCAQEA"):
        assert piece not in text


NAMES = ["authorization", "token", "installation_token", "webhook_secret", "Password", "private_key", "jwt", "cookie"]


@pytest.mark.parametrize("name", NAMES)
def test_a_field_called_like_a_credential_is_hidden_whatever_it_holds(stream: io.StringIO, name: str) -> None:
    structlog.get_logger("tgs.test").info("a field", **{name: PLAIN, "nested": {name: [PLAIN]}})
    assert PLAIN not in stream.getvalue()


def test_names_that_only_contain_such_a_word_are_shown(stream: io.StringIO) -> None:
    structlog.get_logger("tgs.test").info("a field", tokens_used=5, secret_name="x", has_token=True)
    (line,) = lines(stream)
    assert (line["tokens_used"], line["secret_name"], line["has_token"]) == (5, "x", True)


def test_bytes_are_counted_not_shown_and_long_texts_are_cut() -> None:
    assert redact_value(b"secret") == "[6 bytes]"
    cut = redact_value("x" * (MAX_TEXT + 10))
    assert isinstance(cut, str)
    assert len(cut) == MAX_TEXT + 1


def test_a_value_that_contains_itself_does_not_hang() -> None:
    loop: list[object] = []
    loop.append(loop)
    assert "…" in json.dumps(redact_value(loop), ensure_ascii=False)


def test_the_level_holds_for_our_lines_and_for_libraries(stream: io.StringIO) -> None:
    configure(json=True, level="warning", stream=stream)
    structlog.get_logger("tgs.test").info("quiet")
    logging.getLogger("some.library").info("quiet")
    logging.getLogger("some.library").warning("loud")
    assert [line["event"] for line in lines(stream)] == ["loud"]


def test_setting_up_twice_does_not_print_twice(stream: io.StringIO) -> None:
    configure(json=True, level="info", stream=stream)
    structlog.get_logger("tgs.test").info("once")
    assert len(lines(stream)) == 1


def test_the_console_form_hides_too(stream: io.StringIO) -> None:
    configure(json=False, level="info", stream=stream)
    structlog.get_logger("tgs.test").info("taken", text=TOKENS["an installation token"], token=PLAIN)
    assert "taken" in stream.getvalue()
    assert "16C7e42F" not in stream.getvalue()
    assert PLAIN not in stream.getvalue()
