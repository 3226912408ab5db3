"""A folder of Mirrowel's proxy is imported: what becomes of each line of it, and what its clients notice."""

import json
import re
import stat
import time
from datetime import UTC, datetime

import httpx
import pytest

from proxy_core.testing import FakeUpstream, run, serving

APP_PASSWORD = "not-to-be-shown"
CLIENT = "client-key-of-the-old-proxy"
HOUSE = ("house-key-0123456789", "house-key-9876543210", "house-key-of-another-file")
GROQ = "gsk-first-0123456789"
SECRETS = (
    CLIENT,
    *HOUSE,
    GROQ,
    "gsk-second",
    "gsk-third",
    "co-0123456789",
    "ya29.",
    "1//",
    APP_PASSWORD,
    "az-012",
    "tool-0",
)

#: Each line of the main file, with the beginning of what the table says about it; ``None``: nothing to say.
LINES = [
    ("# a comment", None),
    (f'PROXY_API_KEY="{CLIENT}"', "imported clients.default.key"),
    (f"export GROQ_API_KEY='{GROQ}'", "imported a key of groq"),
    ("GROQ_API_KEY_2=gsk-second-0123456789   # a comment", "imported a key of groq"),
    ("GROQ_API_KEY_work = gsk-third-0123456789", "imported a key of groq"),
    (f"GROQ_API_KEY_3={GROQ}", "no meaning here the same key as GROQ_API_KEY"),
    ("", None),
    ('OPENAI_API_KEY_1="YOUR_OPENAI_API_KEY"', "no meaning here a placeholder"),
    ("BEDROCK_API_KEY_1=", "no meaning here it is empty"),
    ("TOGETHER_AI_API_KEY=tg-0123456789abcdef", "imported a key of together_ai"),
    ("MISTRAL_API_KEY=schlüssel", "no meaning here a key is one line of printable ASCII"),
    ("AZURE_API_KEY=az-0123456789", "differs needs [plugins.litellm.providers.azure]"),
    ("TOOL_API_KEY=tool-0123456789", "differs no installed plugin has a provider 'tool'"),
    ("LAB_API_BASE=", "no meaning here it is empty"),
    ("LAB_API_KEY=lab-0123456789", "differs no installed plugin has a provider 'lab'"),
    ("IFLOW_API_KEY=if-0123456789", "differs no plugin: that access was ended"),
    ("HOUSE_API_BASE={base}", "imported providers.house.base_url"),
    (f"HOUSE_API_KEY={HOUSE[0]}", "imported a key of house"),
    (f"HOUSE_API_KEY_2={HOUSE[1]}", "imported a key of house"),
    (
        """HOUSE_MODELS='{{"coder": {{"id": "org/coder", "options": {{"top_k": 7}}}}, "hidden": {{}}}}'""",
        "imported providers.house.models",
    ),
    ("IGNORE_MODELS_HOUSE=*", "imported providers.house.exclude_models"),
    ("WHITELIST_MODELS_HOUSE=coder", "imported providers.house.include_models"),
    ("IGNORE_MODELS_NOBODY=x", "no meaning here there is no provider of that name"),
    ("NOBODY_MODELS=x", "no meaning here there is no provider of that name"),
    ("ROTATION_MODE_HOUSE=balanced", "imported providers.house.rotation.selector"),
    ("ROTATION_MODE_NOBODY=balanced", "no meaning here there is no provider of that name"),
    ("ROTATION_TOLERANCE=0.0", "imported providers."),
    ("MAX_CONCURRENT_REQUESTS_PER_KEY_HOUSE=4", "imported providers.house.rotation.max_concurrent"),
    ("OPTIMAL_CONCURRENT_REQUESTS_PER_KEY_HOUSE_SEQUENTIAL=2", "no meaning here house uses the selector balanced"),
    ("CONCURRENCY_MULTIPLIER_HOUSE_PRIORITY_1=2", "imported providers.house.rotation.multipliers.1"),
    ("FAIR_CYCLE_HOUSE=true", "imported providers.house.rotation.fair_cycle"),
    ("EXHAUSTION_COOLDOWN_THRESHOLD=120", "imported providers."),
    ("QUOTA_GROUPS_HOUSE_BIG=coder,other", "imported providers.house.rotation.quota_groups.big"),
    ("CUSTOM_CAP_HOUSE_T2_BIG=80%", "imported providers.house.rotation.caps"),
    ("CUSTOM_CAP_COOLDOWN_HOUSE_T2_BIG=fixed:60", "imported providers.house.rotation.caps"),
    ("CUSTOM_CAP_COOLDOWN_HOUSE_T3_NONE=fixed:60", "no meaning here there is no cap"),
    ("GLOBAL_TIMEOUT=45", "no meaning here line 53 sets it again"),
    ("TIMEOUT_CONNECT=abc", "differs timeouts.connect_s: Input should be a valid number"),
    ("TIMEOUT_READ_STREAMING=200", "imported timeouts.idle_s"),
    ("OVERRIDE_TEMPERATURE_ZERO=set", "imported plugins.mirrowel.temperature_zero"),
    ("OAUTH_REFRESH_INTERVAL=900", "imported credentials.refresh_interval_s"),
    ("SKIP_OAUTH_INIT_CHECK=true", "no meaning here credentials are not tested"),
    ("SUPPRESS_LITELLM_SERIALIZATION_WARNINGS=1", "no meaning here these warnings are never printed"),
    ("MODEL_INFO_REFRESH_INTERVAL=21600", "no meaning here prices and limits"),
    ("GEMINI_CLI_OAUTH_1=~/elsewhere.json", "no meaning here read once, at the first start"),
    ("QWEN_CODE_OAUTH_1=gone.json", "differs it cannot be used: cannot be read (No such file or directory)"),
    ("GEMINI_CLI_PROJECT_ID=my-project", "imported plugins.gemini_cli.project"),
    ("GEMINI_CLI_UA_VERSION=0.31.0", "no meaning here requests to Google are worded"),
    ("GEMINI_CLI_1_ACCESS_TOKEN=ya29.one-0123456789", "imported a login of gemini_cli"),
    ("GEMINI_CLI_1_REFRESH_TOKEN=1//one-0123456789", "imported a login of gemini_cli"),
    ("GEMINI_CLI_1_EMAIL=one@example.com", "imported a login of gemini_cli"),
    ("GEMINI_CLI_2_EMAIL=two@example.com", "differs neither an access token nor a refresh token"),
    ("GLOBAL_TIMEOUT=40", "imported routing.max_wait_s"),
    ("NO_PROXY=localhost,127.0.0.1", "imported upstream.no_proxy"),
    ("AWS_REGION_NAME=eu-central-1", "no meaning here litellm reads it from the environment"),
    ("not a line", "no meaning here it is not NAME=value"),
    ("MY_OTHER_VARIABLE=1", "no meaning here not a setting that the old proxy's documentation has"),
    ("MISTRAL_API_KEY_2='one two'", "no meaning here a provider's key has no blanks in it"),
]
FILES = {
    "(ROTATION_MODE": "imported routing.selector",
    "more.env:1 HOUSE_API_KEY_extra": "imported a key of house",
    "more.env:2 GROQ_API_KEY": "no meaning here .env:3 GROQ_API_KEY comes first",
    "oauth_creds/gemini_cli_oauth_1.json": "imported a login of gemini_cli",
    "oauth_creds/gemini_cli_oauth_2.json": "no meaning here the same account as in",
    "oauth_creds/gemini_cli_oauth_3.json": "differs it cannot be used: it is not JSON",
    "oauth_creds/iflow_oauth_1.json": "differs no plugin: that access was ended",
    "oauth_creds/other.json": "differs not a name that the old proxy read",
    "oauth_creds/all_providers_combined.env": "no meaning here not a login that the old proxy used",
    "usage/usage_house.json": "imported 1 totals",
    "usage/usage_gemini_cli.json": "imported 1 totals",
    "usage/usage_later.json": "differs its schema_version is 3",
    "usage/usage_broken.json": "differs left out: it is not JSON",
    "key_usage.json": "imported 2 totals",
    "launcher_config.json host": "imported server.host",
    "launcher_config.json port": "imported server.port",
    "launcher_config.json enable_request_logging": "imported records.enabled",
    "launcher_config.json enable_raw_logging": "no meaning here headers and keys are never recorded",
    "launcher_config.json theme": "no meaning here not an entry that the old launcher had",
    "quota_viewer_config.json": "no meaning here the quota viewer's own",
    "logs": "no meaning here old logs",
}


