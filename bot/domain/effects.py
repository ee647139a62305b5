"""What a decision wants done, as values. `bot/apply.py` executes them in the order of this file.

The order is for the reader of the issue's time line: first the ledger (so that everything later is known to be
meant), then acts in the world, then labels and the status comment, then words that notify somebody.

Every effect of an attempt names its fence; `apply` checks it against the ledger before acting. Acts that must
happen at most once have an idempotency key (`once`) under which they are written ahead.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from bot.domain.attempt import Attempt
from bot.domain.claim_record import ClaimRef
from bot.domain.facts import CiFacts
from bot.domain.incidents import Sighting
from bot.domain.locks import Lock
from bot.domain.model import AttemptId, IssueKey, Item, ItemState, Key, Waiting
from bot.domain.notes import Note
from bot.domain.questions import Question, Steer
from bot.domain.repository import RepoRecord


@dataclass(frozen=True, slots=True)
class HistoryLine:
    """One line of the append-only history: kind, who, why, and the states before and after."""

    kind: str
    actor: str
    cause: str
    from_state: ItemState | None = None
    to_state: ItemState | None = None
    attempt: AttemptId | None = None
    fence: int | None = None


@dataclass(frozen=True, slots=True)
class Save:
    """The ledger after this decision, written in one transaction and refused whole when anything is stale.

    `opened` is an external attempt that begins with it and takes `take_locks`. `questions` are (before, after), the
    first None for a new one; `steers` are new words to the agent, `told_steers` those whose authors know of their end.
    """

    item_before: Item | None = None
    item_after: Item | None = None
    attempt_before: Attempt | None = None
    attempt_after: Attempt | None = None
    opened: Attempt | None = None
    take_locks: tuple[Lock, ...] = ()
    repo_before: RepoRecord | None = None
    repo_after: RepoRecord | None = None
    history: tuple[HistoryLine, ...] = ()
    settled: tuple[tuple[str, str, Note | None], ...] = ()
    retried: tuple[str, ...] = ()
    replied: tuple[int, ...] = ()
    free_locks: bool = False
    wake: tuple[Key, ...] = ()
    words: tuple[Say, ...] = ()
    questions: tuple[tuple[Question | None, Question], ...] = ()
    sighted: tuple[Sighting, ...] = ()
    steers: tuple[Steer, ...] = ()
    told_steers: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        return (
            self.item_before == self.item_after
            and self.attempt_before == self.attempt_after
            and self.opened is None
            and self.repo_before == self.repo_after
            and not self.history
            and not self.settled
            and not self.retried
            and not self.free_locks
            and not self.wake
            and not self.questions
            and not self.steers
            and not self.told_steers
        )


# --- acts -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PublishClaim:
    """Claim step between deployments: make the claim ref, or put it in the place of `known`, an older one of ours."""

    key: IssueKey
    attempt: AttemptId
    fence: int
    known: ClaimRef | None = None


@dataclass(frozen=True, slots=True)
class ReleaseClaim:
    """Delete the claim ref of an attempt that has ended, if it is still that attempt's."""

    key: IssueKey
    attempt: AttemptId


@dataclass(frozen=True, slots=True)
class TakeReadyLabel:
    """Claim step: delete the ready label; not there means: look who removed it before going on."""

    key: IssueKey
    attempt: AttemptId
    fence: int


PUBLISH_ONLY = ("publish_only", "true")
"""The input of a run that judges and pushes what a pull worker handed in, and starts no agent."""


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Claim step: start the run. Written ahead; found again by its run name."""

    key: IssueKey
    attempt: AttemptId
    fence: int
    workflow: str
    ref: str
    inputs: tuple[tuple[str, str], ...]

    @property
    def once(self) -> str:
        return f"dispatch:{self.attempt}"

    @property
    def publishes(self) -> bool:
        """Whether the run only publishes what is done already."""
        return PUBLISH_ONLY in self.inputs


@dataclass(frozen=True, slots=True)
class CancelRun:
    """Ask GitHub to end a run; repeated until the run is seen to have ended."""

    key: IssueKey
    attempt: AttemptId
    run_id: int
    force: bool


@dataclass(frozen=True, slots=True)
class RevokeToken:
    """End the life of the write token of an attempt, if this process still holds it."""

    attempt: AttemptId


@dataclass(frozen=True, slots=True)
class OpenPull:
    """Open the draft pull request for exactly the SHA that was published under the fence."""

    key: IssueKey
    attempt: AttemptId
    fence: int
    branch: str
    base: str
    head_sha: str

    @property
    def once(self) -> str:
        return f"pull:{self.attempt}"


@dataclass(frozen=True, slots=True)
class MergePull:
    """Merge with the expected head; GitHub refuses when it moved."""

    key: IssueKey
    number: int
    expected_head: str
    method: str
    intent: str | None
    comment_id: int | None = None

    @property
    def once(self) -> str:
        return f"merge:{self.key}:{self.number}:{self.expected_head}"


@dataclass(frozen=True, slots=True)
class CloseIssue:
    """Close the issue of an item that is done, when the merge did not close it."""

    key: IssueKey
    reason: str


# --- labels, status, words --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Show:
    """The visible state: labels to add and remove, the assignee, clean-up that shows. Sent in one request."""

    key: IssueKey
    add_labels: tuple[str, ...] = ()
    remove_labels: tuple[str, ...] = ()
    assign: str | None = None
    unassign: str | None = None
    ready_pull_node: str | None = None
    delete_branch: tuple[str, str] | None = None
    state_label: str | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """The status comment is wanted as the ledger now says. `urgent`: the state changed, do not coalesce."""

    key: IssueKey
    urgent: bool
    ci: CiFacts | None = None
    reasons: tuple[Waiting, ...] = ()


@dataclass(frozen=True, slots=True)
class Say:
    """A new comment: only when a person must act or was promised an answer. `topic` makes it happen once."""

    key: IssueKey
    topic: str
    note: Note

    @property
    def once(self) -> str:
        return f"say:{self.key}:{self.topic}"


@dataclass(frozen=True, slots=True)
class React:
    """A reaction on a command's comment; GitHub makes repeating it harmless.

    `alone`: it is the whole answer, so the command stays open until it is there.
    """

    key: IssueKey
    comment_id: int
    content: str
    alone: bool = False


Act = (
    PublishClaim
    | ReleaseClaim
    | TakeReadyLabel
    | Dispatch
    | CancelRun
    | RevokeToken
    | OpenPull
    | MergePull
    | CloseIssue
)
Visible = Show | Status
Words = Say | React
Effect = Act | Visible | Words


@dataclass(frozen=True, slots=True)
class Decision:
    """What to write, what to do, when to look again, and why."""

    save: Save = field(default_factory=Save)
    effects: tuple[Effect, ...] = ()
    wake_at: datetime | None = None
