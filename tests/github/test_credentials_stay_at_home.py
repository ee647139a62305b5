"""Credentials go to the configured API only, and nothing prints them."""

from __future__ import annotations

import logging
import pickle
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pydantic import SecretStr

from bot.errors import GitHubError, Invalid, NotFound, SettingsError, Unavailable
from bot.github.auth import FixedToken, InstallationToken, PrivateKey, TokenAuth
from bot.github.base import collect
from bot.github.calls import Origin, call
from bot.github.limits import Lane
from tests.github.support import START, TOKEN, Rig, reply, scripted_server

READ = call("GET", "/x")


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


@pytest.fixture(scope="module")
def rsa_pem() -> str:
    return pem(rsa.generate_private_key(public_exponent=65537, key_size=2048))


@pytest.mark.parametrize(
    ("url", "covered"),
    [
        pytest.param("https://api.example/x", True, id="the API"),
        pytest.param("https://API.example:443/x", True, id="the API in capitals with its port"),
        pytest.param("https://graph.example/graphql", True, id="the GraphQL endpoint"),
        pytest.param("http://api.example/x", False, id="without encryption"),
        pytest.param("https://api.example:444/x", False, id="another port"),
        pytest.param("https://api.example.evil/x", False, id="a longer host"),
        pytest.param("https://evil/https://api.example/x", False, id="the API in the path"),
        pytest.param("https://api.example@evil/x", False, id="the API as a user name"),
        pytest.param("https://user@api.example/x", False, id="a user name before the API"),
        pytest.param("https://api.example:port/x", False, id="a port that is no number"),
        pytest.param("//api.example/x", False, id="no scheme"),
        pytest.param("", False, id="nothing"),
    ],
)
def test_the_origin(url: str, covered: bool) -> None:
    assert Origin("https://api.example", "https://graph.example/graphql").covers(url) is covered


async def test_a_redirect_inside_the_api_is_followed_with_the_credential(rig: Rig) -> None:
    rig.server.say(reply(None, 301, Location="/repositories/42/x"), reply({"ok": True}))
    answer = await rig.client.request(READ)
    assert answer.data == {"ok": True}
    assert answer.url == f"{rig.server.url}/repositories/42/x"
    assert rig.server.seen[1].headers["authorization"] == f"Bearer {TOKEN}"


async def test_a_redirect_elsewhere_is_refused(rig: Rig) -> None:
    async with scripted_server() as elsewhere:
        elsewhere.say(reply({"stolen": True}))
        rig.server.say(reply(None, 302, Location=f"{elsewhere.url}/x"))
        with pytest.raises(Invalid, match="outside the API"):
            await rig.client.request(READ)
        assert elsewhere.seen == []


async def test_a_redirected_write_is_not_made(rig: Rig) -> None:
    rig.server.say(reply(None, 307, Location="/repositories/42/x"))
    with pytest.raises(NotFound) as caught:
        await rig.client.request(call("POST", "/x", body={}, lane=Lane.WORDS))
    assert caught.value.status == 307
    assert len(rig.server.seen) == 1


async def test_a_circle_of_redirects_ends(rig: Rig) -> None:
    rig.server.say(reply(None, 301, Location="/x"))
    with pytest.raises(Unavailable, match="too many redirects"):
        await rig.client.request(READ)


async def test_next_links_are_followed_as_they_are(rig: Rig) -> None:
    link = f'<{rig.server.url}/repositories/42/x?page=2&after=Y%3D%3D>; rel="next", <{rig.server.url}/l>; rel="last"'
    rig.server.say(reply([1, 2], Link=link), reply([3]))
    first = await rig.client.request(READ)
    assert await collect(rig.client, first, "/x") == [1, 2, 3]
    assert rig.server.seen[1].path == "/repositories/42/x?page=2&after=Y%3D%3D"


async def test_a_next_link_elsewhere_is_an_error(rig: Rig) -> None:
    async with scripted_server() as elsewhere:
        elsewhere.say(reply(["stolen"]))
        rig.server.say(reply([1], Link=f'<{elsewhere.url}/x?page=2>; rel="next"'))
        first = await rig.client.request(READ)
        with pytest.raises(Invalid, match="outside the API"):
            await collect(rig.client, first, "/x")
        assert elsewhere.seen == []


