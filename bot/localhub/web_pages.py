"""The pages: repositories, issues, pull requests, runs, files.

Promise: pages only read. They show everything the hub holds, private repositories too: whoever
can open them runs the hub. Answers are HTML also when something is missing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from markupsafe import Markup

from bot.localhub.git_model import EMPTY_TREE, FileChange
from bot.localhub.http import ApiError, Reply, Request, Route, Surface, not_found
from bot.localhub.model import Account, Comment, Issue, IssueEvent, Label, Repository
from bot.localhub.web_markdown import Markdown
from bot.localhub.web_view import Pages, words

if TYPE_CHECKING:
    from bot.localhub.hub import Hub

LIVE_SECONDS = 5
"""A page of something unfinished loads itself again after so many seconds."""
README_NAMES = ("README.md", "readme.md", "README")


@dataclass(frozen=True)
class Row:
    """A line of an issue's conversation: a comment or an event."""

    comment: Comment | None = None
    html: Markup | None = None
    event: IssueEvent | None = None
    words: str = ""
    label: Label | None = None


class Site:
    """All pages of a hub."""

    def __init__(self, hub: Hub) -> None:
        """Templates are loaded when first used."""
        self.hub = hub
        self._pages = Pages(hub.now)
        self._markdown = Markdown()

    def _html(self, text: str | None, repo: Repository) -> Markup:
        rendered = self._markdown.render(text, f"/{repo.full_name}")
        return Markup(rendered)  # noqa: S704 - the renderer has escaped everything a user wrote

    def _repo(self, request: Request) -> Repository:
        name = f"{request.params['owner']}/{request.params['repo']}"
        found = self.hub.find_repository(name)
        found = found or self.hub.repositories.get(self.hub.renamed.get(name.lower(), 0))
        if found is None:
            raise not_found(f"There is no repository {name}.")
        return found

    def _page(self, repo: Repository, tab: str, template: str, **values: object) -> Reply:
        def count(is_pull: bool) -> int:
            return len([x for x in _shown(repo, is_pull) if x.state == "open"])

        tabs = [
            ("", "Files", None),
            ("issues", "Issues", count(False)),
            ("pulls", "Pull requests", count(True)),
            ("actions", "Actions", None),
        ]
        return self._pages.render(template, repo=repo, tab=tab, tabs=tabs, **values)

    def guarded(self, page: Callable[[Request], Awaitable[Reply]]) -> Callable[..., Awaitable[Reply]]:
        """A page whose errors are pages too."""

        async def serve(request: Request) -> Reply:
            try:
                return await page(request)
            except ApiError as error:
                if error.status < 400:
                    raise
                heading = "Not found" if error.status == 404 else "This does not work"
                page_of = self._pages.render("problem.html", heading=heading, detail=error.message)
                return Reply(error.status, page_of.body, page_of.headers)

        return serve

    async def style(self, request: Request) -> Reply:
        """The style sheet."""
        return self._pages.style()

    async def index(self, request: Request) -> Reply:
        """All repositories."""
        return self._index(list(self.hub.repositories.values()), None)

    async def owner(self, request: Request) -> Reply:
        """The repositories of one account."""
        login = request.params["owner"]
        owner = self.hub.find_account(login)
        if owner is None:
            raise not_found(f"There is no account {login}.")
        owned = [x for x in self.hub.repositories.values() if x.owner is owner]
        return self._index(owned, owner)

    def _index(self, repos: list[Repository], owner: Account | None) -> Reply:
        rows = [
            (repo, *(sum(x.state == "open" for x in _shown(repo, y)) for y in (False, True)))
            for repo in sorted(repos, key=lambda x: x.full_name.lower())
        ]
        return self._pages.render("index.html", rows=rows, owner=owner)

    # Issues and pull requests

    async def issues(self, request: Request) -> Reply:
        """The issue list, by state and label."""
        return self._list(request, False, "Issues")

    async def pulls(self, request: Request) -> Reply:
        """The list of pull requests."""
        return self._list(request, True, "Pull requests")

    def _list(self, request: Request, is_pull: bool, heading: str) -> Reply:
        repo = self._repo(request)
        wanted = request.query.get("label", "")
        every = [x for x in _shown(repo, is_pull) if not wanted or x.label(wanted) is not None]
        groups = {x: [i for i in every if i.state == x] for x in ("open", "closed")}
        state = request.query.get("state", "open")
        items = groups.get(state, every)
        states = [(x, x.capitalize(), len(groups[x])) for x in ("open", "closed")]
        return self._page(
            repo,
            "pulls" if is_pull else "issues",
            "list.html",
            heading=heading,
            items=sorted(items, key=lambda x: -x.number),
            states=states,
            state=state,
            wanted=wanted,
            label=repo.labels.get(wanted.lower()),
        )

    async def issue(self, request: Request) -> Reply:
        """An issue or pull request with its conversation."""
        repo = self._repo(request)
        item = repo.issues.get(request.number("number"))
        if item is None or item.deleted:
            raise not_found("This issue was deleted." if item else "There is no such issue.")
        if item.transferred_to is not None:
            other = item.transferred_to
            return _redirect(f"/{other.repo.full_name}/issues/{other.number}")
        kind = "pull" if item.is_pull else "issues"
        if f"/{kind}/" not in request.path:
            return _redirect(f"/{repo.full_name}/{kind}/{item.number}")
        pulls = self.hub.pulls
        pull = pulls.get(repo, item.number)
        files: list[FileChange] = [] if pull is None else pulls.files(pull)
        return self._page(
            repo,
            "pulls" if item.is_pull else "issues",
            "issue.html",
            item=item,
            body=self._html(item.body, repo),
            rows=self._rows(item),
            pull=pull,
            files=files,
            commits=[] if pull is None else pulls.commits(pull),
            checks=[] if pull is None else self.hub.checks.latest(repo, pull.head_sha),
            closing=[] if pull is None else pulls.closing_issues(pull),
            closed_by=[x.issue for x in pulls.all(repo) if item in pulls.closing_issues(x)],
        )

    def _rows(self, item: Issue) -> list[Row]:
        rows: list[tuple[object, int, Row]] = [
            (x.created_at, x.id, Row(comment=x, html=self._html(x.body, item.repo))) for x in item.comments
        ]
        for event in item.events:
            named = event.data.get("label")
            label = None
            if isinstance(named, dict):
                label = Label(0, "", str(named["name"]), str(named["color"]))
            rows.append((event.created_at, event.id, Row(event=event, words=words(event), label=label)))
        return [x[2] for x in sorted(rows, key=lambda x: x[:2])]

    # Actions

    async def runs(self, request: Request) -> Reply:
        """The workflow runs of a repository."""
        repo = self._repo(request)
        runs = self.hub.actions.runs_of(repo)
        live = LIVE_SECONDS if any(not x.done for x in runs) else None
        return self._page(repo, "actions", "runs.html", runs=runs, refresh=live)

    async def run(self, request: Request) -> Reply:
        """One run with jobs, steps and logs; with a job id only that job, unfolded."""
        repo = self._repo(request)
        run = self.hub.actions.runs.get(request.number("run_id"))
        if run is None or run.repo is not repo:
            raise not_found("There is no such workflow run.")
        jobs = list(run.jobs.values())
        one = "job_id" in request.params
        if one:
            jobs = [x for x in run.all_jobs if x.id == request.number("job_id")]
        live = None if run.done else LIVE_SECONDS
        return self._page(repo, "actions", "run.html", run=run, jobs=jobs, one=one, refresh=live)

    async def check(self, request: Request) -> Reply:
        """A check run: to its job, or what its App wrote."""
        repo = self._repo(request)
        wanted = request.number("check_id")
        for run in self.hub.actions.runs_of(repo):
            if any(x.id == wanted for x in run.all_jobs):
                return _redirect(f"/{repo.full_name}/actions/runs/{run.id}/job/{wanted}")
        found = self.hub.checks.runs.get(wanted)
        if found is None or found.repo is not repo:
            raise not_found("There is no such check.")
        text = "\n\n".join(x for x in (found.summary, found.text) if x)
        return self._page(
            repo,
            "",
            "file.html",
            path=found.title or found.name,
            ref=found.suite.head_sha,
            entries=None,
            html=self._html(text, repo),
            text=None,
        )

    # Files

    async def home(self, request: Request) -> Reply:
        """The root directory and the README of the default branch."""
        repo = self._repo(request)
        return await self._files(repo, repo.default_branch, "", with_readme=True)

    async def commit(self, request: Request) -> Reply:
        """A commit with its changes against the first parent."""
        repo = self._repo(request)
        bare = self.hub.git.bare(repo)
        sha = bare.resolve(request.params["sha"])
        if sha is None:
            raise not_found("There is no such commit.")
        found = bare.commit(sha)
        files = bare.diff(found.parents[0] if found.parents else EMPTY_TREE, sha)
        return self._page(repo, "", "commit.html", commit=found, files=files)

    async def files(self, request: Request) -> Reply:
        """A directory or file at `{ref}/{path}`; a branch name may contain slashes."""
        repo = self._repo(request)
        rest, bare = request.params["rest"], self.hub.git.bare(repo)
        parts = rest.strip("/").split("/")
        for cut in range(1, len(parts) + 1):
            ref = "/".join(parts[:cut])
            if bare.resolve(ref) is not None:
                return await self._files(repo, ref, "/".join(parts[cut:]))
        raise not_found(f"There is no {rest} in this repository.")

    async def _files(self, repo: Repository, ref: str, path: str, *, with_readme: bool = False) -> Reply:
        bare = self.hub.git.bare(repo)
        commit = bare.resolve(ref)
        entry = None if commit is None or not path else bare.entry(commit, path)
        if path and entry is None:
            raise not_found(f"There is no {path} at {ref}.")
        entries, text = None, None
        if commit is None:
            entries = []
        elif entry is None or entry.type == "tree":
            found = bare.tree(entry.sha if entry else commit)
            rows = (replace(x, path=f"{path}/{x.path}") if path else x for x in found)
            entries = sorted(rows, key=lambda x: (x.type != "tree", x.path))
            if with_readme:
                texts = (bare.file(commit, x) for x in README_NAMES)
                text = next((x for x in texts if x is not None), None)
        else:
            text = bare.file(commit, path)
        shown = None if text is None else text.decode("utf-8", "replace")
        is_markdown = with_readme or path.lower().endswith(".md")
        return self._page(
            repo,
            "",
            "file.html",
            path=path,
            ref=ref,
            entries=entries,
            html=self._html(shown, repo) if shown is not None and is_markdown else None,
            text=shown,
        )


