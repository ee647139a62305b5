"""The publishing job: judges the bundle again, re-creates its commits as the bot's, and pushes them.

Promise: no code of the agent runs here and nothing is checked out. What the bundle must satisfy comes from the bot, not
from the agent's job. The right to push is asked for after the gate accepted, once, and reaches one git process through
its environment. The push names the state of the branch it expects, so it never overwrites somebody else's commits.
When the agent's job gave no bundle, its failure is reported, unless the bot knows of it already. What a worker
elsewhere made is fetched from the bot and treated in no way better. Where a person must look before anything is
pushed, the bundle goes to the bot with the text of its difference, without a right to push, and the job ends well.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Final, assert_never

from pydantic import SecretStr
from yarl import URL

from bot.domain.attempt import MAX_SHOWN_DIFF
from bot.domain.bundle import ContextBundle
from bot.domain.doubts import Doubt
from bot.domain.model import FailureReason
from bot.errors import LookFirst, LostClaim, Refused
from bot.worker.api import Api, ApiDown, ApiError, Bearer, PushToken
from bot.worker.bundle import BUNDLE_FILE
from bot.worker.gate import Accepted, RefusedBundle, Verdict, inspect
from bot.worker.gate_doubts import doubts_about
from bot.worker.git import Git, GitError, git_environment, token_environment
from bot.worker.outcome import doubts_form
from bot.worker.redaction import redact
from bot.worker.rewrite import rewrite

SHALLOW: Final = "--depth=1"  # the gate needs the start commit's files, not its history
_STALE: Final = re.compile(r"stale info|fetch first|non-fast-forward|cannot lock ref|reference already exists")
_NETWORK: Final = re.compile(
    r"Could not resolve|Failed to connect|Connection (?:refused|reset|timed out)|returned error: 5\d\d|no end after"
)


class JobResult(StrEnum):
    """What Actions says of the agent's job."""

    SUCCESS = "success"
    FAILURE = "failure"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class PublishSettings:
    """What the job was given. `bundle_digest` is empty when the agent's job handed on none.

    `publish_only`: there was no agent's job; the bundle lies with the bot.
    """

    attempt: str
    fence: int
    agent_result: JobResult
    bundle_digest: str
    folder: Path
    publish_only: bool = False
    read_token: SecretStr | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """Pushed, and the bot knows."""

    head_sha: str
    branch: str


@dataclass(frozen=True, slots=True)
class NotPublished:
    """Nothing was pushed; the bot was told why. `reason` is None when the agent's job had told it before."""

    reason: FailureReason | None
    detail: str
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Waits:
    """Good, and not pushed: the bot holds it until a person has looked at it. `why` is the bot's reason."""

    why: str


async def publish(
    settings: PublishSettings, api: Api, bearer: Bearer, clock: Callable[[], datetime]
) -> Published | NotPublished | Waits:
    """Does the whole job. Raises LostClaim when the attempt is no longer ours before the push, and the API's errors."""
    handed_on = settings.publish_only or settings.agent_result is JobResult.SUCCESS
    if not (handed_on and settings.bundle_digest):
        return await _agent_failed(settings, api, bearer)
    context = await api.context(settings.attempt, settings.fence, bearer)
    if context.attempt != settings.attempt or context.fence != settings.fence:
        raise LostClaim("the bot holds another attempt by now")
    if settings.publish_only:
        problem = await _fetch_bundle(settings, context.limits.max_bytes, api, bearer)
        if problem is not None:
            return await _failed(settings, api, bearer, FailureReason.INFRA_NETWORK, problem)
    with tempfile.TemporaryDirectory(prefix="tgs-publish-") as folder:
        git = Git(Path(folder))
        try:
            verdict = await _judge(settings, context, git)
        except GitError as error:
            return await _failed(settings, api, bearer, FailureReason.INFRA_NETWORK, f"The base commit: {error}")
        match verdict:
            case RefusedBundle():
                await api.refused(settings.attempt, settings.fence, bearer, verdict.reason.value, verdict.detail)
                return NotPublished(verdict.reason, verdict.detail, refused=True)
            case Accepted():
                return await _push(settings, context, verdict, git, api, bearer, clock)
            case _ as never:
                assert_never(never)


async def _fetch_bundle(settings: PublishSettings, max_bytes: int, api: Api, bearer: Bearer) -> str | None:
    """Gets what the worker uploaded; the gate then judges it. Returns what went wrong, for the report."""
    await asyncio.to_thread(settings.folder.mkdir, parents=True, exist_ok=True)
    try:
        await api.download(settings.attempt, settings.fence, bearer, settings.folder / BUNDLE_FILE, max_bytes)
    except (ApiDown, ApiError) as error:
        return f"The uploaded bundle could not be fetched from the bot: {error}"
    return None


async def _judge(settings: PublishSettings, context: ContextBundle, git: Git) -> Verdict:
    bundle = settings.folder / BUNDLE_FILE
    digest = await asyncio.to_thread(_digest, bundle)
    if digest != settings.bundle_digest:
        return RefusedBundle(
            FailureReason.SECURITY_BUNDLE, "The bundle is not the one that the agent's job handed on (digest differs)."
        )
    await git.run("init", "--quiet", "--bare", "--template=")
    await _fetch_start(settings, context, git)
    return await inspect(bundle, git.directory, context)


