"""What the changed files contain: size, large-file pointers, credentials.

Promise: contents are read as bytes through one `git cat-file --batch`, in bounded portions; sizes are asked for before
contents. A credential counts only when the file did not hold it before the change, so that an old test fixture does not
block work on its file. Details name the path and the kind of credential, never the credential.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from bot.domain.model import FailureReason
from bot.worker.git import Git
from bot.worker.redaction import secrets_in

_LFS_HEAD: Final = b"version https://git-lfs.github.com/spec/"
_LFS_OLD_HEAD: Final = b"version https://hawser.github.com/spec/"
_LFS_MAX: Final = 1024  # a pointer file is smaller by its specification
_PORTION: Final = 16_000_000  # bytes of contents held in memory at a time
_ZERO: Final = "0" * 40


class ContentProblem(Exception):
    """A changed file may not be published."""

    def __init__(self, reason: FailureReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


async def check_blobs(git: Git, changed: list[tuple[str, str, str]], max_bytes: int) -> None:
    """Checks the new contents of (path, old blob, new blob). Raises ContentProblem for the first that is refused."""
    new = {blob: path for path, _, blob in reversed(changed)}
    sizes = await _sizes(git, new)
    total = 0
    for blob, size in sizes.items():
        total += size
        if total > max_bytes:
            raise ContentProblem(
                FailureReason.QUALITY_GATE,
                f"{new[blob]}: with it the changed files exceed the limit of {max_bytes} bytes (max_bytes).",
            )
    olds: dict[str, set[str]] = {}
    for _, old, blob in changed:
        if old != _ZERO:
            olds.setdefault(blob, set()).add(old)
    for portion in _portions(sizes):
        contents = await _contents(git, portion)
        for blob, content in contents.items():
            path = new[blob]
            if len(content) <= _LFS_MAX and content.startswith((_LFS_HEAD, _LFS_OLD_HEAD)):
                raise ContentProblem(
                    FailureReason.SECURITY_BUNDLE, f"{path}: is a Git LFS pointer; its content cannot be checked."
                )
            found = secrets_in(content.decode("utf-8", "replace"))
            if found:
                before = await _known(git, olds.get(blob, set()))
                fresh = {kind for text, kind in found.items() if text not in before}
                if fresh:
                    raise ContentProblem(
                        FailureReason.SECURITY_SECRET_IN_DIFF, f"{path}: contains a credential ({min(fresh)})."
                    )


async def _known(git: Git, blobs: Iterable[str]) -> set[str]:
    """Credentials that stood in the files before the change."""
    known: set[str] = set()
    for portion in _portions(await _sizes(git, blobs)):
        for content in (await _contents(git, portion)).values():
            known |= secrets_in(content.decode("utf-8", "replace")).keys()
    return known


def _portions(sizes: dict[str, int]) -> Iterable[list[str]]:
    portion: list[str] = []
    held = 0
    for blob, size in sizes.items():
        if portion and held + size > _PORTION:
            yield portion
            portion, held = [], 0
        portion.append(blob)
        held += size
    if portion:
        yield portion


async def _sizes(git: Git, blobs: Iterable[str]) -> dict[str, int]:
    wanted = list(blobs)
    if not wanted:
        return {}
    out = await git.run("cat-file", "--batch-check=%(objectname) %(objectsize)", stdin=_lines(wanted))
    rows = (line.split() for line in out.stdout.decode("ascii").splitlines())
    return {name: int(size) for name, size in rows}


async def _contents(git: Git, blobs: list[str]) -> dict[str, bytes]:
    out = (await git.run("cat-file", "--batch", stdin=_lines(blobs))).stdout
    contents = {}
    position = 0
    for blob in blobs:
        end = out.index(b"\n", position)
        size = int(out[position:end].split()[2])
        contents[blob] = out[end + 1 : end + 1 + size]
        position = end + 1 + size + 1
    return contents


def _lines(names: list[str]) -> bytes:
    return "".join(f"{n}\n" for n in names).encode("ascii")
