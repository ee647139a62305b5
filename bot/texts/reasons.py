"""One sentence for every reason why an item waits or stands where it is; the answer to `/tgs why`.

Promise: every reason has a sentence, also with parameters missing, and says who can change it. Reasons that another
version stored are shown by their code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import assert_never

from bot.domain.model import Waiting
from bot.domain.reasons import ReasonCode, code_of
from bot.domain.sanitise import code_span, for_inline
from bot.texts import failures
from bot.texts.phrases import at, issue, listing, lower, name, reason_given, trouble
from bot.texts.states import place


def sentence(reason: Waiting) -> str:
    """The reason as one or two sentences of Markdown."""
    code = code_of(reason)
    if code is None:
        return f"It waits ({code_span(reason.code, 40)})."
    return _sentence(code, dict(reason.params))


def tree(reasons: Iterable[Waiting]) -> str:
    """The reasons as a list, in the given order, without repetitions."""
    lines = dict.fromkeys(sentence(reason) for reason in reasons)
    return "\n".join(f"- {line}" for line in lines)


def _sentence(code: ReasonCode, given: Mapping[str, str]) -> str:
    match code:
        case (
            ReasonCode.QUEUED
            | ReasonCode.CANCELLING
            | ReasonCode.SUSPECT
            | ReasonCode.EXTERNAL
            | ReasonCode.CLAIM_UNREADABLE
            | ReasonCode.CLAIMED
            | ReasonCode.STARTING
            | ReasonCode.RUNNING
            | ReasonCode.AFRESH
            | ReasonCode.QUESTION
            | ReasonCode.LOOK
            | ReasonCode.CI_FAILED
            | ReasonCode.CI_PENDING
            | ReasonCode.CONFLICT
            | ReasonCode.REVIEW
            | ReasonCode.FAILED
            | ReasonCode.CANCELLED
            | ReasonCode.DONE
        ):
            return _moving(code, given)
        case (
            ReasonCode.LOCKS
            | ReasonCode.DEPENDS_ON
            | ReasonCode.UNREVIEWED
            | ReasonCode.SLOTS
            | ReasonCode.RUNS_TODAY
            | ReasonCode.BUDGET
            | ReasonCode.RATE_LIMITED
            | ReasonCode.NOT_BEFORE
            | ReasonCode.TAKEN
            | ReasonCode.WORKER
            | ReasonCode.NOT_PULLED
        ):
            return _capacity(code, given)
        case ReasonCode.NOT_TRACKED:
            return "The bot does not work on this issue. `/tgs start` or the label `tgs:ready` changes that."
        case ReasonCode.UNREADABLE:
            return "The issue cannot be read just now; the bot looks again by itself."
        case ReasonCode.ARCHIVED:
            return "The repository is archived, so nothing is started."
        case ReasonCode.DISABLED:
            return "The bot is switched off here (`enabled: false` in `.tgs/policy.yml`, or by its operator)."
        case ReasonCode.PREFLIGHT:
            what = given.get("what")
            return f"The set-up is not complete. {trouble(what, given.get('remedy', '')) if what else ''}".rstrip()
        case ReasonCode.PAUSED:
            until = given.get("until")
            ends = f" until {at(until)}" if until else ""
            who = f" by {name(given['by'])}" if given.get("by") else ""
            return f"The repository is paused{who}{ends}{reason_given(given.get('reason'))}. `/tgs resume` ends it."
        case ReasonCode.NOT_APPROVED if given.get("approver"):
            return (
                f"{name(given['approver'])} approved it and may not start work any more. A maintainer can approve it "
                "anew with `/tgs start`."
            )
        case ReasonCode.NOT_APPROVED if given.get("state") == "closed":
            return "The issue is closed. Reopen it first."
        case ReasonCode.NOT_APPROVED:
            return "It is not approved yet. A maintainer can add the label `tgs:ready` or use `/tgs approve`."
        case ReasonCode.GATE if given.get("run"):
            return "The run waits for somebody to approve its environment in Actions."
        case ReasonCode.GATE:
            role = f" by somebody with the role {for_inline(given['role'])}" if given.get("role") else ""
            return f"It waits for `/tgs approve`{role}, because `require_approval` is on in `.tgs/policy.yml`."
        case ReasonCode.PLAN:
            what = given.get("what")
            return f"Its plan cannot be worked on. {trouble(what, given.get('remedy', '')) if what else ''}".rstrip()
        case ReasonCode.HUMAN_OWNED:
            return "People work on it themselves (label `tgs:no-agent`); removing the label gives it back to the bot."
        case ReasonCode.FUSE:
            since = f" at {at(given['since'])}" if given.get("since") else ""
            return (
                f"The bot stopped here{since}, because it had changed this issue far more often than work needs. "
                "`/tgs sync` lets it go on."
            )
        case ReasonCode.HELD:
            by = given.get("by", "")
            who = "by the label `tgs:hold`" if by in ("", "label") else f"by {name(by)}"
            return f"It is on hold {who}{reason_given(given.get('reason'))}. `/tgs unhold` lets it go on."
        case _:
            assert_never(code)


def _capacity(code: ReasonCode, given: Mapping[str, str]) -> str:
    count, limit = given.get("count", "?"), given.get("limit", "?")
    match code:
        case ReasonCode.LOCKS:
            return (
                f"It waits for {issue(given.get('number', '?'))}, which holds {code_span(given.get('path', '?'), 120)}."
            )
        case ReasonCode.DEPENDS_ON:
            return f"It waits for {issue(given.get('number', '?'))} to be done."
        case ReasonCode.UNREVIEWED:
            return (
                f"{for_inline(count)} pull requests of the bot wait for review or are being made, and the limit is "
                f"{for_inline(limit)}. "
                "Review or close one to let the next start."
            )
        case ReasonCode.SLOTS:
            verb = "is" if count == "1" else "are"
            return f"All places are taken: {for_inline(count)} of {for_inline(limit)} {verb} working."
        case ReasonCode.RUNS_TODAY:
            return f"The limit of {for_inline(limit)} runs within a day is reached; it goes on when a day has passed."
        case ReasonCode.BUDGET:
            return _budget(given)
        case ReasonCode.RATE_LIMITED:
            until = given.get("until")
            return f"GitHub's request limit is used up{f' until {at(until)}' if until else ''}; it goes on by itself."
        case ReasonCode.NOT_BEFORE:
            why = given.get("why")
            cause = f" after a failure: {lower(failures.said(why)[0])}" if why else "."
            when = f" at {at(given['at'])}" if given.get("at") else " soon"
            return f"It is tried again{when}{cause}"
        case ReasonCode.TAKEN:
            who = f" ({name(given['worker'])})" if given.get("worker") else ""
            return f"Another attempt works on it already{who}."
        case ReasonCode.WORKER if given.get("until"):
            return f"It is kept for a free pull worker until {at(given['until'])}, then it goes to Actions."
        case ReasonCode.WORKER if given.get("needs"):
            return f"It waits for a pull worker that has {listing(given['needs'].split(', '))}."
        case ReasonCode.WORKER:
            return "It waits for a pull worker or a person: `workers: pull` in `.tgs/policy.yml` gives Actions nothing."
        case ReasonCode.NOT_PULLED:
            return "It goes to Actions: `workers: actions` in `.tgs/policy.yml` gives nothing to pull workers."
        case _:
            return f"It waits ({code_span(code.value, 40)})."


def _moving(code: ReasonCode, given: Mapping[str, str]) -> str:
    attempt = f" (attempt {for_inline(given['attempt'])})" if given.get("attempt") else ""
    pull = f" {issue(given['pull'])}" if given.get("pull") else ""
    match code:
        case ReasonCode.QUEUED:
            told, exact = given.get("position", ""), given.get("place", "")
            if exact.isdecimal():
                return f"It is number {exact} in the queue."
            return f"It is {place(int(told))} in the queue." if told.isdecimal() else "It is in the queue."
        case ReasonCode.CANCELLING:
            who = f" for {name(given['by'])}" if given.get("by") else ""
            return f"It is being stopped{who}{attempt}."
        case ReasonCode.SUSPECT:
            since = f" since {at(given['since'])}" if given.get("since") else ""
            return f"The worker has been silent{since}{attempt}; the bot makes sure that it has ended before going on."
        case ReasonCode.EXTERNAL:
            since = f" since {at(given['since'])}" if given.get("since") else ""
            return f"{name(given.get('owner'))} works on it{since}, under a claim ref of their own."
        case ReasonCode.CLAIM_UNREADABLE:
            ref = code_span(given.get("ref", "?"), 120)
            return (
                f"Somebody has claimed it, and the claim ({ref}) cannot be read. Somebody with write access looks what "
                f"it is; the bot goes on when that ref is gone."
            )
        case ReasonCode.CLAIMED:
            return f"It is next: the start is being prepared{attempt}."
        case ReasonCode.STARTING:
            return f"The run is starting{attempt}."
        case ReasonCode.RUNNING:
            return f"The agent is working{attempt}."
        case ReasonCode.AFRESH:
            return "The conversation that asked is not kept any more; a fresh one was told of question and answer."
        case ReasonCode.QUESTION:
            return _question(given)
        case ReasonCode.LOOK:
            return _look(given)
        case ReasonCode.CI_FAILED:
            checks = listing(given.get("checks", "").split(", "))
            return f"Checks failed on the pull request{pull}{f': {checks}' if checks else ''}."
        case ReasonCode.CI_PENDING:
            return f"The checks of the pull request{pull} are still running."
        case ReasonCode.CONFLICT:
            return f"The pull request{pull} conflicts with its base."
        case ReasonCode.REVIEW:
            return f"The pull request{pull} waits for review. `/tgs merge` merges it."
        case ReasonCode.FAILED:
            what, remedy = failures.said(given.get("reason", ""))
            return f"{what} {remedy}"
        case ReasonCode.CANCELLED:
            why = failures.said(given["reason"])[0] if given.get("reason") else "It was called off."
            return f"{why} `/tgs start` takes it up again."
        case ReasonCode.DONE:
            return f"It is done{f': merged in{pull}' if pull else ''}."
        case _:
            return f"It waits ({code_span(code.value, 40)})."


def _budget(given: Mapping[str, str]) -> str:
    """Which ceiling is reached, and who changes what; amounts are left to `/tgs cost`, which knows who may see them."""
    until = f" It goes on by itself at {at(given['until'])}." if given.get("until") else ""
    match given.get("scope", ""):
        case "item":
            return (
                "What this issue may cost is used up. A maintainer can raise it with `/tgs budget <amount>`, within "
                "`budgets.per_item` of `.tgs/policy.yml`."
            )
        case "repository":
            return (
                f"What this repository may cost in a day is used up.{until} A maintainer can raise "
                "`budgets.per_day` in `.tgs/policy.yml`."
            )
        case "deployment":
            return (
                f"What all repositories of this server may cost in a day is used up.{until} Its operator can raise it."
            )
        case _:
            return f"A budget is used up.{until}"


def _question(given: Mapping[str, str]) -> str:
    number = f"question {for_inline(given['number'])}" if given.get("number") else "a question"
    text = f" ({code_span(given['text'], 160)})" if given.get("text") else ""
    asked = f" It was asked of {name(given['approver'])}." if given.get("approver") else ""
    role = given.get("role")
    who = f" People with the role {for_inline(role)} may answer." if role else ""
    if given.get("expired"):
        late = "; nobody gave one in time, and one still counts"
        return f"The agent waits for the answer to {number}{text}{late}.{asked}{who}"
    until = f" Reminders end at {at(given['until'])}." if given.get("until") else ""
    return f"The agent waits for the answer to {number}{text}.{asked}{who}{until}"


def _look(given: Mapping[str, str]) -> str:
    files = listing(given["workflows"].split(", ")) if given.get("workflows") else ""
    why = f", because a push starts workflows that may hold secrets or write ({files})" if files else ""
    asked = f" It was shown to {name(given['approver'])}." if given.get("approver") else ""
    who = f" People with the role {for_inline(given['role'])} may say" if given.get("role") else " Say"
    return (
        f"The result is ready and not pushed yet: somebody must look at it first{why}.{asked}{who} `/tgs publish`, "
        "which pushes it, or `/tgs reject <notes>`, which drops it."
    )
