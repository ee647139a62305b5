"""Every outcome that the rules name has its own words: the codes are plain strings, so a test holds them together."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from bot.domain import item_wishes, review, verbs
from bot.domain.commands import available
from bot.domain.model import ItemState
from bot.texts import replies

STATES = {state.value for state in ItemState}


def constants(module: object, function: str) -> set[str]:
    """The string constants given as second argument to calls of this function."""
    path = Path(str(getattr(module, "__file__", "")))
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == function:
            found |= {
                part.value
                for part in ast.walk(node.args[1])
                if isinstance(part, ast.Constant) and isinstance(part.value, str)
            }
    return found


@pytest.mark.parametrize(
    ("function", "words"),
    [("done", replies.DONE), ("already", replies.ALREADY), ("cannot", replies.CANNOT)],
)
def test_every_outcome_of_a_command_has_words(function: str, words: dict[str, object]) -> None:
    for module in (verbs, item_wishes):
        used = constants(module, function)
        assert used, "the commands name no outcome: was the function renamed?"
        assert used <= set(words)


def test_a_command_can_be_impossible_in_every_state() -> None:
    assert set(replies.CANNOT) >= STATES


def test_every_refusal_to_merge_has_words() -> None:
    path = Path(str(review.__file__))
    (merge,) = [
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name == "merge"
    ]
    used = {
        node.value.value
        for node in ast.walk(merge)
        if isinstance(node, ast.Return) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    }
    assert used - {"already_merged"} <= set(replies.MERGE_REFUSED)
    assert "ci_failed" in used


def test_exactly_the_available_commands_are_carried_out() -> None:
    assert set(verbs.HANDLERS) == {spec.verb for spec in available()}
