"""A bare repository's own files, in the layout that git documents: loose objects and references, a new repository.

Promise: what is answered here is what git would answer. Whatever may be elsewhere (packs, packed or symbolic
references, borrowed objects) is left to git: the answer is `UNKNOWN` then. Objects never change and are put in place
by one rename, as git does it; a loose reference is one small file that git replaces by renaming, so reading it is what
git itself does. Each answer given here spares a process of several milliseconds.

Known race: a reference may become packed between two looks. Nobody packs here: git's own upkeep is switched off.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import zlib
from enum import Enum
from pathlib import Path
from typing import Final

from bot.localhub.git_model import EMPTY_TREE

FULL: Final = re.compile(r"[0-9a-f]{40}\Z")

_PLAIN_REF: Final = re.compile(r"refs/[A-Za-z0-9_+=,-][A-Za-z0-9_+=,./-]*\Z")
_HEADER_BYTES: Final = 64
"""Enough for the type and the length of any object."""

# allowAnySHA1InWant: GitHub serves any object it has. fsync is off because a local hub is thrown
# away with its directory; maintenance would race with removing that directory.
_NEW: Final = """\
[core]
	repositoryformatversion = 0
	filemode = true
	bare = true
[http]
	receivepack = true
[uploadpack]
	allowAnySHA1InWant = true
	allowFilter = true
[receive]
	autogc = false
[gc]
	auto = 0
[maintenance]
	auto = false
[core]
	fsync = none
	logAllRefUpdates = false
[transfer]
	fsckObjects = true
	hideRefs = refs/hub
"""


class Unknown(Enum):
    """Git has to be asked."""

    UNKNOWN = "unknown"


UNKNOWN: Final = Unknown.UNKNOWN


class GitFiles:
    """The files of one bare repository."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._objects = path / "objects"

    def make(self, default_branch: str) -> None:
        """An empty repository."""
        for folder in ("objects/info", "objects/pack", "refs/heads", "refs/tags", "hooks"):
            (self.path / folder).mkdir(parents=True)
        (self.path / "HEAD").write_text(f"ref: refs/heads/{default_branch}\n", encoding="utf-8")
        (self.path / "config").write_text(_NEW, encoding="utf-8")

    # --- objects ---

    def object(self, sha: str) -> tuple[str, bytes] | Unknown | None:
        """Type and content; None when there is no such object."""
        if sha == EMPTY_TREE:  # git knows it without having it
            return "tree", b""
        raw = self._read(sha)
        if raw is None:
            return self._absent()
        head, _, data = zlib.decompress(raw).partition(b"\0")
        return head.split(b" ")[0].decode(), data

    def kind(self, sha: str) -> tuple[str, int] | Unknown | None:
        """Type and size; None when there is no such object."""
        if sha == EMPTY_TREE:
            return "tree", 0
        raw = self._read(sha)
        if raw is None:
            return self._absent()
        head = zlib.decompressobj().decompress(raw, _HEADER_BYTES).partition(b"\0")[0]
        name, size = head.split(b" ")
        return name.decode(), int(size)

    def _read(self, sha: str) -> bytes | None:
        try:
            return (self._objects / sha[:2] / sha[2:]).read_bytes()
        except OSError:
            return None

    def _absent(self) -> Unknown | None:
        """What it means that no file of this name is there."""
        elsewhere = bool(os.listdir(self._objects / "pack")) or (self._objects / "info" / "alternates").exists()
        return UNKNOWN if elsewhere else None

    def write(self, kind: str, data: bytes) -> str:
        """Stores an object; its id."""
        whole = b"%s %d\0%s" % (kind.encode(), len(data), data)
        sha = hashlib.sha1(whole, usedforsecurity=False).hexdigest()
        place = self._objects / sha[:2] / sha[2:]
        if place.exists():
            return sha
        place.parent.mkdir(exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix="tmp_obj_", dir=place.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(zlib.compress(whole, 1))
            os.fchmod(handle, 0o444)
        Path(temporary).replace(place)
        return sha

    # --- references ---

    def ref(self, name: str) -> str | Unknown | None:
        """What a full reference name points at; None when there is no such reference."""
        if not _PLAIN_REF.match(name) or ".." in name or name.endswith((".lock", "/")) or "//" in name:
            return UNKNOWN
        try:
            text = (self.path / name).read_text("ascii").strip()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return UNKNOWN if self._packed() else None
        except (OSError, ValueError):
            return UNKNOWN
        return text if FULL.match(text) else UNKNOWN

    def refs(self) -> dict[str, str] | Unknown:
        """Every reference, in the order of their names."""
        if self._packed():
            return UNKNOWN
        found: dict[str, str] = {}
        for folder, _, names in os.walk(self.path / "refs"):
            for name in names:
                if name.endswith(".lock"):
                    continue
                full = os.path.relpath(os.path.join(folder, name), self.path)
                sha = self.ref(full)
                if sha is UNKNOWN:
                    return UNKNOWN
                if sha is not None:  # None: deleted this moment
                    found[full] = sha
        return dict(sorted(found.items()))

    def _packed(self) -> bool:
        return (self.path / "packed-refs").exists()
