"""The settings, read once: flag, then environment, then file, then default.

Promises: the result is frozen; everything that is missing or wrong is reported in one `SettingsError` that lists
each problem by its environment name with what to do; no value of a secret is ever printed, not even in an error.
This is the only module of the server that reads the environment.

The server never starts without a webhook secret, with a well-known secret against a real GitHub, or with an OIDC
issuer on loopback unless GitHub's API is on loopback too (then all of it is a local trial).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings, EnvSettingsSource, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from bot.errors import SettingsError
from bot.settings_checks import cross_problems, is_loopback, is_postgresql
from bot.settings_file import SettingsFile, load_file, read_file

PREFIX: Final = "TGS_"
PUBLIC_API: Final = "https://api.github.com"
PUBLIC_GITHUB: Final = "https://github.com"
PUBLIC_ISSUER: Final = "https://token.actions.githubusercontent.com"


class LogFormat(StrEnum):
    JSON = "json"
    CONSOLE = "console"


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def _split(value: object) -> object:
    """`a, b` as a list; an empty piece is left out. A YAML list or a single number stays what it is."""
    if isinstance(value, str):
        return [piece.strip() for piece in value.split(",") if piece.strip()]
    if isinstance(value, int | SecretStr):
        return [value]
    return value


class _Base(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True, hide_input_in_errors=True
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *_: PydanticBaseSettingsSource,
        **__: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is passed: `load` merges the sources itself, so that a plain constructor reads no environment."""
        return (init_settings,)


class QueueKind(StrEnum):
    """Who hands out keys."""

    MEMORY = "memory"
    PROCRASTINATE = "procrastinate"


LEAST_HISTORY_DAYS = 30
"""Acts of an item, and commands, are remembered as long as that; its details must not go before them."""


