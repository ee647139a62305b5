"""Holds requests to GitHub, and the answers to them, against GitHub's own description of its API.

Usable as an observer of any client or server: `Validator().check(...)` returns what is wrong, in sentences. Beyond
the schemas it refuses names that the description does not know, in queries and in bodies: the schemas are open, so a
misspelt name would pass them and be ignored by GitHub without a word.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from tests.contract.description import Description, Operation, github

Json = Any
MAX_PER_PAGE = 100
"""GitHub cuts larger pages silently, so asking for more loses entries."""
ANY_TIME = frozenset({301, 302, 304, 307})
"""Statuses below 400 that any read may answer, described or not."""
API_VERSION = re.compile(r"20\d\d-\d\d-\d\d")
AUTHORIZATION = re.compile(r"(?:Bearer|token) \S+")
RANGE = re.compile(r"(?:[<>]=?|\*\.\.)?([^.*<>=]+)(?:\.\..*)?")
"""The parameter `created` takes ranges (`>=2026-03-01T10:00:00Z`, `a..b`); the description says so in prose only."""
BY_ID = re.compile(r"\A/repositories/\d+(?=/|\Z)")
"""`Link` headers and redirects name a repository by its id. The description leaves that form out; it means the same."""


class Validator:
    """`prefix` is the path of the API's root (`/api/v3` on a server of one's own, nothing on github.com).

    `headers=False` leaves request headers unchecked, for tests that speak of bodies only.
    """

    def __init__(self, prefix: str = "", *, headers: bool = True, description: Description | None = None) -> None:
        self._prefix = prefix.rstrip("/")
        self._headers = headers
        self._description = description or github()

    def check(
        self,
        method: str,
        url_path: str,
        query: Mapping[str, str] | Iterable[tuple[str, str]],
        headers: Mapping[str, str],
        body: Json,
        status: int,
        response_body: Json,
    ) -> list[str]:
        """What is wrong with one exchange; empty when nothing is. Bodies are JSON values, bytes or None (none)."""
        # Matched as it was sent: a slash inside a label's name travels as %2F and is no separator.
        path = url_path.removeprefix(self._prefix)
        where = f"{method.upper()} {path}"
        problems = list(_header_problems(headers)) if self._headers else []
        if path == "/graphql":
            problems += _graphql_problems(_parsed(body))
        else:
            problems += self._exchange(method, path, query, _parsed(body), status, _parsed(response_body))
        return [f"{where}: {problem}" for problem in problems]

    def _exchange(
        self, method: str, path: str, query: Any, body: Json, status: int, response_body: Json
    ) -> Iterator[str]:
        operation, values, known = self._description.find(method, BY_ID.sub("/repos/o/r", path))
        if operation is None:
            methods = ", ".join(sorted(name.upper() for name in known))
            yield f"only {methods} is known for this path" if known else "the path is not known"
            return
        texts = [(name, unquote(value)) for name, value in values.items() if value is not None]
        yield from self._values("path parameter", operation.path_parameters, texts)
        pairs = list(query.items() if isinstance(query, Mapping) else query)
        yield from self._values("query parameter", operation.query, pairs)
        missing = {name for name, p in operation.query.items() if p["required"]} - {name for name, _ in pairs}
        yield from (f"query parameter {name} is missing" for name in sorted(missing))
        yield from self._body(operation, body)
        yield from self._answer(operation, status, response_body)

    def _values(
        self, kind: str, known: Mapping[str, Mapping[str, Json]], pairs: Iterable[tuple[str, str]]
    ) -> Iterator[str]:
        for name, text in pairs:
            parameter = known.get(name) or known.get(f"{name}[]")
            if parameter is None:
                yield f"{kind} {name} is not known"
                continue
            if name == "created" and (match := RANGE.fullmatch(text)) is not None:
                text = match[1]  # noqa: PLW2901 - the bound of the range stands for the whole
            schema = parameter["schema"]
            if not self._description.fits(schema, text, _forms(text)):
                yield f"{kind} {name}: {text!r} does not fit {json.dumps(schema)[:200]}"
            if name == "per_page" and text.isdigit() and int(text) > MAX_PER_PAGE:
                yield f"{kind} per_page: {text} is more than {MAX_PER_PAGE}"

    def _body(self, operation: Operation, body: Json) -> Iterator[str]:
        if operation.body is None:
            if body not in (None, {}, ""):
                yield "a body is sent where none is known"
            return
        if body is None:
            if operation.body_required:
                yield "the body is missing"
            return
        yield from (f"body {place}: {message}" for place, message in self._description.errors(operation.body, body))
        yield from (f"body {place} is not known" for place in self._unknown([operation.body], body, "$"))

    def _answer(self, operation: Operation, status: int, body: Json) -> Iterator[str]:
        described = operation.answers.get(str(status))
        if described is None:
            if status < 400 and not (operation.method == "get" and status in ANY_TIME):
                yield f"status {status} is not described; known are {', '.join(sorted(operation.answers))}"
            return
        schema = described.get("application/json")
        if schema is None or status in ANY_TIME:
            if status == 204 and body not in (None, "", b""):
                yield "an answer 204 has a body"
            return
        if status < 300 and body is None and described:
            yield f"the answer {status} has no body"
            return
        if body is None or isinstance(body, bytes):
            return
        for place, message in self._description.errors(schema, body):
            yield f"answer {status} {place}: {message}"

    def _unknown(self, schemas: list[Json], value: Json, place: str) -> Iterator[str]:
        """The places of names that none of the alternative schemas knows."""
        flat = [schema for one in schemas for schema in self._alternatives(one)]
        if isinstance(value, list):
            items = [schema["items"] for schema in flat if "items" in schema]
            for index, item in enumerate(value):
                yield from self._unknown(items, item, f"{place}[{index}]")
        if not isinstance(value, dict) or not flat:
            return
        if any(schema.get("additionalProperties") not in (None, False) for schema in flat):
            return
        properties: dict[str, list[Json]] = {}
        for schema in flat:
            for name, inner in schema.get("properties", {}).items():
                properties.setdefault(name, []).append(inner)
        if not properties:
            return
        for name, item in value.items():
            if name not in properties:
                yield f"{place}.{name}"
            else:
                yield from self._unknown(properties[name], item, f"{place}.{name}")

    def _alternatives(self, schema: Json) -> Iterator[Json]:
        schema = self._description.resolve(schema)
        yield schema
        for keyword in ("oneOf", "anyOf", "allOf"):
            for inner in schema.get(keyword, ()):
                yield from self._alternatives(inner)


def _parsed(body: Json) -> Json:
    """A JSON value of bytes or text; bytes that are no JSON (archives, logs) stay bytes."""
    if not isinstance(body, bytes | str):
        return body
    if not body:
        return None
    try:
        return json.loads(body)
    except ValueError:
        return body


def _forms(text: str) -> Iterator[Json]:
    """What a query value may stand for: a text, a number, a truth value, a list of texts."""
    yield text
    if re.fullmatch(r"-?\d+", text):
        yield int(text)
    if text in {"true", "false"}:
        yield text == "true"
    yield text.split(",")


def _header_problems(headers: Mapping[str, str]) -> Iterator[str]:
    given = {name.lower(): value for name, value in headers.items()}
    if not given.get("user-agent"):
        yield "the header User-Agent is missing; GitHub refuses such requests"
    if not API_VERSION.fullmatch(given.get("x-github-api-version", "")):
        yield "the header X-GitHub-Api-Version is missing or is not a date"
    if "authorization" in given and not AUTHORIZATION.fullmatch(given["authorization"]):
        yield "the header Authorization has a form that GitHub does not know"


def _graphql_problems(body: Json) -> Iterator[str]:
    if not isinstance(body, dict) or not isinstance(body.get("query"), str):
        yield "a GraphQL request needs a query"
        return
    for name in sorted(set(body) - {"query", "variables", "operationName"}):
        yield f"body $.{name} is not known"
