"""Values as people paste them into settings: understood, or refused by name at start."""

import pytest

from proxy_core.errors import SettingsError
from proxy_core.settings.loading import load
from proxy_core.testing import run

KEYS = {
    "double quotes": '"the-key"',
    "single quotes": "'the-key'",
    "typographic quotes": "\u201cthe-key\u201d",
    "backquotes": "`the-key`",
    "quotes within quotes": "\"'the-key'\"",
    "spaces": "  the-key \n",
    "Bearer": "Bearer the-key",
    "the header": "Authorization: Bearer the-key",
    "another header": "x-api-key: the-key",
    "Bearer in quotes": '"Bearer the-key"',
    "the variable": "OPENAI_API_KEY=the-key",
    "a variable of a shell": "export GROQ_API_KEY_2='the-key'",
    "a byte order mark": "\ufeffthe-key",
    "a space of no width": "the-key\u200b",
}


@pytest.mark.parametrize("pasted", KEYS.values(), ids=KEYS)
async def test_an_upstreams_and_a_clients_key_are_understood(make_proxy, upstream, pasted):
    environ = {"UP_API_KEY": pasted, "PROXY_API_KEY": pasted}
    proxy = await make_proxy({"providers": {"up": {"base_url": upstream.url}}, "clients": None}, environ=environ)
    proxy.key = "the-key"

    assert (await proxy.chat("up/m", "hi")).status == 200
    assert upstream.last.headers["authorization"] == "Bearer the-key"


@pytest.mark.parametrize("pasted", ["two\nlines", "\u043ae\u0443", '""', "Bearer "])
def test_what_is_no_key_is_refused_by_name(tmp_path, pasted):
    with pytest.raises(SettingsError, match=r"UP_API_KEY|providers\.up\.api_keys"):
        load(environ={"UP_API_KEY": pasted, "UP_API_BASE": "http://127.0.0.1:1/v1"}, cwd=tmp_path).provider("up")


@pytest.mark.parametrize("pasted", ["sk-one sk-two", "sk-one  # of the team"])
def test_what_is_more_than_a_providers_key_is_refused(tmp_path, pasted):
    with pytest.raises(SettingsError, match="has no blanks in it"):
        load(environ={"UP_API_KEY": pasted, "UP_API_BASE": "http://127.0.0.1:1/v1"}, cwd=tmp_path).provider("up")


def test_a_client_may_have_a_phrase_as_its_key(tmp_path):
    clients = load(environ={"PROXY_API_KEY": "correct horse battery"}, cwd=tmp_path).settings.clients

    assert clients["default"].key.get_secret_value() == "correct horse battery"


@pytest.mark.parametrize("key", ["ABC_KEY=", "abc_key=def", "ABC_KEY==", "my-TOKEN=x"])
def test_a_key_that_merely_looks_like_an_assignment_stays_whole(tmp_path, key):
    up = load(environ={"UP_API_KEY": key, "UP_API_BASE": "http://127.0.0.1:1/v1"}, cwd=tmp_path).provider("up")

    assert [entry.key.get_secret_value() for entry in up.api_keys] == [key]


def test_a_header_keeps_its_scheme(tmp_path):
    tables = {"providers": {"up": {"headers": {"authorization": "Bearer other"}}}}

    headers = load(overrides=tables, environ={}, cwd=tmp_path).provider("up").headers

    assert headers["authorization"].get_secret_value() == "Bearer other"


ADDRESSES = ["{}", '"{}"', " {}/ ", "{}/chat/completions", "{}/chat/completions/", "{}/embeddings", "{}/models"]


@pytest.mark.parametrize("pasted", ADDRESSES)
async def test_an_address_is_understood(make_proxy, upstream, pasted):
    proxy = await make_proxy({"providers": {"up": {"base_url": pasted.format(upstream.url), "api_keys": ["k"]}}})

    assert (await proxy.chat("up/m", "hi")).status == 200
    assert upstream.last.path == "/v1/chat/completions"


@pytest.mark.parametrize("pasted", ["api.example.com/v1", "ftp://api.example.com", "http://", "https://h/v1?key=x"])
def test_what_is_no_address_is_refused_by_name(tmp_path, pasted):
    with pytest.raises(SettingsError, match=r"providers\.up\.base_url"):
        load(overrides={"providers": {"up": {"base_url": pasted}}}, environ={}, cwd=tmp_path)


ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_settings_files_are_read_in_the_encodings_of_all_editors(tmp_path, encoding, newline):
    toml = ["[providers.up]", 'base_url = "http://127.0.0.1:1/v1"', ""]
    (tmp_path / "proxy-core.toml").write_bytes(newline.join(toml).encode(encoding))
    (tmp_path / ".env").write_bytes(newline.join(["UP_API_KEY=the-key", ""]).encode(encoding))

    up = load(environ={}, cwd=tmp_path).provider("up")

    assert str(up.base_url) == "http://127.0.0.1:1/v1"
    assert [entry.key.get_secret_value() for entry in up.api_keys] == ["the-key"]


@pytest.mark.parametrize("name", ["proxy-core.toml", ".env"])
def test_a_file_in_another_encoding_is_refused_by_name(tmp_path, name):
    (tmp_path / name).write_bytes(b"# caf\xe9\n")

    with pytest.raises(SettingsError, match=rf"{name}: it is neither UTF-8 nor UTF-16"):
        load(environ={}, cwd=tmp_path)


