"""The manifest, the image, the deployment and the pipeline say what the code says. They are read, not run."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from bot.settings import Settings, environment_name
from handlers import ALWAYS_DELIVERED, REGISTRY

ROOT = Path(__file__).resolve().parents[2]
MANIFEST: dict[str, Any] = yaml.safe_load((ROOT / "app.yml").read_text("utf-8"))
FLY: dict[str, Any] = tomllib.loads((ROOT / "fly.toml").read_text("utf-8"))
DOCKER = (ROOT / "Dockerfile").read_text("utf-8")
PIPELINE = ROOT / ".github" / "workflows" / "ci.yml"


# --- the manifest


def test_the_app_subscribes_to_exactly_the_events_it_handles() -> None:
    assert MANIFEST["default_events"] == sorted(set(REGISTRY) - ALWAYS_DELIVERED)


def test_the_app_asks_for_the_least_permissions() -> None:
    assert MANIFEST["default_permissions"] == {
        "issues": "write",
        "actions": "write",
        "contents": "write",
        "pull_requests": "write",
        "checks": "write",
        "statuses": "read",
        "metadata": "read",
    }


NEEDS = {
    "issues": {"issues", "issue_comment"},
    "checks": {"check_run", "check_suite"},
    "pull_requests": {"pull_request", "pull_request_review"},
    "contents": {"push"},
    "statuses": {"status"},
    "actions": {"workflow_run", "workflow_job"},
    "metadata": {"label", "repository"},
}


def test_each_event_may_be_subscribed_with_these_permissions() -> None:
    allowed = set().union(*(events for name, events in NEEDS.items() if name in MANIFEST["default_permissions"]))
    assert set(MANIFEST["default_events"]) <= allowed


def test_the_app_is_private_until_somebody_decides_otherwise() -> None:
    assert MANIFEST["public"] is False


# --- the image


def stages() -> list[str]:
    return re.split(r"(?m)^(?=FROM )", DOCKER)[1:]


def test_the_image_has_a_build_stage_and_a_stage_that_only_runs() -> None:
    build, *run = stages()
    assert "--require-hashes --requirement requirements/runtime.lock" in build
    assert "pip wheel --no-deps" in build
    assert len(run) == 2
    for stage in run:
        assert "pip install" not in stage
        assert "COPY --from=build" in stage


def test_the_servers_image_does_not_run_as_root() -> None:
    server = stages()[-1]
    user = re.findall(r"(?m)^USER (\S+)$", server)
    assert user == ["10001:10001"]
    assert server.index("USER 10001") < server.index('CMD ["tgs"')


def test_the_image_is_checked_by_the_health_of_its_process() -> None:
    check = re.search(r"(?s)HEALTHCHECK .*?CMD (\[.*?\])\n", DOCKER)
    assert check is not None
    assert "/healthz" in check[1]
    assert "/readyz" not in DOCKER


def test_the_image_sets_only_known_settings_and_no_secret() -> None:
    names = set(re.findall(r"\b(TGS_[A-Z_]+)=", stages()[-1]))
    assert names <= {environment_name(field) for field in Settings.model_fields}
    assert not names & {"TGS_PRIVATE_KEY", "TGS_WEBHOOK_SECRET", "TGS_DATABASE_URL"}


def test_what_the_image_copies_is_not_ignored() -> None:
    ignore = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert ignore[1] == "*"
    kept = {line[1:] for line in ignore if line.startswith("!")}
    copied = [line.split()[1:-1] for line in stages()[0].splitlines() if line.startswith("COPY ")]
    assert {name for names in copied for name in names} == kept
    for name in kept:
        assert (ROOT / name).exists()


# --- the deployment


def test_one_machine_with_a_volume_is_stopped_before_its_successor_starts() -> None:
    assert FLY["deploy"]["strategy"] == "immediate"
    assert FLY["mounts"] == [{"source": "tgs_data", "destination": "/data", "snapshot_retention": 14}]
    assert FLY["env"]["TGS_DATA_DIR"] == FLY["mounts"][0]["destination"]
    service = FLY["http_service"]
    assert (service["auto_stop_machines"], service["min_machines_running"]) == ("off", 1)
    assert service["internal_port"] == int(FLY["env"]["TGS_PORT"])


def test_only_the_health_of_the_process_decides_whether_deliveries_are_routed() -> None:
    assert [check["path"] for check in FLY["http_service"]["checks"]] == ["/healthz"]
    assert FLY["checks"]["ready"]["path"] == "/readyz"


def test_the_server_has_time_to_end() -> None:
    assert FLY["kill_signal"] == "SIGTERM"
    assert int(FLY["kill_timeout"].removesuffix("s")) >= 30


def test_the_deployment_sets_only_known_settings_and_no_secret() -> None:
    assert set(FLY["env"]) <= {environment_name(field) for field in Settings.model_fields}
    assert not {"TGS_PRIVATE_KEY", "TGS_WEBHOOK_SECRET", "TGS_DATABASE_URL"} & set(FLY["env"])


# --- the pipeline


def test_the_pipeline_is_a_valid_workflow() -> None:
    command = ["check-jsonschema", "--builtin-schema", "vendor.github-workflows", str(PIPELINE)]
    done = subprocess.run([_tool(command[0]), *command[1:]], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_pipeline_has_no_findings_of_a_security_lint() -> None:
    command = [_tool("zizmor"), "--offline", "--no-progress", str(PIPELINE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_pipeline_runs_the_two_commands_with_the_least_rights() -> None:
    workflow = yaml.safe_load(PIPELINE.read_text("utf-8"))
    (job,) = workflow["jobs"].values()
    assert workflow["permissions"] == {}
    assert job["permissions"] == {"contents": "read"}
    assert job["strategy"]["matrix"]["target"] == ["test", "test-agent", "lint"]
    for step in job["steps"]:
        assert "uses" not in step or re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", step["uses"])
    assert "secrets." not in PIPELINE.read_text("utf-8")


@pytest.mark.parametrize("target", ["test", "test-agent", "lint"])
def test_make_knows_what_the_pipeline_runs(target: str) -> None:
    assert re.search(rf"(?m)^{target}:", (ROOT / "Makefile").read_text("utf-8"))


def test_the_licence_is_the_one_that_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    text = (ROOT / "LICENSE").read_text("utf-8")
    assert project["license"] == "MIT"
    assert text.startswith("MIT License\n\nCopyright (c) 2026 TGS bot contributors\n")


def _tool(name: str) -> str:
    """A tool of the environment that runs the tests."""
    return str(Path(sys.executable).parent / name)
