"""The log of a job: time stamps, masking, workflow commands in the output.

Promise: a value that was masked before a line was written does not appear in that line; lines
written earlier stay as they were, as in GitHub's runner. Values of several lines are masked line
by line too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final

from bot.localhub.actions_model import Step

MASK: Final = "***"
_COMMAND: Final = re.compile(r"::([a-z-]+)(?: [^:]*)?::(.*)\Z")


class JobLog:
    """Writes to the log of the step that is open."""

    def __init__(self, now: Callable[[], datetime], written: Callable[[], None]) -> None:
        self._now = now
        self._written = written
        self._secrets: set[str] = set()
        self._step: Step | None = None

    def mask(self, secret: str) -> None:
        """Hide this value from now on; blank values are ignored."""
        for part in (secret, *secret.splitlines()):
            if part.strip():
                self._secrets.add(part)

    def masked(self, text: str) -> str:
        """The text with every masked value replaced; longer values first."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, MASK)
        return text

    def open(self, step: Step) -> None:
        """From now on lines belong to this step."""
        self._step = step

    def write(self, line: str) -> None:
        """One line of output; `::add-mask::` and friends are obeyed, not shown."""
        command = _COMMAND.match(line)
        if command is not None:
            name, text = command[1], _unescape(command[2])
            if name == "add-mask":
                self.mask(text)
                line = "::add-mask::***"
            elif name in {"error", "warning", "notice", "debug", "group"}:
                line = f"##[{name}]{text}"
            elif name == "endgroup":
                line = "##[endgroup]"
        self._append(line)

    def header(
        self,
        title: str,
        lines: Sequence[str],
        *,
        env: Mapping[str, str],
        inputs: Mapping[str, str] | None = None,
        shell: str | None = None,
    ) -> None:
        """The folded block GitHub shows before a step's own output, with the step's env."""
        self._append(f"##[group]{title}")
        for line in lines:
            self._append(line)
        if inputs:
            self._append("with:")
            for name, value in inputs.items():
                self._append(f"  {name}: {value}")
        if shell is not None:
            self._append(f"shell: {shell}")
        if env:
            self._append("env:")
            for name, value in env.items():
                self._append(f"  {name}: {value}")
        self._append("##[endgroup]")

    def _append(self, line: str) -> None:
        if self._step is not None:
            stamp = self._now().strftime("%Y-%m-%dT%H:%M:%S.%f0Z")
            for part in self.masked(line).split("\n"):
                self._step.log.append(f"{stamp} {part}")
            self._written()


def _unescape(text: str) -> str:
    return text.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%")
