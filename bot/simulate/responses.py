"""What people do about an issue because of what its label says: mostly sensible, now and then in a row.

Acts by chance hit a state that lasts for seconds hardly ever; people who look at the label first do. They still see
GitHub only, and what they do comes late or is refused like everything else.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from random import Random
from urllib.parse import unquote

from bot.domain.model import Person
from bot.simulate.hub import Hub
from bot.simulate.things import BOT, MAIN, MARIA, OWNER, RITA, ModelIssue

Act = Callable[[ModelIssue], None]

PLAN = re.compile(r"<!-- tgs:mirror (\S+) -->")

WATCH_EVERY = 10.0
"""Seconds between two looks of somebody who waits for something on an issue."""

NEEDS_PEOPLE = frozenset({"tgs:needs-input", "tgs:failed", "tgs:in-review"})
"""What waits for somebody."""

WATCHED = 0.6
"""How often somebody who sees such an issue for the first time does something about it."""

MOMENT = (1.0, 25.0)
"""Seconds between two acts of one person."""


class Responses:
    """`command` writes a comment that must be answered; `session` lets a person take an item. `over`: nobody begins
    anything any more."""

    def __init__(
        self,
        hub: Hub,
        rng: Random,
        command: Callable[[int, str, Person], object],
        session: Callable[[Person, int], None],
    ) -> None:
        self._hub = hub
        self._rng = rng
        self._command = command
        self.over = False
        self._known: set[tuple[int | str, ...]] = set()
        retry, reject, stop = self._says("/tgs retry"), self._says("/tgs reject no"), self._says("/tgs stop")
        hold, ready, unready = self._label("tgs:hold"), self._label("tgs:ready"), self._unlabel("tgs:ready")
        plan = (self._implement, self._remove_plan)

        def takes(issue: ModelIssue) -> None:
            session(MARIA, issue.number)

        stubborn = self._then(stop, self._then(retry, self._when(("tgs:failed", "tgs:needs-input"), self._merge)))
        held = self._then(hold, reject, stop, self._edit, unready, *plan)
        self._by_state: Mapping[str, tuple[Act, ...]] = {
            "tgs:proposed": (self._says("/tgs approve"), ready, self._then(hold, ready), self._close, *plan),
            "tgs:ready": (held, held, held, unready, self._merge, reject, self._edit, takes, takes),
            "tgs:in-progress": (self._merge, self._merge, stop, self._edit, self._edit, self._close),
            "tgs:needs-input": (reject, self._implement, self._implement, self._merge, self._close, self._says("1")),
            "tgs:in-review": (
                stubborn, stubborn, stubborn, self._then(stop, retry), self._then(self._close_pull, retry), self._merge,
                self._implement, self._close_pull,
            ),
            "tgs:done": (self._then(self._reopen, retry), retry),
            "tgs:failed": (reject, self._implement, self._implement, self._merge, retry, ready),
            "tgs:cancelled": (reject, retry, self._merge, ready, self._then(hold, retry, self._merge)),
        }  # fmt: skip

    def to(self, issue: ModelIssue) -> None:
        """Somebody looks at the issue and does what fits, if anything does."""
        shown = [name for name in sorted(issue.now.labels) if name in self._by_state]
        if shown:
            self._rng.choice(self._by_state[self._rng.choice(shown)])(issue)

    def watch(self) -> None:
        """A maintainer who looks at the list of issues now and then, and does something about what needs people."""
        for issue in list(self._hub.issues.values()):
            showing = issue.now.labels & NEEDS_PEOPLE
            if showing and not issue.deleted and (issue.number, *sorted(showing)) not in self._known:
                self._known.add((issue.number, *sorted(showing)))
                if self._rng.random() < WATCHED:
                    self.to(issue)
        if not self.over:
            asyncio.get_running_loop().call_later(WATCH_EVERY, self.watch)

    # --- how

    def _then(self, first: Act, *second: Act) -> Act:
        """One thing, and a moment later one of these."""

        def act(issue: ModelIssue) -> None:
            first(issue)
            next_ = self._rng.choice(second)
            asyncio.get_running_loop().call_later(self._rng.uniform(*MOMENT), self._unless_over, next_, issue)

        return act

    def _when(self, names: tuple[str, ...], act: Act) -> Act:
        """The act as soon as the issue shows one of these."""

        def look(issue: ModelIssue) -> None:
            if issue.now.labels & set(names):
                act(issue)
            else:
                asyncio.get_running_loop().call_later(WATCH_EVERY, self._unless_over, look, issue)

        return look

    def _unless_over(self, act: Act, issue: ModelIssue) -> None:
        if not self.over and not issue.deleted:
            act(issue)

    def _says(self, text: str) -> Act:
        def act(issue: ModelIssue) -> None:
            self._command(issue.number, text, self._rng.choice([MARIA, OWNER]))

        return act

    def _label(self, name: str) -> Act:
        return lambda issue: self._hub.add_labels(issue.number, [name], MARIA)

    def _unlabel(self, name: str) -> Act:
        def act(issue: ModelIssue) -> None:
            self._hub.remove_label(issue.number, name, MARIA)

        return act

    # --- what

    def _edit(self, issue: ModelIssue) -> None:
        by = RITA if issue.now.author.id == RITA.id else MARIA
        if issue.now.author.id != BOT.id:
            self._hub.edit_issue(issue.number, by, body=f"{issue.now.body}And more ({len(issue.edits)}).\n")

    def _close(self, issue: ModelIssue) -> None:
        self._hub.set_open(issue.number, MARIA, open_=False)

    def _reopen(self, issue: ModelIssue) -> None:
        self._hub.set_open(issue.number, MARIA, open_=True)

    def _plan(self, issue: ModelIssue) -> str | None:
        """The folder that the issue names, if it is still there."""
        found = PLAN.search(issue.now.body)
        folder = unquote(found[1]) if found is not None else ""
        return folder if f"{folder}/plan.md" in self._hub.commits[self._hub.branches[MAIN].now or ""] else None

    def _implement(self, issue: ModelIssue) -> None:
        if (folder := self._plan(issue)) is not None:
            self._hub.commit(MAIN, {f"{folder}/implementation.md": "# By hand\n"}, MARIA)

    def _remove_plan(self, issue: ModelIssue) -> None:
        if (folder := self._plan(issue)) is not None:
            self._hub.commit(MAIN, {f"{folder}/plan.md": None, f"{folder}/research.md": None}, MARIA)

    def _pull(self, issue: ModelIssue) -> int | None:
        own = [n for n, pull in self._hub.pulls.items() if pull.now.body.startswith(f"Closes #{issue.number}\n")]
        return own[-1] if own else None

    def _merge(self, issue: ModelIssue) -> None:
        """Also what was closed before."""
        number = self._pull(issue)
        if number is not None and not self._hub.pulls[number].now.merged:
            self._hub.reopen_pull(number, OWNER)
            if self._hub.pulls[number].now.open:
                self._hub.merge(number, OWNER)

    def _close_pull(self, issue: ModelIssue) -> None:
        if (number := self._pull(issue)) is not None:
            self._hub.close_pull(number, MARIA)
