"""Compiles the changes of one `Visible` into one GraphQL mutation with an alias per field. Pure.

Promise: the alias of each change is the name of the field of `Visible` it came from, so an error's path names the
field that failed. Changes stand in the order in which people should see them; GitHub runs them one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from bot.protocols.github import Visible

ZERO_OID = "0" * 40
"""For `updateRefs`: as `afterOid` delete the ref, as `beforeOid` it must not exist."""

DOCUMENT_NAME = "show"

LABELS = "labelable { ... on Issue { labels(first: 100) { nodes { id name } } } }"
ASSIGNEES = "assignable { assignees(first: 20) { nodes { login } } }"


class Part(StrEnum):
    """The fields of `Visible` that a request can change, in the order of execution."""

    REMOVE_LABELS = "remove_labels"
    ADD_LABELS = "add_labels"
    UNASSIGN = "unassign"
    ASSIGN = "assign"
    COMMENT_BODY = "comment_body"
    READY_PULL_NODE = "ready_pull_node"
    DELETE_BRANCH = "delete_branch"


@dataclass(frozen=True, slots=True)
class Nodes:
    """The node ids a batch needs: of the repository, of labels by lower-case name, of accounts by lower-case login."""

    repository: str | None
    labels: Mapping[str, str]
    users: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Batch:
    """One mutation document with its variables."""

    document: str
    variables: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class _Rule:
    mutation: str
    input_type: str
    answer: str


RULES: Mapping[Part, _Rule] = {
    Part.REMOVE_LABELS: _Rule("removeLabelsFromLabelable", "RemoveLabelsFromLabelableInput", LABELS),
    Part.ADD_LABELS: _Rule("addLabelsToLabelable", "AddLabelsToLabelableInput", LABELS),
    Part.UNASSIGN: _Rule("removeAssigneesFromAssignable", "RemoveAssigneesFromAssignableInput", ASSIGNEES),
    Part.ASSIGN: _Rule("addAssigneesToAssignable", "AddAssigneesToAssignableInput", ASSIGNEES),
    Part.COMMENT_BODY: _Rule("updateIssueComment", "UpdateIssueCommentInput", "issueComment { body }"),
    Part.READY_PULL_NODE: _Rule(
        "markPullRequestReadyForReview", "MarkPullRequestReadyForReviewInput", "pullRequest { isDraft }"
    ),
    Part.DELETE_BRANCH: _Rule("updateRefs", "UpdateRefsInput", "clientMutationId"),
}


def parts_of(visible: Visible) -> tuple[Part, ...]:
    """The fields that are set, in the order of execution."""
    return tuple(part for part in Part if _set(part, visible))


def compile_batch(visible: Visible, nodes: Nodes) -> tuple[Batch | None, tuple[Part, ...]]:
    """The mutation for what can be said in node ids, and the parts that can't (a label or account without one).

    Labels to remove that the repository does not have need nothing. The batch is None when nothing is left to send.
    """
    inputs: dict[Part, object] = {}
    missing: list[Part] = []
    for part in parts_of(visible):
        found = INPUTS[part](visible, nodes)
        if found is None:
            missing.append(part)
        elif found:
            inputs[part] = found
    if not inputs:
        return None, tuple(missing)
    heads = ", ".join(f"${part}: {RULES[part].input_type}!" for part in inputs)
    lines = [f"  {part}: {RULES[part].mutation}(input: ${part}) {{ {RULES[part].answer} }}" for part in inputs]
    document = "\n".join((f"mutation {DOCUMENT_NAME}({heads}) {{", *lines, "}"))
    return Batch(document, {str(part): value for part, value in inputs.items()}), tuple(missing)


def _set(part: Part, visible: Visible) -> bool:
    if part is Part.COMMENT_BODY:
        return visible.comment_node is not None and visible.comment_body is not None
    return bool(getattr(visible, part))


Input = Mapping[str, object]
"""An empty input means: nothing to do."""


def _remove_labels(visible: Visible, nodes: Nodes) -> Input | None:
    ids = [nodes.labels[name.lower()] for name in visible.remove_labels if name.lower() in nodes.labels]
    return {"labelableId": visible.issue_node, "labelIds": ids} if ids else {}


def _add_labels(visible: Visible, nodes: Nodes) -> Input | None:
    ids = [nodes.labels.get(name.lower()) for name in visible.add_labels]
    return None if None in ids else {"labelableId": visible.issue_node, "labelIds": ids}


def _unassign(visible: Visible, nodes: Nodes) -> Input | None:
    user = nodes.users.get((visible.unassign or "").lower())
    return {"assignableId": visible.issue_node, "assigneeIds": [user]} if user is not None else None


def _assign(visible: Visible, nodes: Nodes) -> Input | None:
    user = nodes.users.get((visible.assign or "").lower())
    return {"assignableId": visible.issue_node, "assigneeIds": [user]} if user is not None else None


def _comment(visible: Visible, nodes: Nodes) -> Input | None:
    del nodes
    return {"id": visible.comment_node, "body": visible.comment_body}


def _ready(visible: Visible, nodes: Nodes) -> Input | None:
    del nodes
    return {"pullRequestId": visible.ready_pull_node}


def _delete_branch(visible: Visible, nodes: Nodes) -> Input | None:
    if visible.delete_branch is None or nodes.repository is None:
        return None
    branch, sha = visible.delete_branch
    update = {"name": f"refs/heads/{branch}", "beforeOid": sha, "afterOid": ZERO_OID}
    return {"repositoryId": nodes.repository, "refUpdates": [update]}


INPUTS: Mapping[Part, Callable[[Visible, Nodes], Input | None]] = {
    Part.REMOVE_LABELS: _remove_labels,
    Part.ADD_LABELS: _add_labels,
    Part.UNASSIGN: _unassign,
    Part.ASSIGN: _assign,
    Part.COMMENT_BODY: _comment,
    Part.READY_PULL_NODE: _ready,
    Part.DELETE_BRANCH: _delete_branch,
}
