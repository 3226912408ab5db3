"""The contract with the core, and the parts that need no network."""

import json
from typing import ClassVar

import pytest

from proxy_core import ProviderCall, ProviderSettings, ResponseHead, SettingsError
from proxy_core.testing import ProviderConformance, plugin_context
from proxy_plugin_gemini import proxy_dialects
from proxy_plugin_gemini.options import CHAT_OPTIONS, check_options, filled
from proxy_plugin_gemini.public_api import BASE, PublicApi, parse_models
from proxy_plugin_gemini.settings import GeminiSettings
from proxy_plugin_gemini.signatures import SignatureCache

STREAM = (
    b'data: {"candidates":[{"content":{"role":"model","parts":[{"text":"Pl\xc3\xa5n","thought":true}]}}],'
    b'"responseId":"r1"}\r\n\r\n'
    b": a comment\n\n"
    b'data: {"candidates":[{"content":{"parts":[{"text":"h\xe2\x82\xac"}]}}]}\n\n'
    b'data: {"candidates":[{"content":{"parts":[{"functionCall":{"id":"fc-1","name":"f","args":{}},'
    b'"thoughtSignature":"U0lH"}]},"finishReason":"STOP"}],'
    b'"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":2}}\n\n'
)


def part(*parts, **more):
    return {"candidates": [{"content": {"role": "model", "parts": list(parts)}, **more}]}


USAGE = {"usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 2}}
CALLS = [{"functionCall": {"id": f"fc-{name}", "name": name, "args": {"a": 1}}} for name in "fg"]
WHOLE = {**part({"text": "Pl\u00e5n", "thought": True}, {"text": "h\u20ac"}, finishReason="STOP"), **USAGE}


class TestPublicApiContract(ProviderConformance):
    stream_sample = STREAM
    plain_sample = json.dumps(WHOLE).encode()
    calls_sample = b"data: " + json.dumps({**part(*CALLS, finishReason="STOP"), **USAGE}).encode() + b"\n\n"
    failure_sample = b'{"error": {"code": 503, "status": "UNAVAILABLE", "message": "The model is overloaded."}}'
    deviations: ClassVar = {"bad chunk": "gemini-cli skips an unreadable event, too, and Google sends some"}

    @pytest.fixture
    def dialects(self, tmp_path):
        return list(proxy_dialects(plugin_context("gemini", folder=tmp_path)))

    @pytest.fixture
    def provider(self):
        return PublicApi("gemini", BASE, (), SignatureCache(10, 60)).provider()


def test_a_relayed_response_that_a_sanitizer_looks_at_is_read_without_a_chat():
    provider = PublicApi("gemini", "https://g.example/v1beta", (), SignatureCache(10, 60)).provider()
    head = ResponseHead(content_type="text/event-stream", streaming=True)
    decoder = provider.decoder(ProviderCall(dialect="gemini", body={"model": "m"}, stream=True), head)

    assert decoder.feed(TestPublicApiContract.stream_sample)
    assert decoder.close()


@pytest.mark.parametrize("body", [b"[]", b'{"models": 1}', b"{"])
def test_no_list_of_models(body):
    with pytest.raises(ValueError):
        parse_models(body)


def test_signatures_are_bounded_and_end():
    now = [0.0]
    cache = SignatureCache(2, 60, lambda: now[0])
    for call in ("a", "b", "c"):
        cache.keep("client", "gemini-3-pro-preview", call, f"sig-{call}")

    assert len(cache) == 2
    assert cache.find("client", "gemini-3-pro-preview", "a") is None
    assert cache.find("client", "gemini-3-flash-preview", "c") == "sig-c"
    assert cache.find("client", "gemini-2.5-pro", "c") is None
    assert cache.find("another", "gemini-3-pro-preview", "c") is None
    now[0] = 61
    assert cache.find("client", "gemini-3-pro-preview", "c") is None


def test_none_are_kept_if_settings_say_so():
    cache = SignatureCache(0, 60)
    cache.keep("client", "gemini-3-pro-preview", "a", "sig")

    assert len(cache) == 0


def test_an_option_that_gemini_has_no_field_for_is_named():
    provider = ProviderSettings.model_validate({"models": {"careful": {"options": {"temperature": 0.2}}}})

    with pytest.raises(SettingsError, match=r"gemini_cli.models.careful.options: .*'temperature'.*generationConfig"):
        check_options("gemini_cli", provider, CHAT_OPTIONS)


@pytest.mark.parametrize(
    ("own", "options", "together"),
    [
        ({"thinkingLevel": "LOW"}, {"thinkingBudget": 1}, {"thinkingLevel": "LOW"}),
        ({"thinking_budget": 1}, {"thinkingLevel": "LOW"}, {"thinking_budget": 1}),
        ({"responseMimeType": "text/plain"}, {"responseSchema": {}}, {"responseMimeType": "text/plain"}),
        ({"generationConfig": {}}, {"generationConfig": {"topK": 1}}, {"generationConfig": {"topK": 1}}),
        ({"labels": {}}, {"labels": {"a": "b"}}, {"labels": {}}),
        ({"top_k": 2}, {"topK": 1, "topP": 0.5}, {"top_k": 2, "topP": 0.5}),
    ],
)
def test_a_clients_choice_stands_alone(own, options, together):
    assert filled(own, options) == together


def test_every_setting_is_in_the_readme():
    from pathlib import Path

    readme = (Path(__file__).parents[1] / "README.md").read_text()
    for name in GeminiSettings.model_fields:
        assert f"`{name}`" in readme, name
