"""The webhook endpoint, served on loopback, for the tests of recorded payloads."""

from __future__ import annotations

from tests.intake.endpoint import world

__all__ = ["world"]
