"""Files in the database, in pieces, for processes that share nothing else (`bot.protocols.files.Files`).

Each piece is a unit of its own, so that a large file never holds up the other writers for long. The last piece is
empty: a file without it is not whole and is not found.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import delete, func, select

from bot.store.dialect import insert_new
from bot.store.engine import SqlStore
from bot.store.ledger import SqlLedger
from bot.store.tables import file_parts

PIECE = 1 << 20
"""Bytes of one piece: some milliseconds of the writer's time."""


class StoreFiles:
    """The files of one store."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store

    async def put(self, name: str, path: Path) -> None:
        """See `Files.put`."""
        with path.open("rb") as file:
            number = 0
            while True:
                content = await asyncio.to_thread(file.read, PIECE)
                await self._store.write(_putting(name, number, content))
                number += 1
                if not content:
                    return

    async def fetch(self, name: str, path: Path) -> bool:
        """See `Files.fetch`."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix="part-", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            number = 0
            while content := await self._store.read(_getting(name, number)):
                await asyncio.to_thread(file.write, content)
                number += 1
        whole = content is not None
        await asyncio.to_thread(os.replace if whole else _discard, temporary, path)
        return whole

    async def names(self, prefix: str) -> list[str]:
        """See `Files.names`."""
        name = file_parts.c.name
        query = select(name).where(func.substr(name, 1, len(prefix)) == prefix).distinct().order_by(name)
        return await self._store.read(lambda ledger: list(ledger.connection.execute(query).scalars()))

    async def drop(self, name: str) -> None:
        """See `Files.drop`."""
        await self._store.write(
            lambda ledger: ledger.connection.execute(delete(file_parts).where(file_parts.c.name == name)).rowcount
        )


def _putting(name: str, part: int, content: bytes) -> Callable[[SqlLedger], bool]:
    row = {"name": name, "part": part, "content": content}
    return lambda ledger: insert_new(ledger.connection, file_parts, row)


def _getting(name: str, part: int) -> Callable[[SqlLedger], bytes | None]:
    query = select(file_parts.c.content).where(file_parts.c.name == name, file_parts.c.part == part)
    return lambda ledger: ledger.connection.execute(query).scalar_one_or_none()


def _discard(temporary: str, _: Path) -> None:
    Path(temporary).unlink()
