"""Building bundles that no honest git would make: raw trees, odd modes, forged packs."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

from tests.worker.support import THOUGHT, Origin, git

Entry = tuple[str, str]  # mode, object id
DONE = f"{THOUGHT}/implementation.md"


class Forge:
    """A repository of the attacker's, standing on the base commit."""

    def __init__(self, origin: Origin, folder: Path) -> None:
        self.folder = folder
        self.base = origin.base
        git(folder.parent, "clone", "-q", "--bare", str(origin.source), str(folder))

    def blob(self, content: str | bytes) -> str:
        data = content if isinstance(content, bytes) else content.encode()
        return git(self.folder, "hash-object", "-w", "--stdin", stdin=data)

    def files(self, commit: str) -> dict[bytes, Entry]:
        rows = git(self.folder, "ls-tree", "-r", "-z", commit).split("\0")
        split = [row.partition("\t") for row in rows if row]
        return {name.encode(): (meta.split()[0], meta.split()[2]) for meta, _, name in split}

    def tree(self, files: Mapping[bytes, Entry]) -> str:
        """A tree object with exactly these names, whatever git thinks of them."""
        folders: dict[bytes, dict[bytes, Entry]] = {}
        here: dict[bytes, Entry] = {}
        for path, entry in files.items():
            head, slash, rest = path.partition(b"/")
            if slash:
                folders.setdefault(head, {})[rest] = entry
            else:
                here[head] = entry
        for name, inside in folders.items():
            here[name] = ("40000", self.tree(inside))
        ordered = sorted(here.items(), key=lambda item: item[0] + (b"/" if item[1][0] == "40000" else b""))
        raw = b"".join(mode.encode() + b" " + name + b"\0" + bytes.fromhex(sha) for name, (mode, sha) in ordered)
        return git(self.folder, "hash-object", "-t", "tree", "--literally", "-w", "--stdin", stdin=raw)

    def commit(
        self,
        changes: Mapping[str | bytes, str | bytes | Entry | None],
        *,
        parents: list[str] | None = None,
        message: str = "Work",
        env: Mapping[str, str] | None = None,
        finished: bool = True,
    ) -> str:
        """A commit with the changes: text or bytes is a plain file, None deletes, an entry is taken as it is."""
        over = [self.base] if parents is None else parents
        files = self.files(over[0]) if over else {}
        wanted = dict(changes)
        if finished:
            wanted.setdefault(DONE, "done\n")
        for path, content in wanted.items():
            name = path if isinstance(path, bytes) else path.encode()
            if content is None:
                del files[name]
            elif isinstance(content, tuple):
                files[name] = content
            else:
                files[name] = ("100644", self.blob(content))
        flags = [flag for parent in over for flag in ("-p", parent)]
        return git(self.folder, "commit-tree", self.tree(files), *flags, "-F", "-", stdin=message.encode(), env=env)

    def bundle(self, head: str, *, since: str | None = None, ref: str = "refs/heads/work") -> Path:
        """A bundle of everything after the base (or `since`)."""
        git(self.folder, "update-ref", ref, head)
        target = self.folder.parent / "tgs.bundle"
        git(self.folder, "bundle", "create", "-q", str(target), f"{since or self.base}..{ref}")
        return target

    def write_bundle(self, data: bytes) -> Path:
        target = self.folder.parent / "tgs.bundle"
        target.write_bytes(data)
        return target

    def raw_bundle(self, lines: list[str], pack: bytes) -> Path:
        return self.write_bundle(("\n".join(lines) + "\n\n").encode() + pack)


def entry(kind: int, content: bytes, *, declared: int | None = None) -> bytes:
    """One pack entry."""
    size = len(content) if declared is None else declared
    first, size = (kind << 4) | (size & 15), size >> 4
    head = bytearray()
    while size:
        head.append(first | 0x80)
        first, size = size & 0x7F, size >> 7
    head.append(first)
    return bytes(head) + zlib.compress(content)


def pack(*entries: bytes, count: int | None = None, version: int = 2) -> bytes:
    body = b"PACK" + struct.pack(">II", version, len(entries) if count is None else count) + b"".join(entries)
    return body + hashlib.sha1(body, usedforsecurity=False).digest()
