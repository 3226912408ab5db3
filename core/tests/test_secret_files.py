"""Secrets in files: which settings and variables can name one, and what is said where it cannot be used."""

import os

import pytest
from pydantic import SecretStr

from proxy_core import PluginSettings, SettingsError
from proxy_core.settings.loading import load

FOUND = "only found in the working directory"


class VendorSettings(PluginSettings):
    name: str = ""
    client_secret: SecretStr | None = None


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "secrets").mkdir(mode=0o700)
    return tmp_path


@pytest.fixture
def secret(folder):
    def write(text, name="secret", mode=0o600):
        path = folder / "secrets" / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(mode)
        return path

    return write


@pytest.fixture
def read(folder):
    """Settings of a file that is named, not found, with an environment."""

    def read(text="", environ=None, dotenv=None):
        (folder / "proxy-core.toml").write_text(text)
        if dotenv is not None:
            (folder / ".env").write_text(dotenv)
        environ = {"PROXY_DATA_DIR": str(folder / "data"), **(environ or {})}
        return load(folder / "proxy-core.toml", environ=environ, cwd=folder / "home")

    return read


def keys(loaded, provider="groq"):
    return [entry.key.get_secret_value() for entry in loaded.provider(provider).api_keys]


def client_key(loaded, client="default"):
    return loaded.settings.clients[client].key.get_secret_value()


# --- Variables ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", ["sk-1", "sk-1\n", "  sk-1\r\n\r\n", b"\xef\xbb\xbfsk-1\n", "sk-1".encode("utf-16")]
)
def test_a_variable_can_name_a_file_that_holds_the_key(read, secret, content):
    assert keys(read(environ={"GROQ_API_KEY_FILE": str(secret(content))})) == ["sk-1"]


def test_a_file_can_hold_several_keys_and_they_keep_their_order(read, secret):
    environ = {"GROQ_API_KEY_2": "last", "GROQ_API_KEY_1_FILE": str(secret("first\n\nsecond\n"))}

    assert keys(read(environ=environ)) == ["first", "second", "last"]


COMMENTED = "# of the team\n\nfirst\n  \n  # the old one\nGROQ_API_KEY=second\n\t\n"


def test_comments_and_blank_lines_are_no_keys(read, secret, folder):
    file = secret(COMMENTED, "groq_api_key_2")
    found = [
        read(environ={"GROQ_API_KEY_FILE": str(file)}),
        read(environ={"PROXY_SECRETS_DIR": str(folder / "secrets")}),
        read(environ={"PROXY_PROVIDERS__GROQ__API_KEYS_FILE": str(file)}),
        read(f'[providers.groq]\napi_keys_file = "{file}"'),
    ]

    assert [keys(loaded) for loaded in found] == [["first", "second"]] * 4


def test_a_comment_above_a_single_secret_is_not_part_of_it(read, secret):
    assert client_key(read(environ={"PROXY_API_KEY_FILE": str(secret("# of the laptop\na-client-key\n"))})) == (
        "a-client-key"
    )


@pytest.mark.parametrize("name", ["PROXY_API_KEY_FILE", "PROXY_CLIENTS__DEFAULT__KEY_FILE"])
def test_the_key_of_a_client_can_be_in_a_file(read, secret, name):
    assert client_key(read(environ={name: str(secret("a-client-key\n"))})) == "a-client-key"


def test_every_secret_among_the_settings_can_be_in_a_file(read, secret):
    environ = {
        "PROXY_ADMIN__KEY_FILE": str(secret("an-admin-key\n", "admin")),
        "PROXY_STATE__SECRET_FILE": str(secret("a-state-secret\n", "state")),
        "PROXY_STATE__URL_FILE": str(secret("redis://:password@127.0.0.1/0\n", "url")),
        "PROXY_PROVIDERS__GROQ__API_KEYS_FILE": str(secret("one\ntwo\n", "keys")),
    }

    loaded = read(environ=environ)

    settings = loaded.settings
    found = [settings.admin.key, settings.state.secret, settings.state.url]
    assert [value.get_secret_value() for value in found] == [
        *("an-admin-key", "a-state-secret", "redis://:password@127.0.0.1/0"),
    ]
    assert keys(loaded) == ["one", "two"]
    assert loaded.sources.stray() == []


def test_a_setting_that_is_a_path_is_not_read(read, secret):
    path = str(secret("-----BEGIN CERTIFICATE-----\n"))

    loaded = read(environ={"PROXY_UPSTREAM__CA_FILE": path, "SSL_CERT_FILE": "/nowhere", "X_TOKEN_FILE": "/nowhere"})

    assert str(loaded.settings.upstream.ca_file) == path
    with pytest.raises(SettingsError, match="tls_key_file"):
        read(environ={"PROXY_SERVER__TLS_KEY_FILE": path})


