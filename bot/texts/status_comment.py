"""The one live status comment of an item: where it stands, why, and who must do what next.

Promise: a pure function of the ledger and the checks, without the present time, so that an unchanged item gives an
unchanged text and no edit. It carries its marker. Costs are not shown on public repositories.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from bot.domain import budget, memory
from bot.domain.attempt import Attempt, AttemptPhase, WorkerReport
from bot.domain.facts import Ci, CiFacts
from bot.domain.failures import EXTENSIONS, attempts_allowed
from bot.domain.model import FailureReason, Item, ItemState, Waiting
from bot.domain.policy_model import Policy
from bot.domain.reasons import ReasonCode, code_of, in_order
from bot.domain.repository import RepoRecord
from bot.domain.sanitise import code_span, for_inline
from bot.texts import failures, markers, reasons
from bot.texts.phrases import compare_link, details, issue, lower, name, plan_links, plural, run_link
from bot.texts.states import headline

BAR = 10
"""Cells of the progress bar."""


@dataclass(frozen=True, slots=True)
class StatusInput:
    """What the comment is made of. `html_url` is the address of GitHub's pages; `spent` on the issue and `today` in the
    repository are in micro-dollars, what is set aside included."""

    repo: RepoRecord
    item: Item
    attempt: Attempt | None
    policy: Policy
    ci: CiFacts | None
    reasons: tuple[Waiting, ...]
    html_url: str
    now: datetime
    spent: int = 0
    today: int = 0


def status_text(view: StatusInput) -> str:
    """The whole comment with its marker."""
    parts = [f"**{headline(view.item)}**{_attempt_words(view)}"]
    shown = reasons.tree(reason for reason in in_order(view.reasons) if not _said_elsewhere(view, reason))
    lines = (
        _progress(view),
        _run(view),
        _used(view),
        _money(view),
        _pull(view),
        _checks(view),
        _doubts(view),
        _failure(view),
        _isolation(view),
    )
    body = "\n".join([*([shown] if shown else []), *(f"- {line}" for line in lines if line)])
    if body:
        parts.append(body)
    parts.append(f"**Next:** {_next(view)}")
    parts.append(details("Settings of this issue", _settings(view)))
    remembered = markers.memory(memory.of_item(view.item, view.attempt))
    return markers.stamp("\n\n".join(parts), remembered, markers.STATUS)


def _said_elsewhere(view: StatusInput, reason: Waiting) -> bool:
    """Whether the headline, the line of checks or the line about the failure says the same, with links."""
    match code_of(reason):
        case ReasonCode.QUEUED:
            return view.item.state is ItemState.READY and view.item.position is not None
        case ReasonCode.CI_FAILED | ReasonCode.CI_PENDING:
            return bool(_checks(view))
        case ReasonCode.FAILED:
            return view.item.last_failure is not None
        case _:
            return False


def _attempt_words(view: StatusInput) -> str:
    attempt = view.attempt
    if attempt is None or attempt.external or view.item.state in {ItemState.PROPOSED, ItemState.DONE}:
        return ""
    used, allowed = view.item.attempts_burnt, attempts_allowed(view.item, view.policy)
    if attempt.live:
        return f" · attempt {min(used + 1, allowed)} of {allowed}"
    return f" · {used} of {plural(allowed, 'attempt')} used" if used else ""


def _progress(view: StatusInput) -> str:
    attempt = view.attempt
    if attempt is None or not attempt.live or attempt.progress is None:
        return ""
    progress = attempt.progress
    text = for_inline(progress.text, 150)
    if progress.total <= 0:
        return text
    step = max(0, min(progress.step, progress.total))
    filled = BAR * step // progress.total
    return f"`{'█' * filled}{'░' * (BAR - filled)}` {step}/{progress.total} {text}".rstrip()


def _run(view: StatusInput) -> str:
    attempt = view.attempt
    if attempt is None:
        return ""
    if attempt.run_id is not None:
        label = "Run" if attempt.live else "Last run"
        words = run_link(view.html_url, view.repo.full_name, attempt.run_id, label)
    elif attempt.live:
        words = f"Worker {name(attempt.worker.name)}"
        if attempt.external:
            return words if attempt.worker.name else ""
    else:
        return ""
    showing_branch = attempt.live and attempt.phase is AttemptPhase.RUNNING and view.item.pull is None
    return f"{words}, branch {code_span(attempt.branch, 120)}" if showing_branch else words


def _used(view: StatusInput) -> str:
    """What the agent of the last attempt used; money only where it may be seen."""
    usage = budget.usage_of(view.attempt) if view.attempt is not None else None
    if usage is None or not usage.turns:
        return ""
    tokens = usage.input_tokens + usage.output_tokens + usage.cache_read_tokens + usage.cache_write_tokens
    words = f"{plural(usage.turns, 'turn')}, {plural(tokens, 'token')}"
    return (
        f"The agent used {words}, {budget.usd(usage.cost_microusd)} USD"
        if view.repo.private
        else f"The agent used {words}"
    )


def _money(view: StatusInput) -> str:
    """How much of the ceilings is gone, in steps; only where costs may be seen, and while it may cost more."""
    if not view.repo.private or view.item.terminal:
        return ""
    own = budget.reached(view.spent, budget.item_limit(view.item.spec, view.policy.budgets))
    lives = view.attempt is not None and view.attempt.live
    day = budget.reached(view.today, budget.micro(view.policy.budgets.per_day)) if lives else None
    parts = [f"{own} % of what this issue may cost"] if own else []
    parts += [f"{day} % of what this repository may spend in a day"] if day else []
    return f"Spent or set aside: {' and '.join(parts)}" if parts else ""


def _doubts(view: StatusInput) -> str:
    report = view.attempt.report if view.attempt is not None else None
    if report is None or not report.doubts or view.item.pull is None or view.item.state is not ItemState.IN_REVIEW:
        return ""
    return f"Look twice: {plural(len(report.doubts), 'doubt')} about the result, listed in the pull request"


def _pull(view: StatusInput) -> str:
    pull = view.item.pull
    if pull is None:
        return ""
    branch = compare_link(view.html_url, view.repo.full_name, pull.branch, "branch")
    return f"Pull request {issue(pull.number)} ({branch})"


def _checks(view: StatusInput) -> str:
    ci = view.ci
    if ci is None or view.item.pull is None or view.item.state is not ItemState.IN_REVIEW:
        return ""
    match ci.state:
        case Ci.NONE:
            return "Checks: none"
        case Ci.PENDING:
            return "Checks: running"
        case Ci.PASSED:
            return f"Checks: {plural(ci.total, 'check')} passed" if ci.total else "Checks: passed"
        case Ci.FAILED:
            failed = ", ".join(_check(label, url, view.html_url) for label, url in ci.failed[:5])
            more = f" and {len(ci.failed) - 5} more" if len(ci.failed) > 5 else ""
            return f"Checks failed: {failed}{more}" if failed else "Checks failed"
        case _:
            assert_never(ci.state)


def _check(label: str, url: str, html_url: str) -> str:
    # Only links into GitHub itself: a check can name any address.
    safe = url.startswith(html_url.rstrip("/") + "/") and not set(url) & set(" ()<>[]\"'\\\n\t")
    return f"[{for_inline(label, 80)}]({url})" if safe else code_span(label, 80)


def _isolation(view: StatusInput) -> str:
    reports: tuple[WorkerReport | None, ...] = (
        (view.attempt.report, view.attempt.gate_report) if view.attempt is not None else ()
    )
    if any(report is not None and report.isolation == "none" for report in reports):
        return "The agent ran without isolation from its worker, which the policy allows (`allow_unisolated`)."
    return ""


def _failure(view: StatusInput) -> str:
    failure = view.item.last_failure
    if failure is None or view.item.state in {ItemState.DONE, ItemState.CANCELLED, ItemState.IN_REVIEW}:
        return ""
    what = failures.sentence(failure.reason)
    text = f": {for_inline(failure.detail, 300)}" if failure.detail.strip() else ""
    when = "" if view.item.state is ItemState.FAILED else "Last time: "
    return f"{when}{what.rstrip('.')}{text or '.'}"


def _next(view: StatusInput) -> str:
    item, attempt = view.item, view.attempt
    match item.state:
        case ItemState.PROPOSED:
            return (
                f"somebody with the role {view.policy.roles.start.name.lower()} reads it and adds the label "
                "`tgs:ready` (or uses `/tgs approve`)."
            )
        case ItemState.READY:
            return "it starts by itself when nothing above stands in the way. `/tgs stop` takes it out of the queue."
        case ItemState.IN_PROGRESS:
            if (attempt is None or not attempt.live) and item.extensions and _out_of_time(item):
                turn = f"time {item.extensions} of {EXTENSIONS}"
                return f"another run goes on where the agent was ({turn}). `/tgs stop` ends it."
            if attempt is None or not attempt.live:
                return f"it is tried again by itself{_unless(item)}. `/tgs retry` does not wait; `/tgs stop` ends it."
            if attempt.external:
                return "whoever has claimed it finishes or gives it back; the bot leaves it alone until then."
            if attempt.cancel_requested_at is not None:
                return "the bot waits for proof that the run has ended."
            return "the bot opens a draft pull request when the agent is done. `/tgs stop` ends it."
        case ItemState.NEEDS_INPUT:
            if view.item.withheld is not None:
                return "somebody looks at the result and says `/tgs publish` or `/tgs reject <notes>`."
            return "somebody answers the agent's question; then it goes on first."
        case ItemState.IN_REVIEW:
            return _next_in_review(view)
        case ItemState.DONE:
            return "nothing."
        case ItemState.FAILED:
            if item.last_failure is None:
                return "`/tgs retry` starts it again."
            return lower(failures.remedy(item.last_failure.reason))
        case ItemState.CANCELLED:
            return "nothing, unless somebody takes it up again with `/tgs start`."
        case _:
            assert_never(item.state)


def _unless(item: Item) -> str:
    """More than time may stand in the way."""
    stands = any(reason.code is not ReasonCode.NOT_BEFORE for reason in item.waiting)
    return " when nothing above stands in the way" if stands else ""


def _out_of_time(item: Item) -> bool:
    return item.last_failure is not None and item.last_failure.reason is FailureReason.AGENT_TIMEOUT


def _next_in_review(view: StatusInput) -> str:
    state = view.ci.state if view.ci is not None else Ci.PENDING
    merger = view.policy.roles.merge.name.lower()
    match state:
        case Ci.FAILED:
            return "somebody looks at the failed checks; closing the pull request and `/tgs retry <notes>` rebuilds it."
        case Ci.PENDING:
            return "the checks finish; then somebody reviews it."
        case Ci.PASSED | Ci.NONE:
            return f"somebody reviews it; people with the role {merger} merge it there or with `/tgs merge`."
        case _:
            assert_never(state)


def _settings(view: StatusInput) -> str:
    item, spec, policy = view.item, view.item.spec, view.policy
    lines = [
        f"- type: {for_inline(spec.type, 40)}",
        f"- priority: {item.priority}",
        f"- locks: {', '.join(code_span(path, 80) for path in (spec.locks or policy.locks)) or 'none'}",
        f"- attempts: at most {attempts_allowed(item, policy)}",
        f"- agent: {code_span(spec.agent or policy.agent.adapter, 100)}",
    ]
    model = spec.model or policy.agent.model
    if model:
        lines.append(f"- model: {code_span(model, 100)}")
    if spec.base_branch:
        lines.append(f"- base branch: {code_span(spec.base_branch, 120)}")
    if spec.depends_on:
        lines.append(f"- depends on: {', '.join(issue(number) for number in spec.depends_on)}")
    if spec.acceptance:
        lines.append(f"- acceptance: {', '.join(code_span(command, 120) for command in spec.acceptance[:5])}")
    if spec.automerge:
        lines.append("- automerge: asked for, and without an effect yet; `/tgs merge` merges")
    if view.repo.private:
        limit = budget.usd(budget.item_limit(spec, policy.budgets))
        lines.append(f"- cost: {budget.usd(view.spent)} of at most {limit} USD")
    if item.thought is not None:
        plan, research = plan_links(view.html_url, view.repo.full_name, item.thought)
        at = f" at {code_span(item.thought.commit_sha[:12], 12)}" if item.thought.commit_sha else ""
        lines.append(f"- {plan} and {research}{at}")
    if item.snapshot is not None:
        who = name(item.snapshot.approver.login) if item.snapshot.approver else "the policy"
        lines.append(f"- approved by {who}; the agent reads the text as it stood then")
        if item.snapshot.contains_outsider_text:
            lines.append("- the text contains words of people who may not start work here")
    lines += [
        f"- ignored: {for_inline(finding.what, 300)} {for_inline(finding.remedy, 200)}" for finding in item.findings[:5]
    ]
    return "\n".join(lines)
