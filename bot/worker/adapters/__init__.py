"""The agents that can work on an item: one protocol, one explicit table."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from bot.errors import UserError
from bot.worker.adapters.base import Adapter
from bot.worker.adapters.command import CommandAdapter
from bot.worker.adapters.scripted import ScriptedAdapter

ADAPTERS: Final[Mapping[str, Adapter]] = MappingProxyType({"command": CommandAdapter(), "scripted": ScriptedAdapter()})


def adapter_named(name: str) -> Adapter:
    """The adapter of that name. Raises UserError naming those there are."""
    try:
        return ADAPTERS[name]
    except KeyError:
        raise UserError(f"There is no agent adapter {name!r}.", f"Use one of: {', '.join(sorted(ADAPTERS))}.") from None
