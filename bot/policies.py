"""The policy in force in a repository, parsed once per text."""

from __future__ import annotations

from functools import lru_cache

from bot.domain.policy import parse_policy
from bot.domain.policy_model import Policy
from bot.domain.repository import RepoRecord

PARSED_KEPT = 512
"""Parsed policies kept in memory: a parse takes milliseconds, and a deployment has few distinct files."""


@lru_cache(maxsize=PARSED_KEPT)
def _parsed(text: str | None) -> Policy:
    return (text is not None and parse_policy(text).policy) or Policy.default()


def policy_of(repo: RepoRecord) -> Policy:
    """The last good policy of the repository, or the default when it has no file."""
    return _parsed(repo.policy_text)
