"""The one table of `/tgs` commands: words, arguments, who may, help, examples. Parser, help, refusals and the
reference page are made from it.

Promise: a word that is not in the table is no command anywhere. How arguments are read is in `command_args.py`, how
comments are read in `command_parser.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from bot.domain import permissions
from bot.domain.model import Role
from bot.domain.permissions import Capability, Decision, RoleTable

PREFIX: Final = "/tgs"
MAX_TEXT_ARGUMENT: Final = 4_000
"""Characters of a reason or of notes: a screenful; longer explanations belong into the issue."""
MAX_PRIORITY: Final = 1_000
"""Priorities lie between -1000 and 1000, so that no number can jump the queue for ever."""
MAX_PAUSE: Final = timedelta(days=366)
"""A later date is most likely a typing error in the year."""


class Verb(StrEnum):
    START = "start"
    STOP = "stop"
    RETRY = "retry"
    HOLD = "hold"
    UNHOLD = "unhold"
    PAUSE = "pause"
    RESUME = "resume"
    PRIORITY = "priority"
    APPROVE = "approve"
    REJECT = "reject"
    ANSWER = "answer"
    STEER = "steer"
    PUBLISH = "publish"
    MERGE = "merge"
    AUTOMERGE = "automerge"
    REBASE = "rebase"
    REVIEW = "review"
    LOCK = "lock"
    UNLOCK = "unlock"
    DEPENDS = "depends"
    UNDEPENDS = "undepends"
    TAKEOVER = "takeover"
    HANDBACK = "handback"
    BUDGET = "budget"
    UNDO = "undo"
    NEXT = "next"
    WHY = "why"
    STATUS = "status"
    ETA = "eta"
    COST = "cost"
    POLICY = "policy"
    SYNC = "sync"
    HELP = "help"


class Scope(StrEnum):
    """What a command is about: the issue it is written on, or the whole repository."""

    ITEM = "item"
    REPO = "repo"


class Kind(StrEnum):
    """How one argument is read."""

    TEXT = "text"
    PRIORITY = "priority"
    DATE = "date"
    APPROVAL = "approval"
    COMMAND = "command"
    PATH = "path"
    ISSUE = "issue"
    AMOUNT = "amount"
    QUESTION = "question"


@dataclass(frozen=True, slots=True)
class Param:
    """One argument. `keyword` stands before it (`until DATE`); a `TEXT` takes the rest of the line, so it is last."""

    name: str
    kind: Kind
    required: bool = False
    keyword: str = ""


@dataclass(frozen=True, slots=True)
class CommandSpec:
    """One row. `usage` is what follows `/tgs`; `available` False: the word is known, this version cannot do it yet."""

    verb: Verb
    usage: str
    capability: Capability
    scope: Scope
    help: str
    examples: tuple[str, ...]
    params: tuple[Param, ...] = ()
    flags: tuple[str, ...] = ()
    available: bool = True


def _row(
    verb: Verb,
    usage: str,
    capability: Capability,
    help_: str,
    *params: Param,
    scope: Scope = Scope.ITEM,
    flags: tuple[str, ...] = (),
    examples: tuple[str, ...] = (),
    available: bool = True,
) -> CommandSpec:
    return CommandSpec(
        verb,
        f"{verb} {usage}".strip(),
        capability,
        scope,
        help_,
        tuple(f"{PREFIX} {verb} {example}".strip() for example in (examples or ("",))),
        params,
        flags,
        available,
    )


def _later(verb: Verb, usage: str, capability: Capability, help_: str, example: str = "") -> CommandSpec:
    return _row(verb, usage, capability, help_, examples=(example,), available=False)


_V, _C, _REASON = Verb, Capability, Param("reason", Kind.TEXT)

COMMANDS: Final = MappingProxyType(
    {
        spec.verb: spec
        for spec in (
            _row(
                _V.START,
                "[--in-turn]",
                _C.START,
                "Put this issue into the queue, in front of the others; `--in-turn` leaves it its usual place.",
                flags=("--in-turn",),
                examples=("", "--in-turn"),
            ),
            _row(
                _V.STOP,
                "[--now] [reason]",
                _C.STOP,
                "Stop the agent and take the issue out of the queue. `--now` does not wait for it to finish cleanly.",
                _REASON,
                flags=("--now",),
                examples=("", "--now wrong branch"),
            ),
            _row(
                _V.RETRY,
                "[--fresh] [notes]",
                _C.START,
                "Try again after a failure or a stop, counting attempts anew. `--fresh` forgets the earlier work.",
                Param("notes", Kind.TEXT),
                flags=("--fresh",),
                examples=("", "--fresh use the new API instead"),
            ),
            _row(
                _V.HOLD,
                "[reason]",
                _C.HOLD,
                "Keep this issue from being started or merged until `unhold`.",
                _REASON,
                examples=("", "waiting for the design"),
            ),
            _row(_V.UNHOLD, "", _C.HOLD, "Let a held issue go on."),
            _row(
                _V.PAUSE,
                "[until DATE] <reason>",
                _C.START,
                "Pause the repository: no starts, no merges. DATE is `2026-12-01` or `2026-12-01T09:00Z` (UTC).",
                Param("until", Kind.DATE, keyword="until"),
                Param("reason", Kind.TEXT, required=True),
                scope=Scope.REPO,
                examples=("release week", "until 2026-12-01 code freeze"),
            ),
            _row(_V.RESUME, "", _C.START, "End the pause of the repository.", scope=Scope.REPO),
            _row(
                _V.PRIORITY,
                "<n|high|normal|low>",
                _C.PRIORITISE,
                "Set the place in the queue: higher numbers first; high is 100, normal 0, low -100.",
                Param("level", Kind.PRIORITY, required=True),
                examples=("high", "25"),
            ),
            _row(
                _V.APPROVE,
                "[plan|research|<sha>]",
                _C.APPROVE,
                "Approve the plan as it stands, or only if it still is at this commit. "
                "`APPROVE plan` as a whole comment does the same.",
                Param("what", Kind.APPROVAL),
                examples=("", "plan"),
            ),
            _row(
                _V.REJECT,
                "<notes>",
                _C.APPROVE,
                "Send the plan back with notes. `REQUEST CHANGES: <notes>` as a whole comment does the same.",
                Param("notes", Kind.TEXT, required=True),
                examples=("split this into two plans",),
            ),
            _row(
                _V.ANSWER,
                "<id> <text>",
                _C.ANSWER,
                "Answer a question of the agent: its number, then a choice or your own words. A plain comment such as "
                "`2`, or `1: b`, does the same.",
                Param("question", Kind.QUESTION, required=True),
                Param("text", Kind.TEXT, required=True),
                examples=("1 b", "2 use the second option"),
            ),
            _row(
                _V.STEER,
                "<text>",
                _C.START,
                "Tell the running agent something; it hears it within a minute, and the answer says when.",
                Param("text", Kind.TEXT, required=True),
                examples=("keep the old endpoint",),
            ),
            _row(_V.PUBLISH, "", _C.APPROVE, "Push the result that waits for somebody to look at it, as it was shown."),
            _row(_V.MERGE, "", _C.MERGE, "Merge the pull request of this issue once its checks have passed."),
            _later(_V.AUTOMERGE, "on|off", _C.MERGE, "Merge without another command.", "on"),
            _later(_V.REBASE, "", _C.START, "Bring the pull request up to date with its base."),
            _later(_V.REVIEW, "", _C.START, "Ask for an independent review of the pull request."),
            _row(
                _V.LOCK,
                "<path>",
                _C.HOLD,
                "Let this issue have the path for itself while it is worked on; `read:<path>` shares it with readers.",
                Param("path", Kind.PATH, required=True),
                examples=("src/auth/",),
            ),
            _row(
                _V.UNLOCK,
                "<path>",
                _C.HOLD,
                "Work on this issue without that lock.",
                Param("path", Kind.PATH, required=True),
                examples=("src/auth/",),
            ),
            _row(
                _V.DEPENDS,
                "#n",
                _C.HOLD,
                "Start this issue only when the other one is closed as completed.",
                Param("issue", Kind.ISSUE, required=True),
                examples=("#12",),
            ),
            _row(
                _V.UNDEPENDS,
                "#n",
                _C.HOLD,
                "Wait no longer for the other issue.",
                Param("issue", Kind.ISSUE, required=True),
                examples=("#12",),
            ),
            _later(_V.TAKEOVER, "", _C.HOLD, "Work on this issue yourself; the bot stays away."),
            _later(_V.HANDBACK, "", _C.START, "Give the issue back to the bot."),
            _row(
                _V.BUDGET,
                "<amount>",
                _C.START,
                "Change what all attempts of this issue may cost, in US dollars, within the policy.",
                Param("amount", Kind.AMOUNT, required=True),
                examples=("10", "2.50"),
            ),
            _later(_V.UNDO, "", _C.STOP, "Take back the last command."),
            _row(_V.NEXT, "", _C.READ, "Name the issue that comes next.", scope=Scope.REPO),
            _row(_V.WHY, "", _C.READ, "Explain why this issue is or is not moving."),
            _row(_V.STATUS, "", _C.READ, "Show where this issue stands."),
            _later(_V.ETA, "", _C.READ, "Estimate when this issue will be started."),
            _row(_V.COST, "", _C.READ, "Show what this issue has cost; on private repositories only."),
            _row(_V.POLICY, "", _C.READ, "Show the settings in force and where they come from.", scope=Scope.REPO),
            _row(_V.SYNC, "", _C.HOLD, "Look at everything in this repository again.", scope=Scope.REPO),
            _row(
                _V.HELP,
                "[command]",
                _C.READ,
                "List the commands, or explain one.",
                Param("command", Kind.COMMAND),
                scope=Scope.REPO,
                examples=("", "pause"),
            ),
        )
    }
)
"""Every word after `/tgs`, in the order in which help lists them."""

OTHER_WORDS: Final = MappingProxyType(
    {
        "claim": ("start", "takeover"),
        "assign": ("start", "takeover"),
        "mine": ("takeover",),
        "run": ("start",),
        "go": ("start",),
        "work": ("start",),
        "implement": ("start",),
        "queue": ("start",),
        "ready": ("start",),
        "cancel": ("stop",),
        "abort": ("stop",),
        "kill": ("stop",),
        "close": ("stop",),
        "rerun": ("retry",),
        "restart": ("retry",),
        "again": ("retry",),
        "continue": ("unhold", "resume"),
        "release": ("unhold",),
        "unpause": ("resume",),
        "freeze": ("pause",),
        "block": ("hold",),
        "wait": ("hold",),
        "ok": ("approve",),
        "lgtm": ("approve",),
        "accept": ("approve",),
        "refuse": ("reject",),
        "changes": ("reject",),
        "ship": ("merge",),
        "land": ("merge",),
        "explain": ("why",),
        "reason": ("why",),
        "info": ("status",),
        "state": ("status",),
        "progress": ("status",),
        "config": ("policy",),
        "settings": ("policy",),
        "refresh": ("sync",),
        "commands": ("help",),
        "usage": ("help",),
    }
)
"""Words that people try from other tools, with the commands they may mean."""


@dataclass(frozen=True, slots=True)
class Command:
    """One understood command. `args` are canonical tokens, fit for `Intent.args`; `line` and `column` count from 1."""

    verb: Verb
    args: tuple[str, ...] = ()
    line: int = field(default=1, compare=False)
    column: int = field(default=1, compare=False)

    @property
    def spec(self) -> CommandSpec:
        return COMMANDS[self.verb]


def may(verb: Verb, role: Role | None, roles: RoleTable) -> Decision:
    """Whether a person with this role may use this command. None (unreadable) is denied."""
    return permissions.decide(COMMANDS[verb].capability, role, roles)


def available() -> tuple[CommandSpec, ...]:
    """The commands that this version can do, in the order of the table."""
    return tuple(spec for spec in COMMANDS.values() if spec.available)
