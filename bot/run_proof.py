"""Who a run of Actions is: what its OIDC token proves, and which claim its name bears.

Promises: only our own workflow on the default branch of a repository that is served is believed, in its first attempt,
on a runner that policy allows; a token is good for one call. Race: a run may be faster than our note of its id; then
the claim must stand in its name.
"""

from __future__ import annotations

from bot.domain.attempt import Attempt
from bot.domain.attempting import RUN_WORKFLOW
from bot.domain.identity import RunIdentity
from bot.domain.repository import RepoRecord
from bot.errors import LostClaim, Refused
from bot.policies import policy_of
from bot.protocols.github import GitHub
from bot.protocols.ledger import Store

RUN_EVENTS = frozenset({"workflow_dispatch", "schedule"})
"""What may start a run that carries out a claim."""


class RunProof:
    """Checks what runs say of themselves."""

    def __init__(self, store: Store, github: GitHub) -> None:
        self._store = store
        self._github = github

    async def repo_of(
        self, who: RunIdentity, workflow: str = RUN_WORKFLOW, events: frozenset[str] = RUN_EVENTS
    ) -> RepoRecord:
        """The repository of the run, if the token was made by our workflow on its default branch. Raises Refused."""
        repos = await self._store.read(lambda tx: tx.repos())
        repo = next((r for r in repos if r.key.repo == who.repository_id and r.active), None)
        if repo is None or repo.owner_id != who.owner_id:
            raise Refused("This repository is not served here.", "Install the App on it.")
        expected = f"{repo.full_name}/.github/workflows/{workflow}@refs/heads/{repo.default_branch}"
        for ref in (who.workflow_ref, who.job_workflow_ref):
            if ref.lower() != expected.lower():
                raise Refused(f"Only `{expected}` may ask.", "Start the workflow on the default branch.")
        if who.event not in events:
            raise Refused(f"A run started by `{who.event}` is not accepted.", f"Accepted: {', '.join(sorted(events))}.")
        if who.run_attempt != 1:
            raise Refused("A re-run has no claim.", "Use `/tgs retry` on the issue instead.")
        if who.runner != "github-hosted" and not policy_of(repo).self_hosted_runners:
            raise Refused(
                "Self-hosted runners are not allowed here.", "Set `self_hosted_runners: true` in `.tgs/policy.yml`."
            )
        return repo

    async def once(self, who: RunIdentity) -> None:
        """Use the token up. Raises Refused when it was used before."""
        fresh = await self._store.write(lambda tx: tx.use_jti(who.jti, who.expires_at))
        if not fresh:
            raise Refused("This OIDC token was used before.", "Ask Actions for a new one.")

    async def check_name(self, repo: RepoRecord, attempt: Attempt, who: RunIdentity) -> None:
        """A run that is faster than our note of its id must bear the claim in its name. Raises LostClaim."""
        if attempt.run_id == who.run_id:
            return
        if attempt.run_id is not None:
            raise LostClaim("the claim belongs to another run")
        run = await self._github.run(repo.key, who.run_id)
        if run is None or attempt.id not in run.display_title.split():
            raise LostClaim("the run does not bear the claim in its name")
