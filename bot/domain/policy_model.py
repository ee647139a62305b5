"""The repository's policy as a frozen model: every setting with its default, limits, unit and meaning.

Promise: the model is the one description of the file; the parser, the commented example, the reference page and the
hash are made from it. A value that passes the model is safe to use as it stands. `Policy()` is what an empty file
means; a repository without a file has `Policy.default()`, in which mirroring is off.
"""

from __future__ import annotations

import hashlib
import json
import re
from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from bot.domain.locks import MAX_LOCKS, InvalidLock, parse_lock
from bot.domain.model import Role

HARD_MAX_PARALLEL: Final = 25
"""Attempts at once in one repository; more was never tested."""
MAX_LOGIN_LENGTH: Final = 39
"""Characters; GitHub's limit for account names."""
DEFAULT_TOOLS: Final = ("Bash", "Edit", "Glob", "Grep", "NotebookEdit", "Read", "Task", "TodoWrite", "Write")
"""What work on code needs. Nothing that reaches the web by itself, and nothing that works on after the end."""


def _role(value: object) -> object:
    if isinstance(value, str):
        try:
            return Role[value.upper()]
        except KeyError:
            raise ValueError("must be one of read, triage, write, maintain, admin") from None
    return value


def _at_least(lowest: Role) -> AfterValidator:
    def check(role: Role) -> Role:
        if role < lowest:
            raise ValueError(f"must be {lowest.name.lower()} or higher")
        return role

    return AfterValidator(check)


def _lock(text: str) -> str:
    try:
        return str(parse_lock(text))
    except InvalidLock as error:
        raise ValueError(str(error)) from None


def _name(text: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*", text) is None:
        raise ValueError("must be a plain name of letters, digits and . _ : / @ -")
    return text


def _tool(text: str) -> str:
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*(\([^()\x00-\x1f]+\))?", text) is None:
        raise ValueError("must be the name of a tool, with at most one rule in parentheses")
    return text


def _login(text: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9-]*)", text) is None:
        raise ValueError("must be `approver`, `none` or an account name")
    return text


def _branch(text: str) -> str:
    bad = ".." in text or "//" in text or "/." in text or text.endswith(("/", ".")) or ".lock" in text
    if bad or re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._/-]*", text) is None:
        raise ValueError("is not a safe branch name: letters, digits and . _ / - without `..`, `//` or `.lock`")
    return text


def _template(text: str) -> str:
    if text.count("{issue}") != 1 or text.count("{slug}") > 1:
        raise ValueError("must contain {issue} once, so that every branch names its issue, and {slug} at most once")
    _branch(text.replace("{issue}", "1").replace("{slug}", "a"))
    return text


_ROLE_NAME = PlainSerializer(lambda role: role.name.lower(), return_type=str)
_AS_ROLE = BeforeValidator(_role)

AnyRole = Annotated[Role, _AS_ROLE, _ROLE_NAME, _at_least(Role.READ)]
TriageRole = Annotated[Role, _AS_ROLE, _ROLE_NAME, _at_least(Role.TRIAGE)]
# Merging changes the default branch; the bot must not lend that power to people whom GitHub does not give it.
WriteRole = Annotated[Role, _AS_ROLE, _ROLE_NAME, _at_least(Role.WRITE)]
PathPattern = Annotated[str, AfterValidator(_lock)]
Usd = Annotated[float, Field(gt=0, le=10_000, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_name)]
BranchName = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_branch)]
ToolName = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_tool)]
Login = Annotated[str, Field(max_length=MAX_LOGIN_LENGTH), AfterValidator(_login)]
Template = Annotated[str, Field(max_length=100), AfterValidator(_template)]


class CiTrust(StrEnum):
    """Whether a pushed branch may start workflows that can read secrets without a person's look at the diff."""

    ASK = "ask"
    OUTSIDERS = "outsiders"
    AUTO = "auto"


class WorkSource(StrEnum):
    """Who works on the items of a repository."""

    ACTIONS = "actions"
    PULL = "pull"
    PULL_FIRST = "pull_first"


