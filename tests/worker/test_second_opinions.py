"""The second opinion on a result: asked for by facts, without a memory, without a way to harm, and never decisive."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bot.demo.model_api import ScriptedModel, Turn
from bot.domain.bundle import OpinionPart
from bot.domain.doubts import Doubt, DoubtKind
from bot.domain.opinion import OpinionOutcome, doubts_from, read_opinion
from bot.domain.usage import Usage
from bot.worker.adapters.base import AgentResult
from bot.worker.model_proxy import ModelAccess
from bot.worker.outcome import RunOutcome
from bot.worker.second_opinion import critical, money
from tests.worker.support import BRANCH, THOUGHT, FakeBot, git, write
from tests.worker.test_agent_job import DONE, work, world

WANTED = {"paths": ["src/**"], "command": ["sh", "look.sh"]}
SCRIPTED = {"adapter": "scripted", "command": ["agent.json"]}


def script(opinion: object, path: str = "src/new.py") -> str:
    steps = [
        {"write": {"path": path, "content": "def hello():\n    return 1\n"}},
        {"write": {"path": f"{THOUGHT}/implementation.md", "content": "# Done\nA greeting was built and looked at.\n"}},
        {"commit": "Add a greeting"},
    ]
    return json.dumps({"steps": steps, **({} if opinion is None else {"opinion": opinion})})


def told(bot: FakeBot) -> tuple[dict[str, Any] | None, list[dict[str, str]]]:
    """What the bot hears of the opinion, and what it is to show."""
    [report] = bot.named("report")
    assert report.body["succeeded"], report.body
    doubts = [doubt for doubt in report.body.get("doubts", []) if "second_opinion" in doubt["kind"]]
    return report.body.get("opinion"), doubts


async def asked(tmp_path: Path, opinion: object, *, path: str = "src/new.py", **wanted: Any) -> FakeBot:
    """A scripted agent does its work and is asked about it."""
    files = {"agent.json": script(opinion, path)}
    async with world(tmp_path, "true", files, agent=SCRIPTED, opinion={**WANTED, **wanted}) as (_, bot):
        assert (await work(bot, tmp_path)).succeeded
        return bot


FOUND = {"path": "src/new.py", "line": 2, "text": "It always returns 1."}
HOSTILE = {"path": "src/new.py\n@maria", "line": -1, "text": "x" * 1_000 + "\u202e"}
R, K = OpinionOutcome, DoubtKind

SAID = {
    "a finding is a doubt with its place": (
        {"verdict": "doubtful", "findings": [FOUND]}, R.DOUBTFUL,
        (Doubt(K.SECOND_OPINION, "src/new.py:2", "It always returns 1."),),
    ),
    "whoever names something doubts, whatever it is called": (
        {"verdict": "good", "findings": [FOUND, FOUND, {"text": " "}, {"line": 3}, 7]}, R.DOUBTFUL,
        (Doubt(K.SECOND_OPINION, "src/new.py:2", "It always returns 1."),),
    ),
    "a good one leaves nothing to look at": ({"verdict": "good", "findings": "none"}, R.GOOD, ()),
    "a doubt without a reason is one all the same": ({"verdict": "doubtful"}, R.DOUBTFUL, (Doubt(K.SECOND_OPINION),)),
    "long and odd words are cut and cleaned": (
        {"verdict": "doubtful", "findings": [HOSTILE]}, R.DOUBTFUL,
        (Doubt(K.SECOND_OPINION, "src/new.py @maria", "x" * 300),),
    ),
    "more than anybody reads is cut": (
        {"verdict": "doubtful", "findings": [{"text": str(n)} for n in range(50)]}, R.DOUBTFUL,
        tuple(Doubt(K.SECOND_OPINION, "", str(n)) for n in range(10)),
    ),
    "no verdict is no opinion": ({"findings": [FOUND]}, R.SILENT, (Doubt(K.NO_SECOND_OPINION, says="silent"),)),
    "another verdict is none": ({"verdict": "approve"}, R.SILENT, (Doubt(K.NO_SECOND_OPINION, says="silent"),)),
    "no answer is no opinion": (None, R.SILENT, (Doubt(K.NO_SECOND_OPINION, says="silent"),)),
}  # fmt: skip


@pytest.mark.parametrize(("answer", "outcome", "doubts"), SAID.values(), ids=SAID.keys())
def test_what_is_said_becomes_doubts(answer: object, outcome: OpinionOutcome, doubts: tuple[Doubt, ...]) -> None:
    opinion = read_opinion(answer)
    assert (opinion.outcome, doubts_from(opinion)) == (outcome, doubts)


async def test_the_bot_is_told_how_it_ended_and_what_is_doubted(tmp_path: Path) -> None:
    assert told(await asked(tmp_path, {"verdict": "doubtful", "findings": [FOUND]})) == (
        {"outcome": "doubtful", "findings": 1},
        [{"kind": "second_opinion", "where": "src/new.py:2", "says": "It always returns 1."}],
    )


async def test_nobody_is_asked_where_nothing_critical_changed(tmp_path: Path) -> None:
    assert told(await asked(tmp_path, {"verdict": "doubtful"}, path="docs/new.md")) == (None, [])


async def test_a_plan_may_want_one_whatever_changes(tmp_path: Path) -> None:
    bot = await asked(tmp_path, {"verdict": "good"}, path="docs/new.md", paths=[], always=True)
    assert told(bot) == ({"outcome": "good"}, [])


PATHS = {
    "a folder covers what is in it": (["src/payments/**"], ["src/payments/a/b.py", "src/other.py"], 1),
    "a name alone is meant anywhere": (["*.sql"], ["db/migrations/1.sql", "sql/readme.md"], 1),
    "letters of another case are the same file elsewhere": (["Src/Pay.py"], ["src/pay.py"], 1),
    "everything": (["**"], ["a", "b/c"], 2),
    "nothing": ([], ["a"], 0),
}


@pytest.mark.parametrize(("patterns", "paths", "found"), PATHS.values(), ids=PATHS.keys())
def test_policy_names_the_critical_paths(patterns: list[str], paths: list[str], found: int) -> None:
    assert critical(paths, patterns) == tuple(paths[:found])


MONEY = {
    "an attempt without a bound leaves the look its own": (None, 3.0, 1.0),
    "what is left is enough": (5.0, 3.0, 1.0),
    "what is left bounds it": (5.0, 4.25, 0.75),
    "too little is left": (5.0, 4.75, None),
    "the work overspent": (5.0, 5.5, None),
}


@pytest.mark.parametrize(("reserved", "spent", "amount"), MONEY.values(), ids=MONEY.keys())
def test_a_look_spends_what_the_attempt_has_left(reserved: float | None, spent: float, amount: float | None) -> None:
    used = AgentResult(usage=Usage(cost_microusd=round(spent * 1_000_000)))
    assert money(OpinionPart(budget_usd=1.0), reserved, [used, AgentResult()]) == amount


# --- a program of the repository looks


SEEN = """
cat > seen.json; cp seen.json "$HOME/seen.json"
python3 - <<'END'
import json, os, pathlib
given = json.load(open("seen.json"))
facts = {
    "uid": os.getuid(), "new": pathlib.Path("src/new.py").read_text(), "git": os.path.exists(".git"),
    "left": sorted(str(p) for p in pathlib.Path(os.environ["HOME"]).iterdir()),
    "first": os.path.exists(FIRST), "env": sorted(os.environ), "touched": given["touched"], "plan": given["plan"],
    "checks": given["checks"], "diff": given["diff"], "title": given["context"]["title"],
    "whole": open(given["diff_file"]).read() == given["diff"], "resume": given["context"]["resume"],
}
print("SAW " + json.dumps(facts))
END
echo spoiled > src/new.py
echo '{"verdict": "doubtful", "findings": [{"path": "src/new.py", "line": 1, "text": "It says did."}]}' > "$TGS_RESULT"
"""


async def looked_by(tmp_path: Path, look: str, first: str = DONE, **changes: Any) -> tuple[RunOutcome, FakeBot, str]:
    """The work of `first`, looked at by `look`, both programs; the log too."""
    files = {"look.sh": look.replace("FIRST", repr(str(tmp_path / "marker")))}
    changes = {"opinion": WANTED, "acceptance": ["grep did src/new.py"], **changes}
    async with world(tmp_path, first, files, **changes) as (_, bot):
        outcome = await work(bot, tmp_path)
        log = next((tmp_path / "out/log").iterdir()).read_text()
        return outcome, bot, log


async def test_a_program_sees_the_accepted_files_and_nothing_of_the_first_session(tmp_path: Path) -> None:
    first = f'{DONE}\necho remember > "$HOME/note"; mkdir -p .junk; echo .junk > .git/info/exclude; echo x > .junk/x'
    outcome, bot, log = await looked_by(tmp_path, SEEN, first)
    assert outcome.succeeded, outcome
    line = next(line for line in log.splitlines() if "SAW " in line)
    raw = json.loads(line)["text"] if line.startswith("{") else line
    facts = json.loads(raw.split("SAW ", 1)[1])
    assert (facts["new"], facts["git"], facts["title"], facts["plan"]) == ("did\n", False, "Add search", "# Plan\n")
    assert facts["touched"] == ["src/new.py"]
    assert facts["checks"] == [{"command": "grep did src/new.py", "said": "did"}]
    assert facts["diff"].startswith("diff --git a/src/new.py")
    assert f"{THOUGHT}/implementation.md" in facts["diff"]
    assert facts["whole"]
    assert not any(path.endswith("note") for path in facts["left"])
    assert not {name for name in facts["env"] if "TOKEN" in name or ("KEY" in name and "GIT_CONFIG" not in name)}
    if os.geteuid() == 0:
        assert facts["uid"] >= 61_200
    note, doubts = told(bot)
    assert note == {"outcome": "doubtful", "findings": 1}
    assert doubts == [{"kind": "second_opinion", "where": "src/new.py:1", "says": "It says did."}]


ASKS_A_MODEL = """
python3 - <<'END'
import json, os, urllib.request
body = {"model": "claude-haiku-4-5", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}], "tools": [{}]}
request = urllib.request.Request(
    os.environ["ANTHROPIC_BASE_URL"] + "/v1/messages", json.dumps(body).encode(),
    {"x-api-key": os.environ["ANTHROPIC_API_KEY"], "content-type": "application/json"},
)
print(urllib.request.urlopen(request).status)
END
echo "DOOR $ANTHROPIC_BASE_URL $ANTHROPIC_API_KEY" > "$HOME/door"; sha256sum < "$HOME/door" | sed 's/^/DOOR /'
"""


async def test_what_it_uses_counts_and_its_way_to_the_model_is_its_own(tmp_path: Path) -> None:
    """Two programs that ask the model once each; neither sees the key, and their tokens differ."""
    model = ScriptedModel(lambda _: [Turn("ok", tokens_in=1_000, tokens_out=100)])
    async with model.serve() as url:
        access = ModelAccess(url, SecretStr("sk-the-real-key-0123456789"))
        answer = 'echo \'{"verdict": "good"}\' > "$TGS_RESULT"'
        files = {"look.sh": f"{ASKS_A_MODEL}\n{answer}"}
        async with world(tmp_path, f"{ASKS_A_MODEL}\n{DONE}", files, opinion=WANTED) as (_, bot):
            outcome = await work(bot, tmp_path, model=access)
            log = next((tmp_path / "out/log").iterdir()).read_text()
    assert outcome.succeeded, outcome
    assert told(bot)[0] == {"outcome": "good"}
    doors = {line.split("DOOR ", 1)[1][:64] for line in log.splitlines() if "DOOR " in line}
    assert len(doors) == 2
    assert [call.credential for call in model.asked] == ["sk-the-real-key-0123456789"] * 2
    used = bot.named("report")[0].body["usage"]
    assert (used["input_tokens"], used["output_tokens"], used["model"]) == (1_000, 100, "claude-haiku-4-5")
    assert used["cost_microusd"] > 0


BROKEN = {
    "it crashes": ("exit 3", WANTED, "crashed"),
    "its answer is a link to somewhere": ('echo {} > x; ln -s x "$TGS_RESULT"', WANTED, "crashed"),
    "it writes nonsense": ('echo nonsense > "$TGS_RESULT"', WANTED, "silent"),
    "there is no second command": ("true", {"paths": ["src/**"]}, "not_set_up"),
}


@pytest.mark.parametrize(("look", "wanted", "outcome"), BROKEN.values(), ids=BROKEN.keys())
async def test_whatever_goes_wrong_with_it_the_attempt_succeeds(
    look: str, wanted: dict[str, object], outcome: str, tmp_path: Path
) -> None:
    done, bot, _ = await looked_by(tmp_path, look, opinion=wanted, acceptance=[])
    assert done.succeeded
    assert told(bot) == ({"outcome": outcome}, [{"kind": "no_second_opinion", "where": "", "says": outcome}])
    assert (tmp_path / "out/bundle/tgs.bundle").exists()


async def test_a_result_that_is_refused_is_not_looked_at(tmp_path: Path) -> None:
    outcome, bot, log = await looked_by(tmp_path, SEEN, acceptance=["false"])
    assert not outcome.succeeded
    assert "opinion" not in bot.named("report")[0].body
    assert "SAW" not in log


async def test_what_an_earlier_attempt_published_is_looked_at_too(tmp_path: Path) -> None:
    """The pull request will show all of it, and its critical part may have been made before."""
    files = {"agent.json": script({"verdict": "good"}, "docs/new.md")}
    async with world(tmp_path, "true", files, agent=SCRIPTED, opinion=WANTED) as (origin, bot):
        write(origin.source, {"src/earlier.py": "x = 1\n"})
        git(origin.source, "checkout", "-q", "-b", BRANCH)
        git(origin.source, "add", "-A")
        git(origin.source, "commit", "-q", "-m", "Earlier")
        bot.bundle = bot.bundle.model_copy(update={"existing_branch_sha": git(origin.source, "rev-parse", "HEAD")})
        assert (await work(bot, tmp_path)).succeeded
    assert told(bot)[0] == {"outcome": "good"}