def counts(**more):
    counted = {"request_count": 5, "success_count": 4, "failure_count": 1, "prompt_tokens": 100, "output_tokens": 60}
    tokens = {"thinking_tokens": 10, "prompt_tokens_cache_read": 20, "prompt_tokens_cache_write": 3}
    return {**counted, **tokens, "approx_cost": 0.5, "last_used_at": time.time() - 86_400, **more}


def usage(provider, name, accessor, model):
    about = {"provider": provider, "accessor": accessor, "model_usage": {model: {"windows": {}, "totals": counts()}}}
    return {"schema_version": 2, "credentials": {name: about}, "accessor_index": {accessor: name}}


def google(email, refresh):
    tokens = {"access_token": "ya29.file-0123456789", "refresh_token": refresh, "scope": "x"}
    client = {"client_id": "id-of-an-app", "client_secret": APP_PASSWORD}
    ends = int((time.time() + 3600) * 1000)
    return {**tokens, **client, "expiry_date": ends, "_proxy_metadata": {"email": email, "tier": "free-tier"}}


@pytest.fixture
async def upstream():
    async with FakeUpstream() as upstream:
        yield upstream


@pytest.fixture
def old(home, upstream):
    """A folder with every documented form."""
    today = datetime.now(UTC).date().isoformat()
    llama = {"groq/llama": {"success_count": 10, "prompt_tokens": 50, "completion_tokens": 60, "approx_cost": 0.1}}
    main = "\r\n".join(line.format(base=upstream.url) if "{" in line else line for line, _ in LINES)
    files = {
        ".env": "\ufeff" + main,
        "more.env": f"HOUSE_API_KEY_extra={HOUSE[2]}\nGROQ_API_KEY=another\n",
        "oauth_creds/gemini_cli_oauth_1.json": google("dev@example.com", "1//dev-0123456789"),
        "oauth_creds/gemini_cli_oauth_2.json": google("dev@example.com", "1//dev-9876543210"),
        "oauth_creds/gemini_cli_oauth_3.json": "{broken",
        "oauth_creds/iflow_oauth_1.json": {},
        "oauth_creds/other.json": {},
        "oauth_creds/all_providers_combined.env": "X=1",
        "usage/usage_house.json": usage("house", "abc", HOUSE[0], "house/coder"),
        "usage/usage_gemini_cli.json": usage(
            "gemini_cli", "dev@example.com", "oauth_creds/gemini_cli_oauth_1.json", "gemini_cli/gemini-2.5-pro"
        ),
        "usage/usage_later.json": {"schema_version": 3, "credentials": {}},
        "usage/usage_broken.json": "{",
        "key_usage.json": {
            GROQ: {"daily": {"date": today, "models": llama}, "global": {"models": llama}, "last_daily_reset": today}
        },
        "launcher_config.json": {
            **{"host": "127.0.0.1", "port": 8123, "theme": "dark"},
            **{"enable_request_logging": True, "enable_raw_logging": True},
        },
        "quota_viewer_config.json": {},
        "logs/proxy.log": "",
    }
    for name, content in files.items():
        path = home / "old" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((content if isinstance(content, str) else json.dumps(content)).encode())
    return home / "old"


