"""Settings: where they come from, which wins, and how mistakes are told."""

import types
from typing import Union, get_args, get_origin

import pytest
from pydantic import BaseModel, Field, SecretStr

from proxy_core import PluginSettings, SettingsError
from proxy_core.settings.loading import load
from proxy_core.settings.schema import ProxySettings


@pytest.fixture
def read(tmp_path):
    """Settings from a file's text and an environment."""

    def read(text="", environ=None, dotenv=None, **more):
        (tmp_path / "proxy-core.toml").write_text(text)
        if dotenv is not None:
            (tmp_path / ".env").write_text(dotenv)
        return load(environ={"PROXY_DATA_DIR": str(tmp_path / "data"), **(environ or {})}, cwd=tmp_path, **more)

    return read


# --- Every key, from every source --------------------------------------------------------


def samples(model, path=()):
    """``(path, value as in the file, value as in the environment)`` of every key of every table."""
    for name, info in model.model_fields.items():
        yield from _samples(info.annotation, (*path, name))


def _samples(annotation, path):
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        annotation = next(a for a in arguments if a is not type(None))
        origin, arguments = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from samples(annotation, path)
    elif origin is dict and isinstance(arguments[1], type) and issubclass(arguments[1], BaseModel):
        yield from samples(arguments[1], (*path, "some"))
    else:
        value, text = SAMPLE[".".join(p for p in path if p != "some")]
        if origin is list and isinstance(arguments[0], type) and issubclass(arguments[0], BaseModel):
            assert {key for entry in value for key in entry} == set(arguments[0].model_fields)
        yield path, value, text


