"""Requests to the vendor (qwen-code.md 3.3, 5, 6, 7)."""

import json

import pytest
from pydantic import SecretStr

from proxy_core import Credential, ProviderCall, ProviderSettings, ReasoningOptions
from proxy_core.dialects.openai_chat import decode
from proxy_plugin_qwen_code.client import NoClient, installed_client
from proxy_plugin_qwen_code.hosts import is_dashscope
from proxy_plugin_qwen_code.provider import NAME, key_check, offered, parse_models, qwen_provider
from proxy_plugin_qwen_code.settings import QwenCodeSettings
from proxy_plugin_qwen_code.tools import DUMMY_NAME, cleaned

HI = [{"role": "user", "content": "hi"}]
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,eA=="}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


def key(secret="sk-1", tier=None):
    return Credential(id="k", provider=NAME, kind="api_key", secret=SecretStr(secret), label="", tier=tier)


def login(**details):
    return Credential(id="l", provider=NAME, kind="qwen_oauth", secret=SecretStr("at"), label="", details=details)


def sent(credential, *, settings=None, base=None, headers=None, reasoning=None, **body):
    provider = qwen_provider(
        QwenCodeSettings(**(settings or {})), ProviderSettings(base_url=base, headers=headers or {})
    )
    body = {"model": "qwen3.7-plus", "messages": HI, **body}
    chat = None
    if reasoning:
        from msgspec.structs import replace

        chat = replace(decode(body), reasoning=reasoning)
    return provider.encode(ProviderCall(dialect="openai_chat", body=body, chat=chat, stream=False), credential)


def body_of(*arguments, **more):
    return json.loads(sent(*arguments, **more).content)


# --- Where to ----------------------------------------------------------------------------

BASES = {
    "coding": (key("sk-sp-1"), {}, "https://coding-intl.dashscope.aliyuncs.com/v1"),
    "coding, china": (key("sk-sp-1"), {"region": "china"}, "https://coding.dashscope.aliyuncs.com/v1"),
    "coding, us": (key("sk-sp-1"), {"region": "us"}, "https://coding-intl.dashscope.aliyuncs.com/v1"),
    "studio": (key(), {}, "https://dashscope-intl.aliyuncs.com/compatible-mode/v1"),
    "studio, china": (key(), {"region": "china"}, "https://dashscope.aliyuncs.com/compatible-mode/v1"),
    "studio, us": (key(), {"region": "us"}, "https://dashscope-us.aliyuncs.com/compatible-mode/v1"),
    "studio, hong kong": (key(tier="model_studio-hongkong"), {}, "https://cn-hongkong.dashscope.aliyuncs.com/compatible-mode/v1"),
    "token": (key(), {"plan": "token_plan"}, "https://token-plan.ap-southeast-1.maas.aliyuncs.com/compatible-mode/v1"),
    "token by tier": (key(tier="token_plan-china"), {}, "https://token-plan.cn-beijing.maas.aliyuncs.com/compatible-mode/v1"),
    "a tier of the user's own": (key(tier="spare"), {}, "https://dashscope-intl.aliyuncs.com/compatible-mode/v1"),
    "login": (login(), {}, "https://dashscope.aliyuncs.com/compatible-mode/v1"),
    "login, portal": (login(resource_url="portal.qwen.ai"), {}, "https://portal.qwen.ai/v1"),
    "login, path": (login(resource_url="https://x.example/api/"), {}, "https://x.example/api/v1"),
    "login, version": (login(resource_url="http://x.example/v1/"), {}, "http://x.example/v1"),
    "login, by settings": (login(resource_url="x"), {"chat_url": "https://own.example/v1"}, "https://own.example/v1"),
}  # fmt: skip


@pytest.mark.parametrize(("credential", "settings", "base"), BASES.values(), ids=BASES)
def test_a_credential_determines_its_host(credential, settings, base):
    assert sent(credential, settings=settings).url == f"{base}/chat/completions"


def test_a_base_url_moves_keys_and_no_login():
    assert sent(key("sk-sp-1"), base="https://own.example/v1").url == "https://own.example/v1/chat/completions"
    assert sent(login(), base="https://own.example/v1").url.startswith("https://dashscope.aliyuncs.com/")


