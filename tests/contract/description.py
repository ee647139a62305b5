"""GitHub's own description of its API and webhooks, loaded from the trimmed copy and made usable for validation.

Three habits of the description are corrected on loading: `nullable` beside an `enum` without null, and `nullable`
beside `anyOf`/`oneOf`/`allOf`, both of which a strict reader would refuse although GitHub really sends null there;
and the account of an installation that is described as a user and an enterprise at once instead of one of them.
Path parameters that may hold slashes (`contents/{path}`, `git/ref/{ref}`, …) are matched as such.

A compiled reading of each schema says whether a value fits, a hundred times as fast as the one that says why it does
not; a value is right when both say so.
"""

from __future__ import annotations

import functools
import gzip
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema_rs
from openapi_schema_validator import OAS30Validator, oas30_format_checker
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT4

Json = Any
FILE = Path(__file__).resolve().parent / "data" / "openapi.json.gz"
SLASHES = frozenset({"path", "ref", "branch", "basehead", "base", "head"})
"""Path parameters whose values may contain slashes."""
BASE = "urn:github"


@dataclass(frozen=True)
class Operation:
    """One method of one path. `schema` parts are JSON schemas of the description."""

    method: str
    template: str
    parameters: tuple[Mapping[str, Json], ...]
    body: Json | None
    body_required: bool
    answers: Mapping[str, Mapping[str, Json]]

    @property
    def query(self) -> dict[str, Mapping[str, Json]]:
        return {p["name"]: p for p in self.parameters if p["in"] == "query"}

    @property
    def path_parameters(self) -> dict[str, Mapping[str, Json]]:
        return {p["name"]: p for p in self.parameters if p["in"] == "path"}


@dataclass(frozen=True)
class Route:
    template: str
    pattern: re.Pattern[str]
    names: tuple[str, ...]
    operations: Mapping[str, Operation]


class Description:
    """The loaded description: routes, webhook schemas, and a validator for any schema in it."""

    def __init__(self, spec: Json) -> None:
        self._spec = _usable(spec)
        resource = Resource(contents=self._spec, specification=DRAFT4)
        self._registry: Registry[Json] = Registry().with_resource(BASE, resource)
        self.routes = sorted((_route(path, ops) for path, ops in self._spec["paths"].items()), key=_specific)
        self.webhooks: Mapping[str, Json] = self._spec["x-webhooks"]
        self._validators: dict[int, tuple[Json, OAS30Validator]] = {}
        self._quick: dict[int, tuple[Json, jsonschema_rs.Draft4Validator]] = {}
        self._definitions = jsonschema_rs.Registry([(BASE, _plain(self._spec))], draft=jsonschema_rs.Draft4)
        self._texts: dict[tuple[int, str], tuple[Json, bool]] = {}
        self._found: dict[tuple[str, str], tuple[Operation | None, dict[str, str], set[str]]] = {}

    def find(self, method: str, path: str) -> tuple[Operation | None, dict[str, str], set[str]]:
        """(operation, path parameters, methods known for this path); operation None when nothing fits."""
        if (method, path) not in self._found:
            self._found[method, path] = self._find(method, path)
        return self._found[method, path]

    def _find(self, method: str, path: str) -> tuple[Operation | None, dict[str, str], set[str]]:
        known: set[str] = set()
        for route in self.routes:
            match = route.pattern.fullmatch(path)
            if match is None:
                continue
            known |= set(route.operations)
            operation = route.operations.get(method.lower())
            if operation is not None:
                return operation, dict(zip(route.names, match.groups(), strict=True)), known
        return None, {}, known

    def resolve(self, schema: Json) -> Json:
        """The schema behind a reference."""
        while isinstance(schema, dict) and "$ref" in schema:
            target: Json = self._spec
            for part in schema["$ref"].removeprefix("#/").split("/"):
                target = target[part]
            schema = target
        return schema

    def errors(self, schema: Json, value: Json) -> Iterator[tuple[str, str]]:
        """(place, message) for each error of the value. Of alternatives the one that fits best is reported."""
        if not isinstance(value, bytes) and self.holds(schema, value):
            return
        found = isinstance(value, bytes)
        for error in self._validator(schema).iter_errors(value):
            found = True
            deepest = _deepest(error)
            yield _place(deepest.absolute_path), deepest.message[:300]
        if not found:
            yield "$", "only the slow reading of the schema says that it fits"

    def holds(self, schema: Json, value: Json) -> bool:
        """Whether a JSON value is what the schema wants."""
        if id(schema) not in self._quick:
            made = jsonschema_rs.Draft4Validator(
                _anchored(_plain(schema)),
                registry=self._definitions,
                validate_formats=True,
                formats={name: functools.partial(_conforms, name) for name in oas30_format_checker.checkers},
            )
            self._quick[id(schema)] = (schema, made)
        return self._quick[id(schema)][1].is_valid(value)

    def _validator(self, schema: Json) -> OAS30Validator:
        """Made once for each schema; schemas are kept with what was made of them, so that an id means one schema."""
        if id(schema) not in self._validators:
            made = OAS30Validator(_anchored(schema), registry=self._registry, format_checker=oas30_format_checker)
            self._validators[id(schema)] = (schema, made)
        return self._validators[id(schema)][1]

    def fits(self, schema: Json, text: str, forms: Iterable[Json]) -> bool:
        """Whether one of the forms that a text may stand for is what the schema wants. The same is asked often."""
        place = (id(schema), text)
        if place not in self._texts:
            self._texts[place] = (schema, any(self.holds(schema, form) for form in forms))
        return self._texts[place][1]


