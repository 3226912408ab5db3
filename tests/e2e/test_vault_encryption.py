"""The vault at rest, encrypted: a copy of the data folder is of no use without the key."""

import shutil
from datetime import UTC, datetime
from functools import partial

import httpx
import pytest
from click.testing import CliRunner
from pydantic import SecretStr

from proxy_core import HttpResponse, SettingsError
from proxy_core.cli.api import StoredCredential, Vault, VaultProblem
from proxy_core.credentials.encryption import Encryption, encryption_of
from proxy_core.credentials.environment import from_environment
from proxy_core.settings.schema import CredentialsSettings
from proxy_core.testing import program as programs
from proxy_core.testing.program import serving
from proxy_plugin_accounts.encryption import vault_key_command


async def run(home, *arguments, stdin="", **variables):
    """With the settings file named: no key is stored for an address in one that is merely found there."""
    file = home / "proxy-core.toml"
    named = {"PROXY_CONFIG": str(file)} if file.exists() else {}
    return await programs.run(home, *arguments, stdin=stdin, **{**named, **variables})


pytest.importorskip("cryptography")
SECRETS = (b"sk-stored-key", b"at-stored-login", b"rt-stored-login")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def keys():
    from cryptography.fernet import Fernet

    return [SecretStr(Fernet.generate_key().decode()) for _ in range(2)]


def login(name="home", token="rt-stored-login"):
    return StoredCredential(
        provider="example",
        name=name,
        kind="example_oauth",
        access_token=SecretStr("at-stored-login"),
        refresh_token=SecretStr(token),
        expires_at=NOW,
    )


def given():
    variables = {"EXAMPLE_1_REFRESH_TOKEN": "rt-stored-login"}
    return from_environment("EXAMPLE", variables, provider="example", kind="example_oauth")


def commands(home):
    """Runs a command with the settings file in ``home``, named: one that is only found may send no stored key away."""
    return partial(run, home, PROXY_CONFIG=str(home / "proxy-core.toml"))


def bytes_below(folder):
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


def spoiled(folder):
    data = bytes_below(folder)
    return [secret for secret in SECRETS if secret in data]


async def test_a_copied_data_folder_is_useless_without_the_key(tmp_path, upstream, keys):
    home, key_file = tmp_path / "home", tmp_path / "keys" / "vault.key"
    home.mkdir()
    (home / "proxy-core.toml").write_text(
        f'[credentials]\nvault_keys_file = "{key_file}"\n[clients.me]\nkey = "a-long-client-key"\n'
        f'[providers.demo]\nbase_url = "{upstream.url}"\nmodels = ["small"]\n'
        "[records]\nenabled = true\nchunks = true\n"
    )
    named = {"PROXY_CONFIG": str(home / "proxy-core.toml"), "PROXY_DATA_DIR": str(home / "data")}
    made = await run(home, "credentials", "vault-key", str(key_file), **named)
    added = await run(home, "credentials", "add", "demo", stdin="sk-stored-key\n", **named)
    async with serving(home, **named) as program:
        listed = await run(home, "credentials", "list", **named)
        assert "demo" in program.output
        echo = {"error": {"message": "sk-stored-key is limited", "code": "sk-stored-key"}}
        upstream.for_key("sk-stored-key").responds(429, echo, headers={"retry-after": "60"})
        body = {"model": "demo/small", "messages": [{"role": "user", "content": "hi"}]}
        headers = {"authorization": "Bearer a-long-client-key"}
        async with httpx.AsyncClient() as http:
            answered = await http.post(f"{program.url}/v1/chat/completions", json=body, headers=headers)
    assert answered.status_code == 429
    assert (home / "data" / "state.db").is_file(), "it has the cooldown"
    assert any(file.suffix == ".jsonl" for file in (home / "data").rglob("*")), "it has the request"
    copy = tmp_path / "copy"
    shutil.copytree(home / "data", copy, ignore=shutil.ignore_patterns("*.sock"))
    elsewhere = named | {"PROXY_DATA_DIR": str(copy)}
    key_file.unlink()
    other = await run(home, "credentials", "vault-key", str(key_file), **named)
    key_file.write_text(f"{keys[0].get_secret_value()}\n")
    refused = await run(home, "serve", "--port", "0", **elsewhere)
    checked = await run(home, "config", "check", **elsewhere)
    shown = await run(home, "credentials", "list", **elsewhere)
    advised = await run(home, "doctor", **elsewhere)
    written = await run(home, "credentials", "encrypt", **elsewhere)

    assert [made[0], added[0], listed[0], other[0]] == [0, 0, 0, 1], (made, added, other)
    assert "encrypted with a key" in other[1], "a new key would hide that the old one is needed"
    assert "1" in listed[1]
    assert "ok" in listed[1]
    assert spoiled(copy) == []
    assert refused[0] == 2
    assert "encrypted with a key that credentials.vault_keys does not have" in refused[1]
    assert (checked[0], advised[0], written[0]) == (1, 1, 1)
    assert "locked: it is damaged, or encrypted with a key" in shown[1]
    assert "add its key to credentials.vault_keys" in advised[1]
    assert "delete" not in advised[1]
    assert (copy / "credentials/demo/1.json").read_bytes() == (home / "data/credentials/demo/1.json").read_bytes()


