"""Model ids to deployments."""

import pytest

from proxy_core import ModelNotFound, ModelSpec, Provider, SettingsError, Unavailable
from proxy_core.models.routing import Router
from proxy_core.models.suggestions import close_to
from proxy_core.settings.schema import ProviderSettings


def provider(name, **fields):
    return Provider(name=name, encode=lambda call, credential: None, dialects=["openai_chat"], **fields)


def router(settings=None, routes=None, **providers):
    known = {"one": provider("one"), "two": provider("two"), **providers}
    tables = {name: ProviderSettings(**table) for name, table in (settings or {}).items()}
    return Router(known, tables, routes or {})


def names(deployments):
    return [str(deployment) for deployment in deployments]


def test_provider_and_model_address_one_deployment():
    assert names(router().resolve("one/org/model:free")) == ["one/org/model:free"]


def test_a_public_model_has_its_deployments_in_order():
    assert names(router(routes={"best": ["two/b", "one/a"]}).resolve("best")) == ["two/b", "one/a"]


def test_a_public_model_may_look_like_any_name():
    assert names(router(routes={"one/x": ["two/y"]}).resolve("one/x")) == ["two/y"]


def test_an_unknown_model_is_reported():
    with pytest.raises(ModelNotFound, match="The model 'bst' does not exist"):
        router(routes={"best": ["one/a"]}).resolve("bst")


LISTED = ["best", "one/gpt-4o", "one/gpt-4o-mini", "two/gpt-4o", "two/llama-3.3-70b-versatile", "two/org/Qwen3"]
MISSPELT = {
    "bst": ["best"],
    "gpt-4o": ["one/gpt-4o", "two/gpt-4o"],
    "one/gtp-4o": ["one/gpt-4o", "one/gpt-4o-mini", "two/gpt-4o"],
    "GPT-4O": ["one/gpt-4o", "two/gpt-4o"],
    "llama-3.3-70b": ["two/llama-3.3-70b-versatile"],
    "openai/llama-3.3-70b-versatile": ["two/llama-3.3-70b-versatile"],
    "org/qwen3": ["two/org/Qwen3"],
    "best": [],
    "nothing like it": [],
    "": [],
    "/": [],
    "x" * 100_000: [],
}


@pytest.mark.parametrize(("model", "similar"), MISSPELT.items(), ids=lambda value: str(value)[:20])
def test_similar_names_are_found(model, similar):
    assert close_to(model, LISTED) == similar


def test_configured_names_and_options_apply():
    settings = {"one": {"models": {"fast": {"id": "up/fast", "options": {"temperature": 0}}}}}
    (deployment,) = router(settings).resolve("one/fast")

    assert (deployment.model, deployment.options) == ("up/fast", {"temperature": 0})


FILTERS = [
    ({"exclude_models": ["gpt-*"]}, "gpt-4", False),
    ({"exclude_models": ["gpt-*"]}, "other", True),
    ({"exclude_models": ["one/gpt-*"]}, "gpt-4", False),
    ({"exclude_models": ["*"], "include_models": ["good"]}, "good", True),
    ({"exclude_models": ["*"], "include_models": ["good"]}, "bad", False),
    ({"include_models": ["good"]}, "bad", True),
]


@pytest.mark.parametrize(("settings", "model", "served"), FILTERS)
def test_filters_restrict_calls(settings, model, served):
    finding = router({"one": settings})

    assert finding.allowed("one", model) is served
    if served:
        finding.resolve(f"one/{model}")
    else:
        with pytest.raises(ModelNotFound):
            finding.resolve(f"one/{model}")


def test_a_provider_with_a_complete_list_serves_only_listed_models():
    finding = router(shut=provider("shut", models_complete=True, models=[ModelSpec(id="a")]))

    assert names(finding.resolve("shut/a")) == ["shut/a"]
    with pytest.raises(ModelNotFound):
        finding.resolve("shut/b")


def test_a_deployment_of_a_missing_provider_is_left_out_and_noted():
    finding = router(routes={"best": ["gone/x", "one/a"], "lost": ["gone/x"]})

    assert names(finding.resolve("best")) == ["one/a"]
    assert "no provider 'gone' is active" in finding.warnings[0]
    with pytest.raises(Unavailable):
        finding.resolve("lost")


def test_a_deployment_without_a_model_is_a_settings_error():
    with pytest.raises(SettingsError, match=r"models\.best: 'one' is not 'provider/model'"):
        router(routes={"best": ["one"]})
