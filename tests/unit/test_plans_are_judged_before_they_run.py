"""What an item is built from is looked at before anything runs, and a clear reason stands where it cannot run."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from bot.domain.artifacts import CODE_EMPTY, read_plan, unusable
from bot.domain.front_matter import CODE_INVALID, Source, effective_spec, from_issue
from bot.domain.mirror import ThoughtBroken, ThoughtChanged, ThoughtText, mirror
from bot.domain.model import InstallationId, IssueKey, Item, ItemState, Problem, RepoId, ThoughtRef, Withheld
from bot.domain.policy_model import Agent, Policy
from bot.domain.thoughts import CODE_MISSING, CODE_TOO_LARGE, Thought, ThoughtProblem

PLAN = "tgs/thoughts/abc123-search/plan.md"
NOW = datetime(2026, 11, 2, tzinfo=UTC)
THOUGHT = Thought("tgs/thoughts/abc123-search", "abc123", "search", "1" * 40, "2" * 40)

PLANS = {
    "a plan without front matter": ("# Search\n", None, ""),
    "front matter and a sentence": ("---\ntype: bugfix\n---\nSearch.\n", None, ""),
    "an empty file": ("", CODE_EMPTY, f"`{PLAN}` is empty."),
    "spaces and lines": ("\ufeff \n\n#\n---\n", CODE_EMPTY, f"`{PLAN}` is empty."),
    "nothing but front matter": ("---\r\ntype: bugfix\r\n---\r\n\r\n", CODE_EMPTY, f"`{PLAN}` is empty."),
    "a block that is never closed": ("---\ntype: bugfix\n", CODE_INVALID, "never closed"),
    "a key with a wrong value": ("---\ntype: chore\n---\nx\n", CODE_INVALID, "line 2, column 1"),
    "commands that a shell can read": (
        "---\nacceptance: [\"make test\", \"echo 'a b' # don't\", 'x \"$(y)\" | z']\n---\nx\n", None, "",
    ),
    "a command with an open quote": ("---\nacceptance: [\"echo 'a\"]\n---\nx\n", CODE_INVALID, "a quote is not closed"),
    "a command that breaks off": ("---\nacceptance: ['make \\']\n---\nx\n", CODE_INVALID, "ends in a backslash"),
    "a command of two lines": ('---\nacceptance: ["a\\nb"]\n---\nx\n', CODE_INVALID, "must be one line"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "code", "words"), PLANS.values(), ids=PLANS.keys())
def test_a_plan_can_be_worked_on_or_says_why_not(text: str, code: str | None, words: str) -> None:
    result = read_plan(text, PLAN)
    assert [problem.code for problem in result.errors] == ([] if code is None else [code])
    assert (result.matter is None) is (code is not None)
    assert words in "".join(problem.what for problem in result.errors)


def item(*findings: Problem, **changes: object) -> Item:
    key = IssueKey(InstallationId(1), RepoId(2), 3)
    ref = ThoughtRef(THOUGHT.dir, "3" * 40, THOUGHT.plan_sha, THOUGHT.research_sha)
    plain = Item(key, "node", "Search", ItemState.READY, NOW, thought=ref, findings=findings)
    return replace(plain, **changes)  # type: ignore[arg-type]


def problem(code: str) -> Problem:
    return Problem(code, "It is so.", "Mend it.")


STARTS = {
    "a sound plan": (item(), False),
    "a wish that policy cut down": (item(problem("front_matter_limited")), False),
    "front matter that nobody can read": (item(problem("front_matter_limited"), problem(CODE_INVALID)), True),
    "a plan that is empty": (item(problem(CODE_EMPTY)), True),
    "a folder without its research": (item(problem(CODE_MISSING)), True),
    "a plan that is too large": (item(problem(CODE_TOO_LARGE)), True),
    "a mistake in the text of an issue": (item(problem(CODE_INVALID), thought=None), False),
    "work that is done and only to be published": (
        item(problem(CODE_EMPTY), withheld=Withheld("a1", "0" * 64, NOW, seen_by=object())), False,  # type: ignore[arg-type]
    ),
}  # fmt: skip


@pytest.mark.parametrize(("one", "stopped"), STARTS.values(), ids=STARTS.keys())
def test_what_stops_a_start(one: Item, stopped: bool) -> None:
    assert (unusable(one) is not None) is stopped


def test_a_folder_that_breaks_is_told_once_and_its_mending_is_seen() -> None:
    broken = ThoughtProblem(THOUGHT.dir, problem(CODE_MISSING))

    def actions(one: Item, *texts: ThoughtText, problems: tuple[ThoughtProblem, ...] = ()) -> tuple[object, ...]:
        return mirror(texts, [one], problems, Policy(), True, NOW, 0).actions

    assert actions(item(), problems=(broken,)) == (ThoughtBroken(item().key, broken.problem),)
    told = item(broken.problem)
    assert actions(told, problems=(broken,)) == ()
    whole = ThoughtText(THOUGHT, read_plan("# Search\n", PLAN))
    assert actions(told, whole) == (ThoughtChanged(item().key, THOUGHT, False),)
    assert actions(item(), whole) == ()


def test_what_a_plan_does_not_say_about_model_and_qa_the_policy_says() -> None:
    policy = Policy(agent=Agent(model="sonnet", models=("haiku",)))

    def wishes(front: str) -> tuple[str | None, bool]:
        spec, _ = effective_spec(policy, read_plan(f"---\n{front}\n---\nx\n", PLAN), Source.PLAN)
        return spec.model, spec.second_opinion

    assert wishes("type: docs") == (None, False)
    assert wishes("model: haiku\nqa: {required: true}") == ("haiku", True)
    assert wishes("model: opus\nqa: {required: false}") == (None, False)
    spec, _ = effective_spec(policy, from_issue("```yaml tgs\nqa: {required: true}\n```"), Source.ISSUE)
    assert not spec.second_opinion, "the text of an issue spends nobody's money"
