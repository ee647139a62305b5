"""Folders of plans on GitHub alone: which one is meant, and whether it may be queued. Pure."""

from __future__ import annotations

from bot.client.backlog import Finding, ItemRef
from bot.client.github_view import View
from bot.domain.mirror import ThoughtText
from bot.domain.model import Problem
from bot.domain.sanitise import for_terminal, one_line
from bot.domain.thoughts import THOUGHTS_DIR, parse_dir
from bot.errors import UserError


def folder_of(ref: ItemRef) -> str:
    """The folder that a command means. Raises UserError."""
    path = str(ref.dir).strip().removeprefix("./").rstrip("/")
    path = path if "/" in path else f"{THOUGHTS_DIR}/{path}"
    if parse_dir(path) is None:
        raise UserError(
            f"{for_terminal(one_line(str(ref.dir)), 200)} is no folder of a thought.",
            f"It is named {THOUGHTS_DIR}/<hash>-<title>: 6 to 40 characters of 0-9 and a-z, a dash, and a title.",
        )
    return path


def sound(view: View, folder: str) -> ThoughtText:
    """The folder, ready to be built. Raises UserError with the reason why it is not."""
    text, problem = view.thoughts.get(folder), view.broken.get(folder)
    if text is None:
        what = problem.what if problem is not None else f"{folder} is not committed on {view.default_branch}."
        raise UserError(what, problem.remedy if problem is not None else "Commit and push it first.")
    if text.thought.implementation:
        raise UserError(f"{folder} is built: it has an implementation.md.", "Write a new plan for more work.")
    refused = plan_problem(text)
    if refused is not None:
        raise UserError(refused.what, refused.remedy)
    return text


def plan_problem(text: ThoughtText) -> Problem | None:
    """Why the plan of a sound folder is not queued."""
    matter = text.front_matter
    if matter is not None and matter.matter is None:
        return matter.errors[0] if matter.errors else Problem("thought_plan", "The plan is unreadable.", "Correct it.")
    if matter is not None and matter.matter is not None and matter.matter.draft:
        what = f"{text.thought.plan_path} is marked as a draft."
        return Problem("thought_draft", what, "Remove `status: draft` when it is ready to be built.")
    return None


def finding_of(folder: str, problem: Problem) -> Finding:
    """The same for `scan`; a draft is no error."""
    severity = "warning" if problem.code == "thought_draft" else "error"
    return Finding(problem.code, severity, folder, problem.what, problem.remedy)
