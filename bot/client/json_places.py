"""Where in a JSON text a value stands: line and column for error messages.

Promise: for a text that is valid JSON every path has an offset, unknown paths that of the nearest part around them.
Made to report an error only, so it may be slow.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

Path = tuple[int | str, ...]

_SKIP: Final = re.compile(r"[\s,:]*")
_DECODER: Final = json.JSONDecoder()


def place(text: str, offset: int) -> tuple[int, int]:
    """Line and column, from 1, of an offset."""
    before = text[:offset]
    return before.count("\n") + 1, len(before) - before.rfind("\n")


class Places:
    """The offsets of every value (by its path) and of the first key that stands twice in one object."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._known: dict[Path, int] = {}
        self._end = 0
        self.repeated = 0
        for path, offset in self._walk((), self._next(0)):
            self._known.setdefault(path, offset)

    def of(self, path: Path) -> int:
        while path and path not in self._known:
            path = path[:-1]
        return self._known.get(path, 0)

    def _next(self, offset: int) -> int:
        match = _SKIP.match(self._text, offset)
        return match.end() if match else offset

    def _walk(self, path: Path, start: int) -> Iterator[tuple[Path, int]]:
        yield path, start
        if self._text[start] in "[{":
            yield from self._inside(path, start)
        else:
            self._end = _DECODER.raw_decode(self._text, start)[1]

    def _inside(self, path: Path, start: int) -> Iterator[tuple[Path, int]]:
        keys: set[str] = set()
        index = 0
        at = self._next(start + 1)
        while self._text[at] not in "]}":
            part: int | str = index
            if self._text[start] == "{":
                key, end = _DECODER.raw_decode(self._text, at)
                if key in keys and not self.repeated:
                    self.repeated = at
                keys.add(key)
                part = str(key)
                yield (*path, part), at
                at = self._next(end)
            yield from self._walk((*path, part), at)
            index += 1
            at = self._next(self._end)
        self._end = at + 1
