"""``proxy-core config check|show|diff``."""

import asyncio
import json

import pytest
from oauth_site import install, typed

from proxy_core.testing import FakeOAuthServer

SECRETS = ("canary-client-key", "canary-provider-key", "canary-header", "canary-password", "canary-store", "canary-new")
TOML = """
[clients.laptop]
key = "canary-client-key"
models = ["a*"]

[providers.house]
base_url = "http://127.0.0.1:1/v1"
api_keys = [{ key = "canary-provider-key", tier = "pro" }]
headers = { x-a = "canary-header" }

[plugins.example]
password = "canary-password"
"""


@pytest.fixture
async def variables(tmp_path):
    async with FakeOAuthServer() as server:
        yield install(tmp_path, server)


@pytest.fixture
def run(tmp_path, variables):
    (tmp_path / "proxy-core.toml").write_text(TOML)

    async def run(*arguments, **more):
        code, output = await typed(tmp_path, variables | more, "config", *arguments)
        assert not any(secret in output for secret in SECRETS), output
        assert "Traceback" not in output, output
        return code, output

    return run


async def test_show_names_value_and_origin_of_what_is_set(run, tmp_path):
    environment = {
        "PROXY_STATE__URL": "redis://u:canary-store@h/0",
        "TIMEOUT_CONNECT": "5",
        "PROXY_SERVER__PORT": "81",
        "MAX_CONCURRENT_REQUESTS_PER_KEY_HOUSE": "3",
    }
    (code, text), (_, table), (_, everything) = await asyncio.gather(
        run("show", "--json", **environment), run("show", **environment), run("show", "--all")
    )
    found = {line["key"]: (line["value"], line["origin"]) for line in json.loads(text)}
    file = tmp_path / "proxy-core.toml"

    assert code == 0
    assert found["clients.laptop.key"] == ("********", f"{file}:3")
    assert found["clients.laptop.models"] == ('["a*"]', f"{file}:4")
    assert found["providers.house.api_keys[0].key"] == ("********", f"{file}:8")
    assert found["providers.house.api_keys[0].tier"] == ('"pro"', f"{file}:8")
    assert found["providers.house.headers.x-a"] == ("********", f"{file}:9")
    assert found["plugins.example.password"] == ("********", f"{file}:12")
    assert found["state.url"] == ("********", "environment variable PROXY_STATE__URL")
    assert found["timeouts.connect_s"] == ("5.0", "environment variable TIMEOUT_CONNECT")
    assert found["server.port"] == ("81", "environment variable PROXY_SERVER__PORT")
    assert found["providers.house.rotation.max_concurrent"][1] == (
        "environment variable MAX_CONCURRENT_REQUESTS_PER_KEY_HOUSE"
    )
    assert not any(key.startswith("records.") for key in found)
    assert "clients.laptop.key" in table
    assert "records.enabled" in everything and "default" in everything


async def test_check_passes_what_a_start_would_take(run):
    code, output = await run("check")

    assert (code, output) == (0, "settings are valid\n")


async def test_check_reports_all_problems_with_their_origins(run, tmp_path):
    (tmp_path / "proxy-core.toml").write_text(
        TOML + '\n[server]\nhost = "0.0.0.0"\nprot = 1\n\n[providers.house.rotation]\ntolerance = -1\n'
    )
    code, output = await run("check", OAUTH_REFRESH_INTERVAL="0")

    assert code == 1
    assert "server.prot: no such setting; did you mean 'port'?" in output
    assert "providers.house.rotation.tolerance" in output
    assert "credentials.refresh_interval_s" in output and "OAUTH_REFRESH_INTERVAL" in output
    assert str(tmp_path / "proxy-core.toml") in output


async def test_check_finds_what_only_composing_would(run, tmp_path):
    cases = {
        '[routing]\nselector = "none"\n': "routing.selector",
        '[state]\nurl = "nosuch://x"\n': "state.url",
        "[server.hypercorn]\nnosuch = 1\n": "nosuch",
        '[plugins.exampel]\nbase = "x"\n': "did you mean 'example'",
        "[sanitizers]\norder = ['nosuch']\n": "sanitizers.order",
    }
    for number, text in enumerate(cases):
        (tmp_path / f"{number}.toml").write_text(text)
    results = await asyncio.gather(*(run("check", "--config", f"{n}.toml") for n in range(len(cases))))

    for words, (code, output) in zip(cases.values(), results, strict=True):
        assert (code, words in output) == (1, True), output


