"""Branch rules: which branches refuse direct pushes and what a merge into them needs.

Promise: one record per branch, changed by set-up code only. A rule never stops a merge through the
pull request API whose conditions hold; it stops every other way of moving the branch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bot.localhub.http import Need, Reply, Request, Route
from bot.localhub.model import Json, Repository

if TYPE_CHECKING:
    from bot.localhub.hub import Hub


@dataclass(frozen=True)
class BranchRule:
    """What protects one branch."""

    branch: str
    required_checks: tuple[str, ...] = ()
    """Names of check runs or status contexts that must have succeeded on the head."""
    required_reviews: int = 0
    bypass: frozenset[int] = frozenset()
    """Account ids that may push directly all the same."""

    @property
    def ref(self) -> str:
        return f"refs/heads/{self.branch}"


@dataclass
class BranchRules:
    """All rules of a hub."""

    hub: Hub
    _rules: dict[tuple[int, str], BranchRule] = field(default_factory=dict)

    def protect(self, repo: Repository, rule: BranchRule) -> None:
        """Set (or replace) the rule of a branch."""
        self._rules[repo.id, rule.branch] = rule

    def unprotect(self, repo: Repository, branch: str) -> None:
        """Remove the rule of a branch, if there is one."""
        self._rules.pop((repo.id, branch), None)

    def of(self, repo: Repository, branch: str) -> BranchRule | None:
        """The rule of a branch."""
        return self._rules.get((repo.id, branch))

    def closed_refs(self, repo: Repository, account_id: int) -> list[str]:
        """Full names of the refs this account may not move directly."""
        return [
            rule.ref
            for (repo_id, _), rule in sorted(self._rules.items())
            if repo_id == repo.id and account_id not in rule.bypass
        ]


def rules_json(rule: BranchRule | None, repo: Repository) -> list[Json]:
    """The active rules of a branch as `GET rules/branches/{branch}` lists them."""
    if rule is None:
        return []
    origin: Json = {
        "ruleset_source_type": "Repository",
        "ruleset_source": repo.full_name,
        "ruleset_id": repo.id,
    }
    reviews: Json = {
        "dismiss_stale_reviews_on_push": False,
        "require_code_owner_review": False,
        "require_last_push_approval": False,
        "required_approving_review_count": rule.required_reviews,
        "required_review_thread_resolution": False,
    }
    rows: list[Json] = [
        {"type": "deletion", **origin},
        {"type": "non_fast_forward", **origin},
        {"type": "pull_request", "parameters": reviews, **origin},
    ]
    if rule.required_checks:
        checks: Json = {
            "required_status_checks": [{"context": name} for name in rule.required_checks],
            "strict_required_status_checks_policy": False,
        }
        rows.append({"type": "required_status_checks", "parameters": checks, **origin})
    return rows


def routes(hub: Hub) -> list[Route]:
    """The read side of the rules."""

    async def for_branch(request: Request) -> Reply:
        rule = hub.rules.of(request.repo, request.params["branch"])
        return request.paginate(rules_json(rule, request.repo))

    return [
        Route(
            "GET",
            "/repos/{owner}/{repo}/rules/branches/{branch+}",
            for_branch,
            (Need("metadata", "read"),),
        )
    ]
