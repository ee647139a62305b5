"""Fails when a generated page of the documentation is not what the code says now."""

from __future__ import annotations

import sys

from generate_docs import stale


def main() -> int:
    found = stale()
    for path in found:
        print(f"{path} is out of date: run `python scripts/generate_docs.py` and commit the result", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