@pytest.mark.parametrize(
    ("url", "known"),
    [
        ("https://coding.dashscope.aliyuncs.com/v1", True),
        ("https://token-plan.cn-beijing.maas.aliyuncs.com/x", True),
        ("https://a.alibaba-inc.com", True),
        ("https://dashscope.aliyuncs.com.evil.example", False),
        ("https://evil.example/dashscope.aliyuncs.com", False),
        ("https://notdashscope.aliyuncs.com", False),
    ],
)
def test_dashscope_is_recognised_by_the_host(url, known):
    assert is_dashscope(url) is known


def test_only_headers_with_an_effect_are_sent():
    headers = dict(sent(login()).headers)

    assert headers["authorization"] == "Bearer at"
    assert headers["accept"] == "application/json"
    assert headers["x-dashscope-authtype"] == "qwen-oauth"
    assert headers["x-dashscope-cachecontrol"] == "enable"
    assert headers["x-dashscope-useragent"].startswith("proxy-core/")  # as the core's User-Agent
    assert "user-agent" not in headers
    assert dict(sent(key()).headers)["x-dashscope-authtype"] == "openai"
    assert not any("dashscope" in name for name, _ in sent(key(), base="https://own.example/v1").headers)


def test_settings_may_name_another_user_agent_and_more_headers():
    headers = dict(sent(key(), settings={"user_agent": "Mine/1"}, headers={"X-Team": "a", "Accept": "*/*"}).headers)

    assert (headers["user-agent"], headers["x-dashscope-useragent"]) == ("Mine/1", "Mine/1")
    assert (headers["x-team"], headers["accept"]) == ("a", "*/*")


def test_a_key_at_the_wrong_host_is_found_without_asking():
    def problem(secret, base):
        return key_check(QwenCodeSettings(), ProviderSettings(api_keys=[secret], base_url=base)).run()

    assert "works only on coding hosts" in problem("sk-sp-1", "https://dashscope.aliyuncs.com/compatible-mode/v1")
    assert "accepts only Coding Plan keys" in problem("sk-1", "https://coding.dashscope.aliyuncs.com/v1")
    assert problem("sk-sp-1", None) is None
    assert problem("sk-sp-1", "http://127.0.0.1:1/v1") is None


# --- The body ----------------------------------------------------------------------------


def test_it_always_streams_and_asks_for_usage():
    body = body_of(key())

    assert (body["stream"], body["stream_options"]) == (True, {"include_usage": True})


def test_fields_the_vendor_does_not_know_are_left_out_or_renamed():
    body = body_of(
        key(), max_completion_tokens=9, store=True, service_tier="x", user={"a": 1}, modalities=["text"], top_k=3
    )

    assert (body["max_tokens"], body["top_k"]) == (9, 3)
    assert not {"max_completion_tokens", "store", "service_tier", "user", "modalities"} & body.keys()
    assert body_of(key(), user="u")["user"] == "u"
    assert "metadata" not in body_of(key(), model="glm-5", metadata={"a": "b"})


def test_output_is_limited_as_the_model_allows():
    assert body_of(key())["max_tokens"] == 65_536
    assert body_of(key(), max_tokens=100_000)["max_tokens"] == 65_536
    assert body_of(key(), model="qwen-plus")["max_tokens"] == 32_768
    assert "max_tokens" not in body_of(key(), model="glm-5")


def test_system_messages():
    messages = [
        {"role": "developer", "content": "a"},
        {"role": "system", "content": "b"},
        *HI,
        {"role": "system", "content": [{"type": "text", "text": "c"}]},
    ]

    plain = body_of(key(), settings={"cache_control": False}, messages=messages)["messages"]
    one = body_of(login(), settings={"cache_control": False}, messages=messages)["messages"]

    assert [(m["role"], m["content"]) for m in plain[:2]] == [("system", "a\n\nb"), ("user", "hi")]
    assert [m["role"] for m in plain] == ["system", "user", "system"]
    assert [m["role"] for m in one] == ["system", "user"]
    assert [p["text"] for p in one[0]["content"]] == ["a\n\nb", "c"]


def test_media_of_tools_go_into_a_message_of_the_user():
    messages = [
        *HI,
        {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "ok"}, IMAGE]},
        {"role": "tool", "tool_call_id": "2", "content": "ok"},
        {"role": "assistant", "content": None, "reasoning_content": "hm"},
    ]

    got = body_of(key(), settings={"cache_control": False}, messages=messages)["messages"]

    assert [m["role"] for m in got] == ["user", "tool", "tool", "user", "assistant"]
    assert got[1]["content"] == [{"type": "text", "text": "ok"}]
    assert got[3]["content"] == [IMAGE]
    assert got[4]["content"] == ""


