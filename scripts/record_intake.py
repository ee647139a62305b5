#!/usr/bin/env python3
"""Records anew what the handlers make of every recorded payload: `tests/corpus/intake.json`.

Look at the difference before committing it; the file is the reviewed statement of what each event means.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.corpus.reading import GOLDEN, golden_of_all  # noqa: E402 - the path must be set first


def main() -> int:
    lines = []
    for event, intakes in golden_of_all().items():
        rows = ",\n".join("  " + json.dumps(intake, ensure_ascii=False) for intake in intakes)
        lines.append(f"{json.dumps(event)}: [\n{rows}\n]")
    GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
