"""GraphQL: queries, mutations in order, errors by path, refs with compare-and-set."""

from __future__ import annotations

from typing import Any

from bot.localhub.core import ZERO_OID, Issue, Quota
from tests.localhub.support import World


def opened(w: World, **more: Any) -> Issue:
    return w.hub.issues.open(w.repo, "A bug", actor=w.hub.as_user("olive"), **more)


async def test_an_issue_is_read_by_number_and_by_node(w: World) -> None:
    issue = opened(w, labels=["a", "b"], body="text")
    w.hub.comments.create(issue, "hello", w.hub.as_app(w.installation))
    query = """query($owner: String!, $name: String!, $number: Int!) {
      repository(owner: $owner, name: $name) {
        id defaultBranchRef { name target { oid ... on Commit { message } } }
        object(expression: "main:README.md") { ... on Blob { text byteSize } }
        issue(number: $number) { id state title body author { login __typename }
          labels(first: 1) { totalCount nodes { name } pageInfo { hasNextPage endCursor } }
          comments(first: 5) { nodes { databaseId author { login __typename } } } } } }"""
    answer = await w.graphql(query, owner="olive", name="demo", number=issue.number)
    assert "errors" not in answer
    repo = answer["data"]["repository"]
    assert repo["defaultBranchRef"]["name"] == "main"
    assert repo["defaultBranchRef"]["target"]["message"] == "Initial commit"
    assert repo["object"] == {"text": "# Demo\n", "byteSize": 7}
    found = repo["issue"]
    assert (found["state"], found["body"]) == ("OPEN", "text")
    assert found["labels"]["nodes"] == [{"name": "a"}]
    assert found["labels"]["totalCount"] == 2
    assert found["labels"]["pageInfo"]["hasNextPage"] is True
    bot = found["comments"]["nodes"][0]["author"]
    assert bot == {"login": "tgs", "__typename": "Bot"}
    by_node = await w.graphql(
        "query($id: ID!) { node(id: $id) { __typename ... on Issue { number } } }", id=issue.node_id
    )
    assert by_node["data"]["node"] == {"__typename": "Issue", "number": issue.number}


async def test_what_is_absent_is_an_error_with_a_path(w: World) -> None:
    query = """{ repository(owner: "olive", name: "demo") { name issue(number: 99) { id } }
                 other: repository(owner: "olive", name: "nope") { name } }"""
    answer = await w.graphql(query)
    assert answer["data"] == {"repository": {"name": "demo", "issue": None}, "other": None}
    kinds = {tuple(x["path"]): x["type"] for x in answer["errors"]}
    assert kinds == {("repository", "issue"): "NOT_FOUND", ("other",): "NOT_FOUND"}
    messages = [x["message"] for x in answer["errors"]]
    assert "Could not resolve to an Issue with the number of 99." in messages


async def test_unknown_fields_are_refused(w: World) -> None:
    answer = await w.graphql('{ repository(owner: "olive", name: "demo") { nmae } }')
    assert "data" not in answer
    assert "nmae" in answer["errors"][0]["message"]


async def test_mutations_of_one_document_run_in_order(w: World) -> None:
    issue = opened(w, labels=["tgs:ready"])
    ready = w.repo.labels["tgs:ready"].node_id
    working = w.hub.labels.create(w.repo, "tgs:in-progress", None).node_id
    await w.hub.settle()
    w.hub.log.clear()
    wim = w.hub.find_account("wim")
    assert wim is not None
    mutation = """mutation($i: ID!, $r: [ID!]!, $a: [ID!]!, $p: [ID!]!, $bad: ID!) {
      a: removeLabelsFromLabelable(input: {labelableId: $i, labelIds: $r}) { clientMutationId }
      b: closeIssue(input: {issueId: $bad}) { issue { id } }
      c: addLabelsToLabelable(input: {labelableId: $i, labelIds: $a, clientMutationId: "x"}) {
        clientMutationId labelable { labels(first: 9) { nodes { name } } } }
      d: addAssigneesToAssignable(input: {assignableId: $i, assigneeIds: $p}) {
        assignable { assignees(first: 9) { nodes { login } } } } }"""
    answer = await w.graphql(mutation, i=issue.node_id, r=[ready], a=[working], p=[wim.node_id], bad="I_no")
    assert answer["data"]["c"]["labelable"]["labels"]["nodes"] == [{"name": "tgs:in-progress"}]
    assert answer["data"]["c"]["clientMutationId"] == "x"
    assert answer["data"]["d"]["assignable"]["assignees"]["nodes"] == [{"login": "wim"}]
    assert answer["data"]["b"] is None
    assert [(x["path"], x["type"]) for x in answer["errors"]] == [(["b"], "NOT_FOUND")]
    assert [x.event for x in issue.events][1:] == ["unlabeled", "labeled", "assigned"]
    (entry,) = w.hub.log.entries
    assert entry.is_write
    assert len(w.hub.log.writes()) == 1
    assert entry.operations == [
        "removeLabelsFromLabelable",
        "closeIssue",
        "addLabelsToLabelable",
        "addAssigneesToAssignable",
    ]


