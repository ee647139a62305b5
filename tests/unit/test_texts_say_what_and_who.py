"""What people read: every occasion has words, the words name the next step, and hostile text stays text."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from bot.domain.attempt import Attempt, AttemptPhase, Progress, Worker, WorkerKind, WorkerReport
from bot.domain.command_parser import parse
from bot.domain.commands import COMMANDS, Verb
from bot.domain.facts import Ci, CiFacts
from bot.domain.failures import FAILURES
from bot.domain.memory import of_item
from bot.domain.mirror import Listed, ListedBecause
from bot.domain.model import (
    AttemptId,
    Failure,
    FailureReason,
    InstallationId,
    IssueKey,
    Item,
    ItemState,
    Person,
    Problem,
    PullLink,
    RepoId,
    RepoKey,
    Snapshot,
    ThoughtRef,
    Waiting,
    WorkSpec,
)
from bot.domain.notes import Note, NoteCode, note
from bot.domain.policy_model import Policy
from bot.domain.reasons import PARAMS, ReasonCode, code_of, in_order, waiting
from bot.domain.repository import Pause, RepoRecord
from bot.domain.sanitise import MAX_TEXT
from bot.texts import failures, markers, replies
from bot.texts import help as help_text
from bot.texts import reasons as reason_texts
from bot.texts.mirror import MirrorInput, mirror_body, mirror_title, summary
from bot.texts.pull_request import PullInput, pull_body, pull_title
from bot.texts.render import RenderContext, render
from bot.texts.setup import SetUpInput, setup_body
from bot.texts.status_comment import StatusInput, status_text

NOW = datetime(2026, 12, 1, 9, tzinfo=UTC)
URL = "https://github.com"
REPO = RepoRecord(RepoKey(InstallationId(1), RepoId(2)), "acme/shop", 3, "main", False, preflight_ok=True)
SHA = "c" * 40
ITEM = Item(
    IssueKey(InstallationId(1), RepoId(2), 7),
    "node",
    "Sign in",
    ItemState.READY,
    NOW,
    snapshot=Snapshot("Sign in", "body", NOW, Person(5, "ann")),
)
ATTEMPT = Attempt(
    AttemptId("att_1"),
    ITEM.key,
    1,
    1,
    AttemptPhase.RUNNING,
    Worker(WorkerKind.ACTIONS, "actions"),
    "tgs/7-sign-in",
    NOW,
    run_id=55,
)
PULL = PullLink(9, "pr", "tgs/7-sign-in", "h" * 40, 1, NOW)
HOSTILE = "@octocat fixes #3 </details><!-- tgs:status --> ![x](http://e.test/a) `a`\n/tgs merge\n/approve \u202e<b>"


def status(item: Item, attempt: Attempt | None = None, ci: CiFacts | None = None, *why: Waiting) -> str:
    return status_text(StatusInput(REPO, item, attempt, Policy(), ci, why, URL, NOW))


def words(entry: Note, item: Item | None = ITEM) -> str:
    return render(entry, RenderContext(REPO, item, Policy(), URL, NOW))


# --- completeness


def test_every_failure_has_a_sentence_and_a_remedy() -> None:
    assert set(failures.SENTENCES) == set(FailureReason)
    assert {rule.remedy for rule in FAILURES.values()} == set(failures.REMEDIES)
    for reason in FailureReason:
        assert failures.sentence(reason).endswith(".")
        assert failures.remedy(reason).endswith(".")
        assert failures.why_not_again(reason, 3, 3).endswith(".")


@pytest.mark.parametrize("code", list(ReasonCode))
def test_every_reason_has_a_sentence_with_and_without_parameters(code: ReasonCode) -> None:
    full = waiting(code, **dict.fromkeys(PARAMS[code], "3"))
    for reason in (full, waiting(code)):
        sentence = reason_texts.sentence(reason)
        assert sentence.endswith(".")
        assert f"(`{code.value}`)" not in sentence, "the fallback for unknown codes is no sentence of its own"


def test_reasons_are_closed_ordered_and_tolerant() -> None:
    assert set(PARAMS) == set(ReasonCode)
    with pytest.raises(ValueError, match="no parameter colour"):
        waiting(ReasonCode.PAUSED, colour="red")
    strange = Waiting("later_version", (("x", "y"),))
    assert code_of(strange) is None
    assert "`later_version`" in reason_texts.sentence(strange)
    assert in_order((strange, waiting(ReasonCode.SLOTS), waiting(ReasonCode.PAUSED)))[-1] is strange
    assert waiting(ReasonCode.NOT_BEFORE, at=NOW).params == (("at", "2026-12-01T09:00:00Z"),)


@pytest.mark.parametrize("code", list(NoteCode))
def test_every_note_has_words_with_and_without_parameters(code: NoteCode) -> None:
    for item in (ITEM, None):
        said = words(Note(code), item)
        assert said.strip()
        assert "None" not in said


@pytest.mark.parametrize("verb", list(Verb))
def test_every_command_has_help_and_a_refusal(verb: Verb) -> None:
    text = help_text.one(verb.value, Policy().roles)
    assert COMMANDS[verb].help in text
    assert "Who may:" in text
    refused = words(note(NoteCode.DENIED, verb=verb.value, actor="bob", needs="write", has="triage"))
    assert refused == f"@bob: `/tgs {verb.value}` needs the role write or higher; you have triage. Nothing was done."


@pytest.mark.parametrize("state", list(ItemState))
def test_a_command_that_is_not_possible_names_the_state(state: ItemState) -> None:
    said = words(note(NoteCode.CANNOT, verb="retry", why=state.value, actor="bob"))
    assert said.startswith("@bob: `/tgs retry` is not possible now. ")
    assert "not in a state" not in said


def test_no_text_cries_or_uses_inner_words() -> None:
    said = [
        *(words(Note(code)) for code in NoteCode),
        *(words(note(NoteCode.DONE, what=what)) for what in replies.DONE),
        *(words(note(NoteCode.ALREADY_SO, what=what)) for what in replies.ALREADY),
        *(words(note(NoteCode.CANNOT, why=why)) for why in replies.CANNOT),
        *(words(note(NoteCode.MERGE_REFUSED, why=why)) for why in replies.MERGE_REFUSED),
        *(failures.sentence(reason) + failures.remedy(reason) for reason in FailureReason),
        *(reason_texts.sentence(waiting(code)) for code in ReasonCode),
        *(status(replace(ITEM, state=state)) for state in ItemState),
        setup_body(SetUpInput(REPO, (), Policy(), URL)),
        help_text.reference(Policy().roles),
    ]
    for text in said:
        shown = re.sub(r"<!--.*?-->", "", text)
        assert "!" not in shown
        assert re.search(r"\b(fence|fenced|reconcile|ledger|outbox|lease)\b", shown, re.IGNORECASE) is None, shown


# --- golden texts


def test_the_status_comment_of_a_waiting_item() -> None:
    item = replace(ITEM, position=2)
    why = (waiting(ReasonCode.LOCKS, path="src/", number=3), waiting(ReasonCode.QUEUED, position=2))
    assert status(item, None, None, *why) == (
        "**Ready, number 2 in the queue**\n\n"
        "- It waits for #3, which holds `src/`.\n\n"
        "**Next:** it starts by itself when nothing above stands in the way. `/tgs stop` takes it out of the queue.\n\n"
        "<details><summary>Settings of this issue</summary>\n\n"
        "- type: feature\n- priority: 0\n- locks: none\n- attempts: at most 3\n- agent: `claude-code`\n"
        "- approved by `ann`; the agent reads the text as it stood then\n\n"
        "</details>\n\n"
        f"{markers.memory(of_item(item, None))}\n"
        "<!-- tgs:status -->"
    )


def test_the_status_comment_of_a_running_item() -> None:
    attempt = replace(ATTEMPT, progress=Progress(2, 5, "writing tests", NOW))
    text = status(replace(ITEM, state=ItemState.IN_PROGRESS), attempt, None, waiting(ReasonCode.RUNNING, attempt=1))
    assert text.startswith(
        "**In progress** · attempt 1 of 3\n\n"
        "- The agent is working (attempt 1).\n"
        "- `████░░░░░░` 2/5 writing tests\n"
        "- [Run](https://github.com/acme/shop/actions/runs/55), branch `tgs/7-sign-in`\n\n"
        "**Next:** the bot opens a draft pull request when the agent is done. `/tgs stop` ends it."
    )


def test_the_status_comment_of_an_item_in_review_links_failed_checks_on_github_only() -> None:
    ci = CiFacts("h", Ci.FAILED, (("unit", f"{URL}/acme/shop/runs/1"), ("lint", "https://evil.test/x")), 3)
    item = replace(ITEM, state=ItemState.IN_REVIEW, pull=PULL)
    text = status(
        item, replace(ATTEMPT, phase=AttemptPhase.ENDED), ci, waiting(ReasonCode.CI_FAILED, pull=9, checks="unit")
    )
    assert "- Pull request #9 ([branch](https://github.com/acme/shop/tree/tgs/7-sign-in))" in text
    assert "- Checks failed: [unit](https://github.com/acme/shop/runs/1), `lint`" in text
    assert "evil.test" not in text
    assert text.count("hecks failed") == 1


def test_the_status_comment_of_a_failed_item_says_the_remedy_once() -> None:
    item = replace(
        ITEM, state=ItemState.FAILED, attempts_burnt=3, last_failure=Failure(FailureReason.AGENT_CRASH, "boom", NOW)
    )
    text = status(
        item, replace(ATTEMPT, phase=AttemptPhase.ENDED), None, waiting(ReasonCode.FAILED, reason="agent.crash")
    )
    assert text.startswith("**Failed** · 3 of 3 attempts used\n\n- [Last run]")
    assert "- The agent crashed: boom" in text
    assert text.count("/tgs retry") == 1


def test_an_unchanged_item_gives_an_unchanged_comment() -> None:
    view = StatusInput(REPO, ITEM, ATTEMPT, Policy(), None, (), URL, NOW)
    assert status_text(view) == status_text(replace(view, now=NOW + timedelta(days=3)))


def test_budgets_are_not_shown_on_public_repositories() -> None:
    item = replace(ITEM, spec=WorkSpec(budget_usd=4))
    view = StatusInput(REPO, item, None, Policy(), None, (), URL, NOW)
    assert "USD" not in status_text(view)
    assert "0.00 of at most 4.00 USD" in status_text(replace(view, repo=replace(REPO, private=True)))


def test_missing_isolation_is_said() -> None:
    report = WorkerReport(True, NOW, isolation="none")
    assert "without isolation" in status(
        replace(ITEM, state=ItemState.IN_PROGRESS), replace(ATTEMPT, gate_report=report)
    )
    assert "without isolation" in pull_body(PullInput(REPO, ITEM, replace(ATTEMPT, report=report), Policy(), URL))


def test_the_pull_request_closes_its_issue_and_nothing_else() -> None:
    report = WorkerReport(True, NOW, summary=f"Done. Closes #99\n{HOSTILE}\n```\nopen")
    body = pull_body(PullInput(REPO, ITEM, replace(ATTEMPT, report=report, base_sha=SHA), Policy(), URL))
    assert body.startswith("Closes #7\n")
    closing = re.findall(r"\b(?:close[sd]?|fix(?:e[sd])?|resolve[sd]?)\W{0,3}#\d+", body, re.IGNORECASE)
    assert closing == ["Closes #7"]
    assert "[run with its log](https://github.com/acme/shop/actions/runs/55)" in body
    assert markers.read(body) == (markers.Marker(markers.MarkerKind.PULL, "7/1"),)


def test_the_issue_of_a_thought_links_the_files_that_were_read() -> None:
    ref = ThoughtRef("tgs/thoughts/abc123-x", SHA, "p", "r")
    view = MirrorInput(REPO, ref, "Sign in", ItemState.PROPOSED, URL)
    body = mirror_body(view)
    assert f"[plan]({URL}/acme/shop/blob/{SHA}/tgs/thoughts/abc123-x/plan.md)" in body
    assert "`tgs:ready`" in body
    assert "needs no further approval" in mirror_body(replace(view, state=ItemState.READY)), "true for its whole life"
    assert markers.carries(body, markers.mirror(ref.dir))
    assert mirror_title(view) == "Sign in"


def test_the_failure_comment_addresses_the_approver() -> None:
    entry = note(NoteCode.FAILED, reason="agent.crash", detail="Traceback\nboom", attempt=3, run=55, approver="ann")
    assert words(entry, replace(ITEM, attempts_burnt=3)) == (
        "@ann: This did not work out. The agent crashed. All 3 attempts are used. "
        "See the [run](https://github.com/acme/shop/actions/runs/55).\n\n"
        "```text\nTraceback\nboom\n```\n\n"
        "`/tgs retry` starts it again; notes after the command reach the agent."
    )


def test_a_void_approval_shows_the_difference_and_what_is_hidden_in_it() -> None:
    said = words(
        note(
            NoteCode.APPROVAL_VOID,
            editor="eve",
            at=NOW.isoformat(),
            approver="ann",
            old_title="A",
            new_title="A",
            old_body="one",
            new_body="one\nand\u200b ```two",
        )
    )
    assert said.startswith("@ann: `eve`, who may not start work here, changed the text at 2026-12-01 09:00 UTC")
    assert "+and<U+200B> ```two" in said
    assert "````diff" in said


def test_why_is_a_list_with_the_nearest_cause_first() -> None:
    entry = Note(NoteCode.WHY, (), (waiting(ReasonCode.SLOTS, count=1, limit=1), waiting(ReasonCode.HELD, by="bob")))
    assert words(entry) == (
        "**Ready**\n\n"
        "- It is on hold by `bob`. `/tgs unhold` lets it go on.\n"
        "- All places are taken: 1 of 1 is working."
    )


def test_a_command_that_is_not_understood_keeps_its_explanation() -> None:
    said = words(note(NoteCode.NOT_UNDERSTOOD, actor="bob", error="I do not know `claim` (line 1, column 6)."))
    assert said == "@bob: I do not know `claim` (line 1, column 6). `/tgs help` lists the commands."


# --- set-up


def test_the_set_up_issue_lists_what_is_missing_and_how_plans_are_released() -> None:
    repo = replace(
        REPO,
        preflight_ok=False,
        preflight_problems=(Problem("x", "the environment `tgs-agent` does not exist", "Create it."),),
        policy_problems=(Problem("y", "`.tgs/policy.yml`, line 2, column 1: bad.", "Correct it."),),
    )
    view = SetUpInput(repo, (Listed("tgs/thoughts/abc123-a", ListedBecause.UNDECIDED),), Policy(), URL)
    body = setup_body(view)
    assert "1 thing must be set right" in body
    assert "- The environment `tgs-agent` does not exist. Create it." in body
    assert "line 2, column 1" in body
    assert "comment `/tgs approve` on this issue" in body
    assert "  - `tgs/thoughts/abc123-a`" in body
    assert markers.carries(body, markers.SETUP)


def test_the_summary_of_many_thoughts_is_short() -> None:
    text = summary([Listed(f"tgs/thoughts/{n:06d}-x", ListedBecause.BACKLOG) for n in range(500)])
    assert "500 plans without an issue" in text
    assert "and 450 more" in text
    assert len(text) < 5_000


# --- markers


def test_markers_are_read_only_from_the_end() -> None:
    text = markers.stamp("words", markers.STATUS, markers.say("say:issue/1/2/3:a--b>"))
    assert [mark.kind.value for mark in markers.read(text)] == ["status", "say"]
    assert markers.read(text)[1].value == "say:issue/1/2/3:a--b>"
    assert markers.read("<!-- tgs:status -->\n\nquoted above") == ()
    assert not markers.carries("<!-- tgs:status --> x", markers.STATUS)
    assert markers.stamp(text, markers.STATUS) == text


@given(st.text(max_size=60), st.sampled_from(list(markers.MarkerKind)))
def test_markers_round_trip(value: str, kind: markers.MarkerKind) -> None:
    value = value.encode("utf-8", "ignore").decode()
    line = markers.write(kind, value)
    assert line.count("--") == 2
    assert markers.read(f"any\n\n{line}") == (markers.Marker(kind, value),)


# --- hostile text


OUR_HTML = {
    "<details><summary>Settings of this issue</summary>",
    "</details>",
    "<!-- tgs:status -->",
    "<!-- tgs:pull 7/1 -->",
}


MEMORY = re.compile(r"<!-- tgs:memory [A-Za-z0-9./]+ -->")


def inert(markdown: str, *, links: bool = False) -> None:
    """Nothing of a hostile text acts when the page is rendered: no mention, closing keyword, command, image, HTML."""
    for token in MarkdownIt("commonmark").parse(markdown):
        if token.type == "html_block":
            lines = token.content.strip().split("\n")
            assert {line for line in lines if not MEMORY.fullmatch(line)} <= OUR_HTML
        for child in token.children or []:
            assert child.type not in {"image", "html_inline"}, child.content
            if child.type == "link_open":
                assert links or str(child.attrs["href"]).startswith(f"{URL}/acme/shop/")
            if child.type == "text":
                assert "@octocat" not in child.content
                assert re.search(r"\bfixes #3", child.content) is None
                assert not child.content.startswith("/")
    assert "\u202e" not in markdown
    assert parse(markdown) == ()


def test_hostile_texts_stay_texts_everywhere() -> None:
    item = replace(
        ITEM,
        title=HOSTILE,
        held_by=HOSTILE,
        held_reason=HOSTILE,
        state=ItemState.IN_PROGRESS,
        snapshot=Snapshot(HOSTILE, HOSTILE, NOW, Person(5, HOSTILE)),
        spec=WorkSpec(
            type=HOSTILE, locks=(HOSTILE,), model=HOSTILE, agent=HOSTILE, acceptance=(HOSTILE,), base_branch=HOSTILE
        ),
        last_failure=Failure(FailureReason.AGENT_CRASH, HOSTILE, NOW),
        thought=ThoughtRef(f"tgs/thoughts/{HOSTILE}", HOSTILE, "p", "r"),
        pull=replace(PULL, branch=HOSTILE),
    )
    attempt = replace(
        ATTEMPT,
        branch=HOSTILE,
        worker=Worker(WorkerKind.PULL, HOSTILE),
        progress=Progress(1, 2, HOSTILE, NOW),
        report=WorkerReport(True, NOW, detail=HOSTILE, summary=HOSTILE),
        base_sha=HOSTILE,
    )
    repo = replace(REPO, pause=Pause(HOSTILE, HOSTILE, NOW), policy_problems=(Problem("c", HOSTILE, HOSTILE),))
    ci = CiFacts(HOSTILE, Ci.FAILED, ((HOSTILE, f"{URL}/{HOSTILE}"),))
    whys = tuple(waiting(code, **dict.fromkeys(PARAMS[code], HOSTILE)) for code in ReasonCode)
    for state in ItemState:
        said = status_text(StatusInput(repo, replace(item, state=state), attempt, Policy(), ci, whys, URL, NOW))
        inert(said)
        remembered, status_mark = markers.read(said)
        assert remembered.kind is markers.MarkerKind.MEMORY
        assert status_mark == markers.Marker(markers.MarkerKind.STATUS)
    # The agent's own summary may hold links, as any comment may.
    inert(pull_body(PullInput(repo, item, attempt, Policy(), URL)), links=True)
    thought = MirrorInput(repo, ThoughtRef("", "", "", ""), HOSTILE, ItemState.READY, URL)
    for title in (pull_title(PullInput(repo, item, attempt, Policy(), URL)), mirror_title(thought)):
        # A title is no Markdown, but it notifies, closes issues as a commit subject and may skip CI.
        assert re.search(r"@octocat|fixes #3|\n|tgs:status|\u202e", title) is None
    inert(reason_texts.tree(whys))
    inert(summary([Listed(HOSTILE, because, (Problem("c", HOSTILE, HOSTILE),)) for because in ListedBecause]))


NOTE_PARAMS = (
    *("actor", "verb", "what", "why", "needs", "has", "position", "attempt", "by", "value", "until", "reason", "pull"),
    *("running", "now", "sha", "message", "checks", "error", "label", "removed", "state", "editor", "at", "approver"),
    *("old_title", "new_title", "old_body", "new_body", "plan", "dir", "count", "number", "title", "hash", "file"),
    *("command", "run", "detail"),
)
junk = st.sampled_from(
    ["", HOSTILE, "7", "role", "ann", "agent.crash", "tgs:ready", "ci_failed", "held", "2026-12-01"]
) | st.text(max_size=20)


@settings(max_examples=300)
@given(st.sampled_from(list(NoteCode)), st.dictionaries(st.sampled_from(NOTE_PARAMS), junk, max_size=8))
def test_no_parameter_breaks_a_note(code: NoteCode, params: dict[str, str]) -> None:
    said = words(Note(code, tuple(params.items())))
    assert said.strip()
    assert len(said) <= MAX_TEXT
    for token in MarkdownIt("commonmark").parse(said):
        for child in token.children or []:
            assert child.type not in {"image", "html_inline"}
            assert "@octocat" not in child.content or child.type == "code_inline"
    assert parse(said) == ()


def test_a_very_long_text_still_fits() -> None:
    entry = note(NoteCode.APPROVAL_VOID, editor="e", at="x", old_body="a\n" * 50_000, new_body="b" * 100_000)
    assert len(words(entry)) <= MAX_TEXT
    report = WorkerReport(True, NOW, summary="x" * 200_000)
    assert len(pull_body(PullInput(REPO, ITEM, replace(ATTEMPT, report=report), Policy(), URL))) <= 65_536
