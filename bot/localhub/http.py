"""What a feature module of the hub needs of HTTP: requests, replies, errors, routes.

Promise: handlers are written against these few types and never see the web server. A route says
what it needs (permission of an App, role of a person); the server checks that before the handler
runs, so that a handler that is reached may act. Errors leave in the shape GitHub gives them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, cast

from bot.localhub.model import Issue, Json, Repository, Role
from bot.localhub.reqlog import LogEntry

if TYPE_CHECKING:
    from bot.localhub.actor import Actor
    from bot.localhub.hub import Hub

DOCUMENTATION_URL = "https://docs.github.com/rest"
DEFAULT_PER_PAGE = 30
"""GitHub's page size when the caller names none."""
MAX_PER_PAGE = 100
"""GitHub's largest page; a larger number is cut, not refused."""


class ApiError(Exception):
    """An answer other than success. `errors` holds GitHub's `{resource, field, code}` objects."""

    def __init__(
        self,
        status: int,
        message: str,
        errors: Sequence[Json | str] = (),
        *,
        headers: Mapping[str, str] | None = None,
        documentation_url: str = DOCUMENTATION_URL,
        extra: Json | None = None,
    ) -> None:
        super().__init__(f"{status} {message}")
        self.status = status
        self.message = message
        self.errors = list(errors)
        self.headers = dict(headers or {})
        self.documentation_url = documentation_url
        self.extra = dict(extra or {})

    def reply(self) -> Reply:
        """The answer GitHub would send: `status` is a string there."""
        body: Json = {"message": self.message}
        if self.errors:
            body["errors"] = self.errors
        body |= self.extra
        body["documentation_url"] = self.documentation_url
        body["status"] = str(self.status)
        return Reply(self.status, body, self.headers)


def not_found(message: str = "Not Found") -> ApiError:
    """404; also what a caller gets who may not know that the thing exists."""
    return ApiError(404, message)


def invalid(resource: str, name: str, code: str = "invalid", **more: object) -> ApiError:
    """422 `Validation Failed` with one error object."""
    error: Json = {"resource": resource, "field": name, "code": code, **more}
    return ApiError(422, "Validation Failed", [error])


