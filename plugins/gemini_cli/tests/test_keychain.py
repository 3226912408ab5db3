"""The Gemini CLI's login from the system's keychain, and from folders set by a variable, with the real program."""

import json

import pytest

from proxy_core.testing import run

pytest.importorskip("keyring")

#: A keychain that works anywhere: entries are what a file says.
KEYCHAIN = """
import json
from pathlib import Path

from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked


class Keychain(KeyringBackend):
    priority = 1

    def get_password(self, service, username):
        entries = json.loads(Path(__file__).with_name("entries.json").read_text())
        if entries is None:
            raise KeyringLocked("/home/dev: locked")
        return entries.get(f"{service} {username}")

    def set_password(self, service, username, password):
        raise NotImplementedError

    def delete_password(self, service, username):
        raise NotImplementedError
"""
LOOKS = ("credentials", "import", "gemini_cli", "--format", "keychain")


@pytest.fixture
def site(tmp_path):
    made = tmp_path / "site"
    made.mkdir()
    (made / "file_keychain.py").write_text(KEYCHAIN)
    return made


@pytest.fixture
def keychain(site, google):
    """Sets the contents of the system's keychain; returns the variables for a program that uses it."""

    def hold(entries):
        (site / "entries.json").write_text(json.dumps(entries))
        return {"PYTHONPATH": str(site), "PYTHON_KEYRING_BACKEND": "file_keychain.Keychain"}

    return hold


@pytest.fixture
def entry(google):
    tokens = google.issue("dev@example.com")
    token = {
        "accessToken": tokens.access_token.get_secret_value(),
        "refreshToken": tokens.refresh_token.get_secret_value(),
        "tokenType": "Bearer",
        "expiresAt": int(tokens.expires_at.timestamp() * 1000),
    }
    told = {"serverName": "main-account", "token": token, "updatedAt": 1}
    return {"gemini-cli-oauth main-account": json.dumps(told)}


@pytest.mark.parametrize("arguments", [LOOKS, LOOKS[:3]], ids=["named", "where no file is"])
async def test_the_keychains_login_is_copied(tmp_path, keychain, entry, google, arguments):
    (tmp_path / ".gemini").mkdir()
    (tmp_path / ".gemini" / "google_accounts.json").write_text('{"active": "dev@example.com"}')
    variables = keychain(entry)
    code, output = await run(tmp_path, *arguments, **variables)
    again, told = await run(tmp_path, *LOOKS, **variables)
    _, listed = await run(tmp_path, "credentials", "list", "--json", **variables)

    assert (code, again) == (0, 0), output + told
    assert "dev@example.com was copied from keychain" in output and "two programs" in output
    assert "now has the tokens from keychain" in told
    (found,) = (one for one in json.loads(listed) if one["provider"] == "gemini_cli")
    assert (found["identity"], found["kind"], found["source"]) == ("dev@example.com", "google_oauth", "file")
    secrets = [google.families[0].current, *google._access]
    assert not any(secret in output + told + listed for secret in secrets)


async def test_a_keychain_cannot_be_shared(tmp_path, keychain, entry):
    code, output = await run(tmp_path, *LOOKS, "--link", **keychain(entry))

    assert code == 2 and "keychain can only be copied" in output


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({}, "it has no entry 'gemini-cli-oauth' for 'main-account'"),
        (None, "it cannot be read (KeyringLocked)"),
        ({"gemini-cli-oauth main-account": "{"}, "it is not JSON"),
        ({"gemini-cli-oauth main-account": '{"token": {}}'}, "token.accessToken and token.refreshToken are missing"),
    ],
)
async def test_a_keychain_without_a_login_says_so(tmp_path, keychain, entries, words):
    code, output = await run(tmp_path, *LOOKS, **keychain(entries))

    assert code == 1 and f"nothing to import; keychain: {words}" in output
    assert "Traceback" not in output


async def test_a_system_without_a_keychain_says_so(tmp_path):
    backend = {"PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"}
    code, output = await run(tmp_path, *LOOKS[:3], **backend)

    assert code == 1 and "oauth_creds.json" in output
    assert "keychain: this system has no usable keychain" in output


async def test_without_the_library_the_message_names_it(tmp_path, site):
    (site / "keyring.py").write_text("raise ImportError('not installed')")
    code, output = await run(tmp_path, *LOOKS, PYTHONPATH=str(site))

    assert code == 1 and "proxy-plugin-gemini-cli[keychain]" in output


@pytest.mark.parametrize(
    ("variable", "file", "login"),
    [
        ("GEMINI_CLI_HOME", ".gemini/oauth_creds.json", {"refresh_token": "1//R"}),
        (
            "CLOUDSDK_CONFIG",
            "application_default_credentials.json",
            {"type": "authorized_user", "client_id": "x", "client_secret": "y", "refresh_token": "1//R"},
        ),
    ],
)
async def test_a_variable_that_moves_the_programs_folder_is_followed(tmp_path, variable, file, login):
    moved = tmp_path / "moved" / file
    moved.parent.mkdir(parents=True)
    moved.write_text(json.dumps(login))
    code, output = await run(tmp_path, "credentials", "import", "gemini_cli", **{variable: str(tmp_path / "moved")})

    assert code == 0 and str(moved) in output, output