def _shown(repo: Repository, is_pull: bool) -> list[Issue]:
    return [x for x in repo.issues.values() if x.is_pull is is_pull and not x.deleted and x.transferred_to is None]


def _redirect(path: str) -> Reply:
    return Reply(302, None, {"Location": path})


def routes(hub: Hub) -> list[Route]:
    """All routes of this module; they come last, because `/{owner}/{repo}` matches much."""
    site = Site(hub)
    repo = "/{owner}/{repo}"
    pages = [
        ("/", site.index),
        ("/_hub/style.css", site.style),
        ("/{owner}", site.owner),
        (repo, site.home),
        (f"{repo}/issues", site.issues),
        (f"{repo}/issues/{{number}}", site.issue),
        (f"{repo}/pulls", site.pulls),
        (f"{repo}/pull/{{number}}", site.issue),
        (f"{repo}/actions", site.runs),
        (f"{repo}/actions/runs/{{run_id}}", site.run),
        (f"{repo}/actions/runs/{{run_id}}/job/{{job_id}}", site.run),
        (f"{repo}/runs/{{check_id}}", site.check),
        (f"{repo}/tree/{{rest+}}", site.files),
        (f"{repo}/blob/{{rest+}}", site.files),
        (f"{repo}/commit/{{sha}}", site.commit),
    ]
    return [Route("GET", template, site.guarded(page), surface=Surface.WEB) for template, page in pages]
