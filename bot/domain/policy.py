"""Reads `.tgs/policy.yml`, writes its commented example and its reference page.

Promise: `parse_policy` never raises; every finding names line and column. An error makes the whole file unusable (the
caller keeps the last good one), an unknown key is only a warning with the nearest known key. Example and reference are
made from the model, so that they cannot lag behind it.
"""

from __future__ import annotations

import difflib
import textwrap
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from bot.domain.model import Problem, Role
from bot.domain.policy_model import Policy, policy_hash
from bot.domain.yaml_source import Fault, Path, Value, YamlText, complaint, read_yaml

POLICY_PATH: Final = ".tgs/policy.yml"
MAX_POLICY_CHARS: Final = 65_536
"""Characters of the file; the commented example has about 5,000."""

COMMENT_WIDTH: Final = 110
"""Characters of a comment line in the example, so that it reads well beside a diff."""

CODE_INVALID: Final = "policy_invalid"
CODE_UNKNOWN_KEY: Final = "policy_unknown_key"


@dataclass(frozen=True, slots=True)
class PolicyResult:
    """What a policy file means. `policy` None: it cannot be used, see `errors`. `warnings` never prevent its use."""

    policy: Policy | None
    errors: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()

    @property
    def problems(self) -> tuple[Problem, ...]:
        return self.errors + self.warnings


REMEMBERED: Final = 512
"""Policy files whose meaning is remembered: most looks see one of them, and reading one takes milliseconds."""


@lru_cache(maxsize=REMEMBERED)
def parse_policy(text: str) -> PolicyResult:
    """Reads a policy file. An empty file means all defaults."""
    source = read_yaml(text, max_chars=MAX_POLICY_CHARS)
    if not isinstance(source, YamlText):
        return PolicyResult(None, tuple(_invalid(fault) for fault in source))
    if source.value is None:
        return PolicyResult(Policy())
    if not isinstance(source.value, Mapping):
        return PolicyResult(None, (_invalid(source.fault((), "must be a map of settings, such as `max_parallel: 1`")),))
    warnings: list[Problem] = []
    known = _known(source.value, Policy, (), source, warnings)
    try:
        policy = Policy.model_validate(known)
    except ValidationError as error:
        faults = {
            _describe(source, detail["loc"], complaint(detail["type"], detail["msg"]), detail["input"])
            for detail in error.errors()
        }
        errors = tuple(_invalid(fault) for fault in sorted(faults, key=lambda f: (f.line, f.column, f.message)))
        return PolicyResult(None, errors, tuple(warnings))
    return PolicyResult(policy, (), tuple(warnings))


def _known(
    raw: Mapping[str, Value], model: type[BaseModel], path: Path, source: YamlText, warnings: list[Problem]
) -> dict[str, object]:
    """The settings that the model knows; the others become warnings. An empty section means its defaults."""
    result: dict[str, object] = {}
    for key, value in raw.items():
        here = (*path, key)
        field = model.model_fields.get(key)
        if field is None:
            warnings.append(_unknown(source, here, list(model.model_fields)))
            continue
        section = _section(field)
        if section is None:
            result[key] = value
        elif isinstance(value, Mapping):
            result[key] = _known(value, section, here, source, warnings)
        elif value is not None:
            result[key] = value
    return result


def _section(field: FieldInfo) -> type[BaseModel] | None:
    annotation = field.annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _unknown(source: YamlText, path: Path, known: list[str]) -> Problem:
    line, column = source.position(path)
    key = str(path[-1])[:60]
    near = difflib.get_close_matches(key, known, n=1)
    remedy = f"Did you mean `{near[0]}`?" if near else f"Known here: {', '.join(f'`{name}`' for name in known)}."
    return Problem(CODE_UNKNOWN_KEY, f"`{POLICY_PATH}`, line {line}, column {column}: unknown setting `{key}`.", remedy)


def _describe(source: YamlText, location: tuple[int | str, ...], message: str, value: object) -> Fault:
    path: Path = location
    while path and path not in source.positions:
        path = path[:-1]
    name = ".".join(str(part) for part in path) or "the file"
    shown = repr(value) if isinstance(value, str | int | float) or value is None else type(value).__name__
    return source.fault(path, f"`{name}`: {message} (found {shown[:60]})")


