"""The agent's job against a stand-in bot: real git, real processes."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr

from bot.domain.model import FailureReason
from bot.errors import LostClaim
from bot.worker.api import Api
from bot.worker.isolation import Isolation
from bot.worker.life import time_to_work
from bot.worker.outcome import RunOutcome
from bot.worker.outputs import Outputs
from bot.worker.process import Graces
from bot.worker.run import RunSettings, run_attempt
from tests.worker.support import (
    ATTEMPT_TOKEN,
    BASE_FILES,
    BRANCH,
    HANDOFF,
    LIMIT,
    NOW,
    THOUGHT,
    FakeBot,
    Origin,
    fake_bot,
    git,
    make_origin,
)

DONE = f"""
echo did >> src/new.py
mkdir -p {THOUGHT}
echo done > {THOUGHT}/implementation.md
git add -A
git commit -qm Work
"""


async def no_pause(_: float) -> None:
    return None


@asynccontextmanager
async def world(
    tmp_path: Path, script: str, files: Mapping[str, str] | None = None, **changes: Any
) -> AsyncIterator[tuple[Origin, FakeBot]]:
    """A repository whose agent is `script`, and a bot that offers it."""
    origin = make_origin(tmp_path / "hub", {**BASE_FILES, "agent.sh": script, **(files or {})})
    async with fake_bot(origin, **changes) as bot:
        yield origin, bot


async def work(bot: FakeBot, tmp_path: Path, interrupt: asyncio.Event | None = None, **settings: Any) -> RunOutcome:
    origin_source = bot.git_root / "source"
    given = RunSettings(
        attempt=bot.bundle.attempt,
        fence=bot.bundle.fence,
        handoff=SecretStr(HANDOFF),
        source=origin_source,
        out=tmp_path / "out",
        **{"graces": Graces(interrupt=5, terminate=5), **settings},
    )
    outputs = Outputs({"GITHUB_OUTPUT": str(tmp_path / "outputs")})
    async with aiohttp.ClientSession() as session, asyncio.timeout(LIMIT):
        return await run_attempt(
            given,
            Api(session, bot.url, no_pause, lambda _: ATTEMPT_TOKEN),
            lambda: NOW,
            outputs,
            interrupt or asyncio.Event(),
        )


def outputs(tmp_path: Path) -> dict[str, str]:
    text = (tmp_path / "outputs").read_text()
    return dict(line.split("=", 1) for line in text.splitlines())


async def test_a_finished_agent_yields_a_bundle_a_log_and_a_report(tmp_path: Path) -> None:
    script = DONE + 'echo \'::tgs progress 1/2 half way\'; echo \'{"outcome": "done", "summary": "ok"}\' > $TGS_RESULT'
    async with world(tmp_path, script) as (_, bot):
        outcome = await work(bot, tmp_path)
    assert outcome.succeeded
    report = bot.named("report")[0]
    assert report.bearer == ATTEMPT_TOKEN
    assert report.body == {
        "fence": 3, "succeeded": True, "reason": None, "detail": "", "summary": "ok",
        "bundle_digest": outcome.bundle_digest, "isolation": outcome.isolation,
        "doubts": [{"kind": "empty_report", "where": "implementation.md"}],
    }  # fmt: skip
    assert outputs(tmp_path) == {
        "log_name": "abc123-add-search-20260304T050607Z.log",
        "bundle_digest": outcome.bundle_digest,
    }
    bundle = tmp_path / "out/bundle/tgs.bundle"
    assert git(tmp_path, "bundle", "list-heads", str(bundle)).endswith("HEAD")


async def test_no_agent_is_started_without_its_plan(tmp_path: Path) -> None:
    """Taken off the branch between the claim and the checkout; nobody is paid for guessing what was wanted."""
    marker = tmp_path / "ran"
    async with world(tmp_path, f"touch {marker}") as (_, bot):
        assert bot.bundle.thought is not None
        gone = bot.bundle.thought.model_copy(update={"plan_path": f"{THOUGHT}/gone.md"})
        bot.bundle = bot.bundle.model_copy(update={"thought": gone})
        outcome = await work(bot, tmp_path)
    assert outcome.reason is FailureReason.CONFIG_AGENT
    assert "gone.md is not there" in outcome.detail
    assert not marker.exists()


async def test_work_left_uncommitted_is_committed(tmp_path: Path) -> None:
    script = f"mkdir -p {THOUGHT}; echo done > {THOUGHT}/implementation.md; echo x > new.txt"
    async with world(tmp_path, script) as (origin, bot):
        outcome = await work(bot, tmp_path)
        assert outcome.succeeded, outcome
        git(origin.source, "fetch", "-q", str(tmp_path / "out/bundle/tgs.bundle"), "HEAD")
    assert "new.txt" in git(origin.source, "ls-tree", "-r", "--name-only", "FETCH_HEAD")


SIDE = "git checkout -q -b side; echo 1 > s; git add -A; git commit -qm s"

REFUSED = {
    "an agent that did nothing has an empty result": ("true", FailureReason.AGENT_EMPTY_OUTPUT),
    "an agent that ends with an error has crashed": ("echo boom; exit 3", FailureReason.AGENT_CRASH),
    "an agent that forgets implementation.md misses an artifact": ("echo x > new.txt", FailureReason.MISSING_ARTIFACT),
    "an agent that writes to .github is refused": (
        DONE + "echo x > .github/workflows/x.yml",
        FailureReason.POLICY_PROTECTED_PATH,
    ),
    "an agent that gives up says so": (
        'echo \'{"outcome": "failed", "reason": "agent.gave_up", "detail": "too hard"}\' > "$TGS_RESULT"',
        FailureReason.AGENT_GAVE_UP,
    ),
    "an agent may not claim a reason that is ours to find": (
        'echo \'{"outcome": "failed", "reason": "cancelled.person"}\' > "$TGS_RESULT"',
        FailureReason.AGENT_GAVE_UP,
    ),
    "a malformed result file is a crash": ("echo nonsense > $TGS_RESULT", FailureReason.AGENT_CRASH),
    "a result file that is a link is a crash": ('ln -s /etc/passwd "$TGS_RESULT"', FailureReason.AGENT_CRASH),
    "an agent that merges is refused": (
        f"{SIDE}; git checkout -q -; echo 2 > t; git add -A; git commit -qm t; git merge -q -m m side",
        FailureReason.SECURITY_BUNDLE,
    ),
    "an agent that starts a new history is refused": (
        "git checkout -q --orphan fresh; git commit -qm fresh",
        FailureReason.SECURITY_BUNDLE,
    ),
    "an agent that destroys its repository is a crash": ("rm -rf .git", FailureReason.AGENT_CRASH),
}


@pytest.mark.parametrize(("script", "reason"), REFUSED.values(), ids=REFUSED.keys())
async def test_a_bad_end_is_reported_with_its_reason(script: str, reason: FailureReason, tmp_path: Path) -> None:
    async with world(tmp_path, script) as (_, bot):
        outcome = await work(bot, tmp_path)
        assert (outcome.succeeded, outcome.reason) == (False, reason), outcome
        assert bot.named("report")[0].body["reason"] == reason.value
    assert "bundle_digest" not in outputs(tmp_path)
    assert not (tmp_path / "out/bundle/tgs.bundle").exists()


async def test_heartbeats_go_on_during_long_work_and_carry_progress(tmp_path: Path) -> None:
    script = f"echo '::tgs progress 2/5 writing tests'; while [ ! -s $TGS_STEER ]; do sleep 0.02; done; {DONE}"
    async with world(tmp_path, script) as (_, bot):
        bot.heartbeat_seconds = 0.02
        job = asyncio.create_task(work(bot, tmp_path))
        await bot.saw("heartbeat", 5)
        bot.beat = {"steer": ["go on"]}
        assert (await job).succeeded
    last = bot.named("heartbeat")[-1]
    assert last.bearer == ATTEMPT_TOKEN
    assert last.body == {"fence": 3, "progress": {"step": 2, "total": 5, "text": "writing tests"}}


# Signals that it runs by printing progress, then works for ever, ignoring what `trap` says.
ENDLESS = "%s\necho '::tgs progress 1/2 started'; while :; do sleep 0.02; done"


async def started(bot: FakeBot) -> None:
    """Until a heartbeat showed that the agent runs."""
    async with asyncio.timeout(LIMIT), bot.changed:
        await bot.changed.wait_for(lambda: any(c.body["progress"] for c in bot.named("heartbeat")))


async def test_a_cancelled_attempt_stops_the_agent_and_says_so(tmp_path: Path) -> None:
    async with world(tmp_path, ENDLESS % "") as (_, bot):
        bot.heartbeat_seconds = 0.02
        job = asyncio.create_task(work(bot, tmp_path))
        await started(bot)
        bot.beat = {"cancel": True}
        outcome = await job
    assert outcome.reason is FailureReason.CANCELLED_BY_PERSON
    assert bot.named("report")[0].body["succeeded"] is False


async def test_an_agent_that_ignores_signals_is_killed(tmp_path: Path) -> None:
    async with world(tmp_path, ENDLESS % "trap '' INT TERM") as (_, bot):
        bot.heartbeat_seconds = 0.02
        job = asyncio.create_task(work(bot, tmp_path, graces=Graces(interrupt=0.05, terminate=0.05)))
        await started(bot)
        bot.beat = {"cancel": True}
        assert (await job).reason is FailureReason.CANCELLED_BY_PERSON


async def test_a_lost_claim_stops_the_agent_and_nothing_is_said_or_handed_on(tmp_path: Path) -> None:
    async with world(tmp_path, ENDLESS % "") as (_, bot):
        bot.heartbeat_seconds = 0.02
        job = asyncio.create_task(work(bot, tmp_path))
        await started(bot)
        bot.errors["heartbeat"] = (409, "lost_claim")
        with pytest.raises(LostClaim):
            await job
    assert bot.named("report") == []
    assert "bundle_digest" not in outputs(tmp_path)


async def test_an_interrupted_job_says_that_it_was_cancelled_in_actions(tmp_path: Path) -> None:
    interrupt = asyncio.Event()
    async with world(tmp_path, ENDLESS % "") as (_, bot):
        bot.heartbeat_seconds = 0.02
        job = asyncio.create_task(work(bot, tmp_path, interrupt))
        await started(bot)
        interrupt.set()
        assert (await job).reason is FailureReason.CANCELLED_IN_ACTIONS


async def test_an_unreachable_bot_does_not_stop_the_work(tmp_path: Path) -> None:
    script = f"while [ ! -s $TGS_STEER ]; do sleep 0.02; done; {DONE}"
    async with world(tmp_path, script) as (_, bot):
        bot.heartbeat_seconds = 0.02
        bot.errors["heartbeat"] = (503, "down")
        job = asyncio.create_task(work(bot, tmp_path))
        await bot.saw("heartbeat", 4)
        del bot.errors["heartbeat"]
        bot.beat = {"steer": ["go on"]}
        assert (await job).succeeded


async def test_an_agent_over_its_time_limit_is_stopped(tmp_path: Path) -> None:
    agent = {"adapter": "command", "command": ["sh", "agent.sh"], "timeout_minutes": 0.01}
    async with world(tmp_path, ENDLESS % "", agent=agent) as (_, bot):
        assert (await work(bot, tmp_path)).reason is FailureReason.AGENT_TIMEOUT


CAREFUL = f"""
{DONE}
echo "what was said" > $HOME/talk.txt
echo unfinished > src/rest.py
ended() {{
  printf '{{"outcome": "failed", "session": "talk-1", "transcript": "%s"}}' "$HOME/talk.txt" > $TGS_RESULT
  exit 130
}}
trap ended INT
while :; do sleep 0.02; done
"""
"""An agent that keeps its conversation when it is interrupted."""


async def test_at_the_end_of_its_time_an_agent_is_interrupted_and_leaves_conversation_and_work(tmp_path: Path) -> None:
    agent = {"adapter": "command", "command": ["sh", "agent.sh"], "timeout_minutes": 0.06}
    async with world(tmp_path, CAREFUL, agent=agent) as (origin, bot):
        outcome = await work(bot, tmp_path)
        assert (outcome.reason, outcome.session_id) == (FailureReason.AGENT_TIMEOUT, "talk-1")
        assert bot.named("report")[0].body["session_id"] == "talk-1"
        assert bot.named("transcript")[0].body == b"what was said\n"
        (tmp_path / "work").write_bytes(bot.named("work")[0].body)
    git(origin.bare, "fetch", "-q", str(tmp_path / "work"), "HEAD:refs/heads/taken")
    assert {"src/new.py", "src/rest.py"} <= set(git(origin.bare, "ls-tree", "-r", "--name-only", "taken").split())


@pytest.mark.parametrize(
    ("minutes", "works"),
    [
        pytest.param(330, 300, id="the default: after 300 of 330 minutes, an hour before GitHub would"),
        pytest.param(350, 320, id="the most that a policy may say: half an hour is kept"),
        pytest.param(30, 27, id="a short limit keeps a tenth"),
    ],
)
def test_an_agent_is_interrupted_while_there_is_time_to_hand_in_what_it_has(minutes: int, works: int) -> None:
    assert time_to_work(minutes) == works * 60


async def test_hints_reach_the_agent_while_it_works(tmp_path: Path) -> None:
    script = f"while ! grep -q 'use sqlite' $TGS_STEER; do sleep 0.02; done; {DONE}"
    async with world(tmp_path, script) as (_, bot):
        bot.heartbeat_seconds = 0.02
        bot.beat = {"steer": ["use sqlite"]}
        assert (await work(bot, tmp_path)).succeeded


async def test_a_failed_acceptance_check_is_reported_with_its_output(tmp_path: Path) -> None:
    checks = ("test -e src/new.py", "echo two tests failed; exit 4")
    async with world(tmp_path, DONE, acceptance=checks) as (_, bot):
        outcome = await work(bot, tmp_path)
    assert outcome.reason is FailureReason.QUALITY_ACCEPTANCE
    assert "ended with 4" in outcome.detail
    assert "two tests failed" in outcome.detail


async def test_a_check_that_passed_before_the_work_proves_nothing(tmp_path: Path) -> None:
    """It is run on the base first, and leaves nothing behind that would be taken for the agent's work."""
    checks = ("touch left-by-the-check && test -e src/app.py",)
    async with world(tmp_path, DONE, acceptance=checks) as (origin, bot):
        outcome = await work(bot, tmp_path)
    assert outcome.succeeded
    assert {"kind": "green_before", "where": checks[0]} in bot.named("report")[0].body["doubts"]
    git(origin.bare, "fetch", "-q", str(tmp_path / "out/bundle/tgs.bundle"), "HEAD:refs/heads/taken")
    assert "left-by-the-check" not in git(origin.bare, "ls-tree", "-r", "--name-only", "refs/heads/taken")


