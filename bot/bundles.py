"""What pull workers made, kept until a run has published it: files beside the ledger, one per attempt.

Promises: an upload is written to a temporary file, hashed on the way and moved into place under its hash, so a file
that is there is whole; the ledger's row says which bytes count. The same bytes again change nothing; others replace
them until the worker has reported, and are refused from then on, because the report names what was judged. Nothing is
kept beyond the attempt's end, except a result that waits until somebody has looked at it.

Where several processes share the ledger, each has a folder of its own and the bytes are also where all find them
(`Files`): whoever is asked for a bundle that another one took fetches it.

Races: two uploads of one attempt at the same time end with the bytes of one of them. A process that dies in the middle
leaves a file without a row, which the next pruning removes; the worker uploads again.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from bot.domain.attempt import Attempt, WorkerKind
from bot.domain.bundle import DEFAULT_MAX_BYTES, bundle_cap
from bot.domain.model import AttemptId
from bot.errors import LostClaim, Refused, UserError
from bot.protocols.clock import Clock
from bot.protocols.files import Files
from bot.protocols.ledger import Ledger, Store
from bot.protocols.worker_ledger import BundleRow

CAP: Final = bundle_cap(DEFAULT_MAX_BYTES)
"""Bytes of one bundle: what the gate would refuse need not be stored."""

UPLOAD_SECONDS: Final = 600.0
"""The largest bundle over a slow line takes some minutes; a stalled upload must not hold a file for ever."""

_PART: Final = "part-"


SHARED: Final = "bundle/"
"""Before the file's name, where processes share files."""


def _shared(path: Path) -> str:
    return SHARED + path.name


def _attempt_of(id_: AttemptId) -> Callable[[Ledger], Attempt | None]:
    return lambda tx: tx.attempt(id_)


def _passed_on(tx: Ledger, attempt: Attempt) -> BundleRow | None:
    """The bundle of an earlier attempt that this one publishes, because somebody has looked at it."""
    item, gate = tx.item(attempt.key), attempt.gate_report
    passed = item.passed if item is not None else None
    if passed is None or gate is None or gate.bundle_digest != passed.digest:
        return None
    return tx.bundle(passed.attempt)