SAMPLE = {
    "server.host": ("localhost", "localhost"),
    "server.port": (1234, "1234"),
    "server.workers": (2, "2"),
    "server.http_server": ("uvicorn", "uvicorn"),
    "server.keep_alive_s": (7.5, "7.5"),
    "server.max_body_bytes": (4096, "4096"),
    "server.shutdown_grace_s": (1.5, "1.5"),
    "server.http2": (True, "true"),
    "server.response_headers": (False, "false"),
    "server.cors_origins": (["https://chat.example"], "https://chat.example"),
    "server.tls_certificate": ("/a/b.pem", "/a/b.pem"),
    "server.tls_key": ("/a/b.key", "/a/b.key"),
    "server.hypercorn": ({"backlog": "7"}, None),
    "clients.key": ("a-client-key", "a-client-key"),
    "clients.models": (["fast", "groq/*"], "fast, groq/*"),
    "clients.requests_per_minute": (3, "3"),
    "clients.tokens_per_minute": (3000, "3000"),
    "clients.cost_per_day": (0.5, "0.5"),
    "admin.key": ("an-admin-key", "an-admin-key"),
    "providers.preset": ("vllm", "vllm"),
    "providers.base_url": ("http://127.0.0.1:1/v1", "http://127.0.0.1:1/v1"),
    "providers.api_keys": (
        [{"key": "k1"}, {"key": "k2", "label": "two", "tier": "pro", "priority": 1}],
        '["k1", {"key": "k2", "label": "two", "tier": "pro", "priority": 1}]',
    ),
    "providers.headers": ({"x-a": "b"}, None),
    "providers.query": ({"api-version": "1"}, None),
    "providers.unix_socket": ("/a/b.sock", "/a/b.sock"),
    "providers.proxy": ("http://proxy.example:3128", "http://proxy.example:3128"),
    "providers.ca_file": ("/a/ca.pem", "/a/ca.pem"),
    "providers.client_certificate": ("/a/b.pem", "/a/b.pem"),
    "providers.client_key": ("/a/b.key", "/a/b.key"),
    "providers.models.id": ("up", "up"),
    "providers.models.options": ({"temperature": 0}, None),
    "providers.models.input_price": (0.5, "0.5"),
    "providers.models.cached_price": (0.1, "0.1"),
    "providers.models.cache_write_price": (0.6, "0.6"),
    "providers.models.output_price": (1.5, "1.5"),
    "providers.models.dialects": (["openai_chat", "openai_completions"], "openai_chat, openai_completions"),
    "providers.models.context_length": (8192, "8192"),
    "providers.models.max_output_tokens": (1024, "1024"),
    "providers.models.input_modalities": (["text", "image"], "text, image"),
    "providers.models.output_modalities": (["text"], "text"),
    "providers.models.capabilities": ({"vision": True, "reasoning": True}, "vision, reasoning"),
    "providers.exclude_models": (["a*"], "a*"),
    "providers.include_models": (["b", "c"], '["b", "c"]'),
    "providers.discover": (False, "false"),
    "providers.dialects": (["openai_embeddings"], "openai_embeddings"),
    "providers.stream_usage": (True, "true"),
    "providers.rotation.selector": ("sticky", "sticky"),
    "providers.rotation.tolerance": (2.0, "2"),
    "providers.rotation.max_concurrent": (3, "3"),
    "providers.rotation.preferred_concurrency": (2, "2"),
    "providers.rotation.multipliers": ({"1": 2.0}, None),
    "providers.rotation.default_multiplier": (1.5, "1.5"),
    "providers.rotation.tiers": ({"pro": 1}, None),
    "providers.rotation.quota_groups": ({"big": ["a-*", "b"]}, None),
    "providers.rotation.caps": (
        [{"models": "pro", "priorities": [1, 2], "window": "week", "limit": "80%", "cooldown": "fixed:60"}],
        '[{"models": "pro", "priorities": [1, 2], "window": "week", "limit": "80%", "cooldown": "fixed:60"}]',
    ),
    "providers.rotation.quota_window_s": (60.0, "60"),
    "providers.rotation.quota_window_begins": ("first_request", "first_request"),
    "providers.rotation.quota_resets": ("weekly sunday 03:00", "weekly sunday 03:00"),
    "providers.rotation.reserves": (
        [{"models": "a", "clients": ["laptop"], "share": 0.2, "credentials": ["k1"], "window": "weekly"}],
        '[{"models": "a", "clients": ["laptop"], "share": 0.2, "credentials": ["k1"], "window": "weekly"}]',
    ),
    "providers.rotation.windows": (
        [{"name": "week", "length_s": 604800.0, "begins": "first_request", "resets": "weekly sunday 03:00"}],
        '[{"name": "week", "length_s": 604800, "begins": "first_request", "resets": "weekly sunday 03:00"}]',
    ),
    "providers.rotation.fair_cycle": (True, "true"),
    "providers.rotation.fair_cycle_scope": ("credential", "credential"),
    "providers.rotation.fair_cycle_cross_tier": (True, "true"),
    "providers.rotation.fair_cycle_s": (60.0, "60"),
    "providers.rotation.fair_cycle_share": (0.5, "0.5"),
    "providers.rotation.fair_cycle_short_cooldown_s": (3.0, "3"),
    "providers.rotation.exhausted_cooldown_s": (3.0, "3"),
    "models": ({"fast": "one/x"}, None),
    "plugins.disabled": (["a"], "a"),
    "plugins.allowed": (["a", "b"], "a, b"),
    "plugins.required": (["a"], "a"),
    "plugins.optional": (["a"], "a"),
    "plugins.budget_s": (0.5, "0.5"),
    "timeouts.connect_s": (3.0, "3"),
    "timeouts.write_s": (3.0, "3"),
    "timeouts.pool_s": (3.0, "3"),
    "timeouts.first_event_s": (3.0, "3"),
    "timeouts.idle_s": (3.0, "3"),
    "timeouts.total_s": (3.0, "3"),
    "streams.heartbeat_s": (3.0, "3"),
    "streams.max_event_bytes": (2048, "2048"),
    "upstream.proxy": ("http://proxy.example:3128", "http://proxy.example:3128"),
    "upstream.ca_file": ("/a/ca.pem", "/a/ca.pem"),
    "upstream.client_certificate": ("/a/b.pem", "/a/b.pem"),
    "upstream.client_key": ("/a/b.key", "/a/b.key"),
    "upstream.no_proxy": (["a.example", "10.0.0.0/8"], "a.example, 10.0.0.0/8"),
    "upstream.max_connections": (5, "5"),
    "upstream.max_response_bytes": (2048, "2048"),
    "upstream.fetch_links": ("nowhere", "nowhere"),
    "routing.selector": ("sequential", "sequential"),
    "routing.attempts_per_credential": (3, "3"),
    "routing.max_attempts": (3, "3"),
    "routing.max_wait_s": (3.0, "3"),
    "routing.retry_delay_s": (3.0, "3"),
    "routing.retry_jitter_s": (3.0, "3"),
    "routing.max_cooldown_s": (3.0, "3"),
    "routing.half_open_after_s": (3.0, "3"),
    "routing.circuit_breaker_failures": (3, "3"),
    "routing.hedge_after_s": (3.0, "3"),
    "routing.hedge_max_ratio": (0.5, "0.5"),
    "routing.session_ttl_s": (3.0, "3"),
    "routing.explain_history": (3, "3"),
    "routing.models_ttl_s": (3.0, "3"),
    "embeddings.batch_window_s": (0.01, "0.01"),
    "embeddings.batch_inputs": (8, "8"),
    "log.level": ("debug", "debug"),
    "log.format": ("json", "json"),
    "log.folder": ("/a/logs", "/a/logs"),
    "log.max_file_bytes": (2048, "2048"),
    "log.max_files": (3, "3"),
    "log.debug": (True, "true"),
    "credentials.refresh_interval_s": (42.0, "42"),
    "credentials.vault_keys": (["first-key", "second-key"], "first-key, second-key"),
    "credentials.vault_keyring": (True, "true"),
    "records.enabled": (True, "true"),
    "records.max_body_bytes": (2048, "2048"),
    "records.chunks": (True, "true"),
    "sanitizers.order": (["a", "b"], "a,b"),
    "state.url": ("memory:", "memory:"),
    "state.sync_interval_s": (0.5, "0.5"),
    "state.usage_retention_days": (30, "30"),
    "state.secret": ("a-state-secret", "a-state-secret"),
}
KEYS = list(samples(ProxySettings))
#: What a table cannot be without, by its name.
NEEDED = {"clients": {"PROXY_CLIENTS__SOME__KEY": "a-client-key"}}


