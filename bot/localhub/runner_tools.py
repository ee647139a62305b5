"""Programs the runner puts on the PATH of its jobs: `python`, `python3` and a `pipx`.

Promise: they behave like their namesakes as far as the shipped workflow needs them, without any
package index. `pipx install "name @ URL#sha256=HEX"` really downloads the wheel (loopback only),
really verifies the digest, and installs it into an environment of its own; dependencies come from
the interpreter that runs the hub, without that interpreter's `.pth` files, so that an editable
install of the same project there is never what runs. The files of a wheel lie unpacked beside the
programs, once for each digest, so that they are compiled once and not by every job.

Race: two jobs may unpack one wheel at once; each does so aside, and one of them is kept.
"""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path
from typing import Final

_PIPX: Final = '''\
#!@PYTHON@ -IS
"""pipx for a local hub: installs one wheel by URL and digest, dependencies come with the hub."""
import hashlib, io, ipaddress, os, pathlib, re, shutil, sys, tempfile, urllib.parse, urllib.request, zipfile

SITE = @SITE@
UNPACKED = pathlib.Path(@UNPACKED@)
VERSION = "python%d.%d" % sys.version_info[:2]


def fail(message):
    sys.exit("pipx: error: " + message)


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def fetch(url, digest):
    parts = urllib.parse.urlsplit(url)
    host = parts.hostname or ""
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if parts.scheme not in ("http", "https") or not loopback:
        fail("only wheels on this machine can be installed here, not " + url)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=60) as answer:
            data = answer.read()
    except OSError as error:
        fail("cannot download %s: %s" % (url, error))
    found = hashlib.sha256(data).hexdigest()
    if found != digest:
        fail("THESE PACKAGES DO NOT MATCH THE HASHES: expected sha256 %s, got %s" % (digest, found))
    return data


def unpacked(data, digest, url):
    folder = UNPACKED / digest
    if folder.is_dir():
        return folder
    UNPACKED.mkdir(parents=True, exist_ok=True)
    aside = pathlib.Path(tempfile.mkdtemp(dir=UNPACKED))
    aside.chmod(0o755)  # whoever runs the program reads it; only the runner writes
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            archive.extractall(aside)
        aside.rename(folder)
    except zipfile.BadZipFile:
        fail("%s is not a wheel" % url)
    except OSError:
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder


def install(spec, force):
    match = re.fullmatch(
        r"\\s*([A-Za-z0-9][\\w.-]*)\\s*(?:\\[[\\w,. -]*\\])?\\s*@\\s*(\\S+)#sha256=([0-9a-fA-F]{64})\\s*", spec
    )
    if match is None:
        fail('write pipx install "name @ URL#sha256=HEX", not %r' % spec)
    name, url, digest = normal(match[1]), match[2], match[3].lower()
    home = pathlib.Path(os.environ.get("PIPX_HOME") or os.path.expanduser("~/.local/share/pipx"))
    bin_dir = pathlib.Path(os.environ.get("PIPX_BIN_DIR") or os.path.expanduser("~/.local/bin"))
    venv = home / "venvs" / name
    if venv.exists():
        if not force:
            print("'%s' already seems to be installed. Not modifying existing installation." % name)
            return
        shutil.rmtree(venv)
    files = unpacked(fetch(url, digest), digest, url)
    site = venv / "lib" / VERSION / "site-packages"
    site.mkdir(parents=True)
    (venv / "bin").mkdir()
    python = venv / "bin" / "python"
    python.symlink_to(sys.executable)
    (venv / "pyvenv.cfg").write_text(
        "home = %s\\ninclude-system-site-packages = false\\n" % os.path.dirname(sys.executable)
    )
    # Folders named in a .pth file are searched, their own .pth files are not read.
    (site / "hub-dependencies.pth").write_text("".join(str(folder) + "\\n" for folder in [files, *SITE]))
    infos = [p for p in files.glob("*.dist-info")]
    named = [p for p in infos if normal(p.name.split("-")[0]) == name]
    if not named:
        fail("the wheel at %s is not %s" % (url, name))
    entries = named[0] / "entry_points.txt"
    section, made = "", []
    for line in entries.read_text().splitlines() if entries.exists() else []:
        line = line.strip()
        if line.startswith("["):
            section = line
        elif section == "[console_scripts]" and "=" in line:
            script, target = (part.strip() for part in line.split("=", 1))
            module, _, function = target.split("[")[0].strip().partition(":")
            path = venv / "bin" / script
            path.write_text(
                "#!%s\\nimport sys\\nfrom %s import %s\\nsys.exit(%s())\\n"
                % (python, module, function.split(".")[0], function)
            )
            path.chmod(0o755)
            bin_dir.mkdir(parents=True, exist_ok=True)
            link = bin_dir / script
            link.unlink(missing_ok=True)
            link.symlink_to(path)
            made.append(script)
    if not made:
        fail("%s has no programs to install" % name)
    print("  installed package %s, using Python %s" % (name, sys.version.split()[0]))
    print("  These apps are now available\\n" + "".join("    - %s\\n" % script for script in made), end="")


arguments = [a for a in sys.argv[1:] if a != "--force"]
if len(arguments) != 2 or arguments[0] != "install":
    fail("only `pipx install [--force] SPEC` is available on this runner")
install(arguments[1], "--force" in sys.argv)
'''


def base_python() -> str:
    """The interpreter behind a virtual environment, or the running one."""
    return str(Path(getattr(sys, "_base_executable", sys.executable)).resolve())


def write_tools(folder: Path) -> Path:
    """Write the programs (once) and return the folder for the PATH."""
    if folder.is_dir():
        return folder
    folder.mkdir(parents=True)
    python = base_python()
    for name in ("python", "python3"):
        (folder / name).write_text(f'#!/bin/sh\nexec "{python}" "$@"\n', encoding="utf-8")
    sites = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    text = _PIPX.replace("@PYTHON@", python).replace("@SITE@", repr(sites))
    text = text.replace("@UNPACKED@", repr(str(folder.parent / f"{folder.name}-unpacked")))
    (folder / "pipx").write_text(text, encoding="utf-8")
    for tool in folder.iterdir():
        tool.chmod(0o755)
    return folder
