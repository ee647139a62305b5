"""The claims that this person's command line made, so that the end can be reported without a secret in an argument.

Promise: one file per claim in a folder that only the person can read (0700, files 0600), written whole or not at all,
so that two sessions on one machine cannot damage each other's. A newer claim of the same item replaces the older. A
file that cannot be read as a claim is passed over.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from bot.client.backlog import Claim, Held, ItemRef
from bot.errors import UserError

MAX_BYTES: Final = 16_384
"""A claim is a few hundred bytes."""


class _Kept(msgspec.Struct):
    """The file. `place` is the backlog: server and repository, or the path of a file."""

    place: str
    number: int | None
    dir: str | None
    title: str
    attempt: str
    fence: int
    token: str
    lease_until: datetime | None


def state_dir(environment: Mapping[str, str]) -> Path:
    """`$XDG_STATE_HOME/tgs`, else `~/.local/state/tgs`."""
    home = Path(environment.get("HOME") or "~").expanduser()
    return Path(environment.get("XDG_STATE_HOME") or home / ".local" / "state") / "tgs"


class Remembered:
    """The claims of one backlog. `folder` is made when the first claim is kept."""

    def __init__(self, folder: Path, place: str) -> None:
        self._folder = folder / "claims"
        self._place = place

    def keep(self, claim: Claim) -> None:
        """Raises UserError when the folder cannot be written; the claim is then known to the caller only."""
        entry = claim.entry
        kept = _Kept(
            self._place,
            entry.number,
            entry.dir,
            entry.title,
            claim.attempt,
            claim.fence,
            claim.token,
            claim.lease_until,
        )
        path = self._path(entry.number, entry.dir)
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            # The name is random and the mode 0600 from the start; the rename makes it whole at once.
            handle, draft = tempfile.mkstemp(dir=self._folder, prefix=".claim-")
            with open(handle, "wb") as file:
                file.write(msgspec.json.encode(kept))
                file.flush()
                os.fsync(file.fileno())
            Path(draft).replace(path)
        except OSError as error:
            raise UserError(
                f"The claim cannot be remembered in {self._folder}: {error.strerror}.",
                "Set XDG_STATE_HOME to a folder that you can write to.",
            ) from None

    def find(self, ref: ItemRef | None) -> Held | None:
        """The claim of this item; without `ref` the only one. Raises UserError when there are several."""
        found = [one for one in self._all() if ref is None or _is(one, ref)]
        if not found:
            return None
        if ref is None and len(found) > 1:
            names = ", ".join(sorted(str(_ref(one)) for one in found))
            raise UserError(f"Several items are claimed from here: {names}.", "Name one of them.")
        newest = max(found, key=lambda one: one.fence)
        return Held(_ref(newest), newest.attempt, newest.fence, newest.token)

    def forget(self, held: Held) -> None:
        """The claim has ended; forgetting what is not there is fine."""
        for one in self._all():
            if one.attempt == held.attempt and _is(one, held.ref):
                with contextlib.suppress(OSError):
                    self._path(one.number, one.dir).unlink(missing_ok=True)

    def _path(self, number: int | None, folder: str | None) -> Path:
        name = f"{self._place}\n{number if number is not None else folder}"
        return self._folder / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.json"

    def _all(self) -> list[_Kept]:
        found = []
        for path in sorted(self._folder.glob("*.json")) if self._folder.is_dir() else []:
            with contextlib.suppress(OSError, msgspec.DecodeError):
                if path.stat().st_size <= MAX_BYTES:
                    kept = msgspec.json.decode(path.read_bytes(), type=_Kept)
                    if kept.place == self._place:
                        found.append(kept)
        return found


def _ref(kept: _Kept) -> ItemRef:
    return ItemRef(number=kept.number) if kept.number is not None else ItemRef(dir=kept.dir)


def _is(kept: _Kept, ref: ItemRef) -> bool:
    return kept.number == ref.number if ref.number is not None else kept.dir == ref.dir
