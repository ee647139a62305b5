"""Holds webhook deliveries against GitHub's description: the headers it sends and the fields it always includes.

`EXCEPTIONS` lists what a delivery may leave out or have otherwise, each with its reason; nothing else is forgiven.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.contract.description import Description, github

HEADERS: Mapping[str, re.Pattern[str]] = {
    "User-Agent": re.compile(r"GitHub-Hookshot/\w+"),
    "X-GitHub-Event": re.compile(r"[a-z_]+"),
    "X-GitHub-Delivery": re.compile(r"[0-9a-f-]{36}"),
    "X-GitHub-Hook-ID": re.compile(r"\d+"),
    "X-GitHub-Hook-Installation-Target-ID": re.compile(r"\d+"),
    "X-GitHub-Hook-Installation-Target-Type": re.compile(r"integration|repository|organization"),
    "X-Hub-Signature-256": re.compile(r"sha256=[0-9a-f]{64}"),
    "Content-Type": re.compile(r"application/json(;.*)?"),
}


@dataclass(frozen=True)
class Forgiven:
    """Something forgiven: in payloads whose name (`issues-labeled`) and place match."""

    name: str
    message: str
    reason: str

    def covers(self, name: str, message: str) -> bool:
        return re.fullmatch(self.name, name) is not None and re.search(self.message, message) is not None


EXCEPTIONS: tuple[Forgiven, ...] = ()
"""What our local GitHub may do otherwise. Empty: it sends every field that the description requires."""


def check(
    event: str,
    payload: Mapping[str, Any],
    headers: Mapping[str, str] | None = None,
    *,
    exceptions: tuple[Forgiven, ...] = EXCEPTIONS,
    description: Description | None = None,
) -> list[str]:
    """What is wrong with a delivery, in sentences. Without `headers` only the payload is checked."""
    name = name_of(event, payload.get("action"))
    problems = list(_header_problems(event, headers)) if headers is not None else []
    loaded = description or github()
    schema = loaded.webhooks.get(name)
    if schema is None:
        return [*problems, f"{name}: the description has no such webhook"]
    for place, message in loaded.errors(schema, payload):
        text = f"{place}: {message}"
        if not any(exception.covers(name, text) for exception in exceptions):
            problems.append(f"{name}: {text}")
    return problems


def name_of(event: str, action: str | None) -> str:
    """The name in the description: `issues` with `labeled` is `issues-labeled`."""
    return "-".join(part.replace("_", "-") for part in (event, action) if part)


def _header_problems(event: str, headers: Mapping[str, str]) -> Iterator[str]:
    given = {name.lower(): value for name, value in headers.items()}
    for name, form in HEADERS.items():
        value = given.get(name.lower())
        if value is None:
            yield f"the header {name} is missing"
        elif form.fullmatch(value) is None:
            yield f"the header {name} has a wrong form: {value!r}"
    if given.get("x-github-event") not in {None, event}:
        yield f"the header X-GitHub-Event says {given['x-github-event']!r} for {event}"
    delivery = given.get("x-github-delivery", "")
    if HEADERS["X-GitHub-Delivery"].fullmatch(delivery):
        try:
            uuid.UUID(delivery)
        except ValueError:
            yield "the header X-GitHub-Delivery is not a GUID"
