"""Pictures and tables in the documentation equal the tables in the code."""

from __future__ import annotations

import re

import pytest

from bot.domain.attempt import AttemptPhase, Proof
from bot.domain.front_matter import FROM_ISSUE, FrontMatter
from bot.domain.labels import IntentLabel, state_label
from bot.domain.lifecycle import TABLE
from bot.domain.model import ItemState
from bot.settings import Settings
from handlers import REGISTRY
from scripts.record_demo import BEGIN, END, put, settled
from tests.docs.pages import ROOT, blocks

LIFE = (ROOT / "docs/life-of-an-item.md").read_text("utf-8")
EDGE = re.compile(r"\s*(\S+) --> (\S+): (T\w+) (.+)")
STATE = re.compile(r'\s*state "(.+)" as (\S+)')

Edge = tuple[str | None, str, str, str]


def edges_of(picture: str) -> list[Edge]:
    """(state or None, event, state after, row) for every event of every arrow."""
    found: list[Edge] = []
    for line in picture.splitlines():
        match = EDGE.fullmatch(line)
        assert match or " --> " not in line, f"an arrow without a row and events: {line}"
        if match:
            start = None if match[1] == "[*]" else match[1].replace("_", "-")
            found += [(start, event.strip(), match[2].replace("_", "-"), match[3]) for event in match[4].split(",")]
    return found


def _picture() -> str:
    return next(block.text for block in blocks("mermaid") if block.page == "docs/life-of-an-item.md")


def test_the_picture_of_the_life_is_the_transition_table() -> None:
    table = [(state and state.value, event.value, move.to.value, move.row) for (state, event), move in TABLE.items()]
    drawn = edges_of(_picture())
    assert sorted(drawn, key=str) == sorted(table, key=str)


def test_an_arrow_more_or_less_would_be_noticed() -> None:
    lines = [line for line in _picture().splitlines() if " --> " in line]
    assert len(edges_of("\n".join(lines[1:]))) < len(TABLE)


def test_the_picture_names_each_state_by_its_label() -> None:
    named = {match[2].replace("_", "-"): match[1] for line in _picture().splitlines() if (match := STATE.match(line))}
    assert named == {state.value: state_label(state) for state in ItemState}


def test_every_row_of_the_table_is_explained_with_its_events() -> None:
    explained = {
        cells[1].strip(): set(re.findall(r"`(\w+)`", cells[2]))
        for line in LIFE.splitlines()
        if line.startswith("| T") and (cells := line.split("|"))
    }
    rows: dict[str, set[str]] = {}
    for (_, event), move in TABLE.items():
        rows.setdefault(move.row, set()).add(event.value)
    assert explained == rows


@pytest.mark.parametrize("phase", AttemptPhase, ids=str)
def test_every_phase_of_an_attempt_is_explained(phase: AttemptPhase) -> None:
    assert f"| `{phase.value}` |" in LIFE


@pytest.mark.parametrize("proof", Proof, ids=str)
def test_every_proof_is_explained(proof: Proof) -> None:
    assert f"| `{proof.value}` |" in (ROOT / "docs/claims.md").read_text("utf-8")


@pytest.mark.parametrize("label", IntentLabel, ids=str)
def test_every_label_that_people_write_is_explained(label: IntentLabel) -> None:
    assert f"`{label.value}`" in LIFE


def test_every_key_of_front_matter_is_explained() -> None:
    guide = (ROOT / "docs/user-guide.md").read_text("utf-8")
    table = guide.partition("| Key | Meaning | Limited by |")[2].partition("\n\n")[0]
    named = {
        key
        for line in table.splitlines()
        if line.startswith("| `")
        for key in re.findall(r"`(\w+)`", line.split("|")[1])
    }
    assert named == set(FrontMatter.model_fields)
    said = guide.partition("In the text of an issue only ")[2].partition(" are read")[0]
    assert set(re.findall(r"`(\w+)`", said)) == FROM_ISSUE


@pytest.mark.parametrize("event", sorted(REGISTRY))
def test_every_event_has_its_line(event: str) -> None:
    assert f"| `{event}` |" in (ROOT / "docs/reference/events.md").read_text("utf-8")


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_stands_in_the_sample_file(name: str) -> None:
    assert re.search(rf"^(# )?{name}: ", (ROOT / "config.sample.yaml").read_text("utf-8"), re.MULTILINE)


def test_the_transcript_of_the_demo_is_a_whole_run_in_its_settled_form() -> None:
    page = (ROOT / "docs/DEMO.md").read_text("utf-8")
    transcript = page.partition(BEGIN)[2].partition(END)[0]
    assert settled(transcript) == transcript
    assert put(page, transcript) == page
    assert transcript.count("is merged and done.") == 5
    for words in ("/tgs why", "attempt 1 failed", "attempt 2", "What became of the work"):
        assert words in transcript


def test_recording_replaces_what_differs_between_runs_and_nothing_else() -> None:
    text = "\n 1.0 s  at http://127.0.0.1:40001/x, http://127.0.0.1:40002   \n run 7 and run 9, run 7\n"
    assert settled(text) == " 1.0 s  at http://127.0.0.1:8071/x, http://127.0.0.1:8072\n run 101 and run 102, run 101\n"
    with pytest.raises(ValueError, match="marks"):
        put("# The demo\n", "text")


def test_the_excerpt_in_the_readme_is_from_the_transcript() -> None:
    def words(text: str) -> set[str]:
        """The lines without their times and numbers of runs and pull requests, which differ between recordings."""
        return {re.sub(r"\d+", "N", line.strip().partition(" s ")[2]) for line in text.splitlines()}

    excerpt = next(block.text for block in blocks("text") if block.page == "README.md")
    transcript = (ROOT / "docs/DEMO.md").read_text("utf-8").partition(BEGIN)[2]
    assert words(excerpt) <= words(transcript)
