"""Vendors as data: the request to each vendor, and how its responses are read."""

import json

import pytest
from pydantic import SecretStr

from proxy_core import (
    ChatRequest,
    Credential,
    Message,
    ProviderCall,
    ProviderSettings,
    ReasoningOptions,
    Text,
    ToolCall,
    ToolResult,
    UpstreamFailure,
    classify_failure,
)
from proxy_core.dialects import openai_chat
from proxy_core.testing import ProviderConformance, ProviderContract, plugin_context
from proxy_plugin_openai_compat import PLUGIN, proxy_providers
from proxy_plugin_openai_compat.provider import build_provider, parse_models
from proxy_plugin_openai_compat.quirks import GATEWAY_FIELDS, PLAIN, PRESETS, Vendor

KEY = Credential(id="1", provider="p", kind="api_key", secret=SecretStr("the-key"), label="k")
MESSAGES = [{"role": "user", "content": "hi", "name": "ann", "reasoning_content": "hm"}]


@pytest.mark.parametrize("vendor", PRESETS.values(), ids=PRESETS)
class TestEveryPreset(ProviderContract):
    @pytest.fixture
    def provider(self, vendor):
        return build_provider("p", vendor, ProviderSettings())


class TestPlain(ProviderConformance):
    @pytest.fixture
    def provider(self):
        return build_provider("p", PLAIN, ProviderSettings(base_url="http://127.0.0.1:1/v1"))


def sent(vendor=PLAIN, settings=None, dialect="openai_chat", stream=False, chat=None, **fields):
    provider = build_provider("p", vendor, settings or ProviderSettings(base_url="http://127.0.0.1:1/v1/"))
    body = {"model": "m", "messages": MESSAGES, **fields}
    return provider.encode(ProviderCall(dialect=dialect, body=body, chat=chat, stream=stream), KEY)


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
    fields = {"seed": 1, "logit_bias": {}, "user": "u", "max_tokens": 3, "own": [1]}
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


def words(message="words", **fields):
    return {"error": {"message": message, **fields}}


IN_FLIGHT = {"limit_source": "openrouter_in_flight_budget"}
SUSPENDED = "Account me is suspended, possibly due to reaching the monthly spending limit or failure to pay."
NO_BALANCE = "Your account org-1 is not active, organization exceeded current quota, please check your plan"
LOADING = {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}
CREDENTIAL, MODEL, QUOTA = ("rotate", "credential"), ("rotate", "model"), ("rotate", "quota")
REJECT, FAIL_OVER, RETRY = ("reject", None), ("fail_over", None), ("retry", None)

ERRORS = [
    ("groq", 498, words(code="capacity_exceeded"), QUOTA, 429),
    ("groq", 400, words(), REJECT, 400),
    ("groq", 413, words("Request too large for model `x`", code="rate_limit_exceeded"), FAIL_OVER, 413),
    ("groq", 400, words("Organization has been restricted. Please reach out to support."), CREDENTIAL, 403),
    ("openrouter", 402, words(code=402), CREDENTIAL, 403),
    ("openrouter", 402, words(code=402, metadata=IN_FLIGHT), QUOTA, 429),
    ("openrouter", 403, words("x requires moderation. Your input was flagged for y", code=403), REJECT, 403),
    ("openrouter", 403, words(code=403, metadata={"limit_source": "openrouter_key_limit"}), CREDENTIAL, 403),
    ("openrouter", 403, words(code=403), CREDENTIAL, 403),
    ("openrouter", 408, words(code=408), RETRY, 504),
    ("openrouter", 429, words(code=429), QUOTA, 429),
    ("openrouter", 502, words(code=502), RETRY, 502),
    ("deepseek", 402, words("Insufficient Balance", code="invalid_request_error"), CREDENTIAL, 403),
    ("deepseek", 422, words(), REJECT, 422),
    ("deepseek", 400, words("Model Not Exist"), FAIL_OVER, 404),
    ("nvidia_nim", 404, {"status": 404, "detail": "Function 'a-b': Not found for account 'c'"}, FAIL_OVER, 404),
    ("nvidia_nim", 429, {"status": 429, "title": "Too Many Requests"}, QUOTA, 429),
    ("nvidia_nim", 403, {"status": 403, "detail": "Authorization failed"}, CREDENTIAL, 403),
    ("together", 402, words(), CREDENTIAL, 403),
    ("together", 403, words("Input token count + max_tokens must be less"), REJECT, 400),
    ("fireworks", 412, words(SUSPENDED, code="PRECONDITION_FAILED"), CREDENTIAL, 403),
    ("fireworks", 412, words(code="PRECONDITION_FAILED"), FAIL_OVER, 404),
    (
        "cerebras",
        429,
        {"type": "too_many_requests_error", "code": "request_quota_exceeded"},
        QUOTA,
        429,
    ),
    ("cerebras", 429, {"message": "x", "code": "token_quota_exceeded"}, QUOTA, 429),
    ("cerebras", 429, {"message": "We're experiencing high traffic right now!"}, RETRY, 503),
    ("xai", 400, {"code": "x", "error": "Incorrect API key provided: na***ys."}, CREDENTIAL, 403),
    ("xai", 400, {"code": "x", "error": "The model expects a single `text` element."}, REJECT, 400),
    ("xai", 403, {"error": "Your newly created team doesn't have any credits or licenses yet."}, CREDENTIAL, 403),
    ("moonshot", 403, words(NO_BALANCE, type="exceeded_current_quota_error"), CREDENTIAL, 403),
    ("moonshot", 429, words(type="exceeded_current_quota_error"), CREDENTIAL, 403),
    ("moonshot", 429, words(type="rate_limit_reached_error"), QUOTA, 429),
    ("moonshot", 429, words(type="engine_overloaded_error"), RETRY, 503),
    ("moonshot", 404, words(type="resource_not_found_error"), FAIL_OVER, 404),
    ("moonshot", 400, words(type="content_filter"), REJECT, 400),
    ("moonshot", 401, words(type="invalid_authentication_error"), CREDENTIAL, 403),
    ("zai", 429, words(code="1113"), CREDENTIAL, 403),
    ("zai", 200, words(code="1113"), CREDENTIAL, 403),
    ("zai", 429, words(code="1302"), QUOTA, 429),
    ("zai", 200, words(code="1302"), QUOTA, 429),
    ("zai", 429, words("Your limit will reset at 2026-01-08 14:33:33", code="1308"), QUOTA, 429),
    ("zai", 400, words(code="1211"), FAIL_OVER, 404),
    ("zai", 429, words(code="1112"), CREDENTIAL, 403),
    ("zai", 400, words(code="1301"), REJECT, 400),
    ("dashscope", 400, words(code="Arrearage"), CREDENTIAL, 403),
    ("dashscope", 400, words(code="DataInspectionFailed"), REJECT, 400),
    ("dashscope", 429, {"code": "Throttling.RateQuota", "message": "words"}, QUOTA, 429),
    ("dashscope", 429, words(code="Throttling.AllocationQuota"), QUOTA, 429),
    ("dashscope", 429, words(code="insufficient_quota"), QUOTA, 429),
    ("dashscope", 403, words(code="AccessDenied.Unpurchased"), MODEL, 404),
    ("dashscope", 401, words(code="InvalidApiKey"), CREDENTIAL, 403),
    ("ollama", 404, words('model "x" not found, try pulling it first', type="api_error"), FAIL_OVER, 404),
    ("ollama", 503, {"error": "Server overloaded, please retry shortly"}, RETRY, 503),
    ("vllm", 404, {"message": "The model `x` does not exist.", "type": "NotFoundError", "code": 404}, FAIL_OVER, 404),
    ("llama_cpp", 503, LOADING, RETRY, 503),
    ("llama_cpp", 400, words(type="exceed_context_size_error", code=400), REJECT, 400),
]


@pytest.mark.parametrize(("preset", "status", "body", "course", "told"), ERRORS)
def test_each_vendors_errors_are_understood(preset, status, body, course, told):
    classify = build_provider("p", PRESETS[preset], ProviderSettings()).classify_failure or classify_failure
    decision = classify(UpstreamFailure(provider="p", status=status, body=json.dumps(body).encode()))

    assert (decision.next, decision.cooldown, decision.error.status) == (*course, told)


def test_an_exhausted_quota_cools_down_longer_than_a_rate_limit():
    classify = build_provider("p", PRESETS["zai"], ProviderSettings()).classify_failure
    rests = [
        classify(UpstreamFailure(provider="p", status=429, body=json.dumps(words(code=code)).encode())).cooldown_s
        for code in ("1302", "1308")
    ]

    assert rests == [None, 3600]


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
    context = plugin_context(PLUGIN.name, tables, folder=tmp_path, environ=environ, reserved={"taken"})
    return {p.name: p for p in proxy_providers(context)}


def left_out(tmp_path, tables, active=()):
    """What is said about the providers that are wrong. The one that is not wrong works in any case."""
    tables = {"providers": {"fine": {"base_url": "http://127.0.0.1:1"}, **tables}}
    context = plugin_context(PLUGIN.name, tables, folder=tmp_path, active=active)
    assert [provider.name for provider in proxy_providers(context)] == ["fine"]
    return context.problems


def url_of(provider):
    dialect = provider.dialects[0]
    return provider.encode(ProviderCall(dialect=dialect, body={"messages": []}), KEY).url


def test_the_name_of_a_preset_that_another_plugin_has_is_left_to_it(tmp_path):
    environ = {"GROQ_API_KEY": "k", "MISTRAL_API_KEY": "k"}
    context = plugin_context(PLUGIN.name, None, folder=tmp_path, environ=environ, reserved={"groq"})

    assert [provider.name for provider in proxy_providers(context)] == ["mistral"]


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


@pytest.mark.parametrize(
    ("preset", "fields", "dropped"),
    [
        ("mistral", {"store": True, "seed": 1, "user": "u"}, {"store", "user"}),
        ("openai", {"dimensions": 3, "max_tokens": 5}, {"dimensions"}),
        ("lm_studio", {"thinking": {"type": "enabled", "budget_tokens": -1}}, {"thinking"}),
        ("groq", {"seed": 1, "stream_options": {}}, set()),
    ],
)
def test_fields_that_the_vendor_may_not_have_are_named(preset, fields, dropped):
    assert set(sent(PRESETS[preset], ProviderSettings(), **fields).dropped) == dropped


def test_an_unknown_preset_is_reported(tmp_path):
    (problem,) = left_out(tmp_path, {"work": {"preset": "nope"}})

    assert problem.startswith("providers.work.preset: 'nope' is not one of openai")


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("anthropic", {"base_url": "http://127.0.0.1:1"}),
        ("work", {"preset": "anthropic", "base_url": "http://127.0.0.1:1"}),
    ],
)
def test_a_provider_of_another_format_names_the_package_that_it_needs(tmp_path, name, table):
    (problem,) = left_out(tmp_path, {name: table})

    assert problem.startswith(f"providers.{name}: ")
    assert problem.endswith("pip install proxy-plugin-anthropic")


def test_a_preset_of_another_plugin_is_left_to_it(tmp_path):
    tables = {"providers": {"work": {"preset": "taken", "base_url": "http://127.0.0.1:1"}}}

    assert providers(tmp_path, tables) == {}


def test_providers_of_other_plugins_are_left_alone(tmp_path):
    tables = {"providers": {"taken": {"base_url": "http://127.0.0.1:1/v1"}, "bare": {"api_keys": ["k"]}}}

    assert providers(tmp_path, tables) == {}


@pytest.mark.parametrize("name", [name for name, vendor in PRESETS.items() if vendor.local])
def test_a_local_server_needs_no_key(tmp_path, name):
    assert providers(tmp_path, {"providers": {name: {"preset": name}}})[name].credential_optional


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


@pytest.mark.parametrize(
    "name",
    "litellm_params litellm_metadata aws_secret_access_key AWS-Region azure_ad_token vertex_credentials hf_api_base"
    " langfuse_secret".split(),
)
def test_what_could_steer_a_gateway_is_taken_out_however_it_is_spelled(name):
    body = {"model": "m", name: "x", "extra_body": {name: "x", "y": 1}, "tools": [{name: 1}]}

    assert GATEWAY_FIELDS.without(body) == {"model": "m", "extra_body": {"y": 1}, "tools": [{name: 1}]}


async def test_no_gateways_field_leaves_in_a_clients_body(make_proxy, upstream):
    proxy = await make_proxy({"providers": {"lab": {"base_url": upstream.url, "api_keys": ["a-key"]}}})

    await proxy.chat("lab/m", "hi", aws_secret_access_key="x", metadata={"a": "b", "litellm_params": {"x": 1}})

    assert "aws_secret_access_key" not in upstream.last.json
    assert upstream.last.json["metadata"] == {"a": "b"}


LIMITS = [
    ("openai", {"max_tokens": 5}, {"max_completion_tokens": 5}),
    ("openai", {"max_completion_tokens": 5}, {"max_completion_tokens": 5}),
    ("openai", {"max_completion_tokens": 5, "max_tokens": 9}, {"max_completion_tokens": 5}),
    ("home", {"max_completion_tokens": 5, "max_tokens": 9}, {"max_tokens": 5}),
    ("home", {"max_completion_tokens": None, "max_tokens": 9}, {"max_tokens": 9}),
    ("home", {"max_completion_tokens": 5}, {"max_tokens": 5}),
    ("mistral", {"max_completion_tokens": 5}, {"max_tokens": 5}),
    ("deepseek", {"max_completion_tokens": 5}, {"max_tokens": 5}),
    ("openrouter", {"max_completion_tokens": 5}, {"max_tokens": 5}),
    ("groq", {"max_tokens": 5}, {"max_completion_tokens": 5}),
    ("azure", {"max_tokens": 5}, {"max_completion_tokens": 5}),
]


@pytest.mark.parametrize(("name", "given", "sent"), LIMITS)
def test_exactly_one_limit_is_sent_under_the_name_that_the_server_knows(name, given, sent):
    hosts = {"azure": "https://mine.openai.azure.com/openai/v1"}
    row = PRESETS.get(name, PLAIN)
    upstream = build_provider(name, row, ProviderSettings(base_url=hosts.get(name, "http://127.0.0.1:1/v1")))
    call = ProviderCall(dialect="openai_chat", body={"model": "m", "messages": [], **given})

    body = json.loads(upstream.encode(call, KEY).content)

    assert {name: body[name] for name in body if "max" in name} == sent


def test_the_clients_limit_comes_before_one_of_the_settings():
    upstream = build_provider("home", PLAIN, ProviderSettings(base_url="http://127.0.0.1:1/v1"))
    options = {"max_completion_tokens": 100}
    body = {"model": "m", "messages": [], "max_tokens": 5, **options}

    sent = json.loads(upstream.encode(ProviderCall(dialect="openai_chat", body=body, options=options), KEY).content)

    assert sent["max_tokens"] == 5


def test_stream_options_are_left_out_of_a_request_that_is_not_streamed():
    upstream = build_provider("home", PLAIN, ProviderSettings(base_url="http://127.0.0.1:1/v1"))
    body = {"model": "m", "messages": [], "stream_options": {"include_usage": True}}

    sent = json.loads(upstream.encode(ProviderCall(dialect="openai_chat", body=body), KEY).content)

    assert "stream_options" not in sent


@pytest.mark.parametrize(
    ("model", "thought", "empty", "effort"),
    [
        ("gpt-5.5", False, False, True),
        ("llama-3.3-70b", False, False, False),
        ("deepseek-v4-pro", True, True, False),
        ("moonshotai/kimi-k2", True, True, False),
        ("qwen3-coder", True, False, False),
    ],
)
def test_what_clients_of_other_formats_always_send_goes_to_models_that_take_it(model, thought, empty, effort):
    """Thoughts of earlier turns, without which (``empty``) some refuse a call; and an effort that is only advice."""
    function = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    said = {"role": "assistant", "content": "a", "reasoning_content": "hm"}
    called = {"role": "assistant", "tool_calls": [function]}
    reasoning = ReasoningOptions(effort="high", mode="adaptive")
    chat = ChatRequest(model=model, messages=[], dialect="other", reasoning=reasoning)
    fields = {"messages": [said, called], "reasoning_effort": "high"}
    body = json.loads(sent(chat=chat, model=model, **json.loads(json.dumps(fields))).content)

    assert ("reasoning_content" in body["messages"][0]) is thought
    assert body["messages"][1].get("reasoning_content") == (" " if empty else None)
    assert ("reasoning_effort" in body) is effort
    assert json.loads(sent(model=model, **fields).content) == {"model": model, **fields}  # of a chat client


@pytest.mark.parametrize("effort", [None, "none"])
def test_deepseek_gets_a_thought_with_each_turn_of_the_model_that_has_none(effort):
    """Of a chat client, too: without one it answers 400 while it thinks."""
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    turns = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "x"},
        {"role": "assistant", "content": "a", "reasoning_content": ""},
        {"role": "assistant", "content": "b", "reasoning_content": "hm"},
    ]
    body = json.loads(
        sent(PRESETS["deepseek"], model="deepseek-v4-pro", messages=turns, reasoning_effort=effort).content
    )
    thoughts = [message.get("reasoning_content") for message in body["messages"]]

    assert thoughts == ([None, None, None, "", "hm"] if effort == "none" else [None, " ", None, " ", "hm"])


ORDER = [
    {"role": "developer", "content": "be"},
    {"role": "system", "content": [{"type": "text", "text": "brief"}]},
    {"role": "user", "content": "a"},
    {"role": "system", "content": "mind"},
    {"role": "assistant", "content": "b"},
    {"role": "developer", "content": "still"},
    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}]},
]


@pytest.mark.parametrize("model", ["gpt-5.5", "openai/gpt-5.5", "o4-mini"])
def test_system_messages_keep_their_places_for_models_that_take_them(model):
    chat = ChatRequest(model=model, messages=[], dialect="other")

    assert json.loads(sent(chat=chat, model=model, messages=list(ORDER)).content)["messages"] == ORDER


@pytest.mark.parametrize("model", ["qwen3.8-27b", "openai/gpt-oss-120b", "mistral-small"])
def test_other_models_get_one_system_message_and_reminders(model):
    chat = ChatRequest(model=model, messages=[], dialect="other")
    fixed = json.loads(sent(chat=chat, model=model, messages=list(ORDER)).content)["messages"]

    assert fixed == [
        {"role": "system", "content": "be\n\nbrief"},
        {"role": "user", "content": "a\n\n<system-reminder>\nmind\n</system-reminder>"},
        {"role": "assistant", "content": "b"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "<system-reminder>\nstill\n</system-reminder>"},
                {"type": "image_url", "image_url": {"url": "u"}},
            ],
        },
    ]
    assert json.loads(sent(model=model, messages=list(ORDER)).content)["messages"] == ORDER  # of a chat client


# --- Marks for the prompt cache ----------------------------------------------------------

MARK = {"cache_control": {"type": "ephemeral"}}


def marked_messages(vendor, model):
    """What a vendor gets of a conversation in which a client of another format set marks."""
    call = ToolCall(id="c1", name="f", arguments="{}")
    result = ToolResult(call_id="c1", parts=[Text(text="r")], extra=MARK)
    chat = ChatRequest(
        model=model,
        dialect="anthropic_messages",
        messages=[
            Message(role="system", parts=[Text(text="a"), Text(text="b", extra=MARK)]),
            Message(role="user", parts=[Text(text="hi", extra=MARK)]),
            Message(role="assistant", parts=[call]),
            Message(role="tool", parts=[result]),
        ],
    )
    encoded = openai_chat.encode(chat)
    return json.loads(sent(PRESETS.get(vendor, PLAIN), chat=chat, **encoded).content)["messages"]


@pytest.mark.parametrize(
    ("vendor", "model", "marked"),
    [
        ("openrouter", "anthropic/claude-sonnet-5", ["system", "user", "tool"]),
        ("openrouter", "google/gemini-2.5-pro", ["system", "user", "tool"]),
        ("gateway", "bedrock/claude-sonnet-5", ["system", "user"]),
        ("gateway", "qwen3", []),
        ("groq", "llama-3.3-70b", []),
    ],
)
def test_marks_for_the_prompt_cache_reach_whoever_understands_them(vendor, model, marked):
    messages = marked_messages(vendor, model)

    found = [message["role"] for message in messages if "cache_control" in json.dumps(message)]
    assert found == marked
    texts = [part if isinstance(part, str) else part["text"] for m in messages for part in m.get("content") or []]
    assert "".join(texts).replace("\n", "") == "abhir"
    if marked:
        assert messages[0]["content"] == [{"type": "text", "text": "a"}, {"type": "text", "text": "b", **MARK}]