async def test_missing_permission_is_forbidden(w: World) -> None:
    issue = opened(w)
    comment = w.hub.comments.create(issue, "hi", w.hub.as_app(w.installation))
    mutation = """mutation($id: ID!) { updateIssueComment(input: {id: $id, body: "new"}) {
      issueComment { body } } }"""
    refused = await w.graphql(mutation, token=w.narrowed(issues="read"), id=comment.node_id)
    assert refused["errors"][0]["type"] == "FORBIDDEN"
    assert refused["errors"][0]["message"] == "Resource not accessible by integration"
    assert comment.body == "hi"
    changed = await w.graphql(mutation, id=comment.node_id)
    assert changed["data"]["updateIssueComment"]["issueComment"]["body"] == "new"


async def test_reactions_minimizing_closing(w: World) -> None:
    issue = opened(w)
    comment = w.hub.comments.create(issue, "hi", w.hub.as_user("wim"))
    mutation = """mutation($c: ID!, $i: ID!) {
      addReaction(input: {subjectId: $c, content: EYES}) { reaction { content } }
      minimizeComment(input: {subjectId: $c, classifier: OUTDATED}) {
        minimizedComment { isMinimized minimizedReason } }
      closeIssue(input: {issueId: $i, stateReason: NOT_PLANNED}) { issue { stateReason } } }"""
    data = (await w.graphql(mutation, c=comment.node_id, i=issue.node_id))["data"]
    assert data["addReaction"]["reaction"]["content"] == "EYES"
    assert data["minimizeComment"]["minimizedComment"]["minimizedReason"] == "outdated"
    assert data["closeIssue"]["issue"]["stateReason"] == "NOT_PLANNED"


async def test_deleting_and_transferring(w: World) -> None:
    issue, other = opened(w), opened(w)
    target = w.hub.create_repo(w.repo.owner, "target")
    delete = "mutation($i: ID!) { deleteIssue(input: {issueId: $i}) { repository { name } } }"
    refused = await w.graphql(delete, i=issue.node_id)
    assert refused["errors"][0]["type"] == "FORBIDDEN"
    owner = w.hub.user_token("olive")
    assert "errors" not in await w.graphql(delete, token=owner, i=issue.node_id)
    assert issue.deleted
    transfer = """mutation($i: ID!, $r: ID!) {
      transferIssue(input: {issueId: $i, repositoryId: $r}) { issue { number url } } }"""
    moved = await w.graphql(transfer, token=owner, i=other.node_id, r=target.node_id)
    assert moved["data"]["transferIssue"]["issue"]["url"].endswith("/olive/target/issues/1")


UPDATE = """mutation($r: ID!, $u: [RefUpdate!]!) {
  updateRefs(input: {repositoryId: $r, refUpdates: $u}) { clientMutationId } }"""


async def test_refs_change_all_or_nothing(w: World) -> None:
    refs = await w.hub.git.refs(w.repo)
    head = refs["refs/heads/main"]

    async def update(*rows: tuple[str, str, str]) -> Any:
        updates = [{"name": n, "beforeOid": b, "afterOid": a} for n, b, a in rows]
        return await w.graphql(UPDATE, r=w.repo.node_id, u=updates)

    first = await update(("refs/tgs/claims/1", ZERO_OID, head))
    assert "errors" not in first
    lost = await update(("refs/tgs/claims/2", ZERO_OID, head), ("refs/tgs/claims/1", ZERO_OID, head))
    assert lost["data"] == {"updateRefs": None}
    assert lost["errors"][0]["type"] == "UNPROCESSABLE"
    assert "refs/tgs/claims/2" not in await w.hub.git.refs(w.repo)
    stale = await update(("refs/tgs/claims/1", "1" * 40, ZERO_OID))
    assert "errors" in stale
    released = await update(("refs/tgs/claims/1", head, ZERO_OID))
    assert "errors" not in released
    assert "refs/tgs/claims/1" not in await w.hub.git.refs(w.repo)
    refused = await w.graphql(UPDATE, token=w.narrowed(contents="read"), r=w.repo.node_id, u=[])
    assert refused["errors"][0]["type"] == "FORBIDDEN"


