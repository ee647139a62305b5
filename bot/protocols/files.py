"""Files that several processes share, each of which has a disk of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Files(Protocol):
    """Whole files by name. What is there under a name is never changed, so putting it again changes nothing."""

    async def put(self, name: str, path: Path) -> None:
        """Store what is at the path. A process that dies in the middle leaves nothing that could be fetched."""
        ...

    async def fetch(self, name: str, path: Path) -> bool:
        """Write the file to the path, whole or not at all; False when there is none."""
        ...

    async def names(self, prefix: str) -> list[str]:
        """All names that begin so, those included that are being put."""
        ...

    async def drop(self, name: str) -> None:
        """Forget it; nothing happens when there is none."""
        ...
