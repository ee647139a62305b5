"""What came back: the answer record, and the one table that turns a refusal into a typed error.

Promises: no error carries a header, a query, a token or a whole body; GitHub's own message is cut to a line. The
same table serves REST and GraphQL, so a caller never asks which of the two it spoke.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

import msgspec

from bot.errors import (
    Conflict,
    Forbidden,
    GitHubError,
    Invalid,
    NotFound,
    Suspended,
    Unauthorized,
    Unavailable,
)

MAX_MESSAGE = 300
"""Characters of GitHub's message that an error keeps: enough for a person, too little for a leaked body."""

CONFLICT_PHRASES = (
    "already exists",
    "reference does not exist",
    "reference update failed",
    "reference cannot be updated",
    "update is not a fast forward",
    "object does not exist",
    "no commits between",
    "head branch was modified",
    "base branch was modified",
    "head sha didn't match",
    "not mergeable",
    "merge conflict",
    "pull request is closed",
    "beforeoid",
)
"""Messages of a 422 (or GraphQL error) that mean: the state is another than the caller thought."""

LIMIT_PHRASES = ("rate limit", "abuse detection", "submitted too quickly")
"""Messages of a 403 or 200 that mean: wait, whatever the headers say."""

Shape = TypeVar("Shape")


class Refusal(StrEnum):
    """What kind of refusal a status and message are, before it becomes an exception."""

    LIMIT = "limit"
    SUSPENDED = "suspended"
    FORBIDDEN = "forbidden"
    UNAUTHORIZED = "unauthorized"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    INVALID = "invalid"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer. `url` is where it came from after redirects; `location` is set for a redirect that the
    caller asked not to follow; `next` is the verbatim `next` link; `data` belongs to the caller alone."""

    status: int
    data: Any
    url: str
    next: str | None = None
    location: str | None = None
    not_modified: bool = False


@dataclass(frozen=True, slots=True)
class GraphqlError:
    """One entry of `errors` of a GraphQL answer. `field` is the first element of its path: the alias."""

    kind: str
    message: str
    field: str | None = None

    @property
    def unknown_field(self) -> bool:
        """The server does not know a field of the document (an older server); nothing was executed."""
        text = self.message.lower()
        return self.kind in {"undefinedField", "undefinedType", "argumentNotAccepted"} or any(
            phrase in text for phrase in ("cannot query field", "doesn't exist on type", "unknown type")
        )


@dataclass(frozen=True, slots=True)
class GraphqlAnswer:
    """`data` and `errors` as they came; both can be set, because aliased fields succeed and fail one by one."""

    data: Mapping[str, Any]
    errors: tuple[GraphqlError, ...] = ()


def classify(status: int, headers: Mapping[str, str], message: str, details: str) -> Refusal:
    """The table for REST: status, headers and message to the kind of refusal."""
    text = f"{message} {details}".lower()
    match status:
        case 401:
            return Refusal.UNAUTHORIZED
        case 429:
            return Refusal.LIMIT
        case 403 if (
            "retry-after" in headers
            or headers.get("x-ratelimit-remaining") == "0"
            or any(phrase in text for phrase in LIMIT_PHRASES)
        ):
            return Refusal.LIMIT
        case 403 if "suspended" in text:
            return Refusal.SUSPENDED
        case 403:
            return Refusal.FORBIDDEN
        case 404 | 410 | 451:
            return Refusal.NOT_FOUND
        case 405 | 409 | 412:
            return Refusal.CONFLICT
        case 422 if "already_exists" in text or any(phrase in text for phrase in CONFLICT_PHRASES):
            return Refusal.CONFLICT
        case 408:
            return Refusal.UNAVAILABLE
        case _ if 400 <= status < 500:
            return Refusal.INVALID
        case _:
            return Refusal.UNAVAILABLE


def classify_graphql(error: GraphqlError) -> Refusal:
    """The table for GraphQL errors, which arrive with HTTP 200."""
    text = error.message.lower()
    match error.kind:
        case "RATE_LIMITED" | "RATE_LIMIT":
            return Refusal.LIMIT
        case "NOT_FOUND":
            return Refusal.NOT_FOUND
        case "FORBIDDEN" | "INSUFFICIENT_SCOPES":
            return Refusal.SUSPENDED if "suspended" in text else Refusal.FORBIDDEN
        case "STALE_DATA":
            return Refusal.CONFLICT
        case "INTERNAL" | "SERVICE_UNAVAILABLE" | "MAX_NODE_LIMIT_TIMEOUT":
            return Refusal.UNAVAILABLE
        case _ if any(phrase in text for phrase in LIMIT_PHRASES):
            return Refusal.LIMIT
        case _ if any(phrase in text for phrase in CONFLICT_PHRASES):
            return Refusal.CONFLICT
        case _ if "something went wrong" in text or "timeout" in text or "timed out" in text:
            return Refusal.UNAVAILABLE
        case _:
            return Refusal.INVALID


def error_of(
    refusal: Refusal, message: str, *, status: int | None, request: str, needs: str = "", write: bool = False
) -> GitHubError:
    """The exception for a refusal other than LIMIT, which needs the clock and is built by the client.

    `write` marks a refusal after which the write may still have happened (5xx).
    """
    match refusal:
        case Refusal.UNAUTHORIZED:
            return Unauthorized(message, status=status, request=request)
        case Refusal.SUSPENDED:
            return Suspended(message, status=status, request=request)
        case Refusal.FORBIDDEN:
            return Forbidden(message, needs=needs, request=request)
        case Refusal.NOT_FOUND:
            return NotFound(message, status=status, request=request)
        case Refusal.CONFLICT:
            return Conflict(message, status=status, request=request)
        case Refusal.INVALID:
            return Invalid(message, status=status, request=request)
        case Refusal.UNAVAILABLE | Refusal.LIMIT:
            return Unavailable(message, status=status, request=request, uncertain=write)


def message_of(body: bytes) -> tuple[str, str]:
    """(GitHub's message, the messages and codes of its `errors`) of an error body; empty texts for anything else."""
    try:
        data = json.loads(body)
    except ValueError:
        return "", ""
    if not isinstance(data, dict):
        return "", ""
    message = data.get("message")
    return clip(message if isinstance(message, str) else ""), _details(data.get("errors"))


def _details(errors: object) -> str:
    if isinstance(errors, str):
        return clip(errors)
    if not isinstance(errors, list):
        return ""
    words = []
    for entry in errors:
        if isinstance(entry, str):
            words.append(entry)
        elif isinstance(entry, dict):
            parts = (entry.get("field"), entry.get("code"), entry.get("message"))
            words.append(" ".join(part for part in parts if isinstance(part, str)))
    return clip("; ".join(words))


def clip(text: str) -> str:
    """One line of at most MAX_MESSAGE characters."""
    line = " ".join(text.split())
    return line if len(line) <= MAX_MESSAGE else line[: MAX_MESSAGE - 1] + "…"


def graphql_errors(raw: object) -> tuple[GraphqlError, ...]:
    """The `errors` of a GraphQL answer, tolerant of anything."""
    if not isinstance(raw, Sequence) or isinstance(raw, str):
        return ()
    found = []
    for entry in raw:
        if not isinstance(entry, dict):
            continue
        extensions = entry.get("extensions")
        code = extensions.get("code") if isinstance(extensions, dict) else None
        path = entry.get("path")
        first = path[0] if isinstance(path, list) and path else None
        found.append(
            GraphqlError(
                kind=str(entry.get("type") or code or ""),
                message=clip(str(entry.get("message") or "no message")),
                field=first if isinstance(first, str) else None,
            )
        )
    return tuple(found)


def read(shape: type[Shape], data: object, request: str) -> Shape:
    """The answer as our own small record. Raises Unavailable naming the place when GitHub sent something else."""
    try:
        return msgspec.convert(data, shape)
    except msgspec.ValidationError as error:
        raise Unavailable(f"the answer is not what the API describes: {error}", request=request) from None
