"""Which branches are the bot's, and which of them may be deleted.

Promise: a branch counts as ours only when its name is one that the policy's template makes; the default branch, the
branches that plans may build on and those of claims are never deleted, whatever the template says. Nor is one that an
attempt works on or an open pull request shows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from bot.domain.attempt import Attempt
from bot.domain.claim_record import FALLBACK
from bot.domain.model import Item, ItemState
from bot.domain.policy_model import Policy
from bot.domain.repository import RepoRecord

HEADS = "refs/heads/"


@dataclass(frozen=True, slots=True)
class Branch:
    """One branch of the bot. `issue` is that of its name; `keep` says why it must stay, None: it may be deleted."""

    name: str
    sha: str
    issue: int
    state: ItemState | None
    pull: int | None
    keep: str | None


def prefix_of(template: str) -> str:
    """What all names that the template makes begin with."""
    return template.partition("{")[0]


def issue_of(template: str, name: str) -> int | None:
    """The issue of a branch that the template could have made; None for any other branch."""
    pattern = re.escape(template)
    pattern = pattern.replace(re.escape("{issue}"), r"(?P<issue>[1-9][0-9]{0,8})")
    pattern = pattern.replace(re.escape("{slug}"), r"[A-Za-z0-9._-]+")
    found = re.fullmatch(pattern, name)
    return None if found is None else int(found["issue"])


def branch_of(
    name: str, sha: str, repo: RepoRecord, policy: Policy, item: Item | None, user: Attempt | None
) -> Branch | None:
    """The branch as ours; None when it is not. `item` is that of its issue, `user` the last attempt on the branch."""
    issue = issue_of(policy.branch_template, name)
    if issue is None:
        return None
    pull = item.pull if item is not None and item.pull is not None and item.pull.branch == name else None
    keep = None
    if name in {repo.default_branch, *policy.base_branches} or (HEADS + name).startswith(FALLBACK):
        keep = "it is protected"
    elif user is not None and user.live:
        keep = f"attempt {user.number} of #{user.key.number} works on it"
    elif pull is not None and item is not None and not item.terminal:
        keep = f"pull request #{pull.number} is open"
    return Branch(name, sha, issue, item.state if item is not None else None, pull.number if pull else None, keep)
