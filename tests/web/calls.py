"""Calls of the API for tests: the addresses of described routes, with the values that a test's world has."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from bot.web.api.described import Example


def path_of(template: str, example: Example, **known: str) -> str:
    """The path with its parameters filled in: from the example, else from `known`, else from the tests' world."""
    values = {
        "owner": "olga",
        "repo": "greeter",
        "number": "1",
        "id": "none",
        "file": "none",
        "name": "tgs/9-x",
        "sha256": "0" * 64,
    }
    values |= known | dict(example.path)
    return re.sub(r"{(\w+)}", lambda found: values[found[1]], template)


def with_ids(body: Any, ids: dict[str, str]) -> Any:
    """The body with the ids of the running bot in the place of those that examples show."""
    if isinstance(body, Mapping):
        return {name: with_ids(value, ids) for name, value in body.items()}
    return ids.get(body, body) if isinstance(body, str) else body
