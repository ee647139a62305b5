"""Every recorded payload goes through the real endpoint; what the handlers make of it is a reviewed file."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from bot.domain.intake import Intake
from handlers import ALWAYS_DELIVERED, REGISTRY
from handlers.reading import NOTHING
from tests.corpus import reading
from tests.intake.endpoint import World, headers

ALL = [pytest.param(event, payload, id=f"{event}-{index}") for event, index, payload in reading.recordings()]
HANDLED = [param for param in ALL if param.values[0] in REGISTRY]
OF_HOOKS = [param for param in HANDLED if param.values[0] not in ALWAYS_DELIVERED]
USED = [param for param in HANDLED if param.values[0] not in {"meta", "ping"}]
"""In the others nothing is used, so nothing can be damaged."""
GOLDEN: dict[str, list[Any]] = json.loads(reading.GOLDEN.read_text("utf-8"))


def test_the_corpus_is_complete() -> None:
    assert len(ALL) == 329
    assert len(reading.events()) == 58


def test_the_golden_file_speaks_of_every_recording_of_a_handled_event() -> None:
    assert {event: len(rows) for event, rows in GOLDEN.items()} == {
        event: len(payloads) for event, payloads in reading.events().items() if event in REGISTRY
    }


def test_every_handled_event_but_the_unrecorded_one_has_a_recording() -> None:
    assert set(REGISTRY) - set(reading.events()) == {"installation_target"}


@pytest.mark.parametrize(("event", "index"), [(event, i) for event, rows in GOLDEN.items() for i in range(len(rows))])
def test_a_recording_means_what_the_golden_file_says(event: str, index: int) -> None:
    payload = reading.events_of(event)[index]
    assert reading.golden_of(event, payload) == GOLDEN[event][index]


@pytest.mark.parametrize(("event", "payload"), OF_HOOKS)
def test_a_delivery_of_a_hook_that_is_not_the_apps_means_nothing(event: str, payload: dict[str, Any]) -> None:
    foreign = {key: value for key, value in payload.items() if key != "installation"}
    assert REGISTRY[event].read(reading.encode(foreign), None)[1] == NOTHING


@pytest.mark.parametrize(("event", "payload"), HANDLED)
def test_unknown_fields_change_nothing(event: str, payload: dict[str, Any]) -> None:
    more = _with_more(reading.as_delivered(payload))
    assert REGISTRY[event].read(reading.encode(more), reading.SELF_ID) == REGISTRY[event].read(
        reading.encode(reading.as_delivered(payload)), reading.SELF_ID
    )


def _with_more(data: Any) -> Any:
    if isinstance(data, dict):
        # Permissions are a map from names to levels, not a record: more names are more permissions.
        more = {key: value if key == "permissions" else _with_more(value) for key, value in data.items()}
        return more | {"something_new": {"deep": [1]}}
    if isinstance(data, list):
        return [_with_more(item) for item in data]
    return data


DROPPED_WHEN_OURS = {"issues", "issue_comment", "check_run", "check_suite", "label"}
"""The other events are never dropped as our own."""


@pytest.mark.parametrize(("event", "payload"), HANDLED)
def test_our_own_events_are_dropped_by_sender_id_where_that_is_safe(event: str, payload: dict[str, Any]) -> None:
    delivered = reading.as_delivered(payload)
    body = reading.encode(delivered)
    by_us = REGISTRY[event].read(body, delivered["sender"]["id"])[1]
    if event in DROPPED_WHEN_OURS:
        assert by_us == Intake()
    else:
        assert by_us == REGISTRY[event].read(body, None)[1]


async def test_the_endpoint_never_fails_and_stores_every_handled_recording(world: World) -> None:
    for event, index, payload in reading.recordings():
        body = reading.encode(reading.as_delivered(payload))
        answer = await world.post(body, headers(body, event=event, delivery=f"{event}-{index}"))
        expected = 200 if event == "ping" else 202
        assert answer.status == expected, (event, index, await answer.text())
    stored = {accepted.delivery for accepted in world.inbox.accepted}
    assert stored == {f"{event}-{i}" for event, i, _ in reading.recordings() if event in REGISTRY and event != "ping"}


@pytest.mark.parametrize(("event", "payload"), USED)
async def test_a_damaged_recording_is_refused_and_never_an_error_of_ours(
    world: World, event: str, payload: dict[str, Any]
) -> None:
    """Each top-level part is replaced by a value of another kind, one after the other."""
    for part in payload:
        body = reading.encode(reading.as_delivered(payload) | {part: ["wrong"]})
        answer = await world.post(body, headers(body, event=event, delivery=f"damaged-{part}"))
        assert answer.status in {202, 400}


def test_a_payload_without_a_required_field_names_the_place() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"number.*\$\.issue"):
        REGISTRY["issues"].read(b'{"action": "opened", "issue": {}}', None)