def told(output):
    """The table: what was found, to the verdict and the note."""
    rows = [re.split(r"\s{2,}", line, maxsplit=2) for line in output.splitlines()]
    return {row[0]: f"{row[1]} {row[2]}" for row in rows if len(row) == 3}


def listing(folder):
    return {
        str(path): (path.stat().st_mtime_ns, path.stat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in [folder, *folder.rglob("*")]
    }


async def test_the_table_names_every_line_and_every_file(home, old):
    before = listing(old)

    code, output = await run(home, "import", "mirrowel", "old", "--yes")

    rows = told(output)
    assert code == 0, output
    for number, (line, expected) in enumerate(LINES, 1):
        found = [text for what, text in rows.items() if re.match(rf"\.env:{number}\b", what)]
        assert ([text.startswith(expected) for text in found] == [True]) if expected else not found, (line, found)
    for name, expected in FILES.items():
        text = next((text for what, text in rows.items() if what.startswith(name)), "")
        assert text.startswith(expected), (name, text)
    assert len(rows) == sum(expected is not None for _, expected in LINES) + len(FILES)
    assert not [secret for secret in SECRETS if secret in output]
    assert listing(old) == before, "the old folder was changed"
    for path in [p for folder in ("config", "data") for p in (home / folder).rglob("*") if p.is_file()]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert not any(key in (home / "config/proxy-core/proxy-core.toml").read_text() for key in (*HOUSE, GROQ))


async def test_clients_notice_no_difference(home, old, upstream):
    await run(home, "import", "mirrowel", "old", "--yes")
    upstream.responds()

    # No other provider is really asked for anything.
    google = {"PROXY_PLUGINS__DISABLED": "gemini_cli"}
    others = {f"PROXY_PROVIDERS__{name}__BASE_URL": upstream.url for name in ("GROQ", "TOGETHER_AI")}
    others |= {f"PROXY_PROVIDERS__{name}__DISCOVER": "false" for name in ("GROQ", "TOGETHER_AI")}
    client = httpx.AsyncClient(headers={"Authorization": f"Bearer {CLIENT}"})
    async with serving(home, **google, **others) as program, client:
        ask = {"model": "house/coder", "messages": [{"role": "user", "content": "hi"}], "temperature": 0}
        answers = [await client.post(program.url + "/v1/chat/completions", json=ask) for _ in range(3)]
        sent = [request for request in upstream.requests if request.path.endswith("/chat/completions")]
        hidden = await client.post(program.url + "/v1/chat/completions", json={**ask, "model": "house/hidden"})
        models = (await client.get(program.url + "/v1/models")).json()["data"]
        stranger = await client.get(program.url + "/v1/models", headers={"Authorization": "Bearer else"})

    body = sent[-1].json
    assert [answer.status_code for answer in answers] == [200] * 3
    assert (body["model"], body["top_k"], body["temperature"]) == ("org/coder", 7, 1.0)
    assert sorted(request.key for request in sent) == sorted(HOUSE), (
        "balanced over all keys, those of the other file included"
    )
    assert (hidden.status_code, stranger.status_code) == (404, 401)
    assert [card["id"] for card in models if card["id"].startswith("house/")] == ["house/coder"]
    assert not any(f"no active plugin provides {name!r}" in program.output for name in ("azure", "tool", "bedrock"))
    assert all(name in program.output for name in ("groq (", "together_ai (")), program.output


async def test_keys_and_logins_are_in_the_vault(home, old):
    await run(home, "import", "mirrowel", "old", "--yes")

    _, output = await run(home, "credentials", "list", "--json")

    listed = [(one["provider"], one["name"], one["state"], one["identity"], one["tier"]) for one in json.loads(output)]
    assert ("gemini_cli", "dev@example.com", "ok", "dev@example.com", "free-tier") in listed
    assert ("gemini_cli", "one@example.com", "ok", "one@example.com", None) in listed
    assert [one[1] for one in listed if one[0] == "groq"] == ["01", "02", "03-work"]


async def test_what_was_used_is_not_forgotten(home, old):
    await run(home, "import", "mirrowel", "old", "--yes")

    _, output = await run(home, "usage", "--json", "--by", "client,provider,model")

    rows = {row["provider"]: row for row in json.loads(output)}
    assert {row["client"] for row in rows.values()} == {"mirrowel"}
    house = rows["house"] | {"model": "coder", "requests": 5, "failures": 1, "prompt": 123, "cached": 20}
    assert rows["house"] == house | {"completion": 60, "reasoning": 10, "cost": 0.5}
    assert rows["groq"]["requests"] == 20
    assert rows["gemini_cli"]["requests"] == 5


async def test_a_second_run_finds_everything_there_already(home, old):
    await run(home, "import", "mirrowel", "old", "--yes")
    before = {path: path.read_bytes() for path in home.rglob("*.json")}

    code, output = await run(home, "import", "mirrowel", "old")

    assert code == 0
    assert "nothing to write" in output
    assert "imported" not in {text.split()[0] for text in told(output).values()}
    assert {path: path.read_bytes() for path in home.rglob("*.json")} == before


async def test_what_was_removed_since_does_not_return_unless_it_is_asked_for(home, old):
    await run(home, "import", "mirrowel", "old", "--yes")
    file = home / "config/proxy-core/proxy-core.toml"
    file.write_text(re.sub(r"(?m)^port = .*\n", "", file.read_text()))
    for provider, name in (("groq", "01"), ("gemini_cli", "dev@example.com")):
        code, output = await run(home, "credentials", "remove", provider, name, "--yes")
        assert code == 0, output

    code, output = await run(home, "import", "mirrowel", "old", "--yes")
    _, left = await run(home, "credentials", "list", "--json")
    unset = file.read_text()
    asked, more = await run(home, "import", "mirrowel", "old", "--yes", "--again")
    _, back = await run(home, "credentials", "list", "--json")

    gone = [what for what, text in told(output).items() if "imported before and is gone since" in text]
    assert code == 0 and "nothing to write" in output, output
    assert [what.split()[-1] for what in gone] == ["GROQ_API_KEY", "port", "oauth_creds/gemini_cli_oauth_1.json"], gone
    assert "port =" not in unset and "port = 8123" in file.read_text()
    names = [{(one["provider"], one["name"]) for one in json.loads(text)} for text in (left, back)]
    assert asked == 0 and names[1] - names[0] == {("groq", "01"), ("gemini_cli", "dev@example.com")}, more
    assert not any(
        "dev@example.com" in path.read_text() for path in (home / "data/proxy-core/plugins/mirrowel").iterdir()
    )


async def test_what_was_used_since_is_added(home, old):
    await run(home, "import", "mirrowel", "old", "--yes")
    grown = usage("house", "abc", HOUSE[0], "house/coder")
    grown["credentials"]["abc"]["model_usage"]["house/coder"]["totals"] = counts(request_count=7)
    (old / "usage/usage_house.json").write_text(json.dumps(grown))

    await run(home, "import", "mirrowel", "old", "--yes")
    _, output = await run(home, "usage", "--json", "--by", "provider")

    assert {row["provider"]: row["requests"] for row in json.loads(output)}["house"] == 7


async def test_the_line_endings_of_the_settings_file_stay(home):
    (home / "old").mkdir()
    (home / "old/.env").write_text("GLOBAL_TIMEOUT=45\nTIMEOUT_CONNECT=5\n")
    file = home / "mine.toml"
    file.write_bytes(b"# mine\r\n[server]\r\nport = 9000\r\n")

    code, output = await run(home, "import", "mirrowel", "old", "--config", "mine.toml", "--yes")

    text = file.read_bytes()
    assert code == 0 and b"max_wait_s = 45" in text, output
    assert text.startswith(b"# mine\r\n[server]\r\nport = 9000\r\n")
    assert text.count(b"\n") == text.count(b"\r\n")


async def test_the_users_settings_may_name_secrets_anywhere(home):
    (home / "old").mkdir()
    (home / "old/.env").write_text("GLOBAL_TIMEOUT=45\n")
    (home / "elsewhere").write_text("a-client-key-0123456789")
    file = home / "config/proxy-core/proxy-core.toml"
    file.parent.mkdir(parents=True)
    file.write_text(f'[clients.me]\nkey_file = "{home}/elsewhere"\n')

    code, output = await run(home, "import", "mirrowel", "old", "--yes")

    assert code == 0 and "max_wait_s = 45" in file.read_text(), output


async def test_usage_from_before_the_period_is_pointed_to(home):
    count_of_house(home / "old", last_used_at=time.time() - 40 * 86_400)
    await run(home, "import", "mirrowel", "old", "--yes")

    _, output = await run(home, "usage")
    since = output.split("--since ")[1].split()[0]
    _, shown = await run(home, "usage", "--since", since)

    assert "no usage in this period" in output and "5 requests, the last on" in output
    assert "house" in shown and "before" not in shown


async def used(home):
    """Requests by provider."""
    _, output = await run(home, "usage", "--json", "--by", "provider")
    return {row["provider"]: row["requests"] for row in json.loads(output)}


def count_of_house(folder, **totals):
    about = usage("house", "abc", HOUSE[0], "house/coder")
    about["credentials"]["abc"]["model_usage"]["house/coder"]["totals"] = counts(**totals)
    folder.joinpath("usage").mkdir(parents=True, exist_ok=True)
    folder.joinpath("usage/usage_house.json").write_text(json.dumps(about))


async def test_a_counter_that_began_anew_loses_nothing_and_counts_nothing_twice(home):
    found = []
    for requests, tokens in ((5, 100), (2, 40), (2, 40), (6, 90)):
        count_of_house(home / "old", request_count=requests, prompt_tokens=tokens)
        code, output = await run(home, "import", "mirrowel", "old", "--yes")
        assert code == 0, output
        found.append((await used(home))["house"])

    assert found == [5, 7, 7, 11]


async def test_usage_of_a_second_folder_is_added_and_that_of_a_copy_is_not(home):
    count_of_house(home / "old", request_count=5, prompt_tokens=100)
    count_of_house(home / "other", request_count=2, prompt_tokens=40)
    count_of_house(home / "copy", request_count=6, prompt_tokens=110)

    for folder in ("old", "other", "copy", "old", "other"):
        await run(home, "import", "mirrowel", folder, "--yes")

    assert (await used(home))["house"] == 8


REFUSED = {
    "GROQ_API_KEY=gsk-0123456789abcdef": "imported a key of groq",
    "ROTATION_MODE_GROQ=sequental": "differs providers.groq.rotation.selector: 'sequental' is not one of",
    "PROXY_API_KEY=a-key-of-clients-012345": "imported clients.default.key",
    "GLOBAL_TIMEOUT=45": "imported routing.max_wait_s",
    "HOUSE_API_BASE=api.house.example/v1": "differs providers.house.base_url: a URL begins with https://",
    "HOUSE_API_KEY=house-0123456789abcdef": "differs no installed plugin has a provider 'house'",
    "OTHER_QUOTA_REFRESH_INTERVAL=60": "no meaning here quotas of this provider are asked for every five minutes",
    "HTTPS_PROXY=gopher://127.0.0.1": "differs upstream.proxy: a proxy is",
}
LAUNCHER = {
    "host": ("300.1.1.1", "differs server.host: cannot listen on 300.1.1.1"),
    "port": (99999, "differs server.port: Input should be less than or equal to 65535"),
    "enable_request_logging": (True, "differs records.enabled: no plugin takes records"),
}


async def test_what_a_start_would_refuse_is_not_written(home):
    """With the plugins that are installed: here, none takes records."""
    (home / "old").mkdir()
    (home / "old/.env").write_text("\n".join(REFUSED))
    (home / "old/launcher_config.json").write_text(json.dumps({name: value for name, (value, _) in LAUNCHER.items()}))
    without = {"PROXY_PLUGINS__DISABLED": "jsonl"}

    code, output = await run(home, "import", "mirrowel", "old", "--yes", **without)
    again, second = await run(home, "import", "mirrowel", "old", "--yes", **without)

    assert (code, again) == (0, 0), output + second
    for number, expected in enumerate(REFUSED.values(), 1):
        row = next(text for what, text in told(output).items() if what.startswith(f".env:{number} "))
        assert row.startswith(expected), output
    for name, (_, expected) in LAUNCHER.items():
        assert told(output)[f"launcher_config.json {name}"].startswith(expected), output
    assert "nothing to write" in second
    async with serving(home, **without) as program:
        assert "groq (01)" in program.output, program.output


@pytest.mark.parametrize("typed", ["n\n", ""])
async def test_nothing_is_written_before_the_user_agrees(home, old, typed):
    code, output = await run(home, "import", "mirrowel", "old", stdin=typed)

    assert code == 1
    assert "Write" in output
    assert not (home / "config").exists()
    assert not [path for path in (home / "data").rglob("*") if path.is_file()]
    assert not list((home / "data").rglob("credentials/*/*.json"))


async def test_what_is_set_up_already_stays(home, old):
    file = home / "mine.toml"
    file.write_text('# mine\n[server]\nport = 9000  # stays\n\n[providers.house]\nbase_url = "http://127.0.0.1:1/v1"\n')

    code, output = await run(home, "import", "mirrowel", "old", "--config", "mine.toml", "--yes")

    rows, text = told(output), file.read_text()
    assert code == 0, output
    assert rows["launcher_config.json port"] == "differs mine.toml has another value for server.port, which stays"
    assert "differs mine.toml has another value for providers.house.base_url" in rows[".env:17 HOUSE_API_BASE"]
    assert text.startswith("# mine\n[server]\nport = 9000  # stays\n")
    assert "proxy-core serve --config" in output
    assert (await run(home, "config", "check", "--config", "mine.toml"))[0] == 0


#: Files that are not what they should be, and what the table says.
ODD = {
    ".env is not text": (".env", b"A=\xff\xfe\xfa", ".env", "differs it is neither UTF-8 nor UTF-16"),
    ".env is huge": (".env", b"A=1\n" * 500_000, ".env", "differs it cannot be read: it is larger than"),
    ".env in UTF-16": (".env", "GROQ_API_KEY=gsk-0123456789".encode("utf-16"), ".env:1 GROQ_API_KEY", "imported"),
    "usage is a list": ("usage/usage_a.json", b"[]", "usage/usage_a.json", "differs left out: it is not a JSON object"),
    "usage is empty": ("key_usage.json", b"", "key_usage.json", "differs left out: it is empty"),
    "usage counts nothing": ("key_usage.json", b"{}", "key_usage.json", "no meaning here it counts nothing"),
    "usage with odd values": (
        "usage/usage_a.json",
        json.dumps(
            {"credentials": {"a": {"provider": 1, "model_usage": {"m": {"totals": {"request_count": "x"}}}}}}
        ).encode(),
        "usage/usage_a.json",
        "no meaning here it counts nothing",
    ),
    "launcher is broken": ("launcher_config.json", b"{", "launcher_config.json", "differs left out: it is not JSON"),
    "a login is empty": ("oauth_creds/gemini_cli_oauth_1.json", b"", "oauth_creds/gemini_cli_oauth_1.json", "differs"),
    "a login is deep": (
        "oauth_creds/gemini_cli_oauth_1.json",
        b"[" * 100_000,
        "oauth_creds/gemini_cli_oauth_1.json",
        "differs it cannot be used: it is nested too deeply",
    ),
}


@pytest.mark.parametrize(("name", "content", "what", "expected"), ODD.values(), ids=ODD)
async def test_an_odd_file_is_named_and_keeps_no_other_from_being_imported(home, name, content, what, expected):
    (home / "old/oauth_creds").mkdir(parents=True)
    (home / "old/usage").mkdir()
    (home / "old/rest.env").write_text("TOGETHER_AI_API_KEY=tg-0123456789abcdef\n")
    (home / "old" / name).write_bytes(content)

    code, output = await run(home, "import", "mirrowel", "old", "--yes")

    assert code == 0, output
    assert told(output)[what].startswith(expected), output
    assert "imported a key of together_ai" in told(output)["rest.env:1 TOGETHER_AI_API_KEY"]


async def test_a_store_that_cannot_be_used_is_named_before_anything_is_written(home, old):
    code, output = await run(
        home, "import", "mirrowel", "old", "--yes", PROXY_STATE__URL="sqlite:////dev/null/state.db"
    )

    assert code == 1
    assert "the state store cannot be used" in output
    assert "Traceback" not in output
    assert not (home / "config").exists()


async def test_a_folder_of_something_else_is_refused(home):
    (home / "else/logs").mkdir(parents=True)

    code, output = await run(home, "import", "mirrowel", "else", "--yes")

    assert (code, "is no folder of that proxy" in output) == (2, True)
    assert not (home / "config").exists()


async def test_references_are_filled_in_from_the_folder_and_from_nothing_else(home, upstream):
    (home / "old").mkdir()
    (home / "old/.env").write_text(
        f"PLACE={upstream.url}\nHOUSE_API_BASE=${{PLACE}}\nHOUSE_API_KEY={HOUSE[0]}\n"
        "LAB_API_BASE=http://127.0.0.1:9/${CANARY}\nLAB_API_KEY=lab-0123456789abcdef\n"
    )

    _, output = await run(home, "import", "mirrowel", "old", "--yes", CANARY="canary-of-the-environment")

    text = (home / "config/proxy-core/proxy-core.toml").read_text()
    assert f'base_url = "{upstream.url}' in text, output
    assert "canary-of-the-environment" not in text


@pytest.mark.parametrize(
    "place", ["http://evil.example/token", "http://oauth2.googleapis.com/token", "https://[x", "x"]
)
async def test_a_login_whose_tokens_would_go_elsewhere_is_refused(home, place):
    (home / "old/oauth_creds").mkdir(parents=True)
    login = google("dev@example.com", "1//dev-0123456789")
    (home / "old/oauth_creds/gemini_cli_oauth_1.json").write_text(json.dumps({**login, "token_uri": place}))
    (home / "old/oauth_creds/gemini_cli_oauth_2.json").write_text(
        json.dumps(
            {**google("two@example.com", "1//two-0123456789"), "token_uri": "https://oauth2.googleapis.com/token"}
        )
    )
    (home / "old/.env").write_text(
        f"GEMINI_CLI_1_ACCESS_TOKEN=ya29.three-0123456789\nGEMINI_CLI_1_REFRESH_TOKEN=1//three-0123456789\n"
        f"GEMINI_CLI_1_EMAIL=three@example.com\nGEMINI_CLI_1_TOKEN_URI={place}\n"
    )

    code, output = await run(home, "import", "mirrowel", "old", "--yes")
    _, listed = await run(home, "credentials", "list", "--json")

    rows = told(output)
    assert code == 0
    assert rows["oauth_creds/gemini_cli_oauth_1.json"].startswith("differs its token_uri would send its tokens to"), (
        output
    )
    assert rows[".env:4 GEMINI_CLI_1_TOKEN_URI"].startswith("differs its token_uri would send its tokens to")
    assert [one["name"] for one in json.loads(listed)] == ["two@example.com"]


async def test_what_another_variable_replaces_is_told_which_one_wins(home):
    lines = {
        "HOUSE_API_BASE=http://127.0.0.1:9/v1": "imported",
        f"HOUSE_API_KEY={HOUSE[0]}": "imported",
        "HOUSE_API_KEY_FILE=/run/secrets/house": "no meaning here the name of a file",
        "HOUSE_API_KEY_2_FILE=~/house": "no meaning here the name of a file",
        "FAIR_CYCLE_ENABLED_HOUSE=true": "no meaning here FAIR_CYCLE_HOUSE comes before it",
        "FAIR_CYCLE_HOUSE=false": "imported",
        "EXHAUSTION_COOLDOWN_THRESHOLD=60": "no meaning here each provider has a variable of its own, which wins",
        "EXHAUSTION_COOLDOWN_THRESHOLD_HOUSE=30": "imported",
        "MAX_CONCURRENT_REQUESTS_PER_KEY_HOUSE=2": (
            "no meaning here MAX_CONCURRENT_REQUESTS_PER_KEY_HOUSE_SEQUENTIAL comes before it"
        ),
        "MAX_CONCURRENT_REQUESTS_PER_KEY_HOUSE_SEQUENTIAL=3": "imported",
    }
    (home / "old").mkdir()
    (home / "old/.env").write_text("\n".join(lines))

    code, output = await run(home, "import", "mirrowel", "old", "--yes")

    rows = told(output)
    assert code == 0, output
    for number, (line, expected) in enumerate(lines.items(), 1):
        assert rows[f".env:{number} {line.partition('=')[0]}"].startswith(expected), output
    (home / "old/.env").write_text("EXHAUSTION_COOLDOWN_THRESHOLD=60\n")
    _, output = await run(home, "import", "mirrowel", "old")
    assert "there is no provider for it" in told(output)[".env:1 EXHAUSTION_COOLDOWN_THRESHOLD"]


async def test_a_bad_login_is_refused_in_words_for_people(home):
    (home / "old/oauth_creds").mkdir(parents=True)
    (home / "old/oauth_creds/gemini_cli_oauth_1.json").write_text("{broken")
    (home / "old/oauth_creds/qwen_code_oauth_1.json").write_text(
        '{"access_token": "", "_proxy_metadata": {"email": "x@example.com"}}'
    )

    _, output = await run(home, "import", "mirrowel", "old", "--yes")

    rows = told(output)
    assert rows["oauth_creds/gemini_cli_oauth_1.json"] == (
        "differs it cannot be used: it is not JSON; or it is not encrypted as the Gemini CLI does it"
    )
    assert rows["oauth_creds/qwen_code_oauth_1.json"] == "differs it cannot be used: access_token is missing"


async def test_links_are_followed_and_a_dangling_one_is_named(home):
    (home / "old").mkdir()
    (home / "key.txt").write_text("GROQ_API_KEY=gsk-0123456789\n")
    (home / "old/.env").symlink_to(home / "key.txt")
    (home / "old/gone.env").symlink_to(home / "nowhere")

    _, output = await run(home, "import", "mirrowel", "old", "--yes")

    assert told(output)[".env:1 GROQ_API_KEY"].startswith("imported")
    assert told(output)["gone.env"].startswith("differs it cannot be read: No such file")
    assert (home / "old/.env").is_symlink()


async def test_without_a_client_key_the_proxy_does_not_listen_to_other_machines(home):
    (home / "old").mkdir()
    (home / "old/.env").write_text("GROQ_API_KEY=gsk-0123456789\n")
    (home / "old/launcher_config.json").write_text('{"host": "0.0.0.0"}')

    _, output = await run(home, "import", "mirrowel", "old", "--yes")

    assert told(output)["launcher_config.json host"].startswith("differs beyond this machine only with a client key")
    assert told(output)["(no PROXY_API_KEY)"].startswith("differs")
    async with serving(home) as program:
        assert "127.0.0.1" in program.url


async def test_a_start_in_such_a_folder_points_to_the_command(home, old, upstream):
    (old / ".env").write_text(f"HOUSE_API_BASE={upstream.url}\nHOUSE_API_KEY={HOUSE[0]}\nPROXY_API_KEY={CLIENT}\n")
    where = {"HOME": str(home), "XDG_CONFIG_HOME": f"{home}/config", "XDG_DATA_HOME": f"{home}/data"}

    async with serving(old, **where) as program:
        pass
    _, _ = await run(home, "import", "mirrowel", "old", "--yes")
    async with serving(old, **where) as again:
        assert "house (" in again.output

    lines = [line for line in program.output.splitlines() if "proxy-core import mirrowel" in line]
    assert len(lines) == 1, program.output
    assert f"proxy-core import mirrowel {old}" in lines[0]
    assert "oauth_creds" in lines[0]
    assert all(f"usage/usage_{name}.json" in lines[0] for name in ("house", "gemini_cli", "later", "broken"))


async def test_the_settings_may_go_into_the_old_folder_itself(home, upstream):
    (home / "old").mkdir()
    env = f"PROXY_API_KEY={CLIENT}\nHOUSE_API_BASE={upstream.url}\nHOUSE_API_KEY={HOUSE[0]}\n"
    (home / "old/.env").write_text(env)
    upstream.responds()

    code, output = await run(home, "import", "mirrowel", "old", "--config", "old/proxy-core.toml", "--yes")

    assert code == 0
    assert f"proxy-core serve --config {home / 'old/proxy-core.toml'}" in output
    async with serving(home, "--config", "old/proxy-core.toml") as program, httpx.AsyncClient() as client:
        ask = {"model": "house/x", "messages": [{"role": "user", "content": "hi"}]}
        key = {"Authorization": f"Bearer {CLIENT}"}
        answer = await client.post(program.url + "/v1/chat/completions", json=ask, headers=key)
    assert answer.status_code == 200
    assert (home / "old/.env").read_text() == env


async def test_what_is_no_folder_is_named(home):
    (home / "old").mkdir()
    (home / "old/usage").write_text("")
    (home / "old/oauth_creds").symlink_to(home / "nowhere")
    (home / "old/.env").mkdir()
    (home / "old/launcher_config.json").write_text('{"host": "0.0.0.0", "port": "x", "enable_request_logging": 7}')
    (home / "old/a.env").write_text("PROXY_API_KEY=schlüssel\n")

    code, output = await run(home, "import", "mirrowel", "old", "--yes")

    rows = told(output)
    assert code == 0, output
    assert rows["usage"].startswith("differs it cannot be read: Not a directory")
    assert rows["oauth_creds"].startswith("differs it cannot be read: No such file or directory")
    assert rows[".env"].startswith("differs it cannot be read: ")
    assert rows["a.env:1 PROXY_API_KEY"].startswith("differs clients.default.key: ")
    assert rows["launcher_config.json host"].startswith("differs beyond this machine only with a client key")
    assert rows["launcher_config.json port"].startswith("differs server.port: Input should be a valid integer")
    assert rows["launcher_config.json enable_request_logging"].startswith("differs records.enabled: ")


async def test_an_import_in_two_parts_leaves_nothing_out_and_nothing_twice(home, old):
    """As after a crash between the files that it writes."""
    await run(home, "import", "mirrowel", "old", "--yes")
    (home / "config/proxy-core/proxy-core.toml").unlink()
    (home / "data/proxy-core/credentials/house/02.json").unlink()
    (home / "data/proxy-core/plugins/mirrowel/imported.json").unlink()  # written after both

    _, output = await run(home, "import", "mirrowel", "old", "--yes")
    _, last = await run(home, "import", "mirrowel", "old")

    assert told(output)[".env:19 HOUSE_API_KEY_2"].startswith("imported")
    assert told(output)[".env:18 HOUSE_API_KEY"].startswith("there already")
    assert "nothing to write" in last
