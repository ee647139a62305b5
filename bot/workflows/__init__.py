"""The workflow files that `tgs init` writes into a repository, rendered from the templates beside this module.

Promise: pure text in, text out. Only four values ever enter a template, each checked against a strict pattern first,
so that nothing a caller passes can break out of its YAML string or reach a shell unquoted. The files hold no logic;
`tests/worker/test_workflow_files.py` lints them with GitHub's schema and with zizmor.
"""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Final

from bot.errors import UserError

RUN_WORKFLOW: Final = "tgs-server-run.yml"
SCAN_WORKFLOW: Final = "tgs-server-scan.yml"

DEFAULT_AGENT_MINUTES: Final = 330  # an Actions job ends after 360 minutes; the rest is for uploading and reporting
MAX_AGENT_MINUTES: Final = 350  # beyond it GitHub's own limit of 360 would cut off the upload of the log

_URL: Final = re.compile(r"https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~/%+-]*)?")
_LOOPBACK: Final = re.compile(r"http://(?:127\.0\.0\.1|localhost)(?::[0-9]{1,5})?(?:/.*)?")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_BRANCH: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}")
_MARKER: Final = re.compile(r"@@[A-Z0-9_]+@@")


def render_run_workflow(
    server_url: str, wheel_url: str, wheel_sha256: str, *, agent_minutes: int = DEFAULT_AGENT_MINUTES
) -> str:
    """The text of `.github/workflows/tgs-server-run.yml`.

    `agent_minutes` is the limit of the agent job in minutes. Raises UserError for a value that cannot stand in the
    file: a URL that is neither https nor loopback, a digest that is not 64 lower-case hex digits, minutes out of range.
    """
    if not 1 <= agent_minutes <= MAX_AGENT_MINUTES:
        raise UserError(
            f"The agent's time limit is {agent_minutes} minutes.", f"Give 1 to {MAX_AGENT_MINUTES} minutes."
        )
    values = _distribution(server_url, wheel_url, wheel_sha256) | {"AGENT_MINUTES": str(agent_minutes)}
    return _render(RUN_WORKFLOW, values)


def render_scan_workflow(server_url: str, wheel_url: str, wheel_sha256: str, *, default_branch: str = "main") -> str:
    """The text of `.github/workflows/tgs-server-scan.yml`. Raises UserError as `render_run_workflow` does."""
    if _BRANCH.fullmatch(default_branch) is None:
        raise UserError(f"{default_branch!r} is no usable branch name.", "Name the repository's default branch.")
    values = _distribution(server_url, wheel_url, wheel_sha256) | {"DEFAULT_BRANCH": default_branch}
    return _render(SCAN_WORKFLOW, values)


def check_url(url: str, what: str) -> str:
    """The URL without a trailing slash. Raises UserError unless it is https, or http on loopback."""
    if _URL.fullmatch(url) is None:
        raise UserError(f"The {what} {url!r} is not a plain http(s) URL.", "Give one like https://tgs.example.org.")
    if not url.startswith("https://") and _LOOPBACK.fullmatch(url) is None:
        raise UserError(f"The {what} {url!r} is not encrypted.", "Use https; plain http is for loopback only.")
    return url.rstrip("/")


def _distribution(server_url: str, wheel_url: str, wheel_sha256: str) -> dict[str, str]:
    if _SHA256.fullmatch(wheel_sha256) is None:
        raise UserError(
            f"{wheel_sha256!r} is not a SHA-256 digest.", "Give the 64 lower-case hex digits that the server names."
        )
    return {
        "SERVER_URL": check_url(server_url, "server's URL"),
        "WHEEL_URL": check_url(wheel_url, "wheel's URL"),
        "WHEEL_SHA256": wheel_sha256,
    }


def _render(name: str, values: dict[str, str]) -> str:
    text = files(__package__).joinpath(name).read_text(encoding="utf-8")
    return _MARKER.sub(lambda marker: values[marker[0].strip("@")], text)