def _digest(bundle: Path) -> str:
    if bundle.is_symlink() or not bundle.is_file():
        return ""
    with bundle.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def _fetch_start(settings: PublishSettings, context: ContextBundle, git: Git) -> None:
    """Fetches the start commit with the job's own read-only token. Raises GitError."""
    token = settings.read_token
    env = token_environment(token.get_secret_value()) if token is not None else git_environment()
    url, start = context.repository.clone_url, context.start_sha
    by_id = ("fetch", "--quiet", "--no-tags", SHALLOW, url, f"+{start}:refs/base/start")
    try:
        await git.run(*by_id, env=env)
    except GitError:
        # A server that gives no commits by id: then by name, with history, since the branch may have moved on.
        await git.run("fetch", "--quiet", "--no-tags", url, "+refs/heads/*:refs/base/heads/*", env=env)
    if not await git.has_commit(start):
        raise GitError("fetch", 0, f"the repository does not hold {start[:12]} any more")


async def _push(
    settings: PublishSettings,
    context: ContextBundle,
    accepted: Accepted,
    git: Git,
    api: Api,
    bearer: Bearer,
    clock: Callable[[], datetime],
) -> Published | NotPublished | Waits:
    doubts = await doubts_about(git, context, accepted)
    head = await rewrite(git, context, accepted.commits, clock())
    body = {
        "fence": settings.fence,
        "bundle_digest": settings.bundle_digest,
        "head_sha": head,
        "base_sha": context.base_sha,
        "files": accepted.files,
        "insertions": accepted.insertions,
        "deletions": accepted.deletions,
        "deleted_tests": list(accepted.deleted_tests),
    }
    try:
        right = await api.push_token(settings.attempt, bearer, body)
    except LookFirst as error:
        return await _withhold(settings, context, accepted, doubts, git, api, bearer, str(error))
    except Refused as error:
        return await _failed(settings, api, bearer, FailureReason.POLICY_DENIED, str(error))
    problem = _misdirected(context, right)
    if problem is not None:
        return await _failed(settings, api, bearer, FailureReason.POLICY_DENIED, problem)
    ref = f"refs/heads/{context.branch}"
    try:
        await git.run(
            "push", "--quiet", "--no-verify", "--no-follow-tags",
            f"--force-with-lease={ref}:{context.expected_branch_sha or ''}", right.repo_url, f"{head}:{ref}",
            env=token_environment(right.token.get_secret_value()),
        )  # fmt: skip
    except GitError as error:
        return await _failed(settings, api, bearer, _push_reason(str(error)), f"The push was not taken: {error}")
    await api.published(settings.attempt, settings.fence, bearer, head, doubts)
    return Published(head, context.branch)


async def _withhold(
    settings: PublishSettings,
    context: ContextBundle,
    accepted: Accepted,
    doubts: Sequence[Doubt],
    git: Git,
    api: Api,
    bearer: Bearer,
    why: str,
) -> Waits:
    """Leaves the result with the bot, as text for people and as bytes for the run that pushes it later."""
    shape = ("-c", "core.quotePath=false", "diff-tree", "-r", "-p", "--stat", "--no-color", "--no-ext-diff")
    found = await git.run(*shape, "--no-textconv", "--no-renames", context.start_sha, accepted.head_sha)
    await api.upload(settings.attempt, bearer, settings.folder / BUNDLE_FILE, settings.fence)
    body = {
        "fence": settings.fence,
        "bundle_digest": settings.bundle_digest,
        "diff": redact(found.stdout[: 4 * MAX_SHOWN_DIFF].decode("utf-8", "replace"))[:MAX_SHOWN_DIFF],
        "files": accepted.files,
        "insertions": accepted.insertions,
        "deletions": accepted.deletions,
        "doubts": doubts_form(doubts),
    }
    await api.withheld(settings.attempt, bearer, body)
    return Waits(why)


def _misdirected(context: ContextBundle, right: PushToken) -> str | None:
    """Credentials go to the repository's own server and branch only."""
    if right.branch.removeprefix("refs/heads/") != context.branch:
        return "The right to push names another branch than the attempt."
    if URL(right.repo_url).origin() != URL(context.repository.clone_url).origin():
        return "The right to push names another server than the repository's."
    return None


def _push_reason(error: str) -> FailureReason:
    if _STALE.search(error):
        return FailureReason.CONFLICT_MERGE
    return FailureReason.INFRA_NETWORK if _NETWORK.search(error) else FailureReason.CONFIG_PERMISSION


async def _agent_failed(settings: PublishSettings, api: Api, bearer: Bearer) -> NotPublished:
    match settings.agent_result:
        case JobResult.CANCELLED:
            reason, detail = FailureReason.CANCELLED_IN_ACTIONS, "The agent's job was cancelled in Actions."
        case JobResult.SKIPPED:
            reason, detail = FailureReason.INFRA_NOT_STARTED, "The agent's job was not started."
        case JobResult.FAILURE | JobResult.SUCCESS:
            reason, detail = FailureReason.INFRA_RUNNER_LOST, "The agent's job ended without a result."
        case _ as never:
            assert_never(never)
    try:
        return await _failed(settings, api, bearer, reason, detail)
    except LostClaim:
        # The usual case: the agent's job said itself why it failed, and the attempt has ended. That reason is the true
        # one; this job's guess would only mislead who reads its log.
        return NotPublished(None, "The agent's job has told the bot already how it ended; the issue says why.")


async def _failed(
    settings: PublishSettings, api: Api, bearer: Bearer, reason: FailureReason, detail: str
) -> NotPublished:
    report = {
        "fence": settings.fence,
        "succeeded": False,
        "reason": reason.value,
        "detail": detail,
        "summary": "",
        "bundle_digest": settings.bundle_digest or None,
        "isolation": None,
    }
    await api.report(settings.attempt, bearer, report)
    return NotPublished(reason, detail)
