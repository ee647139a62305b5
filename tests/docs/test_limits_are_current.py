"""The page of limits is true: what it says is missing is missing. When one comes true, the page must change."""

from __future__ import annotations

import re

from bot.cli.main import app
from bot.domain.commands import COMMANDS
from bot.metrics import Metrics
from bot.settings import ClientSettings
from bot.worker.adapters import ADAPTERS
from tests.docs.pages import ROOT

LIMITS = (ROOT / "docs/limits.md").read_text("utf-8")
COME_TRUE = "has come true: take it out of docs/limits.md (and look for it in README.md and docs/)"


def test_missing_adapters_are_missing() -> None:
    said = set(re.findall(r"no adapter `([\w-]+)`", LIMITS))
    assert not said & set(ADAPTERS), COME_TRUE
    default = "claude-code"
    assert default in said or default in ADAPTERS, "the default adapter is neither there nor said to be missing"


def test_missing_command_lines_are_missing() -> None:
    top = {info.name for info in app.registered_groups} | {
        info.name or getattr(info.callback, "__name__", "") for info in app.registered_commands
    }
    for name in re.findall(r"no `tgs (\w+)", LIMITS):
        assert name not in top, COME_TRUE


def test_every_metric_is_fed() -> None:
    code = "\n".join(
        path.read_text("utf-8")
        for path in (ROOT / "bot").rglob("*.py")
        if path.name != "metrics.py" and "localhub" not in path.parts
    )
    fed = {"attempts", "attempt_seconds"} if "metrics.attempt_ended(" in code else set()
    fed |= {"agent_turns", "agent_tokens", "agent_cost"} if "metrics.agent_used(" in code else set()
    fed |= {"deliveries", "delivery_seconds"} if "metrics.delivery_answered(" in code else set()
    unfed = set()
    for attribute, metric in vars(Metrics()).items():
        if attribute in {"registry", "build"} or attribute.startswith("_"):
            continue
        if attribute not in fed and not re.search(rf"metrics\.{attribute}\b", code):
            unfed.add(next(iter(metric.describe())).name)
    assert unfed == set()


def test_commands_that_are_not_available_are_marked_in_their_reference() -> None:
    page = (ROOT / "docs/reference/commands.md").read_text("utf-8")
    for spec in COMMANDS.values():
        row = next(line for line in page.splitlines() if line.startswith(f"| `/tgs {spec.verb.value}"))
        assert ("Not available yet" in row) is not spec.available


def test_the_client_reads_what_the_guides_tell_people_to_set() -> None:
    assert {"server_url", "gh_token"} <= set(ClientSettings.model_fields)