class MergeMethod(StrEnum):
    SQUASH = "squash"
    MERGE = "merge"
    REBASE = "rebase"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Roles(_Section):
    """The lowest role for each kind of command: read, triage, write, maintain or admin."""

    start: TriageRole = Field(Role.WRITE, description="Start work: `tgs:ready`, `start`, `retry`, `pause`, `resume`.")
    hold: TriageRole = Field(
        Role.TRIAGE, description="Hold an item or let it go: `tgs:hold`, `hold`, `unhold`, `sync`."
    )
    stop: TriageRole = Field(Role.TRIAGE, description="Stop an attempt: `stop`.")
    prioritise: TriageRole = Field(Role.TRIAGE, description="Change the order of the queue: `priority`.")
    merge: WriteRole = Field(Role.WRITE, description="Merge a pull request of the bot: `merge`. At least write.")
    approve: TriageRole = Field(
        Role.WRITE, description="Approve or reject a plan: `approve`, `reject`, `APPROVE plan`."
    )
    answer: AnyRole = Field(Role.WRITE, description="Answer a question of the agent. May be as low as read.")


class Mirror(_Section):
    """How thoughts (folders with a committed plan) become issues."""

    enabled: bool = Field(True, description="Turn thoughts on the default branch into issues.")
    auto_ready: bool = Field(
        False,
        description="New issues are `tgs:ready` at once; otherwise `tgs:proposed`, for a maintainer to label.",
    )
    max_backlog: int = Field(
        50, ge=0, le=1000, description="Open issues of thoughts at most; further ones are only listed."
    )
    per_hour: int = Field(30, ge=1, le=200, description="Issues created per hour at most.")


class Budgets(_Section):
    """Ceilings of cost, in US dollars, and of runs."""

    per_attempt: Usd = Field(5.0, description="US dollars for one attempt.")
    per_item: Usd = Field(15.0, description="US dollars for all attempts of one item.")
    per_day: Usd = Field(25.0, description="US dollars for the repository in one day (UTC).")
    dispatches_per_day: int = Field(
        50, ge=1, le=1000, description="Runs started in one day (UTC); one is kept for each pull worker at work."
    )


class Session(_Section):
    """Sessions of people and pull workers. Runs of Actions are bound by `agent.timeout_minutes` instead."""

    idle_max: int = Field(
        30, ge=1, le=1440, description="Minutes without a sign of life after which a session ends and its item is free."
    )
    age_max: int = Field(
        60, ge=1, le=10080, description="Minutes after which a session gets nothing new; work that is alive goes on."
    )


class Questions(_Section):
    """Questions that the agent asks people."""

    max_rounds: int = Field(10, ge=0, le=100, description="How often one item may ask before it is given up.")
    inline_wait: int = Field(
        60, ge=0, le=60, description="Seconds that a pull worker waits for an answer before it hands the item back."
    )


class Agent(_Section):
    """The agent that does the work."""

    adapter: Name = Field(
        "claude-code",
        description="How the agent is run: `claude-code`, `command`, `scripted`, or a script `tgs/adapters/<name>.sh`.",
    )
    command: tuple[Annotated[str, Field(min_length=1, max_length=1000)], ...] = Field(
        (), max_length=50, description="Program and arguments for the adapter `command`."
    )
    model: Name | None = Field(None, description="Model; empty: the adapter's own default.")
    models: tuple[Name, ...] = Field((), max_length=20, description="Further models that a plan may ask for.")
    adapters: tuple[Name, ...] = Field((), max_length=10, description="Further adapters that a plan may ask for.")
    fallbacks: tuple[Name, ...] = Field(
        (), max_length=5, description="Models to use, in this order, while the first one is overloaded."
    )
    tools: tuple[ToolName, ...] = Field(
        DEFAULT_TOOLS,
        max_length=50,
        description="What `claude-code` may use without asking; everything else is denied. A rule may follow a name: "
        "`Bash(npm test *)`.",
    )
    max_turns: int = Field(100, ge=1, le=1000, description="Turns of the agent in one attempt.")
    timeout_minutes: int = Field(330, ge=5, le=350, description="Minutes from start to end of one attempt.")


class SecondOpinion(_Section):
    """A second look of the agent program, without memory of the work, at results that touch certain paths."""

    paths: tuple[PathPattern, ...] = Field(
        (), max_length=100, description="Paths whose change gets a second look. Example: `src/payments/`."
    )
    model: Name | None = Field(None, description="Model of the second look; empty: that of the attempt.")
    budget: Usd = Field(
        1.0, description="US dollars for one second look at most, out of what the attempt itself may cost."
    )
    max_turns: int = Field(30, ge=1, le=1000, description="Turns of the agent in one second look.")
    command: tuple[Annotated[str, Field(min_length=1, max_length=1000)], ...] = Field(
        (), max_length=50, description="Program and arguments of the second look for the adapter `command` and scripts."
    )


