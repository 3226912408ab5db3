"""The contract with the core, and the pieces that talk to nobody."""

from datetime import UTC, datetime

import pytest
from pydantic import SecretStr, ValidationError

from proxy_core import Credential, ProviderCall, ProviderSettings, SettingsError
from proxy_core.testing import ProviderContract
from proxy_plugin_gemini_cli.code_assist import CodeAssist, backend_of
from proxy_plugin_gemini_cli.models import CODE_ASSIST_MODELS, LIFECYCLE, PLANS, ROTATION, backend_name, daily_limit
from proxy_plugin_gemini_cli.options import check_options, filled
from proxy_plugin_gemini_cli.public_api import PublicApi, parse_models
from proxy_plugin_gemini_cli.quota import quota_windows, read_buckets
from proxy_plugin_gemini_cli.settings import GeminiCliSettings
from proxy_plugin_gemini_cli.signatures import SignatureCache

STREAM = (
    b'data: {"response":{"candidates":[{"content":{"role":"model","parts":[{"text":"Pl\xc3\xa5n","thought":true}]}}],'
    b'"responseId":"r1"},"traceId":"t1"}\r\n\r\n'
    b": a comment\n\n"
    b'data: {"response":{"candidates":[{"content":{"parts":[{"text":"h\xe2\x82\xac"}]}}]},"traceId":"t1"}\n\n'
    b'data: {"response":{"candidates":[{"content":{"parts":[{"functionCall":{"id":"fc-1","name":"f","args":{}},'
    b'"thoughtSignature":"U0lH"}]},"finishReason":"STOP"}],'
    b'"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":2}},"traceId":"t1"}\n\n'
)


class TestCodeAssistContract(ProviderContract):
    stream_sample = STREAM

    @pytest.fixture
    def provider(self):
        settings = GeminiCliSettings()
        return CodeAssist(settings, backend_of(settings), SignatureCache(10, 60)).provider()

    @pytest.fixture
    def credential(self, provider):
        return Credential(
            id="c0ffee00",
            provider=provider.name,
            kind=provider.credential_kind,
            secret=SecretStr("contract-secret-0123456789"),
            label="test",
            details={"project_id": "p"},
        )


class TestPublicApiContract(ProviderContract):
    stream_sample = STREAM.replace(b'{"response":', b"").replace(b',"traceId":"t1"}', b"")

    @pytest.fixture
    def provider(self):
        return PublicApi("https://generativelanguage.googleapis.com/v1beta", (), SignatureCache(10, 60)).provider()


def test_a_relayed_reply_that_a_sanitizer_looks_at_is_read_without_a_chat():
    provider = PublicApi("https://g.example/v1beta", (), SignatureCache(10, 60)).provider()
    decoder = provider.decoder_for(ProviderCall(dialect="gemini", body={"model": "m"}, stream=True), True)

    assert decoder.feed(TestPublicApiContract.stream_sample)
    assert decoder.close()


# --- Quota -------------------------------------------------------------------------------

BUCKETS = b"""{"buckets": [
 {"modelId": "gemini-2.5-pro", "tokenType": "REQUESTS", "remainingAmount": "180", "remainingFraction": 0.72,
  "resetTime": "2026-11-02T09:00:00Z"},
 {"modelId": "gemini-2.5-flash", "tokenType": "REQUESTS", "remainingFraction": 1, "resetTime": "2026-11-02T10:00:00Z"},
 {"modelId": "gemini-3-pro-preview", "tokenType": "REQUESTS", "resetTime": "2026-11-02T09:00:00Z"},
 {"modelId": "gemini-9_vertex", "remainingFraction": 0.5, "resetTime": "2026-11-02T09:00:00Z"},
 {"modelId": "unknown"}, {"tokenType": "REQUESTS"}, {"modelId": "tokens", "tokenType": "TOKENS"}]}"""


def test_buckets():
    buckets = read_buckets(BUCKETS)

    assert [b.model for b in buckets] == [
        "gemini-2.5-pro",
        "gemini-2.5-flash",
        "gemini-3-pro-preview",
        "gemini-9",
        "unknown",
    ]
    assert [b.left for b in buckets] == [0.72, 1, 0, 0.5, None]
    assert buckets[0].resets_at == datetime(2026, 11, 2, 9, tzinfo=UTC)


def test_a_groups_window_is_that_of_its_scarcest_model():
    windows = {w.group: w for w in quota_windows(BUCKETS, "standard-tier")}

    assert windows.keys() == {"gemini-3-pro-preview", "gemini-2.5-flash", "gemini-9"}
    assert (windows["gemini-3-pro-preview"].limit, windows["gemini-3-pro-preview"].used) == (1500, 1500)
    assert (windows["gemini-9"].limit, windows["gemini-9"].used) == (1500, 750)


def test_limits_by_plan():
    assert [daily_limit(tier, "pro") for tier in ("free-tier", "g1-pro-tier", "standard-tier", None)] == [
        100,
        250,
        1500,
        1000,
    ]
    assert daily_limit("enterprise-tier", "3-flash") == 2000


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"buckets": 3}'])
def test_no_quota_answer(body):
    with pytest.raises(ValueError):
        read_buckets(body)


def test_better_plans_go_first():
    assert ROTATION.tiers["g1-ultra-tier"] < ROTATION.tiers["standard-tier"] < ROTATION.tiers["free-tier"]
    assert set(ROTATION.tiers) == set(PLANS)
    assert (ROTATION.max_concurrent, ROTATION.preferred_concurrency, ROTATION.multipliers) == (2, 2, {1: 2})


# --- Models ------------------------------------------------------------------------------


def test_the_listed_models_are_known_to_the_backend():
    names = [model.id for model in CODE_ASSIST_MODELS]

    assert len(set(names)) == len(names)
    flags = {"previews": False, "newest_flash": False, "newest_lite": False}
    assert [backend_name(name, **flags) for name in names if name != "gemini-3.5-flash"] == [
        name for name in names if name != "gemini-3.5-flash"
    ]
    assert all(model.extra["context_window"] == 1_048_576 for model in CODE_ASSIST_MODELS)


def test_the_providers_life_is_told():
    assert LIFECYCLE.status == "limited"
    assert "18 June 2026" in LIFECYCLE.note


@pytest.mark.parametrize("body", [b"[]", b'{"models": 1}', b"{"])
def test_no_list_of_models(body):
    with pytest.raises(ValueError):
        parse_models(body)


# --- Signatures --------------------------------------------------------------------------


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


def test_none_are_kept_where_settings_say_so():
    cache = SignatureCache(0, 60)
    cache.keep("client", "gemini-3-pro-preview", "a", "sig")

    assert len(cache) == 0


# --- A model's options -------------------------------------------------------------------


def test_an_option_that_gemini_has_no_field_for_is_named():
    provider = ProviderSettings.model_validate({"models": {"careful": {"options": {"temperature": 0.2}}}})

    with pytest.raises(SettingsError, match=r"gemini_cli.models.careful.options: .*'temperature'.*generationConfig"):
        check_options("gemini_cli", provider)


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


# --- Settings ----------------------------------------------------------------------------


def test_a_project_number_is_a_mistake():
    with pytest.raises(ValidationError, match="not its number"):
        GeminiCliSettings(project="123456789")


def test_every_setting_is_in_the_readme():
    from pathlib import Path

    readme = (Path(__file__).parents[1] / "README.md").read_text()
    for name in GeminiCliSettings.model_fields:
        assert f"`{name}`" in readme, name
    for variables in GeminiCliSettings.variables.values():
        for variable in variables:
            assert variable in readme, variable
