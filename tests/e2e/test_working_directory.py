"""What lies in the working directory is not trusted: no address for keys from elsewhere, and no code to run."""

import asyncio

import httpx
import pytest
from pydantic import SecretStr

from proxy_core import SettingsError
from proxy_core.cli.api import StoredCredential, catalog_of, vault_of
from proxy_core.runtime.destinations import destinations
from proxy_core.runtime.start import start
from proxy_core.settings.loading import load
from proxy_core.testing import run
from proxy_core.testing.program import MODULE, SCRIPT, serving

EVIL = "http://127.0.0.1:9/v1"
KEY = "a-key-from-elsewhere"

#: Each sets an address in a file that the user did not name.
FILES = {
    "dotenv, compatible name": (".env", f"OPENAI_API_BASE={EVIL}\n"),
    "dotenv, nested name": (".env", f"PROXY_PROVIDERS__OPENAI__BASE_URL={EVIL}\n"),
    "dotenv, any case": (".env", f"openai_api_base={EVIL}\n"),
    "a trusted authority": (".env", "PROXY_UPSTREAM__CA_FILE=/nowhere/ca.pem\n"),
    "a proxy": (".env", "PROXY_PROVIDERS__OPENAI__PROXY=http://127.0.0.1:99\n"),
    "a Unix socket": ("proxy-core.toml", '[providers.openai]\nunix_socket = "/nowhere/s"\n'),
    "settings file": ("proxy-core.toml", f'[providers.openai]\nbase_url = "{EVIL}"\n'),
}


@pytest.fixture
def read(tmp_path):
    def read(config=None, **environ):
        here = {"PROXY_DATA_DIR": str(tmp_path / "data"), "PROXY_API_KEY": "client", **environ}
        return load(config, environ=here, cwd=tmp_path)

    return read


@pytest.mark.parametrize(("name", "text"), FILES.values(), ids=FILES)
@pytest.mark.parametrize("variable", ["OPENAI_API_KEY", "OPENAI_API_KEY_2", "PROXY_PROVIDERS__OPENAI__API_KEYS"])
def test_a_file_found_there_cannot_send_a_key_from_the_environment_elsewhere(tmp_path, read, name, text, variable):
    (tmp_path / name).write_text(text)

    with pytest.raises(SettingsError) as stopped:
        start(read(**{variable: KEY}), to_run=False)

    (line,) = stopped.value.problems
    assert "openai" in line.lower()
    assert str(tmp_path / name) in line
    assert "--config" in line
    assert KEY not in line


def test_nor_one_from_a_file_that_the_environment_names(tmp_path, read):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "openai_api_key").write_text(KEY)
    (tmp_path / ".env").write_text(f"OPENAI_API_BASE={EVIL}\n")

    for variable, path in {"OPENAI_API_KEY_FILE": "elsewhere/openai_api_key", "PROXY_SECRETS_DIR": "elsewhere"}.items():
        with pytest.raises(SettingsError, match="the key of openai is from the environment"):
            start(read(**{variable: str(tmp_path / path)}), to_run=False)


ADDRESSES = {name: file for name, file in FILES.items() if EVIL in file[1]}


@pytest.mark.parametrize(("name", "text"), ADDRESSES.values(), ids=ADDRESSES)
def test_nor_one_from_a_settings_file_that_was_named(tmp_path, read, name, text):
    named = tmp_path / "elsewhere" / "mine.toml"
    named.parent.mkdir()
    named.write_text(f'[providers.openai]\napi_keys = ["{KEY}"]\n')
    (tmp_path / name).write_text(text)

    if name == ".env":
        with pytest.raises(SettingsError, match="working directory"):
            start(read(named), to_run=False)
    else:  # that file is not read
        assert read(named).provider("openai").base_url is None


@pytest.mark.parametrize(("name", "text"), ADDRESSES.values(), ids=ADDRESSES)
def test_a_key_from_the_same_place_may_go_there(tmp_path, read, name, text):
    (tmp_path / name).write_text(text)
    with (tmp_path / ".env").open("a") as dotenv:
        dotenv.write(f"OPENAI_API_KEY={KEY}\n")

    assert str(start(read(), to_run=False).current.providers["openai"].base_url) == EVIL


