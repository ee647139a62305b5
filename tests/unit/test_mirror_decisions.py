"""Thoughts become issues once, in bounded numbers, and changes of a plan void its approval."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.domain.front_matter import from_plan
from bot.domain.mirror import (
    RATE_RETRY,
    CreateIssue,
    Implemented,
    Listed,
    ListedBecause,
    MirrorDecision,
    Retitle,
    ThoughtBroken,
    ThoughtChanged,
    ThoughtRemoved,
    ThoughtText,
    mirror,
)
from bot.domain.model import InstallationId, IssueKey, Item, ItemState, Problem, RepoId
from bot.domain.policy_model import Mirror, Policy
from bot.domain.thoughts import Thought, ThoughtProblem

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
AUTO = Policy(mirror=Mirror(auto_ready=True))


def thought(number: int, plan: str = "p1", *, built: bool = False, slug: str = "do-it") -> Thought:
    hash_ = f"{number:06d}"
    return Thought(f"tgs/thoughts/{hash_}-{slug}", hash_, slug, "r1", plan, built)


def text(of: Thought, plan: str = "") -> ThoughtText:
    return ThoughtText(of, from_plan(plan))


def item(number: int, of: Thought, state: ItemState = ItemState.PROPOSED, title: str = "Do it") -> Item:
    key = IssueKey(InstallationId(1), RepoId(2), number)
    return Item(key, f"n{number}", title, state, NOW, thought=of.ref("c" * 40))


def decide(
    thoughts: list[ThoughtText],
    items: list[Item] | None = None,
    policy: Policy | None = None,
    *,
    problems: list[ThoughtProblem] | None = None,
    decided: bool = True,
    counted: int = 0,
) -> MirrorDecision:
    return mirror(thoughts, items or [], problems or [], policy or Policy(), decided, NOW, counted)


@pytest.mark.parametrize(("policy", "state"), [(Policy(), ItemState.PROPOSED), (AUTO, ItemState.READY)])
def test_a_new_thought_becomes_an_issue(policy: Policy, state: ItemState) -> None:
    new = text(thought(1), "---\ntitle: Sign in\n---\n")
    assert decide([new], policy=policy).actions == (CreateIssue(new.thought, "Sign in", state),)


def test_the_folder_names_the_issue_when_the_plan_does_not() -> None:
    (action,) = decide([text(thought(1))]).actions
    assert isinstance(action, CreateIssue)
    assert action.title == "Do it"


def test_a_plan_is_read_before_its_issue_is_created() -> None:
    unread = ThoughtText(thought(1))
    decision = decide([unread])
    assert decision.actions == ()
    assert decision.read == (unread.thought,)


@pytest.mark.parametrize(
    ("plan", "policy", "decided", "because"),
    [
        pytest.param("", Policy(), False, ListedBecause.UNDECIDED, id="nobody has decided"),
        pytest.param("", Policy.default(), True, ListedBecause.DISABLED, id="mirroring is off"),
        pytest.param("---\ntype: x\n---\n", Policy(), True, ListedBecause.INVALID, id="a mistake in the plan"),
        pytest.param("", Policy(mirror=Mirror(max_backlog=0)), True, ListedBecause.BACKLOG, id="the backlog is full"),
    ],
)
def test_a_thought_is_only_listed_when(plan: str, policy: Policy, decided: bool, because: ListedBecause) -> None:
    decision = decide([text(thought(1), plan)], policy=policy, decided=decided)
    assert decision.actions == ()
    assert [entry.because for entry in decision.listed] == [because]
    assert bool(decision.listed[0].problems) is (because is ListedBecause.INVALID)


def test_a_draft_becomes_a_proposal_whatever_the_policy_says_about_readiness() -> None:
    plan = text(thought(1), "---\nstatus: draft\n---\n")
    decision = decide([plan], policy=Policy(mirror=Mirror(auto_ready=True)), decided=True)
    assert [action.state for action in decision.actions if isinstance(action, CreateIssue)] == [ItemState.PROPOSED]
    assert decision.listed == ()


def test_what_is_built_needs_no_issue_and_no_mention() -> None:
    assert decide([text(thought(1, built=True))]) == MirrorDecision()


def test_a_switched_off_bot_does_nothing() -> None:
    assert decide([text(thought(1))], [item(1, thought(2))], Policy(enabled=False)) == MirrorDecision()


def test_an_unusable_folder_is_listed_with_its_problem() -> None:
    problem = Problem("thought_name", "bad", "rename it")
    decision = decide([], problems=[ThoughtProblem("tgs/thoughts/x", problem)])
    assert decision.listed == (Listed("tgs/thoughts/x", ListedBecause.INVALID, (problem,)),)


def test_five_hundred_thoughts_make_at_most_the_backlog_and_one_list() -> None:
    policy = Policy(mirror=Mirror(max_backlog=50, per_hour=200))
    decision = decide([text(thought(n)) for n in range(500)], policy=policy)
    assert len(decision.actions) == 50
    assert len(decision.listed) == 450
    assert {entry.because for entry in decision.listed} == {ListedBecause.BACKLOG}
    assert decision.wake_at is None


def test_the_hourly_limit_counts_what_was_created_and_looks_again() -> None:
    decision = decide([text(thought(n)) for n in range(40)], counted=10)
    assert len(decision.actions) == 20
    assert {entry.because for entry in decision.listed} == {ListedBecause.RATE}
    assert decision.wake_at == NOW + RATE_RETRY


def test_no_more_plans_are_read_than_issues_can_be_created() -> None:
    decision = decide([ThoughtText(thought(n)) for n in range(500)])
    assert len(decision.read) == Policy().mirror.per_hour


def test_open_issues_fill_the_backlog_and_ended_ones_do_not() -> None:
    policy = Policy(mirror=Mirror(max_backlog=2))
    held = [item(1, thought(1)), item(2, thought(2), ItemState.DONE), item(3, thought(3), ItemState.FAILED)]
    texts = [text(thought(n)) for n in range(1, 7)]
    assert len(decide(texts, held, policy).actions) == 1


@pytest.mark.parametrize(
    "state", [state for state in ItemState if state not in {ItemState.DONE, ItemState.FAILED, ItemState.CANCELLED}]
)
def test_a_changed_plan_voids_the_approval(state: ItemState) -> None:
    new = text(thought(1, "p2"))
    assert decide([new], [item(7, thought(1), state)]).actions == (
        ThoughtChanged(item(7, thought(1)).key, new.thought, False),
    )


def test_a_plan_that_became_a_draft_is_told_as_one() -> None:
    (action,) = decide([text(thought(1, "p2"), "---\nstatus: draft\n---\n")], [item(7, thought(1))]).actions
    assert isinstance(action, ThoughtChanged)
    assert action.draft


def test_a_title_follows_only_when_the_plan_changed_and_names_one() -> None:
    renamed_by_people = item(7, thought(1), title="People's title")
    assert decide([text(thought(1), "---\ntitle: Old\n---\n")], [renamed_by_people]).actions == ()
    actions = decide([text(thought(1, "p2"), "---\ntitle: New\n---\n")], [renamed_by_people]).actions
    assert actions[1:] == (Retitle(renamed_by_people.key, "New"),)
    assert len(decide([text(thought(1, "p2"))], [renamed_by_people]).actions) == 1


def test_a_renamed_folder_is_the_same_thought() -> None:
    new = text(thought(1, slug="do-it-better"))
    assert decide([new], [item(7, thought(1))]).actions == (
        ThoughtChanged(item(7, thought(1)).key, new.thought, False),
    )


def test_a_removed_folder_is_told_once_it_is_really_gone() -> None:
    known = item(7, thought(1))
    assert decide([], [known]).actions == (ThoughtRemoved(known.key),)
    broken = ThoughtProblem(thought(1).dir, Problem("thought_unsafe", "x", "y"))
    assert decide([], [known], problems=[broken]).actions == (ThoughtBroken(known.key, broken.problem),)
    assert decide([], [replace(known, state=ItemState.DONE)]).actions == ()


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (ItemState.PROPOSED, True),
        (ItemState.READY, True),
        (ItemState.IN_PROGRESS, False),
        (ItemState.IN_REVIEW, False),
        (ItemState.FAILED, True),
        (ItemState.CANCELLED, False),
        (ItemState.DONE, False),
    ],
)
def test_an_implementation_by_others_is_told_while_nothing_runs(state: ItemState, told: bool) -> None:
    known = item(7, thought(1), state)
    actions = decide([text(thought(1, built=True))], [known]).actions
    assert actions == ((Implemented(known.key),) if told else ())


def carry_out(items: list[Item], decision: MirrorDecision) -> list[Item]:
    """What the ledger holds after the actions."""
    after = {entry.key: entry for entry in items}
    for action in decision.actions:
        match action:
            case CreateIssue(thought=of, title=title, state=state):
                new = item(1_000 + len(after), of, state, title)
                after[new.key] = new
            case Retitle(issue=issue, title=title):
                after[issue] = replace(after[issue], title=title)
            case ThoughtChanged(issue=issue, thought=of):
                after[issue] = replace(after[issue], thought=of.ref("d" * 40), state=ItemState.PROPOSED)
            case ThoughtRemoved(issue=issue):
                after[issue] = replace(after[issue], state=ItemState.CANCELLED)
            case ThoughtBroken(issue=issue, problem=problem):
                after[issue] = replace(after[issue], findings=(problem,))
            case Implemented(issue=issue):
                after[issue] = replace(after[issue], state=ItemState.DONE)
    return list(after.values())


plans = st.sampled_from(["", "---\ntitle: New\n---\n", "---\nstatus: draft\n---\n", "---\ntype: x\n---\n"])
versions = st.builds(
    lambda n, plan, built, slug, words: text(thought(n, plan, built=built, slug=slug), words),
    st.integers(0, 9),
    st.sampled_from(["p1", "p2"]),
    st.booleans(),
    st.sampled_from(["do-it", "other"]),
    plans,
)
unique = st.lists(versions, max_size=8, unique_by=lambda entry: entry.thought.dir)
ledger = st.lists(st.tuples(st.integers(0, 9), st.sampled_from(ItemState)), max_size=8, unique_by=lambda pair: pair[0])


@settings(max_examples=300)
@given(unique, ledger, st.booleans(), st.booleans(), st.integers(0, 3), st.integers(0, 40))
def test_a_second_pass_has_nothing_to_do(
    texts: list[ThoughtText], known: list[tuple[int, ItemState]], auto: bool, decided: bool, limit: int, counted: int
) -> None:
    policy = Policy(mirror=Mirror(auto_ready=auto, max_backlog=limit))
    items = [item(n, thought(n), state) for n, state in known]
    first = decide(texts, items, policy, decided=decided, counted=counted)
    created = sum(isinstance(action, CreateIssue) for action in first.actions)
    open_before = sum(not entry.terminal for entry in items)
    assert created <= max(0, min(limit - open_before, 30 - counted))
    after = carry_out(items, first)
    # Room that ended items gave back may be used by the next pass; nothing else may happen.
    second = decide(texts, after, policy, decided=decided, counted=counted + created)
    assert all(isinstance(action, CreateIssue) for action in second.actions)
    if not any(isinstance(action, ThoughtRemoved | Implemented) for action in first.actions):
        assert second.actions == ()
