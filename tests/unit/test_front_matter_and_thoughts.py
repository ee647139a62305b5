"""Thought folders and their front matter: what is recognised, what is refused and what policy leaves of wishes."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.front_matter import (
    CODE_IGNORED,
    CODE_LIMITED,
    CODE_UNKNOWN,
    TICKET_REQUIRED,
    FrontMatter,
    FrontMatterResult,
    Source,
    effective_spec,
    from_issue,
    from_plan,
    from_ticket,
)
from bot.domain.model import WorkSpec
from bot.domain.policy_model import Agent, Merge, Policy
from bot.domain.thoughts import (
    MAX_FILE_BYTES,
    Thought,
    approved,
    branch_name,
    parse_dir,
    parse_name,
    recognise,
)

FULL = """---
id: 42
title: Sign in with a passkey
type: feature
priority: high
locks: [src/auth/, {path: docs/, mode: read}]
depends_on: [12, "#13"]
repository: acme/shop
base_branch: develop
branch: mine
max_attempts: 2
budget: {usd: 3, tokens: 100000}
model: opus
agent: command
qa: {required: true, strict: false}
automerge: true
acceptance:
  - make test
status: approved
description: |
  Two
  lines
---
# Plan
"""


def matter(result: FrontMatterResult) -> FrontMatter:
    assert result.matter is not None, result.errors
    return result.matter


def test_every_key_of_a_plan_is_read() -> None:
    found = matter(from_plan(FULL))
    assert (found.id, found.title, found.type, found.priority) == ("42", "Sign in with a passkey", "feature", 100)
    assert found.locks == ("src/auth/**", "read:docs/**")
    assert found.depends_on == (12, 13)
    assert found.budget is not None
    assert (found.budget.usd, found.budget.tokens) == (3.0, 100000)
    assert found.qa is not None
    assert found.qa.required
    assert found.acceptance == ("make test",)
    assert not found.draft


@pytest.mark.parametrize("text", ["# Plan\n", "", "text\n---\ntype: x\n---\n", "---\n---\n# Plan"])
def test_a_plan_without_front_matter_says_nothing(text: str) -> None:
    assert from_plan(text).matter == FrontMatter()


@pytest.mark.parametrize("status", ["draft", "Draft", " DRAFT "])
def test_a_draft_is_not_approved(status: str) -> None:
    assert matter(from_plan(f'---\nstatus: "{status}"\n---\n')).draft


@pytest.mark.parametrize(
    ("block", "where", "says"),
    [
        pytest.param("type: chore", "line 2, column 1", "'feature', 'bugfix', 'test' or 'docs'", id="an unknown type"),
        pytest.param("\npriority: urgent", "line 3, column 1", "high, normal, low", id="a wrong priority"),
        pytest.param("locks: [../x]", "line 2, column 9", "leaves the repository", id="a lock outside"),
        pytest.param("locks: [1]", "line 2, column 9", "must be a path", id="a number for a path"),
        pytest.param("depends_on: [0]", "line 2, column 14", "greater than or equal to 1", id="issue zero"),
        pytest.param("depends_on: ['12']", "line 2, column 14", "whole number", id="a number as text"),
        pytest.param("acceptance: ['a\\n\\nb']", "line 2, column 14", "", id="fine in single quotes"),
        pytest.param('acceptance: ["a\\nb"]', "line 2, column 14", "one line", id="two commands in one"),
        pytest.param("base_branch: '../x'", "line 2, column 1", "safe branch name", id="an unsafe branch"),
        pytest.param("max_attempts: 0", "line 2, column 1", "greater than", id="no attempt"),
        pytest.param("budget: -1", "line 2, column 1", "greater than 0", id="a negative budget"),
        pytest.param("automerge: sure", "line 2, column 1", "true or false", id="a word for a truth value"),
        pytest.param("title: [a]", "line 2, column 1", "must be a text", id="a list for a title"),
        pytest.param("type: docs\ntype: test", "line 3, column 1", "repeats the key", id="a key twice"),
        pytest.param("- a", "line 2, column 1", "must be a map", id="a list"),
        pytest.param("a: &b c", "line 2, column 4", "anchor", id="an anchor"),
    ],
)
def test_a_mistake_in_a_plan_names_its_position(block: str, where: str, says: str) -> None:
    result = from_plan(f"---\n{block}\n---\n# Plan", "tgs/thoughts/abc123-x/plan.md")
    if not says:
        assert result.matter is not None
        return
    assert result.matter is None
    assert where in result.errors[0].what
    assert says in result.errors[0].what
    assert "tgs/thoughts/abc123-x/plan.md" in result.errors[0].what


def test_a_block_that_is_never_closed_is_an_error() -> None:
    assert "never closed" in from_plan("---\ntype: docs\n").errors[0].what


def test_an_unknown_key_is_a_warning() -> None:
    result = from_plan("---\ntyp: docs\n---\n")
    assert result.matter == FrontMatter()
    assert [(p.code, "`typ`" in p.what) for p in result.warnings] == [(CODE_UNKNOWN, True)]


ISSUE = "Please do it.\n\n```yaml tgs\ntype: bugfix\nlocks: src/\ndepends_on: 5\nautomerge: true\nbudget: 99\n```\n"


def test_an_issue_may_say_only_type_locks_and_dependencies() -> None:
    spec, problems = effective_spec(Policy(merge=Merge(automerge=True)), from_issue(ISSUE), Source.ISSUE)
    assert spec == WorkSpec(type="bugfix", locks=("src/**",), depends_on=(5,))
    assert [problem.code for problem in problems] == [CODE_IGNORED, CODE_IGNORED]
    assert "`automerge` (line 7, column 1)" in problems[0].what


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("<!-- tgs\ntype: bugfix\n-->", id="a hidden comment"),
        pytest.param("<!--\n```yaml tgs\ntype: bugfix\n```\n-->", id="a block in a hidden comment"),
        pytest.param("> ```yaml tgs\n> type: bugfix\n> ```", id="a quoted block"),
        pytest.param("```yaml\ntype: bugfix\n```", id="another block"),
        pytest.param("---\ntype: bugfix\n---", id="a block as in a plan"),
        pytest.param("    ```yaml tgs\n    type: bugfix\n    ```", id="an indented block"),
    ],
)
def test_nothing_hidden_or_quoted_in_an_issue_counts(body: str) -> None:
    assert from_issue(body).matter == FrontMatter()


def test_a_mistake_in_an_issue_leaves_the_defaults_and_is_told() -> None:
    spec, problems = effective_spec(Policy(locks=("docs/",)), from_issue("```yaml tgs\ntype: x\n```"), Source.ISSUE)
    assert spec == WorkSpec(locks=("docs/**",))
    assert "line 2, column 1" in problems[0].what


def test_a_plan_gets_what_the_policy_allows() -> None:
    policy = Policy(
        merge=Merge(automerge=True), agent=Agent(models=("opus",), adapters=("command",)), base_branches=("develop",)
    )
    spec, problems = effective_spec(policy, from_plan(FULL), Source.PLAN, "acme/shop")
    assert spec == WorkSpec(
        type="feature",
        locks=("src/auth/**", "read:docs/**"),
        depends_on=(12, 13),
        acceptance=("make test",),
        automerge=True,
        model="opus",
        agent="command",
        base_branch="develop",
        max_attempts=2,
        budget_usd=3.0,
        second_opinion=True,
    )
    assert [problem.what.split("`")[1] for problem in problems] == ["branch"]


def test_a_plan_never_goes_beyond_the_policy() -> None:
    greedy = FULL.replace("usd: 3", "usd: 300").replace("max_attempts: 2", "max_attempts: 9")
    spec, problems = effective_spec(Policy(), from_plan(greedy), Source.PLAN, "acme/other")
    assert (spec.automerge, spec.model, spec.agent, spec.base_branch) == (False, None, None, None)
    assert (spec.max_attempts, spec.budget_usd) == (3, 15.0)
    limited = {problem.what.split("`")[1] for problem in problems if problem.code == CODE_LIMITED}
    assert limited == {"automerge", "model", "agent", "base_branch", "max_attempts", "budget"}
    assert {problem.what.split("`")[1] for problem in problems if problem.code == CODE_IGNORED} == {
        "branch",
        "repository",
    }


TICKET = "id: 1\ntitle: Avatar\ntype: feature\ndescription: Show a picture.\n"


def test_a_ticket_file_is_read() -> None:
    assert matter(from_ticket(TICKET)).title == "Avatar"


@pytest.mark.parametrize("field", TICKET_REQUIRED)
def test_each_missing_field_of_a_ticket_is_named(field: str) -> None:
    text = "".join(line for line in TICKET.splitlines(True) if not line.startswith(field))
    result = from_ticket(text, "avatar.yaml")
    assert result.matter is None
    assert result.errors[0].what == f"`avatar.yaml`, line 1: the field `{field}` is missing."
    assert f"`{field}: …`" in result.errors[0].remedy


@given(st.text(max_size=300))
def test_no_text_makes_reading_raise(text: str) -> None:
    for result in (from_plan(f"---\n{text}\n---\n"), from_issue(f"```yaml tgs\n{text}\n```"), from_ticket(text)):
        effective_spec(Policy(), result, Source.PLAN)
        effective_spec(Policy(), result, Source.ISSUE)


# --- folders


@dataclass(frozen=True)
class E:
    path: str
    mode: str = "100644"
    type: str = "blob"
    sha: str = "s"
    size: int | None = 10


def folder(name: str, *files: str) -> list[E]:
    return [E(name, "040000", "tree"), *(E(f"{name}/{file}", sha=f"{name}:{file}") for file in files)]


def test_a_folder_with_research_and_plan_is_a_thought() -> None:
    found, problems = recognise([*folder("abc123-sign-in", "research.md", "plan.md"), E("README.md")])
    assert problems == ()
    assert found == (
        Thought(
            "tgs/thoughts/abc123-sign-in", "abc123", "sign-in", "abc123-sign-in:research.md", "abc123-sign-in:plan.md"
        ),
    )
    assert found[0].title == "Sign in"
    assert found[0].ref("c" * 40).plan_sha == "abc123-sign-in:plan.md"


def test_an_implementation_means_that_it_is_built() -> None:
    found, _ = recognise(folder("abc123-x", "research.md", "plan.md", "implementation.md"))
    assert found[0].implementation
    assert not approved(found[0], from_plan(""))


def test_approved_means_committed_readable_and_no_draft() -> None:
    found, _ = recognise(folder("abc123-x", "research.md", "plan.md"))
    assert approved(found[0], from_plan("# Plan"))
    assert not approved(found[0], from_plan("---\nstatus: draft\n---\n"))
    assert not approved(found[0], from_plan("---\ntype: x\n---\n"))


@pytest.mark.parametrize(
    ("entries", "code"),
    [
        pytest.param(folder("Sign in", "research.md", "plan.md"), "thought_name", id="a name with spaces"),
        pytest.param(folder("ABC123-x", "research.md", "plan.md"), "thought_name", id="capitals in the hash"),
        pytest.param(folder("abc12-x", "research.md", "plan.md"), "thought_name", id="a hash that is too short"),
        pytest.param(folder("a" * 41 + "-x", "research.md", "plan.md"), "thought_name", id="a hash that is too long"),
        pytest.param(folder("abc123-", "research.md", "plan.md"), "thought_name", id="no title"),
        pytest.param(folder("abc123-a..b", "research.md", "plan.md"), "thought_name", id="dots in the title"),
        pytest.param(folder("..", "research.md", "plan.md"), "thought_name", id="a folder that climbs"),
        pytest.param(folder("abc123-x", "plan.md"), "thought_missing_file", id="no research"),
        pytest.param(folder("abc123-x", "research.md"), "thought_missing_file", id="no plan"),
        pytest.param(folder("abc123-x"), "thought_missing_file", id="an empty folder"),
        pytest.param(
            [*folder("abc123-x", "research.md"), E("abc123-x/plan.md", "120000")],
            "thought_unsafe",
            id="a plan that is a link",
        ),
        pytest.param(
            [*folder("abc123-x", "research.md", "plan.md"), E("abc123-x/a/b", "120000")],
            "thought_unsafe",
            id="a link deep inside",
        ),
        pytest.param(
            [*folder("abc123-x", "research.md", "plan.md"), E("abc123-x/sub", "160000", "commit")],
            "thought_unsafe",
            id="a submodule inside",
        ),
        pytest.param([E("abc123-x", "120000")], "thought_unsafe", id="a folder that is a link"),
        pytest.param([E("abc123-x", "160000", "commit")], "thought_unsafe", id="a folder that is a submodule"),
        pytest.param(
            [*folder("abc123-x", "research.md", "plan.md"), E("abc123-x/../../y")],
            "thought_unsafe",
            id="a path that climbs",
        ),
        pytest.param(
            [*folder("abc123-x", "research.md"), E("abc123-x/plan.md", size=MAX_FILE_BYTES + 1)],
            "thought_too_large",
            id="a plan that is too large",
        ),
        pytest.param(
            [*folder("abc123-x", "research.md"), E("abc123-x/plan.md", "040000", "tree")],
            "thought_missing_file",
            id="a plan that is a folder",
        ),
    ],
)
def test_an_unusable_folder_is_a_problem_and_no_thought(entries: list[E], code: str) -> None:
    found, problems = recognise(entries)
    assert found == ()
    assert [problem.problem.code for problem in problems] == [code]
    assert problems[0].problem.remedy


def test_a_plan_at_the_limit_is_fine() -> None:
    found, _ = recognise([*folder("abc123-x", "research.md"), E("abc123-x/plan.md", size=MAX_FILE_BYTES)])
    assert len(found) == 1


@given(st.lists(st.tuples(st.text(max_size=30), st.sampled_from(["100644", "120000", "160000", "040000"])), max_size=8))
def test_no_tree_makes_recognition_raise_or_leave_its_folder(entries: list[tuple[str, str]]) -> None:
    kinds = {"100644": "blob", "120000": "blob", "160000": "commit", "040000": "tree"}
    found, _ = recognise([E(path, mode, kinds[mode]) for path, mode in entries])
    for thought in found:
        assert parse_dir(thought.dir) == (thought.hash, thought.slug)


@given(st.text(max_size=60))
def test_a_name_that_is_accepted_is_safe(name: str) -> None:
    parsed = parse_name(name)
    if parsed is not None:
        assert "/" not in name
        assert ".." not in name
        assert name.isascii()


@pytest.mark.parametrize(
    ("path", "known"),
    [
        ("tgs/thoughts/abc123-x", True),
        ("tgs/thoughts/abc123-x/", True),
        ("tgs/thoughts/../abc123-x", False),
        ("/tgs/thoughts/abc123-x", False),
        ("tgs/thoughts/abc123-x/plan.md", False),
        ("abc123-x", False),
    ],
)
def test_paths_of_thoughts(path: str, known: bool) -> None:
    assert (parse_dir(path) is not None) is known


@pytest.mark.parametrize(
    ("title", "branch"),
    [
        ("Sign in with a passkey", "tgs/7-sign-in-with-a-passkey"),
        ("  --- ", "tgs/7-item"),
        ("日本語", "tgs/7-item"),
        ("Über/../x.lock", "tgs/7-uber-x-lock"),
        ("x" * 100, "tgs/7-" + "x" * 40),
        ("a" * 39 + " b", "tgs/7-" + "a" * 39),
    ],
)
def test_branch_names_are_safe_whatever_the_title(title: str, branch: str) -> None:
    assert branch_name(7, title, Policy().branch_template) == branch


@given(st.text(max_size=100))
def test_every_title_gives_a_branch_git_accepts(title: str) -> None:
    slug = branch_name(1, title, "{slug}{issue}").removesuffix("1")
    assert slug.isascii()
    assert 1 <= len(slug) <= 40
    assert not slug.startswith("-")
    assert not slug.endswith("-")
    assert all(char.isalnum() or char == "-" for char in slug)
