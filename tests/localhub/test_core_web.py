"""The pages: what a person reads, and what must never become markup."""

from __future__ import annotations

import pytest

from bot.localhub.web_markdown import Markdown
from bot.localhub.web_view import log_text
from tests.localhub.support import Answer, World


async def page(w: World, path: str) -> Answer:
    return await w.call("GET", w.hub.html_url + path, token="")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        pytest.param("a <!-- hidden --> b", "<p>a  b</p>\n", id="a hidden marker is not shown"),
        pytest.param("<!-- a\nb -->\ntext", "<p>text</p>\n", id="nor one over several lines"),
        pytest.param(
            "`<!-- shown -->`",
            "<p><code>&lt;!-- shown --&gt;</code></p>\n",
            id="in code it is text",
        ),
        pytest.param(
            "<script>alert(1)</script>",
            "&lt;script&gt;alert(1)&lt;/script&gt;",
            id="a script is text",
        ),
        pytest.param(
            "x <b onclick=y>z</b>",
            "<p>x &lt;b onclick=y&gt;z</b></p>\n",
            id="a tag with attributes is text",
        ),
        pytest.param("[x](javascript:alert)", "<p>[x](javascript:alert)</p>\n", id="no script addresses"),
        pytest.param(
            "see #7 & a#8",
            '<p>see <a href="/o/r/issues/7">#7</a> &amp; a#8</p>\n',
            id="issue numbers are links",
        ),
        pytest.param(
            "hi @wim, a@b.org",
            "<p>hi <strong>@wim</strong>, a@b.org</p>\n",
            id="logins stand out",
        ),
        pytest.param(
            "- [x] done\n- [ ] open",
            "<ul>\n<li>☑ done</li>\n<li>☐ open</li>\n</ul>\n",
            id="tasks have boxes",
        ),
        pytest.param(
            "<details><summary>More</summary>\n\n**x**\n\n</details>",
            "<details><summary>More</summary>\n<p><strong>x</strong></p>\n</details>",
            id="folds fold",
        ),
    ],
)
def test_markdown(source: str, expected: str) -> None:
    assert Markdown().render(source, "/o/r") == expected


async def test_an_issue_page_tells_the_story(w: World) -> None:
    me, bot = w.hub.as_user("olive"), w.hub.as_app(w.installation)
    issue = w.hub.issues.open(w.repo, "<A> bug", "Body", actor=me, labels=["tgs:ready"])
    w.hub.labels.remove(issue, "tgs:ready", bot)
    comment = w.hub.comments.create(issue, "<!-- tgs:status -->\n**Working**", bot)
    w.hub.comments.react(comment, "eyes", me)
    shown = await page(w, "/olive/demo/issues/1")
    assert shown.status == 200
    assert "&lt;A&gt; bug" in shown.body
    assert "<strong>Working</strong>" in shown.body
    assert "tgs:status" not in shown.body
    assert "👀 1" in shown.body
    assert "<b>tgs</b> removed" in shown.body
    assert "script-src" not in shown.headers["Content-Security-Policy"]
    assert "default-src 'none'" in shown.headers["Content-Security-Policy"]
    assert "<script" not in shown.body


async def test_lists_are_filtered_by_state_and_label(w: World) -> None:
    me = w.hub.as_user("olive")
    w.hub.issues.open(w.repo, "First one", actor=me, labels=["bug"])
    second = w.hub.issues.open(w.repo, "Second one", actor=me)
    w.hub.issues.set_state(second, "closed", me)
    opened = await page(w, "/olive/demo/issues")
    assert "First one" in opened.body
    assert "Second one" not in opened.body
    closed = await page(w, "/olive/demo/issues?state=closed")
    assert "Second one" in closed.body
    labelled = await page(w, "/olive/demo/issues?state=closed&label=bug")
    assert "Second one" not in labelled.body


@pytest.mark.parametrize(
    ("path", "text"),
    [
        pytest.param("/", "olive/demo", id="the index"),
        pytest.param("/olive", "olive/demo", id="an account"),
        pytest.param("/olive/demo", "README.md", id="the files of a repository"),
        pytest.param("/olive/demo/blob/main/README.md", "<h1>Demo</h1>", id="a file"),
        pytest.param("/olive/demo/pulls", "Nothing here", id="an empty list"),
        pytest.param("/olive/demo/actions", "No workflow has run yet", id="no runs"),
        pytest.param("/_hub/style.css", "--bg", id="the style sheet"),
    ],
)
async def test_pages_exist(w: World, path: str, text: str) -> None:
    shown = await page(w, path)
    assert shown.status == 200
    assert text in shown.body


@pytest.mark.parametrize(
    "path",
    ["/nobody", "/olive/nope", "/olive/demo/issues/9", "/olive/demo/blob/main/nope"],
)
async def test_what_is_missing_is_a_page_too(w: World, path: str) -> None:
    shown = await page(w, path)
    assert shown.status == 404
    assert "<h1>Not found</h1>" in shown.body


async def test_a_moved_issue_is_followed(w: World) -> None:
    me = w.hub.as_user("olive")
    issue = w.hub.issues.open(w.repo, "x", actor=me)
    target = w.hub.create_repo(w.repo.owner, "target")
    w.hub.issues.transfer(issue, target, me)
    shown = await page(w, "/olive/demo/issues/1")
    assert (shown.status, shown.headers["Location"]) == (302, "/olive/target/issues/1")


async def test_a_commit_shows_its_changes(w: World) -> None:
    sha = (await w.hub.git.refs(w.repo))["refs/heads/main"]
    shown = await page(w, f"/olive/demo/commit/{sha}")
    assert shown.status == 200
    assert "Initial commit" in shown.body
    assert "+# Demo" in shown.body


def test_logs_are_shown_for_reading() -> None:
    stamp = "2026-11-20T20:31:17.6792500Z "
    lines = ["##[group]Run x", "x", "##[endgroup]", "##[error]exit code 3."]
    assert log_text([stamp + x for x in lines]) == "▾ Run x\nx\nError: exit code 3."