def value_at(settings, path):
    node = settings
    for key in path:
        node = node[key] if isinstance(node, dict) else getattr(node, key)
    return node


def plain(value):
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, list):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, BaseModel):
        return {k: plain(getattr(value, k)) for k in value.model_fields_set}
    return value if isinstance(value, bool | int | float | type(None)) else str(value)


@pytest.mark.parametrize(("path", "value", "text"), KEYS, ids=[".".join(k[0]) for k in KEYS])
def test_every_key_can_be_set_by_file_and_by_environment(tmp_path, path, value, text):
    table = value
    for key in reversed(path):
        table = {key: table}
    needed = NEEDED.get(path[0], {}) if path[-1] != "key" else {}
    by_file = load(overrides=table, environ=needed, cwd=tmp_path).settings

    if path == ("models",):
        assert by_file.models["fast"].deployments == ["one/x"]
    else:
        assert plain(value_at(by_file, path)) == value
    if text is not None:
        by_environment = load(environ={**needed, "PROXY_" + "__".join(path).upper(): text}, cwd=tmp_path).settings
        assert plain(value_at(by_environment, path)) == value


# --- Precedence --------------------------------------------------------------------------


def test_command_line_over_environment_over_dotenv_over_file_over_default(read):
    text = "[timeouts]\nidle_s = 1\nconnect_s = 1\nwrite_s = 1\npool_s = 1\n"
    idle, connect, write = (f"PROXY_TIMEOUTS__{key}_S" for key in ("IDLE", "CONNECT", "WRITE"))
    dotenv, environ = f"{idle}=2\n{connect}=2\n{write}=2\n", {idle: "3", connect: "3", write: ""}
    timeouts = read(text, environ, dotenv, overrides={"timeouts": {"idle_s": 4}}).settings.timeouts

    assert (timeouts.idle_s, timeouts.connect_s, timeouts.write_s, timeouts.pool_s) == (4, 3, 2, 1)
    assert timeouts.first_event_s == 600