class Qa(_Section):
    """What is looked at before people review it. It refuses nothing and approves nothing."""

    second_opinion: SecondOpinion = Field(default_factory=SecondOpinion)


class Merge(_Section):
    """How pull requests of the bot are merged."""

    method: MergeMethod = Field(MergeMethod.SQUASH, strict=False, description="`squash`, `merge` or `rebase`.")
    automerge: bool = Field(
        False, description="Items may ask to be merged without `/tgs merge`. Without an effect yet."
    )


class Policy(_Section):
    """Settings of one repository. The file is `.tgs/policy.yml` on the default branch."""

    enabled: bool = Field(True, description="Switch: false stops the bot in this repository.")
    roles: Roles = Field(default_factory=Roles)
    mirror: Mirror = Field(default_factory=Mirror)
    max_parallel: int = Field(
        1, ge=1, le=HARD_MAX_PARALLEL, description="Attempts at the same time. Above 1, give items locks."
    )
    max_unreviewed_prs: int = Field(
        3,
        ge=1,
        le=100,
        description="Pull requests of the bot that are open or being made; at this number nothing new is started.",
    )
    assignee: Login = Field(
        "approver", description="Who is assigned while the bot works: `approver`, `none` or an account name."
    )
    claim_refs: bool = Field(
        False, description="Guard claims by git references; for several deployments on one repository."
    )
    require_approval: bool = Field(
        False,
        description="Nothing runs for an item before somebody gives `/tgs approve` for it, whoever put it into the "
        "queue. Sessions of people are not held up.",
    )
    ci_trust: CiTrust = Field(
        CiTrust.OUTSIDERS,
        strict=False,
        description="When a person must look at the diff before it is pushed, if workflows can read secrets: "
        "`ask` always, `outsiders` when text of outsiders was used, `auto` never.",
    )
    budgets: Budgets = Field(default_factory=Budgets)
    workers: WorkSource = Field(
        WorkSource.ACTIONS,
        strict=False,
        description="Who works: `actions` runs, `pull` workers that ask for items, or `pull_first`: an item is kept "
        "for a minute for a pull worker that is free, then goes to Actions. People may always claim items themselves.",
    )
    session: Session = Field(default_factory=Session)
    questions: Questions = Field(default_factory=Questions)
    attempts: int = Field(3, ge=1, le=20, description="Attempts of one item before it is given up.")
    agent: Agent = Field(default_factory=Agent)
    qa: Qa = Field(default_factory=Qa)
    allow_unisolated: bool = Field(False, description="Accept workers that cannot run the agent as another user.")
    self_hosted_runners: bool = Field(False, description="Accept runs on self-hosted runners.")
    locks: tuple[PathPattern, ...] = Field(
        (), max_length=MAX_LOCKS, description="Paths that an item locks when it names none itself. Example: `src/`."
    )
    keep_locks: bool = Field(False, description="Keep an item's locks while a question of its agent is open.")
    base_branches: tuple[BranchName, ...] = Field(
        (), max_length=20, description="Branches other than the default one that a plan may build on."
    )
    branch_template: Template = Field(
        "tgs/{issue}-{slug}", description="Name of the bot's branches. `{issue}` is required, `{slug}` optional."
    )
    merge: Merge = Field(default_factory=Merge)
    bots: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (),
        max_length=20,
        description="Numeric ids of bot accounts that may label and command like people with the role write. Every "
        "other bot is ignored.",
    )
    incidents: bool = Field(
        True, description="Keep one issue for each cause that stops many items, such as a missing credential."
    )
    protected_paths: tuple[PathPattern, ...] = Field(
        (), max_length=100, description="Paths the agent may not change, added to the built-in ones such as `.github/`."
    )

    @classmethod
    def default(cls) -> Self:
        """The policy of a repository without a policy file: labelled issues work, thoughts are not mirrored."""
        return cls(mirror=Mirror(enabled=False))

    @property
    def hash(self) -> str:
        """SHA-256 (hex) of the canonical JSON: equal for files that mean the same."""
        return policy_hash(self)


def policy_hash(policy: Policy) -> str:
    """SHA-256 (hex) of the policy as canonical JSON; comments, order and spelled-out defaults do not matter."""
    canonical = json.dumps(policy.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
