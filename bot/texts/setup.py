"""The one set-up issue of a repository: what was found, what to decide, what is missing and how to mend it.

Promise: the same input gives the same text, so it is edited only when something changed. It is the only thing an
installation writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bot.domain import memory
from bot.domain.labels import READY
from bot.domain.mirror import Listed, ListedBecause
from bot.domain.model import Problem
from bot.domain.policy import POLICY_PATH
from bot.domain.policy_model import Policy
from bot.domain.repository import RepoRecord
from bot.domain.sanitise import code_span
from bot.texts import markers
from bot.texts.mirror import summary
from bot.texts.phrases import plural, problem

SETUP_TITLE: Final = "Set up the TGS bot"
MAX_PROBLEMS: Final = 30
"""Problems shown; whoever mends the first ones sees the others then."""
MAX_THOUGHTS: Final = 30
"""Folders named; the rest is counted."""


@dataclass(frozen=True, slots=True)
class SetUpInput:
    """What was found. `listed` are the thoughts without an issue; `html_url` is the address of GitHub's pages."""

    repo: RepoRecord
    listed: tuple[Listed, ...]
    policy: Policy
    html_url: str = ""

    @property
    def undecided(self) -> tuple[str, ...]:
        """Thoughts that were there at the installation and that nobody has released."""
        return tuple(entry.dir for entry in self.listed if entry.because is ListedBecause.UNDECIDED)


def setup_body(view: SetUpInput) -> str:
    """The whole text with its marker."""
    parts = [_head(view)]
    if view.repo.preflight_problems:
        parts.append(_problems("Missing before the first start", view.repo.preflight_problems))
    if view.repo.policy_problems:
        parts.append(_problems("Problems of the policy file", view.repo.policy_problems))
    parts.append(_decide(view))
    shown = summary([entry for entry in view.listed if entry.because is not ListedBecause.UNDECIDED])
    if shown:
        parts.append(f"### Plans without an issue\n\n{shown}")
    parts.append(
        "This issue is kept up to date by editing it. `/tgs sync` looks at everything again; `/tgs help` lists the "
        "commands. Closing it is fine when nothing is left."
    )
    return markers.stamp("\n\n".join(parts), markers.memory(memory.of_repo(view.repo)), markers.SETUP)


def _head(view: SetUpInput) -> str:
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


def _decide(view: SetUpInput) -> str:
    repo, policy = view.repo, view.policy
    role = policy.roles.start.name.lower()
    lines = [
        f"- **Who may start work:** people with the role {role} or higher (`roles.start`).",
        f"- **How much at once:** {policy.max_parallel}; none while {policy.max_unreviewed_prs} wait for review.",
    ]
    if repo.policy_text is None:
        lines.append(
            f"- **Settings:** there is no `{POLICY_PATH}`; the defaults hold. `tgs init` writes the file with comments."
        )
    else:
        lines.append(f"- **Settings:** from `{POLICY_PATH}`; `/tgs policy` shows what is in force.")
    lines.append(_thoughts(view))
    return "### What to decide\n\n" + "\n".join(lines)


def _thoughts(view: SetUpInput) -> str:
    mirror = view.policy.mirror
    if view.repo.policy_text is None:
        how = f"they become issues once `{POLICY_PATH}` is on the default branch"
    elif not mirror.enabled:
        how = "they are not turned into issues (`mirror.enabled: false`)"
    else:
        how = "they become issues, " + ("ready at once" if mirror.auto_ready else "as proposals to approve one by one")
    line = f"- **Plans (folders under `tgs/thoughts/`):** {how}."
    if not view.undecided:
        return line
    named = "\n".join(f"  - {code_span(entry, 200)}" for entry in view.undecided[:MAX_THOUGHTS])
    more = f"\n  - and {len(view.undecided) - MAX_THOUGHTS} more" if len(view.undecided) > MAX_THOUGHTS else ""
    return (
        f"{line} {plural(len(view.undecided), 'plan')} that were here at the installation wait until somebody releases "
        f"them: comment `/tgs approve` on this issue, or add the label `{READY}` to it.\n{named}{more}"
    )