def test_images_pass_and_sound_is_a_data_url():
    sound = {"type": "input_audio", "input_audio": {"data": "eA==", "format": "mp3"}}

    got = body_of(key(), settings={"cache_control": False}, messages=[{"role": "user", "content": [IMAGE, sound]}])
    image, audio = got["messages"][0]["content"]

    assert image == IMAGE
    assert audio["input_audio"]["data"] == "data:audio/mp3;base64,eA=="
    assert body_of(login(), model="coder-model")["vl_high_resolution_images"] is True
    assert "vl_high_resolution_images" not in body_of(key(), model="qwen3.7-max")


def test_old_models_of_logins_are_the_one_there_is():
    assert body_of(login(), model="qwen3-coder-plus")["model"] == "coder-model"
    assert body_of(key(), model="qwen3-coder-plus")["model"] == "qwen3-coder-plus"


# --- Caching -----------------------------------------------------------------------------

MARK = {"type": "ephemeral"}


def test_prompts_are_marked_for_the_cache():
    messages = [{"role": "system", "content": "s"}, *HI, {"role": "assistant", "content": "a"}, *HI]

    body = body_of(key(), messages=messages, tools=[TOOL, TOOL])

    assert body["messages"][0]["content"] == [{"type": "text", "text": "s", "cache_control": MARK}]
    assert body["messages"][1]["content"] == "hi"
    assert body["messages"][-1]["content"] == [{"type": "text", "text": "hi", "cache_control": MARK}]
    assert [tool.get("cache_control") for tool in body["tools"]] == [None, MARK]


def test_a_clients_own_marks_are_the_only_ones():
    own = [{"role": "user", "content": [{"type": "text", "text": "x", "cache_control": MARK}]}, *HI]

    assert body_of(key(), messages=own)["messages"] == own


def test_no_marks_where_they_mean_nothing():
    assert body_of(key(), base="https://own.example/v1")["messages"] == HI
    assert body_of(key(), settings={"cache_control": False})["messages"] == HI
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    glm = body_of(key(), model="glm-5", messages=[{"role": "user", "content": parts}])
    assert glm["messages"] == [{"role": "user", "content": "a\n\nb"}]


# --- Thinking ----------------------------------------------------------------------------

FORCED = {"tools": [TOOL], "tool_choice": "required"}
THINKING = {
    "nothing said": ("qwen3.7-plus", {}, {}),
    "off": ("qwen3.7-plus", {"reasoning_effort": "none"}, {"enable_thinking": False}),
    "low": ("qwen3.7-plus", {"reasoning_effort": "low"}, {"enable_thinking": True, "thinking_budget": 4096}),
    "medium": ("coder-model", {"reasoning_effort": "medium"}, {"enable_thinking": True, "thinking_budget": 16_384}),
    "most": ("qwen3-max", {"reasoning_effort": "xhigh"}, {"enable_thinking": True, "thinking_budget": 32_768}),
    "own budget": (
        "qwen3.7-plus",
        {"enable_thinking": True, "thinking_budget": 7},
        {"enable_thinking": True, "thinking_budget": 7},
    ),
    "no budget": ("qwen3.7-plus", {"enable_thinking": True, "thinking_budget": 0}, {"enable_thinking": True}),
    "anthropic's words": (
        "qwen3.7-plus",
        {"thinking": {"type": "enabled", "budget_tokens": 9}},
        {"enable_thinking": True, "thinking_budget": 9},
    ),
    "effort family": ("qwen3.8-max", {"reasoning_effort": "minimal"}, {"reasoning_effort": "low"}),
    "effort family, max": ("qwen3.8-max", {"reasoning_effort": "max"}, {"reasoning_effort": "xhigh"}),
    "effort family, off": ("qwen3.8-max", {"reasoning_effort": "none"}, {"enable_thinking": False}),
    "effort family, never both": (
        "qwen3.8-max",
        {"reasoning_effort": "low", "enable_thinking": True},
        {"reasoning_effort": "low"},
    ),
    "cannot stop": ("qwen3.8-max-preview", {"reasoning_effort": "none"}, {}),
    "coder": ("qwen3-coder-next", {"reasoning_effort": "high", "enable_thinking": True}, {}),
    "another vendor's": ("glm-5", {"reasoning_effort": "high"}, {"reasoning_effort": "high"}),
    "forced tool": ("qwen3.7-plus", FORCED, {"enable_thinking": False, "tool_choice": "required"}),
    "forced tool and effort": (
        "qwen3.7-plus",
        {**FORCED, "reasoning_effort": "low"},
        {"enable_thinking": True, "thinking_budget": 4096},
    ),
    "forced tool, coder": ("qwen3-coder-plus", FORCED, {"tool_choice": "required"}),
}


