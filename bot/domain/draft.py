"""A decision in the making: the rules of one item work on it one after another, `finish` freezes it.

The draft is the only mutable thing in the domain and never leaves `advance`. Rules read `draft.item` and
`draft.attempt` as they stand after the rules before them, so the order in `advance.py` is the order of precedence.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from bot.domain import fuse
from bot.domain.attempt import Attempt, AttemptPhase, Outcome, Proof
from bot.domain.effects import Decision, Effect, HistoryLine, Save, Say, Show, Status, Visible, Words
from bot.domain.facts import ItemFacts
from bot.domain.fuse import MAX_WRITES
from bot.domain.incidents import Sighting
from bot.domain.lifecycle import ItemEvent, Move, Refusal, move
from bot.domain.locks import Lock
from bot.domain.model import Failure, FailureReason, IssueKey, Item, ItemState, Key
from bot.domain.notes import Note, NoteCode, note
from bot.domain.questions import Question, Steer
from bot.domain.repository import RepoRecord

BOT = "bot"
"""The actor named in history for what the bot decides by itself."""


class Draft:
    """The working copy of one item's ledger records and the effects collected so far."""

    def __init__(self, facts: ItemFacts, now: datetime) -> None:
        self.facts = facts
        self.now = now
        self.item: Item | None = facts.item
        self.attempt: Attempt | None = facts.attempt
        self.repo: RepoRecord = facts.repo
        self.acts: list[Effect] = []
        self.visible: list[Visible] = []
        self.words: list[Words] = []
        self.last_acts: list[Effect] = []
        self.free_locks = False
        self.look_again: datetime | None = None
        self._history: list[HistoryLine] = []
        self._settled: list[tuple[str, str, Note | None]] = []
        self._wake: list[Key] = []
        self.urgent = False
        self.retry_intents: list[str] = []
        self.replied: list[int] = []
        self.unheld = False
        self.sighted: list[Sighting] = []
        self._ended: Attempt | None = None
        self._opened: Attempt | None = None
        self._locks: tuple[Lock, ...] = ()
        self._steers: list[Steer] = list(facts.steers)
        self._told_steers: list[str] = []
        self._questions: dict[int, Question] = {question.number: question for question in facts.questions}

    # --- state ------------------------------------------------------------------------------------

    @property
    def state(self) -> ItemState | None:
        return self.item.state if self.item else None

    @property
    def live(self) -> Attempt | None:
        """The live attempt, if any."""
        return self.attempt if self.attempt is not None and self.attempt.live else None

    def move(self, event: ItemEvent, *, actor: str, cause: str, **changes: Any) -> Move | Refusal:
        """Apply an event to the item through the transition table; refusals change nothing."""
        assert self.item is not None, "an item exists before events happen to it"
        found = move(self.item.state, event)
        if isinstance(found, Refusal):
            return found
        before = self.item.state
        if found.to is not before:
            # A new state is shown anew; how often labels of the last one were put right does not matter to it.
            fresh = replace(self.item.projection, put_backs=0)
            changes = {"since": self.now, "projection": fresh, **changes}
        self.item = replace(self.item, state=found.to, **changes)
        self._history.append(HistoryLine(event.value, actor, cause, before, found.to, *self._who()))
        if found.to is not before:
            self.urgent = True
            self.wake(self.facts.key.repo_key)
        return found

    def track(self, item: Item, event: ItemEvent, *, actor: str, cause: str) -> None:
        """A new item comes into being through its first event."""
        found = move(None, event)
        assert isinstance(found, Move)
        self.item = replace(item, state=found.to, since=self.now)
        self._history.append(HistoryLine(event.value, actor, cause, None, found.to))
        self.urgent = True
        self.wake(self.facts.key.repo_key)

    def change(self, **changes: Any) -> None:
        """Set fields of the item that are not its state."""
        assert self.item is not None
        self.item = replace(self.item, **changes)

    def note_history(self, kind: str, *, actor: str, cause: str) -> None:
        state = self.state
        # What a person asked for is shown at once.
        self.urgent = self.urgent or actor != BOT
        self._history.append(HistoryLine(kind, actor, cause, state, state, *self._who()))

    def note_history_once(self, kind: str, *, cause: str) -> None:
        """A line that must stand once per cause, although the fact is seen on every look."""
        mark = f"{kind}:{cause}"
        if self.item is not None and self.item.noted != mark:
            self.change(noted=mark)
            self.note_history(kind, actor=BOT, cause=cause)

    def _who(self) -> tuple[Any, int | None]:
        return (self.attempt.id, self.attempt.fence) if self.attempt is not None else (None, None)

    # --- attempt ----------------------------------------------------------------------------------

    def step(self, **changes: Any) -> None:
        """Set fields of the live attempt; a change of phase is one line of history."""
        assert self.attempt is not None
        before = self.attempt.phase
        self.attempt = replace(self.attempt, **changes)
        if self.attempt.phase is not before:
            self._history.append(
                HistoryLine(
                    f"attempt.{self.attempt.phase.value}",
                    BOT,
                    before.value,
                    self.state,
                    self.state,
                    self.attempt.id,
                    self.attempt.fence,
                )
            )
            self.urgent = True

    def end(
        self, outcome: Outcome, *, proof: Proof | None, reason: FailureReason | None = None, detail: str = ""
    ) -> None:
        """End the live attempt. From here on its fence is refused everywhere."""
        failure = Failure(reason, detail, self.now) if reason is not None else None
        self.step(
            phase=AttemptPhase.ENDED,
            outcome=outcome,
            proof=proof,
            failure=failure,
            ended_at=self.now,
        )
        self.wake(self.facts.key.repo_key)

    def hand_to(self, external: Attempt, locks: tuple[Lock, ...]) -> None:
        """From here on the item's attempt is somebody else's; ours has ended before."""
        assert self.live is None
        self._ended, self._opened, self._locks = self.attempt, external, locks
        self.attempt = external
        self.change(fence=external.fence, waiting=(), position=None)
        self.note_history("external", actor=external.worker.name or "somebody", cause=external.claim_ref or "")
        self.urgent = True

    # --- questions --------------------------------------------------------------------------------

    @property
    def questions(self) -> tuple[Question, ...]:
        """Every question of the item, as it stands in this draft, by number."""
        return tuple(self._questions[number] for number in sorted(self._questions))

    def put_question(self, question: Question) -> None:
        """A new question, or what became of a known one."""
        self._questions[question.number] = question

    @property
    def steers(self) -> tuple[Steer, ...]:
        """Words of people to the item's attempts, in their order."""
        return tuple(self._steers)

    def put_steer(self, steer: Steer) -> None:
        """New words to the agent."""
        self._steers.append(steer)

    def tell_steer(self, id_: str) -> None:
        """Their author knows what became of them."""
        self._told_steers.append(id_)
        self._steers = [replace(one, told=True) if one.id == id_ else one for one in self._steers]

    def _changed_questions(self) -> tuple[tuple[Question | None, Question], ...]:
        known = {question.number: question for question in self.facts.questions}
        return tuple((known.get(q.number), q) for q in self.questions if known.get(q.number) != q)

    # --- effects ----------------------------------------------------------------------------------

    def do(self, act: Effect) -> None:
        self.acts.append(act)

    def say(self, topic: str, note: Note, *, on: IssueKey | None = None) -> None:
        """A new comment on the item's issue, or where a command was written."""
        self.words.append(Say(on or self.facts.key, topic, note))

    def settle(self, intent_id: str, outcome: str, answer: Note | None = None) -> None:
        """Close a command. `answer` is kept for whoever asked over the API."""
        self._settled.append((intent_id, outcome, answer))

    def wake(self, key: Key) -> None:
        if key not in self._wake:
            self._wake.append(key)

    def at(self, when: datetime | None) -> None:
        """Look at this item again at the latest then."""
        if when is not None and (self.look_again is None or when < self.look_again):
            self.look_again = when

    def finish(self) -> Decision:
        ordered = self._fused(
            [
                *self.acts,
                *sorted(self.visible, key=lambda v: isinstance(v, Status)),
                *self.last_acts,
                *self.words,
            ]
        )
        save = Save(
            item_before=self.facts.item,
            item_after=self.item,
            attempt_before=self.facts.attempt,
            attempt_after=self._ended if self._opened is not None else self.attempt,
            opened=self._opened,
            take_locks=self._locks,
            repo_before=self.facts.repo,
            repo_after=self.repo,
            history=tuple(self._history),
            settled=tuple(self._settled),
            retried=tuple(self.retry_intents),
            replied=tuple(self.replied),
            free_locks=self.free_locks,
            wake=tuple(self._wake),
            words=tuple(word for word in ordered if isinstance(word, Say)),
            sighted=tuple(self.sighted),
            questions=self._changed_questions(),
            steers=tuple(self._steers[len(self.facts.steers) :]),
            told_steers=tuple(self._told_steers),
        )
        return Decision(save, tuple(ordered), self.look_again)

    def _fused(self, effects: list[Effect]) -> list[Effect]:
        """The effects that are carried out; few when the item's fuse has blown."""
        item = self.item
        if item is None:
            return effects
        before = item.projection
        # What carries out a command of a person is wanted, however often.
        after = before if self.facts.intents else fuse.spend(before, effects, self.now)
        if after != before:
            self.change(projection=after)
        if after.blown_at is None:
            return effects
        left = [effect for effect in effects if fuse.passes(effect, self.item or item)]
        if before.blown_at is None:
            self.note_history("fuse_blown", actor=BOT, cause=f"{after.writes} writes in an hour")
            left.append(Say(self.facts.key, f"fuse:{self.now.isoformat()}", note(NoteCode.FUSE, limit=MAX_WRITES)))
            self.wake(self.facts.key.repo_key)
        return left


__all__ = ["BOT", "Draft", "Show"]
