"""The contract with the core, and the parts that need no network."""

from datetime import UTC, datetime
from typing import ClassVar

import pytest
from pydantic import SecretStr, ValidationError

from proxy_core import Credential
from proxy_core.testing import ProviderConformance, plugin_context
from proxy_plugin_gemini import proxy_dialects
from proxy_plugin_gemini.signatures import SignatureCache
from proxy_plugin_gemini_cli.code_assist import CodeAssist, backend_of
from proxy_plugin_gemini_cli.models import CODE_ASSIST_MODELS, LIFECYCLE, PLANS, ROTATION, backend_name, daily_limit
from proxy_plugin_gemini_cli.quota import quota_windows, read_buckets
from proxy_plugin_gemini_cli.settings import GeminiCliSettings

STREAM = (
    b'data: {"response":{"candidates":[{"content":{"role":"model","parts":[{"text":"Pl\xc3\xa5n","thought":true}]}}],'
    b'"responseId":"r1"},"traceId":"t1"}\r\n\r\n'
    b": a comment\n\n"
    b'data: {"response":{"candidates":[{"content":{"parts":[{"text":"h\xe2\x82\xac"}]}}]},"traceId":"t1"}\n\n'
    b'data: {"response":{"candidates":[{"content":{"parts":[{"functionCall":{"id":"fc-1","name":"f","args":{}},'
    b'"thoughtSignature":"U0lH"}]},"finishReason":"STOP"}],'
    b'"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":2}},"traceId":"t1"}\n\n'
)


CALLS = (
    b'data: {"response":{"candidates":[{"content":{"role":"model","parts":['
    b'{"functionCall":{"id":"fc-1","name":"f","args":{"a":1}}},{"functionCall":{"id":"fc-2","name":"g","args":{"a":1}}}'
    b']},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":2}}}\n\n'
)


class TestCodeAssistContract(ProviderConformance):
    stream_sample = STREAM
    calls_sample = CALLS
    failure_sample = b'{"error": {"code": 503, "status": "UNAVAILABLE", "message": "The model is overloaded."}}'
    deviations: ClassVar = {"bad chunk": "gemini-cli skips an unreadable event, too, and Google sends some"}

    @pytest.fixture
    def dialects(self, tmp_path):
        return list(proxy_dialects(plugin_context("gemini", folder=tmp_path)))

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


def test_the_providers_lifecycle_is_described():
    assert LIFECYCLE.status == "limited"
    assert "18 June 2026" in LIFECYCLE.note


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
