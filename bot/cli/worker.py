"""`tgs worker start|run|publish`: the three jobs of a run, one call each; and `run` on a machine that pulls work.

Thin: reads the environment, calls `bot.worker`, prints a line, ends with the documented exit code. Secrets come by
environment only and are taken out of it before anything else runs. Which of the two `run` is, is said by `--once` or
`--watch`; the workflow gives neither.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, assert_never

import typer
from pydantic import SecretStr

from bot.cli.exits import Exit
from bot.clock import SystemClock
from bot.domain.model import FailureReason
from bot.errors import LostClaim, Refused, TgsError, UserError

app = typer.Typer(
    name="worker", help="Do the work: as the jobs of a run, or on a machine of yours.", no_args_is_help=True
)

ServerOption = Annotated[str, typer.Option("--server", envvar="TGS_SERVER_URL", help="The bot's address.")]


@app.command()
def start(
    server: ServerOption,
    claim: Annotated[str, typer.Option(envvar="TGS_CLAIM_ID", help="The claim this run carries out.")] = "",
    issue: Annotated[str, typer.Option(envvar="TGS_ISSUE", help="The issue's number; empty: whatever is next.")] = "",
    publish_only: Annotated[
        str, typer.Option(envvar="TGS_PUBLISH_ONLY", help="`true`: the work was done elsewhere.")
    ] = "",
) -> None:
    """Activate the claim of this run (start job)."""

    async def job() -> Exit:
        import aiohttp

        from bot.worker.api import Api
        from bot.worker.oidc import ActionsIdentity
        from bot.worker.outputs import Outputs
        from bot.worker.start import start as activate

        async with aiohttp.ClientSession() as session:
            identity = ActionsIdentity(session, os.environ, f"{server.rstrip('/')}/start")
            activation = await activate(
                claim, issue, publish_only, Api(session, server), identity.token, Outputs(os.environ)
            )
        if activation is None:
            print("Nothing to do.")
        else:
            what = "waits to be published" if activation.publish_only else "is active"
            print(f"Attempt {activation.number} of #{activation.issue} {what}.")
        return Exit.OK

    _finish(server, job)


@app.command()
def run(
    server: ServerOption,
    attempt: Annotated[str, typer.Option(envvar="TGS_ATTEMPT", help="Job of a run: its attempt.")] = "",
    fence: Annotated[int, typer.Option(envvar="TGS_FENCE", help="Job of a run: the attempt's fence.")] = -1,
    source: Annotated[
        Path | None, typer.Option(envvar="TGS_SOURCE", help="Job of a run: the checkout of the pinned commit.")
    ] = None,
    out: Annotated[Path | None, typer.Option(envvar="TGS_OUT", help="Job of a run: where bundle and log go.")] = None,
    once: Annotated[bool, typer.Option("--once", help="On a machine: one item for each slot, then end.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="On a machine: item after item, until stopped.")] = False,
    repo: Annotated[
        list[str] | None, typer.Option("--repo", envvar="TGS_REPOS", help="owner/name to work for; repeat for more.")
    ] = None,
    slots: Annotated[int, typer.Option(envvar="TGS_SLOTS", min=1, max=64, help="Items at the same time.")] = 1,
    capability: Annotated[
        list[str] | None,
        typer.Option("--capability", envvar="TGS_CAPABILITIES", help="What this machine can do; repeat for more."),
    ] = None,
    name: Annotated[str, typer.Option(envvar="TGS_WORKER_NAME", help="Who this is; default: the host's name.")] = "",
    directory: Annotated[
        Path | None, typer.Option("--dir", envvar="TGS_WORKER_DIR", help="Where clones, work and logs go.")
    ] = None,
    logs: Annotated[
        Path | None, typer.Option(envvar="TGS_WORKER_LOGS", help="Where logs go; default: under --dir.")
    ] = None,
    grace: Annotated[
        float,
        typer.Option(envvar="TGS_WORKER_GRACE", min=0, help="Seconds to finish in after the first signal to stop."),
    ] = 60.0,
    allow_unisolated: Annotated[
        bool, typer.Option("--allow-unisolated", envvar="TGS_ALLOW_UNISOLATED", help="Agents may have your own rights.")
    ] = False,
) -> None:
    """Work on items.

    On a machine with --once or --watch; without them as the agent's job of a run.

    On a machine TGS_TOKEN holds the worker token. --once ends with 3 when there is nothing to do.
    """
    if once and watch:
        _complain("Give --once or --watch, not both.")
        raise typer.Exit(int(Exit.USAGE))
    if once or watch:
        from bot.cli.machine import Wishes, work

        wishes = Wishes(
            tuple(repo or ()), once, slots, tuple(capability or ()), name, directory, logs, grace, allow_unisolated
        )
        _finish(server, lambda: work(server, wishes))
        return
    if not attempt or fence < 0 or source is None or out is None:
        _complain("Without --once or --watch this is the agent's job of a run, and needs what its workflow gives it.")
        raise typer.Exit(int(Exit.USAGE))
    job_source, job_out = source.absolute(), out.absolute()

    async def job() -> Exit:
        import aiohttp

        from bot.worker.api import Api
        from bot.worker.model_proxy import access_from
        from bot.worker.outputs import Outputs
        from bot.worker.run import RunSettings, run_attempt

        handoff = os.environ.pop("TGS_HANDOFF", "")
        if not handoff:
            raise UserError("TGS_HANDOFF is empty.", "It comes from the start job; start the workflow as a whole.")
        model = access_from(os.environ)
        hide = tuple(v for name in list(os.environ) if _is_secret(name) and (v := os.environ.pop(name)))
        settings = RunSettings(
            attempt=attempt,
            fence=fence,
            handoff=SecretStr(handoff),
            source=job_source,
            out=job_out,
            allow_unisolated=allow_unisolated,
            hide=hide,
            model=model,
        )
        interrupt = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, interrupt.set)
        async with aiohttp.ClientSession() as session:
            outcome = await run_attempt(
                settings, Api(session, server), SystemClock().now, Outputs(os.environ), interrupt
            )
        if outcome.asked:
            print("The agent asks people; the issue has the question, and another run goes on with the answer.")
            return Exit.OK
        if outcome.reason is None:
            print("Done: the result goes to the publishing job.")
            return Exit.OK
        # One line, and nothing at its start that the runner would take for a command.
        print(f"Not done ({outcome.reason.value}): {' '.join(outcome.detail.split())}")
        return exit_of_reason(outcome.reason)

    _finish(server, job)


@app.command()
def publish(
    server: ServerOption,
    attempt: Annotated[str, typer.Option(envvar="TGS_ATTEMPT")],
    fence: Annotated[int, typer.Option(envvar="TGS_FENCE")],
    agent_result: Annotated[str, typer.Option(envvar="TGS_AGENT_RESULT", help="How the agent's job ended.")],
    folder: Annotated[Path, typer.Option("--in", envvar="TGS_IN", help="Where the bundle is.")],
    bundle_digest: Annotated[str, typer.Option(envvar="TGS_BUNDLE_DIGEST")] = "",
    publish_only: Annotated[
        str, typer.Option(envvar="TGS_PUBLISH_ONLY", help="`true`: the bundle is fetched from the bot.")
    ] = "",
) -> None:
    """Check the bundle and push it (publishing job).

    Or report why there is none.
    """

    async def job() -> Exit:
        import aiohttp

        from bot.worker.api import Api
        from bot.worker.oidc import ActionsIdentity
        from bot.worker.publish import JobResult, NotPublished, Published, PublishSettings, Waits
        from bot.worker.publish import publish as publish_attempt

        try:
            result = JobResult(agent_result)
        except ValueError:
            raise UserError(
                f"{agent_result!r} is no result of a job.", f"Use one of: {', '.join(JobResult)}."
            ) from None
        read_token = os.environ.pop("TGS_READ_TOKEN", "")
        settings = PublishSettings(
            attempt=attempt,
            fence=fence,
            agent_result=result,
            bundle_digest=bundle_digest,
            folder=folder.absolute(),
            publish_only=publish_only == "true",
            read_token=SecretStr(read_token) if read_token else None,
        )
        async with aiohttp.ClientSession() as session:
            identity = ActionsIdentity(session, os.environ, f"{server.rstrip('/')}/publish")
            outcome = await publish_attempt(settings, Api(session, server), identity.token, SystemClock().now)
        match outcome:
            case Published():
                print(f"Pushed {outcome.head_sha[:12]} to {outcome.branch}.")
                return Exit.OK
            case Waits():
                print(f"Not pushed yet: {' '.join(outcome.why.split())} The issue shows the result.")
                return Exit.OK
            case NotPublished():
                because = f" ({outcome.reason.value})" if outcome.reason else ""
                print(f"Nothing published{because}: {' '.join(outcome.detail.split())}")
                return Exit.REFUSED if outcome.refused else Exit.OK
            case _ as never:
                assert_never(never)

    _finish(server, job)


def exit_of_reason(reason: FailureReason) -> Exit:
    """The exit code of work that ended for this reason."""
    return Exit.REFUSED if reason.value.startswith(("policy.", "security.")) else Exit.INTERNAL


def _is_secret(name: str) -> bool:
    return name.endswith(("_API_KEY", "_TOKEN", "_SECRET", "_PASSWORD")) and not name.startswith("GITHUB_OUTPUT")


def _finish(server: str, job: Callable[[], Awaitable[Exit]]) -> None:
    """Runs a job and turns its end into an exit code; errors are one line on stderr."""
    from bot.worker.api import ApiDown, ApiError
    from bot.workflows import check_url

    async def checked() -> Exit:
        check_url(server, "bot's address")
        return await job()

    try:
        code = asyncio.run(checked())
    except LostClaim as error:
        _complain(f"The claim is lost: {error}. Nothing was changed.")
        code = Exit.LOST_CLAIM
    except Refused as error:
        _complain(f"The bot refused: {error}")
        code = Exit.REFUSED
    except UserError as error:
        _complain(str(error))
        code = Exit.USAGE
    except (ApiDown, ApiError) as error:
        _complain(f"The bot could not be asked: {error}")
        code = Exit.UPSTREAM
    except TgsError as error:
        _complain(str(error))
        code = Exit.INTERNAL
    raise typer.Exit(int(code))


def _complain(text: str) -> None:
    from bot.worker.redaction import redact

    print(f"error: {' '.join(redact(text).split())}", file=sys.stderr)
