"""The instance lock: one process per database file, by `flock` on a file beside it.

The kernel frees the lock when the process ends, however it ends, so a crash leaves nothing to clean up; the side file
itself stays. Network file systems may not honour `flock`; the database must not lie on one anyway.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from bot.errors import SettingsError


class InstanceLock:
    """Held from construction until `release`. Raises SettingsError naming file and process when another has it."""

    def __init__(self, database: Path, pid: int) -> None:
        self.path = database.with_name(database.name + ".lock")
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._fd)
            raise SettingsError(
                f"The database {database} is in use by another process (pid {holder}, lock file {self.path}).",
                "Stop that process first, or set TGS_DATABASE_URL to another file.",
            ) from None
        except OSError as error:
            os.close(self._fd)
            raise SettingsError(
                f"The database {database} cannot be locked: {error.strerror}.",
                "Put it on a local disk; SQLite is not safe on network file systems.",
            ) from error
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{pid}\n".encode(), 0)

    def release(self) -> None:
        """Frees the lock; a second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.release()
