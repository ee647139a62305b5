"""`tgs demo` as people start it: it tells the whole loop, ends by itself or on Ctrl-C, and leaves nothing behind."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from bot.demo.play import INDENT
from bot.demo.project import ANOTHER_FOLDER, ANOTHER_PLAN, ISSUE_TITLE, greeting, project
from bot.demo.stage import SHORT_SPREAD, QuickIds
from bot.domain.attempt_end import jitter
from tests.demo.performance import COMMAND, environment, on_a_terminal, processes_of
from tests.effort import EFFORT, Effort

LIMIT = 120
"""Seconds that the whole play may take; it takes about forty on an idle machine."""

WHOLE_STORY = EFFORT is Effort.ALL
"""Whether the whole story is played on a pipe too, and not on a terminal alone."""

ISSUE_ALONE = "import bot.demo.play as play; play.thoughts = dict; play.ITEMS = 1; "
"""A short story in the same process: one labelled issue, from the label to the merge."""

WRAPPED = re.compile(rf"\n {{{INDENT}}}(?=\S)")
"""Where a terminal's sentence goes on in the next line."""

GIT_ADDRESS = r"git clone (http://maria:\S+@127\.0\.0\.1:\d+/acme/greeter)"


@pytest.mark.timeout(2 * LIMIT)
def test_on_a_terminal_it_tells_every_step_and_serves_on_for_whoever_pushes_a_plan_until_ctrl_c(tmp_path: Path) -> None:
    with on_a_terminal(tmp_path) as demo:
        demo.expect(r"local GitHub runs at http://127\.0\.0\.1:\d+/acme/greeter", within=30)
        demo.expect("What became of the work", within=LIMIT)
        address = demo.expect(GIT_ADDRESS, within=10)[1]
        demo.expect("Ctrl-C ends the demo", within=10)
        tells_every_step(WRAPPED.sub(" ", demo.text))
        push_another_plan(tmp_path, address)
        demo.expect("“Add the greeting cheer” came from a plan", within=30)
        demo.expect(r"Maria reads pull request #\d+ and types on #\d+: /tgs merge", within=60)
        demo.expect("“Add the greeting cheer” is merged and done", within=60)
        git(tmp_path, tmp_path / "greeter", "pull", "--quiet")
        merged = tmp_path / "greeter"
        assert "def cheer(name: str)" in (merged / "greeter/words.py").read_text()
        assert "def hello(name: str)" in (merged / "greeter/words.py").read_text()
        assert "Added `cheer`" in (merged / ANOTHER_FOLDER / "implementation.md").read_text()
        assert git(tmp_path, merged, "rev-list", "--count", "HEAD").strip() != "0"
        demo.press_ctrl_c()
        assert demo.wait(30) == 0, demo.text
        assert demo.text.rstrip().endswith("Bye.")
        assert "Traceback" not in demo.text
    assert list((tmp_path / "tmp").iterdir()) == []
    assert processes_of(tmp_path) == []


def tells_every_step(text: str) -> None:
    """The whole story is there, and the table of what became of the work."""
    for what, pattern in {
        "the address of the local GitHub": r"local GitHub runs at http://127\.0\.0\.1:\d+/acme/greeter",
        "the address of the bot": r"bot runs at http://127\.0\.0\.1:\d+",
        "the set-up issue": r"one set-up issue and nothing else",
        "a plan that waits for the path of another": r"waits for #\d+, which holds `greeter/words\.py`",
        "the question": r"Maria asks on #\d+: /tgs why",
        "its answer": r"the bot answers: .*waits for #\d+, which holds `greeter/words\.py`",
        "an attempt that the gate refused": r"attempt 1 failed\. The result lacks the `implementation\.md`",
        "its retry": r"“Explain the words” is claimed: attempt 2",
        "the question of the agent": r"the bot asks: How shall the guide greet new people\?",
        "its choices": r"the bot asks: 2\. Welcome aboard",
        "the answer": r"Maria answers on #\d+: 2",
        "the conversation that goes on": r"“Write a contributing guide” is claimed: attempt 2",
        "a pull request": r"“Explain the words”: the bot opened pull request #\d+",
        "tests that pass": r"“Explain the words”: the tests of the repository pass",
        "the merge that Maria asks for": r"types on #\d+: /tgs merge",
        "the end of the retried plan": r"“Explain the words” is merged and done",
        "what it cost": r"GitHub counted \d+ requests in all",
    }.items():
        assert re.search(pattern, text), f"{what} is missing in:\n{text}"
    assert became(text) == [
        ("Add the greeting goodbye", "done", "1"),
        ("Add the greeting welcome", "done", "1"),
        ("Explain the words", "done", "2"),
        ("Say the version", "done", "1"),
        ("Translate everything", "proposed", "0"),
        ("Write a contributing guide", "done", "2"),
    ]


