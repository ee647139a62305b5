"""The context bundle of an attempt: the snapshot that was approved, pinned paths, earlier failures, limits.

The run reads this from the bot and never the live issue, so that an edit after the approval cannot reach the agent.
"""

from __future__ import annotations

from bot.domain.attempt import Attempt
from bot.domain.attempting import HEARTBEAT
from bot.domain.budget import MICRO
from bot.domain.bundle import (
    AgentPart,
    ContextBundle,
    Identity,
    LeasePart,
    PreviousFailure,
    RepositoryPart,
    SpecPart,
    ThoughtPart,
)
from bot.domain.model import Item
from bot.domain.repository import RepoRecord
from bot.domain.sanitise import for_prompt
from bot.errors import LostClaim
from bot.policies import policy_of
from bot.protocols.github import GitHub
from bot.protocols.ledger import Cost, Ledger, Store


async def context_bundle(store: Store, github: GitHub, attempt: Attempt, html_url: str) -> ContextBundle:
    """Everything the worker is told. Raises LostClaim when the item has no approved snapshot."""

    def read(tx: Ledger) -> tuple[RepoRecord | None, Item | None, list[Attempt], Cost | None]:
        key = attempt.key
        return tx.repo(key.repo_key), tx.item(key), tx.attempts(key), tx.cost(attempt.id)

    repo, item, attempts, cost = await store.read(read)
    if repo is None or item is None or item.snapshot is None or attempt.base_sha is None:
        raise LostClaim("the item has no approved text")
    policy = policy_of(repo)
    there = await github.head(repo.key, attempt.branch) if attempt.number > 1 else None
    existing = None if item.fresh else there
    thought = item.thought
    spec = item.spec
    return ContextBundle(
        attempt=attempt.id,
        number=attempt.number,
        fence=attempt.fence,
        issue=item.key.number,
        title=for_prompt(item.snapshot.title),
        body=for_prompt(item.snapshot.body),
        thought=None
        if thought is None
        else ThoughtPart(
            dir=thought.dir,
            plan_path=f"{thought.dir}/plan.md",
            research_path=f"{thought.dir}/research.md",
            plan_sha=thought.plan_sha,
        ),
        repository=RepositoryPart(
            full_name=repo.full_name,
            clone_url=f"{html_url.rstrip('/')}/{repo.full_name}.git",
            default_branch=repo.default_branch,
            private=repo.private,
        ),
        base_sha=attempt.base_sha,
        branch=attempt.branch,
        existing_branch_sha=existing,
        replaced_branch_sha=there if item.fresh else None,
        spec=SpecPart(
            type=spec.type,
            locks=spec.locks,
            depends_on=spec.depends_on,
            acceptance=spec.acceptance,
            automerge=spec.automerge,
            model=spec.model,
            agent=spec.agent,
            base_branch=spec.base_branch,
            max_attempts=spec.max_attempts,
            # What was reserved for this attempt, which is all that it may spend.
            budget_usd=cost.reserved / MICRO if cost is not None and cost.reserved else None,
            needs=spec.needs,
        ),
        acceptance=spec.acceptance,
        agent=AgentPart(
            adapter=spec.agent or policy.agent.adapter,
            command=policy.agent.command,
            model=spec.model or policy.agent.model,
            max_turns=policy.agent.max_turns,
            timeout_minutes=policy.agent.timeout_minutes,
        ),
        previous_failures=tuple(
            PreviousFailure(
                number=other.number, reason=other.failure.reason.value, detail=for_prompt(other.failure.detail)
            )
            for other in attempts
            if other.failure is not None and other.id != attempt.id
        )[-3:],
        notes=for_prompt(item.notes) if item.notes else None,
        protected_paths=policy.protected_paths,
        lease=LeasePart(heartbeat_seconds=HEARTBEAT.total_seconds()),
        allow_unisolated=policy.allow_unisolated,
        identity=_identity(repo),
        commands={
            "heartbeat": f"/api/v1/attempts/{attempt.id}/heartbeat",
            "report": f"/api/v1/attempts/{attempt.id}/report",
        },
    )


def _identity(repo: RepoRecord) -> Identity:
    """Commits are by the bot's user, in the form in which GitHub links them to the account."""
    if repo.bot is None:
        return Identity()
    return Identity(name=repo.bot.login, email=f"{repo.bot.id}+{repo.bot.login}@users.noreply.github.com")
