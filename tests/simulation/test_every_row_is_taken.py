"""Every row of the transition table is taken in simulated stories, but for those that no history can take
(`bot.simulate.coverage.BEYOND` says why).

Histories by chance take the common rows often and the others seldom; these stories take them on purpose.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache
from random import Random

import pytest

from bot.domain.model import FailureReason, Person
from bot.domain.questions import AskedQuestion, Choice
from bot.simulate.coverage import BEYOND, never_taken
from bot.simulate.things import MAIN, MARIA, OWNER, RITA
from tests.simulation.stage import Stage, staged

Row = tuple[str | None, str, str]

POLICY = "max_parallel: 9\nmax_unreviewed_prs: 50\nattempts: 3\nbudgets:\n  per_item: 1000\n  per_day: 1000\n"
PLANS = f"{POLICY}mirror:\n  enabled: true\n"
ASKS = (AskedQuestion("q", "Shall it?", "Shape", (Choice("Yes", ""), Choice("No", ""))),)


class Acts:
    """What the stories are made of."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self._plans = 0

    def issue(self, *labels: str, by: Person = MARIA) -> int:
        def opens() -> int:
            number = self.stage.hub.open_issue("Thing", "It should.\n", by).number
            for label in labels:
                self.stage.hub.add_labels(number, [label], MARIA)
            return number

        return self.stage.does(opens)

    def plan(self) -> tuple[int, str]:
        """A plan is pushed: its issue and its folder."""
        self._plans += 1
        folder = f"tgs/thoughts/{self._plans:06x}-plan-{self._plans}"
        self.push({f"{folder}/plan.md": f"# Plan {self._plans}\n", f"{folder}/research.md": "# Research\n"})
        self.until(
            lambda: any(f"tgs:mirror {folder}" in self._body(i).replace("%2D", "-") for i in self.stage.hub.issues)
        )
        return max(self.stage.hub.issues), folder

    def _body(self, number: int) -> str:
        return self.stage.hub.issues[number].now.body

    def push(self, files: dict[str, str | None]) -> None:
        self.stage.does(lambda: self.stage.hub.commit(MAIN, files, MARIA))

    def says(self, number: int, text: str) -> None:
        self.stage.does(lambda: self.stage.hub.comment(number, text, OWNER))

    def labels(self, number: int, name: str) -> None:
        self.stage.does(lambda: self.stage.hub.add_labels(number, [name], MARIA))

    def closes(self, number: int) -> None:
        self.stage.does(lambda: self.stage.hub.set_open(number, MARIA, open_=False))

    def works(self, result: FailureReason | None = None, asked: tuple[AskedQuestion, ...] = ()) -> None:
        """From now on agents end like this."""
        site = self.stage.history.site
        site.result = lambda: result  # type: ignore[method-assign]
        site.questions = lambda: asked  # type: ignore[method-assign]

    def until(self, so: Callable[[], bool], minutes: float = 180, step: float = 0.5) -> None:
        for _ in range(int(minutes / step)):
            if so():
                return
            self.stage.passes(step)
        raise AssertionError("in vain")

    def merges(self, number: int, step: float = 0.5) -> None:
        hub = self.stage.hub
        pull = next(n for n, p in hub.pulls.items() if p.now.body.startswith(f"Closes #{number}\n"))
        self.stage.does(lambda: hub.merge(pull, OWNER))
        self.until(lambda: self.stage.state(number) == "done", step=step)

    def comes_to(self, number: int, state: str) -> None:
        self.until(lambda: self.stage.state(number) == state)


def plans(acts: Acts) -> None:
    built, folder = acts.plan()
    acts.push({f"{folder}/implementation.md": "# Done\n"})
    acts.comes_to(built, "done")
    gone, folder = acts.plan()
    acts.push({f"{folder}/plan.md": None, f"{folder}/research.md": None})
    acts.comes_to(gone, "cancelled")
    closed, _ = acts.plan()
    acts.closes(closed)
    acts.comes_to(closed, "cancelled")
    for files in ({"implementation.md": "# Done\n"}, {"plan.md": None, "research.md": None}):
        held, folder = acts.plan()
        acts.labels(held, "tgs:hold")
        acts.labels(held, "tgs:ready")
        acts.comes_to(held, "ready")
        acts.push({f"{folder}/{name}": text for name, text in files.items()})
        acts.until(lambda held=held: acts.stage.state(held) != "ready")  # type: ignore[misc]
    acts.works(FailureReason.POLICY_PROTECTED_PATH)
    failed, folder = acts.plan()
    acts.labels(failed, "tgs:ready")
    acts.comes_to(failed, "failed")
    acts.push({f"{folder}/implementation.md": "# Done\n"})
    acts.comes_to(failed, "done")
    acts.works(asked=ASKS)
    asking, folder = acts.plan()
    acts.labels(asking, "tgs:ready")
    acts.comes_to(asking, "needs-input")
    acts.push({f"{folder}/implementation.md": "# Done\n"})
    acts.comes_to(asking, "done")


