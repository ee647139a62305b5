"""`GET /api/openapi.json`: the API described to programs, in OpenAPI 3.1, made from the table of routes.

Who may call: anybody; it shows what the product can do and nothing of a tenant. The document is made once.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from aiohttp import web
from pydantic import BaseModel

from bot.web.api.described import BYTES, EVENT_STREAM, JSON, REPO, Caller, Header, Row
from bot.web.api.problems import Code, problem

PROBLEM_JSON = "application/problem+json"

PARAMETERS: dict[str, tuple[dict[str, Any], str]] = {
    "owner": ({"type": "string", "pattern": "^[A-Za-z0-9_-]{1,100}$"}, "The account that owns the repository."),
    "repo": ({"type": "string", "pattern": "^[A-Za-z0-9._-]{1,100}$"}, "The repository's name."),
    "number": ({"type": "integer", "minimum": 1, "maximum": 2**31 - 1}, "The number of the item's issue."),
    "attempt": ({"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}, "The attempt's id."),
    "id": ({"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}, "Its id."),
    "name": ({"type": "string", "pattern": "^[A-Za-z0-9._/-]{1,200}$"}, "Its name."),
    "verb": ({"type": "string", "pattern": "^[a-z_-]{1,20}$"}, "What to do: the word that stands after `/tgs`."),
}
"""The parameters that paths have: their schema and their meaning."""

HEADERS: dict[Header, tuple[dict[str, Any], str]] = {
    Header.IDEMPOTENCY_KEY: (
        {"type": "string", "maxLength": 200, "pattern": "^[ -~]*$"},
        "Names the request: repeating it with the same key does nothing twice.",
    ),
    Header.IF_MATCH: (
        {"type": "string", "pattern": '^"[0-9]{1,15}"$'},
        "The `ETag` of the item as it was read; 409 when it has changed since.",
    ),
    Header.LAST_EVENT_ID: ({"type": "string", "pattern": "^[0-9]{1,15}$"}, "Go on after this id; goes before `after`."),
}
"""The headers that routes read beside `Authorization`."""

_BEARER = {"type": "http", "scheme": "bearer"}
SCHEMES: dict[str, dict[str, Any]] = {
    "person": {**_BEARER, "description": "A GitHub token of the person. It is shown to GitHub only, and not stored."},
    "worker": {
        **_BEARER,
        "bearerFormat": "tgw_…",
        "description": "A worker token; it opens what it names.",
    },
    "attempt": {**_BEARER, "bearerFormat": "tga_…", "description": "The token of one attempt, made by who claimed it."},
    "ci": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Project-Token",
        "description": "The CI token of the repository; or `X-Tgs-Signature-256: sha256=…`, the body's HMAC under it.",
    },
    "run": {**_BEARER, "bearerFormat": "JWT", "description": "The OIDC token of a run of our workflow; it works once."},
}

_SCHEME_OF: dict[Caller, str | None] = {
    Caller.ANYBODY: None,
    Caller.GITHUB: None,
    Caller.PERSON: "person",
    Caller.WORKER: "worker",
    Caller.ATTEMPT: "attempt",
    Caller.CI: "ci",
    Caller.CODE: None,
    Caller.START: "run",
    Caller.SCAN: "run",
    Caller.PUBLISH: "run",
}


class Problem(msgspec.Struct):
    """Problem details (RFC 9457). Decide by `code`; `detail` is a sentence for people. Some codes add members."""

    type: str
    title: str
    status: int
    detail: str
    code: Code


class SameName(ValueError):
    """Two forms have one name; a program that reads the description would take one for the other."""


class Forms:
    """JSON schemas of forms, each written once and referred to by its class's name. Raises SameName."""

    def __init__(self, forms: Iterable[Any]) -> None:
        self.schemas: dict[str, Any] = {}
        known = list(dict.fromkeys(forms))
        ours = [form for form in known if not _is_pydantic(form)]
        self._refs: dict[Any, Any] = {form: self._pydantic(form) for form in known if _is_pydantic(form)}
        made, schemas = msgspec.json.schema_components(
            ours, schema_hook=self._pydantic, ref_template="#/components/schemas/{name}"
        )
        for name, schema in schemas.items():
            # msgspec writes the module before names that it meets twice.
            if "." in name:
                raise SameName(f"Two forms are called {name.rsplit('.', 1)[-1]}, one of them {name}. Rename one.")
            self._put(name, schema)
        self._refs |= dict(zip(ours, made, strict=True))

    def ref(self, form: Any) -> Any:
        """The schema to write where the form is used."""
        return self._refs[form]

    def _pydantic(self, form: type) -> dict[str, Any]:
        if not issubclass(form, BaseModel):
            # So msgspec's schema_hook says that it does not know a type; msgspec then names the type in its own error.
            raise NotImplementedError(form)
        schema = form.model_json_schema(mode="serialization", ref_template="#/components/schemas/{model}")
        for name, part in (schema.pop("$defs", {}) | {form.__name__: schema}).items():
            self._put(name, part)
        return {"$ref": f"#/components/schemas/{form.__name__}"}

    def _put(self, name: str, schema: Any) -> None:
        if self.schemas.setdefault(name, schema) != schema:
            raise SameName(f"Two forms are called {name}. Rename one.")


def _is_pydantic(form: Any) -> bool:
    return isinstance(form, type) and issubclass(form, BaseModel)


