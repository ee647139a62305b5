"""What must always hold, judged from outside: the raw tables as the database saw them change, and the model of GitHub.

Nothing here asks the bot or uses its rules. Each commit, each request to GitHub and each change there is one step, and
after each the invariants that it could break are looked at. A breach is noted once per invariant and subject.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from bot.domain.facts import IssueFacts
from bot.domain.lifecycle import ItemEvent
from bot.protocols.github import Visible
from bot.simulate.disk import Disk
from bot.simulate.hub import Hub
from bot.simulate.order import Order
from bot.simulate.process import SEEN, START, Process
from bot.simulate.things import BOT, Delivery, ModelComment, ModelRun
from bot.simulate.way import Watcher
from bot.store.fencing import RUN
from bot.store.memory import Change

ENDED = "ended"

FIXED_AT_END = ("phase", "outcome", "proof", "lease_until", "progress", "report", "gate_report", "run_id", "started_at")
"""What nobody may change of an attempt that has ended."""

READ_WITHIN = 120.0
"""Seconds between reading an item on GitHub and claiming it: the read belongs to the claim."""

OUTDATED = 45 * 60.0
"""Seconds after which what a person wants on GitHub must have reached the bot, webhook or not."""

LAST_LOOK = 30.0
"""Seconds in which whoever claims without the bot has looked once more at who else claims."""

DAY_MICROS = 86_400 * 1_000_000
"""A day, as the database keeps times."""

COMMAND = re.compile(r"intent:comment:\d+:\d+(?=\b)")

SAID = re.compile(r"<!-- tgs:say (\S+) -->")


@dataclass(frozen=True)
class Violation:
    """What was broken, when (seconds of the history), and how it is known."""

    invariant: str
    at: float
    what: str

    def __str__(self) -> str:
        return f"{self.invariant} at {self.at:.1f} s: {self.what}"


_Reads = WeakKeyDictionary[asyncio.Task[Any], dict[int, tuple[float, IssueFacts | None]]]


class Oracle(Watcher):
    """Collects violations."""

    def __init__(self, hub: Hub, disk: Disk) -> None:
        self.hub = hub
        self.disk = disk
        self.steps = 0
        self.violations: list[Violation] = []
        self.rows: Counter[tuple[str | None, str, str]] = Counter()
        """(state before, event, state after) as history recorded them."""
        self._seen: set[tuple[str, str]] = set()
        self._attempts: dict[str, dict[str, Any]] = {}
        self._ended_at: dict[str, int] = {}
        self._items: dict[int, dict[str, Any]] = {}
        self._reads: _Reads = WeakKeyDictionary()
        """What each task has read of issues, and when. Another task of its process may have seen what is newer."""
        self._stops: dict[int, float] = {}
        self._dispatched: list[float] = []
        self._last_event = 0
        self._order = Order()
        self._rightly_done: set[int] = set()
        """Issues whose item is done as it must be; a lost database changes nothing about that."""
        self.policy: dict[str, Any] = {}
        self.lost_at: float | None = None
        """When the database was lost, if it was."""
        self.enough: frozenset[str] = frozenset()
        """The history may end as soon as one of these is violated."""
        self.found = asyncio.Event()
        disk.on_commit = self.committed

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def broken(self, invariant: str, subject: object, what: str) -> None:
        """Notes a breach, once for each subject."""
        if (invariant, str(subject)) not in self._seen:
            self._seen.add((invariant, str(subject)))
            self.violations.append(Violation(invariant, self.now, what))
            if invariant in self.enough:
                self.found.set()

    def lost(self) -> None:
        """The database is gone. What the judge knew of its rows goes with it; what it knows of GitHub stays."""
        self.lost_at = self.now
        for known in (self._attempts, self._ended_at, self._items):
            known.clear()
        self._reads.clear()
        self._order.clear()
        self._last_event = 0
        # The last good policy went with it where the file is broken, and so did the count of what ran and was spent.
        self.policy.clear()

    # --- commits

    def committed(self, process: Process, changes: Sequence[Change]) -> None:
        """One transaction of a process is on disk."""
        self.steps += 1
        if not changes:
            return
        states: dict[int, tuple[str | None, str]] = {}
        lines: list[dict[str, Any]] = []
        touched: set[int] = set()
        for change in changes:
            row = change.after or change.before
            assert row is not None
            match change.table:
                case "attempts":
                    touched.add(row["number"])
                    self._attempt(change)
                case "items":
                    touched.add(row["number"])
                    self._item(change, states)
                case "events":
                    self._event(change, lines)
                case "spending":
                    self._reserved(change)
                case "locks":
                    touched.add(row["number"])
                case "deliveries" | "intents" if change.before is not None and change.after is None:
                    self.broken("I12", change.before["id"], f"a row of {change.table} is gone: {change.before['id']}")
                case "intents" if change.before is not None and change.before["outcome"] is None:
                    wrong = self._order.settled(row)
                    if wrong is not None:
                        self.broken("order", row["id"], wrong)
        self._overtaken("wrote to the ledger")
        self._history(states, lines)
        for number in sorted(touched):
            self._one_live(number)
            self._locks(number)

    def _attempt(self, change: Change) -> None:
        before, after = change.before, change.after
        if after is None:
            self.broken("I8", before and before["id"], "an attempt was deleted")
            return
        id_ = after["id"]
        self._attempts[id_] = after
        if before is None:
            # After the database was lost, attempts that GitHub tells of are written down; that starts nothing.
            if self.lost_at is None or (after["recovered_at"] is None and after["phase"] != ENDED):
                self._claimed(after)
            return
        if before["phase"] == ENDED:
            wrong = [name for name in FIXED_AT_END if before[name] != after[name]]
            if wrong:
                self.broken("I2", id_, f"{', '.join(wrong)} of {id_} changed after its end")
        elif after["phase"] == ENDED:
            self._ended_at[id_] = self.disk.commits
            self._released(after)

    def _claimed(self, row: dict[str, Any]) -> None:
        """I10: the item was read on GitHub for this start, and was as it must be. I4: people want it."""
        number = row["number"]
        if row["worker_kind"] == "external":
            return
        others = [a for a in self._attempts.values() if a["number"] == number and a["id"] != row["id"]]
        if any(other["fence"] >= row["fence"] for other in others):
            self.broken("I2", row["id"], f"the fence {row['fence']} of #{number} is not higher than those before")
        at, facts = self._read_here().get(number, (-1e9, None))
        if self.now - at > READ_WITHIN:
            self.broken("I10", row["id"], f"#{number} was claimed without a fresh look at it")
        elif facts is None or not facts.open or facts.labels & {"tgs:hold", "tgs:no-agent"}:
            self.broken("I10", row["id"], f"#{number} was claimed although the look at it forbade that")
        self._wanted("was claimed", number, row["id"])

    def _wanted(self, what: str, number: int, subject: object) -> None:
        issue = self.hub.issues[number]
        stop = issue.deleted or not issue.now.open or bool(issue.now.labels & {"tgs:no-agent"})
        since = self._stops.get(number)
        if stop and since is not None and self.now - since > OUTDATED:
            self.broken("I4", subject, f"#{number} {what} {self.now - since:.0f} s after a person said stop")

    def _released(self, row: dict[str, Any]) -> None:
        """I3: whoever was given up is dead, or can do no harm."""
        runs = [run for run in self.hub.runs.values() if run.claim_id == row["id"] and not run.over]
        reported = row["report"] is not None
        if row["worker_kind"] == "actions" and runs and not reported:
            self.broken("I3", row["id"], f"{row['id']} was given up while its run {runs[0].now.id} is alive")
        if row["proof"] is None:
            self.broken("I3", row["id"], f"{row['id']} ended without a proof")

    def _item(self, change: Change, states: dict[int, tuple[str | None, str]]) -> None:
        before, after = change.before, change.after
        if after is None:
            self.broken("I13", before and before["number"], "an item was deleted")
            return
        number = after["number"]
        self._items[number] = after
        if before is None or before["state"] != after["state"]:
            first = states.get(number, (before["state"] if before else None, ""))[0]
            states[number] = (first, after["state"])
            if after["state"] == "done":
                self._done(number, after)
            elif before is not None:
                self._rightly_done.discard(number)

    def _done(self, number: int, row: dict[str, Any]) -> None:
        """I5: merged, built on the default branch, or a person's word."""
        if self._has_reason(number, row) or number in self._rightly_done:
            self._rightly_done.add(number)
        else:
            self.broken("I5", number, f"#{number} is done without a merge or a person's word")

    def _has_reason(self, number: int, row: dict[str, Any]) -> bool:
        pull = json.loads(row["pull"]) if row["pull"] else None
        if pull is not None and pull["number"] in self.hub.pulls and self.hub.pulls[pull["number"]].now.merged:
            return True
        main = self.hub.commits[self.hub.branches["main"].now or ""]
        if row["thought_dir"] and f"{row['thought_dir']}/implementation.md" in main:
            return True
        last = max(
            (a for a in self._attempts.values() if a["number"] == number), key=lambda a: a["fence"], default=None
        )
        report = json.loads(last["report"]) if last is not None and last["report"] else {}
        if last is None:
            return False
        return last["worker_kind"] == "external" or bool(report.get("no_code") and last["worker_kind"] == "interactive")

    def _event(self, change: Change, lines: list[dict[str, Any]]) -> None:
        if change.before is not None or change.after is None:
            self.broken("I8", (change.before or {}).get("id"), "a line of history was changed")
            return
        line = change.after
        if line["id"] <= self._last_event:
            self.broken("I8", line["id"], "history is out of order")
        self._last_event = line["id"]
        lines.append(line)
        if not line["actor"] or not line["cause"]:
            self.broken("I8", line["id"], f"the line {line['kind']} of #{line['number']} has no actor or no cause")
        if line["to_state"] is not None and line["kind"] in EVENTS:
            self.rows[line["from_state"], line["kind"], line["to_state"]] += 1

    def _reserved(self, change: Change) -> None:
        """I7: nothing is set aside that passes a ceiling together with what is spent or set aside already.

        What an agent spent beyond its own limit is counted as it was; then nothing more may be set aside.
        """
        row = change.after
        if row is None:
            self.broken("I7", (change.before or {}).get("attempt"), "what an attempt cost was forgotten")
            return
        if change.before is not None:
            return
        sums = "SELECT coalesce(sum(coalesce(spent, reserved)), 0) AS used FROM spending WHERE repo = ? AND "
        day = row["at"] - row["at"] % DAY_MICROS
        for name, used in (
            ("per_item", self.disk.rows(f"{sums} number = ?", row["repo"], row["number"])[0]["used"]),
            ("per_day", self.disk.rows(f"{sums} at >= ? AND at < ?", row["repo"], day, day + DAY_MICROS)[0]["used"]),
            # There is one repository, so what the whole deployment spent is what this one spent.
            ("deployment", self.disk.rows(f"{sums} at >= ? AND at < ?", row["repo"], day, day + DAY_MICROS)[0]["used"]),
        ):
            limit = self.policy.get(name)
            if limit is not None and used > limit * 1_000_000 and (name == "deployment" or self._policy_is_known()):
                self.broken("I7", (name, row["attempt"]), f"{used / 1e6} $ for {row['attempt']}, {name} is {limit} $")

    def _history(self, states: dict[int, tuple[str | None, str]], lines: Sequence[dict[str, Any]]) -> None:
        """I8: each change of a state has one line, and each such line a change."""
        for number, (first, last) in states.items():
            told = [(x["from_state"], x["to_state"]) for x in lines if x["number"] == number and x["to_state"]]
            moved = [(a, b) for a, b in told if a != b]
            if not moved or moved[0][0] != first or moved[-1][1] != last:
                self.broken("I8", (number, self.steps), f"#{number} went from {first} to {last}, history says {told}")
        for number in {line["number"] for line in lines} - states.keys():
            own = [x for x in lines if x["number"] == number and x["to_state"] and x["from_state"] != x["to_state"]]
            if own and own[0]["from_state"] != own[-1]["to_state"]:
                self.broken("I8", own[0]["id"], f"history moves #{number}, the item did not move")

    def _one_live(self, number: int) -> None:
        live = [a["id"] for a in self._attempts.values() if a["number"] == number and a["phase"] != ENDED]
        if len(live) > 1:
            self.broken("I1", number, f"#{number} has {len(live)} live attempts: {', '.join(live)}")

    def _locks(self, number: int) -> None:
        """I6: locks are held exactly while somebody works or a pull request is open."""
        held = self.disk.rows("SELECT path, attempt, mode FROM locks WHERE number = ?", number)
        live = [a for a in self._attempts.values() if a["number"] == number and a["phase"] != ENDED]
        item = self._items.get(number)
        open_pull = item is not None and item["pull"] is not None and item["state"] not in {"done", "cancelled"}
        if held and not live and not open_pull:
            self.broken("I6", number, f"#{number} holds {held[0]['path']} without an attempt or a pull request")
        works = live and live[0]["worker_kind"] != "external" and not self._known_as_over(live[0])
        unlocked = works and self.policy.get("locks") and not held
        if unlocked and self._policy_is_known(live[0]["policy_hash"]):
            self.broken("I6", number, f"#{number} is worked on without its locks")
        for row in held:
            if row["mode"] == "write":
                self._locked_alone(number, row)

    def _known_as_over(self, attempt: Mapping[str, Any]) -> bool:
        """Whether it was found after a loss, with a run that had ended: it is live until the ledger has settled it."""
        run = self.hub.runs.get(attempt["run_id"])
        return attempt["recovered_at"] is not None and run is not None and run.over

    def _locked_alone(self, number: int, held: Mapping[str, Any]) -> None:
        """Of two who claim one path at the same time without one ledger, one sees it in its last look and gives way."""
        others = self.disk.rows("SELECT * FROM locks WHERE path = ? AND number <> ?", held["path"], number)
        both = [self._attempts.get(row["attempt"]) for row in (held, *others)]
        since = START.timestamp() + self.now - LAST_LOOK
        young = any(one["worker_kind"] == "external" and one["claimed_at"] / 1e6 > since for one in both if one)
        if others and not young:
            self.broken("I6", held["path"], f"#{number} and #{others[0]['number']} both hold {held['path']}")

    def _policy_is_known(self, when: str | None = None) -> bool:
        """Whether the bot has found the policy, and had `when` this one was in force; somebody may have broken the file
        before it first looked."""
        known = self.disk.rows("SELECT policy_hash FROM repos WHERE policy_text IS NOT NULL")
        return bool(known) and when in {None, known[0]["policy_hash"]}

    # --- what the bot asks of GitHub

    def asks(self, process: Process, verb: str, subject: Any) -> None:
        self.steps += 1
        self._overtaken(f"asked GitHub to {verb}")
        match verb:
            case "dispatch":
                self._fence(subject["claim_id"], "a run was dispatched")
                issue = int(subject["issue"])
                self._wanted("was dispatched", issue, subject["claim_id"])
            case "open_pull":
                branch, _ = subject
                live = [a for a in self._attempts.values() if a["branch"] == branch and a["phase"] != ENDED]
                if not live:
                    ended = max((a for a in self._attempts.values() if a["branch"] == branch), key=lambda a: a["fence"])
                    self._fence(ended["id"], "a pull request was opened")
            case _:
                pass

    def _fence(self, attempt: str, what: str) -> None:
        """I2: the task that does this has seen the ledger since the attempt's end; it should have known."""
        ended = self._ended_at.get(attempt)
        if ended is not None and SEEN.get() >= ended:
            self.broken("I2", attempt, f"{what} for {attempt}, which has ended")

    def _overtaken(self, what: str) -> None:
        """I2, where processes share the queue: a run whose key another one has begun to run does nothing any more."""
        run = RUN.get()
        if run is not None:
            there = self.disk.rows("SELECT epoch FROM keys WHERE key = ?", run.key)
            if there and there[0]["epoch"] != run.epoch:
                self.broken("I2", f"{run.key} {run.epoch}", f"an overtaken run of {run.key} {what}")

    def reads_issue(self, process: Process, number: int, facts: IssueFacts | None) -> None:
        self._read_here()[number] = (self.now, facts)

    def _read_here(self) -> dict[int, tuple[float, IssueFacts | None]]:
        """By the running task."""
        task = asyncio.current_task()
        assert task is not None
        return self._reads.setdefault(task, {})

    # --- what happens on GitHub

    def changed(self) -> None:
        """Something changed on GitHub: whose stop is in force since when."""
        self.steps += 1
        for number, issue in self.hub.issues.items():
            stop = issue.deleted or not issue.now.open or bool(issue.now.labels & {"tgs:no-agent"})
            if stop:
                self._stops.setdefault(number, self.now)
            else:
                self._stops.pop(number, None)

    def dispatched(self, claim: str) -> None:
        """A run has begun to exist."""
        same = [run for run in self.hub.runs.values() if run.claim_id == claim and claim]
        publishing = [run for run in same if run.inputs.get("publish_only")]
        if len(same) - len(publishing) > 1 or len(publishing) > 1:
            self.broken("once", claim, f"{len(same)} runs were dispatched for {claim}")
        self._alone(same[-1])
        self._dispatched.append(self.now)
        limit = self.policy.get("dispatches_per_day")
        day = [at for at in self._dispatched if self.now - at < 24 * 3600 - 600]
        if limit is not None and len(day) > limit and self._policy_is_known():
            self.broken("I7", len(day), f"{len(day)} runs within a day, and the limit is {limit}")

    def _alone(self, run: ModelRun) -> None:
        """I13: what ran when the database was lost is never started a second time beside itself."""
        if self.lost_at is None:
            return
        for other in self.hub.runs.values():
            beside = other is not run and not other.over and other.inputs.get("issue") == run.inputs.get("issue")
            if beside and (other.now.created_at - START).total_seconds() < self.lost_at:
                self.broken("I13", run.claim_id, f"#{run.inputs['issue']} was started beside its run {other.now.id}")

    def commented(self, comment: ModelComment) -> None:
        """I9: what is to be said once is said once."""
        if comment.author.id != BOT.id:
            return
        for marker in SAID.findall(comment.body):
            there = [c for c in self.hub.comments.values() if marker in SAID.findall(c.body) and c.author.id == BOT.id]
            if len(there) > 1:
                self.broken("I9", marker, f"said {len(there)} times: {marker}")
            command = COMMAND.search(marker)
            if command is not None:
                own = [c for c in self.hub.comments.values() if c.author.id == BOT.id and command[0] in c.body]
                if len({m for c in own for m in SAID.findall(c.body)}) > 1:
                    self.broken("I9", command[0], f"the command {command[0]} was answered {len(own)} times")

    def taken(self, delivery: Delivery) -> None:
        """I12: what GitHub was told is taken is on disk."""
        if not delivery.event.startswith("installation") and not self.disk.rows(
            "SELECT id FROM deliveries WHERE guid = ?", delivery.guid
        ):
            known = self.disk.rows("SELECT count(*) AS n FROM deliveries")[0]["n"]
            self.broken("I12", delivery.guid, f"{delivery.guid} was answered 202 and is not on disk ({known} are)")

    def bug(self, process: Process, key: str | None, error: BaseException) -> None:
        """The bot met an error of its own."""
        self.broken("no errors", f"{type(error).__name__} {str(error)[:60]}", f"{key}: {type(error).__name__}: {error}")


EVENTS = frozenset(event.value for event in ItemEvent)
"""Kinds of lines that are rows of the transition table."""

__all__ = ["Oracle", "Violation", "Visible"]
