"""What the scripted model says in the demo, so that Claude Code itself does the work that the scripts describe.

Promise: the same plans give the same branches as with the scripted agent, but by the tools of the real program: it
writes files, runs the tests and commits. For the issue without a plan it asks one question first. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from bot.demo.model_api import Conversation, Script, Step, Turn, finished, shell, use
from bot.demo.project import ISSUE_TITLE, POLICY, project, thoughts

KEY: Final = "sk-ant-demo-0000000000000000000000"
"""The key that the demo's model takes. It is worth nothing, and the agent never sees it."""

QUESTION: Final = "Which heading should the guide have?"
CHOICES: Final = (("Contributing", "as most projects call it"), ("How to help", "friendlier"))

_PLAN: Final = re.compile(r"Read `(tgs/thoughts/[a-z0-9-]+)/plan\.md`")
_FOLDER: Final = re.compile(r"Primary working directory: (\S+)")
_FAILED: Final = re.compile(r"^Attempt (\d+) ended with", re.MULTILINE)
_ANSWER: Final = re.compile(re.escape(f'"{QUESTION}"="') + '([^"]*)"')


def claude_policy() -> str:
    """The demo's policy with Claude Code as the agent."""
    scripted = "  adapter: scripted\n  command: [demo/issue-script.yml]\n"
    assert scripted in POLICY
    return POLICY.replace(scripted, "  adapter: claude-code\n  max_turns: 30\n")


def answers(conversation: Conversation) -> Script:
    """The script of the conversation, by the plan that its prompt names."""
    plan = _PLAN.search(conversation.words)
    if plan is None:
        return _guide() if ISSUE_TITLE in conversation.words else [Turn("There is nothing to do.")]
    files = thoughts() | project()
    raw = files.get(f"{plan[1]}/script.yml") or _spare(files, plan[1])
    script = yaml.safe_load(raw)
    failed = [int(number) for number in _FAILED.findall(conversation.words)]
    attempt = max(failed, default=0) + 1
    wanted = [step for step in script["steps"] if attempt in step.get("on_attempts", [attempt])]
    turns = [turn for step in wanted if (turn := _turn(step)) is not None]
    return [Turn("I read the plan first.", (("Bash", _reading(plan[1])),)), *turns, finished(script["summary"])]


def _spare(files: Mapping[str, str], folder: str) -> str:
    """The script of the plan that whoever watches may push: it lies elsewhere in the repository."""
    from bot.demo.project import ANOTHER_FOLDER, ANOTHER_PLAN

    return files[f"{folder.replace(ANOTHER_FOLDER, ANOTHER_PLAN)}/script.yml"].replace(ANOTHER_PLAN, folder)


def _reading(folder: str) -> dict[str, str]:
    return {"command": f"cat {folder}/plan.md", "description": "Read the plan"}


def _turn(step: Mapping[str, Any]) -> Step | None:
    """One step of a script as a tool call; None for what is no work."""
    if "write" in step:
        return _writing(step["write"]["path"], step["write"].get("content", ""))
    if "append" in step:
        text = step["append"]["content"].replace("'", "'\\''")
        return shell(f"printf '%s' '{text}' >> {step['append']['path']}", f"Add to {step['append']['path']}")
    if "run" in step:
        return shell(step["run"], "Run the tests")
    if "commit" in step:
        return shell(f"git add --all && git commit --quiet --message '{step['commit']}'", "Commit")
    return None


def _writing(path: str, content: str) -> Step:
    def turn(conversation: Conversation) -> Turn:
        # The tool wants a whole path, and a resumed conversation may have moved to another folder.
        folder = _FOLDER.findall(conversation.words)[-1]
        return use("Write", file_path=str(Path(folder) / path), content=content)

    return turn


def _guide() -> Script:
    options = [{"label": label, "description": why} for label, why in CHOICES]
    question = {"question": QUESTION, "header": "Heading", "options": options, "multiSelect": False}

    def write(conversation: Conversation) -> Turn:
        answer = _ANSWER.findall(conversation.words)
        heading = answer[-1] if answer else CHOICES[0][0]
        text = f"# {heading}\n\nRun `python3 -m unittest discover -s tests` before you push."
        return shell(f"printf '%s\\n' '{text}' > CONTRIBUTING.md", "Write the guide")

    return [
        use("AskUserQuestion", "The heading is for people to decide.", questions=[question]),
        write,
        shell("git add --all && git commit --quiet --message 'Add a contributing guide'", "Commit"),
        finished("Wrote the contributing guide under the heading that was chosen."),
    ]
