"""Examples in the documentation are real: policies, front matter, scripts, JSON and marked shell blocks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bot.domain.front_matter import from_issue, from_plan
from bot.domain.policy import parse_policy
from bot.domain.policy_model import Policy
from bot.worker.adapters.scripted import parse_script
from tests.docs.pages import ROOT, Block, blocks

YAML = blocks("yaml", "yml")


def _is_policy(block: Block) -> bool:
    """Marked as one, or nothing in it but settings of the policy."""
    data = yaml.safe_load(block.text)
    return block.mark == "policy" or (isinstance(data, dict) and set(data) <= set(Policy.model_fields))


POLICIES = [block for block in YAML if _is_policy(block)]


@pytest.mark.parametrize("block", POLICIES, ids=str)
def test_policies_are_accepted_without_a_complaint(block: Block) -> None:
    result = parse_policy(block.text)
    assert result.problems == ()
    assert result.policy is not None


def test_there_are_policies_in_the_documentation() -> None:
    assert {block.page for block in POLICIES} >= {"docs/user-guide.md", "docs/reference/policy.md"}


@pytest.mark.parametrize("block", [b for b in YAML if b.mark == "front matter"], ids=str)
def test_front_matter_is_accepted_without_a_complaint(block: Block) -> None:
    result = from_plan(f"---\n{block.text}---\n\n# Plan\n")
    assert result.found
    assert result.problems == ()


@pytest.mark.parametrize("block", blocks("markdown"), ids=str)
def test_blocks_for_issues_are_read_without_a_complaint(block: Block) -> None:
    result = from_issue(block.text)
    assert result.found
    assert result.problems == ()


@pytest.mark.parametrize("block", [b for b in YAML if b.mark == "script"], ids=str)
def test_scripts_are_accepted(block: Block) -> None:
    assert parse_script(block.text, str(block)).steps


def test_every_yaml_block_says_what_it_is() -> None:
    known = {"front matter", "policy", "script", "workflow"}
    unknown = [str(block) for block in YAML if block.mark not in known and not _is_policy(block)]
    assert unknown == []


@pytest.mark.parametrize("block", blocks("json"), ids=str)
def test_json_is_json(block: Block) -> None:
    json.loads(block.text)


RUN = [block for block in blocks("sh") if block.mark == "run"]


def test_some_blocks_are_run() -> None:
    assert len(RUN) >= 3


@pytest.mark.parametrize("block", RUN, ids=str)
def test_marked_shell_blocks_do_what_they_say(block: Block, tmp_path: Path) -> None:
    """In a folder with nothing but the App's key, without this machine's settings; `tgs` is this checkout's."""
    (tmp_path / "bin").mkdir()
    tgs = tmp_path / "bin" / "tgs"
    tgs.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "from bot.cli.main import main; main()" "$@"\n')
    tgs.chmod(0o755)
    work = tmp_path / "work"
    work.mkdir()
    key = generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    (work / "tgs.private-key.pem").write_bytes(pem)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.text],
        cwd=work,
        env={
            "PATH": f"{tgs.parent}:{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "PYTHONPATH": str(ROOT),
            "LANG": "C.UTF-8",
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
