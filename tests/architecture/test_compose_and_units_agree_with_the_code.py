"""The compose file and the units of systemd say what the code says, and give nobody a secret that is not theirs."""

from __future__ import annotations

import re
import subprocess
import sys
from configparser import RawConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from bot.cli.machine import FROM_ENVIRONMENT, FROM_FILE
from bot.cli.main import app
from bot.settings import BARE_NAMES, Settings, environment_name
from tests.docs.command_line import unknown_command

ROOT = Path(__file__).resolve().parents[2]
COMPOSE_FILE = ROOT / "docker-compose.yml"
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_FILE.read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
UNITS = sorted((ROOT / "examples" / "systemd").glob("*.service"))
SERVER_SETTINGS = {environment_name(field) for field in Settings.model_fields} | set(BARE_NAMES.values())
SECRET = re.compile(r"PASSWORD|TOKEN|SECRET|KEY|DATABASE_URL")
EMPTY_BY_DEFAULT = re.compile(r"\$\{[A-Z_]+:-\}")


def worker_run() -> Any:
    found: Any = get_command(app)
    for name in ("worker", "run"):
        found = found.commands[name]
    return found


WORKER_SETTINGS = {param.envvar for param in worker_run().params if param.envvar} | {FROM_FILE, FROM_ENVIRONMENT}
GRACE = next(param.default for param in worker_run().params if param.name == "grace")


def test_the_compose_file_satisfies_the_specification() -> None:
    tool = Path(sys.executable).parent / "check-jsonschema"
    command = [tool, "--builtin-schema", "vendor.compose-spec", COMPOSE_FILE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", SERVICES)
def test_no_secret_has_a_value_in_the_compose_file_outside_the_profile_for_trying_out(name: str) -> None:
    service = SERVICES[name]
    given = {
        key: value
        for key, value in service.get("environment", {}).items()
        if SECRET.search(key) and not EMPTY_BY_DEFAULT.fullmatch(value) and not value.startswith("/run/secrets/")
    }
    assert given == ({"POSTGRES_PASSWORD": "dev"} if service.get("profiles") == ["dev"] else {})


def test_only_the_server_starts_without_a_profile_and_only_this_machine_reaches_it() -> None:
    assert [name for name, service in SERVICES.items() if not service.get("profiles")] == ["server"]
    ports = {port for service in SERVICES.values() for port in service.get("ports", [])}
    assert ports == {"127.0.0.1:${TGS_PORT:-8080}:8080"}


def test_the_settings_in_the_compose_file_exist() -> None:
    assert set(SERVICES["server"]["environment"]) <= SERVER_SETTINGS
    assert set(SERVICES["worker"]["environment"]) <= WORKER_SETTINGS | {"TGS_SERVER_URL"}


def test_a_worker_holds_no_secret_of_the_server_and_the_server_none_of_a_worker() -> None:
    sources = {name: {secret["source"] for secret in SERVICES[name]["secrets"]} for name in ("server", "worker")}
    assert sources == {"server": {"app-private-key"}, "worker": {"worker-token"}}
    assert not {"DATABASE_URL", "TGS_WEBHOOK_SECRET", "TGS_APP_ID"} & set(SERVICES["worker"]["environment"])
    assert "data" not in str(SERVICES["worker"]["volumes"])


def test_a_worker_can_be_scaled_because_nothing_of_it_is_named_or_shared() -> None:
    worker = SERVICES["worker"]
    assert not {"container_name", "hostname", "ports", "network_mode"} & set(worker)
    assert "TGS_WORKER_NAME" not in worker["environment"], "the container's id is its name"
    assert all(":" not in volume for volume in worker["volumes"])
    assert worker["build"]["target"] == "worker"
    assert "AS worker" in (ROOT / "Dockerfile").read_text("utf-8")


def test_a_worker_has_time_to_hand_back_before_it_is_killed() -> None:
    assert int(SERVICES["worker"]["stop_grace_period"].removesuffix("s")) > GRACE
    unit = read("tgs-worker@.service")
    grace = float(re.search(r"--grace (\d+)", unit["ExecStart"])[1])  # type: ignore[index]
    assert int(unit["TimeoutStopSec"]) > grace


def read(name: str) -> dict[str, str]:
    """The [Service] part of a unit; what stands twice is joined."""
    parser = RawConfigParser(strict=True, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(ROOT / "examples" / "systemd" / name)
    return dict(parser["Service"])


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_a_unit_starts_a_command_that_exists_with_settings_that_exist(unit: Path) -> None:
    service = read(unit.name)
    program, _, rest = service["ExecStart"].partition(" ")
    assert program == "/opt/tgs/bin/tgs"
    assert unknown_command(f"tgs {rest}") is None
    names = {part.partition("=")[0] for part in service["Environment"].split()}
    assert names <= SERVER_SETTINGS | WORKER_SETTINGS
    credential = service["LoadCredential"].partition(":")[0]
    assert f"%d/{credential}" in service["Environment"], "the secret is a credential and reaches no environment"


def test_container_and_unit_let_the_worker_do_the_same() -> None:
    unit = {name.removeprefix("CAP_") for name in read("tgs-worker@.service")["CapabilityBoundingSet"].split()}
    assert unit == set(SERVICES["worker"]["cap_add"])
    assert SERVICES["worker"]["cap_drop"] == ["ALL"]
