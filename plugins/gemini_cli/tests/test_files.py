"""Other programs' files: read in every form, and written without losing any of their data."""

import getpass
import hashlib
import json
import os
import socket
from datetime import UTC, datetime

import pytest
from pydantic import SecretStr

from proxy_core import Credential, Tokens
from proxy_core.testing.credentials import read_foreign
from proxy_plugin_gemini_cli.client import NoClient, installed_client, own_client
from proxy_plugin_gemini_cli.files import (
    FILES,
    read_encrypted,
    read_entry,
    read_gcloud,
    read_plain,
    read_proxy_file,
    write_plain,
)
from proxy_plugin_gemini_cli.settings import GeminiCliSettings

PLAIN = {
    "access_token": "ya29.EXAMPLE",
    "refresh_token": "1//EXAMPLE",
    "scope": "openid",
    "token_type": "Bearer",
    "id_token": "eyJ.eyJlbWFpbCI6ICJkZXZAZXhhbXBsZS5jb20ifQ.sig",
    "expiry_date": 1_790_000_000_000,
}
GCLOUD = {
    "type": "authorized_user",
    "account": "",
    "client_id": "EXAMPLE.apps.googleusercontent.com",
    "client_secret": "EXAMPLE",
    "refresh_token": "1//EXAMPLE",
    "quota_project_id": "my-project-123",
    "universe_domain": "googleapis.com",
}


def dumped(value, **changes):
    return json.dumps({**value, **changes}).encode()


def test_the_plain_file():
    tokens = read_plain(dumped(PLAIN))

    assert tokens.access_token.get_secret_value() == "ya29.EXAMPLE"
    assert tokens.refresh_token.get_secret_value() == "1//EXAMPLE"
    assert tokens.expires_at == datetime.fromtimestamp(1_790_000_000, UTC)
    assert tokens.identity == "dev@example.com"


@pytest.mark.parametrize("expiry", [1_790_000_000, "1790000000000", 1_790_000_000_000])
def test_its_end_in_every_form(expiry):
    assert read_plain(dumped(PLAIN, expiry_date=expiry)).expires_at == datetime.fromtimestamp(1_790_000_000, UTC)


@pytest.mark.parametrize("expiry", [0, None, "soon"])
def test_a_token_without_an_expiry_time_is_refreshed_first(expiry):
    tokens = read_plain(dumped(PLAIN, expiry_date=expiry))

    assert (tokens.access_token.get_secret_value(), tokens.expires_at) == ("", None)


def test_a_byte_order_mark_and_a_lone_refresh_token_are_fine():
    assert read_plain(b"\xef\xbb\xbf" + dumped(PLAIN)).refresh_token is not None
    assert read_plain(b'{"refresh_token": "1//R"}').refresh_token.get_secret_value() == "1//R"


def test_the_nested_form_of_the_encrypted_storage():
    token = {"accessToken": "ya29.A", "refreshToken": "1//R", "expiresAt": 1_790_000_000_000}
    tokens = read_entry(dumped({"serverName": "main-account", "token": token}))

    assert tokens.access_token.get_secret_value() == "ya29.A"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"[]", "not a JSON object"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"{}", "access_token and refresh_token are missing"),
        (b'{"token": {}}', "only be copied"),
        (b'{"type": "service_account"}', "service_account"),
        (b'{"type": "external_account"}', "external_account"),
        (b'{"type": "impersonated_service_account"}', "impersonated_service_account"),
        (b'{"type": "authorized_user", "client_id": "x"}', "gcloud's"),
        (dumped(PLAIN, _proxy_metadata={}), "another proxy"),
        (dumped(PLAIN, resource_url="portal.qwen.ai"), "a Qwen login"),
        (b'{"access_token": "a", "refresh_token": "r", "expiry_date": 1800000000000}', "Google issued"),
    ],
)
def test_an_invalid_login_file_says_what_is_missing(data, words):
    with pytest.raises(ValueError, match=words):
        read_plain(data)


