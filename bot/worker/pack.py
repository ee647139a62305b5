"""Reading a git bundle without git: its header, and how large its pack would become.

Promise: nothing is written, no delta is applied, memory stays bounded by one chunk. A pack is walked entry by entry
and inflated in small steps that stop at the limit, so that a few kilobytes that inflate to gigabytes are refused before
git ever sees them. Anything that is not exactly the documented format is a `BundleError` saying what and where.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from dataclasses import dataclass
from typing import Final

from bot.errors import TgsError

MAX_HEADER: Final = 64_000  # a header names one ref and a few prerequisites
MAX_OBJECTS: Final = 50_000  # new objects of one attempt; a change of 300 files makes a few thousand
_CHUNK: Final = 65_536
_TRAILER: Final = 20  # SHA-1 over the pack
_OFS_DELTA: Final = 6
_REF_DELTA: Final = 7
_OBJECT_TYPES: Final = frozenset({1, 2, 3, _OFS_DELTA, _REF_DELTA})  # commit, tree, blob, deltas; no tags (4)
_SHA: Final = re.compile(r"[0-9a-f]{40}\Z")
_DELTA_HEAD: Final = 20  # two sizes of at most ten bytes each


class BundleError(TgsError):
    """The bundle is not something we take. The text names what was wrong."""


@dataclass(frozen=True, slots=True)
class BundleHeader:
    """The one ref a bundle offers, what it builds on, and where its pack starts (bytes)."""

    ref: str
    sha: str
    prerequisites: frozenset[str]
    pack_offset: int


@dataclass(frozen=True, slots=True)
class PackSize:
    """What a pack holds: entries and bytes after inflation and delta resolution, as declared and as counted."""

    objects: int
    inflated: int


def read_header(data: bytes) -> BundleHeader:
    """The header of a bundle. Raises BundleError for another format, several refs, filters or a missing pack."""
    end = data.find(b"\n\n", 0, MAX_HEADER)
    if end < 0:
        raise BundleError(f"the bundle has no header within {MAX_HEADER} bytes")
    try:
        lines = data[:end].decode("utf-8").split("\n")
    except UnicodeDecodeError:
        raise BundleError("the bundle's header is not UTF-8") from None
    if lines[0] not in {"# v2 git bundle", "# v3 git bundle"}:
        raise BundleError(f"unknown bundle format {lines[0][:40]!r}")
    refs: list[tuple[str, str]] = []
    prerequisites: set[str] = set()
    for line in lines[1:]:
        if line.startswith("@"):
            if line != "@object-format=sha1":
                raise BundleError(f"bundle capability {line[:60]!r} is not accepted")
        elif line.startswith("-"):
            prerequisites.add(_sha(line[1:41]))
        else:
            sha, _, name = line.partition(" ")
            refs.append((_sha(sha), name))
    if len(refs) != 1:
        raise BundleError(f"the bundle offers {len(refs)} refs instead of one")
    return BundleHeader(refs[0][1], refs[0][0], frozenset(prerequisites), end + 2)


def measure_pack(data: bytes, offset: int, *, max_objects: int, max_inflated: int) -> PackSize:
    """Walks the pack at `offset` to its end. Raises BundleError for a bad format or as soon as a limit is passed."""
    if data[offset : offset + 4] != b"PACK" or len(data) < offset + 12 + _TRAILER:
        raise BundleError("the bundle holds no pack")
    version = int.from_bytes(data[offset + 4 : offset + 8], "big")
    objects = int.from_bytes(data[offset + 8 : offset + 12], "big")
    if version != 2:
        raise BundleError(f"pack version {version} is not accepted")
    if objects > max_objects:
        raise BundleError(f"the bundle holds {objects} objects; the limit is {max_objects}")
    end = len(data) - _TRAILER
    position, inflated = offset + 12, 0
    for index in range(objects):
        kind, size, position = _entry_header(data, position, end)
        if kind not in _OBJECT_TYPES:
            raise BundleError(f"object {index + 1} of the pack has type {kind}, which is not accepted")
        if kind == _OFS_DELTA:
            position = _skip_varint(data, position, end)
        elif kind == _REF_DELTA:
            position += 20
        inflated += size
        if inflated > max_inflated:
            raise BundleError(f"the bundle inflates to more than {max_inflated} bytes")
        head, position = _inflate(data, position, end, size)
        if kind in {_OFS_DELTA, _REF_DELTA}:
            inflated += _delta_target(head)
            if inflated > max_inflated:
                raise BundleError(f"the bundle inflates to more than {max_inflated} bytes")
    if position != end:
        raise BundleError(f"{end - position} bytes follow the last object of the pack")
    if hashlib.sha1(data[offset:end], usedforsecurity=False).digest() != data[end:]:
        raise BundleError("the pack's checksum is wrong")
    return PackSize(objects, inflated)


def _sha(text: str) -> str:
    if _SHA.match(text) is None:
        raise BundleError(f"{text[:50]!r} in the bundle's header is not an object id")
    return text


def _byte(data: bytes, position: int, end: int) -> int:
    if position >= end:
        raise BundleError("the pack ends in the middle of an object")
    return data[position]


def _entry_header(data: bytes, position: int, end: int) -> tuple[int, int, int]:
    byte = _byte(data, position, end)
    kind, size, shift = (byte >> 4) & 7, byte & 15, 4
    position += 1
    while byte & 0x80:
        byte = _byte(data, position, end)
        if shift > 60:
            raise BundleError("an object of the pack declares an absurd size")
        size |= (byte & 0x7F) << shift
        shift += 7
        position += 1
    return kind, size, position


def _skip_varint(data: bytes, position: int, end: int) -> int:
    while _byte(data, position, end) & 0x80:
        position += 1
    return position + 1


def _inflate(data: bytes, position: int, end: int, declared: int) -> tuple[bytes, int]:
    """Inflates one entry in steps; returns its first bytes and the position after it."""
    stream = zlib.decompressobj()
    head, produced = b"", 0
    feed = b""
    while not stream.eof:
        if not feed:
            feed = data[position : min(position + _CHUNK, end)]
            if not feed:
                raise BundleError("the pack ends in the middle of an object")
            position += len(feed)
        try:
            piece = stream.decompress(feed, _CHUNK)
        except zlib.error as error:
            raise BundleError(f"an object of the pack cannot be inflated: {error}") from None
        feed = stream.unconsumed_tail
        produced += len(piece)
        if len(head) < _DELTA_HEAD:
            head += piece[: _DELTA_HEAD - len(head)]
        if produced > declared:
            raise BundleError("an object of the pack is larger than it declares")
    if produced != declared:
        raise BundleError("an object of the pack is smaller than it declares")
    return head, position - len(stream.unused_data)


def _delta_target(head: bytes) -> int:
    """The size of a delta's result: the second number at its start."""
    position = _skip_varint(head, 0, len(head))
    size, shift = 0, 0
    while True:
        byte = _byte(head, position, len(head))
        size |= (byte & 0x7F) << shift
        shift += 7
        position += 1
        if not byte & 0x80:
            return size
