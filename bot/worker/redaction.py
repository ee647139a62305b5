"""Finding credentials in text: to black them out of logs and reports, and to refuse changes that contain one.

Promise: pure; `redact` is idempotent and never raises. Patterns describe the shapes that issuers document (stateless
GitHub tokens of about 520 characters included, which contain dots); values known to this process are removed exactly,
whatever their shape. What the product's one sanitiser blacks out is blacked out here too; this list has names, because
a refusal must say what was found. A secret without a recognisable shape that nobody registered cannot be found.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from bot.domain import sanitise

REDACTED: Final = "[redacted]"
MIN_KNOWN: Final = 8  # shorter values would black out ordinary words


@dataclass(frozen=True, slots=True)
class SecretPattern:
    """A documented credential format. `name` is what people are told."""

    name: str
    regex: re.Pattern[str]


PATTERNS: Final = (
    SecretPattern("GitHub token", re.compile(r"\bgh[pousr]_[A-Za-z0-9_.-]{20,}")),
    SecretPattern("GitHub fine-grained token", re.compile(r"\bgithub_pat_[A-Za-z0-9_]{20,}")),
    SecretPattern("Anthropic key", re.compile(r"\bsk-ant-[A-Za-z0-9_-]{16,}")),
    SecretPattern("OpenAI key", re.compile(r"\bsk-(?:proj-|svcacct-)?[A-Za-z0-9_-]{32,}")),
    SecretPattern("AWS access key", re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b")),
    SecretPattern("Google API key", re.compile(r"\bAIza[A-Za-z0-9_-]{35}\b")),
    SecretPattern("Slack token", re.compile(r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}")),
    SecretPattern("Stripe key", re.compile(r"\b[rs]k_live_[A-Za-z0-9]{16,}")),
    SecretPattern("npm token", re.compile(r"\bnpm_[A-Za-z0-9]{36}\b")),
    SecretPattern("PyPI token", re.compile(r"\bpypi-[A-Za-z0-9_-]{50,}")),
    SecretPattern("GitLab token", re.compile(r"\bglpat-[A-Za-z0-9_-]{20,}")),
    SecretPattern("JSON web token", re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}")),
    SecretPattern(
        "private key",
        re.compile(
            r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----"
            r"(?:[^-]{0,20000}-----END [A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----)?"
        ),
    ),
    SecretPattern("password in a URL", re.compile(r"(?<=://)[^/\s:@'\"<>$&{]{1,100}:[^/\s@'\"<>${]{3,200}(?=@)")),
    SecretPattern(
        "authorization header", re.compile(r"(?i)(?<=authorization: )(?:bearer|basic|token) [A-Za-z0-9_.=+/-]{8,}")
    ),
)


def redact(text: str, known: Iterable[str] = ()) -> str:
    """The text without credentials: known values first (longest first), then everything of a documented shape."""
    for value in sorted({v for v in known if len(v) >= MIN_KNOWN}, key=len, reverse=True):
        text = text.replace(value, REDACTED)
    for pattern in PATTERNS:
        text = pattern.regex.sub(REDACTED, text)
    return sanitise.redact(text)


def secrets_in(text: str) -> dict[str, str]:
    """Credentials found: the matched text → the name of its kind."""
    return {match[0]: pattern.name for pattern in PATTERNS for match in pattern.regex.finditer(text)}
