"""The policy file: every setting has a default, every mistake a position, and the example means the defaults."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from bot.domain.model import Role
from bot.domain.policy import (
    CODE_INVALID,
    CODE_UNKNOWN_KEY,
    MAX_POLICY_CHARS,
    example_policy,
    parse_policy,
    policy_reference,
)
from bot.domain.policy_model import CiTrust, MergeMethod, Mirror, Policy, policy_hash


def test_the_example_means_the_defaults() -> None:
    result = parse_policy(example_policy())
    assert result.problems == ()
    assert result.policy == Policy()
    assert max(map(len, example_policy().splitlines())) <= 120


@pytest.mark.parametrize("text", ["", "# only words\n", "---\n", "roles:\nmirror:\n"])
def test_an_empty_file_means_the_defaults(text: str) -> None:
    assert parse_policy(text).policy == Policy()


def test_without_a_file_nothing_is_mirrored_and_labels_work() -> None:
    policy = Policy.default()
    assert not policy.mirror.enabled
    assert policy.enabled
    assert policy == Policy(mirror=Mirror(enabled=False))


def test_the_agreed_defaults() -> None:
    policy = Policy()
    assert policy.roles.start is Role.WRITE
    assert (policy.roles.hold, policy.roles.stop, policy.roles.prioritise) == (Role.TRIAGE,) * 3
    assert (policy.mirror.auto_ready, policy.mirror.max_backlog, policy.mirror.per_hour) == (False, 50, 30)
    assert (policy.max_parallel, policy.max_unreviewed_prs, policy.attempts) == (1, 3, 3)
    assert (policy.budgets.per_attempt, policy.budgets.per_item, policy.budgets.per_day) == (5.0, 15.0, 25.0)
    assert policy.budgets.dispatches_per_day == 50
    assert (policy.agent.max_turns, policy.agent.timeout_minutes) == (100, 330)
    assert policy.ci_trust is CiTrust.OUTSIDERS
    assert policy.merge.method is MergeMethod.SQUASH
    assert (policy.assignee, policy.branch_template) == ("approver", "tgs/{issue}-{slug}")
    assert not any((policy.claim_refs, policy.allow_unisolated, policy.self_hosted_runners, policy.merge.automerge))


def test_a_file_sets_what_it_names() -> None:
    result = parse_policy(
        "max_parallel: 3\nroles:\n  start: maintain\nmirror: {auto_ready: yes}\nlocks:\n  - src//\n"
        "assignee: octo-cat\nci_trust: ask\nbudgets:\n  per_item: 20\n"
    )
    assert result.problems == ()
    assert result.policy is not None
    assert result.policy.max_parallel == 3
    assert result.policy.roles.start is Role.MAINTAIN
    assert result.policy.mirror.auto_ready
    assert result.policy.locks == ("src/**",)
    assert result.policy.budgets.per_item == 20.0


@pytest.mark.parametrize(
    ("text", "where", "says"),
    [
        pytest.param("max_parallel: many", "line 1, column 1", "must be", id="a word for a number"),
        pytest.param("max_parallel: 99", "line 1, column 1", "less than or equal to 25", id="too many at once"),
        pytest.param("max_parallel: 1.5", "line 1, column 1", "whole number", id="half a number"),
        pytest.param("max_parallel: true", "line 1, column 1", "whole number", id="a truth value for a number"),
        pytest.param("enabled: 1", "line 1, column 1", "true or false", id="a number for a truth value"),
        pytest.param("roles:\n  start: read", "line 2, column 3", "triage or higher", id="everybody may start"),
        pytest.param("roles:\n  merge: triage", "line 2, column 3", "write or higher", id="triage may merge"),
        pytest.param("roles:\n  start: boss", "line 2, column 3", "one of read, triage", id="an unknown role"),
        pytest.param("roles: 3", "line 1, column 1", "section of settings", id="a number for a section"),
        pytest.param("- a", "line 1, column 1", "map of settings", id="a list for the file"),
        pytest.param("a: 1\na: 2", "line 2, column 1", "repeats the key `a`", id="a key twice"),
        pytest.param("mirror:\n  per_hour: 1\n  per_hour: 2", "line 3, column 3", "repeats", id="a key twice inside"),
        pytest.param("a: &x 1\nb: *x", "line 1, column 4", "anchor", id="an anchor"),
        pytest.param("a: *x", "line 1, column 4", "alias", id="an alias"),
        pytest.param("a: !!python/object:os.system x", "line 1, column 4", "tag", id="a tag that makes objects"),
        pytest.param("a: 1\n---\nb: 2", "line 2, column 1", "second document", id="two documents"),
        pytest.param("a: " + "[" * 50, "line 1, column 15", "nested deeper", id="deep nesting"),
        pytest.param("a: [1,", "line 1, column 7", "not valid YAML", id="cut off"),
        pytest.param("? [a]\n: b", "line 1, column 3", "not a plain key", id="a list as key"),
        pytest.param("locks: ['../x']", "line 1, column 9", "leaves the repository", id="a lock outside"),
        pytest.param("locks: src/", "line 1, column 1", "must be a list", id="a text for a list"),
        pytest.param("branch_template: tgs/{slug}", "line 1, column 1", "{issue}", id="a branch without its issue"),
        pytest.param("branch_template: a..b/{issue}", "line 1, column 1", "safe branch", id="an unsafe branch"),
        pytest.param("assignee: 'a b'", "line 1, column 1", "account name", id="no account name"),
        pytest.param("ci_trust: never", "line 1, column 1", "'ask', 'outsiders' or 'auto'", id="an unknown choice"),
        pytest.param("budgets: {per_item: .inf}", "line 1, column 11", "finite", id="an endless budget"),
        pytest.param("agent: {model: 'a\"; rm'}", "line 1, column 9", "plain name", id="a name for a shell"),
    ],
)
def test_a_mistake_makes_the_file_unusable_and_has_a_position(text: str, where: str, says: str) -> None:
    result = parse_policy(text)
    assert result.policy is None
    assert result.errors
    first = result.errors[0]
    assert first.code == CODE_INVALID
    assert where in first.what
    assert says in first.what
    assert first.remedy


def test_all_mistakes_are_told_at_once_in_order() -> None:
    result = parse_policy("attempts: x\nmax_parallel: y\nbudgets:\n  per_day: z\n")
    assert [problem.what.split(",")[1].strip() for problem in result.errors] == ["line 1", "line 2", "line 4"]


@pytest.mark.parametrize(
    ("text", "where", "remedy"),
    [
        ("max_paralel: 2", "line 1, column 1: unknown setting `max_paralel`", "Did you mean `max_parallel`?"),
        ("enabled: true\nmirror:\n  auto_redy: true", "line 3, column 3", "Did you mean `auto_ready`?"),
        ("zzz: 1", "unknown setting `zzz`", "Known here: `enabled`"),
        ("<<: {enabled: false}", "unknown setting `<<`", "Known here"),
    ],
)
def test_an_unknown_setting_is_a_warning_with_the_nearest_name(text: str, where: str, remedy: str) -> None:
    result = parse_policy(text)
    assert result.policy == Policy()
    assert result.errors == ()
    (warning,) = result.warnings
    assert warning.code == CODE_UNKNOWN_KEY
    assert where in warning.what
    assert remedy in warning.remedy


def test_a_file_that_is_too_long_is_not_parsed() -> None:
    result = parse_policy("#" * (MAX_POLICY_CHARS + 1))
    assert result.policy is None
    assert str(MAX_POLICY_CHARS) in result.errors[0].what


def test_a_bomb_of_values_is_refused() -> None:
    result = parse_policy("a: [" + "1," * 10_000 + "1]")
    assert result.policy is None
    assert "more than" in result.errors[0].what


@settings(max_examples=200)
@given(st.text(max_size=200) | st.text("abm_-: \n[]{}&*!#'\"?|>%@`,0123456789.", max_size=100))
def test_no_text_makes_the_parser_raise(text: str) -> None:
    result = parse_policy(text)
    assert (result.policy is None) is bool(result.errors)


def test_the_hash_is_that_of_the_meaning() -> None:
    spelled_out = parse_policy("# words\nattempts: 3\nmax_parallel: 1\n").policy
    assert spelled_out is not None
    assert policy_hash(spelled_out) == Policy().hash
    assert Policy(attempts=4).hash != Policy().hash
    assert len(Policy().hash) == 64


def test_a_policy_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Policy().attempts = 5


def walk(model: type[BaseModel], path: str = "") -> Mapping[str, str]:
    found: dict[str, str] = {}
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            assert kind.__doc__
            found |= walk(kind, f"{path}{name}.")
        else:
            found[f"{path}{name}"] = field.description or ""
    return found


def test_every_setting_is_described_in_example_and_reference() -> None:
    example, reference = " ".join(example_policy().replace("#", " ").split()), policy_reference()
    for name, description in walk(Policy).items():
        assert description.endswith("."), name
        assert description in example, name
        assert f"| `{name}` |" in reference
