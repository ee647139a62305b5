"""Every route of the server in one table. The page of the API, the OpenAPI document and the tests are made from it.

A test holds it against the routes of a running server, so that a route can be neither forgotten nor invented.
"""

from __future__ import annotations

from bot.web.api import (
    actions,
    attempts,
    backlog,
    bundles,
    carried,
    chat,
    ci,
    events,
    items,
    older,
    openapi,
    publishing,
    queue,
    repos,
    resync,
    runs,
    sessions,
    tasks,
    worker_tokens,
    workers,
)
from bot.web.api.described import Caller, Row

_OUTSIDE = (
    Row("POST", "/webhook", (Caller.GITHUB,), "Take a delivery: 202 once it is on disk."),
    Row("GET", "/", (Caller.ANYBODY,), "What this is, and where the rest is."),
    Row("GET", "/healthz", (Caller.ANYBODY,), "Whether the process lives, and its version."),
    Row("GET", "/readyz", (Caller.ANYBODY,), "Whether it can work: 200, or 503 with the reasons in words."),
    Row("GET", "/metrics", (Caller.ANYBODY,), "Totals for a collector; see [metrics](metrics.md)."),
    Row("GET", "/dist/", (Caller.ANYBODY,), "Version, address and SHA-256 of the server's own wheel."),
    Row("GET", "/dist/{file}", (Caller.ANYBODY,), "The current wheel."),
    Row("GET", "/dist/{sha256}/{file}", (Caller.ANYBODY,), "The wheel with this hash; workflow files name it."),
)
"""For GitHub, operators, platforms and runs: not part of the versioned interface."""

ROUTES: tuple[Row, ...] = (
    *_OUTSIDE,
    *openapi.DESCRIBED,
    *runs.DESCRIBED,
    *publishing.DESCRIBED,
    *bundles.DESCRIBED,
    *carried.DESCRIBED,
    *queue.DESCRIBED,
    *attempts.DESCRIBED,
    *repos.DESCRIBED,
    *resync.DESCRIBED,
    *workers.DESCRIBED,
    *sessions.DESCRIBED,
    *worker_tokens.DESCRIBED,
    *items.DESCRIBED,
    *actions.DESCRIBED,
    *older.DESCRIBED,
    *tasks.DESCRIBED,
    *backlog.DESCRIBED,
    *events.DESCRIBED,
    *chat.DESCRIBED,
    *ci.DESCRIBED,
)