def test_an_empty_variable_is_no_variable(read):
    assert read(environ={"PROXY_API_KEY": "", "PROXY_TIMEOUTS__CONNECT_S": ""}).settings.clients == {}


def test_the_file_is_searched_for_in_order(tmp_path):
    here, there = tmp_path / "proxy-core.toml", tmp_path / "other.toml"
    here.write_text("[server]\nport = 1\n")
    there.write_text("[server]\nport = 2\n")

    assert load(environ={}, cwd=tmp_path).settings.server.port == 1
    assert load(environ={"PROXY_CONFIG": str(there)}, cwd=tmp_path).settings.server.port == 2
    assert load(there, environ={"PROXY_CONFIG": str(here)}, cwd=tmp_path).settings.server.port == 2
    with pytest.raises(SettingsError, match="no settings file at"):
        load(tmp_path / "none.toml", environ={}, cwd=tmp_path)


# --- Providers ---------------------------------------------------------------------------


def test_numbered_keys_come_in_order_and_once(read):
    names = {"DEMO_API_KEY_10": "c", "DEMO_API_KEY_2": "b", "DEMO_API_KEY": "a", "DEMO_API_KEY_3": "b"}
    keys = read(environ=names).provider("demo").api_keys

    assert [entry.key.get_secret_value() for entry in keys] == ["a", "b", "c"]


def test_a_key_goes_by_the_first_of_the_names_that_hold_it(read):
    names = {"DEMO_API_KEY_1": "a", "DEMO_API_KEY_2": "DEMO_API_KEY=a", "DEMO_API_KEY_7": "'b'"}
    found = read(environ=names).sources.variables_by_key("demo")

    assert {key: variable.label for key, variable in found.items()} == {"a": "DEMO_API_KEY_1", "b": "DEMO_API_KEY_7"}


def test_a_base_address_makes_a_provider(read):
    loaded = read(environ={"MY_LLM_API_BASE": "http://127.0.0.1:1/v1", "PROXY_API_BASE": "http://127.0.0.1:2/"})

    assert loaded.provider_names == ["my_llm"]
    assert str(loaded.provider("my_llm").base_url) == "http://127.0.0.1:1/v1"


def test_a_name_with_dashes_is_the_files_and_its_variables_still_apply(read):
    loaded = read(
        '[providers."my-llm.v2"]\nbase_url = "http://127.0.0.1:1/v1"\n',
        {"MY_LLM_V2_API_KEY": "k", "MY_LLM_V2_API_BASE": "http://127.0.0.1:2/v1"},
    )

    assert loaded.provider_names == ["my-llm.v2"]
    assert str(loaded.provider("my-llm.v2").base_url) == "http://127.0.0.1:2/v1"
    assert loaded.provider("my-llm.v2").api_keys[0].key.get_secret_value() == "k"


@pytest.mark.parametrize("text", ["a, b", '["a", "b"]', '[{"key": "a"}, "b"]'])
def test_keys_of_a_provider_have_three_forms(read, text):
    keys = read(environ={"PROXY_PROVIDERS__DEMO__API_KEYS": text}).provider("demo").api_keys

    assert [entry.key.get_secret_value() for entry in keys] == ["a", "b"]


def test_keys_without_a_provider_are_named_and_not_used(read):
    environ = {"DEMO_API_KEY": "a", "AWS_API_KEY": "b", "PROXY_API_KEY": "c", "NOT_API_KEYS": "d", "X_API_KEY_OLD": "e"}

    assert read(environ=environ).sources.key_variables_of_others(["demo"]) == ["AWS_API_KEY"]


def test_variables_under_our_prefix_that_set_nothing_are_named(read):
    environ = {"PROXY_SERVER__PORT": "1", "PROXY_PROT": "1", "PROXY_DATA_DIR": "x", "PROXY_API_KEY": "k"}

    assert read(environ=environ).sources.stray() == ["PROXY_PROT"]


@pytest.mark.parametrize("name", ["PROXY_CONFIG", "PROXY_DATA_DIR"])
def test_where_files_are_cannot_be_said_in_one_of_them_and_that_is_reported(tmp_path, name):
    (tmp_path / ".env").write_text(f"{name}=/somewhere\n")

    [line] = load(environ={}, cwd=tmp_path).without_effect({})

    assert line == f"{name} has no effect in {tmp_path}/.env: set it in the environment of the program"