@pytest.mark.parametrize(("name", "text"), ADDRESSES.values(), ids=ADDRESSES)
def test_whoever_names_a_settings_file_trusts_its_folder(tmp_path, read, name, text):
    (tmp_path / "proxy-core.toml").touch()
    (tmp_path / name).write_text(text)

    for settings in (
        read(tmp_path / "proxy-core.toml", OPENAI_API_KEY=KEY),
        read(PROXY_CONFIG=str(tmp_path / "proxy-core.toml"), OPENAI_API_KEY=KEY),
    ):
        assert str(start(settings, to_run=False).current.providers["openai"].base_url) == EVIL


def test_the_environment_may_set_both(tmp_path, read):
    (tmp_path / ".env").write_text("OTHER=1\n")

    loaded = read(OPENAI_API_KEY=KEY, OPENAI_API_BASE=EVIL)

    assert str(start(loaded, to_run=False).current.providers["openai"].base_url) == EVIL


#: Each sets where a login is sent; the table of the plugin is the provider's name.
OF_LOGINS = {
    "the upstream": ("gemini_cli", "proxy-core.toml", f'[plugins.gemini_cli]\ncode_assist_endpoint = "{EVIL}"\n'),
    "without slashes": ("gemini_cli", "proxy-core.toml", '[plugins.gemini_cli]\ntoken_url = "http:127.0.0.1:9"\n'),
    "user info": ("gemini_cli", "proxy-core.toml", f'[plugins.gemini_cli]\nuserinfo_url = "{EVIL}"\n'),
    "the vendor's variable": ("gemini_cli", ".env", f"CODE_ASSIST_ENDPOINT={EVIL}\n"),
    "our variable": ("gemini_cli", ".env", f"PROXY_PLUGINS__GEMINI_CLI__TOKEN_URL={EVIL}\n"),
    "a login's variable": ("gemini_cli", ".env", f"GEMINI_CLI_1_TOKEN_URI={EVIL}\n"),
    "another token server": ("qwen_code", "proxy-core.toml", f'[plugins.qwen_code]\ntoken_url = "{EVIL}"\n'),
    "another chat server": ("qwen_code", "proxy-core.toml", f'[plugins.qwen_code]\nchat_url = "{EVIL}"\n'),
    "a base URL": ("qwen_code", "proxy-core.toml", f'[providers.qwen_code]\nbase_url = "{EVIL}"\n'),
    "a proxy for all": ("qwen_code", "proxy-core.toml", '[upstream]\nproxy = "http://127.0.0.1:9"\n'),
}


def log_in(settings, provider):
    """A login in the vault, as ``proxy-core login`` leaves it."""
    tokens = {"access_token": SecretStr("at-" + KEY), "refresh_token": SecretStr("rt-" + KEY)}
    kind = catalog_of(settings, CREDENTIAL_HOOKS).providers[provider].credential_kind
    login = StoredCredential(provider=provider, name="me", kind=kind, details={"project_id": "p"}, **tokens)
    return vault_of(settings, catalog_of(settings, [])).add(login)


CREDENTIAL_HOOKS = ("proxy_dialects", "proxy_credential_refreshers", "proxy_providers")


@pytest.mark.parametrize(("provider", "name", "text"), OF_LOGINS.values(), ids=OF_LOGINS)
def test_a_file_found_there_cannot_send_a_stored_login_elsewhere(tmp_path, read, provider, name, text):
    log_in(read(), provider)
    start(read(), to_run=False)
    (tmp_path / name).write_text(text)

    with pytest.raises(SettingsError) as stopped:
        start(read(), to_run=False)

    assert all(str(tmp_path / name) in line and "--config" in line for line in stopped.value.problems)
    assert provider in str(stopped.value)
    if name == "proxy-core.toml":
        start(read(tmp_path / name), to_run=False)