@dataclass
class Reply:
    """An answer. `body` is JSON-able data, or bytes with a `Content-Type` header, or None."""

    status: int = 200
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Request:
    """One call, after routing and authentication.

    `repo` is set for templates that begin with `/repos/{owner}/{repo}`; asking for it elsewhere is
    a programming error.
    """

    hub: Hub
    actor: Actor
    method: str
    path: str
    params: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    raw: bytes
    repository: Repository | None = None
    query_string: str = ""
    entry: LogEntry | None = None
    """The log entry of an API request; a handler may correct what the route could not know."""

    @property
    def repo(self) -> Repository:
        """The repository in the path."""
        assert self.repository is not None, f"{self.path} names no repository"
        return self.repository

    def issue(self, name: str = "issue_number") -> Issue:
        """The issue in the path. Raises ApiError 404, 410 (deleted) or 301 (transferred)."""
        found = self.repo.issues.get(self.number(name))
        if found is None:
            raise not_found()
        if found.deleted:
            raise ApiError(410, "This issue was deleted")
        if found.transferred_to is not None:
            other = found.transferred_to
            url = f"{self.hub.api_url}/repositories/{other.repo.id}/issues/{other.number}"
            raise ApiError(301, "Moved Permanently", headers={"Location": url}, extra={"url": url})
        return found

    def number(self, name: str) -> int:
        """A path parameter that must be a number; anything else is 404 as on GitHub."""
        text = self.params[name]
        if not re.fullmatch(r"[0-9]{1,18}", text):
            raise not_found()
        return int(text)

    def json(self) -> object:
        """The body as JSON; an empty body is None. Raises ApiError 400."""
        if not self.raw.strip():
            return None
        try:
            return cast("object", json.loads(self.raw))
        except ValueError:
            raise ApiError(400, "Problems parsing JSON") from None

    def body(self) -> Json:
        """The body as a JSON object; an empty body is {}. Raises ApiError 400."""
        data = self.json()
        if data is None:
            return {}
        if not isinstance(data, dict):
            raise ApiError(400, "Body should be a JSON object")
        return cast("Json", data)

    def flag(self, name: str) -> bool:
        """A boolean query parameter, false when absent."""
        return self.query.get(name, "").lower() in {"true", "1"}

    def page(self) -> tuple[int, int]:
        """(page, per_page), both at least 1; nonsense falls back to the default as on GitHub."""
        return (
            _positive(self.query.get("page"), 1),
            min(_positive(self.query.get("per_page"), DEFAULT_PER_PAGE), MAX_PER_PAGE),
        )

    def paginate(self, items: Sequence[object], key: str | None = None, **extra: object) -> Reply:
        """One page of `items` with a `Link` header.

        With `key` the answer is `{"total_count": n, key: [...]}`, else the bare list. The links
        use the `/repositories/{id}` form for repository paths, as GitHub's do: a client must
        follow them and cannot compute them from what it asked for.
        """
        page, size = self.page()
        part = list(items[(page - 1) * size : page * size])
        last = max(1, -(-len(items) // size))
        headers = {}
        if link := self._links(page, last):
            headers["Link"] = link
        if key is None:
            return Reply(200, part, headers)
        return Reply(200, {"total_count": len(items), key: part, **extra}, headers)

    def _links(self, page: int, last: int) -> str:
        path = self.path
        if self.repository is not None:
            tail = path.split("/", 4)[4:] if path.startswith("/repos/") else path.split("/", 3)[3:]
            path = "/".join([f"/repositories/{self.repository.id}", *tail])
        kept = [x for x in self.query_string.split("&") if x and not x.startswith("page=")]

        def link(number: int, rel: str) -> str:
            query = "&".join([*kept, f"page={number}"])
            return f'<{self.hub.api_url}{path}?{query}>; rel="{rel}"'

        parts = []
        if page > 1:
            parts.append(link(page - 1, "prev"))
        if page < last:
            parts += [link(page + 1, "next"), link(last, "last")]
        if page > 1:
            parts.append(link(1, "first"))
        return ", ".join(parts)


def _positive(text: str | None, default: int) -> int:
    return int(text) if text and re.fullmatch(r"[1-9][0-9]{0,8}", text) else default


Handler = Callable[[Request], Awaitable[Reply]]


class Surface(Enum):
    """Which part of the server a template belongs to."""

    API = "api"
    """Relative to `hub.api_url`; authenticated, limited, logged."""
    WEB = "web"
    """Relative to `hub.html_url`: git over HTTP, OIDC, log files, pages."""


@dataclass(frozen=True)
class Need:
    """A permission an App must have, e.g. Need("issues", "write")."""

    permission: str
    level: str


@dataclass(frozen=True)
class Route:
    """One operation.

    template   `/repos/{owner}/{repo}/contents/{path...}`: `{x...}` also takes slashes (and may be
               empty), `{x+}` takes slashes and not the empty string.
    needs      any one of these suffices for an App or a job token.
    role       what a person needs on the repository (default: read for GET, else write).
    writes     the repository must not be archived (default: every method but GET).
    content    counts as content creation for the secondary limits.
    app_jwt    only for an App that authenticates with its JWT; nothing else is checked.
    anyone     also without authentication (public repositories only for repository paths).
    """

    method: str
    template: str
    handler: Handler
    needs: tuple[Need, ...] = ()
    role: Role | None = None
    writes: bool | None = None
    content: bool = False
    anyone: bool = False
    app_jwt: bool = False
    surface: Surface = Surface.API
    pattern: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compile the template; literal text is matched literally."""
        object.__setattr__(self, "pattern", compile_template(self.template))

    @property
    def is_write(self) -> bool:
        """Whether this operation changes something."""
        return self.method != "GET" if self.writes is None else self.writes


@cache
def compile_template(template: str) -> re.Pattern[str]:
    """A path template as a regular expression over the decoded path. Raises ValueError."""
    out = []
    for part in re.split(r"(\{[a-z_]+(?:\.\.\.|\+)?\})", template):
        if part.startswith("{"):
            name = part[1:-1]
            if name.endswith("..."):
                out.append(f"(?P<{name[:-3]}>.*)")
            elif name.endswith("+"):
                out.append(f"(?P<{name[:-1]}>.+)")
            else:
                out.append(f"(?P<{name}>[^/]+)")
        elif "{" in part or "}" in part:
            raise ValueError(f"bad path template {template!r} near {part!r}")
        else:
            out.append(re.escape(part))
    return re.compile("".join(out))
