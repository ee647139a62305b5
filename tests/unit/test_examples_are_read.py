"""The files in `examples/` are inputs of the product, so they are read by it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.domain.front_matter import TICKET_REQUIRED, from_ticket
from bot.domain.locks import export_locks, import_locks

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_ticket_is_valid_as_it_stands() -> None:
    found = from_ticket((EXAMPLES / "avatar.yaml").read_text(), "avatar.yaml")
    assert found.errors == ()
    assert found.warnings == ()
    assert found.matter is not None
    assert found.matter.priority == 100
    assert found.matter.locks == ("src/header/**", "read:src/theme.css")


@pytest.mark.parametrize("field", TICKET_REQUIRED)
def test_a_missing_field_is_named_with_its_remedy(field: str) -> None:
    lines = (EXAMPLES / "avatar.yaml").read_text().splitlines()
    text = "\n".join(line for line in lines if not line.startswith(f"{field}:"))
    found = from_ticket(text, "avatar.yaml")
    assert found.matter is None
    [problem] = found.errors
    assert f"`{field}`" in problem.what
    assert "line" in problem.what
    assert field in problem.remedy


def test_the_lock_file_comes_back_as_it_was() -> None:
    text = (EXAMPLES / "locks.json").read_text()
    assert export_locks(import_locks(text)) == text
    assert import_locks(None) == ()