@pytest.mark.parametrize("place", ["TOKEN_URI", "ENDPOINT"])
def test_a_login_from_the_environment_is_not_sent_elsewhere_either(tmp_path, read, place):
    variable = "GEMINI_CLI_1_TOKEN_URI" if place == "TOKEN_URI" else "CODE_ASSIST_ENDPOINT"
    (tmp_path / ".env").write_text(f"{variable}={EVIL}\n")

    with pytest.raises(SettingsError, match=f"{tmp_path}/.env"):
        start(read(GEMINI_CLI_1_REFRESH_TOKEN=KEY), to_run=False)

    (tmp_path / ".env").write_text(f"{variable}={EVIL}\nGEMINI_CLI_1_REFRESH_TOKEN={KEY}\n")
    start(read(), to_run=False)


def test_a_plugins_other_settings_may_lie_there(tmp_path, read):
    log_in(read(), "gemini_cli")
    (tmp_path / "proxy-core.toml").write_text('[plugins.gemini_cli]\npreviews = true\nproject = "mine"\n')

    start(read(), to_run=False)


def test_a_file_found_there_does_not_matter_where_the_command_line_decides(tmp_path):
    (tmp_path / "proxy-core.toml").write_text(f'[providers.openai]\nbase_url = "{EVIL}"\n')
    environ = {"PROXY_DATA_DIR": str(tmp_path / "data"), "PROXY_API_KEY": "client", "OPENAI_API_KEY": KEY}
    mine = {"providers": {"openai": {"base_url": "http://127.0.0.1:10/v1"}}}

    now = start(load(environ=environ, cwd=tmp_path, overrides=mine), to_run=False).current

    assert str(now.providers["openai"].base_url) == "http://127.0.0.1:10/v1"


def test_a_preset_from_there_cannot_send_a_key_to_another_vendor(tmp_path, read):
    file = tmp_path / "proxy-core.toml"
    file.write_text('[providers.groq]\npreset = "ollama"\n')
    with pytest.raises(SettingsError, match=r"providers\.groq\.preset"):
        start(read(GROQ_API_KEY=KEY), to_run=False)

    file.write_text(f'[providers.groq]\npreset = "ollama"\napi_keys = ["{KEY}"]\n')
    start(read(), to_run=False)
    file.write_text('[providers.groq]\npreset = "groq"\n')
    start(read(GROQ_API_KEY=KEY), to_run=False)


@pytest.mark.parametrize("secret", ["HEADERS__AUTHORIZATION", "QUERY__KEY"])
def test_a_secret_that_is_no_api_key_is_not_sent_elsewhere(tmp_path, read, secret):
    (tmp_path / "proxy-core.toml").write_text(f'[providers.mine]\nbase_url = "{EVIL}"\n')

    with pytest.raises(SettingsError, match=r"providers\.mine\.base_url"):
        start(read(**{f"PROXY_PROVIDERS__MINE__{secret}": KEY}), to_run=False)


def test_a_table_from_the_environment_does_not_hide_a_file_found_there(tmp_path, read):
    (tmp_path / "proxy-core.toml").write_text(f'[providers.openai]\nbase_url = "{EVIL}"\n')

    with pytest.raises(SettingsError, match=r"providers\.openai\.base_url"):
        start(read(OPENAI_API_KEY=KEY, PROXY_PROVIDERS__OPENAI='{"discover": false}'), to_run=False)


def test_a_proxy_named_there_is_not_used_for_keys_from_elsewhere(tmp_path, read):
    (tmp_path / ".env").write_text("HTTPS_PROXY=http://127.0.0.1:9\n")

    with pytest.raises(SettingsError, match="HTTPS_PROXY"):
        start(read(OPENAI_API_KEY=KEY, PROXY_UPSTREAM__PROXY="environment"), to_run=False)


