"""The log of API requests, for tests that count them and for the demo's request list.

Promise: one entry per request that reached the API, in the order of arrival, whatever the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime

from bot.localhub.model import Json


@dataclass
class LogEntry:
    """One request. `status` 0: the caller got no answer."""

    time: datetime
    method: str
    template: str
    path: str
    actor: str = "anonymous"
    login: str | None = None
    repo: str | None = None
    issue: int | None = None
    status: int = 0
    is_write: bool = False
    is_content: bool = False
    conditional_hit: bool = False
    operations: list[str] = field(default_factory=list)
    """GraphQL: the mutation fields, in order."""
    correlation: str | None = None
    duration: float = 0.0
    """Seconds."""

    def as_json(self) -> Json:
        """For `GET /_hub/log`."""
        return asdict(self) | {"time": self.time.isoformat()}


@dataclass
class RequestLog:
    """All entries since the start or the last `clear`."""

    entries: list[LogEntry] = field(default_factory=list)

    def clear(self) -> None:
        """Forget everything."""
        self.entries.clear()

    def select(
        self,
        *,
        method: str | None = None,
        template: str | None = None,
        issue: int | None = None,
        repo: str | None = None,
        where: Callable[[LogEntry], bool] | None = None,
    ) -> list[LogEntry]:
        """The entries that match everything given."""
        return [
            x
            for x in self.entries
            if (method is None or x.method == method)
            and (template is None or x.template == template)
            and (issue is None or x.issue == issue)
            and (repo is None or x.repo == repo)
            and (where is None or where(x))
        ]

    def requests(self) -> int:
        """Requests that count against the primary limit: all but answered 304s."""
        return sum(1 for x in self.entries if not x.conditional_hit)

    def writes(self) -> list[LogEntry]:
        """Requests that change something; a GraphQL mutation counts as one."""
        return [x for x in self.entries if x.is_write]

    def contents(self) -> list[LogEntry]:
        """Requests that create content (issues, comments, pull requests), the scarcest kind."""
        return [x for x in self.entries if x.is_content]

    def summary(self) -> Json:
        """The counts, as the demo shows them."""
        return {
            "requests": self.requests(),
            "writes": len(self.writes()),
            "content": len(self.contents()),
            "not_modified": sum(1 for x in self.entries if x.conditional_hit),
        }
