"""Packs the installed distribution into a wheel again, so that the server can hand out exactly what it runs.

Promises: the same files give the same bytes (fixed times, fixed modes, sorted names, no compression that depends on
the machine); it works from a checkout that is installed as editable and from an installed wheel, and both give the
same result; nothing but our own packages and their metadata gets in. Uses the standard library alone.
"""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Final

DISTRIBUTION: Final = "tgs-bot"
PACKAGES: Final = ("bot", "handlers")
"""The import packages of the distribution; they are found by the import system, never by a path of ours."""
EPOCH: Final = (2020, 1, 1, 0, 0, 0)
"""The time of every file in the wheel: a constant, so that the bytes depend on the content alone."""
MODE: Final = 0o100644 << 16
"""An ordinary file, readable by all, as zip stores Unix modes."""


@dataclass(frozen=True, slots=True)
class Wheel:
    """A built wheel. `filename` is what installers expect; `sha256` is the hex digest of `content`."""

    version: str
    filename: str
    content: bytes
    sha256: str


class NotInstalled(Exception):
    """The distribution or one of its packages is not installed, so there is nothing to hand out."""


def build_wheel() -> Wheel:
    """The wheel of what is installed. Reads files; run it in a thread. Raises NotInstalled."""
    try:
        distribution = metadata.distribution(DISTRIBUTION)
    except metadata.PackageNotFoundError as error:
        raise NotInstalled(f"{DISTRIBUTION} is not installed; install it with `pip install .`") from error
    version = distribution.version
    stem = f"{DISTRIBUTION.replace('-', '_')}-{version}"
    files = dict(_package_files())
    files |= {f"{stem}.dist-info/{name}": content for name, content in _metadata_files(distribution)}
    record = f"{stem}.dist-info/RECORD"
    lines = [f"{name},sha256={_digest(content)},{len(content)}" for name, content in sorted(files.items())]
    files[record] = "\n".join([*lines, f"{record},,", ""]).encode()
    content = _zip(files, last=record)
    return Wheel(version, f"{stem}-py3-none-any.whl", content, hashlib.sha256(content).hexdigest())


def _package_files() -> Iterator[tuple[str, bytes]]:
    for package in PACKAGES:
        spec = util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise NotInstalled(f"the package {package} cannot be found")
        root = Path(next(iter(spec.submodule_search_locations)))
        for path in root.rglob("*"):
            relative = path.relative_to(root)
            if path.is_symlink() or not path.is_file() or _is_litter(relative):
                continue
            yield f"{package}/{relative.as_posix()}", path.read_bytes()


def _is_litter(relative: Path) -> bool:
    """What a checkout holds beside its files: caches, hidden files, editors' copies."""
    hidden = any(part.startswith(".") or part == "__pycache__" for part in relative.parts)
    return hidden or relative.suffix in {".pyc", ".pyo", ".orig", ".rej"} or relative.name.endswith("~")


def _metadata_files(distribution: metadata.Distribution) -> Iterator[tuple[str, bytes]]:
    for name in ("METADATA", "entry_points.txt"):
        text = distribution.read_text(name)
        if text is None:
            raise NotInstalled(f"the metadata of {DISTRIBUTION} has no {name}")
        yield name, text.encode()
    for name in distribution.metadata.get_all("License-File") or ():
        text = distribution.read_text(f"licenses/{name}")
        if text is not None:
            yield f"licenses/{name}", text.encode()
    yield "WHEEL", b"Wheel-Version: 1.0\nGenerator: tgs-bot\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def _digest(content: bytes) -> str:
    """The digest as RECORD writes it: URL-safe base64 without padding."""
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def _zip(files: dict[str, bytes], *, last: str) -> bytes:
    """The archive, sorted by name with the record at the end. Stored, not deflated: zlib versions differ in bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files, key=lambda name: (name == last, name)):
            info = zipfile.ZipInfo(name, EPOCH)
            info.create_system = 3  # Unix, whatever builds it
            info.external_attr = MODE
            archive.writestr(info, files[name])
    return buffer.getvalue()