COMMANDS = {
    "credentials test": ("credentials", "test", "openai"),
    "models": ("models",),
    "doctor": ("doctor", "--upstreams"),
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
async def test_commands_refuse_what_a_start_refuses(tmp_path, command):
    async with await asyncio.start_server(lambda _, writer: reached.append(writer.close()), "127.0.0.1", 0) as evil:
        reached = []
        port = evil.sockets[0].getsockname()[1]
        (tmp_path / ".env").write_text(f"OPENAI_API_BASE=http://127.0.0.1:{port}/v1\n")

        code, output = await run(tmp_path, *command, OPENAI_API_KEY=KEY, PROXY_API_KEY="a-client-key-0123456789")

    assert code != 0
    assert "was only found in the working directory" in output
    assert "Traceback" not in output
    assert not reached


STORING = {
    "credentials add": (("credentials", "add", "acme"), "a-key-of-mine"),
    "init": (("init", "--provider", "acme", "--key-file", "-", "--no-test"), "a-key-of-mine"),
}


@pytest.mark.parametrize(("command", "stdin"), STORING.values(), ids=STORING)
async def test_no_key_is_stored_that_would_stop_the_next_start(tmp_path, command, stdin):
    table = f'[providers.acme]\nbase_url = "{EVIL}"\napi_keys = ["its-own-key"]\n'
    (tmp_path / "proxy-core.toml").write_text(table)

    code, output = await run(tmp_path, *command, stdin=stdin, PROXY_DATA_DIR=str(tmp_path / "data"))

    assert code != 0
    assert "providers.acme.base_url" in output
    assert "nothing was saved" in output
    assert "--config" in output
    assert "Traceback" not in output
    assert not list((tmp_path / "data").rglob("acme/*.json"))
    assert (tmp_path / "proxy-core.toml").read_text() == table
    start(load(environ={"PROXY_DATA_DIR": str(tmp_path / "data")}, cwd=tmp_path), to_run=False)


@pytest.mark.parametrize(
    "command",
    [
        ("credentials", "add", "groq"),
        ("init", "--provider", "groq", "--key-file", "-", "--no-test"),
        ("providers", "add", "groq", "--key-file", "-", "--no-test"),
    ],
    ids=lambda command: command[0],
)
@pytest.mark.parametrize("table", ['[upstream]\nproxy = "http://127.0.0.1:9"\n', '[server]\nhost = "0.0.0.0"\n'])
async def test_nor_the_first_key_of_a_provider_that_only_a_key_brings_about(tmp_path, command, table):
    table += '[clients.me]\nkey = "a-client-key-0123456789"\n'
    (tmp_path / "proxy-core.toml").write_text(table)

    code, output = await run(tmp_path, *command, stdin="a-key-of-mine", PROXY_DATA_DIR=str(tmp_path / "data"))

    assert code != 0
    assert "was only found in the working directory" in output
    assert "nothing was saved" in output
    assert not list((tmp_path / "data").rglob("groq/*.json"))
    assert (tmp_path / "proxy-core.toml").read_text() == table


async def test_a_key_is_stored_if_the_file_is_named(tmp_path):
    (tmp_path / "proxy-core.toml").write_text(f'[providers.acme]\nbase_url = "{EVIL}"\n')
    command = ("credentials", "add", "acme", "--config", "proxy-core.toml")

    code, output = await run(tmp_path, *command, stdin="a-key-of-mine", PROXY_DATA_DIR=str(tmp_path / "data"))

    assert (code, "was saved in" in output) == (0, True), output


async def test_a_new_login_is_not_made_at_an_address_found_there(tmp_path):
    (tmp_path / "proxy-core.toml").write_text(f'[plugins.qwen_code]\ndevice_url = "{EVIL}"\nclient_id = "x"\n')

    code, output = await run(tmp_path, "login", "qwen_code", "--yes")

    assert code != 0
    assert "plugins.qwen_code.device_url" in output
    assert "Traceback" not in output
    assert "was only found in the working directory" in output


@pytest.mark.slow
@pytest.mark.parametrize("command", [SCRIPT, MODULE], ids=["script", "module"])
async def test_no_process_imports_what_lies_in_the_working_directory(tmp_path, command):
    home = tmp_path / "home"
    home.mkdir()
    # Modules that are imported late; `python -m` itself imports some others before any code of ours runs.
    late = ["uvloop", "hypercorn", "aiohttp", "httpx_aiohttp", "platformdirs", "proxy_plugin_gemini", "filelock"]
    by_workers = ["multiprocessing", "json", "asyncio", "click", "proxy_core", "logging", "sitecustomize", "random"]
    for name in late + (by_workers if command is SCRIPT else ["multiprocessing"]):
        (home / f"{name}.py").write_text(f"open('{tmp_path}/imported', 'a').write('{name} ')\nraise SystemExit(9)\n")

    workers = ("--workers", "2", "--demo")
    async with serving(home, *workers, command=command, PROXY_API_KEY="key") as program, httpx.AsyncClient() as client:
        async with asyncio.timeout(60):
            while True:
                try:
                    answer = await client.get(f"{program.url}/healthz")
                    break
                except httpx.HTTPError:
                    await asyncio.sleep(0.1)

    assert answer.status_code == 200
    assert not (tmp_path / "imported").exists()


async def test_the_start_reports_what_was_read_and_where_each_key_is_sent(tmp_path):
    (tmp_path / ".env").write_text("MINE_API_BASE=http://127.0.0.1:9/v1\nMINE_API_KEY=secret-of-mine\n")
    (tmp_path / "proxy-core.toml").write_text("[server]\nshutdown_grace_s = 1\n")

    async with serving(tmp_path, PROXY_API_KEY="key", OPENAI_API_KEY="secret-of-openai") as program:
        async with asyncio.timeout(10):
            while "keys of openai" not in program.output:
                await asyncio.sleep(0.01)

    lines = program.output.splitlines()
    assert f"settings from {tmp_path}/proxy-core.toml" in lines
    assert f"settings from {tmp_path}/.env" in lines
    assert "keys of mine are sent to http://127.0.0.1:9" in lines
    assert "keys of openai are sent to https://api.openai.com" in lines
    assert "secret-of" not in program.output


@pytest.mark.parametrize(
    ("provider", "servers"),
    [
        (
            "gemini_cli",
            "https://cloudcode-pa.googleapis.com, https://oauth2.googleapis.com, https://www.googleapis.com",
        ),
        ("qwen_code", "https://dashscope.aliyuncs.com, https://chat.qwen.ai"),
    ],
)
def test_the_start_reports_where_the_tokens_of_logins_are_sent(read, provider, servers):
    log_in(read(), provider)
    now = start(read(), to_run=False).current

    lines = list(destinations(now.catalog, now.pools))

    assert lines == [f"tokens of {provider} are sent to {servers}"]


def test_the_start_reports_every_server_of_a_providers_keys(read):
    keys = '[{"key": "key-one-0123456789", "tier": "model_studio-us"}, {"key": "sk-sp-0123456789"}]'
    now = start(read(PROXY_PROVIDERS__QWEN_CODE__API_KEYS=keys), to_run=False).current

    (line,) = destinations(now.catalog, now.pools)

    assert "https://dashscope-us.aliyuncs.com, https://coding-intl.dashscope.aliyuncs.com" in line


def test_the_start_reports_the_server_that_is_asked_for_quotas(read):
    now = start(read(CHUTES_API_KEY="key-one-0123456789"), to_run=False).current

    assert list(destinations(now.catalog, now.pools)) == [
        "keys of chutes are sent to https://llm.chutes.ai, https://api.chutes.ai"
    ]


#: Each opens a proxy to others, or sends what it knows elsewhere; first in a settings file, then as a variable.
OPENINGS = {
    "server.host": ('[server]\nhost = "0.0.0.0"\n', "PROXY_SERVER__HOST=0.0.0.0"),
    "server.host, by name": ('[server]\nhost = "proxy.lan"\n', "PROXY_SERVER__HOST=proxy.lan"),
    "server.cors_origins": (
        '[server]\ncors_origins = ["https://evil.example"]\n',
        "PROXY_SERVER__CORS_ORIGINS=https://x.y",
    ),
    "upstream.fetch_links": ('[upstream]\nfetch_links = "anywhere"\n', "PROXY_UPSTREAM__FETCH_LINKS=anywhere"),
    "state.url": ('[state]\nurl = "redis://127.0.0.1:9/0"\n', "PROXY_STATE__URL=redis://127.0.0.1:9/0"),
    "plugins.otel.endpoint": (f'[plugins.otel]\nendpoint = "{EVIL}"\n', f"PROXY_PLUGINS__OTEL__ENDPOINT={EVIL}"),
    "plugins.otel.records_endpoint": (
        f'[plugins.otel]\nrecords_endpoint = "{EVIL}"\n',
        f"PROXY_PLUGINS__OTEL__RECORDS_ENDPOINT={EVIL}",
    ),
}


@pytest.mark.parametrize(("table", "variable"), OPENINGS.values(), ids=OPENINGS)
@pytest.mark.parametrize("name", ["proxy-core.toml", ".env"])
def test_a_file_found_there_cannot_open_a_proxy_with_keys_from_elsewhere(
    tmp_path, read, name, table, variable, request
):
    setting = request.node.callspec.id.rpartition("-")[2].partition(",")[0]
    (tmp_path / name).write_text(table if name == "proxy-core.toml" else variable + "\n")

    with pytest.raises(SettingsError) as stopped:
        start(read(OPENAI_API_KEY=KEY), to_run=False)

    (line,) = stopped.value.problems
    assert line.startswith(f"{setting}: {tmp_path / name} was only found in the working directory")
    assert KEY not in line
    # Nothing is at stake without such keys, and one place may set both.
    start(read(), to_run=False)
    with (tmp_path / ".env").open("a") as dotenv:
        dotenv.write(f"OPENAI_API_KEY={KEY}\n")
    start(read(), to_run=False)


@pytest.mark.parametrize(("table", "variable"), OPENINGS.values(), ids=OPENINGS)
def test_nor_one_with_stored_logins_but_whoever_names_the_file_may(tmp_path, read, table, variable):
    log_in(read(), "gemini_cli")
    (tmp_path / "proxy-core.toml").write_text(table)

    with pytest.raises(SettingsError, match="stored elsewhere"):
        start(read(), to_run=False)

    start(read(tmp_path / "proxy-core.toml"), to_run=False)
    start(read(PROXY_CONFIG=str(tmp_path / "proxy-core.toml")), to_run=False)


@pytest.mark.parametrize(("table", "variable"), OPENINGS.values(), ids=OPENINGS)
def test_the_environment_may_open_it(tmp_path, read, table, variable):
    (tmp_path / "proxy-core.toml").write_text(table)
    name, _, value = variable.partition("=")

    start(read(**{name: value, "OPENAI_API_KEY": KEY}), to_run=False)


@pytest.fixture
def own_folder(tmp_path, monkeypatch):
    """The user's own folder of settings, reached by a link."""
    (tmp_path / "real" / "proxy-core").mkdir(parents=True)
    (tmp_path / "linked").symlink_to(tmp_path / "real")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "linked"))
    return tmp_path / "real" / "proxy-core"