class Settings(_Base):
    """The settings of the server. Each field's environment name is `TGS_` and the field's name in capitals."""

    app_id: int = Field(gt=0, description="The App's numeric id, shown on its settings page.")
    private_key: SecretStr | None = Field(
        default=None, description="The App's private key as PEM text; line breaks may be written as \\n."
    )
    private_key_path: Path | None = Field(default=None, description="A file with the App's private key as PEM text.")
    webhook_secret: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        min_length=1,
        description="The App's webhook secret; while rotating, the old and the new one separated by a comma.",
    )
    github_api_url: str = Field(default=PUBLIC_API, description="GitHub's REST API.")
    github_graphql_url: str | None = Field(
        default=None, description="GitHub's GraphQL API; derived from the REST API when not set."
    )
    github_url: str | None = Field(
        default=None, description="GitHub's pages and git; derived from the REST API when not set."
    )
    oidc_issuer: str = Field(default=PUBLIC_ISSUER, description="Who signs the identity tokens of Actions runs.")
    database_url: SecretStr | None = Field(
        default=None, description="SQLite or PostgreSQL; an SQLite file in the data folder when not set."
    )
    queue: QueueKind | None = Field(
        default=None,
        description="memory for one process, procrastinate for several on one PostgreSQL database; "
        "when not set, procrastinate on PostgreSQL and memory on SQLite.",
    )
    data_dir: Path = Field(default=Path("data"), description="Folder of the database and of backups.")
    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on; 0.0.0.0 for all.")
    port: int = Field(default=8080, ge=0, le=65535, description="Port to listen on; 0 for any free one.")
    public_url: str | None = Field(
        default=None, description="The address under which GitHub and its runs reach this server, with https."
    )
    allowed_accounts: Annotated[frozenset[int], NoDecode] = Field(
        default=frozenset(),
        description="Numeric ids of the accounts that may use this server, separated by commas; "
        "the App's owner when not set.",
    )
    budget_per_day: float = Field(
        default=100.0,
        gt=0,
        le=1_000_000,
        allow_inf_nan=False,
        description="US dollars that the agents of all repositories together may spend in one day (UTC).",
    )
    keep_history_days: int = Field(
        default=400,
        ge=0,
        le=36_500,
        description="Days for which the details of an item are kept after its end: its history, its attempts, what was "
        "said; 0 for ever, otherwise 30 at least.",
    )
    disabled: bool = Field(default=False, description="Stops all starts and writes; deliveries are still stored.")
    write_spacing_seconds: float = Field(
        default=1.0, ge=0, le=60, description="Least time between two writes to GitHub in one installation, in seconds."
    )
    log_format: LogFormat = Field(default=LogFormat.JSON, description="json or console.")
    log_level: LogLevel = Field(default=LogLevel.INFO, description="debug, info, warning or error.")

    _lists = field_validator("webhook_secret", "allowed_accounts", mode="before")(_split)

    @field_validator("webhook_secret")
    @classmethod
    def _no_empty_secret(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if not all(secret.get_secret_value() for secret in value):
            raise ValueError("a secret may not be empty")
        return value

    @field_validator("keep_history_days")
    @classmethod
    def _long_enough(cls, value: int) -> int:
        if 0 < value < LEAST_HISTORY_DAYS:
            raise ValueError(f"must be 0 (for ever) or at least {LEAST_HISTORY_DAYS}")
        return value

    @field_validator("github_api_url", "github_graphql_url", "github_url", "oidc_issuer", "public_url")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("must be a web address such as https://example.org")
        if parts.username or parts.password:
            raise ValueError("must not contain a user name or password")
        if parts.scheme == "http" and not is_loopback(value):
            raise ValueError("must use https")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if problems := cross_problems(self.model_dump()):
            raise ValueError("; ".join(f"{PREFIX}{name.upper()} {text}" for name, text in problems))
        return self

    @property
    def graphql_url(self) -> str:
        """The configured address, or where GitHub has it: beside a public REST API, or `/api/graphql` of a server."""
        if self.github_graphql_url is not None:
            return self.github_graphql_url
        if self.github_api_url.endswith("/api/v3"):
            return self.github_api_url.removesuffix("/v3") + "/graphql"
        return f"{self.github_api_url}/graphql"

    @property
    def web_url(self) -> str:
        """Where repositories are browsed and cloned."""
        if self.github_url is not None:
            return self.github_url
        if self.github_api_url == PUBLIC_API:
            return PUBLIC_GITHUB
        parts = urlsplit(self.github_api_url)
        return f"{parts.scheme}://{parts.netloc.removeprefix('api.')}"

    @property
    def server_url(self) -> str:
        """The address that runs use and name as audience of their identity tokens."""
        return self.public_url or f"http://{self.host}:{self.port}"

    @property
    def database(self) -> SecretStr:
        """The database's address; it may contain a password, so it does not print."""
        return self.database_url or SecretStr(f"sqlite:///{(self.data_dir / 'tgs.db').as_posix()}")

    @property
    def shared(self) -> bool:
        """Whether other processes may work on the same database."""
        kind = self.queue
        if kind is None:
            kind = QueueKind.PROCRASTINATE if is_postgresql(self.database.get_secret_value()) else QueueKind.MEMORY
        return kind is QueueKind.PROCRASTINATE

    def key(self) -> SecretStr:
        """The App's private key. Raises SettingsError when its file cannot be read."""
        if self.private_key is not None:
            return SecretStr(self.private_key.get_secret_value().replace("\\n", "\n"))
        if self.private_key_path is None:
            raise SettingsError("TGS_PRIVATE_KEY is missing.", "Set it, or TGS_PRIVATE_KEY_PATH.")
        try:
            return SecretStr(self.private_key_path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(
                "TGS_PRIVATE_KEY_PATH names a file that cannot be read.", "Check the path and its permissions."
            ) from error


class ClientSettings(_Base):
    """The settings of a client: a person's command line, a worker, an interactive session."""

    server_url: str | None = Field(default=None, description="The server that the command line talks to.")
    token: SecretStr | None = Field(default=None, description="A token of that server.")
    gh_token: SecretStr | None = Field(
        default=None, description="A GitHub token, for work without a server (GH_TOKEN)."
    )
    github_api_url: str = Field(default=PUBLIC_API, description="GitHub's REST API.")


KNOWN_KEYS: Final = frozenset(Settings.model_fields) | frozenset(ClientSettings.model_fields)
"""What a settings file may contain; one file serves both the server and the command line."""

BARE_NAMES: Final = {"database_url": "DATABASE_URL", "gh_token": "GH_TOKEN"}
"""Settings that other programs name without our prefix; our own name goes first."""


def environment_name(field: str) -> str:
    """The environment variable of a setting."""
    return "GH_TOKEN" if field == "gh_token" else f"{PREFIX}{field.upper()}"


def load_settings(flags: Mapping[str, object] | None = None, config: Path | None = None) -> Settings:
    """The server's settings. `flags` are field names to values (None: not given), `config` an explicit file.

    Raises SettingsError with every problem that was found.
    """
    return _checked_settings(_merged(Settings, flags, read_file(config, os.environ, KNOWN_KEYS)))


def load_client_settings(flags: Mapping[str, object] | None = None, config: Path | None = None) -> ClientSettings:
    """The client's settings. Raises SettingsError with every problem that was found."""
    return _checked_client_settings(_merged(ClientSettings, flags, read_file(config, os.environ, KNOWN_KEYS)))


def _checked_settings(merged: Mapping[str, Any]) -> Settings:
    problems = dict(cross_problems(merged))
    try:
        settings = Settings(**merged)
    except ValidationError as error:
        problems = _field_problems(Settings, error) | problems
    if problems:
        raise _settings_error(Settings, problems)
    return settings


def _checked_client_settings(merged: Mapping[str, Any]) -> ClientSettings:
    try:
        return ClientSettings(**merged)
    except ValidationError as error:
        raise _settings_error(ClientSettings, _field_problems(ClientSettings, error)) from None


class Origin(StrEnum):
    """Where a setting comes from, the strongest first."""

    FLAG = "flag"
    ENVIRONMENT = "environment"
    FILE = "file"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Effective:
    """One setting in force. `shown` is None when it is not set; of a secret it only says that it is."""

    field: str
    shown: str | None
    origin: Origin


@dataclass(frozen=True, slots=True)
class Inspected:
    """The settings as they are given, and what is wrong with them: a line for each problem.

    The server's are judged only when one of them is set: a machine of a person needs none.
    """

    file: SettingsFile
    settings: tuple[Effective, ...]
    for_server: bool
    problems: tuple[str, ...]


def inspect_settings(flags: Mapping[str, object] | None = None, config: Path | None = None) -> Inspected:
    """Every setting of server and client with its origin. Raises SettingsError for an unusable file."""
    file = load_file(config, os.environ, KNOWN_KEYS)
    found: dict[str, Effective] = {}
    forms: tuple[type[_Base], ...] = (Settings, ClientSettings)
    for form in forms:
        sources = _sources(form, flags, file.values)
        for field, info in form.model_fields.items():
            origin = next((origin for origin, values in sources.items() if field in values), Origin.DEFAULT)
            value = info.get_default() if origin is Origin.DEFAULT else sources[origin][field]
            found.setdefault(field, Effective(field, _shown(info.annotation, value), origin))
    own = set(Settings.model_fields) - set(ClientSettings.model_fields)
    for_server = any(one.field in own and one.origin is not Origin.DEFAULT for one in found.values())
    problems: dict[str, None] = {}
    checks: list[tuple[type[_Base], Callable[[Mapping[str, Any]], object]]] = [
        (ClientSettings, _checked_client_settings)
    ]
    if for_server:
        checks.append((Settings, _checked_settings))
    for checked, check in checks:
        try:
            check(_merged(checked, flags, file.values))
        except SettingsError as error:
            lines = error.what.splitlines()
            problems |= dict.fromkeys(line.removeprefix("- ") for line in lines if line.startswith("- "))
    return Inspected(file, tuple(found.values()), for_server, tuple(problems))


def _shown(annotation: object, value: object) -> str | None:
    if value is None or value is PydanticUndefined:
        return None
    if "SecretStr" in repr(annotation):
        return "********"
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(map(str, value)) or None if isinstance(value, list | tuple | set | frozenset) else str(value)


def _sources(
    form: type[_Base], flags: Mapping[str, object] | None, from_file: Mapping[str, Any]
) -> dict[Origin, Mapping[str, Any]]:
    """What each origin says, the strongest first."""
    bare = {field: value for field, name in BARE_NAMES.items() if (value := os.environ.get(name))}
    return {
        Origin.FLAG: {name: value for name, value in (flags or {}).items() if value is not None},
        Origin.ENVIRONMENT: bare | EnvSettingsSource(form)(),
        Origin.FILE: from_file,
    }


def _merged(form: type[_Base], flags: Mapping[str, object] | None, from_file: Mapping[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for values in reversed(_sources(form, flags, from_file).values()):
        merged |= values
    return {name: value for name, value in merged.items() if name in form.model_fields}


def _field_problems(form: type[_Base], error: ValidationError) -> dict[str, str]:
    """What is wrong with each field. Only messages are used, never the values."""
    problems: dict[str, str] = {}
    for problem in error.errors(include_url=False, include_input=False, include_context=False):
        if not problem["loc"]:
            continue
        name = str(problem["loc"][0])
        text = "is missing." if problem["type"] in {"missing", "too_short"} else _sentence(problem["msg"])
        problems.setdefault(name, f"{text} {form.model_fields[name].description}")
    return problems


def _sentence(message: str) -> str:
    text = message.removeprefix("Value error, ").removeprefix("Input should be ")
    text = text if text.startswith("must") else f"must be {text}" if text != message else text
    return text.rstrip(".") + "."


def _settings_error(form: type[_Base], problems: Mapping[str, str]) -> SettingsError:
    order: Iterable[str] = [*form.model_fields, *problems]
    lines = [f"- {environment_name(name)} {problems[name]}" for name in dict.fromkeys(order) if name in problems]
    count = "One setting is" if len(lines) == 1 else f"{len(lines)} settings are"
    return SettingsError(
        f"{count} missing or wrong:\n" + "\n".join(lines) + "\n",
        "Set them in the environment, in the file named by --config, or in ~/.config/tgs/config.yaml.",
    )
