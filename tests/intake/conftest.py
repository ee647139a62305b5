"""The webhook endpoint, served on loopback, for the tests of the intake."""

from __future__ import annotations

from tests.intake.endpoint import world

__all__ = ["world"]
