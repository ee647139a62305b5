"""How a run goes on whose ledger was lost: its attempt is there again, and the secrets that proved it are not.

Promises: nobody is believed on a word that cannot be checked. The agent's job is told to go on and is not heard; the
publishing job proves by OIDC which run it is, and GitHub says whether the agent's job succeeded. A run that nobody had
seen when the ledger was rebuilt may take up its claim only while its item waits for it; who comes first has the item.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from datetime import datetime

from bot.claims import Claimed, claim
from bot.domain.attempt import Attempt, Worker, WorkerKind
from bot.domain.attempting import QUEUED_LIMIT
from bot.domain.identity import RunIdentity
from bot.domain.model import AttemptId, IssueKey, ItemState
from bot.domain.repository import RepoRecord
from bot.errors import Refused, Unproved
from bot.policies import policy_of
from bot.protocols.github import GitHub
from bot.protocols.ledger import Ledger, Store


async def take_up(
    store: Store,
    github: GitHub,
    repo: RepoRecord,
    who: RunIdentity,
    claim_id: AttemptId,
    number: int,
    now: datetime,
) -> Attempt | None:
    """The claim of a run that a lost ledger dispatched and that nobody had seen when this one was rebuilt."""
    bot = repo.bot
    if bot is None or who.actor_id != bot.id or repo.rebuilt_at is None or now - repo.rebuilt_at > QUEUED_LIMIT:
        return None
    run = await github.run(repo.key, who.run_id)
    if run is None or run.display_title != f"tgs #{number} {claim_id}":
        return None
    key = IssueKey(repo.key.installation, repo.key.repo, number)
    base = run.head_sha

    def take(tx: Ledger) -> Attempt | None:
        item = tx.item(key)
        if item is None or item.state is not ItemState.IN_PROGRESS:
            return None
        worker = Worker(WorkerKind.ACTIONS, "actions")
        found = claim(
            tx,
            key,
            worker,
            policy=policy_of(repo),
            now=now,
            attempt_id=claim_id,
            base_sha=base,
            run_id=who.run_id,
            awaited=True,
        )
        return found.attempt if isinstance(found, Claimed) else None

    return await store.write(take)


def check_not_recovered(tx: Ledger, attempt_id: str) -> None:
    """Raises Unproved when it cannot be told any more whose secret is good for this attempt."""
    attempt = tx.attempt(AttemptId(attempt_id))
    if attempt is not None and attempt.live and attempt.recovered_at is not None:
        raise Unproved("The bot has lost what proves this attempt; go on, the run's last job proves it.")


def check_reported(attempt: Attempt, digest: str) -> None:
    """The publishing job may publish the bytes for which the agent's job stood, and no others. Raises Refused."""
    gate = attempt.gate_report
    if gate is None and attempt.recovered_at is not None:
        return
    if gate is None or not gate.succeeded or gate.bundle_digest is None:
        raise Refused("The agent's job did not report a result.", "Its log says why.")
    if not hmac.compare_digest(gate.bundle_digest.encode(), digest.encode()):
        raise Refused("The bundle is not the one that the agent's job reported.")


def check_succeeded(attempt: Attempt, conclusions: Sequence[str | None]) -> None:
    """Where the agent's job was not heard, GitHub's word for its end stands in its place. Raises Refused."""
    if attempt.gate_report is None and "success" not in conclusions:
        raise Refused("The agent's job did not succeed.", "Its log says why.")