def decisions(acts: Acts) -> None:
    sent = acts.issue("tgs:hold", "tgs:ready")
    acts.comes_to(sent, "ready")
    acts.says(sent, "/tgs reject too vague")
    acts.comes_to(sent, "proposed")
    stopped = acts.issue("tgs:hold", "tgs:ready")
    acts.comes_to(stopped, "ready")
    acts.says(stopped, "/tgs stop")
    acts.comes_to(stopped, "cancelled")
    acts.says(stopped, "/tgs reject too vague")
    acts.comes_to(stopped, "proposed")
    acts.works(FailureReason.POLICY_PROTECTED_PATH)
    failing = acts.issue("tgs:ready")
    acts.comes_to(failing, "failed")
    acts.says(failing, "/tgs retry")
    acts.until(lambda: acts.stage.state(failing) != "failed", step=0.05)
    acts.comes_to(failing, "failed")
    acts.says(failing, "/tgs reject no")
    acts.comes_to(failing, "proposed")


def questions(acts: Acts) -> None:
    acts.works(asked=ASKS)
    asking = [acts.issue("tgs:ready") for _ in range(3)]
    for number in asking:
        acts.comes_to(number, "needs-input")
    acts.closes(asking[0])
    acts.comes_to(asking[0], "cancelled")
    acts.says(asking[1], "/tgs reject no")
    acts.comes_to(asking[1], "proposed")
    acts.works()
    acts.says(asking[2], "1")
    acts.comes_to(asking[2], "in-review")


def reviews(acts: Acts) -> None:
    acts.works()
    stopped, merged, closed = (acts.issue("tgs:ready") for _ in range(3))
    hub = acts.stage.hub
    for number in (stopped, merged, closed):
        acts.comes_to(number, "in-review")
    pulls = {
        number: next(n for n, p in hub.pulls.items() if p.now.body.startswith(f"Closes #{number}\n"))
        for number in (stopped, merged, closed)
    }
    acts.says(stopped, "/tgs stop")
    acts.comes_to(stopped, "cancelled")
    acts.stage.does(lambda: hub.merge(pulls[stopped], MARIA))
    acts.comes_to(stopped, "done")
    acts.stage.does(lambda: hub.close_pull(pulls[closed], MARIA))
    acts.comes_to(closed, "cancelled")
    acts.stage.does(lambda: hub.merge(pulls[merged], MARIA))
    acts.comes_to(merged, "done")
    acts.stage.does(lambda: hub.set_open(merged, MARIA, open_=True))
    acts.says(merged, "/tgs retry")
    acts.until(lambda: acts.stage.state(merged) != "done", step=0.05)


def old_pulls(acts: Acts) -> None:
    """What was published and stopped begins anew, and then somebody merges what there was all the same."""
    acts.works()
    waiting, working, failing, asking = (acts.issue("tgs:ready") for _ in range(4))
    for number in (waiting, working, failing, asking):
        acts.comes_to(number, "in-review")
        acts.says(number, "/tgs stop")
        acts.comes_to(number, "cancelled")
    acts.labels(waiting, "tgs:hold")
    acts.says(waiting, "/tgs retry")
    acts.comes_to(waiting, "ready")
    acts.merges(waiting)
    acts.says(working, "/tgs retry")
    rows = acts.stage.history.disk.rows
    runs = "SELECT 1 FROM attempts WHERE number = ? AND phase <> 'ended' AND run_id IS NOT NULL"
    acts.until(lambda: bool(rows(runs, working)), step=0.05)
    acts.merges(working, step=0.005)
    acts.stage.does(lambda: acts.stage.hub.set_open(working, OWNER, open_=True))
    acts.says(working, "/tgs retry")  # too early: whoever works on it has not stopped yet
    acts.until(lambda: "The agent is working on it" in acts.stage.hub.issues[working].comments[-1].body, step=0.05)
    assert acts.stage.state(working) == "done"
    acts.until(lambda: not rows("SELECT 1 FROM attempts WHERE number = ? AND phase <> 'ended'", working), minutes=10)
    acts.works(FailureReason.POLICY_PROTECTED_PATH)
    acts.says(failing, "/tgs retry")
    acts.comes_to(failing, "failed")
    acts.merges(failing)
    acts.works(asked=ASKS)
    acts.says(asking, "/tgs retry")
    acts.comes_to(asking, "needs-input")
    acts.merges(asking)