async def test_the_primary_limit_is_an_error_with_status_200(w: World) -> None:
    w.hub.limits.override(w.installation.id, Quota(graphql_per_hour=1))
    await w.graphql("{ viewer { login } }", token=w.token)
    over = await w.call("POST", w.hub.graphql_url, {"query": "{ viewer { login } }"})
    assert over.status == 200
    assert over.body["errors"][0]["type"] == "RATE_LIMITED"
    assert over.headers["X-RateLimit-Remaining"] == "0"
    assert over.headers["X-RateLimit-Resource"] == "graphql"


async def test_the_endpoint_wants_credentials(w: World) -> None:
    body = {"query": "{ viewer { login } }"}
    assert (await w.call("POST", w.hub.graphql_url, body, token="")).status == 401
    assert (await w.call("POST", w.hub.graphql_url, {"query": 1})).status == 400


async def test_pull_requests_are_labelable_and_leave_their_draft(w: World) -> None:
    await w.call(
        "PUT",
        f"/repos/{w.repo.full_name}/contents/new.txt",
        {"message": "Add a file", "content": "eA==", "branch": "main"},
    )
    head = (await w.hub.git.refs(w.repo))["refs/heads/main"]
    body = {"ref": "refs/heads/topic", "sha": head}
    assert (await w.call("POST", f"/repos/{w.repo.full_name}/git/refs", body)).status == 201
    await w.call(
        "PUT",
        f"/repos/{w.repo.full_name}/contents/more.txt",
        {"message": "Add more", "content": "eA==", "branch": "topic"},
    )
    made = await w.call(
        "POST", f"/repos/{w.repo.full_name}/pulls", {"title": "More", "head": "topic", "base": "main", "draft": True}
    )
    assert made.status == 201, made.body
    label = w.hub.labels.create(w.repo, "tgs:automerge", None).node_id
    mutation = """mutation($p: ID!, $l: [ID!]!) {
      addLabelsToLabelable(input: {labelableId: $p, labelIds: $l}) {
        labelable { ... on PullRequest { number labels(first: 2) { nodes { name } } } } }
      markPullRequestReadyForReview(input: {pullRequestId: $p}) { pullRequest { isDraft } } }"""
    data = (await w.graphql(mutation, p=made.body["node_id"], l=[label]))["data"]
    labelled = data["addLabelsToLabelable"]["labelable"]
    assert labelled["labels"]["nodes"] == [{"name": "tgs:automerge"}]
    assert data["markPullRequestReadyForReview"]["pullRequest"]["isDraft"] is False
    query = """query($n: Int!) { repository(owner: "olive", name: "demo") {
      pullRequest(number: $n) { state headRefName headRefOid baseRefName merged } } }"""
    found = (await w.graphql(query, n=labelled["number"]))["data"]["repository"]["pullRequest"]
    assert (found["state"], found["headRefName"], found["merged"]) == ("OPEN", "topic", False)
    as_issue = await w.call("GET", f"/repos/{w.repo.full_name}/issues/{labelled['number']}")
    assert as_issue.body["pull_request"]["merged_at"] is None
    assert as_issue.body["draft"] is False
    listed = (await w.call("GET", f"/repos/{w.repo.full_name}/issues")).body
    assert [x["number"] for x in listed] == [labelled["number"]]
    page = await w.call("GET", f"{w.hub.html_url}/olive/demo/pull/{labelled['number']}", token="")
    assert "more.txt" in page.body
    await w.hub.settle()
    assert "pull_request.labeled" in w.receiver.names()
    assert "pull_request.ready_for_review" in w.receiver.names()


async def test_many_nodes_are_answered_one_by_one(w: World) -> None:
    issue = opened(w)
    comment = w.hub.comments.create(issue, "hello", w.hub.as_user("olive"))
    w.hub.comments.react(comment, "eyes", w.hub.as_app(w.installation))
    query = """query($ids: [ID!]!) { nodes(ids: $ids) { id ... on Issue { comments(first: 5) { nodes {
      fullDatabaseId reactionGroups { content viewerHasReacted createdAt } } } } } }"""
    answer = await w.graphql(query, ids=[issue.node_id, "I_gone"])
    first, second = answer["data"]["nodes"]
    assert second is None
    [error] = answer["errors"]
    assert (error["type"], error["path"]) == ("NOT_FOUND", ["nodes", 1])
    [found] = first["comments"]["nodes"]
    assert found["fullDatabaseId"] == str(comment.id)
    groups = found["reactionGroups"]
    assert len(groups) == 8
    assert [x["content"] for x in groups if x["createdAt"]] == ["EYES"]
    assert [x["content"] for x in groups if x["viewerHasReacted"]] == ["EYES"]
