"""Errors of the HTTP API as problem details (RFC 9457): `type`, `title`, `status`, `detail`, and our own `code`.

The code is from a closed list and is what clients decide by; the detail is a sentence for people.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from http import HTTPStatus

import structlog
from aiohttp import web

from bot.errors import (
    Conflict,
    GitHubError,
    LedgerDown,
    LookFirst,
    LostClaim,
    RateLimited,
    Refused,
    Suspended,
    Unavailable,
    Unproved,
    UserError,
)
from bot.membership import NoSuchItem, NotNow
from bot.service import Stale

log = structlog.get_logger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Code(StrEnum):
    """What went wrong, for programs."""

    INVALID = "invalid"
    UNAUTHENTICATED = "unauthenticated"
    REFUSED = "refused"
    UNPROVED = "unproved"
    LOOK_FIRST = "look_first"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    LOST_CLAIM = "lost_claim"
    TAKEN = "taken"
    CONFLICT = "conflict"
    UPSTREAM = "upstream"
    LIMITED = "limited"
    TOO_MANY = "too_many"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


_STATUS = {
    Code.INVALID: HTTPStatus.BAD_REQUEST,
    Code.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    Code.REFUSED: HTTPStatus.FORBIDDEN,
    Code.UNPROVED: HTTPStatus.FORBIDDEN,
    Code.LOOK_FIRST: HTTPStatus.FORBIDDEN,
    Code.NOT_FOUND: HTTPStatus.NOT_FOUND,
    Code.METHOD_NOT_ALLOWED: HTTPStatus.METHOD_NOT_ALLOWED,
    Code.LOST_CLAIM: HTTPStatus.CONFLICT,
    Code.TAKEN: HTTPStatus.CONFLICT,
    Code.CONFLICT: HTTPStatus.CONFLICT,
    Code.UPSTREAM: HTTPStatus.BAD_GATEWAY,
    Code.LIMITED: HTTPStatus.SERVICE_UNAVAILABLE,
    Code.TOO_MANY: HTTPStatus.TOO_MANY_REQUESTS,
    Code.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    Code.INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
}


class ApiProblem(Exception):
    """A request that cannot be answered; becomes problem details. `extra` are further members of the body."""

    def __init__(self, code: Code, detail: str, **extra: str | int | None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.extra = extra


def problem(
    code: Code,
    detail: str,
    *,
    headers: dict[str, str] | None = None,
    extra: Mapping[str, str | int | None] | None = None,
) -> web.Response:
    """The response for a problem."""
    status = _STATUS[code]
    body = {
        "type": "about:blank",
        "title": code.value.replace("_", " ").capitalize(),
        "status": int(status),
        "detail": detail,
        "code": code.value,
        **(extra or {}),
    }
    return web.Response(
        status=int(status),
        body=json.dumps(body).encode(),
        content_type="application/problem+json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


REQUEST_ID = "X-Request-Id"
"""The header by which a caller names a request, and in which the server says how it is called in the log."""

_NAMED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns our errors into problem details on `/api/` and names every request; elsewhere it stays out of the way.

    One task serves all requests of a connection, so what a request binds for the log is cleared after it. A name that
    the caller chose is taken over only if it can be printed safely.
    """
    if not request.path.startswith("/api/"):
        return await handler(request)
    given = request.headers.get(REQUEST_ID, "")
    name = given if _NAMED.fullmatch(given) else uuid.uuid4().hex
    structlog.contextvars.bind_contextvars(request_id=name)
    try:
        response = await _answered(request, handler, name)
    finally:
        structlog.contextvars.clear_contextvars()
    if not response.prepared:
        response.headers[REQUEST_ID] = name
    return response


async def _answered(request: web.Request, handler: Handler, name: str) -> web.StreamResponse:
    mine: dict[str, str | int | None] = {"request_id": name}
    try:
        return await handler(request)
    except ApiProblem as error:
        headers = {"Retry-After": "10"} if error.code in {Code.TOO_MANY, Code.LIMITED} else None
        return problem(error.code, error.detail, headers=headers, extra={**error.extra, **mine})
    except LostClaim as error:
        return problem(Code.LOST_CLAIM, str(error), extra=mine)
    except Unproved as error:
        return problem(Code.UNPROVED, str(error), extra=mine)
    except LookFirst as error:
        return problem(Code.LOOK_FIRST, str(error), extra=mine)
    except Refused as error:
        return problem(Code.REFUSED, str(error), extra=mine)
    except Stale as error:
        return problem(Code.CONFLICT, str(error), extra={"revision": error.revision, **mine})
    except NoSuchItem as error:
        return problem(Code.NOT_FOUND, str(error), extra=mine)
    except NotNow as error:
        return problem(Code.CONFLICT, str(error), extra=mine)
    except UserError as error:
        return problem(Code.INVALID, str(error), extra=mine)
    except RateLimited:
        return problem(Code.LIMITED, "GitHub's limits are reached.", headers={"Retry-After": "60"}, extra=mine)
    except (Unavailable, Suspended, Conflict, GitHubError) as error:
        log.warning("upstream_failed", request=error.request, status=error.status)
        return problem(
            Code.UPSTREAM, "GitHub did not do what was asked; try again.", headers={"Retry-After": "10"}, extra=mine
        )
    except LedgerDown as error:
        log.warning("ledger_failed", path=request.path, error=str(error))
        said = "The ledger cannot be reached now, or this server is ending. Ask again in a moment."
        return problem(Code.UNAVAILABLE, said, headers={"Retry-After": "10"}, extra=mine)
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        said = f"This address takes {allowed}, not {error.method}."
        return problem(Code.METHOD_NOT_ALLOWED, said, headers={"Allow": allowed}, extra=mine)
    except web.HTTPException as error:
        code = Code.NOT_FOUND if error.status == HTTPStatus.NOT_FOUND else Code.INVALID
        return problem(code, error.reason, extra=mine)
    except Exception:
        log.exception("api_failed", path=request.path)
        return problem(Code.INTERNAL, "Something went wrong here; the log has the details.", extra=mine)