@pytest.mark.parametrize("name", ["PROXY_API_KEY_FILE", "GROQ_API_KEY_FILE", "PROXY_PROVIDERS__GROQ__API_KEYS_FILE"])
def test_a_file_that_cannot_be_used_is_an_error_that_says_why(read, secret, folder, name):
    gone, empty, binary = folder / "gone", secret(" \n", "empty"), secret(b"\xff\x00\xfa", "binary")
    reasons = {gone: "No such file or directory", folder: "cannot be read", empty: "is empty", binary: "UTF-16"}
    reasons[secret("# a key\n\n#another\n", "comments")] = "has only comments"

    for path, why in reasons.items():
        with pytest.raises(SettingsError) as raised:
            read(environ={name: str(path)}).provider("groq")
        [line] = raised.value.problems
        assert line.startswith(f"{name}: {path} ")
        assert why in line


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_an_error(read, secret):
    with pytest.raises(SettingsError, match="Permission denied"):
        read(environ={"PROXY_API_KEY_FILE": str(secret("a-client-key", mode=0))})


def test_a_file_for_another_programs_key_is_no_reason_not_to_start(read):
    loaded = read(environ={"OTHER_API_KEY_FILE": "/nowhere"})

    assert loaded.sources.key_variables_of_others(["groq"]) == ["OTHER_API_KEY"]


def test_a_key_is_not_set_twice_in_one_place(read, secret):
    environ = {"GROQ_API_KEY": "a", "GROQ_API_KEY_FILE": str(secret("b"))}

    with pytest.raises(SettingsError) as raised:
        read(environ=environ)

    assert list(raised.value.problems) == ["GROQ_API_KEY and GROQ_API_KEY_FILE are both set"]


def test_an_empty_variable_beside_it_counts_as_unset(read, secret):
    assert keys(read(environ={"GROQ_API_KEY": "", "GROQ_API_KEY_FILE": str(secret("b"))})) == ["b"]
    assert keys(read(environ={"GROQ_API_KEY": "a", "GROQ_API_KEY_FILE": ""})) == ["a"]


def test_the_environment_wins_over_dotenv_whichever_of_them_names_a_file(read, secret):
    file = str(secret("from-file"))

    assert keys(read(environ={"GROQ_API_KEY": "given"}, dotenv=f"GROQ_API_KEY_FILE={file}")) == ["given"]
    assert keys(read(environ={"GROQ_API_KEY_FILE": file}, dotenv="GROQ_API_KEY=given")) == ["from-file"]


def test_a_changed_file_is_read_when_settings_are_read_again(read, secret):
    environ = {"PROXY_API_KEY_FILE": str(secret("the-first-key"))}
    assert client_key(read(environ=environ)) == "the-first-key"

    secret("the-second-key")

    assert client_key(read(environ=environ)) == "the-second-key"


# --- A folder ----------------------------------------------------------------------------


def test_every_file_of_the_folder_of_secrets_is_a_variable(read, secret, folder):
    secret("sk-1\nsk-2\n", "groq_api_key")
    secret("a-client-key\n", "PROXY_API_KEY")
    secret("an-admin-key\n", "proxy_admin__key")
    secret("not a secret of ours", ".hidden")
    (folder / "secrets" / "kubernetes.io").mkdir()

    loaded = read(environ={"PROXY_SECRETS_DIR": str(folder / "secrets")}, dotenv="PROXY_API_KEY=another-key")

    assert (keys(loaded), client_key(loaded)) == (["sk-1", "sk-2"], "a-client-key")
    assert loaded.settings.admin.key.get_secret_value() == "an-admin-key"
    assert loaded.sources.stray() == []


def test_the_environment_wins_over_the_folder(read, secret, folder):
    secret("in-the-folder", "proxy_api_key")
    environ = {"PROXY_SECRETS_DIR": str(folder / "secrets"), "PROXY_API_KEY": "in-the-environment"}

    assert client_key(read(environ=environ)) == "in-the-environment"


def test_a_folder_or_a_file_in_it_that_cannot_be_read_stops_the_start(read, secret, folder):
    with pytest.raises(SettingsError, match=r"PROXY_SECRETS_DIR: .*/gone cannot be read: No such file"):
        read(environ={"PROXY_SECRETS_DIR": str(folder / "gone")})
    secret("\n", "groq_api_key")
    with pytest.raises(SettingsError, match=r"PROXY_SECRETS_DIR: .*/groq_api_key is empty"):
        read(environ={"PROXY_SECRETS_DIR": str(folder / "secrets")})


@pytest.mark.parametrize("name", ["groq_api_key", "OPENAI_API_KEY_2", "proxy_api_key", "PROXY_STATE__SECRET"])
def test_neither_a_link_to_nothing_nor_a_folder_in_the_place_of_a_secret_is_passed_over(read, folder, name):
    entry = folder / "secrets" / name
    environ = {"PROXY_SECRETS_DIR": str(folder / "secrets")}
    entry.symlink_to(folder / "gone")
    with pytest.raises(SettingsError, match=rf"PROXY_SECRETS_DIR: .*/{name} cannot be read: No such file"):
        read(environ=environ)
    entry.unlink()
    entry.symlink_to(entry)
    with pytest.raises(SettingsError, match=rf"PROXY_SECRETS_DIR: .*/{name} cannot be read"):
        read(environ=environ)
    entry.unlink()
    entry.mkdir()
    with pytest.raises(SettingsError, match=rf"PROXY_SECRETS_DIR: .*/{name} cannot be read"):
        read(environ=environ)


