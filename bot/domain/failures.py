"""What follows from a failure: two tables, one for attempts that ended badly, one for exceptions of the machinery.

Promise: only a typed reason decides whether work is tried again; failures of infrastructure and exhausted quotas never
use up attempts, and nothing is repeated for ever (`INFRA_CAP`, the attempts of the policy, the daily number of runs).
The caller passes the clock and the jitter. Race: the counters are those of the item before this failure; two deciders
cannot both count it, because the item is saved on its revision.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final, assert_never

from bot import errors
from bot.domain.model import FailureReason, Item
from bot.domain.policy_model import Policy

BACKOFF_BASE: Final = timedelta(seconds=60)
"""First delay: most hiccups of runners and networks are over within a minute."""
BACKOFF_CAP: Final = timedelta(minutes=30)
"""Longest delay: an outage of hours should not make an item wait a day after its end."""
BACKOFF_FLOOR: Final = timedelta(seconds=5)
"""Shortest delay: full jitter may draw zero, and a retry within the same pass would meet the same trouble."""
RESET_CAP: Final = timedelta(days=8)
"""Longest wait for a quota: providers count by the week at most, and a wrong clock must not stop an item for years."""
RESET_LATE: Final = timedelta(minutes=2)
"""A report takes seconds, and the bot may be busy: a reset that passed on the way is one that has come."""
INFRA_CAP: Final = 5
"""Failures of infrastructure in a row before a person is asked: after about an hour it is no hiccup."""

EXTENSIONS: Final = 2
"""Times an agent goes on in a new run after the end of its time: three long runs are more than a reviewer can read."""


class Retrying(StrEnum):
    """Whether the same work is started again without a person."""

    YES = "yes"
    ONCE = "once"
    NEVER = "never"


class Backoff(StrEnum):
    """How the next start is delayed."""

    EXPONENTIAL = "exponential"
    RESET = "reset"
    NONE = "none"


class Owner(StrEnum):
    """Who must act, if anybody."""

    NOBODY = "nobody"
    APPROVER = "approver"
    MAINTAINER = "maintainer"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class FailureRule:
    """What one reason means. `burns`: it uses up an attempt. `infra`: it counts towards `INFRA_CAP`.

    `pauses`: the cause lies in the repository's set-up, so no other item is started either. `fresh`: the next attempt
    begins a new agent session. `remedy` is the key of the text in `bot/texts/failures.py`.
    """

    retry: Retrying
    burns: bool
    infra: bool
    backoff: Backoff
    owner: Owner
    remedy: str
    pauses: bool = False
    fresh: bool = False


def _infra(remedy: str) -> FailureRule:
    return FailureRule(Retrying.YES, False, True, Backoff.EXPONENTIAL, Owner.NOBODY, remedy)


def _quota(owner: Owner) -> FailureRule:
    return FailureRule(Retrying.YES, False, False, Backoff.RESET, owner, "wait")


def _config(remedy: str) -> FailureRule:
    return FailureRule(Retrying.NEVER, False, False, Backoff.NONE, Owner.MAINTAINER, remedy, pauses=True)


def _agent(remedy: str, *, fresh: bool = False) -> FailureRule:
    return FailureRule(Retrying.YES, True, False, Backoff.EXPONENTIAL, Owner.APPROVER, remedy, fresh=fresh)


def _once(remedy: str) -> FailureRule:
    return FailureRule(Retrying.ONCE, True, False, Backoff.EXPONENTIAL, Owner.APPROVER, remedy)


def _person(remedy: str, *, burns: bool = True, owner: Owner = Owner.MAINTAINER) -> FailureRule:
    return FailureRule(Retrying.NEVER, burns, False, Backoff.NONE, owner, remedy)


_R = FailureReason

FAILURES: Final = MappingProxyType(
    {
        _R.INFRA_DISPATCH: _infra("wait"),
        _R.INFRA_RUNNER_LOST: _infra("wait"),
        _R.INFRA_NETWORK: _infra("wait"),
        _R.INFRA_NOT_STARTED: _infra("runners"),
        _R.INFRA_MODEL: _infra("wait"),
        _R.QUOTA_PROVIDER: _quota(Owner.OPERATOR),
        _R.QUOTA_GITHUB: _quota(Owner.NOBODY),
        _R.CONFIG_PERMISSION: _config("permission"),
        _R.CONFIG_WORKFLOW_MISSING: _config("workflow"),
        _R.CONFIG_SECRET_MISSING: _config("secret"),
        _R.CONFIG_ACTOR_BLOCKED: _config("actor"),
        # No look at the repository can tell whether a worker has the agent: asking again by itself would never end.
        _R.CONFIG_AGENT: _person("agent", burns=False),
        _R.AGENT_CRASH: _agent("retry"),
        _R.AGENT_STALLED: _agent("retry"),
        _R.AGENT_TIMEOUT: _agent("smaller"),
        # Another try would meet the same size: only people can cut it.
        _R.AGENT_TOO_LARGE: _person("split", owner=Owner.APPROVER),
        _R.AGENT_ITERATION_LIMIT: _agent("smaller"),
        _R.AGENT_CONTEXT_OVERFLOW: _agent("smaller", fresh=True),
        _R.AGENT_GAVE_UP: _once("clarify"),
        _R.AGENT_EMPTY_OUTPUT: _once("clarify"),
        _R.AGENT_NO_EVIDENCE: _once("clarify"),
        _R.MISSING_ARTIFACT: _once("artifact"),
        _R.QUALITY_CI: _agent("ci"),
        _R.QUALITY_GATE: _agent("gate"),
        _R.QUALITY_ACCEPTANCE: _agent("acceptance"),
        _R.POLICY_DENIED: _person("policy"),
        _R.POLICY_PROTECTED_PATH: _person("protected_path"),
        _R.SECURITY_SECRET_IN_DIFF: _person("secret_in_diff"),
        _R.SECURITY_BUNDLE: _person("bundle"),
        _R.BUDGET_EXCEEDED: _person("budget", burns=False),
        _R.CANCELLED_BY_PERSON: _person("restart", burns=False, owner=Owner.APPROVER),
        _R.CANCELLED_IN_ACTIONS: _person("restart", burns=False, owner=Owner.APPROVER),
        _R.CANCELLED_CLOSED: _person("reopen", burns=False, owner=Owner.APPROVER),
        _R.CANCELLED_WITHDRAWN: _person("relabel", burns=False, owner=Owner.APPROVER),
        _R.CANCELLED_SUPERSEDED: _person("none", burns=False, owner=Owner.NOBODY),
        _R.CONFLICT_MERGE: FailureRule(Retrying.ONCE, False, False, Backoff.NONE, Owner.APPROVER, "conflict"),
        _R.LOST: _agent("retry"),
    }
)
"""One row per reason; nothing else in the product decides what a failure leads to."""


CONTINUES: Final = frozenset({_R.QUOTA_PROVIDER, _R.INFRA_MODEL, _R.AGENT_TIMEOUT})
"""Something outside ended the agent's work: the next attempt goes on with its conversation and what it had begun."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Start again, not before `at` (aware UTC). The counters are the item's new ones.

    `extended`: the agent was interrupted at the end of its time, and goes on where it was.
    """

    at: datetime
    attempts_burnt: int
    infra_failures: int
    fresh: bool = False
    extended: bool = False


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The item fails: no attempt is left, or the same happened before."""

    attempts_burnt: int
    infra_failures: int


