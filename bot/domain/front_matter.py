"""Front matter: the wishes written at the top of a plan, or in an issue's body, and what policy leaves of them.

Promise: readers never raise; every finding names line and column. A plan on the default branch may wish anything the
policy allows; an issue's body, which anybody can write, only type, locks and dependencies, and only from a visible
fenced block (```` ```yaml tgs ````). Nothing ever goes beyond the policy.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Final, Literal, TypeVar

from markdown_it import MarkdownIt
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from bot.domain.labels import PRIORITIES
from bot.domain.locks import MAX_LOCKS, InvalidLock, parse_lock
from bot.domain.model import Problem, WorkSpec
from bot.domain.policy_model import BranchName, Name, Policy, Usd
from bot.domain.yaml_source import Fault, Path, Value, YamlText, complaint, read_yaml

_Number = TypeVar("_Number", int, float)

MAX_FRONT_MATTER: Final = 16_384
"""Characters of the block; two screens of settings."""
MAX_DEPENDENCIES: Final = 50
"""Dependencies of one item; GitHub allows 50 of its own kind too."""

CODE_INVALID: Final = "front_matter_invalid"
CODE_UNKNOWN: Final = "front_matter_unknown_key"
CODE_IGNORED: Final = "front_matter_ignored"
CODE_MISSING: Final = "front_matter_missing_field"
CODE_LIMITED: Final = "front_matter_limited"


class Source(StrEnum):
    """Where front matter was written, which decides what it may say."""

    PLAN = "plan"
    ISSUE = "issue"


def _list(value: object) -> object:
    return (value,) if isinstance(value, str | int) and not isinstance(value, bool) else value


def _priority(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value.lower() not in PRIORITIES:
        raise ValueError("must be high, normal, low or a whole number")
    return PRIORITIES[value.lower()]


def _lock(value: object) -> object:
    if isinstance(value, Mapping) and set(value) <= {"path", "mode"} and isinstance(value.get("path"), str):
        mode = value.get("mode", "write")
        if mode not in ("read", "write"):
            raise ValueError("mode must be read or write")
        value = f"read:{value['path']}" if mode == "read" else value["path"]
    if isinstance(value, str):
        try:
            return str(parse_lock(value))
        except InvalidLock as error:
            raise ValueError(str(error)) from None
    raise ValueError("must be a path")


def _dependency(value: object) -> object:
    if isinstance(value, str) and re.fullmatch(r"#[0-9]{1,9}", value):
        return int(value[1:])
    return value


def _one_line(text: str) -> str:
    if "\n" in text or not text.strip():
        raise ValueError("must be one line")
    return text.strip()


def _command(text: str) -> str:
    try:
        shlex.split(text, comments=True)
    except ValueError:
        raise ValueError("is no command of a shell: a quote is not closed, or it ends in a backslash") from None
    return text


def _usd(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


class Budget(BaseModel):
    """Cost ceilings of one item."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    usd: Annotated[Usd, BeforeValidator(_usd)] | None = None
    tokens: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None


class Qa(BaseModel):
    """Whether the result gets a second opinion whatever it changes. `strict` is read and has no effect."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    required: bool = False
    strict: bool = False


def _budget(value: object) -> object:
    return {"usd": value} if isinstance(value, int | float) and not isinstance(value, bool) else _section(value)


def _section(value: object) -> object:
    # The reader gives read-only maps; pydantic wants plain ones.
    return dict(value) if isinstance(value, Mapping) else value


class FrontMatter(BaseModel):
    """Every key that is read. All are optional; None or empty means: not said."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: Annotated[str, BeforeValidator(lambda v: str(v) if isinstance(v, int) else v), Field(max_length=100)] | None = (
        None
    )
    title: Annotated[str, Field(max_length=256), AfterValidator(_one_line)] | None = None
    type: Literal["feature", "bugfix", "test", "docs"] | None = None
    priority: Annotated[int, BeforeValidator(_priority), Field(ge=-1000, le=1000)] | None = None
    locks: Annotated[
        tuple[Annotated[str, BeforeValidator(_lock)], ...], BeforeValidator(_list), Field(max_length=MAX_LOCKS)
    ] = ()
    depends_on: Annotated[
        tuple[Annotated[int, BeforeValidator(_dependency), Field(ge=1, le=999_999_999)], ...],
        BeforeValidator(_list),
        Field(max_length=MAX_DEPENDENCIES),
    ] = ()
    repository: Annotated[str, Field(max_length=140, pattern=r"^[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+$")] | None = (
        None
    )
    base_branch: BranchName | None = None
    branch: BranchName | None = None
    max_attempts: Annotated[int, Field(ge=1, le=20)] | None = None
    needs: Annotated[tuple[Name, ...], BeforeValidator(_list), Field(max_length=10)] = ()
    budget: Annotated[Budget, BeforeValidator(_budget)] | None = None
    model: Name | None = None
    agent: Name | None = None
    qa: Annotated[Qa, BeforeValidator(_section)] | None = None
    automerge: bool = False
    acceptance: Annotated[
        tuple[Annotated[str, Field(max_length=1_000), AfterValidator(_one_line), AfterValidator(_command)], ...],
        BeforeValidator(_list),
        Field(max_length=20),
    ] = ()
    status: Annotated[str, Field(max_length=40)] | None = None
    description: Annotated[str, Field(max_length=4_000)] | None = None

    @property
    def draft(self) -> bool:
        """A draft is not approved, whatever else is committed."""
        return (self.status or "").strip().lower() == "draft"


