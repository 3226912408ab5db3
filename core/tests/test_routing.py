"""Model ids to deployments."""

from datetime import date, timedelta

import pytest

from proxy_core import Lifecycle, ModelNotFound, ModelSpec, Provider, SettingsError, Unavailable
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


PATTERNS = {
    "claude-opus": ["one/exact"],
    "claude-*": ["one/claude"],
    "claude-haiku-*": ["two/small", "one/small"],
    "*haiku*": ["two/any-haiku"],
    "gpt-*": ["two/gpt-*", "one/fixed"],
    "*[1m]": ["one/long"],
    "two/*": ["one/never"],
    "three/*": ["one/of-three-*"],
    "*": ["two/rest"],
}
MATCHED = {
    "claude-opus": ["one/exact"],
    "claude-sonnet": ["one/claude"],
    "claude-haiku-5": ["two/small", "one/small"],
    "my-haiku": ["two/any-haiku"],
    "gpt-4.1-mini": ["two/gpt-4.1-mini", "one/fixed"],
    "gpt-": ["two/gpt-", "one/fixed"],
    "any[1m]": ["one/long"],
    "any1": ["two/rest"],
    "two/x": ["two/x"],
    "three/a/b": ["one/of-three-a/b"],
    "three": ["two/rest"],
    "Claude-sonnet": ["two/rest"],
    "claude\nsonnet": ["two/rest"],
}


@pytest.mark.parametrize(("model", "deployments"), MATCHED.items())
def test_a_pattern_serves_what_neither_a_name_nor_a_provider_does(model, deployments):
    routed = router(routes=PATTERNS)

    assert names(routed.resolve(model)) == deployments
    assert names(routed.deployments(model)) == (deployments if model != "two/x" else [])
    assert (routed.entry(model) is None) == (model == "two/x")
    assert routed.public_models == ("claude-opus",)


def test_a_pattern_that_a_provider_shadows_is_reported():
    assert router(routes=PATTERNS).warnings == ["models.two/*: never used, as 'two' is a provider"]


def test_what_stands_for_the_name_is_only_a_model_that_clients_may_use():
    settings = {"one": {"exclude_models": ["gpt-4*"], "models": {"gpt-5": {"id": "up/five"}}}}
    complete = provider("two", models=[ModelSpec(id="gpt-3")], models_complete=True)
    routed = router(settings, {"gpt-*": ["one/gpt-*", "two/gpt-*"]}, two=complete)

    assert names(routed.resolve("gpt-3")) == ["one/gpt-3", "two/gpt-3"]
    assert names(routed.resolve("gpt-5")) == ["one/up/five"]
    with pytest.raises(ModelNotFound, match="'gpt-4o' is not available here"):
        routed.resolve("gpt-4o")


def test_a_pattern_without_an_active_provider_waits_for_nobody():
    routed = router(routes={"*": ["absent/x"]})

    with pytest.raises(Unavailable, match="No provider for the model 'any' is active") as caught:
        routed.resolve("any")
    assert not caught.value.waiting_helps
    assert routed.warnings == ["models.*: no provider 'absent' is active"]


@pytest.mark.parametrize(("name", "target"), [("best", "one/*"), ("*-*", "one/*"), ("gpt-*", "one/*-*")])
def test_a_target_has_at_most_as_many_stars_as_its_name(name, target):
    with pytest.raises(SettingsError, match="one in the name"):
        router(routes={name: [target]})


def test_a_secret_is_no_name_that_a_pattern_serves():
    known = {"one": provider("one")}
    routed = Router(known, {}, {"*": ["one/x"]}, is_secret=lambda name: "hush" in name)

    with pytest.raises(ModelNotFound, match="contains a secret"):
        routed.resolve("hush-hush")


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


# --- Providers that end ------------------------------------------------------------------

DAY = date(2026, 5, 1)
BEFORE, AFTER = DAY - timedelta(days=1), DAY + timedelta(days=1)


def ending(status="limited", until=DAY, routes=None, day=DAY):
    gone = provider("gone", lifecycle=Lifecycle(status=status, until=until, note="Use two."))
    known = {"gone": gone, "two": provider("two")}
    return Router(known, {}, routes or {"fast": ["gone/a", "two/b"]}, today=lambda: day)


@pytest.mark.parametrize("status", ["limited", "ended"])
@pytest.mark.parametrize("day", [DAY, AFTER])
def test_from_its_last_day_on_nothing_is_routed_to_a_provider_and_the_next_one_is_named(caplog, status, day):
    routed = ending(status, day=day)

    assert [names(routed.resolve("fast")) for _ in range(2)] == [["two/b"]] * 2

    (line,) = [r.getMessage() for r in caplog.records]
    assert "'gone' ended on 2026-05-01; the next in its list is two/b" in line
    assert routed.next_in_lists() == ["models.fast: instead of gone/a, two/b serves it"]


def test_until_then_it_serves(caplog):
    routed = ending(day=BEFORE)

    assert names(routed.resolve("fast")) == ["gone/a", "two/b"]
    assert names(routed.resolve("gone/a")) == ["gone/a"]
    assert (routed.next_in_lists(), caplog.records) == ([], [])


@pytest.mark.parametrize("model", ["gone/a", "only"])
def test_a_model_of_nobody_else_is_not_available_any_more(model):
    routed = ending(routes={"only": ["gone/a"]})

    with pytest.raises(ModelNotFound, match=r"not available any more.* ended on 2026-05-01. Use two."):
        routed.resolve(model)
    assert routed.next_in_lists() == ["models.only: instead of gone/a, nothing serves it"]


@pytest.mark.parametrize(
    "status, until, ended", [("ended", None, True), ("limited", None, False), ("active", DAY, False)]
)
def test_a_provider_without_a_date_has_ended_if_it_says_so(status, until, ended):
    assert ending(status, until).ended("gone") == ended


def test_the_end_comes_while_the_proxy_runs():
    day = [BEFORE]
    gone = provider("gone", lifecycle=Lifecycle(status="limited", until=DAY))
    routed = Router({"gone": gone, "two": provider("two")}, {}, {"gpt-*": ["gone/*", "two/*"]}, today=lambda: day[0])

    before, day[0] = names(routed.resolve("gpt-5")), DAY

    assert (before, names(routed.resolve("gpt-5"))) == (["gone/5", "two/5"], ["two/5"])