def meanwhile(acts: Acts) -> None:
    acts.works(FailureReason.AGENT_CRASH)
    edited = acts.issue("tgs:ready", by=RITA)
    rows = acts.stage.history.disk.rows
    acts.until(lambda: bool(rows("SELECT 1 FROM items WHERE number = ? AND not_before IS NOT NULL", edited)), step=0.02)
    acts.stage.does(lambda: acts.stage.hub.edit_issue(edited, RITA, body="Something else.\n"))
    acts.comes_to(edited, "proposed")
    acts.works()
    withdrawn = acts.issue("tgs:ready")
    acts.until(lambda: bool(rows("SELECT 1 FROM attempts WHERE number = ?", withdrawn)), step=0.0002, minutes=0.5)
    acts.stage.does(lambda: acts.stage.hub.remove_label(withdrawn, "tgs:ready", MARIA))
    acts.comes_to(withdrawn, "cancelled")
    again = acts.issue("tgs:hold", "tgs:ready")
    acts.comes_to(again, "ready")
    acts.stage.does(lambda: acts.stage.hub.remove_label(again, "tgs:ready", MARIA))
    acts.comes_to(again, "cancelled")
    acts.says(again, "/tgs retry")
    acts.comes_to(again, "ready")
    changed = acts.issue("tgs:hold", "tgs:ready", by=RITA)
    acts.comes_to(changed, "ready")
    acts.stage.does(lambda: acts.stage.hub.edit_issue(changed, RITA, body="Something else.\n"))
    acts.comes_to(changed, "proposed")


def work(acts: Acts) -> None:
    rows = acts.stage.history.disk.rows
    acts.works(FailureReason.AGENT_CRASH)
    twice = acts.issue("tgs:ready")
    acts.until(lambda: len(rows("SELECT 1 FROM attempts WHERE number = ?", twice)) > 1, step=0.05)
    acts.says(twice, "/tgs stop --now")
    acts.comes_to(twice, "cancelled")
    mine = acts.issue("tgs:hold", "tgs:ready")
    acts.comes_to(mine, "ready")
    acts.stage.does(lambda: acts.stage.hub.commit(MAIN, {".tgs/policy.yml": f"{POLICY}workers: pull\n"}, MARIA))
    acts.stage.passes(minutes=1)
    acts.stage.does(lambda: acts.stage.hub.remove_label(mine, "tgs:hold", MARIA))
    acts.stage.passes(minutes=1)
    acts.stage.history.site.rng = Random(1)  # with it the session says that no code is needed
    acts.stage.does(lambda: acts.stage.history._session(MARIA, mine))
    acts.comes_to(mine, "done")


def elsewhere(acts: Acts) -> None:
    """Somebody claims without the bot, and gives it back."""
    given = acts.issue("tgs:hold", "tgs:ready")
    acts.comes_to(given, "ready")
    acts.says(given, "/tgs pause for the demo")
    acts.stage.passes(minutes=2)
    acts.stage.does(lambda: acts.stage.hub.remove_label(given, "tgs:hold", MARIA))
    acts.stage.passes(minutes=2)
    acts.stage.history.site.rng = Random(1)  # with it the claim is given back
    acts.stage.does(lambda: acts.stage.history._alone(MARIA, given))
    acts.comes_to(given, "in-progress")
    acts.comes_to(given, "ready")


STORIES = {"plans": (PLANS, plans), "decisions": (POLICY, decisions), "questions": (POLICY, questions),
           "reviews": (POLICY, reviews), "old pulls": (POLICY, old_pulls), "meanwhile": (POLICY, meanwhile),
           "work": (POLICY, work), "elsewhere": (f"{POLICY}claim_refs: true\n", elsewhere)}  # fmt: skip


@cache
def rows_of(story: str) -> frozenset[Row]:
    """The rows that a story takes."""
    policy, play = STORIES[story]
    with staged(policy) as stage:
        play(Acts(stage))
        stage.passes(minutes=5)
        return frozenset(stage.history.oracle.rows)


@pytest.mark.parametrize("story", STORIES)
def test_the_story_goes_as_told(story: str) -> None:
    assert rows_of(story)


def test_no_row_is_left_out() -> None:
    taken: Counter[Row] = Counter()
    for story in STORIES:
        taken.update(rows_of(story))
    assert never_taken(taken) == []
    beyond = {(state and state.value, event.value) for state, event in BEYOND}
    assert not beyond & {(before, event) for before, event, _ in taken}