FROM_ISSUE: Final = frozenset({"type", "locks", "depends_on"})
"""What the body of an issue may say; everything else needs a plan on the default branch, a command or the policy."""


@dataclass(frozen=True, slots=True)
class FrontMatterResult:
    """What was read. `matter` None: the block is unusable (see `errors`). `found` False: there is no block."""

    matter: FrontMatter | None
    found: bool = False
    errors: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    positions: Mapping[str, tuple[int, int]] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def problems(self) -> tuple[Problem, ...]:
        return self.errors + self.warnings


def from_plan(text: str, name: str = "plan.md") -> FrontMatterResult:
    """The leading `---` block of a plan. `name` is the file's path for messages."""
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    if lines[0].rstrip() != "---":
        return FrontMatterResult(FrontMatter())
    end = next((i for i, line in enumerate(lines[1:], 1) if line.rstrip() in ("---", "...")), None)
    if end is None:
        return FrontMatterResult(
            None,
            True,
            (
                _problem(
                    name, Fault(1, 1, "opens a block with `---` that is never closed"), "Add a line `---` after it."
                ),
            ),
        )
    return _read("\n".join(lines[1:end]), 2, name)


def from_issue(body: str) -> FrontMatterResult:
    """The first visible fenced block marked `yaml tgs` of an issue's body. Hidden HTML comments are never read."""
    text = body.replace("\r\n", "\n").replace("\r", "\n")
    if "tgs" not in text or ("```" not in text and "~~~" not in text):
        return FrontMatterResult(FrontMatter())
    for token in MarkdownIt("commonmark").disable("inline").parse(text):
        words = token.info.lower().split()
        if token.type == "fence" and token.level == 0 and words[:2] in (["yaml", "tgs"], ["yml", "tgs"]) and token.map:
            return _read(token.content, token.map[0] + 2, "the issue's text")
    return FrontMatterResult(FrontMatter())


TICKET_REQUIRED: Final = ("id", "title", "type", "description")
"""What a ticket file must say, because there is no issue yet that could say it."""


def from_ticket(text: str, name: str = "ticket.yaml") -> FrontMatterResult:
    """A ticket file: the same keys as a whole YAML file; `TICKET_REQUIRED` must be there."""
    result = _read(text, 1, name)
    if result.matter is None:
        return result
    missing = [key for key in TICKET_REQUIRED if getattr(result.matter, key) is None]
    if not missing:
        return result
    errors = tuple(
        Problem(CODE_MISSING, f"`{name}`, line 1: the field `{key}` is missing.", f"Add a line `{key}: …`.")
        for key in missing
    )
    return replace(result, matter=None, errors=errors)


def _read(text: str, first_line: int, name: str) -> FrontMatterResult:
    source = read_yaml(text, max_chars=MAX_FRONT_MATTER, first_line=first_line)
    if not isinstance(source, YamlText):
        return FrontMatterResult(None, True, tuple(_problem(name, fault) for fault in source))
    if source.value is None:
        return FrontMatterResult(FrontMatter(), True)
    if not isinstance(source.value, Mapping):
        return FrontMatterResult(
            None, True, (_problem(name, source.fault((), "must be a map such as `type: bugfix`")),)
        )
    warnings: list[Problem] = []
    known: dict[str, Value] = {}
    for key, value in source.value.items():
        if key not in FrontMatter.model_fields:
            fault = source.fault((key,), f"unknown key `{key[:60]}`")
            names = ", ".join(f"`{known_key}`" for known_key in FrontMatter.model_fields)
            warnings.append(_problem(name, fault, f"Known keys: {names}.", CODE_UNKNOWN))
        elif value is not None:
            known[key] = value
    positions = MappingProxyType({key: source.position((key,)) for key in known})
    try:
        matter = FrontMatter.model_validate(known)
    except ValidationError as error:
        faults = {_fault(source, detail["loc"], complaint(detail["type"], detail["msg"])) for detail in error.errors()}
        ordered = sorted(faults, key=lambda fault: (fault.line, fault.column, fault.message))
        return FrontMatterResult(None, True, tuple(_problem(name, f) for f in ordered), tuple(warnings), positions)
    return FrontMatterResult(matter, True, (), tuple(warnings), positions)


