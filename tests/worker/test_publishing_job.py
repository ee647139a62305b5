"""The publishing job against a stand-in bot and a real git server with tokens."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr

from bot.domain.model import FailureReason
from bot.errors import LostClaim
from bot.worker import publish as publishing
from bot.worker.api import Api, ApiDown
from bot.worker.git import Git
from bot.worker.oidc import ActionsIdentity
from bot.worker.publish import JobResult, NotPublished, Published, PublishSettings, Waits
from tests.worker.hostile import Forge
from tests.worker.support import (
    BRANCH,
    NOW,
    PUSH_TOKEN,
    READ_TOKEN,
    THOUGHT,
    FakeBot,
    Origin,
    fake_bot,
    git,
    make_origin,
)


async def no_pause(_: float) -> None:
    return None


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    return make_origin(tmp_path / "hub")


@pytest.fixture
def forge(origin: Origin, tmp_path: Path) -> Forge:
    (tmp_path / "in").mkdir()
    return Forge(origin, tmp_path / "in" / "forge.git")


async def publish(bot: FakeBot, tmp_path: Path, **changes: Any) -> Published | NotPublished | Waits:
    bundle = tmp_path / "in" / "tgs.bundle"
    digest = hashlib.sha256(bundle.read_bytes()).hexdigest() if bundle.exists() else ""
    fields: dict[str, Any] = {
        "attempt": bot.bundle.attempt,
        "fence": bot.bundle.fence,
        "agent_result": JobResult.SUCCESS,
        "bundle_digest": digest,
        "folder": tmp_path / "in",
        "read_token": SecretStr(READ_TOKEN),
    }
    environment = {
        "ACTIONS_ID_TOKEN_REQUEST_URL": f"{bot.url}/oidc?api-version=2",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "runner-secret",
    }
    async with aiohttp.ClientSession() as session:
        identity = ActionsIdentity(session, environment, f"{bot.url}/publish")
        assert environment == {}
        settings = PublishSettings(**(fields | changes))
        return await publishing.publish(settings, Api(session, bot.url, no_pause), identity.token, lambda: NOW)


async def test_an_accepted_bundle_is_pushed_as_the_bots_own_commits(
    origin: Origin, forge: Forge, tmp_path: Path
) -> None:
    message = "Add search\n\nFixes #7 @everyone\n\nCo-authored-by: Mallory <m@example.org>\nSigned-off-by: M <m@e>"
    forge.bundle(forge.commit({"src/new.py": "x = 1\n", "tests/test_app.py": None}, message=message))
    async with fake_bot(origin) as bot:
        outcome = await publish(bot, tmp_path)
        assert isinstance(outcome, Published), outcome
    assert outcome == Published(origin.branch_sha() or "", BRANCH)
    shown = git(origin.bare, "show", "-s", "--format=%an <%ae> %cn <%ce>%n%B", BRANCH)
    assert shown.splitlines()[0].startswith("tgs[bot] <42+tgs[bot]@users.noreply.github.com> tgs[bot]")
    assert "Mallory" not in shown
    assert "Fixes #7" not in shown
    assert "@everyone" not in shown
    assert shown.splitlines()[-1] == "Tgs-Attempt: att-1"
    assert git(origin.bare, "rev-parse", f"{BRANCH}^") == origin.base
    asked = bot.named("publish-token")[0].body
    assert asked == {
        "fence": 3, "asker": asked["asker"], "bundle_digest": asked["bundle_digest"],
        "head_sha": outcome.head_sha, "base_sha": origin.base,
        "files": 3, "insertions": 2, "deletions": 2, "deleted_tests": ["tests/test_app.py"],
    }  # fmt: skip
    assert bot.named("published")[0].body == {
        "fence": 3, "head_sha": outcome.head_sha,
        "doubts": [
            {"kind": "tests_deleted", "where": "tests/test_app.py"},
            {"kind": "empty_report", "where": "implementation.md"},
        ],
    }  # fmt: skip


async def test_each_call_proves_who_asks_with_a_fresh_token(origin: Origin, forge: Forge, tmp_path: Path) -> None:
    forge.bundle(forge.commit({"a": "1"}))
    async with fake_bot(origin) as bot:
        await publish(bot, tmp_path)
        bearers = [call.bearer for call in bot.calls]
        assert len(set(bearers)) == len(bearers) == 3
        assert all(bearer.startswith(f"oidc:{bot.url}/publish:") for bearer in bearers)


async def test_the_base_is_fetched_with_the_read_token_and_only_the_push_uses_the_other(
    origin: Origin, forge: Forge, tmp_path: Path
) -> None:
    forge.bundle(forge.commit({"a": "1"}))
    async with fake_bot(origin) as bot:
        await publish(bot, tmp_path)
    assert set(bot.git_tokens) == {READ_TOKEN, PUSH_TOKEN}
    assert bot.git_tokens.index(PUSH_TOKEN) > max(i for i, t in enumerate(bot.git_tokens) if t == READ_TOKEN)


async def test_a_refused_bundle_gets_no_token_and_is_not_pushed(origin: Origin, forge: Forge, tmp_path: Path) -> None:
    forge.bundle(forge.commit({".github/workflows/x.yml": "evil"}))
    async with fake_bot(origin) as bot:
        outcome = await publish(bot, tmp_path)
    assert isinstance(outcome, NotPublished)
    assert outcome.refused
    assert bot.named("publish-token") == []
    refused = bot.named("refused")[0].body
    assert refused["reason"] == FailureReason.POLICY_PROTECTED_PATH.value
    assert ".github/workflows/x.yml" in refused["detail"]
    assert origin.branch_sha() is None


async def test_a_bundle_swapped_after_the_agents_job_is_refused(origin: Origin, forge: Forge, tmp_path: Path) -> None:
    forge.bundle(forge.commit({"a": "1"}))
    async with fake_bot(origin) as bot:
        outcome = await publish(bot, tmp_path, bundle_digest="0" * 64)
    assert isinstance(outcome, NotPublished)
    assert (outcome.reason, bot.named("publish-token")) == (FailureReason.SECURITY_BUNDLE, [])


async def test_a_branch_that_somebody_else_moved_is_not_overwritten(
    origin: Origin, forge: Forge, tmp_path: Path
) -> None:
    forge.bundle(forge.commit({"a": "1"}))
    git(origin.bare, "update-ref", f"refs/heads/{BRANCH}", origin.base)
    async with fake_bot(origin) as bot:
        outcome = await publish(bot, tmp_path)
    assert isinstance(outcome, NotPublished)
    assert outcome.reason is FailureReason.CONFLICT_MERGE
    assert origin.branch_sha() == origin.base
    assert bot.named("published") == []
    assert bot.named("report")[0].body["reason"] == "conflict.merge"


async def test_a_retry_adds_to_the_branch_of_the_earlier_attempt(origin: Origin, forge: Forge, tmp_path: Path) -> None:
    earlier = forge.commit({"a": "1"})
    git(forge.folder, "push", "-q", str(origin.bare), f"{earlier}:refs/heads/{BRANCH}")
    forge.bundle(forge.commit({"b": "2"}, parents=[earlier]), since=earlier)
    async with fake_bot(origin, existing_branch_sha=earlier) as bot:
        outcome = await publish(bot, tmp_path)
    assert isinstance(outcome, Published), outcome
    assert git(origin.bare, "rev-parse", f"{BRANCH}^") == earlier


async def test_a_fresh_start_replaces_exactly_the_branch_it_was_told_of(
    origin: Origin, forge: Forge, tmp_path: Path
) -> None:
    earlier = forge.commit({"a": "1"})
    git(forge.folder, "push", "-q", str(origin.bare), f"{earlier}:refs/heads/{BRANCH}")
    forge.bundle(forge.commit({"b": "2"}))
    async with fake_bot(origin, replaced_branch_sha=origin.base) as bot:
        outcome = await publish(bot, tmp_path)
        assert isinstance(outcome, NotPublished)
        assert (outcome.reason, origin.branch_sha()) == (FailureReason.CONFLICT_MERGE, earlier)
        bot.bundle = bot.bundle.model_copy(update={"replaced_branch_sha": earlier})
        outcome = await publish(bot, tmp_path)
    assert isinstance(outcome, Published), outcome
    assert git(origin.bare, "rev-parse", f"{BRANCH}^") == origin.base


async def test_a_claim_lost_before_the_push_publishes_nothing(origin: Origin, forge: Forge, tmp_path: Path) -> None:
    forge.bundle(forge.commit({"a": "1"}))
    async with fake_bot(origin) as bot:
        bot.errors["publish-token"] = (409, "lost_claim")
        with pytest.raises(LostClaim):
            await publish(bot, tmp_path)
    assert origin.branch_sha() is None


async def test_the_right_to_push_is_asked_for_by_one_asker_even_when_answers_are_lost(
    origin: Origin, forge: Forge, tmp_path: Path
) -> None:
    forge.bundle(forge.commit({"a": "1"}))
    async with fake_bot(origin) as bot:
        bot.errors["publish-token"] = (502, "gateway")
        with pytest.raises(ApiDown):
            await publish(bot, tmp_path)
        asked = bot.named("publish-token")
        assert len(asked) == 4
        assert len({call.body["asker"] for call in asked}) == 1
        # Every question comes with an identity token of its own, since each is accepted once.
        assert len({call.bearer for call in asked}) == 4


async def test_a_refusal_of_the_bot_is_reported(origin: Origin, forge: Forge, tmp_path: Path) -> None:
    forge.bundle(forge.commit({"a": "1"}))
    async with fake_bot(origin) as bot:
        bot.errors["publish-token"] = (403, "refused")
        outcome = await publish(bot, tmp_path)
    assert isinstance(outcome, NotPublished)
    assert outcome.reason is FailureReason.POLICY_DENIED


async def test_the_push_token_goes_to_the_repositorys_own_server_only(
    origin: Origin, forge: Forge, tmp_path: Path
) -> None:
    forge.bundle(forge.commit({"a": "1"}))
    async with fake_bot(origin) as bot, fake_bot(origin) as elsewhere:
        clone_url = bot.bundle.repository.clone_url
        elsewhere.bundle = bot.bundle
        assert not clone_url.startswith(elsewhere.url)
        outcome = await publish(elsewhere, tmp_path)
        assert isinstance(outcome, NotPublished)
        assert "another server" in outcome.detail
        assert PUSH_TOKEN not in elsewhere.git_tokens + bot.git_tokens


FAILURES = {
    "a cancelled agent job": (JobResult.CANCELLED, FailureReason.CANCELLED_IN_ACTIONS),
    "a skipped agent job": (JobResult.SKIPPED, FailureReason.INFRA_NOT_STARTED),
    "an agent job that failed without a word": (JobResult.FAILURE, FailureReason.INFRA_RUNNER_LOST),
    "an agent job that succeeded without a bundle": (JobResult.SUCCESS, FailureReason.INFRA_RUNNER_LOST),
}


@pytest.mark.parametrize(("result", "reason"), FAILURES.values(), ids=FAILURES.keys())
async def test_the_failure_of_the_agents_job_is_reported(
    result: JobResult, reason: FailureReason, origin: Origin, tmp_path: Path
) -> None:
    async with fake_bot(origin) as bot:
        outcome = await publish(bot, tmp_path, agent_result=result)
    assert isinstance(outcome, NotPublished)
    assert outcome.reason is reason
    assert [call.name for call in bot.calls] == ["report"]
    assert bot.calls[0].body["reason"] == reason.value


async def test_a_failure_that_the_bot_knows_already_is_no_error(origin: Origin, tmp_path: Path) -> None:
    async with fake_bot(origin) as bot:
        bot.errors["report"] = (409, "lost_claim")
        outcome = await publish(bot, tmp_path, agent_result=JobResult.FAILURE)
    assert isinstance(outcome, NotPublished)
    assert outcome.reason is None, "what this job would guess is not the reason that the bot was told"
    assert "told the bot already" in outcome.detail


async def test_reports_are_repeated_when_the_bot_is_down(origin: Origin, tmp_path: Path) -> None:
    async with fake_bot(origin) as bot:
        bot.errors["report"] = (503, "down")
        with pytest.raises(ApiDown):
            await publish(bot, tmp_path, agent_result=JobResult.FAILURE)
        assert len(bot.named("report")) == 4


async def test_tokens_stand_in_no_argument_of_git_and_in_no_file(
    origin: Origin, forge: Forge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A `git` in front of the real one records how it is called, and what lies on disk at that time."""
    record = tmp_path / "record"
    temp = tmp_path / "temp"
    temp.mkdir()
    real = next(Path(p) / "git" for p in os.environ["PATH"].split(":") if (Path(p) / "git").exists())
    shim = tmp_path / "bin" / "git"
    shim.parent.mkdir()
    shim.write_text(
        f'#!/bin/sh\necho "$@" >> {record}\ngrep -rl "ghs_\\|read-token" {temp} >> {record}.files\nexec {real} "$@"\n'
    )
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", f"{shim.parent}:{os.environ['PATH']}")
    monkeypatch.setattr("tempfile.tempdir", str(temp))
    forge.bundle(forge.commit({"a": "1"}))
    async with fake_bot(origin) as bot:
        assert isinstance(await publish(bot, tmp_path), Published)
    calls = record.read_text()
    assert "push" in calls
    assert PUSH_TOKEN not in calls
    assert READ_TOKEN not in calls
    assert (tmp_path / "record.files").read_text() == ""
    assert list(temp.iterdir()) == []