def test_a_link_to_a_file_is_as_good_as_the_file(read, secret, folder):
    secret("sk-1\n", "..data_key")
    (folder / "secrets" / "groq_api_key").symlink_to("..data_key")

    assert keys(read(environ={"PROXY_SECRETS_DIR": str(folder / "secrets")})) == ["sk-1"]


# --- The settings file -------------------------------------------------------------------

FILE = """
[clients.laptop]
key_file = "secrets/laptop"
[admin]
key_file = "secrets/admin"
[providers.groq]
api_keys_file = "secrets/keys"
headers_file = { x-account = "secrets/account" }
[providers.other]
api_keys = [{ key_file = "secrets/other", tier = "pro" }, "plain"]
[providers.many]
api_keys_file = ["secrets/keys", "secrets/other"]
[plugins.vendor]
client_secret_file = "secrets/vendor"
"""


def test_settings_can_name_files_relative_to_their_own(read, secret):
    secret("k1\nk2", "keys")
    for name in ("laptop", "admin", "account", "other", "vendor"):
        secret(name[0], name)

    loaded = read(FILE)

    assert client_key(loaded, "laptop") == "l"
    assert loaded.settings.admin.key.get_secret_value() == "a"
    assert [keys(loaded, name) for name in ("groq", "other", "many")] == [
        ["k1", "k2"],
        ["o", "plain"],
        ["k1", "k2", "o"],
    ]
    assert loaded.provider("other").api_keys[0].tier == "pro"
    assert loaded.provider("groq").headers["x-account"].get_secret_value() == "a"
    vendor = loaded.plugin("vendor", VendorSettings).client_secret
    assert vendor is not None
    assert vendor.get_secret_value() == "v"


def test_all_problems_of_files_in_settings_are_told_at_once(read, secret):
    secret("k", "laptop")
    text = (
        '[clients.laptop]\nkey = "k"\nkey_file = "secrets/laptop"\n[admin]\nkey_file = "gone"\n[state]\nurl_file = 3\n'
    )

    with pytest.raises(SettingsError) as raised:
        read(text)

    both, gone, number = raised.value.problems
    assert both.startswith("clients.laptop.key and clients.laptop.key_file are both set")
    assert gone.startswith("admin.key_file: ")
    assert gone.endswith("gone cannot be read: No such file or directory")
    assert number == "state.url_file: this is the name of a file"


def test_a_setting_that_is_no_secret_has_no_file(read):
    with pytest.raises(SettingsError, match=r"server\.host_file"):
        read('[server]\nhost_file = "x"\n')
    with pytest.raises(SettingsError, match=r"plugins\.vendor\.name_file"):
        read('[plugins.vendor]\nname_file = "x"\n').plugin("vendor", VendorSettings)


# --- Who may name a file, and who may read it --------------------------------------------


def test_a_file_found_in_the_working_directory_names_no_file_elsewhere(folder, secret):
    home, path = folder / "home", secret("an-ssh-key-or-so")
    (home / "link").symlink_to(path)
    for name in (str(path), "../secrets/secret", "link"):
        (home / ".env").write_text(f"GROQ_API_KEY_FILE={name}\n")
        with pytest.raises(SettingsError, match=FOUND):
            load(environ={}, cwd=home).provider("groq")
    (home / ".env").unlink()
    (home / "proxy-core.toml").write_text('[providers.groq]\napi_keys_file = "../secrets/secret"\n')
    with pytest.raises(SettingsError, match=FOUND):
        load(environ={}, cwd=home)


def test_a_file_found_in_the_working_directory_may_name_one_beside_it(folder):
    home = folder / "home"
    (home / "groq.key").write_text("beside\n")
    (home / ".env").write_text("GROQ_API_KEY_FILE=groq.key\n")

    assert keys(load(environ={}, cwd=home)) == ["beside"]


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="modes are POSIX's")
def test_a_file_that_others_may_read_is_reported(read, secret, folder):
    shown, hidden = secret("one-key", "shown", 0o644), secret("two-key", "hidden")
    environ = {"PROXY_API_KEY_FILE": str(shown), "GROQ_API_KEY_FILE": str(hidden)}
    warning = f"other users may read {shown}, which holds a secret: chmod 600 {shown}"

    assert read(environ=environ).sources.notes() == [warning]
    assert read('[admin]\nkey_file = "secrets/shown"\n').sources.notes() == [warning]
    # What mounts secrets into a folder decides about their modes, for nobody else in the container.
    assert read(environ={"PROXY_SECRETS_DIR": str(folder / "secrets")}).sources.notes() == []


def test_no_secret_is_shown_where_settings_are(read, secret):
    loaded = read(environ={"GROQ_API_KEY_FILE": str(secret("sk-secret-1"))})

    assert "sk-secret-1" not in repr(loaded) + str(loaded.sources.key_variables("groq")) + repr(loaded.sources)
    assert loaded.named_origins("groq") == {("providers", "groq", "api_keys"): f"{secret('x')} for GROQ_API_KEY"}