async def test_a_used_handoff_code_is_a_lost_claim(tmp_path: Path) -> None:
    async with world(tmp_path, DONE) as (_, bot):
        bot.handoff_used = True
        with pytest.raises(LostClaim):
            await work(bot, tmp_path)
    assert bot.named("report") == []


async def test_without_isolation_nothing_is_started_unless_it_was_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bot.worker import isolation, life

    async def unisolated(attempt: str, private: Path, cwd: Path, user: str) -> tuple[isolation.Launcher, Isolation]:
        return isolation.SameUser(), Isolation.NONE

    monkeypatch.setattr(life, "choose", unisolated)
    marker = tmp_path / "ran"
    async with world(tmp_path, f"touch {marker}\n{DONE}", allow_unisolated=False) as (_, bot):
        outcome = await work(bot, tmp_path)
        assert (outcome.reason, outcome.isolation) == (FailureReason.POLICY_DENIED, Isolation.NONE)
        assert not marker.exists()
        bot.handoff_used = False
        allowed = await work(bot, tmp_path, allow_unisolated=True)
    assert (allowed.succeeded, allowed.isolation) == (True, Isolation.NONE)
    assert [call.body["isolation"] for call in bot.named("report")] == ["none", "none"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give the agent a user id of its own")
async def test_the_agent_is_another_user_who_cannot_read_the_workers_files(tmp_path: Path) -> None:
    script = f"""
id -u > who.txt
cat /proc/$PPID/environ > seen.txt 2>&1; ls {tmp_path} >> seen.txt 2>&1; env >> seen.txt
grep -E '^(CapEff|NoNewPrivs)' /proc/self/status > status.txt
{DONE}"""
    (tmp_path / "private").mkdir(mode=0o700)
    async with world(tmp_path / "private", script, allow_unisolated=False) as (origin, bot):
        outcome = await work(bot, tmp_path / "private")
        assert outcome.isolation is Isolation.USER, outcome
        git(origin.source, "fetch", "-q", str(tmp_path / "private/out/bundle/tgs.bundle"), "HEAD")
    assert int(git(origin.source, "show", "FETCH_HEAD:who.txt")) >= 61_200
    assert ATTEMPT_TOKEN not in git(origin.source, "show", "FETCH_HEAD:seen.txt")
    status = git(origin.source, "show", "FETCH_HEAD:status.txt").split()
    assert status == ["CapEff:", "0000000000000000", "NoNewPrivs:", "1"]


async def test_no_credential_reaches_argv_environment_log_or_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "model-key-0123456789")
    # The agent prints all it can see, and what it might have got hold of.
    script = f"env; ps axww 2>/dev/null || cat /proc/[0-9]*/cmdline; cat $TGS_CONTEXT; echo {ATTEMPT_TOKEN}\n{DONE}"
    async with world(tmp_path, script) as (_, bot):
        outcome = await work(bot, tmp_path, hide=("model-key-0123456789",))
    assert outcome.succeeded, outcome
    found = {
        path: secret
        for path in (tmp_path / "out").rglob("*")
        for secret in (ATTEMPT_TOKEN, HANDOFF, "model-key-0123456789")
        if path.is_file() and secret.encode() in path.read_bytes()
    }
    assert found == {}
    log = next((tmp_path / "out/log").iterdir())
    assert "[redacted]" in log.read_text()
    assert all("at" in json.loads(line) for line in log.read_text().splitlines())