@dataclass(frozen=True, slots=True)
class AskPerson:
    """Nothing is started until a person decides. `instead` is the reason that people are told, where it is another."""

    owner: Owner
    attempts_burnt: int
    infra_failures: int
    instead: FailureReason | None = None


@dataclass(frozen=True, slots=True)
class PauseRepo:
    """The repository's set-up is at fault: nothing of it is started until the check before the first claim passes."""

    owner: Owner
    attempts_burnt: int
    infra_failures: int


NextStep = Retry | GiveUp | AskPerson | PauseRepo


def attempts_allowed(item: Item, policy: Policy) -> int:
    """How many attempts this item may use up: the policy's number, or fewer when its plan says so."""
    wished = item.spec.max_attempts
    return policy.attempts if wished is None else max(1, min(wished, policy.attempts))


def backoff(failures: int, jitter: float) -> timedelta:
    """60 s times 2 to the power of the failures before this one, at most 30 min, times `jitter` (0 to 1), at least 5 s.

    Full jitter spreads the items that one outage has stopped. Raises ValueError for a jitter out of range.
    """
    if not 0.0 <= jitter <= 1.0:
        raise ValueError(f"jitter must be between 0 and 1, not {jitter}")
    # Beyond 2^5 the cap applies; a larger exponent would only overflow.
    ceiling = min(BACKOFF_BASE * (1 << min(max(failures, 0), 5)), BACKOFF_CAP)
    return max(ceiling * jitter, BACKOFF_FLOOR)


