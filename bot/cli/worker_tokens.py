"""`tgs worker token`: give pull workers the right to ask for work, see who has it, and take it back.

Promise: a secret is printed by `create` only, once, alone on its line with `--quiet`, so that it can be piped into the
place where it is kept. The caller's own token goes to the server of the settings and is never printed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from urllib.parse import quote

import msgspec
import typer

from bot.cli.answers import WorkerTokenAnswer, WorkerTokensAnswer, WorkerTokenShown, print_json
from bot.cli.backends import Backend, choose
from bot.cli.options import AsJson, Repo
from bot.client.plain import plain
from bot.domain.workers import DEFAULT_CLAIMS, DEFAULT_TOKEN_LIFE, MAX_TOKEN_LIFE
from bot.errors import Unavailable

if TYPE_CHECKING:
    from bot.client.http import Query

Answer = TypeVar("Answer")

app = typer.Typer(help="The rights of pull workers to ask for work.", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="How the worker is called, for people.")],
    repo: Repo = "",
    days: Annotated[
        int, typer.Option("--days", min=1, max=MAX_TOKEN_LIFE.days, help="How long it opens anything.")
    ] = DEFAULT_TOKEN_LIFE.days,
    max_claims: Annotated[
        int, typer.Option("--max-claims", min=1, max=100, help="Items it may hold at once.")
    ] = DEFAULT_CLAIMS,
    also: Annotated[
        list[str] | None,
        typer.Option("--also", metavar="OWNER/NAME", help="A further repository of the account; may be repeated."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the secret alone.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a worker token and print its secret, which is shown once. Needs the role admin."""
    body = {"name": name, "days": days, "max_claims": max_claims, "repos": also or []}
    made = _read(WorkerTokenAnswer, _call("POST", repo, "", body))
    if as_json:
        print_json(made)
        return
    print(made.secret)
    if not quiet:
        print(
            f"This is the secret of {plain(made.token.id)}; it is not shown again. Keep it where the worker reads it, "
            f"as TGS_TOKEN. It opens {_repositories(made.token)} until {made.token.expires_at:%Y-%m-%d}."
        )


@app.command("list")
def list_(repo: Repo = "", as_json: AsJson = False) -> None:
    """List the tokens that open the repository, without their secrets. Needs the role admin."""
    found = _read(WorkerTokensAnswer, _call("GET", repo, ""))
    if as_json:
        print_json(found)
        return
    if not found.tokens:
        print("No worker token opens this repository. `tgs worker token create NAME` makes one.")
    for token in found.tokens:
        used = f"{token.last_used_at:%Y-%m-%d}" if token.last_used_at else "never"
        print(
            f"{plain(token.id)}  {plain(token.name)}: {_state(token)}, by {plain(token.created_by)}, "
            f"opens {_repositories(token)}, last used {used}"
        )


@app.command()
def revoke(
    token: Annotated[str, typer.Argument(metavar="ID", help="The token's id, as `list` shows it.")],
    repo: Repo = "",
) -> None:
    """Take a worker token back. Needs the role admin.

    What is worked on under it is refused from its next call on.
    """
    _call("DELETE", repo, f"/{quote(token, safe='')}")
    print(f"{plain(token)} opens nothing any more.")


def _state(token: WorkerTokenShown) -> str:
    if token.revoked_at is not None:
        return f"revoked {token.revoked_at:%Y-%m-%d}"
    return f"{'good until' if token.good else 'expired'} {token.expires_at:%Y-%m-%d}"


def _repositories(token: WorkerTokenShown) -> str:
    return "1 repository" if token.repositories == 1 else f"{token.repositories} repositories"


def _read(form: type[Answer], body: Mapping[str, Any]) -> Answer:
    """The answer as a record. Raises Unavailable for a form of another version."""
    try:
        return msgspec.convert(body, form)
    except msgspec.ValidationError as error:
        raise Unavailable(f"The server answered in a form that this version does not know ({error}).") from None


def _call(method: str, repo: str, suffix: str, body: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
    where = choose(Backend.SERVER, repo, None)
    path = f"/api/v1/repos/{where.repo}/worker-tokens{suffix}"

    async def run() -> Mapping[str, Any]:
        import aiohttp

        from bot.client.http import BotHttp

        async with aiohttp.ClientSession() as session:
            http = BotHttp(session, where.settings.server_url or "", where.token)
            query: Query = ()
            answer = await (http.get(path, query) if method == "GET" else http.send(method, path, body))
            return answer.body

    return asyncio.run(run())
