"""Vendors as data: what is sent to each, and how its answers are read."""

import json

import pytest
from pydantic import SecretStr

from proxy_core import Credential, ProviderCall, ProviderSettings, UpstreamFailure
from proxy_core.loading import load
from proxy_core.plugins import Context
from proxy_core.testing import ProviderContract
from proxy_plugin_openai_compat import PLUGIN, proxy_providers
from proxy_plugin_openai_compat.provider import build_provider, parse_models
from proxy_plugin_openai_compat.quirks import PLAIN, PRESETS, Vendor

KEY = Credential(id="1", provider="p", kind="api_key", secret=SecretStr("the-key"), label="k")
MESSAGES = [{"role": "user", "content": "hi", "name": "ann", "reasoning_content": "hm"}]


@pytest.mark.parametrize("vendor", PRESETS.values(), ids=PRESETS)
class TestEveryPreset(ProviderContract):
    @pytest.fixture
    def provider(self, vendor):
        return build_provider("p", vendor, ProviderSettings())


def sent(vendor=PLAIN, settings=None, dialect="openai_chat", stream=False, **fields):
    provider = build_provider("p", vendor, settings or ProviderSettings(base_url="http://127.0.0.1:1/v1/"))
    body = {"model": "m", "messages": MESSAGES, **fields}
    return provider.encode(ProviderCall(dialect=dialect, body=body, stream=stream), KEY)


PATHS = {
    "openai_chat": "http://127.0.0.1:1/v1/chat/completions",
    "openai_completions": "http://127.0.0.1:1/v1/completions",
    "openai_embeddings": "http://127.0.0.1:1/v1/embeddings",
}


@pytest.mark.parametrize(("dialect", "url"), PATHS.items())
def test_each_dialect_has_its_path(dialect, url):
    assert sent(dialect=dialect).url == url


def test_the_key_and_the_settings_headers_are_sent():
    settings = ProviderSettings(base_url="http://127.0.0.1:1/v1", headers={"X-Title": "mine"})

    assert dict(sent(settings=settings).headers) == {
        "content-type": "application/json",
        "authorization": "Bearer the-key",
        "X-Title": "mine",
    }


@pytest.mark.parametrize("stream", [True, False])
def test_an_unknown_upstream_gets_the_body_as_it_is(stream):
    fields = {"seed": 1, "logit_bias": {}, "user": "u", "max_completion_tokens": 3, "own": [1]}
    body = json.loads(sent(stream=stream, **fields).content)

    assert body.pop("stream_options", None) == ({"include_usage": True} if stream else None)
    assert body == {"model": "m", "messages": MESSAGES, **fields}


@pytest.mark.parametrize("asked", [None, {"include_usage": True}, {"include_usage": False, "x": 1}])
@pytest.mark.parametrize("setting", [None, True, False])
@pytest.mark.parametrize("takes", [True, False])
def test_usage_is_asked_for_unless_row_or_settings_say_no(takes, setting, asked):
    settings = ProviderSettings(base_url="http://127.0.0.1:1/v1", stream_usage=setting)
    options = {"stream_options": asked} if asked else {}
    body = json.loads(sent(Vendor(stream_usage=takes), settings, stream=True, **options).content)

    asks = takes if setting is None else setting
    assert (body.get("stream_options") or {}).get("include_usage", False) is asks
    assert (body.get("stream_options") or {}).get("x") == (asked or {}).get("x")


def test_a_rows_deviations_apply():
    fields = {"max_completion_tokens": 5, "seed": 3, "logit_bias": {"1": 1}, "temperature": 0.5}
    body = json.loads(sent(PRESETS["mistral"], stream=True, **fields).content)

    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 5,
        "random_seed": 3,
        "temperature": 0.5,
    }
    assert MESSAGES[0]["name"] == "ann", "the client's own message is not changed"


def test_a_row_knows_statuses_that_mean_a_rate_limit():
    judge = build_provider("p", PRESETS["groq"], ProviderSettings()).judge

    assert judge(UpstreamFailure(provider="p", status=498)).error.status == 429
    assert judge(UpstreamFailure(provider="p", status=400)).error.status == 400


LISTS = {
    "openai": b'{"object":"list","data":[{"id":"a","created":3,"owned_by":"me"},{"id":"b"}]}',
    "bare": b'[{"id":"a","created":3,"owned_by":"me"},{"id":"b"},{"name":"no id"},3]',
}


@pytest.mark.parametrize("body", LISTS.values(), ids=LISTS)
def test_model_lists_have_two_shapes(body):
    first, second = parse_models(body)

    assert (first.id, first.created, first.owned_by) == ("a", 3, "me")
    assert (second.id, second.created, second.owned_by) == ("b", None, None)


@pytest.mark.parametrize("body", [b"", b"{}", b"<html>", b'{"data":3}'])
def test_anything_else_is_no_model_list(body):
    with pytest.raises(ValueError):
        parse_models(body)


# --- Which providers there are -----------------------------------------------------------


def providers(tmp_path, tables=None, **environ):
    loaded = load(overrides=tables or {}, environ=environ, cwd=tmp_path)
    return {p.name: p for p in proxy_providers(Context(PLUGIN.name, loaded, frozenset({"taken"})))}


def url_of(provider):
    dialect = provider.dialects[0]
    return provider.encode(ProviderCall(dialect=dialect, body={"messages": []}), KEY).url


def test_a_key_for_a_preset_makes_its_provider(tmp_path):
    found = providers(tmp_path, GROQ_API_KEY="k", UNKNOWN_API_KEY="k")

    assert list(found) == ["groq"]
    assert url_of(found["groq"]).startswith("https://api.groq.com/openai/v1/")


def test_a_base_address_makes_any_provider_and_overrides_a_preset(tmp_path):
    found = providers(tmp_path, MINE_API_BASE="http://127.0.0.1:1/v1", GROQ_API_BASE="http://127.0.0.1:2/x/")

    assert url_of(found["mine"]) == "http://127.0.0.1:1/v1/chat/completions"
    assert url_of(found["groq"]) == "http://127.0.0.1:2/x/chat/completions"
    assert found["groq"].dialects == ("openai_chat",)


def test_a_preset_serves_under_any_name(tmp_path):
    tables = {"providers": {"work": {"preset": "mistral", "api_keys": ["k"]}}}

    assert url_of(providers(tmp_path, tables)["work"]).startswith("https://api.mistral.ai/v1/")


def test_an_unknown_preset_is_told(tmp_path):
    import proxy_core

    with pytest.raises(proxy_core.SettingsError, match=r"providers\.work\.preset: 'nope' is not one of openai"):
        providers(tmp_path, {"providers": {"work": {"preset": "nope"}}})


def test_providers_of_other_plugins_are_left_alone(tmp_path):
    tables = {"providers": {"taken": {"base_url": "http://127.0.0.1:1/v1"}, "bare": {"api_keys": ["k"]}}}

    assert providers(tmp_path, tables) == {}


@pytest.mark.parametrize("name", [name for name, vendor in PRESETS.items() if vendor.local])
def test_a_local_server_needs_no_key(tmp_path, name):
    assert providers(tmp_path, {"providers": {name: {"preset": name}}})[name].anonymous


# --- Rules that depend on a value or on the model ----------------------------------------

THINKING = {
    "nim v4": ("nvidia_nim", "deepseek-ai/deepseek-v4-pro", "low", {"chat_template_kwargs": "TE high"}),
    "nim v4, left out": ("nvidia_nim", "deepseek-ai/deepseek-v4-flash", None, {"chat_template_kwargs": "TE max"}),
    "nim v3": ("nvidia_nim", "deepseek-ai/deepseek-v3.2", "high", {"chat_template_kwargs": {"thinking": True}}),
    "nim kimi": ("nvidia_nim", "moonshotai/kimi-k2.5", None, {"chat_template_kwargs": {"thinking": True}}),
    "nim kimi, off": ("nvidia_nim", "moonshotai/kimi-k2.5", "none", {}),
    "nim other": ("nvidia_nim", "meta/llama", "low", {"reasoning_effort": "low"}),
    "mistral": ("mistral", "mistral-small-2603", "low", {"reasoning_effort": "high"}),
    "mistral, off": ("mistral", "mistral-small-2603", "off", {}),
    "deepseek": ("deepseek", "deepseek-v4-pro", "xhigh", {"thinking": {"type": "enabled"}, "reasoning_effort": "max"}),
    "deepseek, off": ("deepseek", "deepseek-v4-pro", "disable", {"thinking": {"type": "disabled"}}),
    "openai": ("openai", "gpt-5", "low", {"reasoning_effort": "low"}),
}


@pytest.mark.parametrize(("preset", "model", "effort", "expected"), THINKING.values(), ids=THINKING)
def test_each_familys_form_of_thinking(preset, model, effort, expected):
    fields = {"reasoning_effort": effort} if effort else {}
    body = json.loads(sent(PRESETS[preset], model=model, **fields).content)
    template = expected.get("chat_template_kwargs")
    if isinstance(template, str):
        expected = {"chat_template_kwargs": {"thinking": True, "reasoning_effort": template.removeprefix("TE ")}}

    assert {k: v for k, v in body.items() if k not in ("model", "messages")} == expected


def test_what_the_client_says_about_thinking_wins():
    asked = {"chat_template_kwargs": {"thinking": False, "own": 1}}
    body = json.loads(sent(PRESETS["nvidia_nim"], model="x/deepseek-v4-pro", **asked).content)

    assert body["chat_template_kwargs"] == {"thinking": False, "own": 1, "reasoning_effort": "max"}
    assert PRESETS["nvidia_nim"].thinking[0].levels[""] == {
        "chat_template_kwargs": {"thinking": True, "reasoning_effort": "max"}
    }


@pytest.mark.parametrize(("budget", "kept"), [(-1, False), (1024, True)])
def test_a_dynamic_budget_that_only_gemini_knows_is_left_out(budget, kept):
    thinking = {"type": "enabled", "budget_tokens": budget}

    assert ("thinking" in json.loads(sent(thinking=thinking).content)) is kept


@pytest.mark.parametrize(
    ("preset", "model", "kept"),
    [("openai", "text-embedding-3-small", True), ("openai", "text-embedding-ada-002", False), ("vllm", "bge", True)],
)
def test_dimensions_go_to_models_that_take_them(preset, model, kept):
    body = json.loads(sent(PRESETS[preset], dialect="openai_embeddings", model=model, dimensions=8).content)

    assert ("dimensions" in body) is kept