def next_step(
    item: Item,
    reason: FailureReason,
    policy: Policy,
    now: datetime,
    jitter: float,
    reset_at: datetime | None = None,
    retryable: bool | None = None,
    *,
    goes_on: bool = False,
) -> NextStep:
    """What follows from an attempt of this item that ended with `reason`.

    `item` has the counters from before this failure. `jitter` is a random fraction between 0 and 1. `reset_at` is when
    an exhausted quota is filled again, if that is known. `retryable` is the word of who reported the failure: it goes
    before the table, and a retry by it uses up an attempt, so that nobody asks for ever. `goes_on`: the conversation
    was left for the next attempt, so the end of the time is an interruption and no failure, `EXTENSIONS` times.
    """
    rule = FAILURES[reason]
    if reason is FailureReason.AGENT_TIMEOUT and goes_on and retryable is not False:
        if item.extensions >= EXTENSIONS:
            large = FailureReason.AGENT_TOO_LARGE
            burnt = item.attempts_burnt + FAILURES[large].burns
            return AskPerson(FAILURES[large].owner, burnt, item.infra_failures, large)
        return Retry(now, item.attempts_burnt, item.infra_failures, extended=True)
    if retryable is not None and not rule.pauses:
        burnt = item.attempts_burnt + 1
        if not retryable or burnt >= attempts_allowed(item, policy):
            return GiveUp(burnt, item.infra_failures)
        return Retry(now + backoff(item.attempts_burnt, jitter), burnt, item.infra_failures, rule.fresh)
    burnt = item.attempts_burnt + rule.burns
    infra = item.infra_failures + rule.infra
    if rule.pauses:
        return PauseRepo(rule.owner, burnt, infra)
    if rule.infra and infra >= INFRA_CAP:
        return AskPerson(Owner.MAINTAINER, burnt, infra)
    match rule.retry:
        case Retrying.NEVER:
            return AskPerson(rule.owner, burnt, infra)
        case Retrying.ONCE:
            last = FAILURES[item.last_failure.reason] if item.last_failure else None
            again = last is not None and last.retry is Retrying.ONCE and last.burns == rule.burns
        case Retrying.YES:
            again = False
        case _:
            assert_never(rule.retry)
    if again or (rule.burns and burnt >= attempts_allowed(item, policy)):
        return GiveUp(burnt, infra)
    return Retry(_when(rule, item, now, jitter, reset_at), burnt, infra, rule.fresh)


def bounded_reset(at: datetime | None, now: datetime) -> datetime | None:
    """When a quota is filled again, as far as a worker is believed: never later than `RESET_CAP` from now."""
    return None if at is None else min(at, now + RESET_CAP)


def _when(rule: FailureRule, item: Item, now: datetime, jitter: float, reset_at: datetime | None) -> datetime:
    match rule.backoff:
        case Backoff.EXPONENTIAL:
            return now + backoff(item.infra_failures if rule.infra else item.attempts_burnt, jitter)
        case Backoff.RESET:
            # A reset long past is no promise; jitter after it keeps waiting items from returning together.
            start = max(reset_at, now) if reset_at is not None and reset_at > now - RESET_LATE else None
            return (start + backoff(0, jitter)) if start else now + backoff(5, max(jitter, 0.5))
        case Backoff.NONE:
            return now
        case _:
            assert_never(rule.backoff)


# --- exceptions of the machinery


class Handling(StrEnum):
    """What a consumer of keys does with an exception."""

    RETRY = "retry"
    DECIDE_AGAIN = "decide_again"
    WAIT_UNTIL = "wait_until"
    TELL_PERSON = "tell_person"
    GIVE_UP = "give_up"


EXCEPTIONS: Final = MappingProxyType(
    {
        # No answer, or GitHub is ill: back-off, then the same again.
        errors.Unavailable: Handling.RETRY,
        errors.TooLong: Handling.RETRY,
        errors.GitHubError: Handling.RETRY,
        # A fresh credential is taken at the next try.
        errors.Unauthorized: Handling.RETRY,
        # Just after an event the object may not be readable yet; if it is gone, the fresh look says so.
        errors.NotFound: Handling.RETRY,
        # Nothing of it is on disk; what may be is seen by the fresh look.
        errors.LedgerDown: Handling.RETRY,
        errors.RateLimited: Handling.WAIT_UNTIL,
        # The world moved on: fresh facts, then a new decision at once.
        errors.Conflict: Handling.DECIDE_AGAIN,
        errors.Forbidden: Handling.TELL_PERSON,
        errors.UserError: Handling.TELL_PERSON,
        errors.SettingsError: Handling.TELL_PERSON,
        errors.Refused: Handling.TELL_PERSON,
        errors.Unproved: Handling.TELL_PERSON,
        errors.LookFirst: Handling.TELL_PERSON,
        # Repeating cannot help.
        errors.Invalid: Handling.GIVE_UP,
        errors.TooBig: Handling.GIVE_UP,
        errors.Suspended: Handling.GIVE_UP,
        errors.LostClaim: Handling.GIVE_UP,
        # The other run does what is to be done.
        errors.Superseded: Handling.GIVE_UP,
        errors.TgsError: Handling.RETRY,
    }
)
"""One row per error class of `bot/errors.py`."""


def handling(error: BaseException) -> Handling:
    """What to do with this exception. Unknown ones are retried with back-off: a bug must not lose the key."""
    for kind in type(error).__mro__:
        known = EXCEPTIONS.get(kind)
        if known is not None:
            return known
    return Handling.RETRY


def wait_until(error: BaseException) -> datetime | None:
    """The time before which nothing may be tried again, if the exception names one."""
    return error.until if isinstance(error, errors.RateLimited) else None