# --- Mistakes ----------------------------------------------------------------------------


def problems_of(error):
    return "\n".join(error.value.problems)


def test_all_mistakes_are_reported_at_once_with_suggestion_and_origin(read):
    text = "[servr]\nx = 1\n[timeouts]\nconect_s = 1\n[routing]\nmax_attempts = 0\n"
    with pytest.raises(SettingsError) as error:
        read(text, {"PROXY_STREAMS__HEARTBEAT_S": "often", "PROXY_TIMEOUTS__POOL_S": "-1", "PROXY_SERVER__PROT": "1"})
    told = problems_of(error)

    assert len(error.value.problems) == 6
    assert "servr: no such setting; did you mean 'server'? (from" in told
    assert "timeouts.conect_s: no such setting; did you mean 'connect_s'?" in told
    assert "proxy-core.toml" in told
    assert "environment variable PROXY_STREAMS__HEARTBEAT_S" in told
    assert "timeouts.pool_s: Input should be greater than 0 (from environment variable PROXY_TIMEOUTS__POOL_S)" in told
    assert "server.prot: no such setting; did you mean 'port'? (from environment variable PROXY_SERVER__PROT)" in told


def test_a_mistake_in_a_providers_variable_names_the_variable(read):
    with pytest.raises(SettingsError) as error:
        read(environ={"DEMO_API_BASE": "not a url"}).provider("demo")

    assert "providers.demo.base_url" in problems_of(error)
    assert "DEMO_API_BASE" in problems_of(error)


BAD_URLS = ["ftp://x/v1", "http://user:pass@host/v1", "https://host/v1?key=x", "host/v1"]


@pytest.mark.parametrize("url", BAD_URLS)
def test_a_base_address_is_plain_http(read, url):
    with pytest.raises(SettingsError):
        read(f'[providers.demo]\nbase_url = "{url}"\n')


def test_no_secret_is_in_an_error_or_a_repr(read):
    secret = "sk-very-secret"
    text = f'[clients.a]\nkey = "{secret}"\n[providers.p]\napi_keys = ["{secret}"]\nheaders = {{ "x" = "{secret}" }}\n'
    loaded = read(text, {"DEMO_API_KEY": secret})
    assert secret not in repr(loaded) + repr(loaded.provider("demo")) + str(loaded.settings)

    with pytest.raises(SettingsError) as error:
        read(text + f'nope = "{secret}"\n[clients.b]\nkey = "{secret}\\u00e9"\n')
    assert secret not in problems_of(error)


def test_a_key_with_a_line_end_is_taken_without_it(read):
    assert read(environ={"PROXY_API_KEY": "abc\n"}).settings.clients["default"].key.get_secret_value() == "abc"


def test_a_broken_file_is_reported_in_one_line(read):
    with pytest.raises(SettingsError, match=r"proxy-core\.toml"):
        read("[server\n")


# --- Plugins' own tables -----------------------------------------------------------------


class Own(PluginSettings):
    refresh_margin_s: float = Field(300, gt=0)
    token: SecretStr | None = None


def test_a_plugins_table_follows_the_same_rules(read):
    loaded = read("[plugins.own]\nrefresh_margin_s = 1\n", {"PROXY_PLUGINS__OWN__TOKEN": "secret"})
    own = loaded.plugin("own", Own)

    assert (own.refresh_margin_s, own.token.get_secret_value()) == (1, "secret")
    assert "secret" not in repr(own)


def test_a_plugins_mistakes_name_key_and_origin(read):
    with pytest.raises(SettingsError) as error:
        read("[plugins.own]\nrefresh_margn_s = 1\n", {"PROXY_PLUGINS__OWN__REFRESH_MARGIN_S": "-3"}).plugin("own", Own)

    assert "plugins.own.refresh_margn_s: no such setting; did you mean 'refresh_margin_s'?" in problems_of(error)
    assert "environment variable PROXY_PLUGINS__OWN__REFRESH_MARGIN_S" in problems_of(error)