async def test_a_list_without_end_is_an_error(rig: Rig) -> None:
    rig.server.say(reply([1], Link=f'<{rig.server.url}/x?page=2>; rel="next"'))
    first = await rig.client.request(READ)
    with pytest.raises(Unavailable, match="pages"):
        await collect(rig.client, first, "/x")


async def test_a_call_cannot_be_sent_elsewhere_by_gidgethubs_own_verbs(rig: Rig) -> None:
    rig.server.say(reply({}))
    with pytest.raises(Invalid):
        await rig.client.getitem("https://evil.example/x")
    with pytest.raises(Invalid):
        await rig.client.graphql("query { a }", endpoint="https://evil.example/graphql")
    with pytest.raises(Invalid):
        await rig.client.post("/x", data={}, oauth_token="another")
    assert rig.server.seen == []


@pytest.fixture
def everything_logged() -> Iterator[None]:
    """The log at its most talkative, whatever the rest of the suite wants."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET))
    yield
    structlog.configure(**before)


@pytest.mark.usefixtures("everything_logged")
async def test_no_secret_is_logged_or_raised(
    rig: Rig, rsa_pem: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    said: list[str] = []
    text = "a hostile title with a-secret-query"
    wanted = call("GET", "/x/{name}", {"name": text}, query={"q": text})
    with structlog.testing.capture_logs() as events:
        for answers in (
            [reply({"ok": 1})],
            [reply({"message": "no"}, 403)],
            [reply(None, 502)],
            ["drop"],
            [reply({"message": "slow"}, 429, Retry_After="1")],
        ):
            rig.server.say(*answers)  # type: ignore[arg-type]
            try:
                await rig.client.request(wanted)
            except GitHubError as error:
                said += [repr(error), str(error), "".join(traceback.format_exception(error))]
            rig.clock.forward(minutes=5)
    said += [repr(event) for event in events]
    said += [repr(rig.client), str(vars(rig.client.limits)), repr(FixedToken(SecretStr(TOKEN)))]
    said += [repr(InstallationToken(SecretStr(TOKEN), START, {})), repr(TokenAuth(SecretStr(TOKEN)).app_id)]
    said += [repr(PrivateKey(rsa_pem)), caplog.text, *capsys.readouterr()]
    assert any(event["event"] == "github_request" for event in events)
    everything = "\n".join(said)
    for secret in (TOKEN, "authorization", "Bearer", rsa_pem[40:90], text):
        assert secret not in everything


async def test_an_exception_chain_does_not_carry_the_request(rig: Rig) -> None:
    rig.server.say("drop")
    with pytest.raises(Unavailable) as caught:
        await rig.client.request(READ)
    assert caught.value.__suppress_context__
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("not a key, but confidential", id="some text"),
        pytest.param("-----BEGIN RSA PRIVATE KEY-----\nconfidential\n-----END RSA PRIVATE KEY-----", id="a broken key"),
        pytest.param(pem(ec.generate_private_key(ec.SECP256R1())), id="a key of another kind"),
    ],
)
def test_a_bad_key_is_named_by_its_setting_not_its_content(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        PrivateKey(text)
    assert "TGS_PRIVATE_KEY" in caught.value.what
    shown = "".join(traceback.format_exception(caught.value))
    assert "confidential" not in shown
    assert not text or text[40:80] == "" or text[40:80] not in shown


def test_a_key_on_one_line_is_read(rsa_pem: str) -> None:
    assert repr(PrivateKey(rsa_pem.replace("\n", "\\n"))) == "PrivateKey(**********)"


def test_a_key_file_that_cannot_be_read_names_setting_and_path(tmp_path: Path, rsa_pem: str) -> None:
    with pytest.raises(SettingsError, match=r"TGS_PRIVATE_KEY_PATH names .*absent\.pem"):
        PrivateKey.from_file(tmp_path / "absent.pem")
    (tmp_path / "binary.pem").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="cannot be read"):
        PrivateKey.from_file(tmp_path / "binary.pem")
    (tmp_path / "good.pem").write_text(rsa_pem)
    assert PrivateKey.from_file(tmp_path / "good.pem")


def test_a_key_is_not_pickled(rsa_pem: str) -> None:
    with pytest.raises(TypeError):
        pickle.dumps(PrivateKey(rsa_pem))