@functools.cache
def github() -> Description:
    """The description, loaded once (about 30 ms)."""
    return Description(json.loads(gzip.decompress(FILE.read_bytes())))


def _conforms(name: str, value: Json) -> bool:
    return oas30_format_checker.conforms(value, name)


def _plain(node: Json) -> Json:
    """The same without what OpenAPI adds to JSON Schema: null as a type, formats that nobody checks left out."""
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if not isinstance(node, dict):
        return node
    out = {key: _plain(value) for key, value in node.items()}
    if out.get("nullable") is True and isinstance(out.get("type"), str):
        out["type"] = [out["type"], "null"]
    if out.get("format") == "int64":
        out.setdefault("minimum", -(2**63))
        out.setdefault("maximum", 2**63 - 1)
    if isinstance(out.get("format"), str) and out["format"] not in oas30_format_checker.checkers:
        del out["format"]
    if isinstance(out.get("$ref"), str) and len(out) > 1:
        out.setdefault("allOf", []).append({"$ref": out.pop("$ref")})
    return out


def _anchored(schema: Json) -> Json:
    """A schema whose references point into the registered description."""
    if isinstance(schema, list):
        return [_anchored(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: BASE + value if key == "$ref" and isinstance(value, str) else _anchored(value)
        for key, value in schema.items()
    }


def _deepest(error: Any) -> Any:
    """The error that tells most: in failed alternatives the one that got furthest into the value.

    The alternative that would allow null is never the one that was meant, unless there is no other.
    """
    while error.context:
        meant = [inner for inner in error.context if inner.validator_value != [None]] or error.context
        error = max(meant, key=lambda inner: (len(inner.absolute_path), -len(inner.absolute_schema_path)))
    return error


def _place(path: Any) -> str:
    return "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)


def _route(template: str, methods: Mapping[str, Json]) -> Route:
    names, pattern, at = [], "", 0
    for match in re.finditer(r"\{([^}]+)\}", template):
        name = match[1]
        pattern += re.escape(template[at : match.start()]) + (r"(.+?)" if name in SLASHES else r"([^/]+)")
        names.append(name)
        at = match.end()
    pattern += re.escape(template[at:])
    if template.endswith("/contents/{path}"):
        # The root of the tree is asked for without a path, with or without the last slash.
        pattern = pattern.removesuffix("/(.+?)") + r"(?:/(.*))?"
    operations = {
        method: Operation(
            method,
            template,
            tuple(operation["parameters"]),
            operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema"),
            operation.get("requestBody", {}).get("required", False),
            {
                status: {kind: media["schema"] for kind, media in answer["content"].items()}
                for status, answer in operation["responses"].items()
            },
        )
        for method, operation in methods.items()
    }
    return Route(template, re.compile(pattern), tuple(names), operations)


def _specific(route: Route) -> tuple[int, int, str]:
    """Plain words before parameters, parameters of one segment before those with slashes."""
    slashy = sum(name in SLASHES for name in route.names)
    return (slashy, len(route.names) * 100 - len(route.template), route.template)


def _both_user_and_enterprise(members: Json) -> bool:
    """Whether an account is described as a user and an enterprise at once, which nothing can be."""
    if not isinstance(members, list):
        return False
    required = [set(member.get("required", ())) for member in members if isinstance(member, dict)]
    return any({"login"} <= names for names in required) and any({"slug", "name"} <= names for names in required)


def _usable(node: Json) -> Json:
    if isinstance(node, list):
        return [_usable(item) for item in node]
    if not isinstance(node, dict):
        return node
    out = {key: _usable(value) for key, value in node.items()}
    if _both_user_and_enterprise(out.get("allOf")):
        out["anyOf"] = out.pop("allOf")
    if out.get("nullable") is not True:
        return out
    if isinstance(out.get("enum"), list) and None not in out["enum"]:
        out["enum"] = [*out["enum"], None]
    if "type" not in out and {"anyOf", "oneOf", "allOf"} & set(out):
        del out["nullable"]
        return {"anyOf": [out, {"enum": [None]}]}
    return out
