"""`tgs init`: what it writes, what it leaves alone, what it refuses."""

from __future__ import annotations

import io
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from bot.cli.main import run as main
from bot.domain.policy import parse_policy

WHEEL, SHA = "https://tgs.example.org/dist/tgs_bot-0.1.0-py3-none-any.whl", "ab" * 32
RUN = ".github/workflows/tgs-server-run.yml"
FILES = [RUN, ".github/workflows/tgs-server-scan.yml", ".tgs/policy.yml"]


def tgs(args: list[str]) -> tuple[int, str]:
    """`tgs init` as it ends, and all that it prints."""
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said), pytest.raises(SystemExit) as end:
        main(["init", *args])
    assert isinstance(end.value.code, int)
    return end.value.code, said.getvalue()


def run(folder: Path, *args: str, server: str = "https://tgs.example.org", wheel: bool = True) -> tuple[int, str]:
    given = ["--server", server, "--directory", str(folder), *args]
    if wheel:
        given += ["--wheel-url", WHEEL, "--wheel-sha256", SHA]
    return tgs(given)


def test_it_writes_both_workflows_and_a_policy_that_parses(tmp_path: Path) -> None:
    code, out = run(tmp_path)
    assert (code, out.count("created")) == (0, 3)
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()) == sorted(FILES)
    text = (tmp_path / RUN).read_text()
    assert WHEEL in text
    assert SHA in text
    assert parse_policy((tmp_path / ".tgs/policy.yml").read_text()).policy is not None


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    run(tmp_path)
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in FILES}
    code, out = run(tmp_path)
    assert (code, out.count("unchanged")) == (0, 3)
    assert before == {name: (tmp_path / name).stat().st_mtime_ns for name in FILES}


def test_a_changed_file_is_kept_and_the_difference_is_counted(tmp_path: Path) -> None:
    run(tmp_path)
    changed = (tmp_path / RUN).read_text().replace("timeout-minutes: 10", "timeout-minutes: 11") + "# ours\n"
    (tmp_path / RUN).write_text(changed)
    code, out = run(tmp_path)
    assert code == 4
    assert f"kept       {RUN}: differs (+1 -2); --force replaces it" in out
    assert (tmp_path / RUN).read_text() == changed


def test_force_replaces_a_changed_file(tmp_path: Path) -> None:
    run(tmp_path)
    (tmp_path / RUN).write_text("mine\n")
    code, out = run(tmp_path, "--force")
    assert (code, "replaced" in out) == (0, True)
    assert WHEEL in (tmp_path / RUN).read_text()


def test_the_result_can_be_read_by_programs(tmp_path: Path) -> None:
    _, out = run(tmp_path, "--json")
    assert [row["path"] for row in json.loads(out)] == FILES


def test_a_link_that_leads_out_of_the_checkout_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo/.github").symlink_to(tmp_path / "outside")
    code, out = run(tmp_path / "repo")
    assert (code, "leads out" in out) == (2, True)
    assert list((tmp_path / "outside").iterdir()) == []


WRONG = {
    "a missing folder": (["--directory", "/nonexistent-folder"], "no folder"),
    "half a wheel": (["--wheel-sha256", ""], "belong together"),
    "a digest that is none": (["--wheel-sha256", "xyz"], "SHA-256"),
    "a server without encryption": (["--server", "http://tgs.example.org"], "encrypted"),
    "too much time": (["--agent-minutes", "400"], "minutes"),
}


@pytest.mark.parametrize(("args", "words"), WRONG.values(), ids=WRONG.keys())
def test_wrong_values_are_exit_code_2_and_write_nothing(args: list[str], words: str, tmp_path: Path) -> None:
    base = ["--server", "https://tgs.example.org", "--directory", str(tmp_path), "--wheel-url", WHEEL]
    code, out = tgs([*base, "--wheel-sha256", SHA, *args])
    assert (code, words in " ".join(out.split())) == (2, True), out
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def dist() -> Iterator[tuple[str, list[bytes]]]:
    """A server whose answer to `GET /dist/` is the list's first element."""
    answers: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/dist/" else 404)
            self.end_headers()
            self.wfile.write(answers[0])

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", answers
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_wheel_is_asked_of_the_server(tmp_path: Path, dist: tuple[str, list[bytes]]) -> None:
    url, answers = dist
    answers.append(json.dumps({"version": "0.1.0", "url": WHEEL, "sha256": SHA}).encode())
    code, out = run(tmp_path, server=url, wheel=False)
    assert code == 0, out
    assert SHA in (tmp_path / RUN).read_text()


def test_a_server_that_answers_otherwise_is_an_error(tmp_path: Path, dist: tuple[str, list[bytes]]) -> None:
    url, answers = dist
    answers.append(b"<html>")
    code, out = run(tmp_path, server=url, wheel=False)
    assert (code, "did not answer" in out) == (2, True)


def test_a_server_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code, out = run(tmp_path, server=f"http://127.0.0.1:{port}", wheel=False)
    assert (code, "cannot be reached" in out) == (2, True)
