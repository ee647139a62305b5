"""How long a key that failed waits."""

from __future__ import annotations

from datetime import timedelta

# Long enough for a hiccup to pass, short enough that a person hardly notices one failed run.
BASE = timedelta(seconds=2)

# A thing that stays broken is still looked at every few minutes, so that it mends itself once its cause is gone.
CAP = timedelta(minutes=5)

# 2 s doubled eight times is over the cap; a larger exponent would only overflow.
_MAX_DOUBLINGS = 8


def delay(attempts: int, chance: float) -> timedelta:
    """The pause after the `attempts`-th failure in a row (1 or more): doubled each time, capped, and shortened by up
    to half by `chance` (from 0 up to 1), so that keys that failed together do not come back together."""
    doublings = min(max(attempts, 1) - 1, _MAX_DOUBLINGS)
    whole: timedelta = min(BASE * 2**doublings, CAP)
    return whole * (1 - chance / 2)
