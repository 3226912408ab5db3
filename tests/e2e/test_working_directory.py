"""What lies in the working directory is not trusted: no address for keys from elsewhere, and no code to run."""

import asyncio

import httpx
import pytest

from proxy_core import SettingsError
from proxy_core.runtime.start import start
from proxy_core.settings.loading import load
from proxy_core.testing.program import MODULE, SCRIPT, serving

EVIL = "http://127.0.0.1:9/v1"
KEY = "a-key-from-elsewhere"

#: Each sets an address in a file that nobody named.
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
