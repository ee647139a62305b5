"""What all tests share: quiet logs."""

from __future__ import annotations

import pytest
import structlog


@pytest.fixture(autouse=True)
def _quiet_logs() -> None:
    """Warnings and worse are shown with a failing test, in one line each.

    The pretty tracebacks of a terminal would cost seconds for each error that a test provokes on purpose.
    """
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.KeyValueRenderer(key_order=["level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(30),
    )
