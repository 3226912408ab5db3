"""Which wire formats a provider and each of its models has."""

import pytest

from proxy_core import ProviderSettings
from proxy_core.testing import plugin_context
from proxy_plugin_openai_compat import PLUGIN, proxy_providers
from proxy_plugin_openai_compat.provider import build_provider
from proxy_plugin_openai_compat.quirks import PLAIN, PRESETS

CHAT, COMPLETIONS, EMBEDDINGS = "openai_chat", "openai_completions", "openai_embeddings"
RESPONSES = "openai_responses"
WITH = frozenset({"openai_responses"})


def spoken(provider, model):
    return list(provider.dialects_of(model) if provider.dialects_of else provider.dialects)


def openai(**settings):
    return build_provider("openai", PRESETS["openai"], ProviderSettings(**settings), WITH)


def test_openai_has_responses_if_the_plugin_is_active():
    without = build_provider("openai", PRESETS["openai"], ProviderSettings())

    assert list(openai().dialects) == [CHAT, EMBEDDINGS, COMPLETIONS, RESPONSES]
    assert list(without.dialects) == [CHAT, EMBEDDINGS, COMPLETIONS]
    assert without.dialects_of is None


@pytest.mark.parametrize("model", ["gpt-5-codex", "gpt-5.1-codex-max", "codex-mini-latest", "o3-pro", "gpt-5.2-pro"])
def test_some_of_its_models_have_nothing_else(model):
    assert spoken(openai(), model) == [RESPONSES]
    assert CHAT in spoken(openai(), "gpt-5")


@pytest.mark.parametrize(
    ("url", "has"),
    [("https://eu.api.openai.com/v1", True), ("https://api.openai.com/v1/", True), ("http://127.0.0.1:1/v1", False)],
)
def test_a_compatible_server_under_its_name_has_what_all_compatible_servers_have(url, has):
    provider = openai(base_url=url)

    assert (RESPONSES in provider.dialects) == has
    assert (provider.dialects_of is not None) == has


def test_settings_replace_the_vendors_formats():
    provider = openai(dialects=[RESPONSES, CHAT])

    assert list(provider.dialects) == [RESPONSES, CHAT]
    assert spoken(provider, "gpt-5-codex") == [RESPONSES, CHAT]


def test_settings_of_a_model_are_found_by_the_upstreams_id():
    models = {"mine": {"id": "up", "dialects": [RESPONSES]}, "other": {}}
    provider = build_provider("lab", PLAIN, ProviderSettings(base_url="http://127.0.0.1:1/v1", models=models), WITH)

    assert RESPONSES in provider.dialects
    assert spoken(provider, "up") == [RESPONSES]
    assert spoken(provider, "other") == [CHAT, EMBEDDINGS, COMPLETIONS]


@pytest.mark.parametrize("place", ["provider", "model"])
def test_a_format_without_its_plugin_is_an_error_that_says_how_to_get_it(tmp_path, place):
    table = {"dialects": [RESPONSES]} if place == "provider" else {"models": {"m": {"dialects": [RESPONSES]}}}
    settings = {"providers": {"lab": {"base_url": "http://127.0.0.1:1/v1", **table}}}

    context = plugin_context("openai_compat", settings, folder=tmp_path)
    assert list(proxy_providers(context)) == []
    active = proxy_providers(plugin_context(PLUGIN.name, settings, folder=tmp_path, active=["openai_responses"]))

    where = "providers.lab.dialects" if place == "provider" else "providers.lab.models.m.dialects"
    needed = "needs proxy-plugin-openai-responses: pip install proxy-plugin-openai-responses"
    assert context.problems == [f"{where}: 'openai_responses' {needed}"]
    assert [provider.name for provider in active] == ["lab"]


def test_an_unknown_format_is_an_error_that_names_the_known_ones(tmp_path):
    settings = {"providers": {"openai": {"dialects": ["openai_response"]}, "groq": {}}}
    context = plugin_context("openai_compat", settings, folder=tmp_path)

    assert [provider.name for provider in proxy_providers(context)] == ["groq"]
    assert "providers.openai.dialects: 'openai_response' is not one of openai_chat, " in context.problems[0]
