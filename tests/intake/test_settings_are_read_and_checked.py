"""Where settings come from, that everything wrong is told at once, and that secrets never print."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from pydantic import SecretStr, ValidationError
from structlog.testing import capture_logs

from bot.errors import SettingsError
from bot.settings import ClientSettings, Settings, environment_name, load_client_settings, load_settings
from bot.settings_checks import is_loopback

ROOT = Path(__file__).resolve().parents[2]
PEM = "-----BEGIN RSA PRIVATE KEY-----\\nMIIEtop\\n-----END RSA PRIVATE KEY-----"
SECRET = "9f86d081884c7d659a2feaa0"
COMPLETE = {
    "TGS_APP_ID": "12",
    "TGS_PRIVATE_KEY": PEM,
    "TGS_WEBHOOK_SECRET": SECRET,
    "TGS_PUBLIC_URL": "https://tgs.example.org/",
}
LOCAL = COMPLETE | {"TGS_GITHUB_API_URL": "http://127.0.0.1:7777/api/v3"}

Env = Callable[[dict[str, str]], None]


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Env:
    """Replaces everything that settings are read from."""

    def use(values: dict[str, str]) -> None:
        for name in list(os.environ):
            if name.startswith("TGS_") or name in {"DATABASE_URL", "GH_TOKEN"}:
                monkeypatch.delenv(name)
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return use


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def test_the_documented_environment_is_read(env: Env) -> None:
    env(
        COMPLETE
        | {
            "TGS_ALLOWED_ACCOUNTS": "3, 4,",
            "TGS_DISABLED": "true",
            "TGS_WRITE_SPACING_SECONDS": "0.25",
            "TGS_HOST": "0.0.0.0",  # noqa: S104 - the value under test
            "TGS_PORT": "9000",
            "TGS_DATABASE_URL": "postgresql://u:pw@db/tgs",
            "TGS_DATA_DIR": "/data",
            "TGS_OIDC_ISSUER": "https://issuer.example.org",
            "TGS_GITHUB_API_URL": "https://ghe.example.org/api/v3/",
        }
    )
    got = load_settings()
    assert (got.app_id, got.allowed_accounts, got.disabled, got.write_spacing_seconds) == (12, {3, 4}, True, 0.25)
    assert (got.port, got.data_dir, got.oidc_issuer) == (9000, Path("/data"), "https://issuer.example.org")
    assert got.database.get_secret_value() == "postgresql://u:pw@db/tgs"
    assert got.server_url == "https://tgs.example.org"
    assert got.key().get_secret_value().splitlines()[0] == "-----BEGIN RSA PRIVATE KEY-----"


def test_flag_goes_before_environment_before_file_before_default(env: Env, tmp_path: Path) -> None:
    file = write(tmp_path / "my.yaml", "port: 1\nhost: file\nlog_level: error\n")
    env(COMPLETE | {"TGS_PORT": "2", "TGS_HOST": "environment"})
    got = load_settings({"port": 3, "host": None}, file)
    assert (got.port, got.host, got.log_level.value, got.log_format.value) == (3, "environment", "error", "json")


def test_the_file_at_the_usual_place_is_read_without_being_named(env: Env, tmp_path: Path) -> None:
    env(COMPLETE)
    write(tmp_path / "config" / "tgs" / "config.yaml", "port: 4\nserver_url: https://s.example.org\n")
    assert load_settings().port == 4
    assert load_client_settings().server_url == "https://s.example.org"


def test_the_plain_database_url_is_used_unless_ours_is_set(env: Env) -> None:
    env(COMPLETE | {"DATABASE_URL": "postgresql://plain/x"})
    assert load_settings().database.get_secret_value() == "postgresql://plain/x"
    env(COMPLETE | {"DATABASE_URL": "postgresql://plain/x", "TGS_DATABASE_URL": "postgresql://ours/x"})
    assert load_settings().database.get_secret_value() == "postgresql://ours/x"


def test_without_a_database_url_it_is_a_file_in_the_data_folder(env: Env) -> None:
    env(COMPLETE | {"TGS_DATA_DIR": "/somewhere"})
    assert load_settings().database.get_secret_value() == "sqlite:////somewhere/tgs.db"


def test_several_webhook_secrets_are_separated_by_commas(env: Env) -> None:
    env(COMPLETE | {"TGS_WEBHOOK_SECRET": f"{SECRET}, other-long-one"})
    assert [s.get_secret_value() for s in load_settings().webhook_secret] == [SECRET, "other-long-one"]


ADDRESSES = {
    "github.com": ("https://api.github.com", "https://api.github.com/graphql", "https://github.com"),
    "a GitHub server": ("https://g.example/api/v3", "https://g.example/api/graphql", "https://g.example"),
    "a data-residency tenant": ("https://api.acme.ghe.com", "https://api.acme.ghe.com/graphql", "https://acme.ghe.com"),
    "a local trial": ("http://127.0.0.1:7/api/v3", "http://127.0.0.1:7/api/graphql", "http://127.0.0.1:7"),
}


@pytest.mark.parametrize(("api", "graphql", "web"), ADDRESSES.values(), ids=ADDRESSES.keys())
def test_other_addresses_of_github_follow_from_the_api(env: Env, api: str, graphql: str, web: str) -> None:
    env(COMPLETE | {"TGS_GITHUB_API_URL": api})
    got = load_settings()
    assert (got.graphql_url, got.web_url) == (graphql, web)


def test_everything_that_is_missing_is_told_at_once(env: Env) -> None:
    env({})
    with pytest.raises(SettingsError) as caught:
        load_settings()
    for name in COMPLETE:
        assert f"- {name} is missing." in str(caught.value)
    assert "4 settings" in str(caught.value)
    assert "--config" in caught.value.remedy


WRONG = {
    "a port that is a word": ({"TGS_PORT": "http"}, "TGS_PORT"),
    "an App id that is a word": ({"TGS_APP_ID": "my-app"}, "TGS_APP_ID"),
    "an account by its login": ({"TGS_ALLOWED_ACCOUNTS": "octocat"}, "TGS_ALLOWED_ACCOUNTS"),
    "an empty webhook secret": ({"TGS_WEBHOOK_SECRET": ""}, "TGS_WEBHOOK_SECRET is missing"),
    "only a comma as webhook secret": ({"TGS_WEBHOOK_SECRET": ","}, "TGS_WEBHOOK_SECRET is missing"),
    "a negative spacing": ({"TGS_WRITE_SPACING_SECONDS": "-1"}, "TGS_WRITE_SPACING_SECONDS"),
    "an unknown log level": ({"TGS_LOG_LEVEL": "loud"}, "TGS_LOG_LEVEL"),
    "an address without a scheme": ({"TGS_PUBLIC_URL": "tgs.example.org"}, "TGS_PUBLIC_URL"),
    "an address without https": ({"TGS_PUBLIC_URL": "http://tgs.example.org"}, "TGS_PUBLIC_URL must use https"),
    "a password in an address": ({"TGS_GITHUB_API_URL": "https://u:p@g.example"}, "TGS_GITHUB_API_URL"),
    "no public address": ({"TGS_PUBLIC_URL": ""}, "TGS_PUBLIC_URL is missing"),
    "a key that is no PEM": ({"TGS_PRIVATE_KEY": "abc"}, "TGS_PRIVATE_KEY is not PEM"),
    "key and path": ({"TGS_PRIVATE_KEY_PATH": "/k.pem"}, "TGS_PRIVATE_KEY and TGS_PRIVATE_KEY_PATH are both set"),
    "a key file that is not there": (
        {"TGS_PRIVATE_KEY": "", "TGS_PRIVATE_KEY_PATH": "/nowhere/k.pem"},
        "TGS_PRIVATE_KEY_PATH names a file that cannot be read",
    ),
    "an issuer on loopback": ({"TGS_OIDC_ISSUER": "http://127.0.0.1:9"}, "TGS_OIDC_ISSUER is on this machine"),
    "an issuer on localhost": ({"TGS_OIDC_ISSUER": "http://localhost:9"}, "TGS_OIDC_ISSUER is on this machine"),
    "a secret from a guide": ({"TGS_WEBHOOK_SECRET": "changeme"}, "TGS_WEBHOOK_SECRET is a well-known example"),
    "a well-known second secret": ({"TGS_WEBHOOK_SECRET": f"{SECRET},Secret"}, "TGS_WEBHOOK_SECRET is a well-known"),
    "a secret of the local trial": ({"TGS_WEBHOOK_SECRET": "tgs-demo-77"}, "TGS_WEBHOOK_SECRET is a well-known"),
}


@pytest.mark.parametrize(("change", "expected"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_setting_is_named_with_its_remedy(env: Env, change: dict[str, str], expected: str) -> None:
    env(COMPLETE | change)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert str(caught.value).startswith("One setting is missing or wrong:")
    assert expected in str(caught.value)


def test_a_local_trial_may_have_a_local_issuer_and_made_up_secrets(env: Env) -> None:
    env(LOCAL | {"TGS_OIDC_ISSUER": "http://127.0.0.1:9", "TGS_WEBHOOK_SECRET": "tgs-demo-1", "TGS_PUBLIC_URL": ""})
    got = load_settings()
    assert got.oidc_issuer == "http://127.0.0.1:9"
    assert got.server_url == "http://127.0.0.1:8080"


def test_several_wrong_settings_are_told_together(env: Env) -> None:
    env(COMPLETE | {"TGS_PORT": "x", "TGS_OIDC_ISSUER": "http://[::1]:9", "TGS_WEBHOOK_SECRET": "demo"})
    with pytest.raises(SettingsError) as caught:
        load_settings()
    for name in ("TGS_PORT", "TGS_OIDC_ISSUER", "TGS_WEBHOOK_SECRET"):
        assert f"- {name} " in str(caught.value)


def test_the_constructor_refuses_what_loading_refuses(env: Env) -> None:
    env({})
    with pytest.raises(ValidationError, match="TGS_OIDC_ISSUER"):
        Settings(
            app_id=1,
            private_key=SecretStr(PEM),
            webhook_secret=(SecretStr(SECRET),),
            public_url="https://x.example",
            oidc_issuer="http://localhost:1",
        )


def test_the_constructor_reads_no_environment(env: Env) -> None:
    env(COMPLETE)
    with pytest.raises(ValidationError):
        Settings()  # type: ignore[call-arg] # the arguments are left out on purpose


def test_settings_cannot_be_changed(env: Env) -> None:
    env(COMPLETE)
    with pytest.raises(ValidationError):
        load_settings().port = 1


def test_no_secret_is_printed(env: Env) -> None:
    secrets = {"TGS_WEBHOOK_SECRET": "hush-1-" + SECRET, "TGS_DATABASE_URL": "postgresql://u:hush-2@db/x"}
    env(COMPLETE | secrets)
    got = load_settings()
    for text in (repr(got), str(got), got.model_dump_json(), repr(got.key())):
        assert "hush" not in text
        assert "MIIE" not in text


def test_errors_do_not_show_values(env: Env) -> None:
    env({"TGS_APP_ID": "hush", "TGS_PRIVATE_KEY": "hush", "TGS_PORT": "hush", "TGS_PUBLIC_URL": "hush"})
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert "hush" not in str(caught.value)


FILES = {
    "no mapping": ("- port\n", "not a mapping"),
    "broken YAML": ("port: [hush\n", "not YAML at line 2"),
    "bytes that are no text": ("\x00", "not YAML"),
    "a very long file": ("#" * 70_000, "more than"),
}


@pytest.mark.parametrize(("text", "expected"), FILES.values(), ids=FILES.keys())
def test_a_wrong_file_is_explained(env: Env, tmp_path: Path, text: str, expected: str) -> None:
    env(COMPLETE)
    with pytest.raises(SettingsError) as caught:
        load_settings(config=write(tmp_path / "c.yaml", text))
    assert expected in str(caught.value)
    assert "hush" not in str(caught.value)


UNKNOWN = {
    "a misspelt name": ("prot: 1\n", {"prot": "port"}),
    "a name in capitals": ("TGS_APP_ID: 1\n", {"TGS_APP_ID": "app_id"}),
    "a name that is like none": ("zzzzzz: 1\n", {"zzzzzz": None}),
}


@pytest.mark.parametrize(("text", "nearest"), UNKNOWN.values(), ids=UNKNOWN.keys())
def test_an_unknown_name_in_the_file_is_a_warning_with_the_nearest(
    env: Env, tmp_path: Path, text: str, nearest: dict[str, str | None]
) -> None:
    env(COMPLETE)
    with capture_logs() as logs:
        assert load_settings(config=write(tmp_path / "c.yaml", text)).port == 8080
    [entry] = logs
    assert (entry["event"], entry["log_level"]) == ("unknown_setting", "warning")
    assert {entry["name"]: entry["did_you_mean"]} == nearest


def test_a_named_file_must_exist(env: Env, tmp_path: Path) -> None:
    env(COMPLETE)
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings(config=tmp_path / "nowhere.yaml")


def test_a_client_needs_nothing_and_takes_its_tokens_from_the_environment(env: Env) -> None:
    env({})
    assert load_client_settings() == ClientSettings()
    env({"TGS_SERVER_URL": "https://s.example", "TGS_TOKEN": "hush", "GH_TOKEN": "hush-too"})
    got = load_client_settings()
    assert got.server_url == "https://s.example"
    assert got.token is not None
    assert got.gh_token is not None
    assert got.gh_token.get_secret_value() == "hush-too"
    assert "hush" not in repr(got)


def test_the_sample_file_is_the_defaults_and_names_every_setting(env: Env, tmp_path: Path) -> None:
    env(COMPLETE)
    sample = ROOT / "config.sample.yaml"
    given = yaml.safe_load(sample.read_text("utf-8"))
    optional = {name for name, field in Settings.model_fields.items() if not field.is_required()}
    defaults = {name for name in optional if Settings.model_fields[name].default is not None}
    assert set(given) == defaults
    empty = write(tmp_path / "empty.yaml", "")
    assert load_settings(config=sample) == load_settings(config=empty)
    for name in (*Settings.model_fields, *ClientSettings.model_fields):
        assert f"{name}:" in sample.read_text("utf-8")


def test_environment_names_are_the_documented_ones() -> None:
    assert {environment_name(name) for name in (*Settings.model_fields, *ClientSettings.model_fields)} == {
        *("TGS_APP_ID", "TGS_PRIVATE_KEY", "TGS_PRIVATE_KEY_PATH", "TGS_WEBHOOK_SECRET", "TGS_GITHUB_API_URL"),
        *("TGS_GITHUB_GRAPHQL_URL", "TGS_GITHUB_URL", "TGS_OIDC_ISSUER", "TGS_DATABASE_URL", "TGS_DATA_DIR"),
        *("TGS_HOST", "TGS_PORT", "TGS_PUBLIC_URL", "TGS_ALLOWED_ACCOUNTS", "TGS_DISABLED"),
        *("TGS_WRITE_SPACING_SECONDS", "TGS_LOG_FORMAT", "TGS_LOG_LEVEL", "TGS_QUEUE", "TGS_BUDGET_PER_DAY"),
        "TGS_KEEP_HISTORY_DAYS",
        *("TGS_SERVER_URL", "TGS_TOKEN", "GH_TOKEN"),
    }


LOOPBACK = {
    "http://127.0.0.1:8": True,
    "http://127.9.9.9": True,
    "http://[::1]/x": True,
    "http://localhost:8": True,
    "http://a.localhost": True,
    "http://localhost.example.org": False,
    "http://127.0.0.1.example.org": False,
    "https://api.github.com": False,
    "http://10.0.0.1": False,
    "": False,
}


@pytest.mark.parametrize(("url", "expected"), LOOPBACK.items(), ids=LOOPBACK.keys())
def test_loopback_is_told_by_the_address_alone(url: str, expected: bool) -> None:
    assert is_loopback(url) is expected