async def test_check_reports_a_plugin_whose_settings_are_wrong(run, tmp_path):
    (tmp_path / "wrong.toml").write_text("[plugins.example]\nnosuch = 1\n")
    (code, output), (warned, told) = await asyncio.gather(
        run("check", "--config", "wrong.toml"), run("check", PROXY_PLUGINS__EXAMPLE__NOSUCH="1")
    )

    assert (code, warned) == (1, 0)
    assert "plugins.example.nosuch: no such setting" in output
    assert "warning: PROXY_PLUGINS__EXAMPLE__NOSUCH sets nothing" in told


async def test_diff_with_another_file_masks_secrets(run, tmp_path):
    new = tmp_path / "new.toml"
    new.write_text(TOML.replace("canary-client-key", "canary-new").replace('["a*"]', '["b*"]') + "[server]\nport = 5\n")
    (code, output), (same, told), (differs, _), (missing, _) = await asyncio.gather(
        run("diff", str(new)),
        run("diff", str(tmp_path / "proxy-core.toml"), "--exit-code"),
        run("diff", str(new), "--exit-code"),
        run("diff", "/nowhere.toml"),
    )

    assert (code, same, differs, missing) == (0, 0, 1, 2)
    assert told == "no difference\n"
    assert f"~ clients.laptop.key: a different secret, from {new}:3" in output
    assert '- clients.laptop.models = ["a*"]' in output and '+ clients.laptop.models = ["b*"]' in output
    assert "- server.port = 8000" in output and "+ server.port = 5" in output
    assert "base_url" not in output


async def test_diff_without_a_file_is_against_the_defaults(run):
    code, output = await run("diff", PROXY_SERVER__PORT="81")

    assert code == 0
    assert "- server.port = 8000" in output and "+ server.port = 81" in output
    assert "+ clients.laptop.key = ********" in output


@pytest.mark.parametrize("text", ["[server\nport = 1\n", "[plugins]\nrequired = ['nosuch']\n", "nosuch = 1\n"])
async def test_check_and_doctor_say_what_is_wrong_even_if_no_plugin_can_be_asked(run, tmp_path, variables, text):
    (tmp_path / "proxy-core.toml").write_text(text)

    code, output = await run("check")
    doctor, found = await typed(tmp_path, variables, "doctor", "--json")

    assert (code, doctor) == (1, 1), output
    assert output.startswith("problem: ")
    assert [f["area"] for f in json.loads(found)["findings"]][:1] == ["settings"]


async def test_a_difference_from_the_defaults_is_found_wherever_the_settings_file_is(run, tmp_path):
    folder = tmp_path / "config" / "proxy-core"
    folder.mkdir(parents=True)
    (tmp_path / "proxy-core.toml").unlink()
    (folder / "proxy-core.toml").write_text("[server]\nport = 9000\n")

    _, output = await run("diff")

    assert f"+ server.port = 9000  ({folder / 'proxy-core.toml'}:2)" in output


async def test_show_has_what_variables_of_other_names_set_in_plugins_and_lists(run):
    environment = {
        "OVERRIDE_TEMPERATURE_ZERO": "set",
        "GEMINI_CLI_PROJECT_ID": "mine",
        "CUSTOM_CAP_HOUSE_T2_BIG": "80%",
        "HOUSE_MODELS": '{"a": {"id": "org/a"}, "b": {}}',
    }

    _, text = await run("show", "--json", **environment)

    found = {line["key"]: (line["value"], line["origin"]) for line in json.loads(text)}
    cap, models = "environment variable CUSTOM_CAP_HOUSE_T2_BIG", "environment variable HOUSE_MODELS"
    assert found["plugins.mirrowel.temperature_zero"] == ('"set"', "environment variable OVERRIDE_TEMPERATURE_ZERO")
    assert found["plugins.gemini_cli.project"] == ('"mine"', "environment variable GEMINI_CLI_PROJECT_ID")
    assert found["providers.house.rotation.caps[0].limit"] == ('"80%"', cap)
    assert found["providers.house.rotation.caps[0].models"] == ('"BIG"', cap)
    assert {key: value for key, value in found.items() if key.startswith("providers.house.models")} == {
        "providers.house.models.a.id": ('"org/a"', models),
        "providers.house.models.b": ('"{}"', models),
    }
