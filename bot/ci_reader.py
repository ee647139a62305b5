"""Reads the repository's own workflows, to know what a pushed branch would start.

Promise: a workflow is judged once per content and branch while this process lives. What GitHub cannot show, or shows
cut, counts as risky. A push starts the files of its own commit, a pull request those of its base, so both are read.
Nothing is read for a result that needs no look by policy, or that somebody has looked at.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from typing import Final

from bot.domain.attempt import Attempt
from bot.domain.ci_trust import WORKFLOWS_DIR, is_workflow, look_wanted, risky
from bot.domain.model import RepoKey
from bot.errors import LookFirst, LostClaim
from bot.policies import policy_of
from bot.protocols.github import GitHub
from bot.protocols.ledger import Store

MAX_KNOWN: Final = 5_000
"""Verdicts that are remembered: those of some hundred repositories under way."""


class CiReader:
    """What the workflows of repositories are trusted with."""

    def __init__(self, github: GitHub, store: Store) -> None:
        self._github = github
        self._store = store
        self._known: OrderedDict[tuple[RepoKey, str, str], bool] = OrderedDict()

    async def check_look(self, attempt: Attempt, digest: str) -> None:
        """Raises LookFirst when a person must look at these bytes before they are pushed."""
        workflows = await self.why_look(attempt, digest)
        if workflows:
            raise LookFirst(
                f"A push starts {', '.join(workflows[:5])}, which may read secrets or write.",
                "Somebody must look at the result first.",
            )

    async def why_look(self, attempt: Attempt, digest: str) -> tuple[str, ...]:
        """The workflows for whose sake a person must look at these bytes; none when nobody need, or somebody has.

        Raises LostClaim when the item has no approved text, and GitHubError when GitHub does not answer.
        """
        repo, item = await self._store.read(lambda tx: (tx.repo(attempt.key.repo_key), tx.item(attempt.key)))
        if repo is None or item is None or item.snapshot is None:
            raise LostClaim("the item has no approved text")
        passed = item.passed
        if passed is not None and hmac.compare_digest(passed.digest.encode(), digest.encode()):
            return ()
        if not look_wanted(policy_of(repo).ci_trust, outsider_text=item.snapshot.contains_outsider_text):
            return ()
        base_branch = item.spec.base_branch or repo.default_branch
        return await self.risky(repo.key, attempt.branch, base_branch, attempt.base_sha)

    async def risky(self, key: RepoKey, branch: str, base_branch: str, base_sha: str | None) -> tuple[str, ...]:
        """The workflows that a push of `branch`, built on this commit, may start with secrets or a right to write.

        Their paths, sorted. Raises GitHubError when GitHub does not answer.
        """
        head = await self._github.head(key, base_branch)
        found: set[str] = set()
        for commit in dict.fromkeys(sha for sha in (head, base_sha) if sha is not None):
            tree = await self._github.tree(key, commit, WORKFLOWS_DIR, recursive=False)
            if tree is None:
                continue
            if tree.truncated:
                found.add(WORKFLOWS_DIR)
            for entry in tree.entries:
                if is_workflow(entry.path) and (entry.type != "blob" or await self._judged(key, entry.sha, branch)):
                    found.add(f"{WORKFLOWS_DIR}/{entry.path}")
        return tuple(sorted(found))

    async def _judged(self, key: RepoKey, sha: str, branch: str) -> bool:
        known = self._known.get((key, sha, branch))
        if known is None:
            known = risky((await self._github.blob(key, sha)).decode("utf-8", "replace"), branch)
            self._known[key, sha, branch] = known
            while len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)
        return known