def test_an_empty_entry_says_what_is_missing():
    with pytest.raises(ValueError, match=r"token\.accessToken and token\.refreshToken are missing"):
        read_entry(b'{"token": {}}')


def test_an_incomplete_file_of_gclouds_says_what_is_missing():
    with pytest.raises(ValueError, match="client_secret, refresh_token missing"):
        read_gcloud(b'{"type": "authorized_user", "client_id": "x"}')


@pytest.mark.parametrize(
    "changed", [GCLOUD, {**PLAIN, "_proxy_metadata": {}}, {"resource_url": "x", **PLAIN}, {"access_token": 1}]
)
def test_a_file_that_has_become_another_is_not_written(changed):
    credential = Credential(id="x", provider="p", kind="k", secret=SecretStr("s"), label="")

    with pytest.raises(ValueError):
        write_plain(json.dumps(changed).encode(), credential)


def test_another_proxys_file_says_whose_it_is():
    about = {"email": "other@example.com", "tier": "standard-tier", "project_id": "p-1", "last_check_timestamp": 1.0}
    tokens = read_proxy_file(dumped(PLAIN, _proxy_metadata=about, client_id="x", client_secret="y"))

    assert (tokens.identity, tokens.tier, tokens.details["project_id"]) == ("other@example.com", "standard-tier", "p-1")
    assert tokens.details["client_secret"].get_secret_value() == "y"
    assert read_proxy_file(dumped(PLAIN, _proxy_metadata={})).identity == "dev@example.com"
    with pytest.raises(ValueError, match="_proxy_metadata is missing"):
        read_proxy_file(dumped(PLAIN))


def test_new_tokens_keep_what_is_not_ours():
    credential = Credential(
        id="x",
        provider="gemini_cli",
        kind="google_oauth",
        secret=SecretStr("ya29.NEW"),
        label="x",
        refresh_token=SecretStr("1//NEW"),
        expires_at=datetime.fromtimestamp(1_800_000_000, UTC),
    )
    written = json.loads(write_plain(dumped(PLAIN, mine="kept"), credential))

    assert written == {
        **PLAIN,
        "mine": "kept",
        "access_token": "ya29.NEW",
        "refresh_token": "1//NEW",
        "expiry_date": 1_800_000_000_000,
    }


def test_gclouds_file_is_refreshed_with_its_own_client():
    tokens = read_gcloud(dumped(GCLOUD))

    assert tokens.access_token.get_secret_value() == ""
    assert tokens.identity is None
    assert tokens.details["client_id"] == "EXAMPLE.apps.googleusercontent.com"
    assert tokens.details["client_secret"].get_secret_value() == "EXAMPLE"
    assert tokens.details["quota_project_id"] == "my-project-123"


def encrypted(plain, *, host=None, iv_length=12):
    ciphers = pytest.importorskip("cryptography.hazmat.primitives.ciphers.aead")
    salt = f"{host or socket.gethostname()}-{getpass.getuser()}-gemini-cli".encode()
    key = hashlib.scrypt(b"gemini-cli-oauth", salt=salt, n=16384, r=8, p=1, dklen=32, maxmem=2**26)
    iv = os.urandom(iv_length)
    sealed = ciphers.AESGCM(key).encrypt(iv, plain, None)
    return b":".join(part.hex().encode() for part in (iv, sealed[-16:], sealed[:-16]))


@pytest.mark.parametrize("iv_length", [12, 16])
def test_the_encrypted_file(iv_length):
    token = {"accessToken": "ya29.A", "refreshToken": "1//R", "expiresAt": 1_790_000_000_000}
    inner = json.dumps({"serverName": "main-account", "token": token, "updatedAt": 1})
    plain = json.dumps({"gemini-cli-oauth": {"main-account": inner}}).encode()

    assert read_encrypted(encrypted(plain, iv_length=iv_length)).refresh_token.get_secret_value() == "1//R"


def test_an_encrypted_file_from_elsewhere_says_so():
    with pytest.raises(ValueError, match="another host"):
        read_encrypted(encrypted(b"{}", host="elsewhere"))
    with pytest.raises(ValueError, match="main-account is missing"):
        read_encrypted(encrypted(b"{}"))


