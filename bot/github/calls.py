"""What a request is, before it is sent: the call, the API's address, the source of its credential. Pure.

Promise: an address is built from a template whose variables are escaped; a value can't climb out of its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol
from urllib.parse import urlsplit

import uritemplate
from gidgethub import sansio
from pydantic import SecretStr

from bot.errors import Invalid
from bot.github.limits import Bucket, Lane


class TokenSource(Protocol):
    """Where a client gets its credential."""

    async def token(self) -> SecretStr:
        """A credential that is good now. Raises GitHubError kinds."""
        ...

    def refused(self, token: SecretStr) -> None:
        """GitHub answered 401 to this credential: do not hand it out again."""
        ...


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the API is. Credentials go there and nowhere else."""

    api_url: str
    graphql_url: str

    def covers(self, url: str) -> bool:
        """Whether the URL has the scheme, host and port of the API (or of its GraphQL endpoint)."""
        wanted = urlsplit(url)
        if wanted.username is not None or wanted.password is not None:
            return False
        return any(_origin(url) == _origin(own) for own in (self.api_url, self.graphql_url))


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `path` is an RFC 6570 template whose variables are escaped; `query` is appended.

    `lane` None marks a read. `content` marks the creation of an issue, comment or pull request. `fresh` is how many
    further looks a 404 deserves because the object was announced a moment ago. `follow` False returns a redirect as
    an answer with `location`.
    """

    method: str
    path: str
    vars: Mapping[str, str | int | list[str]]
    query: Mapping[str, str | int]
    body: object = None
    lane: Lane | None = None
    bucket: Bucket = Bucket.CORE
    content: bool = False
    fresh: int = 0
    follow: bool = True
    accept: str = sansio.accept_format()

    @property
    def label(self) -> str:
        """Method and path template: safe to log and to show."""
        return f"{self.method} {self.path}"

    def url(self, base: str) -> str:
        """The address below the API's base. Raises Invalid for a value that would climb out of its place in the
        path: `labels/..` is another resource than the label `..`."""
        for name, value in self.vars.items():
            parts = value if isinstance(value, list) else [str(value)]
            if any(part in {"", ".", ".."} for part in parts):
                raise Invalid(f"{name} cannot stand in a path", request=self.label)
        return base.rstrip("/") + _template(self.path).expand({**self.vars, "q": dict(self.query)})


@lru_cache(512)
def _template(path: str) -> uritemplate.URITemplate:
    """Of a path of ours, of which there are some dozen; reading one takes longer than filling it in."""
    return uritemplate.URITemplate(path + "{?q*}")


def call(
    method: str,
    path: str,
    vars_: Mapping[str, str | int | list[str]] | None = None,
    *,
    query: Mapping[str, str | int] | None = None,
    body: object = None,
    lane: Lane | None = None,
    content: bool = False,
    fresh: int = 0,
    follow: bool = True,
) -> Call:
    """A REST call; see `Call`."""
    return Call(method, path, vars_ or {}, query or {}, body, lane, Bucket.CORE, content, fresh, follow)


@dataclass(frozen=True, slots=True)
class Exchange:
    """One HTTP answer as it came over the wire; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    next: str | None = None


@dataclass(frozen=True, slots=True)
class Cached:
    """A body that GitHub will confirm by its ETag."""

    etag: str
    body: bytes
    next: str | None


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        return "", None, None
    return parts.scheme, parts.hostname, port or {"https": 443, "http": 80}.get(parts.scheme)
