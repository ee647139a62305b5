"""Checks of settings that concern more than one of them. Pure but for looking whether the key file is there."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import SecretStr

DEMO_PREFIX: Final = "tgs-demo-"
"""Every secret that the local trial makes up begins like this."""
DEMO_SECRETS: Final = frozenset(
    {"change-me", "changeme", "demo", "dev", "development", "example", "password", "secret", "test", "webhook-secret"}
)
"""Secrets from examples and guides: everybody knows them."""

_FOREIGN_ISSUER: Final = (
    "is on this machine but GitHub's API is not. "
    "Leave it out; anybody on this machine could otherwise pretend to be a run."
)


def is_loopback(url: str) -> bool:
    """Whether the address is on this machine, by its text alone; no name is looked up."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_postgresql(url: str) -> bool:
    """Whether a database's address names PostgreSQL, by any of its names."""
    return url.partition(":")[0].partition("+")[0] in {"postgresql", "postgres"}


def cross_problems(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(field, what is wrong and what to do) for merged but perhaps not yet validated values."""
    local = is_loopback(_text(values, "github_api_url"))
    problems = list(_key_problems(values))
    if _text(values, "queue") == "procrastinate" and not is_postgresql(_text(values, "database_url")):
        problems.append(("queue", "is the queue between processes and needs PostgreSQL. Set TGS_DATABASE_URL."))
    if not local:
        if is_loopback(_text(values, "oidc_issuer")):
            problems.append(("oidc_issuer", _FOREIGN_ISSUER))
        if any(secret in DEMO_SECRETS or secret.startswith(DEMO_PREFIX) for secret in _secrets(values)):
            problems.append(
                ("webhook_secret", "is a well-known example. Make one up, for instance with `openssl rand -hex 32`.")
            )
        if not _text(values, "public_url"):
            problems.append(
                ("public_url", "is missing. Set it to the address under which GitHub reaches this server, with https.")
            )
    return problems


def _key_problems(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    text, path = _text(values, "private_key"), _text(values, "private_key_path")
    if not text and not path:
        yield "private_key", "is missing. Set it to the App's private key, or TGS_PRIVATE_KEY_PATH to its file."
    elif text and path:
        yield "private_key", "and TGS_PRIVATE_KEY_PATH are both set. Keep one of them."
    elif text and "PRIVATE KEY-----" not in text:
        yield "private_key", "is not PEM text. It begins with a line such as -----BEGIN RSA PRIVATE KEY-----."
    elif path and not os.access(Path(path), os.R_OK):
        yield "private_key_path", "names a file that cannot be read. Check the path and its permissions."


def _text(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name)
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return "" if value is None else str(value)


def _secrets(values: Mapping[str, Any]) -> list[str]:
    value = values.get("webhook_secret", ())
    if isinstance(value, str | SecretStr):
        value = _text(values, "webhook_secret").split(",")
    if not isinstance(value, list | tuple):
        return []
    plain = [item.get_secret_value() if isinstance(item, SecretStr) else str(item) for item in value]
    return [item.strip().lower() for item in plain]
