"""The fingerprint of a comment's text, taken when a command is stored and compared when it is executed."""

from __future__ import annotations

import hashlib


def body_digest(text: str) -> str:
    """SHA-256 (hex) of the text as UTF-8; lone surrogates that JSON can carry are kept, not refused."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
