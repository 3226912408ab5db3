"""What a client may use, under a clock that stands still."""

import pytest
from pydantic import SecretStr

from proxy_core.errors import Forbidden, LimitReached
from proxy_core.settings.schema import ClientSettings
from proxy_core.state.budgets import Budgets


def limited(clock, client, **limits):
    made = Budgets(clock)
    made.configure({client: ClientSettings(key=SecretStr("secret-key"), **limits)})
    return made


@pytest.fixture
def budgets(clock):
    """``budgets(requests_per_minute=2)``: the limits of a client called me."""
    clock.time = 6_000_000.0  # the beginning of a minute

    def make(**limits):
        return limited(clock, "me", **limits)

    return make


def headers(limits, client="me"):
    return {name.decode(): value.decode() for name, value in limits.headers(client)}


def refused(limits, model="m"):
    with pytest.raises(LimitReached) as reached:
        limits.admit("me", model)
    return reached.value


def test_requests_are_limited_until_the_minute_is_over(budgets, clock):
    limits = budgets(requests_per_minute=2)
    clock.passes(20.5)
    limits.admit("me", "m")
    limits.admit("me", "m")
    error = refused(limits)
    refused(limits)

    assert (error.status, error.code, error.retry_after_s) == (429, "rate_limit_exceeded", 39.5)
    assert "2 requests a minute" in error.message
    clock.passes(39.5)
    limits.admit("me", "m")
    assert headers(limits)["x-ratelimit-remaining-requests"] == "1", "what was refused did not count"


def test_tokens_are_limited_once_they_are_known(budgets, clock):
    limits = budgets(tokens_per_minute=100)
    limits.admit("me", "m")
    limits.count("me", 99, None)
    limits.admit("me", "m")
    limits.count("me", 20, None)

    assert "100 tokens a minute" in refused(limits).message
    assert headers(limits)["x-ratelimit-remaining-tokens"] == "0"
    clock.passes(60)
    limits.admit("me", "m")


def test_cost_is_limited_until_the_utc_day_is_over(budgets, clock):
    limits = budgets(cost_per_day=0.5)
    limits.count("me", 10, 0.3)
    limits.count("me", 10, None)
    limits.admit("me", "m")
    limits.count("me", 10, 0.3)
    error = refused(limits)

    assert error.retry_after_s == 86_400 - clock.time % 86_400
    clock.passes(error.retry_after_s)
    limits.admit("me", "m")


def test_headers_say_what_is_left_in_whole_seconds(budgets, clock):
    limits = budgets(requests_per_minute=3, tokens_per_minute=100, cost_per_day=1)
    clock.passes(59.9)
    limits.admit("me", "m")
    limits.count("me", 7, None)

    assert headers(limits) == {
        "x-ratelimit-limit-requests": "3",
        "x-ratelimit-remaining-requests": "2",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-limit-tokens": "100",
        "x-ratelimit-remaining-tokens": "93",
        "x-ratelimit-reset-tokens": "1s",
    }


def test_a_large_limit_is_reported_unchanged(budgets):
    limits = budgets(tokens_per_minute=12_345_678)
    limits.count("me", 12_345_678, None)

    assert "12345678 tokens" in refused(limits).message


def test_others_have_no_limits(budgets):
    limits = budgets(requests_per_minute=1)
    for _ in range(3):
        limits.admit("you", "m")

    assert headers(limits, "you") == {}
    assert headers(budgets()) == {}
    assert headers(budgets(models=["m"])) == {}


@pytest.mark.parametrize(
    ("globs", "model", "allowed"),
    [
        ([], "demo/small", True),
        (["demo/*"], "demo/small", True),
        (["demo/*"], "other/small", False),
        (["fast", "demo/s*"], "demo/small", True),
        (["fast"], "faster", False),
        (["fast"], "Fast", False),
        (["*"], "a/b/c", True),
    ],
)
def test_models_are_globs_of_public_names(budgets, globs, model, allowed):
    limits = budgets(models=globs, requests_per_minute=5)

    assert limits.allows("me", model) is allowed
    if not allowed:
        with pytest.raises(Forbidden) as forbidden:
            limits.admit("me", model)
        assert (forbidden.value.code, forbidden.value.param) == ("model_not_allowed", "model")
        assert headers(limits)["x-ratelimit-remaining-requests"] == "5"


def exchange(totals, *processes):
    """What a store does: adds up, and tells everybody the sums."""
    for process in processes:
        for name, count in process.unsent():
            totals[name] = totals.get(name, 0) + count.add
    for process in processes:
        for name, total in totals.items():
            process.apply_total(name, total)


def test_processes_count_together(budgets, clock):
    one, two, totals = budgets(requests_per_minute=4), budgets(requests_per_minute=4), {}
    one.admit("me", "m")
    one.admit("me", "m")
    two.admit("me", "m")
    exchange(totals, one, two)
    two.admit("me", "m")
    exchange(totals, one, two)
    exchange(totals, one, two)

    assert list(totals.values()) == [4]
    refused(one)
    refused(two)
    late = budgets(requests_per_minute=4)
    exchange(totals, late)
    refused(late)
    clock.passes(60)
    exchange(totals, one, two)
    one.admit("me", "m")


def test_what_is_counted_during_an_exchange_is_not_forgotten(budgets):
    limits = budgets(requests_per_minute=10)
    limits.admit("me", "m")
    sent = dict(limits.unsent())
    limits.admit("me", "m")
    for name, count in sent.items():
        limits.apply_total(name, count.add + 3)

    assert headers(limits)["x-ratelimit-remaining-requests"] == "5"
    assert [count.add for _, count in limits.unsent()] == [1]
    assert not list(limits.unsent())


def test_a_store_that_lost_its_counts_gives_nothing_back(budgets):
    limits = budgets(requests_per_minute=3)
    for _ in range(3):
        limits.admit("me", "m")
    for name, _ in list(limits.unsent()):
        limits.apply_total(name, 1)

    refused(limits)


def test_counts_have_a_name_that_any_clients_name_fits_in_and_an_end(clock):
    clock.time = 6_000_030.0
    limits = limited(clock, "a/b c", requests_per_minute=1)
    limits.admit("a/b c", "m")
    [(name, count)] = limits.unsent()
    limits.apply_total(name, 5)
    limits.apply_total("client/gone/requests/100000", 5)

    assert name == "client/a%2Fb%20c/requests/100000"
    assert count.expires_at == 6_000_120
    assert headers(limits, "a/b c")["x-ratelimit-remaining-requests"] == "0"


def test_a_request_is_told_what_its_client_is_limited_to(budgets):
    told = {
        (): {"requests_per_minute": 1},
        ("models",): {"models": ["m"]},
        ("cost",): {"cost_per_day": 1.0, "tokens_per_minute": 5},
        ("cost", "models"): {"models": ["m"], "cost_per_day": 1.0},
    }
    for kinds, limits in told.items():
        found = budgets(**limits).limits("me")
        assert tuple(kind for kind in ("cost", "models") if getattr(found, kind)) == kinds
    assert not budgets().limits("me").models
