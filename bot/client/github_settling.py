"""Settling a claim with a person's own token: done, in review, queued again, or failed.

Promise: only who made the claim settles it. The label that says how comes first and the claim ref goes last, so whoever
sees no ref sees labels that are true. `done` needs a merged pull request or the person's word. What an agent said
(message, log) is kept in a comment, without credentials.

A process that dies in between leaves the ref with the new label; settling again ends it, and so does `validate --fix`.
A failure that may pass carries its time in a hidden marker of that comment, because GitHub has no other place for it.
"""

from __future__ import annotations

import difflib
import hmac
import re
from dataclasses import replace
from typing import Final

from bot.client.backlog import Ending, Entry, Held, Settled
from bot.client.github_claims import WORKED, Outside, named, token_hash
from bot.client.github_moves import Moves
from bot.client.github_reading import Reader, retry_marker
from bot.client.github_view import Issue, View
from bot.domain.claim_record import ClaimRef
from bot.domain.facts import PullFacts
from bot.domain.failures import Retry, next_step
from bot.domain.model import FailureReason, ItemState, Person
from bot.domain.sanitise import for_terminal, one_line
from bot.domain.thoughts import IMPLEMENTATION
from bot.errors import LostClaim, Refused, UserError
from bot.texts.failures import SENTENCES
from bot.texts.sessions import completed, failed
from bot.worker.redaction import redact

_PULL: Final = re.compile(r"(?:^#|/pull/)(\d+)/?$")


class Settling:
    """Ends the claims of one person."""

    def __init__(self, reader: Reader, moves: Moves, me: Person, outside: Outside) -> None:
        self._reader = reader
        self._github = reader.github
        self._moves = moves
        self._me = me
        self._outside = outside

    async def complete(self, held: Held, number: int, evidence: str | None) -> Settled:
        """Raises LostClaim, Refused."""
        view, issue, ref = await self._mine(held, number)
        if ref is None:
            return Settled(view.entry(number), f"{named(issue)} was settled already.")
        pull = await self._pull(view, issue, evidence)
        if pull is not None:
            state = ItemState.DONE if pull.merged else ItemState.IN_REVIEW
            text = f"{named(issue)} is {'done' if pull.merged else 'in review'}: pull request #{pull.number}."
        elif evidence is not None and evidence.strip():
            state, text = ItemState.DONE, f"{named(issue)} is done, on your word."
        else:
            raise await self._no_evidence(view, issue)
        await self._moves.show(issue.facts, state)
        if state is ItemState.DONE:
            if pull is None and evidence is not None:
                await self._moves.comment(issue.facts, completed(redact(evidence)))
            await self._moves.close(issue.facts, reason="completed")
        await self._github.release_claim(view.key, ref)
        return Settled(await self._entry(number), text)

    async def _pull(self, view: View, issue: Issue, evidence: str | None) -> PullFacts | None:
        """The pull request that shows the work: the one that was named, else that of the claim's branch."""
        named_pull = _PULL.search(evidence.strip()) if evidence else None
        if named_pull is not None:
            pull = await self._github.pull(view.key, int(named_pull[1]))
            if pull is None or not (pull.open or pull.merged):
                raise Refused(f"#{named_pull[1]} is no open or merged pull request.", "Name one, or say what was done.")
            return pull
        if evidence and evidence.strip():
            return None
        for pull in await self._github.pulls_of_branch(view.key, view.branch_of(issue)):
            if (pull.open or pull.merged) and pull.head_repo_id == pull.base_repo_id and await self._shows(issue, pull):
                return pull
        return None

    async def _shows(self, issue: Issue, pull: PullFacts) -> bool:
        if issue.dir is None:
            return True
        return await self._reader.has_file(f"{issue.dir}/{IMPLEMENTATION}", pull.head_sha)

    async def _no_evidence(self, view: View, issue: Issue) -> Refused:
        branch = view.branch_of(issue)
        pulls = await self._github.pulls_of_branch(view.key, branch)
        if any(pull.open or pull.merged for pull in pulls):
            return Refused(
                f"The pull request of {branch} does not hold {issue.dir}/{IMPLEMENTATION}.",
                "Commit and push that file, or say with --evidence why it is not needed.",
            )
        wanted = f" with {issue.dir}/{IMPLEMENTATION}" if issue.dir is not None else ""
        return Refused(
            f"There is no open pull request of the branch {branch}.",
            f"Push the branch and open one{wanted}, or say with --evidence why none is needed.",
        )

    async def fail(self, held: Held, number: int, ending: Ending) -> Settled:
        """Raises LostClaim; UserError for an unknown reason."""
        reason = reason_of(ending.reason)
        view, issue, ref = await self._mine(held, number)
        if ref is None:
            due = view.not_before.get(number)
            return Settled(view.entry(number), f"{named(issue)} was settled already.", due)
        now = self._outside.clock.now()
        # Each attempt left one event; the one that ends now is counted by the rule itself.
        burnt = max(issue.times(ItemState.IN_PROGRESS) - 1, 0)
        judged = FailureReason.AGENT_CRASH if ending.retryable else reason
        item = replace(view.items[number], attempts_burnt=burnt)
        step = next_step(item, judged, view.policy, now, self._outside.chance())
        due_at = step.at if isinstance(step, Retry) and ending.retryable is not False else None
        log = redact(ending.log) if ending.log else None
        marker = retry_marker(due_at) if due_at is not None else ""
        await self._moves.comment(issue.facts, failed(reason, redact(ending.message), log, due_at, marker))
        state = ItemState.READY if due_at is not None else ItemState.FAILED
        mine = self._me.login if any(person.id == self._me.id for person in issue.facts.assignees) else None
        await self._moves.show(issue.facts, state, unassign=mine)
        await self._github.release_claim(view.key, ref)
        again = "is queued again" if due_at is not None else "failed"
        return Settled(await self._entry(number), f"{named(issue)} {again}. {SENTENCES[reason]}", due_at)

    async def _mine(self, held: Held, number: int) -> tuple[View, Issue, ClaimRef | None]:
        """The item and our claim on it; None: it was settled before. Raises LostClaim when it is not ours any more."""
        project = await self._reader.project()
        view = await self._reader.view(project, states=(), also=(number,))
        issue = view.issues.get(number)
        if issue is None:
            raise UserError(f"#{number} is not there, or your token cannot see it.", "Check the number.")
        ref = view.ref_of(number)
        record = ref.record if ref is not None else None
        if ref is None or record is None:
            if ref is None and issue.state is not None and issue.state not in WORKED and held.attempt is None:
                return view, issue, None
            raise LostClaim(f"There is no claim of yours on {named(issue)} any more. Stop, and change nothing.")
        same = record.owner == self._me.login and (
            held.token is None or hmac.compare_digest(record.nonce, token_hash(held.token))
        )
        if not same or held.attempt not in (None, record.claim_id) or held.fence not in (None, record.fence):
            raise LostClaim(f"The claim on {named(issue)} is {ref.who}'s now. Stop, and change nothing.")
        return view, issue, ref

    async def _entry(self, number: int) -> Entry:
        project = await self._reader.project()
        return (await self._reader.view(project, states=(), also=(number,))).entry(number)


def reason_of(text: str) -> FailureReason:
    """Raises UserError, naming the nearest ones."""
    try:
        return FailureReason(text)
    except ValueError:
        near = difflib.get_close_matches(text, list(FailureReason), n=3, cutoff=0.4)
        raise UserError(
            f"`{for_terminal(one_line(text), 60)}` is no reason of a failure.",
            f"One of: {', '.join(near or list(FailureReason))}.",
        ) from None