async def test_what_was_there_before_is_encrypted_on_demand_and_keys_are_replaced(tmp_path, upstream):
    home, command = tmp_path, commands(tmp_path)
    settings = f'[clients.me]\nkey = "a-long-client-key"\n[providers.demo]\nbase_url = "{upstream.url}"\n'
    (home / "proxy-core.toml").write_text(settings)
    await command("credentials", "add", "demo", stdin="sk-stored-key\n")
    folder = home / "data" / "proxy-core" / "credentials"
    assert spoiled(folder) == [b"sk-stored-key"]
    (home / "proxy-core.toml").write_text(f'{settings}[credentials]\nvault_keys_file = "vault.key"\n')

    await command("credentials", "vault-key", "vault.key")
    listed = await command("credentials", "list")
    first = await command("credentials", "encrypt")
    after = spoiled(folder)
    key = (home / "vault.key").read_text()
    await command("credentials", "vault-key", "vault.key")
    keys = (home / "vault.key").read_text().split()
    still = await command("credentials", "list")
    second = await command("credentials", "encrypt")
    await command("credentials", "vault-key", "vault.key", "--drop-old")
    last = await command("credentials", "list")
    undone = await command("credentials", "encrypt", "--undo")

    assert first == second == (0, "1 credential is encrypted\n")
    assert "damaged" not in listed[1] + still[1] + last[1]
    assert after == []
    assert keys[1:] == [key.strip()]
    assert (home / "vault.key").read_text().split() == keys[:1]
    assert (home / "vault.key").stat().st_mode & 0o777 == 0o600
    assert undone == (0, "1 credential is decrypted\n")
    assert spoiled(folder) == [b"sk-stored-key"]


async def test_no_key_is_dropped_that_something_still_needs(tmp_path, upstream):
    home, command = tmp_path, commands(tmp_path)
    settings = f'[clients.me]\nkey = "a-long-client-key"\n[providers.demo]\nbase_url = "{upstream.url}"\n'
    with_key = f'{settings}[credentials]\nvault_keys_file = "vault.key"\n'
    (home / "proxy-core.toml").write_text(with_key)
    await command("credentials", "vault-key", "vault.key")
    await command("credentials", "add", "demo", stdin="sk-stored-key\n")
    await command("credentials", "vault-key", "vault.key")
    keys = (home / "vault.key").read_text()

    (home / "proxy-core.toml").write_text(settings)
    elsewhere = await command("credentials", "vault-key", "vault.key", "--drop-old")
    kept = (home / "vault.key").read_text()
    (home / "proxy-core.toml").write_text(with_key)
    dropped = await command("credentials", "vault-key", "vault.key", "--drop-old")
    listed = await command("credentials", "list")

    assert elsewhere[0] == 1
    assert "no key is dropped: the settings do not encrypt with the newest key" in elsewhere[1]
    assert kept == keys
    assert dropped[0] == 0
    assert (home / "vault.key").read_text().split() == keys.split()[:1]
    assert "demo" in listed[1]
    assert "locked" not in listed[1]

    folder = home / "data" / "proxy-core" / "credentials"
    (folder / "demo" / ".1.json.journal").touch()
    undone = await command("credentials", "encrypt", "--undo")

    assert undone == (1, "Error: nothing was changed: a refresh was interrupted; start the proxy once, which ends it\n")
    assert spoiled(folder) == []


def test_logins_their_journals_and_those_of_variables_are_encrypted(tmp_path, keys):
    vault = Vault(tmp_path, encryption=Encryption(keys[:1]))
    stored = vault.add(login())
    journal = vault.journal(stored)
    assert journal is not None
    journal.begin(stored.refresh_token, NOW)
    journal.write_answer(HttpResponse(200, {}, b'{"access_token": "at-stored-login"}'), NOW)
    journal.close()
    vault.adopt(
        from_environment(
            "EXAMPLE", {"EXAMPLE_1_REFRESH_TOKEN": "rt-stored-login"}, provider="example", kind="example_oauth"
        )
    )

    assert spoiled(tmp_path) == []
    entry = vault.journal(stored).read()
    assert entry is not None
    assert entry.answer.body == b'{"access_token": "at-stored-login"}'
    assert vault.all("example") == [stored]


