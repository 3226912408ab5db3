"""What a new user sees of a proxy: its banner, its end, the list of models, tables on a narrow terminal."""

import asyncio
import json
import signal

import httpx
import pytest

from proxy_core.cli.api import table
from proxy_core.testing import FakeUpstream, run, serving, stall


@pytest.fixture
async def upstream():
    async with FakeUpstream() as upstream:
        yield upstream


async def printed(program, *words):
    async with asyncio.timeout(30):
        while not all(word in program.output for word in words):
            await asyncio.sleep(0.01)


async def test_the_banner_says_what_is_in_force_and_how_to_stop(tmp_path):
    (tmp_path / "own.toml").write_text('[clients.laptop]\nkey = "0123456789abcdef-long"\n')
    variables = {"GROQ_API_KEY_1": "sk-canary-0123456789"}
    async with serving(tmp_path, "--config", "own.toml", **variables) as program:
        await printed(program, "Ctrl-C")

    assert "settings from own.toml" in program.output
    assert "providers: groq (GROQ_API_KEY_1)" in program.output
    assert "clients: laptop" in program.output
    assert "docs: https://" in program.output and "sk-canary" not in program.output


async def test_the_banner_names_some_of_many_keys_and_obeys_no_label(tmp_path):
    keys = ", ".join(f'{{key = "sk-canary-{number:09}", label = "a\\u202e{number}"}}' for number in range(1000))
    (tmp_path / "own.toml").write_text(f"[providers.groq]\napi_keys = [{keys}]\n")
    async with serving(tmp_path, "--config", "own.toml") as program:
        await printed(program, "Ctrl-C")
    (line,) = [line for line in program.output.splitlines() if line.startswith("providers: ")]

    assert line.startswith("providers: groq (a 0, a 1, ")
    assert line.endswith(", a 9 and 990 more)")


async def test_each_key_is_called_by_the_variable_that_holds_it(tmp_path, upstream):
    (tmp_path / "keys").write_text("c" * 20 + "\n# the old one\n" + "d" * 20 + "\n")
    upstream.for_key("b" * 20).responds(401)
    variables = {
        **{
            "DUO_API_BASE": upstream.url,
            "DUO_API_KEY_1": "a" * 20,
            "DUO_API_KEY_2": "a" * 20,
            "DUO_API_KEY_7": "b" * 20,
        },
        **{"MANY_API_BASE": upstream.url, "MANY_API_KEY_FILE": str(tmp_path / "keys")},
        **{"OVER_API_BASE": upstream.url, "OVER_API_KEY": "e" * 20, "PROXY_PROVIDERS__OVER__API_KEYS": "f" * 20},
    }
    names = {
        "duo": ["DUO_API_KEY_1", "DUO_API_KEY_7"],
        "many": ["MANY_API_KEY:1", "MANY_API_KEY:2"],
        "over": ["providers.over.api_keys[0]"],
    }
    async with serving(tmp_path, **variables, PROXY_API_KEY="0123456789abcdef-long") as program:
        pass
    _, listed = await run(tmp_path, "credentials", "list", "--json", **variables)
    tested, said = await run(tmp_path, "credentials", "test", "duo", **variables)
    one, second = await run(tmp_path, "credentials", "test", "many", "MANY_API_KEY:2", **variables)

    for name, labels in names.items():
        assert f"{name} ({', '.join(labels)})" in program.output
        assert [found["name"] for found in json.loads(listed) if found["provider"] == name] == labels
    places = {found["name"]: (found["source"], found["place"]) for found in json.loads(listed)}
    assert places["providers.over.api_keys[0]"] == (
        "environment",
        "environment variable PROXY_PROVIDERS__OVER__API_KEYS",
    )
    assert tested == 1 and [line.split()[1] for line in said.splitlines() if "FAILED" in line] == ["DUO_API_KEY_7:"], (
        said
    )
    assert one == 0 and upstream.requests[-1].key == "d" * 20, second