async def test_a_data_folder_that_cannot_be_created_does_not_prevent_a_start_with_a_configured_key(
    make_proxy, upstream, tmp_path
):
    (tmp_path / "file").write_text("")
    environ = {"PROXY_API_KEY": "the-key", "PROXY_DATA_DIR": str(tmp_path / "file" / "data")}
    settings = {"providers": {"up": {"base_url": upstream.url, "api_keys": ["k1"]}}, "state": {"url": "memory:"}}
    proxy = await make_proxy({**settings, "clients": None}, environ=environ)
    proxy.key = "the-key"

    assert (await proxy.chat("up/m", "hi")).status == 200


async def test_without_one_the_error_says_what_is_missing(make_proxy, tmp_path):
    (tmp_path / "file").write_text("")
    environ = {"PROXY_DATA_DIR": str(tmp_path / "file" / "data")}

    with pytest.raises(SettingsError, match=r"no client key is configured.*Set PROXY_API_KEY, or PROXY_DATA_DIR"):
        await make_proxy({"clients": None, "state": {"url": "memory:"}}, environ=environ)


# --- Several mistakes ----------------------------------------------------------------------

#: Each line of a ``.env`` with what is said about it; those of the second group come to light with the plugins.
MISTAKES = {
    "TIMEOUT_CONNECT=abc": "timeouts.connect_s: Input should be a valid number",
    "PROXY_SERVER__WORKERS=many": "server.workers: Input should be a valid integer",
    "PROXY_ADMIN__KEY_FILE=gone": "PROXY_ADMIN__KEY_FILE: {folder}/gone cannot be read: No such file",
    "HOUSE_API_BASE=house.example/v1": "providers.house.base_url: ",
    "GROQ_API_KEY_FILE=gone": "GROQ_API_KEY_FILE: {folder}/gone cannot be read: No such file",
    "MISTRAL_API_KEY=schlüssel": "providers.mistral.api_keys.0.key: a key is one line of printable ASCII",
}
LATER = {
    "GROQ_API_KEY_FILE=gone": MISTAKES["GROQ_API_KEY_FILE=gone"],
    "MISTRAL_API_KEY=schlüssel": MISTAKES["MISTRAL_API_KEY=schlüssel"],
    "OPENAI_API_KEY=sk-0123456789abcdef": "",
    "MAX_CONCURRENT_REQUESTS_PER_KEY_OPENAI=few": "providers.openai.rotation.max_concurrent: Input should be a valid",
    "OVERRIDE_TEMPERATURE_ZERO=maybe": "plugin 'mirrowel': plugins.mirrowel.temperature_zero: Input should be 'keep'",
}
LAST = {
    "GROQ_API_KEY=gsk-0123456789abcdef": "",
    "OPENAI_API_KEY=sk-0123456789abcdef": "",
    "ROTATION_MODE_GROQ=sequental": "providers.groq.rotation.selector: 'sequental' is not one of",
    "ROTATION_MODE_OPENAI=random": "providers.openai.rotation.selector: 'random' is not one of",
}


@pytest.mark.parametrize("mistakes", [MISTAKES, LATER, LAST], ids=["all", "of plugins", "of routes"])
async def test_all_mistakes_are_named_at_once(home, mistakes):
    (home / ".env").write_text("\n".join(mistakes))

    code, output = await run(home, "serve", "--port", "0")

    lines = [line.removeprefix("proxy-core: ") for line in output.splitlines()]
    wanted = [words.format(folder=home) for words in mistakes.values() if words]
    assert code == 2, output
    assert sorted(next((w for w in wanted if line.startswith(w)), line) for line in lines) == sorted(wanted)


async def test_a_key_that_is_wrong_is_no_reason_to_leave_guards_out(home):
    (home / ".env").write_text("GROQ_API_KEY=schlüssel")

    code, output = await run(home, "serve", "--port", "0")

    assert code == 2 and "providers.groq.api_keys" in output
    assert "sanitizers" not in output and "optional" not in output


async def test_a_line_of_a_dotenv_that_is_none_is_named_with_its_file(home):
    (home / ".env").write_text("# a comment\n\nPROXY_API_KEY=a-client-key-0123456789\n\n\nthis is no line\n")

    _, output = await run(home, "config", "check")

    assert f"{home}/.env, line 6: it is not NAME=value" in output
    assert "dotenv could not" not in output


async def test_a_variable_that_replaces_another_key_is_named(home):
    keys = {"providers.up": 'api_keys = ["sk-of-the-file-012345"]', "clients.default": 'key = "key-of-the-file-01234"'}
    text = "".join(f"[{table}]\n{line}\n" for table, line in keys.items())
    (home / "own.toml").write_text(text.replace("[providers.up]", '[providers.up]\nbase_url = "http://127.0.0.1:1/v1"'))
    new = {"UP_API_KEY": "sk-of-the-environment", "PROXY_API_KEY": "key-of-the-environment"}
    same = {"UP_API_KEY": "sk-of-the-file-012345", "PROXY_API_KEY": "key-of-the-file-01234"}

    _, told = await run(home, "config", "check", "--config", "own.toml", **new)
    _, quiet = await run(home, "config", "check", "--config", "own.toml", **same)

    for key, variable in (("providers.up.api_keys", "UP_API_KEY"), ("clients.default.key", "PROXY_API_KEY")):
        assert f"{key} of own.toml is not used: environment variable {variable} replaces it" in told
    assert "replaces" not in quiet