async def test_nothing_is_checked_out_and_no_filter_or_hook_of_the_bundle_runs(
    origin: Origin, forge: Forge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    real = Git.run

    async def watched(self: Git, *args: str, **options: Any) -> Any:
        seen.append(args[0])
        return await real(self, *args, **options)

    monkeypatch.setattr(Git, "run", watched)
    forge.bundle(forge.commit({"a": "1", f"{THOUGHT}/notes.md": "x"}))
    async with fake_bot(origin) as bot:
        assert isinstance(await publish(bot, tmp_path), Published)
    assert not {"checkout", "worktree", "reset", "clone", "merge", "archive"} & set(seen)


# --- what a pull worker uploaded -----------------------------------------------------------------------


async def published_only(bot: FakeBot, tmp_path: Path, *, uploaded: bytes | None = None) -> Published | NotPublished:
    """The job of a run that only publishes: nothing comes from an artifact, the agent's job was left out."""
    bundle = tmp_path / "in" / "tgs.bundle"
    made = bundle.read_bytes()
    bundle.unlink()
    bot.uploaded = made if uploaded is None else uploaded
    return await publish(
        bot, tmp_path, publish_only=True, agent_result=JobResult.SKIPPED, folder=tmp_path / "fresh",
        bundle_digest=hashlib.sha256(made).hexdigest(),
    )  # fmt: skip


async def test_an_uploaded_bundle_is_fetched_from_the_bot_judged_and_pushed(
    origin: Origin, forge: Forge, tmp_path: Path
) -> None:
    forge.bundle(forge.commit({"a": "1"}))
    async with fake_bot(origin) as bot:
        assert isinstance(await published_only(bot, tmp_path), Published)
        [fetched] = bot.named("bundle")
        assert fetched.bearer.startswith(f"oidc:{bot.url}/publish:")
    assert origin.branch_sha() is not None


async def test_an_uploaded_bundle_is_treated_no_better_than_another(
    origin: Origin, forge: Forge, tmp_path: Path
) -> None:
    forge.bundle(forge.commit({".github/workflows/x.yml": "evil"}))
    async with fake_bot(origin) as bot:
        outcome = await published_only(bot, tmp_path)
        assert isinstance(outcome, NotPublished)
        assert (outcome.refused, outcome.reason) == (True, FailureReason.POLICY_PROTECTED_PATH)
        assert bot.named("publish-token") == []


async def test_other_bytes_than_the_worker_reported_are_refused(origin: Origin, forge: Forge, tmp_path: Path) -> None:
    forge.bundle(forge.commit({"a": "1"}))
    async with fake_bot(origin) as bot:
        outcome = await published_only(bot, tmp_path, uploaded=b"other")
        assert isinstance(outcome, NotPublished)
        assert outcome.reason is FailureReason.SECURITY_BUNDLE
    assert origin.branch_sha() is None


NOT_FETCHED = {
    "the bot has lost it": ((404, "not_found"), {}),
    "the bot is down": ((503, "down"), {}),
    "it is larger than the limit": (None, {"limits": {"max_bytes": 1}}),
}


@pytest.mark.parametrize(("error", "changes"), NOT_FETCHED.values(), ids=NOT_FETCHED.keys())
async def test_a_bundle_that_cannot_be_fetched_is_reported_as_a_fault_of_the_way(
    error: tuple[int, str] | None, changes: dict[str, Any], origin: Origin, forge: Forge, tmp_path: Path
) -> None:
    forge.bundle(forge.commit({"a": "1"}))
    async with fake_bot(origin, **changes) as bot:
        if error is not None:
            bot.errors["bundle"] = error
        outcome = await published_only(bot, tmp_path, uploaded=None if error is not None else b"x" * 200_000)
        assert isinstance(outcome, NotPublished)
        assert outcome.reason is FailureReason.INFRA_NETWORK
        assert bot.named("report")[0].body["reason"] == "infra.network"
    assert origin.branch_sha() is None


async def test_a_result_that_somebody_must_look_at_goes_to_the_bot_and_is_not_pushed(
    origin: Origin, forge: Forge, tmp_path: Path
) -> None:
    forge.bundle(forge.commit({"src/new.py": "x = 1\n", "README.md": "# Shop\n"}))
    async with fake_bot(origin) as bot:
        bot.errors["publish-token"] = (403, "look_first")
        outcome = await publish(bot, tmp_path)
        assert isinstance(outcome, Waits), outcome
    assert origin.branch_sha() is None
    assert PUSH_TOKEN not in bot.git_tokens
    names = [call.name for call in bot.calls]
    assert names[names.index("publish-token") + 1 :] == ["bundle", "withheld"]
    told = bot.named("withheld")[0].body
    assert told["bundle_digest"] == hashlib.sha256((tmp_path / "in" / "tgs.bundle").read_bytes()).hexdigest()
    assert "diff --git a/src/new.py b/src/new.py" in told["diff"]
    assert "+x = 1" in told["diff"]
