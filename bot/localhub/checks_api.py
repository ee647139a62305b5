"""REST of check runs, check suites and commit statuses.

Promise: only Apps write check runs, and only their own; limits are refused with 422 as GitHub
does, so that an over-long text cannot pass here and fail there.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, cast

from bot.localhub import present, present_checks
from bot.localhub.actor import Actor
from bot.localhub.checks import CheckRun, CheckSuite
from bot.localhub.http import ApiError, Need, Reply, Request, Route, invalid, not_found
from bot.localhub.model import App, Json

if TYPE_CHECKING:
    from bot.localhub.hub import Hub

MAX_TEXT: Final = 65_535  # characters of summary and text each
MAX_ANNOTATIONS: Final = 50  # per request
MAX_ACTIONS: Final = 3
_ACTION_LIMITS: Final = {"label": 20, "description": 40, "identifier": 20}
STATUSES: Final = frozenset({"queued", "in_progress", "completed"})
CONCLUSIONS: Final = frozenset(
    {"success", "failure", "neutral", "cancelled", "skipped", "timed_out", "action_required"}
)
STATUS_STATES: Final = frozenset({"error", "failure", "pending", "success"})
MAX_DESCRIPTION: Final = 140  # characters of a commit status description

_READ = (Need("checks", "read"),)
_WRITE = (Need("checks", "write"),)
_REPO = "/repos/{owner}/{repo}"


def routes(hub: Hub) -> list[Route]:
    """Check and status routes; they must precede the commit route, which takes slashes."""
    return [*_run_routes(hub), *_suite_routes(hub), *_status_routes(hub)]


def _app(actor: Actor) -> App:
    if actor.app is None or not actor.is_app:
        raise ApiError(403, "You must authenticate via a GitHub App.")
    return actor.app


def _moment(body: Json, name: str) -> datetime | None:
    value = body.get(name)
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        raise invalid("CheckRun", name) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _fill(run: CheckRun, body: Json) -> None:
    """Take over what a create or update may set. Raises ApiError 422 before anything changes."""
    output = cast("Json", body.get("output") or {})
    for name in ("summary", "text"):
        if len(str(output.get(name) or "")) > MAX_TEXT:
            message = f"Only {MAX_TEXT} characters are allowed; {len(str(output[name]))} were supplied."
            raise invalid("CheckRun", f"output.{name}", "custom", message=message)
    annotations = cast("list[Json]", output.get("annotations") or [])
    if len(annotations) > MAX_ANNOTATIONS:
        raise invalid("CheckRun", "annotations", "custom", message="Too many annotations")
    actions = cast("list[Json]", body.get("actions") or [])
    if len(actions) > MAX_ACTIONS:
        raise invalid("CheckRun", "actions", "custom", message="Only 3 actions are allowed")
    for action in actions:
        for name, limit in _ACTION_LIMITS.items():
            if not isinstance(action.get(name), str) or len(str(action[name])) > limit:
                raise invalid("CheckRun", f"actions.{name}")
    if "output" in body:
        if output.get("title") is None or output.get("summary") is None:
            raise invalid("CheckRun", "output", "missing_field")
        run.title, run.summary = str(output["title"]), str(output["summary"])
        run.text = str(output["text"]) if output.get("text") is not None else None
        run.annotations += annotations
    if "actions" in body:
        run.actions = actions
    run.details_url = str(body["details_url"]) if body.get("details_url") else run.details_url
    run.external_id = str(body["external_id"]) if body.get("external_id") else run.external_id
    run.started_at = _moment(body, "started_at") or run.started_at


def _outcome(body: Json) -> tuple[str | None, str | None]:
    status, conclusion = body.get("status"), body.get("conclusion")
    if status is not None and status not in STATUSES:
        raise invalid("CheckRun", "status")
    if conclusion is not None and conclusion not in CONCLUSIONS:
        raise invalid("CheckRun", "conclusion")
    if status == "completed" and conclusion is None:
        raise invalid("CheckRun", "conclusion", "missing_field")
    return (None if status is None else str(status), None if conclusion is None else str(conclusion))


def _run_routes(hub: Hub) -> list[Route]:
    def find(request: Request) -> CheckRun:
        run = hub.checks.runs.get(request.number("check_run_id"))
        if run is None or run.repo is not request.repo:
            raise not_found()
        return run

    async def create(request: Request) -> Reply:
        app, body, repo = _app(request.actor), request.body(), request.repo
        name, sha = body.get("name"), body.get("head_sha")
        if not isinstance(name, str) or not name:
            raise invalid("CheckRun", "name", "missing_field")
        if not isinstance(sha, str) or hub.git.bare(repo).objects([sha])[0][1] != "commit":
            raise ApiError(422, f"No commit found for SHA: {sha}")
        status, conclusion = _outcome(body)
        probe = CheckRun(0, "", _probe_suite(hub, request, app, sha), name, "queued", None)
        _fill(probe, body)  # refuse before a record exists
        run = hub.checks.create(repo, app, sha, name, status=status or "queued")
        _fill(run, body)
        if conclusion is not None:
            hub.checks.change(run, conclusion=conclusion, completed_at=_moment(body, "completed_at"))
        return Reply(201, present_checks.run(hub, run))

    async def update(request: Request) -> Reply:
        run, app, body = find(request), _app(request.actor), request.body()
        if run.suite.app is not app:
            message = f"Invalid app_id `{app.id}` - check run can only be modified by the GitHub App that created it."
            raise ApiError(403, message)
        status, conclusion = _outcome(body)
        _fill(run, body)
        if isinstance(body.get("name"), str):
            run.name = str(body["name"])
        done = _moment(body, "completed_at")
        hub.checks.change(run, status=status, conclusion=conclusion, completed_at=done)
        return Reply(200, present_checks.run(hub, run))

    async def get(request: Request) -> Reply:
        return Reply(200, present_checks.run(hub, find(request)))

    async def annotations(request: Request) -> Reply:
        return request.paginate(find(request).annotations)

    async def for_ref(request: Request) -> Reply:
        sha = hub.git.bare(request.repo).resolve(request.params["ref"])
        if sha is None:
            raise ApiError(422, f"No commit found for SHA: {request.params['ref']}")
        newest = request.query.get("filter", "latest") == "latest"
        rows = hub.checks.latest(request.repo, sha) if newest else hub.checks.for_commit(request.repo, sha)
        query = request.query
        rows = [
            r
            for r in rows
            if query.get("check_name", r.name) == r.name
            and query.get("status", r.status) == r.status
            and query.get("app_id", str(r.suite.app.id)) == str(r.suite.app.id)
        ]
        return request.paginate([present_checks.run(hub, r) for r in rows], "check_runs")

    return [
        Route("POST", f"{_REPO}/check-runs", create, _WRITE),
        Route("PATCH", f"{_REPO}/check-runs/{{check_run_id}}", update, _WRITE),
        Route("GET", f"{_REPO}/check-runs/{{check_run_id}}", get, _READ),
        Route("GET", f"{_REPO}/check-runs/{{check_run_id}}/annotations", annotations, _READ),
        Route("GET", f"{_REPO}/commits/{{ref+}}/check-runs", for_ref, _READ),
    ]


def _probe_suite(hub: Hub, request: Request, app: App, sha: str) -> CheckSuite:
    now = hub.now()
    return CheckSuite(0, "", request.repo, app, sha, None, now, now)


def _suite_routes(hub: Hub) -> list[Route]:
    def find(request: Request) -> CheckSuite:
        suite = hub.checks.suites.get(request.number("check_suite_id"))
        if suite is None or suite.repo is not request.repo:
            raise not_found()
        return suite

    async def get(request: Request) -> Reply:
        return Reply(200, present_checks.suite(hub, find(request)))

    async def runs(request: Request) -> Reply:
        suite = find(request)
        rows = [present_checks.run(hub, r) for r in hub.checks.runs.values() if r.suite is suite]
        return request.paginate(rows, "check_runs")

    async def for_ref(request: Request) -> Reply:
        sha = hub.git.bare(request.repo).resolve(request.params["ref"])
        found = hub.checks.suites.values()
        rows = [s for s in found if s.repo is request.repo and s.head_sha == sha]
        return request.paginate([present_checks.suite(hub, s) for s in rows], "check_suites")

    return [
        Route("GET", f"{_REPO}/check-suites/{{check_suite_id}}", get, _READ),
        Route("GET", f"{_REPO}/check-suites/{{check_suite_id}}/check-runs", runs, _READ),
        Route("GET", f"{_REPO}/commits/{{ref+}}/check-suites", for_ref, _READ),
    ]


def _status_routes(hub: Hub) -> list[Route]:
    async def create(request: Request) -> Reply:
        body, repo, sha = request.body(), request.repo, request.params["sha"]
        state, text = body.get("state"), body.get("description")
        if state not in STATUS_STATES:
            raise invalid("Status", "state")
        if hub.git.bare(repo).objects([sha])[0] != (sha, "commit"):
            raise ApiError(422, f"No commit found for SHA: {sha}")
        if text is not None and len(str(text)) > MAX_DESCRIPTION:
            message = f"description is too long (maximum is {MAX_DESCRIPTION} characters)"
            raise invalid("Status", "description", "custom", message=message)
        target = body.get("target_url")
        status = hub.checks.set_status(
            repo,
            sha,
            str(state),
            str(body.get("context") or "default"),
            request.actor.user,
            description=None if text is None else str(text),
            target_url=None if target is None else str(target),
        )
        return Reply(201, present_checks.status(hub, status))

    async def combined(request: Request) -> Reply:
        repo, ref = request.repo, request.params["ref"]
        sha = hub.git.bare(repo).resolve(ref)
        if sha is None:
            raise not_found()
        rows = hub.checks.latest_statuses(repo, sha)
        states = {"failure" if s.state == "error" else s.state for s in rows}
        state = "failure" if "failure" in states else "pending"
        if states == {"success"}:
            state = "success"
        url = f"{hub.api_url}/repos/{repo.full_name}/commits/{sha}"
        return Reply(
            200,
            {
                "state": state,
                "statuses": [present_checks.status(hub, s) for s in rows],
                "sha": sha,
                "total_count": len(rows),
                "repository": present.repository(hub, repo),
                "commit_url": url,
                "url": f"{url}/status",
            },
        )

    async def list_all(request: Request) -> Reply:
        sha = hub.git.bare(request.repo).resolve(request.params["ref"])
        rows = [s for s in hub.checks.statuses if s.repo is request.repo and s.sha == sha]
        return request.paginate([present_checks.status(hub, s) for s in reversed(rows)])

    read, write = (Need("statuses", "read"),), (Need("statuses", "write"),)
    return [
        Route("POST", f"{_REPO}/statuses/{{sha}}", create, write),
        Route("GET", f"{_REPO}/commits/{{ref+}}/status", combined, read),
        Route("GET", f"{_REPO}/commits/{{ref+}}/statuses", list_all, read),
    ]
