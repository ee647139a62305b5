"""The settings file: where it is, and its content as plain values. Its problems are the person's to mend."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import structlog
import yaml

from bot.errors import SettingsError

log = structlog.get_logger(__name__)

MAX_BYTES: Final = 64 * 1024
"""A settings file is a page of text; anything larger is the wrong file."""


def default_path(environment: Mapping[str, str]) -> Path:
    """`$XDG_CONFIG_HOME/tgs/config.yaml`, else `~/.config/tgs/config.yaml`."""
    base = environment.get("XDG_CONFIG_HOME") or str(Path(environment.get("HOME") or "~").expanduser() / ".config")
    return Path(base) / "tgs" / "config.yaml"


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """A file as it was read. `unknown` are names that nobody reads, with the nearest known one (or None)."""

    path: Path
    found: bool
    values: Mapping[str, Any]
    unknown: Mapping[str, str | None]

    def warnings(self) -> list[str]:
        """A sentence for each unknown name."""
        return [
            f"The settings file {self.path} has the unknown name {name}"
            + (f"; did you mean {nearest}?" if nearest else ".")
            for name, nearest in self.unknown.items()
        ]


def read_file(explicit: Path | None, environment: Mapping[str, str], known: Iterable[str]) -> dict[str, Any]:
    """The values of the file; empty when nothing was named and there is no file at the usual place.

    An unknown name is a warning in the log. Raises SettingsError as `load_file` does.
    """
    file = load_file(explicit, environment, known)
    for name, nearest in file.unknown.items():
        log.warning("unknown_setting", file=str(file.path), name=name, did_you_mean=nearest)
    return dict(file.values)


def load_file(explicit: Path | None, environment: Mapping[str, str], known: Iterable[str]) -> SettingsFile:
    """The file with its unknown names set aside.

    Raises SettingsError for a file that cannot be read or is no mapping. Messages name the file and the place in it,
    never a value.
    """
    path = explicit or default_path(environment)
    if explicit is None and not path.is_file():
        return SettingsFile(path, False, {}, {})
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SettingsError(
            f"The settings file {path} cannot be read: {error.strerror}.", "Check --config and its permissions."
        ) from error
    if len(raw) > MAX_BYTES:
        raise SettingsError(f"The settings file {path} has more than {MAX_BYTES} bytes.", "Is it the right file?")
    try:
        data = yaml.safe_load(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise SettingsError(f"The settings file {path} is not UTF-8 text.", "Save it as UTF-8.") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        # The cause is left out: its text shows the line, and the line may hold a secret.
        raise SettingsError(f"The settings file {path} is not YAML{place}.", "Correct that line.") from None
    except yaml.YAMLError:
        raise SettingsError(f"The settings file {path} is not YAML.", "It may hold control characters.") from None
    if data is None:
        return SettingsFile(path, True, {}, {})
    if not isinstance(data, dict):
        raise SettingsError(f"The settings file {path} is not a mapping.", "Write one `name: value` a line.")
    names = sorted(known)
    values = {key: value for key, value in data.items() if key in names and value is not None}
    return SettingsFile(path, True, values, {str(key): _nearest(str(key), names) for key in data if key not in names})


def _nearest(key: str, names: list[str]) -> str | None:
    return next(iter(get_close_matches(key.lower().removeprefix("tgs_"), names, n=1)), None)
