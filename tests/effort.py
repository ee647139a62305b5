"""How much is played of what could be played for hours.

`make test` plays a sample: every promise, in a few minutes. `make test-more` plays the tests marked `more` longer, as
is done before a change lands. `make test-more EFFORT=all` plays all of them to their end, which takes hours.
"""

from __future__ import annotations

import os
from enum import StrEnum
from typing import TypeVar

import pytest

T = TypeVar("T")


class Effort(StrEnum):
    """From the variable `TGS_EFFORT`; without it, a sample."""

    SAMPLE = "sample"
    MORE = "more"
    ALL = "all"


EFFORT = Effort(os.environ.get("TGS_EFFORT", Effort.SAMPLE))

more = pytest.mark.more
"""Marks what plays longer when asked; `more(only=True)` is not played in a sample at all."""


def by_effort(sample: T, more: T, everything: T) -> T:
    """The value for the effort that was asked for."""
    return {Effort.SAMPLE: sample, Effort.MORE: more, Effort.ALL: everything}[EFFORT]