@pytest.mark.parametrize(("table", "variable"), OPENINGS.values(), ids=OPENINGS)
@pytest.mark.parametrize("name", ["proxy-core.toml", ".env"])
def test_the_users_own_file_stays_their_own_where_they_stand_beside_it(tmp_path, own_folder, name, table, variable):
    (own_folder / name).write_text(table if name == "proxy-core.toml" else variable + "\n")
    environ = {"PROXY_DATA_DIR": str(tmp_path / "data"), "PROXY_API_KEY": "client", "OPENAI_API_KEY": KEY}

    start(load(environ=environ, cwd=own_folder), to_run=False)


def test_a_folder_below_the_users_own_or_above_it_is_not_theirs(tmp_path, own_folder):
    (own_folder / "below").mkdir()
    environ = {"PROXY_DATA_DIR": str(tmp_path / "data"), "PROXY_API_KEY": "client", "OPENAI_API_KEY": KEY}
    for folder in (own_folder / "below", own_folder.parent):
        (folder / ".env").write_text(f"OPENAI_API_BASE={EVIL}\n")
        with pytest.raises(SettingsError, match="only found in the working directory"):
            start(load(environ=environ, cwd=folder), to_run=False)


def test_the_users_own_file_may_name_secrets_elsewhere(tmp_path, own_folder):
    (tmp_path / "ck").write_text("a-client-key-of-their-own")
    (own_folder / "proxy-core.toml").write_text(f'[clients.me]\nkey_file = "{tmp_path / "ck"}"\n')
    (own_folder / ".env").write_text(f"GROQ_API_KEY_FILE={tmp_path / 'ck'}\n")

    loaded = load(environ={}, cwd=own_folder)

    assert loaded.settings.clients["me"].key.get_secret_value() == "a-client-key-of-their-own"
    assert loaded.provider("groq").api_keys[0].key.get_secret_value() == "a-client-key-of-their-own"
    assert not loaded.sources.found_here