async def test_a_retry_stands_on_what_was_published_before(tmp_path: Path) -> None:
    script = f"test -e earlier.txt || exit 9\n{DONE}"
    async with world(tmp_path, script) as (origin, bot):
        git(origin.source, "checkout", "-q", "-b", BRANCH)
        (origin.source / "earlier.txt").write_text("from attempt 1\n")
        git(origin.source, "add", "-A")
        git(origin.source, "commit", "-q", "-m", "Earlier")
        earlier = git(origin.source, "rev-parse", "HEAD")
        git(origin.source, "checkout", "-q", "--detach", "main")
        bot.bundle = bot.bundle.model_copy(update={"existing_branch_sha": earlier, "number": 2})
        outcome = await work(bot, tmp_path)
    assert outcome.succeeded, outcome
    head = (tmp_path / "out/bundle/tgs.bundle").read_bytes().split(b"\n\n")[0].decode()
    assert f"-{earlier}" in head


async def test_a_missing_base_commit_names_the_remedy(tmp_path: Path) -> None:
    async with world(tmp_path, DONE, base_sha="9" * 40) as (_, bot):
        outcome = await work(bot, tmp_path)
    assert not outcome.succeeded
    assert "fetch-depth: 0" in outcome.detail


async def test_hooks_of_the_repository_and_of_the_agent_do_not_run(tmp_path: Path) -> None:
    hook = "mkdir -p .git/hooks; printf '#!/bin/sh\\nexit 1\\n' > .git/hooks/pre-commit; chmod +x .git/hooks/*"
    async with world(tmp_path, f"set -e\n{hook}\n{DONE}") as (_, bot):
        outcome = await work(bot, tmp_path)
    assert outcome.succeeded, outcome


async def test_the_workspace_is_gone_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "temp"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    async with world(tmp_path, DONE) as (_, bot):
        assert (await work(bot, tmp_path)).succeeded
    assert list(place.iterdir()) == []