@pytest.mark.parametrize("data", [b"", b"{}", b"aa:bb", b"zz:zz:zz", b"aa:bb:cc"])
def test_what_is_not_encrypted_is_refused(data):
    with pytest.raises(ValueError, match=r"not encrypted as|length"):
        read_encrypted(data)


# --- In the vault ------------------------------------------------------------------------


@pytest.mark.parametrize("accounts", ['{"active": "beside@example.com", "old": []}', '{"active": null}', "{", None])
def test_the_account_of_a_login_may_be_in_a_neighbouring_file(tmp_path, vault, accounts):
    file = tmp_path / "oauth_creds.json"
    file.write_bytes(dumped(PLAIN, id_token=None))
    if accounts is not None:
        (tmp_path / "google_accounts.json").write_text(accounts)

    stored = vault.import_tokens("gemini_cli", "google_oauth", read_foreign(file, FILES[0]), "copied")

    assert stored.identity == ("beside@example.com" if accounts and "beside" in accounts else None)


def test_a_shared_file_gets_new_tokens_and_keeps_the_rest(tmp_path, vault):
    file = tmp_path / "oauth_creds.json"
    file.write_bytes(dumped(PLAIN, mine="kept"))
    stored = vault.import_link("gemini_cli", "google_oauth", file, FILES[0])
    tokens = Tokens(access_token=SecretStr("ya29.NEW"), tier="standard-tier", details={"project_id": "p"})
    saved = vault.save_tokens(stored, tokens, stored.refresh_token)

    assert json.loads(file.read_bytes())["access_token"] == "ya29.NEW"
    assert json.loads(file.read_bytes())["mine"] == "kept"
    assert (saved.details["project_id"], saved.tier) == ("p", "standard-tier")
    assert vault.read(saved).details["project_id"] == "p"


def test_the_same_account_twice_has_one_identity(tmp_path, vault):
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(dumped(PLAIN))
        vault.import_tokens("gemini_cli", "google_oauth", read_foreign(tmp_path / name, FILES[0]), "copied")

    assert [stored.identity for stored in vault.all("gemini_cli")] == ["dev@example.com"] * 2


# --- The OAuth client of the installed CLI -----------------------------------------------

CLIENT_ID = "123456789012-" + "a1" * 16 + ".apps.googleusercontent" + ".com"
CLIENT_SECRET = "GOCSPX" + "-" + "x" * 28


@pytest.mark.parametrize(
    "place",
    [
        "@google/gemini-cli-core/dist/src/code_assist/oauth2.js",
        "@google/gemini-cli/node_modules/@google/gemini-cli-core/dist/src/code_assist/oauth2.js",
        "@google/gemini-cli/bundle/gemini.js",
        "@google/gemini-cli/dist/index.js",
    ],
)
def test_the_installed_clients_own_client_is_found(tmp_path, place):
    file = tmp_path / place
    file.parent.mkdir(parents=True)
    file.write_text(f"var OAUTH_CLIENT_ID = '{CLIENT_ID}';\nvar OAUTH_CLIENT_SECRET = \"{CLIENT_SECRET}\";")

    client_id, secret = installed_client([tmp_path])

    assert (client_id, secret.get_secret_value()) == (CLIENT_ID, CLIENT_SECRET)
    assert own_client(GeminiCliSettings(), [tmp_path]).client_id == CLIENT_ID


def test_without_any_client_the_message_says_how_to_get_one(tmp_path):
    with pytest.raises(NoClient, match="GEMINI_CLI_CLIENT_ID"):
        own_client(GeminiCliSettings(), [tmp_path])
    with pytest.raises(NoClient):
        own_client(GeminiCliSettings(installed_cli=False))


def test_settings_own_client_wins(tmp_path):
    settings = GeminiCliSettings(client_id="mine", client_secret=SecretStr("s"))

    assert own_client(settings, [tmp_path]).client_id == "mine"
