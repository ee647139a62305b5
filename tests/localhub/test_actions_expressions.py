"""Expressions evaluate as the Actions documentation says, and reject what the hub cannot run."""

from __future__ import annotations

import pytest

from bot.localhub.expression_values import ExpressionError, Value
from bot.localhub.expressions import Scope, condition, parse, template

SCOPE = Scope(
    {
        "github": {"event_name": "push", "event": {"issue": {"number": 7, "title": "It's"}}},
        "inputs": {"issue": "12", "dry-run": False},
        "needs": {
            "start": {"result": "success", "outputs": {"go": "true"}},
            "agent": {"result": "failure", "outputs": {}},
        },
        "steps": {"one": {"outputs": {"n": "3"}}},
        "secrets": {"TOKEN": "s3cret"},
        "env": {"A": "x"},
    }
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true && 'yes' || 'no'", "yes"),
        ("false && 'yes' || 'no'", "no"),
        ("'ABC' == 'abc'", True),
        ("1 == '1'", True),
        ("null == 0", True),
        ("'' == false", True),
        ("'a' < 'B'", True),
        ("2 >= 10", False),
        ("'2' < 10", True),
        ("'x' < 10", False),
        ("!('a' == 'a')", False),
        ("0x10", 16.0),
        ("-1.5e1", -15.0),
        ("'it''s'", "it's"),
        ("GITHUB.Event.issue.NUMBER", 7),
        ("github['event'].issue['title']", "It's"),
        ("github.nothing.at.all", None),
        ("inputs.dry-run", False),
        ("contains('Hello', 'ELL')", True),
        ("contains(fromJSON('[1, 2]'), '2')", True),
        ("startsWith('refs/heads/x', 'refs/HEADS')", True),
        ("endsWith('a.py', '.PY')", True),
        ("format('{0}-{1}-{{}}', 'a', 2)", "a-2-{}"),
        ("join(fromJSON('[\"a\", 1, true]'), '; ')", "a; 1; true"),
        ("toJSON(fromJSON('{\"a\": 1}'))", '{\n  "a": 1\n}'),
        ("fromJSON('{\"list\": [10, 20]}').list[1]", 20),
        ("contains(needs.*.result, 'failure')", True),
        ("join(needs.*.outputs.go)", "true"),
    ],
)
def test_expressions_have_the_documented_values(text: str, value: Value) -> None:
    assert parse(text).evaluate(SCOPE) == value


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("inputz.a", "unrecognized named-value 'inputz'"),
        ("hashFiles('**')", "unrecognized function 'hashFiles'"),
        ("matrix.os", "unrecognized named-value 'matrix'"),
        ("github.", "a name must follow"),
        ("(1", "expected ')'"),
        ("1 +", "unexpected '+'"),
        ("contains('a')", "1 arguments"),
        ("success(1)", "takes no arguments"),
        ("", "ends too early"),
        ("'a' 'b'", "unexpected \"'b'\""),
        ('"double"', "unexpected"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_when_read(text: str, complaint: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("${{ inputs.dry-run }}", False),
        ("n=${{ steps.one.outputs.n }} a=${{ env.A }}", "n=3 a=x"),
        ("${{ '}}' }}!", "}}!"),
        ("", ""),
        ("${{ fromJSON('5.0') }} ${{ fromJSON('0.5') }} ${{ null }}.", "5 0.5 ."),
    ],
)
def test_templates_keep_the_kind_of_a_lone_expression(text: str, value: Value) -> None:
    assert template(text).value(SCOPE) == value


def test_an_unclosed_expression_is_refused() -> None:
    with pytest.raises(ExpressionError, match="never closed"):
        template("${{ github.ref")


FINE, FAILED, CANCELLED = Scope(), Scope(failed=True), Scope(cancelled=True)


@pytest.mark.parametrize(
    ("text", "scope", "runs"),
    [
        ("true", FINE, True),
        ("true", FAILED, False),
        ("true", CANCELLED, False),
        ("${{ always() }}", CANCELLED, True),
        ("failure()", FAILED, True),
        ("failure()", CANCELLED, False),
        ("cancelled()", CANCELLED, True),
        ("!cancelled()", FAILED, True),
        ("success() || failure()", FAILED, True),
        ("'a' == 'b' || failure()", FINE, False),
    ],
)
def test_conditions_imply_success_unless_they_ask_for_the_status(text: str, scope: Scope, runs: bool) -> None:
    assert bool(condition(text).evaluate(scope)) is runs


def test_referenced_secrets_are_known_without_evaluating() -> None:
    parsed = template("${{ secrets.TOKEN }} ${{ secrets['Other'] }}")
    assert {name for e in parsed.expressions for name in e.secrets} == {"token", "other"}
