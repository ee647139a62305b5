"""What the bot's client sends and what the local GitHub answers and delivers, held against GitHub's description."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from bot.domain import labels
from bot.errors import GitHubError
from bot.protocols.github import Visible
from tests.contract import webhooks
from tests.contract.observer import watch
from tests.github.hub import hub_world
from tests.localhub.support import world

READY = labels.READY
WORKFLOW = "on: pull_request\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - run: 'true'\n"


async def test_the_client_and_the_local_github_keep_to_the_description(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problems = watch(monkeypatch)
    async with hub_world(tmp_path) as hub:
        github, key, mia = hub.gateway, hub.key, hub.person("mia")
        issue = hub.open_issue()
        hub.hub.git.commit(hub.repo, {".github/workflows/ci.yml": WORKFLOW}, by=hub.owner, branch="main", message="CI")
        item = hub.issue_key(issue)

        await github.installations()
        await github.installation_repos(key.installation)
        await github.app_owner()
        await github.bot_user(key.installation)
        with contextlib.suppress(GitHubError):  # this App has no webhook
            await github.deliveries(0, hub.clock.now())
        view = await github.repository(key)
        head = await github.head(key, view.default_branch)
        assert head is not None
        await github.head(key, "no/such-branch")
        tree = await github.tree(key, head, "tgs/thoughts", recursive=True)
        assert tree is not None
        await github.blob(key, next(entry.sha for entry in tree.entries if entry.type == "blob"))
        await github.file(key, "tgs/thoughts/ab12-cache/plan.md", head)
        await github.file(key, "tgs/no such file.md", head)

        await github.add_labels(item, [READY, "a b/c"])
        await github.issue(item)
        await github.issues_with_label(key, READY)
        await github.issues_by_bot(key)
        await github.label_events(item)
        with contextlib.suppress(GitHubError):  # the local GitHub may not keep earlier texts
            await github.content_edits(item)
        await github.remove_label(item, "a b/c")
        await github.remove_label(item, "a b/c")
        comment = await github.create_comment(item, "hello")
        await github.comment(key, comment.id)
        await github.comment(key, 999_999_999)
        await github.comments(item)
        await github.comments_in(key, hub.clock.now())
        await github.react(key, comment.id, "eyes")
        await github.role(key, mia)
        await github.assignable(key, "mia")
        await github.assignable(key, "eve")
        created = await github.create_issue(key, "a title", "a body", [READY])
        await github.edit_issue(created.key, title="another", open_=False, reason="completed")
        await github.show(
            key,
            Visible(
                issue.node_id,
                issue.number,
                add_labels=("x",),
                remove_labels=(READY,),
                assign="mia",
                comment_node=comment.node_id,
                comment_body="edited",
            ),
        )

        await github.workflow_state(key, "no-such.yml")
        await github.workflow_state(key, "ci.yml")
        await github.environment_exists(key, "tgs-agent")
        await github.runs_named(key, "ci.yml", "x", hub.clock.now())
        await github.run(key, 999_999_999)
        await github.ci(key, head)
        with contextlib.suppress(GitHubError):
            await github.dispatch(key, "ci.yml", "main", {"issue": "1"})
        number = await github.put_file_pull(key, "tgs/set-up", {".tgs/policy.yml": "enabled: true\n"}, "Set up", "x")
        pull = await github.pull(key, number)
        assert pull is not None
        await github.pulls_of_branch(key, "tgs/set-up")
        await github.pull(key, 999_999)
        with contextlib.suppress(GitHubError):
            await github.merge_pull(key, number, expected_head="0" * 40, method="squash", title="t")
        token, _ = await github.mint_write_token(key)
        await github.revoke(token)
        assert problems == []


async def test_the_watch_sees_a_request_that_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    problems = watch(monkeypatch)
    async with hub_world(tmp_path) as hub:
        url = f"{hub.hub.api_url}/repos/{hub.repo.full_name}/issues?label=x"
        async with hub.session.get(
            url, headers={"User-Agent": "x", "Authorization": f"Bearer {hub.hub.user_token('mia')}"}
        ) as answer:
            assert answer.status == 200
        assert any("query parameter label is not known" in problem for problem in problems)


async def test_the_webhooks_of_the_local_github_have_what_github_always_sends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = watch(monkeypatch, headers=False)
    async with world(tmp_path) as local:
        repo = local.repo.full_name
        made = await local.call("POST", f"/repos/{repo}/issues", {"title": "x", "body": "y", "labels": [READY]})
        issue = f"/repos/{repo}/issues/{made.body['number']}"
        await local.call("POST", f"{issue}/labels", {"labels": ["bug"]})
        await local.call("DELETE", f"{issue}/labels/bug")
        await local.call("POST", f"{issue}/assignees", {"assignees": ["mia"]})
        await local.call("DELETE", f"{issue}/assignees", {"assignees": ["mia"]})
        written = await local.call("POST", f"{issue}/comments", {"body": "hello"})
        comment = f"/repos/{repo}/issues/comments/{written.body['id']}"
        await local.call("PATCH", comment, {"body": "hello again"})
        await local.call("DELETE", comment)
        await local.call("PATCH", issue, {"title": "z"})
        await local.call("PATCH", issue, {"state": "closed"})
        await local.call("PATCH", issue, {"state": "open"})
        await local.call("POST", f"/repos/{repo}/labels", {"name": "new", "color": "ededed"})
        await local.call("PATCH", f"/repos/{repo}/labels/new", {"new_name": "newer"})
        await local.call("DELETE", f"/repos/{repo}/labels/newer")
        main = await local.call("GET", f"/repos/{repo}/git/ref/heads/main")
        sha = main.body["object"]["sha"]
        await local.call("POST", f"/repos/{repo}/git/refs", {"ref": "refs/heads/topic", "sha": sha})
        await local.call(
            "PUT",
            f"/repos/{repo}/contents/a/b.txt",
            {"message": "add", "content": "aGk=", "branch": "topic"},
        )
        pull = await local.call("POST", f"/repos/{repo}/pulls", {"title": "p", "head": "topic", "base": "main"})
        address = f"/repos/{repo}/pulls/{pull.body['number']}"
        await local.call("PATCH", address, {"title": "q"})
        await local.call("PATCH", address, {"state": "closed"})
        await local.hub.settle()
        names = set(local.receiver.names())
        assert {"issues.opened", "issues.labeled", "issue_comment.edited", "push", "pull_request.opened"} <= names
        problems = [
            problem
            for got in local.receiver.got
            for problem in webhooks.check(got.headers["X-GitHub-Event"], got.payload, got.headers)
        ]
        assert problems == []
        assert answers == []
