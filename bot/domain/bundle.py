"""The context bundle: everything a worker is told about one attempt, as it travels from the bot to the worker.

Promise: a frozen description without any credential, so that it may be written to a file that the agent reads.
Every free text in it is data that people wrote, never an instruction of ours. Fields a newer server adds are ignored;
a missing or malformed one is a validation error that names its path. `bundle_schema()` is the JSON schema of the wire
form. Pure.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

DEFAULT_MAX_FILES: Final = 300  # more changed files than that cannot be reviewed by a person
DEFAULT_MAX_BYTES: Final = 20_000_000  # of all new objects, inflated
DEFAULT_MAX_COMMITS: Final = 100  # an attempt that needs more has lost its way
DEFAULT_HEARTBEAT_SECONDS: Final = 60.0  # a tenth of the lease, so that nine may get lost
MAX_BUNDLE_RATIO: Final = 1.1  # a pack is smaller than what it inflates to; the rest is its header
HEADER_ALLOWANCE: Final = 100_000  # bytes

Sha = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
# What both git and a shell take without quoting; refs made by the bot never need more.
Branch = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$", max_length=200)]
# A folder inside the repository: relative, no `..`, nothing a shell or another file system reads differently.
Folder = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$", max_length=300)
]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ThoughtPart(_Part):
    """The thought's folder and its files at the pinned commit."""

    dir: Folder
    plan_path: str
    research_path: str
    plan_sha: str


class RepositoryPart(_Part):
    """Where the work belongs. `clone_url` carries no credential."""

    full_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$")]
    clone_url: str
    default_branch: str
    private: bool = False


class SpecPart(_Part):
    """The effective wishes for the item, already limited by policy. `budget_usd` bounds this attempt."""

    type: str = "feature"
    locks: tuple[str, ...] = ()
    depends_on: tuple[int, ...] = ()
    acceptance: tuple[str, ...] = ()
    automerge: bool = False
    model: str | None = None
    agent: str | None = None
    base_branch: str | None = None
    max_attempts: int | None = None
    budget_usd: float | None = None
    needs: tuple[str, ...] = ()


class AgentPart(_Part):
    """Which agent works, and its bounds. `timeout_minutes` counts from the start of the agent job.

    `fallbacks` are models for when the first one is overloaded; `tools` is what it may use.
    """

    adapter: str = "command"
    command: tuple[str, ...] = ()
    model: str | None = None
    fallbacks: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    max_turns: int | None = None
    timeout_minutes: Annotated[float, Field(gt=0)] = 330


class OpinionPart(_Part):
    """The second look at the result: at which changes, and its bounds. `always`: the plan asks for it whatever changes.

    `budget_usd` bounds it beside what is left of the attempt's own. `model` None: that of the attempt.
    """

    paths: tuple[str, ...] = ()
    always: bool = False
    model: str | None = None
    command: tuple[str, ...] = ()
    max_turns: Annotated[int, Field(gt=0)] = 30
    budget_usd: Annotated[float, Field(gt=0)] = 1.0


class PreviousFailure(_Part):
    """Why an earlier attempt of the same item ended."""

    number: int
    reason: str
    detail: str = ""


class Answer(_Part):
    """A question an earlier attempt asked, and what the people answered."""

    question: str
    answer: str


class ResumePart(_Part):
    """The conversation of an earlier attempt to go on with: the agent's own id of it, and what the bot keeps.

    `answers` are by the id that the agent gave its question: labels of choices, or words. What is fetched must have
    these SHA-256 sums (hexadecimal); `work` is a bundle of the commits made so far, if there are any.
    """

    session_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]
    transcript_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    transcript_bytes: Annotated[int, Field(ge=0)] = 0
    work_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    answers: dict[str, tuple[str, ...]] = Field(default_factory=dict)


class Limits(_Part):
    """What one attempt may add. Bytes are those of all new objects, inflated."""

    max_files: Annotated[int, Field(gt=0)] = DEFAULT_MAX_FILES
    max_bytes: Annotated[int, Field(gt=0)] = DEFAULT_MAX_BYTES
    max_commits: Annotated[int, Field(gt=0)] = DEFAULT_MAX_COMMITS


class LeasePart(_Part):
    """How often the worker must be heard, in seconds. `hears`: the bot wants to know which words the agent has."""

    heartbeat_seconds: Annotated[float, Field(gt=0)] = DEFAULT_HEARTBEAT_SECONDS
    hears: bool = False


class Identity(_Part):
    """Who the published commits are by: the bot's user."""

    name: Annotated[str, Field(pattern=r"^[^<>\x00-\x1f]+$", max_length=100)] = "tgs-bot"
    email: Annotated[str, Field(pattern=r"^[^<>\s\x00-\x1f]+$", max_length=200)] = "tgs-bot@users.noreply.github.com"


class ContextBundle(_Part):
    """One attempt as the worker sees it.

    `existing_branch_sha` is what an earlier attempt published, to stand on. `replaced_branch_sha` is what the branch
    holds when the attempt starts afresh from the base instead: the push replaces exactly that.
    """

    attempt: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    number: Annotated[int, Field(ge=1)]
    fence: Annotated[int, Field(ge=0)]
    issue: Annotated[int, Field(ge=1)]
    title: str
    body: str = ""
    thought: ThoughtPart | None = None
    repository: RepositoryPart
    base_sha: Sha
    branch: Branch
    existing_branch_sha: Sha | None = None
    replaced_branch_sha: Sha | None = None
    spec: SpecPart = SpecPart()
    acceptance: tuple[str, ...] = ()
    agent: AgentPart = AgentPart()
    opinion: OpinionPart | None = None
    related_docs: tuple[str, ...] = ()
    previous_failures: tuple[PreviousFailure, ...] = ()
    answers: tuple[Answer, ...] = ()
    resume: ResumePart | None = None
    notes: str | None = None
    limits: Limits = Limits()
    protected_paths: tuple[str, ...] = ()
    lease: LeasePart = LeasePart()
    allow_unisolated: bool = False
    identity: Identity = Identity()
    commands: dict[str, str] = Field(default_factory=dict)

    @property
    def start_sha(self) -> str:
        """The commit the new work stands on: the branch of an earlier attempt if there is one, else the base."""
        return self.existing_branch_sha or self.base_sha

    @property
    def expected_branch_sha(self) -> str | None:
        """What the branch must hold when the result is pushed; None when it must not exist."""
        return self.existing_branch_sha or self.replaced_branch_sha

    @property
    def label(self) -> str:
        """A short safe name for logs: the thought's folder name, else `issue-<n>`."""
        return self.thought.dir.rsplit("/", 1)[-1] if self.thought else f"issue-{self.issue}"


def bundle_cap(max_bytes: int) -> int:
    """How many bytes a bundle file may have when its contents may have `max_bytes`."""
    return int(max_bytes * MAX_BUNDLE_RATIO) + HEADER_ALLOWANCE


def bundle_schema() -> dict[str, Any]:
    """The JSON schema of the wire form, as published in the reference."""
    return ContextBundle.model_json_schema()