@pytest.mark.parametrize(
    "command", [("config", "check"), ("serve", "--port", "0"), ("credentials", "list")], ids="-".join
)
async def test_what_is_wrong_with_keys_of_vendors_is_told_with_the_rest(tmp_path, command):
    wrong = {
        "GROQ_API_KEY": "a b",
        "GEMINI_API_KEY_2": "c d",
        "XX_API_BASE": "zz",
        "PROXY_STATE__USAGE_RETENTION_DAYS": "x",
    }

    code, output = await run(tmp_path, *command, OTHER_PROGRAMS_API_KEY="e f", **wrong)

    assert code != 0
    assert all(output.count(f"environment variable {name})") == 1 for name in wrong), output
    assert "OTHER_PROGRAMS" not in output and "Traceback" not in output


async def test_a_stopping_proxy_says_what_it_is_waiting_for(tmp_path, upstream):
    upstream.for_path("/chat/completions").sends(stall())
    async with (
        serving(tmp_path, HOME_API_BASE=upstream.url, PROXY_API_KEY="0123456789abcdef-long") as program,
        httpx.AsyncClient(timeout=30) as http,
    ):
        asked = asyncio.create_task(
            http.post(
                f"{program.url}/v1/chat/completions",
                json={"model": "home/x", "messages": [{"role": "user", "content": "hi"}]},
                headers={"authorization": "Bearer 0123456789abcdef-long"},
            )
        )
        async with asyncio.timeout(30):
            while not upstream.requests:
                await asyncio.sleep(0.01)
        program.process.send_signal(signal.SIGTERM)
        await printed(program, "stopping: up to 30 s for 1 running request (of these at providers: home 1)")
        program.process.send_signal(signal.SIGTERM)
        await asked


async def test_models_names_the_providers_that_did_not_answer(tmp_path, upstream):
    upstream.for_path("/models").responds(body=b'{"data": [{"id": "big"}]}')
    variables = {"HOME_API_BASE": upstream.url, "GONE_API_BASE": "http://127.0.0.1:9/v1"}
    code, output = await run(tmp_path, "models", **variables)
    none, told = await run(tmp_path, "models", GONE_API_BASE="http://127.0.0.1:9/v1")

    assert (code, none) == (0, 1)
    assert "home/big" in output and "gone did not give its list of models: " in output
    assert "gone did not give" in told and "home" not in told


def test_a_table_on_a_narrow_terminal_has_long_cells_below(monkeypatch, capsys):
    words = " ".join(["because"] * 12)
    rows = [("groq", "usable", "-"), ("gemini_cli", "needs login", words)]
    wide = table(("provider", "state", "why"), rows)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "60")
    narrow = table(("provider", "state", "why"), rows).splitlines()

    assert wide.splitlines()[2] == f"gemini_cli  needs login  {words}"
    assert max(map(len, narrow)) <= 60
    assert narrow[1].split() == ["groq", "usable", "-"] and narrow[2].endswith("…")
    assert " ".join(" ".join(narrow[3:]).split()) == f"why: {words}"


def test_a_table_with_too_many_columns_has_a_block_for_each_row(monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "40")
    names = [f"column{number}" for number in range(9)]

    blocks = table(names, [names, ["x"] * 9]).split("\n\n")

    assert [[line.split() for line in block.splitlines()] for block in blocks] == [
        [[name, name] for name in names],
        [[name, "x"] for name in names],
    ]


@pytest.mark.parametrize("name", ["demo/none", "demo/", "renamed"])
async def test_the_demo_has_only_its_own_models(tmp_path, name):
    (tmp_path / "own.toml").write_text('[models]\nrenamed = "demo/none"\n')
    async with serving(tmp_path, "--demo", "--config", "own.toml") as program, httpx.AsyncClient(timeout=30) as http:
        await printed(program, "Ctrl-C")
        key = (tmp_path / "data" / "proxy-core" / "client.key").read_text().strip()
        answers = [
            await http.post(
                f"{program.url}/v1/{path}",
                json={"model": name, "messages": [{"role": "user", "content": "hi"}], "input": "hi", "prompt": "hi"},
                headers={"authorization": f"Bearer {key}"},
            )
            for path in ("chat/completions", "completions", "embeddings")
        ]

    assert [answer.status_code for answer in answers] == [404] * 3, [answer.text for answer in answers]
    assert all(json.loads(answer.text)["error"]["message"] for answer in answers)