def test_nothing_is_overwritten_without_the_right_key(tmp_path, keys):
    stored = Vault(tmp_path, encryption=Encryption(keys[:1])).add(login())
    Vault(tmp_path, encryption=Encryption(keys[:1])).adopt(given())
    journal = Vault(tmp_path, encryption=Encryption(keys[:1])).journal(stored)
    journal.begin(stored.refresh_token, NOW)
    journal.write_answer(HttpResponse(200, {}, b'{"access_token": "at-stored-login"}'), NOW)
    journal.close()
    before = bytes_below(tmp_path)

    for others in ((), keys[1:]):
        vault = Vault(tmp_path, encryption=Encryption(others))
        contents = vault.load("example")
        assert contents.credentials == []
        assert "encrypted" in str(contents.problems[0])
        for change in (
            lambda vault=vault: vault.set_disabled(stored, True),
            lambda vault=vault: vault.login(stored, stored),
            lambda vault=vault: vault.encrypt(),
            lambda vault=vault: vault.journal(stored).read(),
        ):
            with pytest.raises(VaultProblem, match="encrypted"):
                change()
        assert vault.adopt(given())[0].path is None, "kept in memory only"
        assert bytes_below(tmp_path) == before


def test_a_text_that_is_no_key_is_an_error_without_the_text():
    with pytest.raises(SettingsError) as raised:
        Encryption([SecretStr("not-a-key")])

    [line] = raised.value.problems
    assert "vault-key" in line
    assert "not-a-key" not in line


@pytest.fixture
def keyring():
    """A keyring of our own in place of the operating system's."""
    library = pytest.importorskip("keyring")

    class Kept(library.backend.KeyringBackend):
        priority = 1

        def __init__(self):
            super().__init__()
            self.passwords = {}

        def get_password(self, service, username):
            return self.passwords.get((service, username))

        def set_password(self, service, username, password):
            self.passwords[service, username] = password

    usual = library.get_keyring()
    library.set_keyring(Kept())
    yield library.get_keyring()
    library.set_keyring(usual)


def test_the_systems_keyring_can_keep_the_keys(tmp_path, keyring):
    settings = CredentialsSettings(vault_keyring=True)
    with pytest.raises(SettingsError, match="the keyring has no key"):
        encryption_of(settings)

    first = CliRunner().invoke(vault_key_command, ["--keyring"])
    stored = Vault(tmp_path, encryption=encryption_of(settings)).add(login())
    second = CliRunner().invoke(vault_key_command, ["--keyring"])

    assert (first.exit_code, second.exit_code) == (0, 0)
    assert spoiled(tmp_path) == []
    assert Vault(tmp_path, encryption=encryption_of(settings)).all("example") == [stored]
    assert len(keyring.get_password("proxy-core", "vault key").split()) == 2


def test_a_keyring_that_cannot_be_used_is_an_error():
    library = pytest.importorskip("keyring")
    usual = library.get_keyring()
    library.set_keyring(library.backends.fail.Keyring())
    try:
        with pytest.raises(SettingsError, match="the keyring cannot be used"):
            encryption_of(CredentialsSettings(vault_keyring=True))
    finally:
        library.set_keyring(usual)


async def test_a_key_in_the_data_folder_is_warned_about(home):
    data = home / "data" / "proxy-core"
    inside = await run(home, "credentials", "vault-key", str(data / "vault.key"))
    outside = await run(home, "credentials", "vault-key", "vault.key")

    assert (inside[0], outside[0]) == (0, 0)
    assert f"is in the data folder: a copy of {data} contains the key, too" in inside[1]
    assert "WARNING" not in outside[1]


async def test_nothing_is_stored_beside_files_of_another_key(home, upstream):
    """With the other key back the proxy could not start, and with this one it could not either."""
    command = commands(home)
    settings = f'[clients.me]\nkey = "a-long-client-key"\n[providers.demo]\nbase_url = "{upstream.url}"\n'
    (home / "proxy-core.toml").write_text(f'{settings}[credentials]\nvault_keys_file = "vault.key"\n')
    await command("credentials", "vault-key", "vault.key")
    await command("credentials", "add", "demo", "--name", "first", stdin="sk-stored-key\n")
    folder, keys = home / "data" / "proxy-core" / "credentials", (home / "vault.key").read_text()
    before = bytes_below(folder)

    (home / "vault.key").unlink()
    (home / "proxy-core.toml").write_text(settings)
    plain = await command("credentials", "add", "groq", stdin="sk-another-key\n")
    await command("credentials", "vault-key", "other.key", PROXY_DATA_DIR=str(home / "elsewhere"))
    (home / "other.key").rename(home / "vault.key")
    (home / "proxy-core.toml").write_text(f'{settings}[credentials]\nvault_keys_file = "vault.key"\n')
    wrong = (home / "vault.key").read_text()
    added = await command("credentials", "add", "groq", stdin="sk-another-key\n")
    made = await command("credentials", "vault-key", "vault.key")
    (home / "old").mkdir()
    (home / "old" / ".env").write_text("GROQ_API_KEY_1=sk-another-key\n")
    moved = await command("import", "mirrowel", "old", "--yes")
    shown = await command("init", "--provider", "groq", "--key-file", "-", "--no-test", stdin="sk-another-key\n")

    arguments = ("--preset", "groq", "--key-file", "-", "--no-test")
    listed = await command("providers", "add", "groq", *arguments, stdin="sk-another-key\n")

    for code, output in (plain, added, made, moved, shown, listed):
        assert code == 1, output
        assert f"{folder / 'demo' / 'first.json'}: it is " in output
        assert "add its key to credentials.vault_keys, or move the file away; nothing was changed" in output
    assert (home / "vault.key").read_text() == wrong
    assert "groq" not in (home / "proxy-core.toml").read_text()
    assert bytes_below(folder) == before

    (home / "vault.key").write_text(keys)
    assert (await command("credentials", "add", "groq", stdin="sk-another-key\n"))[0] == 0