def document(routes: Sequence[Row], version: str) -> dict[str, Any]:
    """The OpenAPI document of the routes under `/api/`."""
    rows = [row for row in routes if row.in_api]
    used = (form for row in rows for form in (*row.answers.values(), row.body))
    forms = Forms([Problem, *(form for form in used if form is not None and form is not bytes)])
    paths: dict[str, dict[str, Any]] = {}
    for row in rows:
        paths.setdefault(row.path, {})[row.method.lower()] = _operation(row, forms)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "tgs",
            "version": version,
            "summary": "Work an issue backlog with an agent, under the maintainers' control.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": dict(sorted(forms.schemas.items())), "securitySchemes": SCHEMES},
    }


def _operation(row: Row, forms: Forms) -> dict[str, Any]:
    who = "; ".join(caller.value for caller in row.callers)
    about = f"{row.does}\n\nWho may call: {who}."
    if Caller.PERSON in row.callers:
        about += f" A person needs: {row.role}."
    if row.wire == "websocket":
        about += "\n\nThis is a WebSocket: the answer is 101, and the form is that of each message of the server."
    found: dict[str, Any] = {
        "operationId": operation_id(row),
        "summary": row.does.split(". ")[0].rstrip("."),
        "description": about,
        "tags": [_tag(row)],
        "security": [{scheme: []} for scheme in dict.fromkeys(_SCHEME_OF[c] for c in row.callers) if scheme],
        "parameters": [*_path_parameters(row), *_query_parameters(row), *_header_parameters(row)],
        "responses": _responses(row, forms),
    }
    if row.body is not None:
        media: dict[str, Any] = {} if row.body is bytes else {"schema": forms.ref(row.body)}
        if row.example is not None and row.example.body is not None:
            media["example"] = dict(row.example.body)
        content = {BYTES: _FILE} if row.body is bytes else {JSON: media}
        found["requestBody"] = {"required": True, "content": content}
    return found


def operation_id(row: Row) -> str:
    """A name that stays: from method and path, `get_repos_items_number`."""
    if row.path == REPO:
        return f"{row.method.lower()}_repo"
    words = re.findall(r"[a-z0-9]+", row.path.removeprefix("/api/").removeprefix("v1/"))
    return "_".join([row.method.lower(), *(word for word in words if word not in {"owner", "repo"})])


_FILE = {"schema": {"type": "string", "contentMediaType": BYTES}}


def _tag(row: Row) -> str:
    rest = row.path.removeprefix("/api/").removeprefix("v1/").split("/")
    return "repos" if rest[0] == "repos" else rest[0].split(".")[0]


def _path_parameters(row: Row) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": PARAMETERS[name][0],
            "description": PARAMETERS[name][1],
        }
        for name in re.findall(r"{(\w+)}", row.path)
    ]


def _query_parameters(row: Row) -> list[dict[str, Any]]:
    if row.query is None:
        return []
    example = row.example.query if row.example is not None else {}
    schema = msgspec.json.schema(row.query, ref_template="#/$defs/{name}")
    defs = schema.get("$defs", {})
    properties = defs[row.query.__name__]["properties"]
    required = set(defs[row.query.__name__].get("required", ()))
    found = []
    for name, form in properties.items():
        parameter = {"name": name, "in": "query", "required": name in required, "schema": _inlined(form, defs)}
        if name in example:
            many = parameter["schema"].get("type") == "array"
            parameter["example"] = [example[name]] if many else _as(parameter["schema"], example[name])
        found.append(parameter)
    return found


def _header_parameters(row: Row) -> list[dict[str, Any]]:
    return [
        {"name": header.value, "in": "header", "required": False, "schema": schema, "description": meaning}
        for header in row.headers
        for schema, meaning in (HEADERS[header],)
    ]


def _as(schema: Mapping[str, Any], text: str) -> Any:
    return int(text) if schema.get("type") == "integer" else text


def _inlined(schema: Any, defs: Mapping[str, Any]) -> Any:
    """The schema without references: parameters are small, and readers find them in one place."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            return _inlined(defs[schema["$ref"].rsplit("/", 1)[-1]], defs)
        return {name: _inlined(value, defs) for name, value in schema.items()}
    return [_inlined(value, defs) for value in schema] if isinstance(schema, list) else schema


def _responses(row: Row, forms: Forms) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for status, form in row.answers.items():
        found[str(status)] = {"description": "Done." if form is None else "The answer."}
        if form is bytes:
            found[str(status)]["content"] = {BYTES: _FILE}
        elif form is not None:
            media = EVENT_STREAM if row.wire == "sse" else row.media
            schema = {"type": "string"} if row.wire == "sse" else forms.ref(form)
            found[str(status)]["content"] = {media: {"schema": schema}}
    by_status: dict[int, list[str]] = {}
    for code in row.codes:
        by_status.setdefault(problem(code, "").status, []).append(f"`{code.value}`")
    content = {PROBLEM_JSON: {"schema": forms.ref(Problem)}}
    for status, codes in sorted(by_status.items()):
        found[str(status)] = {"description": "Refused: " + ", ".join(codes) + ".", "content": content}
    return found


class OpenApi:
    """Serves the document. `make` is called at the first request."""

    def __init__(self, make: Callable[[], Mapping[str, Any]]) -> None:
        self._make = make
        self._body: bytes | None = None

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/api/openapi.json", self.openapi)]

    async def openapi(self, request: web.Request) -> web.Response:
        if self._body is None:
            self._body = msgspec.json.encode(self._make())
        etag = hashlib.sha256(self._body).hexdigest()[:32]
        headers = {"ETag": f'"{etag}"', "Cache-Control": "no-cache"}
        if any(tag.value in {etag, "*"} for tag in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        return web.Response(body=self._body, content_type=JSON, headers=headers)


DESCRIBED = (
    Row(
        "GET",
        "/api/openapi.json",
        (Caller.ANYBODY,),
        "This description of the API for programs, in OpenAPI 3.1.",
        {200: dict[str, Any], 304: None},
    ),
)