def _invalid(fault: Fault) -> Problem:
    where = f", {fault.where}" if fault.line else ""
    return Problem(
        CODE_INVALID,
        f"`{POLICY_PATH}`{where}: {fault.message}.",
        "Correct it on the default branch; until then the last good version stays in force.",
    )


# --- example and reference, made from the model


def _rows(
    model: type[BaseModel], defaults: BaseModel, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], FieldInfo, object]]:
    for name, field in model.model_fields.items():
        value = getattr(defaults, name)
        here = (*path, name)
        yield here, field, value
        if isinstance(value, BaseModel):
            yield from _rows(type(value), value, here)


def _doc(model: BaseModel) -> str:
    return (model.__doc__ or "").strip()


def example_policy() -> str:
    """The commented policy file that set-up writes: every setting with its default value."""
    lines = [
        "# Settings of the TGS bot for this repository. Read from the default branch.",
        "# Every line shows the default; remove what you do not change.",
    ]
    for path, field, value in _rows(Policy, Policy()):
        indent = "  " * (len(path) - 1)
        if isinstance(value, BaseModel):
            lines += [*([""] if len(path) == 1 else []), f"{indent}# {_doc(value)}", f"{indent}{path[-1]}:"]
            continue
        if len(path) == 1:
            lines.append("")
        lines += textwrap.wrap(
            field.description or "", COMMENT_WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# "
        )
        lines.append(f"{indent}{path[-1]}: {_yaml_value(value)}")
    return "\n".join(lines) + "\n"


def _yaml_value(value: object) -> str:
    plain = _plain(value)
    if plain is None:
        return "null"
    return str(yaml.safe_dump(plain, default_flow_style=True, width=1000)).removesuffix("\n").removesuffix("\n...")


def _plain(value: object) -> object:
    if isinstance(value, Role):
        return value.name.lower()
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    if isinstance(value, str):
        return str(value)
    return value


def policy_reference() -> str:
    """The reference page of the policy file, Markdown."""
    lines = [
        "# Policy file",
        "",
        "<!-- Generated by scripts/generate_docs.py from the policy model; change the model instead. -->",
        "",
        f"The bot reads `{POLICY_PATH}` from the default branch. Unknown settings are reported with the nearest known",
        "name and otherwise ignored. A file with an error is reported once, with line and column, and the last good",
        "version stays in force. Without the file, labelled issues work and thoughts are not turned into issues.",
        "",
        "| Setting | Default | Values | Meaning |",
        "|---|---|---|---|",
    ]
    for path, field, value in _rows(Policy, Policy()):
        name = ".".join(path)
        if isinstance(value, BaseModel):
            lines.append(f"| **`{name}`** | | section | {_doc(value)} |")
        else:
            lines.append(f"| `{name}` | `{_yaml_value(value)}` | {_values(field)} | {field.description} |")
    lines += ["", "## Example", "", "```yaml", example_policy().rstrip("\n"), "```", ""]
    return "\n".join(lines)


def _values(field: FieldInfo) -> str:
    kind = _kind(field.annotation)
    limits = {
        name: getattr(part, name) for part in field.metadata for name in ("gt", "ge", "lt", "le") if hasattr(part, name)
    }
    low = f"{limits['ge']}" if "ge" in limits else (f"above {limits['gt']}" if "gt" in limits else "")
    high = f"{limits['le']}" if "le" in limits else ""
    if low and high:
        return f"{kind}, {low} to {high}"
    return kind


def _kind(annotation: object) -> str:
    origin = get_origin(annotation)
    if origin is tuple:
        return "list of texts"
    if origin in (Union, types.UnionType):
        return " or ".join(_kind(part) for part in get_args(annotation) if part is not type(None))
    names = {bool: "true or false", int: "whole number", float: "number", str: "text"}
    if isinstance(annotation, type):
        if annotation in names:
            return names[annotation]
        if annotation.__name__ == "Role":
            return "role"
        return "one of the named values"
    return "text"


__all__ = [
    "CODE_INVALID",
    "CODE_UNKNOWN_KEY",
    "MAX_POLICY_CHARS",
    "POLICY_PATH",
    "Policy",
    "PolicyResult",
    "example_policy",
    "parse_policy",
    "policy_hash",
    "policy_reference",
]
