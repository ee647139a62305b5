"""The smallest complete agent: writes what it was asked to do into a file, and says so.

Run by the `command` adapter; needs nothing but Python's standard library.
"""

import json
import os
import subprocess
import sys
from pathlib import Path


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    context = json.load(sys.stdin)
    say("::tgs progress 1/2 reading the plan")
    thought = context.get("thought")
    plan = Path(thought["plan_path"]).read_text(encoding="utf-8") if thought else context["body"]

    say("::tgs progress 2/2 writing the result")
    folder = Path(thought["dir"]) if thought else Path("notes")
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / ("implementation.md" if thought else f"issue-{context['issue']}.md")
    target.write_text(f"# {context['title']}\n\nAsked for:\n\n{plan}\n", encoding="utf-8")
    subprocess.run(["git", "add", "--all"], check=True)
    subprocess.run(["git", "commit", "--quiet", "--message", f"Answer: {context['title']}"], check=True)

    result = {"outcome": "done", "summary": f"Wrote {target}."}
    Path(os.environ["TGS_RESULT"]).write_text(json.dumps(result), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