def became(text: str) -> list[tuple[str, str, str]]:
    """(title, state, attempts) of each row of the table."""
    rows = re.findall(r"^ +#\d+ (.+?) {2,}(\S+)( \(waits for Maria\))? +(\d+) ", text, re.MULTILINE)
    return sorted((title, state, attempts) for title, state, _, attempts in rows)


@pytest.mark.more(only=True)
@pytest.mark.timeout(LIMIT + 30)
def test_once_on_a_pipe_it_ends_by_itself_when_all_work_is_done(tmp_path: Path) -> None:
    """The labelled issue alone, without the five plans, unless all effort is asked for."""
    command = COMMAND if WHOLE_STORY else [*COMMAND[:2], ISSUE_ALONE + COMMAND[2], *COMMAND[3:]]
    done = subprocess.run(
        [*command, "--once"], env=environment(tmp_path), cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    if WHOLE_STORY:
        tells_every_step(done.stdout)
    else:
        assert re.search(rf"^ +\d+\.\d s  .*“{ISSUE_TITLE}” is merged and done", done.stdout, re.MULTILINE)
        assert became(done.stdout) == [(ISSUE_TITLE, "done", "2")]
    assert "\x1b[" not in done.stdout
    assert list((tmp_path / "tmp").iterdir()) == []
    assert processes_of(tmp_path) == []


@pytest.mark.timeout(LIMIT)
def test_ctrl_c_in_the_middle_of_the_story_ends_it_and_its_jobs(tmp_path: Path) -> None:
    with on_a_terminal(tmp_path) as demo:
        demo.expect("proved who it is and started to work", within=60)
        demo.press_ctrl_c()
        assert demo.wait(40) == 0, demo.text
        assert demo.text.rstrip().endswith("Stopped before the end. Bye.")
        assert "Traceback" not in demo.text
    assert list((tmp_path / "tmp").iterdir()) == []
    assert processes_of(tmp_path) == []


def test_the_spare_plan_in_the_repository_is_the_plan_that_is_pushed() -> None:
    files = project()
    spare = {path: text for path, text in files.items() if path.startswith(ANOTHER_PLAN)}
    assert {path.replace(ANOTHER_PLAN, ANOTHER_FOLDER): text for path, text in spare.items()} == greeting(
        "e5f6a7", "cheer", "Three cheers"
    )
    assert not any(path.startswith("tgs/thoughts/") for path in files)


def test_ids_of_the_stage_make_retries_quick_and_stay_different() -> None:
    ids = QuickIds()
    drawn = [ids.new("a") for _ in range(50)]
    assert len(set(drawn)) == 50
    assert max(map(jitter, drawn)) <= SHORT_SPREAD


def push_another_plan(tmp: Path, address: str) -> None:
    """What the demo tells people to type."""
    git(tmp, tmp, "clone", "--quiet", address)
    clone = tmp / "greeter"
    (clone / ANOTHER_FOLDER).parent.mkdir(parents=True, exist_ok=True)
    (clone / ANOTHER_PLAN).rename(clone / ANOTHER_FOLDER)
    git(tmp, clone, "checkout", "--quiet", "--", ANOTHER_PLAN)
    git(tmp, clone, "add", "tgs")
    git(tmp, clone, "commit", "--quiet", "--message", "Add a plan")
    git(tmp, clone, "push", "--quiet")


def git(tmp: Path, folder: Path, *args: str) -> str:
    """Runs git as somebody with a name."""
    command = ["git", "-c", "user.name=Maria", "-c", "user.email=maria@example.org", *args]
    done = subprocess.run(command, cwd=folder, env=environment(tmp), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout
