"""The provider's functions: the core's contract, addresses, quota and the list of models."""

import json
from datetime import UTC, datetime

import pytest
from pydantic import SecretStr

from proxy_core import (
    ChatRequest,
    Credential,
    Message,
    ModelInfo,
    ProviderCall,
    ProviderSettings,
    ReasoningDelta,
    ResponseHead,
    Text,
    UpstreamFailure,
    quota_windows,
)
from proxy_core.testing import ProviderConformance, plugin_context
from proxy_plugin_anthropic import proxy_dialects
from proxy_plugin_anthropic.failures import classify_failure
from proxy_plugin_anthropic.listing import next_page, parse_models
from proxy_plugin_anthropic.provider import MessagesApi, parse_count
from proxy_plugin_anthropic.settings import AnthropicSettings
from proxy_plugin_anthropic.testing import ERRORS, call, finish, text, thinking
from proxy_plugin_anthropic.testing.message import plain, stream

KEY = Credential(id="c", provider="anthropic", kind="api_key", secret=SecretStr("k"), label="l")
NOW = datetime(2026, 11, 28, tzinfo=UTC)


def api(**provider):
    return MessagesApi("anthropic", ProviderSettings(**provider), AnthropicSettings())


SPOKEN = [thinking("Hm"), text("ü"), text(" and more"), finish()]
CALLS = [call("f", {"a": 1}, id="c"), call("g", {"b": 1}, id="d"), finish("tool_use")]


class TestAnthropic(ProviderConformance):
    stream_sample = b"".join(stream(SPOKEN, "m", "msg_1"))
    plain_sample = json.dumps(plain(SPOKEN, "m", "msg_1")).encode()
    calls_sample = b"".join(stream(CALLS, "m", "msg_1"))
    failure_sample = (
        b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n'
    )

    @pytest.fixture
    def provider(self):
        return api().provider()

    @pytest.fixture
    def dialects(self, tmp_path):
        return list(proxy_dialects(plugin_context("anthropic", folder=tmp_path)))


@pytest.mark.parametrize(
    ("base", "wanted"),
    [
        (None, "https://api.anthropic.com"),
        ("https://x.example/api/anthropic", "https://x.example/api/anthropic"),
        ("https://x.example/api/anthropic/v1/", "https://x.example/api/anthropic"),
        ("https://x.example/v1/messages", "https://x.example"),
    ],
)
def test_addresses(base, wanted):
    assert api(base_url=base).list_request(KEY).url == f"{wanted}/v1/models?limit=1000"


def test_only_another_address_works_without_a_key():
    bare = KEY.__class__(id="c", provider="p", kind="none", secret=SecretStr(""), label="l")

    assert not api().provider().credential_optional
    assert api(base_url="http://127.0.0.1:1").provider().credential_optional
    assert "x-api-key" not in dict(api(base_url="http://127.0.0.1:1").list_request(bare).headers)


def test_the_operators_headers_are_sent():
    headers = dict(api(headers={"x-team": "a"}).list_request(KEY).headers)

    assert (headers["x-team"], headers["x-api-key"]) == ("a", "k")


def test_limits_in_headers():
    names = {
        f"anthropic-ratelimit-{name}-{part}": value
        for name in ("requests", "tokens", "input-tokens", "output-tokens")
        for part, value in (("limit", "50"), ("remaining", "20"), ("reset", "2026-11-28T00:01:00Z"))
    }
    windows = quota_windows(names, NOW)

    assert [w.unit for w in windows] == ["requests", "tokens", "tokens", "tokens"]
    assert {(w.limit, w.used, w.resets_at) for w in windows} == {(50, 30, datetime(2026, 11, 28, 0, 1, tzinfo=UTC))}


@pytest.mark.parametrize(
    ("name", "fault", "course", "cooldown_s"),
    [
        ("rate_limit", "model", "rotate", 12),
        ("acceleration", "model", "rotate", None),
        ("long_context", "client", "fail_over", None),
        ("no_model", "model", "rotate", 300),
        ("no_credit", "credential", "rotate", 3600),
        ("bad_key", "credential", "rotate", 300),
        ("blocked", "credential", "rotate", 3600),
        ("overloaded", "provider", "retry", None),
        ("too_long", "client", "reject", None),
        ("bad_request", "client", "reject", None),
    ],
)
def test_what_follows_from_an_error(name, fault, course, cooldown_s):
    error = ERRORS[name]
    failure = UpstreamFailure(provider="anthropic", status=error.status, headers=error.headers, body=error.body)
    decision = classify_failure(failure)

    assert (decision.fault, decision.next, decision.cooldown_s) == (fault, course, cooldown_s)


def test_models():
    found = parse_models(
        b"""{"data": [{"type": "model", "id": "claude-x", "display_name": "X", "created_at": "2026-01-01T00:00:00Z",
        "max_input_tokens": 10, "max_tokens": 5, "capabilities": {"thinking": {"supported": true}, "odd": 1}},
        {"id": "old", "lifecycle": "retired"}, {"id": 7}, "x"], "has_more": true, "last_id": "claude-x"}"""
    )

    assert [model.id for model in found] == ["claude-x"]
    assert found[0].created == 1767225600
    capabilities = {"function_calling": True, "reasoning": True}
    assert found[0].info == ModelInfo(context_length=10, max_output_tokens=5, capabilities=capabilities)


@pytest.mark.parametrize(
    ("name", "base", "maker"),
    [
        ("anthropic", None, "anthropic"),
        ("mine", None, "anthropic"),
        ("mine", "https://api.anthropic.com/v1", "anthropic"),
        ("mine", "https://x.example", "anthropic:mine"),
    ],
)
def test_who_can_read_the_signatures_depends_on_the_address(name, base, maker):
    provider = MessagesApi(name, ProviderSettings(base_url=base), AnthropicSettings()).provider()
    chat = ChatRequest(dialect="openai_chat", model="m", messages=[Message(role="user", parts=[Text(text="hi")])])
    call = ProviderCall(dialect=None, body={}, chat=chat, stream=False, client="c")
    decoder = provider.decoder(call, ResponseHead(content_type="application/json", streaming=False))

    events = [*decoder.feed(TestAnthropic.plain_sample), *decoder.close()]

    opaques = [event.opaque for event in events if isinstance(event, ReasoningDelta) and event.opaque is not None]
    assert [opaque.maker for opaque in opaques] == [maker]


@pytest.mark.parametrize("body", [b"{}", b"[]", b"x", b'{"data": 1}'])
def test_a_body_that_is_no_list(body):
    with pytest.raises(ValueError):
        parse_models(body)
    assert next_page(api().list_request(KEY), body) is None


@pytest.mark.parametrize("body", [b"{}", b"[]", b"x", b'{"input_tokens": true}', b'{"input_tokens": -1}'])
def test_a_body_that_is_no_count(body):
    with pytest.raises(ValueError):
        parse_count(body)
