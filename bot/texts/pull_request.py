"""Title and body of the pull request that the bot opens for an item.

Promise: everything the agent wrote is defused; the only closing keyword is ours, for this item.
"""

from __future__ import annotations

from dataclasses import dataclass

from bot.domain.attempt import Attempt, WorkerReport
from bot.domain.model import Item
from bot.domain.opinion import OpinionOutcome
from bot.domain.policy_model import Policy
from bot.domain.repository import RepoRecord
from bot.domain.sanitise import code_span, for_comment, for_title
from bot.texts import doubts, markers
from bot.texts.phrases import name, plan_links, run_link

MAX_SUMMARY = 20_000
"""Characters of the agent's own summary; reviewers read the diff, not a novel."""


@dataclass(frozen=True, slots=True)
class PullInput:
    """What the pull request is made of. `html_url` is the address of GitHub's pages."""

    repo: RepoRecord
    item: Item
    attempt: Attempt
    policy: Policy
    html_url: str


def pull_title(view: PullInput) -> str:
    """The issue's title, safe as a commit subject too."""
    return for_title(view.item.snapshot.title if view.item.snapshot else view.item.title)


def pull_body(view: PullInput) -> str:
    """What was done, on which evidence, and how to go on."""
    item, attempt = view.item, view.attempt
    parts = [f"Closes #{item.key.number}"]
    reports = [report for report in (attempt.report, attempt.gate_report) if report is not None]
    summary = next((report.summary for report in reports if report.summary.strip()), "")
    if summary:
        parts.append(f"### What the agent says\n\n{for_comment(summary, MAX_SUMMARY)}")
    found = tuple(dict.fromkeys(doubt for report in reports for doubt in report.doubts))
    if found:
        parts.append(f"### Look twice\n\n{doubts.listing(found)}")
    parts.append("### Evidence\n\n" + "\n".join(f"- {line}" for line in _evidence(view, reports)))
    parts.append(
        "It is a draft until the checks have passed. Review it like any other pull request: the text above is the "
        "agent's own. `/tgs merge` on the issue merges it; closing it calls the work off, and "
        "`/tgs retry <notes>` then builds it again."
    )
    return markers.stamp("\n\n".join(parts), markers.pull(item.key.number, attempt.fence))


def _evidence(view: PullInput, reports: list[WorkerReport]) -> list[str]:
    item, attempt = view.item, view.attempt
    lines = [f"attempt {attempt.number}"]
    if attempt.run_id is not None:
        lines[0] += f", {run_link(view.html_url, view.repo.full_name, attempt.run_id, 'run with its log')}"
    if attempt.base_sha:
        lines.append(f"built on {code_span(attempt.base_sha[:12], 12)}")
    if item.thought is not None:
        plan, research = plan_links(view.html_url, view.repo.full_name, item.thought)
        lines.append(f"{plan} and {research} as approved")
    if item.snapshot is not None:
        who = name(item.snapshot.approver.login) if item.snapshot.approver else "the policy"
        lines.append(f"approved by {who}")
        if item.snapshot.contains_outsider_text:
            lines.append("the text contains words of people who may not start work here: read the diff with care")
    if any(report.opinion is not None and report.opinion.outcome is OpinionOutcome.GOOD for report in reports):
        lines.append("a second look of the agent program named no doubt; that is no review")
    lines += [f"acceptance command {code_span(command, 200)}" for command in item.spec.acceptance[:10]]
    if any(report.isolation == "none" for report in reports):
        lines.append("the agent ran without isolation from its worker, which the policy allows")
    return lines