@pytest.mark.parametrize("command", [("config", "check"), ("doctor",), ("credentials", "test", "box")], ids="-".join)
async def test_commands_take_what_init_wrote_there(tmp_path, command):
    home = tmp_path / "proxy-core"
    home.mkdir()
    (home / "proxy-core.toml").write_text(
        f'[providers.box]\nbase_url = "{EVIL}"\n[clients.me]\nkey = "a-client-key-0123456789"\n'
    )
    environ = {"XDG_CONFIG_HOME": str(tmp_path), "PROXY_DATA_DIR": str(tmp_path / "data")}
    added, _ = await run(home, "credentials", "add", "box", stdin="a-key-of-the-vault", **environ)

    _, output = await run(home, *command, **environ)

    assert added == 0
    assert "was only found in" not in output


def test_what_is_private_anyway_may_be_set_there(tmp_path, read):
    (tmp_path / "proxy-core.toml").write_text(
        '[server]\nhost = "127.0.0.2"\nport = 9000\n[upstream]\nfetch_links = "nowhere"\n[state]\nurl = "memory:"\n'
    )

    start(read(OPENAI_API_KEY=KEY), to_run=False)


def test_the_command_line_decides_who_reaches_it(tmp_path):
    (tmp_path / ".env").write_text("PROXY_SERVER__HOST=0.0.0.0\n")
    environ = {"PROXY_DATA_DIR": str(tmp_path / "data"), "PROXY_API_KEY": "client", "OPENAI_API_KEY": KEY}

    start(load(environ=environ, cwd=tmp_path, overrides={"server": {"host": "127.0.0.1"}}), to_run=False)
    start(load(environ=environ, cwd=tmp_path, overrides={"server": {"host": "0.0.0.0"}}), to_run=False)


async def test_the_start_reports_what_found_files_say_about_access_guards_and_records(tmp_path):
    (tmp_path / ".env").write_text("PROXY_API_KEY=the-clients-key-in-a-file\nPROXY_PLUGINS__DISABLED=soonest_reset\n")
    (tmp_path / "proxy-core.toml").write_text(
        '[clients.laptop]\nkey = "the-laptops-key-in-a-file"\n[log]\nlevel = "info"\n'
        '[plugins.redaction]\nmask = ["email"]\n'
    )

    async with serving(tmp_path, OPENAI_API_KEY="secret-of-openai") as program:
        async with asyncio.timeout(10):
            while "keys of openai" not in program.output:
                await asyncio.sleep(0.01)

    lines = program.output.splitlines()
    here = "was found in the working directory, and sets"
    assert f"{tmp_path}/.env {here} clients.default, plugins.disabled" in lines
    assert f"{tmp_path}/proxy-core.toml {here} clients.laptop, plugins.redaction" in lines
    assert "in-a-file" not in program.output