def test_all_are_decrypted_or_none(tmp_path, keys):
    """Not those before the first that cannot be read, with nothing said about them."""
    right = Vault(tmp_path, encryption=Encryption(keys))
    for name in ("a", "z"):
        right.add(login(name, f"rt-{name}"))
    Vault(tmp_path, encryption=Encryption(keys)).adopt(given())
    old = tmp_path / "example" / "m.json"
    old.write_bytes(Encryption(keys[1:]).encrypted((tmp_path / "example" / "a.json").read_bytes()))
    mine = Vault(tmp_path, encryption=Encryption(keys[:1]))

    for spoil in (lambda: None, lambda: old.write_text("{")):
        spoil()
        before = bytes_below(tmp_path)
        for undo in (False, True):
            with pytest.raises(VaultProblem, match=r"m\.json.*nothing was changed"):
                mine.encrypt(undo=undo)
        assert bytes_below(tmp_path) == before
    old.unlink()

    assert mine.encrypt(undo=True) == 3
    assert Vault(tmp_path).all("example") == mine.all("example")


def test_a_failure_in_between_is_reported_with_what_was_done(tmp_path, keys):
    vault = Vault(tmp_path, encryption=Encryption(keys[:1]))
    vault.add(login("home"))
    other = vault.add(StoredCredential(provider="zebra", name="z", kind="api_key", access_token=SecretStr("sk-z")))
    lock = other.path.parent / ".lock"
    lock.unlink(missing_ok=True)
    lock.mkdir()
    with pytest.raises(VaultProblem, match="1 of 2 files were written anew, the others are as they were"):
        vault.encrypt(undo=True)
    lock.rmdir()

    assert spoiled(tmp_path) == [b"at-stored-login", b"rt-stored-login"]
    assert vault.encrypt() == 2


def test_the_tokens_of_a_variable_are_not_stored_beside_files_of_another_key(tmp_path, keys):
    Vault(tmp_path, encryption=Encryption(keys[:1])).add(login())

    [adopted] = Vault(tmp_path, encryption=Encryption(keys[1:])).adopt(given())

    assert adopted.path is None, "kept in memory only"
    assert not list(tmp_path.glob("*/environment/*.json"))


async def test_a_command_says_when_the_running_proxy_did_not_apply_it(home, upstream):
    """A proxy that runs has the keys of its start; it cannot read what a newer one encrypts."""
    (home / "proxy-core.toml").write_text(
        '[clients.me]\nkey = "a-long-client-key"\n[credentials]\nvault_keys_file = "vault.key"\n'
        f'[providers.demo]\nbase_url = "{upstream.url}"\nmodels = ["small"]\n'
    )
    named = {"PROXY_CONFIG": str(home / "proxy-core.toml")}
    await run(home, "credentials", "vault-key", "vault.key", **named)
    await run(home, "credentials", "add", "demo", "--name", "first", stdin="sk-stored-key\n", **named)
    async with serving(home, **named):
        disabled = await run(home, "credentials", "disable", "demo", "first", **named)
        made = await run(home, "credentials", "vault-key", "vault.key", **named)
        added = await run(home, "credentials", "add", "demo", "--name", "box", stdin="sk-another-key\n", **named)
        enabled = await run(home, "credentials", "enable", "demo", "first", **named)
        _, why = await run(home, "why", "demo/small", **named)

    assert disabled == (0, "demo: first is disabled\nthe running proxy applied the change\n")
    assert "restart a running proxy" in made[1]
    for code, output in (added, enabled):
        assert code == 0, "it is saved"
        assert "the running proxy applied the change" not in output
        assert "it is saved, but the running proxy did not apply it: " in output
        assert "box.json: it is damaged, or encrypted with a key" in output
        assert "did not apply it: needs a restart: credentials.vault_keys" in output
    assert "box" not in why
