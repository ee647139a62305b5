"""`tgs server backlog scan|restore`: the plan folders into the backlog, and a damaged backlog file back from git."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Annotated, Final

import typer

from bot.cli import show
from bot.cli.answers import RestoreAnswer, ScanAnswer, print_json
from bot.cli.backends import Backend, Where, choose, opened_file, repository_name
from bot.cli.backlog import ask
from bot.cli.options import AsJson, BackendChoice, ClonePath, Repo
from bot.client.backlog import Scanned
from bot.client.plain import plain
from bot.errors import Unavailable, UserError

if TYPE_CHECKING:
    from bot.client.file_backlog import Restored

BRANCH: Final = "tgs/backlog"
"""Where a scan's pull request comes from; one at a time."""
PATH: Final = "tgs/server/backlog.json"
"""The backlog file."""


def scan(
    apply: Annotated[bool, typer.Option("--apply", help="Do it; without it nothing is changed.")] = False,
    pull: Annotated[
        bool, typer.Option("--pr", help="File backend: propose the new file as a pull request, with GH_TOKEN.")
    ] = False,
    repo: Repo = "",
    backend: BackendChoice = None,
    path: ClonePath = None,
    as_json: AsJson = False,
) -> None:
    """Look for plans that are not in the backlog yet.

    Doing it twice changes nothing. In an Actions job without a token, the job's
    identity asks the server to look at the job's repository.
    """
    from bot.worker.oidc import URL_VARIABLE

    where = choose(backend, repo, path)
    if pull:
        found, url = _proposed(where, repository_name(repo, path) if where.backend is Backend.FILE else "")
    elif where.backend is Backend.SERVER and not where.token and os.environ.get(URL_VARIABLE):
        _by_run(where, apply=apply)
        return
    else:
        found, url = ask(where, lambda backlog: backlog.scan(apply=apply)), None
    if as_json:
        print_json(ScanAnswer(found.added, found.known, found.refused, apply and not pull, url))
    else:
        print(_told(found, apply=apply and not pull, url=url))


def _proposed(where: Where, full_name: str) -> tuple[Scanned, str | None]:
    """A pull request with the backlog file as the scan would write it; none when there is nothing new."""
    if where.backend is not Backend.FILE:
        raise UserError(
            "Only a backlog in a file is changed by pull requests.", "Leave --pr out, or use --backend file."
        )

    async def propose() -> tuple[Scanned, str | None]:
        from bot.cli.my_repository import my_repository

        found, text = await (await opened_file(where)).proposal()
        if not found.added:
            return found, None
        body = "\n".join(["These plans are committed and not in the backlog yet:", "", *_listed(found)])
        async with my_repository(full_name) as mine:
            # A file made now has other times than one made before; what counts is which plans it adds.
            before = await mine.proposed(BRANCH, PATH)
            if before is not None and {entry.dir for entry in found.added} <= _folders(before[1]):
                return found, before[0]
            return found, await mine.propose(BRANCH, {PATH: text}, "Add new plans to the backlog", body)

    return asyncio.run(propose())


def _folders(raw: bytes) -> set[str | None]:
    """The plans of a backlog file; none when it cannot be read."""
    from bot.client.backlog_file import parse

    try:
        return {row.dir for row in parse(raw).thoughts}
    except UserError:
        return set()


def _listed(found: Scanned) -> list[str]:
    return [f"- `{entry.dir}`" for entry in found.added]


def restore(
    source: Annotated[str, typer.Option("--from", metavar="COMMIT", help="The commit whose version is good.")],
    force: Annotated[bool, typer.Option("--force", help="Also when live claims would be lost.")] = False,
    path: ClonePath = None,
    as_json: AsJson = False,
) -> None:
    """Put a damaged backlog file back as it was at a commit.

    It becomes a new commit. `git log -- tgs/server/backlog.json` lists the
    versions. A server's backlog needs none of this: see `tgs db backup`.
    """
    where = choose(Backend.FILE, "", path)

    async def put_back() -> Restored:
        return await (await opened_file(where)).restore(source, force=force)

    done = asyncio.run(put_back())
    if as_json:
        print_json(RestoreAnswer(done.commit, done.thoughts, done.changed))
    elif done.changed:
        print(f"The backlog is as it was at {done.commit[:12]}: {_items(done.thoughts)}.")
    else:
        print(f"The backlog is what it was at {done.commit[:12]} already: {_items(done.thoughts)}.")


def _items(number: int) -> str:
    return f"{number} item" if number == 1 else f"{number} items"


def _told(found: Scanned, *, apply: bool, url: str | None) -> str:
    lines = []
    for entry in found.added:
        name = f"{entry.name} ({plain(entry.title)})" if entry.number is not None else entry.name
        lines.append(f"{'added' if apply else 'would add'}: {entry.dir if not apply and entry.dir else name}")
    if found.refused:
        lines.append(show.findings(found.refused))
    many = len(found.added)
    lines.append(f"{many or 'No'} new plan{'' if many == 1 else 's'}, {found.known} known before.")
    if url is not None:
        lines.append(f"Pull request: {url}")
    elif many and not apply:
        lines.append("Nothing was changed. Add --apply to do it.")
    return "\n".join(lines)


def _by_run(where: Where, *, apply: bool) -> None:
    """The workflow's way: no token, no checkout; the server reads the repository itself."""
    server = where.settings.server_url or ""
    if not apply:
        print(f"Would ask {server} to look at this repository. Add --apply to do it.")
        return
    print(f"The bot looks at {asyncio.run(_ask_as_run(server))}.")


async def _ask_as_run(server: str) -> str:
    import aiohttp

    from bot.worker.api import Api, ApiDown, ApiError
    from bot.worker.oidc import ActionsIdentity
    from bot.workflows import check_url

    address = check_url(server, "address in TGS_SERVER_URL")
    async with aiohttp.ClientSession() as session:
        identity = ActionsIdentity(session, os.environ, f"{address}/scan")
        try:
            return await Api(session, address).scan(identity.token)
        except (ApiDown, ApiError) as error:
            raise Unavailable(f"The server at {address} could not be asked: {error}.") from None
