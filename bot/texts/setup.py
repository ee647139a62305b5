"""The one set-up issue of a repository: what was found, what to decide, what is missing and how to mend it.

Promise: the same input gives the same text, so it is edited only when something changed. It is the only thing an
installation writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bot.domain.mirror import Listed
from bot.domain.model import Problem, RepoRecord
from bot.domain.policy import POLICY_PATH
from bot.domain.policy_model import Policy
from bot.domain.sanitise import code_span
from bot.texts import markers
from bot.texts.mirror import summary
from bot.texts.phrases import plural, problem

TITLE: Final = "Set up the TGS bot"
MAX_PROBLEMS: Final = 30
"""Problems shown; whoever mends the first ones sees the others then."""
MAX_THOUGHTS: Final = 30
"""Folders named; the rest is counted."""


@dataclass(frozen=True, slots=True)
class SetupInput:
    """What was found. `thoughts` are the folders that were there before anybody decided about them."""

    repo: RepoRecord
    policy: Policy
    thoughts: tuple[str, ...] = ()
    listed: tuple[Listed, ...] = ()


def setup_title() -> str:
    return TITLE


def setup_body(view: SetupInput) -> str:
    """The whole text with its marker."""
    parts = [_head(view)]
    if view.repo.preflight_problems:
        parts.append(_problems("Missing before the first start", view.repo.preflight_problems))
    if view.repo.policy_problems:
        parts.append(_problems("Problems of the policy file", view.repo.policy_problems))
    parts.append(_decide(view))
    shown = summary(view.listed)
    if shown and view.repo.mirror_decided:
        parts.append(f"### Plans without an issue\n\n{shown}")
    parts.append(
        "This issue is kept up to date by editing it. `/tgs sync` looks at everything again; `/tgs help` lists the "
        "commands. Closing it is fine when nothing is left."
    )
    return markers.stamp("\n\n".join(parts), markers.SETUP)


def _head(view: SetupInput) -> str:
    repo = view.repo
    if repo.preflight_problems:
        count = plural(len(repo.preflight_problems), "thing")
        return f"The bot is installed. {count} must be set right before it can start anything."
    if not repo.preflight_ok:
        return "The bot is installed. The first checks have not run yet."
    if not view.policy.enabled:
        return "The bot is set up and switched off by the policy (`enabled: false`)."
    return "The bot is set up: label an issue `tgs:ready` and it is worked on."


def _problems(title: str, problems: Sequence[Problem]) -> str:
    lines = [problem(entry) for entry in problems[:MAX_PROBLEMS]]
    if len(problems) > MAX_PROBLEMS:
        lines.append(f"- and {len(problems) - MAX_PROBLEMS} more")
    return f"### {title}\n\n" + "\n".join(lines)


def _decide(view: SetupInput) -> str:
    repo, policy = view.repo, view.policy
    role = policy.roles.start.name.lower()
    lines = [
        f"- **Who may start work:** people with the role {role} or higher (`roles.start`).",
        f"- **How much at once:** {policy.max_parallel}; nothing new while {policy.max_unreviewed_prs} reviews are open.",
    ]
    if repo.policy_text is None:
        lines.append(
            f"- **Settings:** there is no `{POLICY_PATH}`; the defaults hold. `tgs init` writes the file with comments."
        )
    else:
        lines.append(f"- **Settings:** from `{POLICY_PATH}`; `/tgs policy` shows what is in force.")
    lines.append(_thoughts(view))
    return "### What to decide\n\n" + "\n".join(lines)


def _thoughts(view: SetupInput) -> str:
    if view.repo.mirror_decided:
        if not view.policy.mirror.enabled:
            return "- **Plans:** they are not turned into issues (`mirror.enabled: false`)."
        how = "ready at once" if view.policy.mirror.auto_ready else "as proposals that somebody must approve"
        return f"- **Plans:** folders under `tgs/thoughts/` become issues, {how}."
    if not view.thoughts:
        return (
            f"- **Plans:** folders under `tgs/thoughts/` become issues once `{POLICY_PATH}` is on the default branch; "
            "`mirror.auto_ready` decides whether they start without another approval."
        )
    named = "\n".join(f"  - {code_span(entry, 200)}" for entry in view.thoughts[:MAX_THOUGHTS])
    more = f"\n  - and {len(view.thoughts) - MAX_THOUGHTS} more" if len(view.thoughts) > MAX_THOUGHTS else ""
    return (
        f"- **Plans:** {plural(len(view.thoughts), 'plan')} found here that nobody has released. To release them, "
        f"commit `{POLICY_PATH}` with `mirror:` and `enabled: true`; with `auto_ready: false` each becomes a proposal to "
        f"approve one by one.\n{named}{more}"
    )