@pytest.mark.parametrize(("model", "asked", "said"), THINKING.values(), ids=THINKING)
def test_thinking_is_asked_for_in_the_models_own_words(model, asked, said):
    body = body_of(key(), model=model, **asked)

    fields = "enable_thinking thinking_budget reasoning_effort thinking tool_choice".split()
    assert {name: body[name] for name in fields if name in body} == said


def test_a_budget_of_another_dialect_counts():
    body = body_of(key(), reasoning=ReasoningOptions(budget_tokens=1234))

    assert (body["enable_thinking"], body["thinking_budget"]) == (True, 1234)


# --- Tools -------------------------------------------------------------------------------


def test_no_tools_means_no_word_about_tools():
    body = body_of(key(), tools=[], tool_choice="auto", parallel_tool_calls=True)

    assert not {"tools", "tool_choice", "parallel_tool_calls"} & body.keys()


def test_a_login_without_tools_gets_a_dummy_tool():
    assert body_of(login(), model="coder-model")["tools"][0]["function"]["name"] == DUMMY_NAME
    assert "tools" not in body_of(login(), model="coder-model", settings={"dummy_tool": False})
    assert "tools" not in body_of(key(), model="qwen3.7-plus")


def test_schemas_are_cleaned_of_what_is_refused():
    schema = {
        "$schema": "x",
        "type": "object",
        "properties": {
            "strict": {"type": "string", "default": {"strict": 1}},
            "list": {"type": "array", "uniqueItems": True, "items": {"$id": "y", "type": "string"}},
        },
        "required": ["strict"],
        "additionalProperties": False,
    }

    function = cleaned({"type": "function", "function": {"name": "f", "strict": True, "parameters": schema}})[
        "function"
    ]

    assert function["parameters"] == {
        "type": "object",
        "properties": {
            "strict": {"type": "string", "default": {"strict": 1}},
            "list": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["strict"],
    }
    assert "strict" not in function
    assert cleaned({"type": "function", "function": {"name": "f"}})["function"]["parameters"]["type"] == "object"


# --- Models and the installed program ----------------------------------------------------


def test_models_of_other_kinds_are_not_listed():
    ids = "qwen3.7-plus qwen-image text-embedding-v4 wan2.5 qwen3-asr MiniMax-M2.5".split()

    found = parse_models(json.dumps({"data": [{"id": name} for name in ids]}).encode())

    assert [model.id for model in found] == ["qwen3.7-plus", "MiniMax-M2.5"]
    with pytest.raises(ValueError):
        parse_models(b"{}")


def test_the_known_models_depend_on_the_plans_of_the_keys():
    def ids(*keys):
        return [m.id for m in offered(QwenCodeSettings(), ProviderSettings(api_keys=list(keys)))]

    assert ids() == ["coder-model"]
    assert "qwen3-coder-next" in ids("sk-sp-1")
    assert "qwen3-coder-next" not in ids("sk-1")


def test_the_client_is_read_from_the_installed_program(tmp_path, monkeypatch):
    package = tmp_path / "lib/node_modules/@qwen-code/qwen-code"
    (package / "dist").mkdir(parents=True)
    (package / "cli.js").write_text("import './dist/core.js'")
    (package / "cli.js").chmod(0o755)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/qwen").symlink_to(package / "cli.js")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    with pytest.raises(NoClient, match="npm install"):
        installed_client()
    (package / "dist/core.js").write_text('var QWEN_OAUTH_CLIENT_ID = "0123456789abcdef0123456789abcdef";')
    assert installed_client() == "0123456789abcdef0123456789abcdef"
    (package / "dist/core.js").write_text('a=`${b}/api/v1/oauth2/token`,c="fedcba9876543210fedcba9876543210";')
    assert installed_client() == "fedcba9876543210fedcba9876543210"