def _fault(source: YamlText, location: tuple[int | str, ...], message: str) -> Fault:
    path: Path = location
    while path and path not in source.positions:
        path = path[:-1]
    return source.fault(path, f"`{'.'.join(str(part) for part in path)}`: {message}")


def _problem(name: str, fault: Fault, remedy: str = "Correct it there.", code: str = CODE_INVALID) -> Problem:
    where = f", {fault.where}" if fault.line else ""
    return Problem(code, f"`{name}`{where}: {fault.message}.", remedy)


# --- what policy leaves of it


def effective_spec(
    policy: Policy, result: FrontMatterResult, source: Source, full_name: str = ""
) -> tuple[WorkSpec, tuple[Problem, ...]]:
    """The wishes in force for one item, never beyond the policy, and what was ignored or limited and why.

    `full_name` (owner/name) is the repository of the item: a plan that names another one is reported.
    """
    base = WorkSpec(locks=tuple(policy.locks))
    matter = result.matter
    if matter is None:
        return base, result.problems
    limit = _Limiter(result)
    said = matter.model_fields_set
    spec = replace(
        base,
        type=matter.type or base.type,
        locks=matter.locks or base.locks,
        depends_on=tuple(sorted(set(matter.depends_on))),
    )
    if source is Source.ISSUE:
        for key in sorted(said - FROM_ISSUE):
            limit.note(
                CODE_IGNORED, key, "is not read from an issue's text", "A plan, a command or the policy may set it."
            )
        return spec, (*result.problems, *limit.problems)
    if matter.repository and full_name and matter.repository.lower() != full_name.lower():
        limit.note(CODE_IGNORED, "repository", f"names another repository than {full_name}", "Commit the plan there.")
    if matter.branch:
        limit.note(CODE_IGNORED, "branch", "is chosen by the bot from `branch_template`", "Change it in the policy.")
    if matter.qa is not None and matter.qa.strict:
        limit.note(CODE_IGNORED, "qa", "asks that findings stop the result; they never do", "Remove `strict`.")
    spec = replace(
        spec,
        acceptance=matter.acceptance,
        automerge=limit.flag("automerge", matter.automerge, policy.merge.automerge, "merge.automerge"),
        model=limit.choice("model", matter.model, {policy.agent.model, *policy.agent.models}, "agent.models"),
        agent=limit.choice("agent", matter.agent, {policy.agent.adapter, *policy.agent.adapters}, "agent.adapters"),
        base_branch=limit.choice("base_branch", matter.base_branch, set(policy.base_branches), "base_branches"),
        needs=matter.needs,
        second_opinion=matter.qa is not None and matter.qa.required,
        max_attempts=limit.most("max_attempts", matter.max_attempts, policy.attempts, "attempts"),
        budget_usd=limit.most(
            "budget", matter.budget.usd if matter.budget else None, policy.budgets.per_item, "budgets.per_item"
        ),
    )
    return spec, (*result.problems, *limit.problems)


class _Limiter:
    """Collects what a wish was cut down to."""

    def __init__(self, result: FrontMatterResult) -> None:
        self._positions = result.positions
        self.problems: list[Problem] = []

    def note(self, code: str, key: str, why: str, remedy: str) -> None:
        line, column = self._positions.get(key, (0, 0))
        where = f" (line {line}, column {column})" if line else ""
        self.problems.append(Problem(code, f"`{key}`{where} {why}.", remedy))

    def flag(self, key: str, wish: bool, allowed: bool, setting: str) -> bool:
        if wish and not allowed:
            self.note(CODE_LIMITED, key, "is not allowed by the policy", f"Set `{setting}: true` to allow it.")
        return wish and allowed

    def choice(self, key: str, wish: str | None, allowed: set[str] | set[str | None], setting: str) -> str | None:
        if wish is None or wish in allowed:
            return wish
        self.note(CODE_LIMITED, key, f"asks for `{wish}`, which the policy does not list", f"Add it to `{setting}`.")
        return None

    def most(self, key: str, wish: _Number | None, ceiling: _Number, setting: str) -> _Number | None:
        if wish is None or wish <= ceiling:
            return wish
        self.note(CODE_LIMITED, key, f"asks for {wish:g}; the policy allows {ceiling:g}", f"Raise `{setting}`.")
        return ceiling
