"""What all tests share: quiet logs."""

from __future__ import annotations

import pytest
import structlog


@pytest.fixture(autouse=True)
def _quiet_logs() -> None:
    """Warnings and worse are shown with a failing test; the rest would drown them."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
