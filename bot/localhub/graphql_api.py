"""GraphQL: one endpoint, queries and mutations over the same records as REST.

Promise: errors come with HTTP 200, the path of the field and a `type`; aliased mutations of one
document run in the order they are written and a failed one does not stop the next; a document
with a mutation counts as one write.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache, lru_cache
from importlib import resources
from typing import TYPE_CHECKING, cast

from graphql import (
    DocumentNode,
    FieldNode,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    build_schema,
    execute,
    get_operation_ast,
    parse,
    validate,
)

from bot.localhub.actor import ActorKind
from bot.localhub.graphql_mutations import Mutations
from bot.localhub.graphql_view import Info, View
from bot.localhub.http import ApiError, Reply, Request, Route, not_found
from bot.localhub.model import Json
from bot.localhub.ports import RefConflictError
from bot.localhub.present import time

if TYPE_CHECKING:
    from bot.localhub.hub import Hub

CONTENT_MUTATIONS = frozenset({"addComment"})
"""Mutations that create content for the secondary limits."""


QUERIES = 256
"""Queries whose reading is remembered: a client has some dozens, and every batch of changes has its own text."""


@cache
def schema() -> GraphQLSchema:
    """The schema that lies beside this module; it never changes and knows no hub."""
    return build_schema(resources.files("bot.localhub").joinpath("schema.graphql").read_text("utf-8"))


@lru_cache(maxsize=QUERIES)
def _read(query: str) -> tuple[DocumentNode, tuple[GraphQLError, ...]]:
    """The query and what the schema has against it. Raises GraphQLError for what is no query."""
    document = parse(query)
    return document, tuple(validate(schema(), document))


class Endpoint:
    """The GraphQL endpoint of one hub."""

    async def serve(self, request: Request) -> Reply:
        """`POST /graphql`."""
        if request.actor.kind in (ActorKind.ANONYMOUS, ActorKind.APP):
            raise ApiError(401, "This endpoint requires you to be authenticated.")
        body = request.body()
        query, variables = body.get("query"), body.get("variables") or {}
        if not isinstance(query, str):
            raise ApiError(400, "A query attribute must be specified and must be a string.")
        if not isinstance(variables, dict):
            raise ApiError(400, "Variables must be an object.")
        try:
            document, problems = _read(query)
        except GraphQLError as error:
            return _failed([error])
        if problems:
            return _failed(list(problems))
        name = body.get("operationName")
        operation = get_operation_ast(document, name if isinstance(name, str) else None)
        if operation is None:
            return _failed([GraphQLError("A query attribute must name one operation.")])
        writes = operation.operation is OperationType.MUTATION
        if refusal := self._admit(request, operation, writes=writes):
            return refusal
        view = View(request.hub, request.actor)
        outcome = execute(
            schema(),
            document,
            root_value=(Mutations(view).table() if writes else _queries(request, view)),
            variable_values=variables,
            operation_name=operation.name.value if operation.name else None,
        )
        result = await outcome if isinstance(outcome, Awaitable) else outcome
        answer: Json = {"data": result.data}
        if result.errors:
            answer["errors"] = [_shown(x) for x in result.errors]
        return Reply(200, answer)

    def _admit(self, request: Request, operation: OperationDefinitionNode, *, writes: bool) -> Reply | None:
        names = [x.name.value for x in operation.selection_set.selections if isinstance(x, FieldNode)]
        content = writes and bool(CONTENT_MUTATIONS.intersection(names))
        if (entry := request.entry) is not None:
            entry.is_write, entry.is_content = writes, content
            entry.operations = names if writes else []
        limits = request.hub.limits
        try:
            limits.check(request.actor, "graphql", write=writes, content=content)
        except ApiError as error:
            if "Retry-After" in error.headers:
                raise
            # The primary limit is answered with 200 and an error, unlike everywhere else.
            problem: Json = {"type": "RATE_LIMITED", "message": error.message}
            return Reply(200, {"data": None, "errors": [problem]}, error.headers)
        return None


def _queries(request: Request, view: View) -> Json:
    def repository(
        _info: Info,
        owner: str,
        name: str,
        followRenames: bool = True,  # noqa: N803 - the schema's name
    ) -> Json:
        hub, full = request.hub, f"{owner}/{name}"
        found = hub.find_repository(full)
        if found is None and followRenames:
            found = hub.repositories.get(hub.renamed.get(full.lower(), 0))
        if found is None or not view.actor.can_see(found):
            raise not_found(f"Could not resolve to a Repository with the name '{full}'.")
        return view.repository(found)

    def nodes(_info: Info, ids: list[str]) -> list[Json | ApiError]:
        """Each by itself: one that is not there is null, with an error of its own."""
        found: list[Json | ApiError] = []
        for one in ids:
            try:
                found.append(view.show(view.resolve(one)))
            except ApiError as error:
                found.append(error)
        return found

    def rate_limit(_info: Info, **_: object) -> Json:
        window = request.hub.limits.overview(request.actor)["graphql"]
        return {
            "cost": 1,
            "limit": window["limit"],
            "remaining": window["remaining"],
            "used": window["used"],
            "nodeCount": 0,
            "resetAt": time(request.hub.limits.reset(request.actor, "graphql")),
        }

    return {
        "repository": repository,
        "node": lambda _info, id: view.show(view.resolve(id)),  # noqa: A006 - the schema's name
        "nodes": nodes,
        "viewer": lambda _info: view.account(view.actor.user) | {"__typename": "User"},
        "rateLimit": rate_limit,
    }


def _failed(errors: list[GraphQLError]) -> Reply:
    return Reply(200, {"errors": [_shown(x) for x in errors]})


def _shown(error: GraphQLError) -> Json:
    """An error as GitHub prints it: with `type`, without `extensions`."""
    out = cast("Json", dict(error.formatted))
    out.pop("extensions", None)
    match error.original_error:
        case ApiError() as cause:
            kinds = {401: "FORBIDDEN", 403: "FORBIDDEN", 404: "NOT_FOUND", 410: "NOT_FOUND"}
            out["type"] = kinds.get(cause.status, "UNPROCESSABLE")
            out["message"] = _message(cause)
        case RefConflictError() as conflict:
            out["type"], out["message"] = "UNPROCESSABLE", str(conflict)
        case None:
            pass
        case other:
            # A defect of the hub must not look like an answer of the service.
            raise other
    return out


def _message(error: ApiError) -> str:
    for item in error.errors:
        if isinstance(item, dict) and isinstance(item.get("message"), str):
            return cast("str", item["message"])
        if isinstance(item, dict):
            return f"{error.message}: {item.get('field')} {item.get('code')}"
    return error.message


def routes(hub: Hub) -> list[Route]:
    """The one route of this module."""
    serve: Callable[[Request], Awaitable[Reply]] = Endpoint().serve
    # Only the document says whether it writes; the endpoint corrects the log and the limits.
    return [Route("POST", "/graphql", serve, writes=False, anyone=True)]
