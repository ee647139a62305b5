"""What `--json` prints: one record per command, and its JSON schema.

Promise: the schema in the documentation is made from the records that are printed, so it cannot differ from them. Times
are ISO 8601 in UTC with `Z`. Fields are added, never renamed. A claim's secret is printed only where it was asked for.
"""

from __future__ import annotations

import json
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from bot.client.backlog import Added, Entry, Finding, LockHeld
from bot.domain.timestamps import iso

json_wanted: ContextVar[bool] = ContextVar("json_wanted", default=False)
"""Whether the command that runs was asked for JSON; errors are then JSON too."""


@dataclass(frozen=True, slots=True)
class ListAnswer:
    """The items in the order of the queue, ended ones last."""

    items: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class AddAnswer:
    """The item. `new` is false when it was in the backlog already."""

    item: Entry
    new: bool


@dataclass(frozen=True, slots=True)
class SettledAnswer:
    """What became of the item. A retry starts no earlier than `due_at`."""

    item: Entry
    text: str
    due_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ClaimShown:
    """A claimed item. `context` are the files to read first, `commands` the lines that report the end.

    `attempt`, `fence` and `branch` are empty with `--peek`; `token` is set only with `--with-token`.
    """

    dir: str | None
    number: int | None
    title: str
    context: tuple[str, ...]
    branch: str
    base_sha: str | None
    lease_until: datetime | None
    attempt: str
    fence: int
    commands: dict[str, str] = field(default_factory=dict)
    token: str | None = None


@dataclass(frozen=True, slots=True)
class ClaimsAnswer:
    """What was claimed (or, with `--peek`, would be). Empty with exit code 3; `why` then says what waits."""

    claims: tuple[ClaimShown, ...]
    why: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BeatAnswer:
    """How long the claim holds. `cancel`: stop, somebody asked for it (exit code 5). `steer`: what people said."""

    item: str
    lease_until: datetime | None
    cancel: bool
    steer: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ValidateAnswer:
    """What does not fit together. `ok` is false, and the exit code 6, when an error is left."""

    findings: tuple[Finding, ...]
    ok: bool


@dataclass(frozen=True, slots=True)
class ScanAnswer:
    """Plan folders: added now (or, without `--apply`, to be added), known before, and not usable with why."""

    added: tuple[Entry, ...]
    known: int
    refused: tuple[Finding, ...]
    applied: bool


@dataclass(frozen=True, slots=True)
class ImportAnswer:
    """The items of the file, and whether each is new."""

    items: tuple[Added, ...]


@dataclass(frozen=True, slots=True)
class LocksAnswer:
    """The paths that are held."""

    locks: tuple[LockHeld, ...]


@dataclass(frozen=True, slots=True)
class ExplainAnswer:
    """Why the item does or does not move, and the paths it holds."""

    item: str
    lines: tuple[str, ...]
    holds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TicketProblem:
    """One thing that is wrong in a ticket file: where stands in `what`."""

    code: str
    what: str
    remedy: str


@dataclass(frozen=True, slots=True)
class TicketAnswer:
    """Whether the file is a ticket. Warnings do not change `ok`."""

    file: str
    ok: bool
    errors: tuple[TicketProblem, ...]
    warnings: tuple[TicketProblem, ...]
    title: str | None = None


@dataclass(frozen=True, slots=True)
class SettingShown:
    """One setting. `value` of a secret only says whether it is set; `origin` is flag, environment, file or default."""

    name: str
    value: str | None
    origin: str


@dataclass(frozen=True, slots=True)
class ConfigAnswer:
    """The settings file and the settings in force."""

    file: str
    found: bool
    settings: tuple[SettingShown, ...]


@dataclass(frozen=True, slots=True)
class ConfigCheckAnswer:
    """What is wrong with the settings. `ok` is false, and the exit code 2, when there are errors."""

    file: str
    found: bool
    ok: bool
    errors: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ErrorShown:
    """`code` is the name of the exit code. `owner` and `lease_until` are there when somebody else has the item."""

    code: str
    exit: int
    message: str
    owner: str | None = None
    lease_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """What went wrong; on standard error."""

    error: ErrorShown


def plain_values(value: object) -> Any:
    """A record as what JSON knows."""
    return _times(msgspec.to_builtins(value, builtin_types=(datetime,)))


def _times(value: Any) -> Any:
    match value:
        case datetime():
            return iso(value)
        case dict():
            return {key: _times(one) for key, one in value.items()}
        case list() | tuple():
            return [_times(one) for one in value]
        case _:
            return value


def json_text(value: object, *, indent: int | None = 2, nulls: bool = True) -> str:
    """The record as JSON. `nulls`: fields without a value are there too."""
    plain = plain_values(value)
    return json.dumps(plain if nulls else _filled(plain), indent=indent, ensure_ascii=False)


def _filled(value: Any) -> Any:
    return {key: _filled(one) for key, one in value.items() if one is not None} if isinstance(value, dict) else value


def print_json(value: object) -> None:
    print(json_text(value))


@dataclass(frozen=True, slots=True)
class WorkerTokenShown:
    """A worker token without its secret. `repositories` counts what it opens; `good`: it opens something now."""

    id: str
    name: str
    created_by: str
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None
    max_claims: int
    repositories: int
    good: bool


@dataclass(frozen=True, slots=True)
class WorkerTokenAnswer:
    """A new worker token. The secret is shown here and never again."""

    secret: str
    token: WorkerTokenShown


@dataclass(frozen=True, slots=True)
class WorkerTokensAnswer:
    """The worker tokens that open the repository, oldest first."""

    tokens: tuple[WorkerTokenShown, ...]


@dataclass(frozen=True, slots=True)
class ResyncAnswer:
    """What is looked at again (`repos`), and where the caller's role is not enough (`refused`)."""

    text: str
    repos: tuple[str, ...]
    refused: tuple[str, ...] = ()


ANSWERS: dict[str, type] = {
    "worker token create": WorkerTokenAnswer,
    "worker token list": WorkerTokensAnswer,
    "server backlog add": AddAnswer,
    "server backlog remove": SettledAnswer,
    "server backlog list": ListAnswer,
    "server backlog next": ClaimsAnswer,
    "server backlog claim": ClaimsAnswer,
    "server backlog heartbeat": BeatAnswer,
    "server backlog complete": SettledAnswer,
    "server backlog fail": SettledAnswer,
    "server backlog validate": ValidateAnswer,
    "server backlog scan": ScanAnswer,
    "server resync": ResyncAnswer,
    "server backlog import": ImportAnswer,
    "server locks list": LocksAnswer,
    "server locks release": SettledAnswer,
    "server locks explain": ExplainAnswer,
    "server ticket validate": TicketAnswer,
    "server config check": ConfigCheckAnswer,
    "server config show": ConfigAnswer,
}
"""The record that each command prints with `--json`. `backlog export` prints the backlog file itself."""


def schemas() -> dict[str, Any]:
    """The JSON schemas of all records by name, as `$defs` of one document."""
    _, found = msgspec.json.schema_components([*ANSWERS.values(), ErrorAnswer], ref_template="#/$defs/{name}")
    for schema in found.values():
        schema["description"] = " ".join(schema.get("description", "").split())
    return found
