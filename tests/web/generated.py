"""Requests that schemathesis makes of our OpenAPI document, sent to a running bot, and what it checks of the answers.

The library takes a second to read, so this is no part of a test module.
"""

from __future__ import annotations

from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from bot.web.api.described import Caller, Row
from tests.contract.api_answers import description
from tests.effort import by_effort
from tests.world import World

EXAMPLES = by_effort(1, 5, 500)
"""Requests per operation."""

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


def probe(world: World, row: Row, secrets: dict[Caller, str], known: dict[str, Any]) -> set[int]:
    """Send generated requests of one operation: the statuses that were answered. Raises what does not conform."""
    statuses: set[int] = set()
    session = requests.Session()
    schema = schemathesis.openapi.from_dict(description())
    operation = schema[row.path][row.method]
    mine = [secrets[caller] for caller in row.callers if caller in secrets] or ["none"]
    modes = st.sampled_from([GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
    cases = modes.flatmap(lambda mode: operation.as_strategy(generation_mode=mode))

    @settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        derandomize=EXAMPLES < 50,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases, token=st.sampled_from(mine), dice=st.integers(0, 9))
    def send(case: Any, token: str, dice: int) -> None:
        if dice < 8:
            parameters = case.path_parameters or {}
            case.path_parameters = parameters | {name: known[name] for name in parameters if name in known}
            if isinstance(case.query, dict) and "repo" in case.query:
                case.query["repo"] = "olga/greeter"
        headers = {"Authorization": f"Bearer {token}"} if dice < 9 or row.open else {}
        response = case.call(base_url=world.url, session=session, headers=headers, timeout=20)
        statuses.add(response.status_code)
        case.validate_response(response, checks=CHECKS)

    with session:
        send()
    return statuses