class Bundles:
    """The bundles of one process. `folder` belongs to it alone; `cap` is in bytes."""

    def __init__(self, store: Store, clock: Clock, folder: Path, cap: int = CAP, files: Files | None = None) -> None:
        self._store = store
        self._clock = clock
        self._folder = folder
        self._cap = cap
        self._files = files
        self._writing: set[Path] = set()
        # Moving a file into place, noting it and removing what it replaces are one step for everybody else.
        self._placing = asyncio.Lock()

    async def keep(
        self, attempt: Attempt, chunks: AsyncIterator[bytes], announced: int | None, *, publishing: bool = False
    ) -> BundleRow:
        """Store what the attempt's worker sends. `announced` is how many bytes it said it would send.

        `publishing`: the publishing job sends a result that waits for somebody to look at it.

        Raises Refused for a worker that hands on its result otherwise and for other bytes after the report, UserError
        for too many bytes or none, LostClaim when the attempt ended meanwhile.
        """
        if publishing and attempt.gate_report is None:
            raise Refused("The agent's job did not report a result.", "Its log says why.")
        if attempt.worker.kind is not WorkerKind.PULL and not publishing:
            raise Refused("Only a pull worker uploads its bundle.", "A run hands it to its publishing job.")
        if announced is not None and announced > self._cap:
            raise self._too_large()
        part = await asyncio.to_thread(self._open)
        self._writing.add(part)
        try:
            async with asyncio.timeout(UPLOAD_SECONDS):
                sha256, size = await self._write(part, chunks)
            async with self._placing:
                return await self._place(attempt, part, sha256, size)
        except TimeoutError:
            raise UserError(f"The upload took longer than {UPLOAD_SECONDS:.0f} seconds.", "Try again.") from None
        finally:
            self._writing.discard(part)
            with suppress(FileNotFoundError):
                part.unlink()

    async def find(self, attempt: Attempt) -> Path | None:
        """The file that counts for this attempt, if there is one."""
        row = await self._store.read(lambda tx: tx.bundle(attempt.id) or _passed_on(tx, attempt))
        if row is None:
            return None
        path = self._file(row)
        if await asyncio.to_thread(path.is_file):
            return path
        fetched = self._files is not None and await self._files.fetch(_shared(path), path)
        return path if fetched else None

    async def prune(self) -> int:
        """Forget the bundles of attempts that are over, and files that nobody knows; how many files went."""

        def forget(tx: Ledger) -> None:
            tx.drop_bundles(tx.spent_bundles())

        async with self._placing:
            await self._store.write(forget)
            rows = await self._store.read(lambda tx: tx.bundles())
            await self._prune_shared({_shared(self._file(row)) for row in rows})
            known = {self._file(row) for row in rows} | self._writing
            return await asyncio.to_thread(self._remove_all_but, known)

    async def _prune_shared(self, known: set[str]) -> None:
        """Drops what belongs to attempts that are over; of a living one it may just be coming in elsewhere."""
        if self._files is None:
            return
        for name in await self._files.names(SHARED):
            attempt = AttemptId(name.removeprefix(SHARED).partition(".")[0])
            found = await self._store.read(_attempt_of(attempt))
            if name not in known and (found is None or not found.live):
                await self._files.drop(name)

    async def _write(self, part: Path, chunks: AsyncIterator[bytes]) -> tuple[str, int]:
        digest, size = hashlib.sha256(), 0
        with part.open("wb") as file:
            async for chunk in chunks:
                size += len(chunk)
                if size > self._cap:
                    raise self._too_large()
                digest.update(chunk)
                await asyncio.to_thread(file.write, chunk)
            file.flush()
            await asyncio.to_thread(os.fsync, file.fileno())
        if size == 0:
            raise UserError("The bundle is empty.", "Send the bundle as the body of the request.")
        return digest.hexdigest(), size

    async def _place(self, attempt: Attempt, part: Path, sha256: str, size: int) -> BundleRow:
        row = BundleRow(attempt.id, sha256, size, self._clock.now())
        path = self._file(row)
        await asyncio.to_thread(part.replace, path)
        if self._files is not None:
            await self._files.put(_shared(path), path)

        def note(tx: Ledger) -> BundleRow | None:
            fresh = tx.attempt(attempt.id)
            if fresh is None or not fresh.live or fresh.fence != attempt.fence:
                raise LostClaim("the attempt is not current any more; stop and change nothing")
            before = tx.bundle(attempt.id)
            gate = fresh.gate_report
            if gate is not None and gate.succeeded and gate.bundle_digest != sha256:
                raise Refused("This attempt has reported other bytes already.", "A report is final.")
            tx.put_bundle(row)
            return before

        before: BundleRow | None = None
        try:
            before = await self._store.write(note)
        except (LostClaim, Refused):
            kept = await self._store.read(lambda tx: tx.bundle(attempt.id))
            if kept is None or self._file(kept) != path:
                await self._remove(path)
            raise
        if before is not None and self._file(before) != path:
            await self._remove(self._file(before))
        return row

    async def _remove(self, path: Path) -> None:
        await asyncio.to_thread(path.unlink, missing_ok=True)
        if self._files is not None:
            await self._files.drop(_shared(path))

    def _too_large(self) -> UserError:
        return UserError(f"The bundle is larger than the limit of {self._cap} bytes.", "Change less in one attempt.")

    def _file(self, row: BundleRow) -> Path:
        return self._folder / f"{row.attempt}.{row.sha256}"

    def _open(self) -> Path:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=_PART, dir=self._folder)
        os.close(handle)
        return Path(name)

    def _remove_all_but(self, known: set[Path]) -> int:
        if not self._folder.is_dir():
            return 0
        gone = [path for path in self._folder.iterdir() if path not in known and not self._may_be_anothers(path)]
        for path in gone:
            path.unlink(missing_ok=True)
        return len(gone)

    def _may_be_anothers(self, path: Path) -> bool:
        """Whether another process on the same disk may be writing it."""
        if self._files is None or not path.name.startswith(_PART):
            return False
        with suppress(FileNotFoundError):
            return time.time() - path.stat().st_mtime < UPLOAD_SECONDS
        return True
