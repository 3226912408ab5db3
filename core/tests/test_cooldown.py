"""Rests: how long, what they cover, how they are tried, and what ends them."""

import pytest

from proxy_core.clock import Instant
from proxy_core.rotation.explain import decided, described
from proxy_core.rotation.sync_codec import applied, name_of, written
from proxy_core.status.providers import _quotas


def fails_until(desk, clock, times, model="m", **more):
    """Fail ``times`` times, each as soon as may be; the rests."""
    rests = []
    for _ in range(times):
        desk.fail(model, **more)
        rests.append(desk.cooldown_s(model))
        clock.passes(rests[-1])
    return rests


@pytest.mark.parametrize("scope", ["quota", "model", "credential"])
def test_a_cooldown_without_a_hint_grows_up_to_a_maximum(desk, clock, scope):
    assert fails_until(desk(1), clock, 7, cooldown=scope) == [10, 30, 60, 120, 300, 300, 300]


@pytest.mark.parametrize("scope", ["quota", "model", "credential", "provider"])
def test_a_provider_may_have_steps_of_its_own(desk, clock, scope):
    assert fails_until(desk(1), clock, 4, cooldown=scope, back_off_s=(5, 15, 45)) == [5, 15, 45, 45]


def test_a_circuit_breaker_without_a_stated_time_has_the_usual_steps(desk):
    desk = desk(1, routing={"circuit_breaker_failures": 1})
    desk.fail("m", cooldown="quota", fault="provider", back_off_s=(1,))

    assert desk.cooldown_s("other") == 10


def test_models_escalate_apart_from_each_other(desk, clock):
    desk = desk(1)
    fails_until(desk, clock, 3, model="m")

    assert fails_until(desk, clock, 1, model="other") == [10]


def test_a_refused_credential_cools_down_for_every_model(desk):
    desk = desk(1)
    desk.fail("m", cooldown="credential", cooldown_s=30)

    assert desk.ask("other") is None
    assert desk.cooldown_s("other") == 30


def test_a_rate_limited_model_cools_down_only_for_that_credential(desk):
    desk = desk(2)
    desk.fail("m", cooldown_s=30)

    assert desk.ask("m") == "k1"
    assert desk.ask("other") == "k0"


def test_a_rate_limited_model_puts_its_quota_group_into_cooldown(desk):
    desk = desk(2, quota_groups={"pro": ["big-*"]})
    desk.fail("big-1", cooldown_s=30)

    assert desk.ask("big-2") == "k1"
    assert desk.ask("small") == "k0"


def test_no_cooldown_is_longer_than_the_maximum(desk):
    desk = desk(1, routing={"max_cooldown_s": 100, "half_open_after_s": 1000})
    desk.fail(cooldown_s=1e9)

    assert desk.pool.cooling_down() == {desk.id("k0"): 100}
    assert desk.cooldown_s() == 100


def test_no_guessed_cooldown_is_longer_than_the_maximum(desk, clock):
    assert fails_until(desk(1, routing={"max_cooldown_s": 45}), clock, 4) == [10, 30, 45, 45]


def test_a_long_hint_is_probed_early_and_success_ends_the_cooldown(desk, clock):
    desk = desk(1)
    desk.fail(cooldown_s=7200)
    assert desk.cooldown_s() == 300
    clock.passes(299)
    assert desk.take() is None

    clock.passes(1)

    assert desk.ask() == "k0"
    assert desk.pool.cooling_down() == {}


def test_one_request_tries_it_and_not_a_herd(desk, clock):
    desk = desk(1)
    desk.fail(cooldown_s=7200)
    clock.passes(300)

    assert [lease is not None for lease in (desk.take() for _ in range(5))] == [True, False, False, False, False]


def test_a_cooldown_that_is_over_is_probed_by_one_request_too(desk, clock):
    desk = desk(2, "balanced")
    desk.fail(cooldown_s=10)
    clock.passes(5000)
    took = [desk.take().credential.label for _ in range(4)]

    assert took == ["k0", "k1", "k1", "k1"]


def test_a_probe_goes_before_what_is_usable_of_the_same_priority(desk, clock):
    desk = desk([1, 1, 2])
    desk.fail(cooldown_s=10)
    clock.passes(10)

    assert desk.take().credential.label == "k0"
    assert desk.take().credential.label == "k1"


def test_a_probe_of_a_worse_priority_waits_until_it_is_needed(desk, clock):
    desk = desk([1, 2], fair_cycle=False)
    desk.fail(cooldown_s=10, tried=["k0"])
    clock.passes(10)

    assert desk.take().credential.label == "k0"


def test_failed_probes_come_half_as_often_each_time(desk, clock):
    desk = desk(1, routing={"max_cooldown_s": 1e6})
    desk.fail(cooldown_s=1e6)
    gaps = []
    for _ in range(6):
        gaps.append(desk.cooldown_s())
        clock.passes(gaps[-1])
        desk.fail(cooldown_s=1e6)

    assert gaps == [300, 600, 1200, 2400, 3600, 3600]


def test_a_failed_probe_without_a_hint_keeps_the_far_end(desk, clock):
    desk = desk(1)
    desk.fail(cooldown_s=7200)
    clock.passes(300)
    desk.fail()

    assert desk.pool.cooling_down() == {desk.id("k0"): 6900}


def test_a_failed_probes_hint_replaces_the_old_one_even_if_it_is_shorter(desk, clock):
    desk = desk(1)
    desk.fail(cooldown_s=7200)
    clock.passes(300)
    desk.fail(cooldown_s=40)

    assert desk.cooldown_s() == 40


def test_a_probe_without_a_result_lets_the_next_request_probe(desk, clock):
    desk = desk(1)
    desk.fail(cooldown_s=10)
    clock.passes(10)
    probe = desk.take()
    assert desk.take() is None

    probe.release()

    assert desk.take().probes


def test_what_comes_back_from_before_does_not_let_a_second_one_try(desk, clock):
    desk = desk(1)
    desk.fail(cooldown_s=10)
    clock.passes(10)
    first = desk.take()
    first.failed(desk.decision("quota", 10))
    clock.passes(10)
    assert desk.take().probes

    first.release()

    assert desk.take() is None


def test_success_makes_the_next_failure_the_first(desk, clock):
    desk = desk(1)
    fails_until(desk, clock, 3)
    desk.ask()

    assert fails_until(desk, clock, 1) == [10]


def test_success_of_an_earlier_request_does_not_end_a_cooldown(desk):
    desk = desk(1)
    early, failing = desk.take(), desk.take()
    desk.fail(lease=failing)

    early.succeeded()

    assert desk.cooldown_s() == 10


def test_failures_of_requests_in_flight_do_not_escalate(desk, clock):
    desk = desk(1)
    for lease in [desk.take() for _ in range(20)]:
        desk.fail(lease=lease)
    assert desk.cooldown_s() == 10
    clock.passes(10)

    assert fails_until(desk, clock, 1) == [30]


def test_requests_in_flight_may_lengthen_a_cooldown_but_not_shorten_it(desk):
    desk = desk(1)
    first, second, third = desk.take(), desk.take(), desk.take()
    desk.fail(lease=first, cooldown_s=20)
    desk.fail(lease=second, cooldown_s=100)
    desk.fail(lease=third, cooldown_s=5)

    assert desk.cooldown_s() == 100


def test_requests_in_flight_do_not_delay_the_early_probe(desk, clock):
    desk = desk(1)
    first, second = desk.take(), desk.take()
    desk.fail(lease=first, cooldown_s=7200)
    clock.passes(200)
    desk.fail(lease=second, cooldown_s=7200)

    assert desk.cooldown_s() == 100


def test_requests_in_flight_do_not_block_probes_forever(desk, clock):
    desk = desk(1)
    first, late = desk.take(), desk.take()
    desk.fail(lease=first, cooldown_s=10)
    clock.passes(10)
    probe = desk.take()
    desk.fail(lease=late, cooldown_s=10)
    probe.release()
    clock.passes(10)

    assert desk.ask() == "k0"


def test_a_failure_an_hour_after_the_cooldown_counts_as_the_first(desk, clock):
    desk = desk(1)
    fails_until(desk, clock, 3)
    clock.passes(3601)

    assert fails_until(desk, clock, 1) == [10]


def test_the_longer_of_two_cooldowns_applies(desk, clock):
    desk = desk(1)
    first, second = desk.take(), desk.take()
    desk.fail(lease=first, cooldown="quota", cooldown_s=20)
    desk.fail(lease=second, cooldown="credential", cooldown_s=50)
    assert desk.cooldown_s() == 50
    clock.passes(50)

    assert desk.ask() == "k0"
    assert desk.pool.cooling_down() == {}


# --- Outages -----------------------------------------------------------------------------


def breaks(desk, times=1, **more):
    for _ in range(times):
        desk.fail(cooldown=None, fault="provider", **more)


def test_consecutive_provider_failures_open_the_circuit_breaker_and_not_each_credentials_cooldown(desk):
    desk = desk(3, "balanced")
    breaks(desk, 4)
    assert desk.cooldown_s() == 0

    breaks(desk)

    assert desk.take() is None
    assert desk.cooldown_s("other") == 10
    assert desk.pool.cooling_down() == {}


def test_a_success_in_between_restarts_the_count(desk):
    desk = desk(1)
    for _ in range(3):
        breaks(desk, 4)
        desk.ask()

    assert desk.pool.ledger.outage is None


def test_an_answer_in_between_restarts_the_count_even_if_it_is_a_refusal(desk):
    desk = desk(1)
    for _ in range(3):
        breaks(desk, 4)
        desk.fail(cooldown=None, fault="client")

    assert desk.pool.ledger.outage is None


def test_one_request_finds_out_whether_an_outage_is_over(desk, clock):
    desk = desk(3, "balanced")
    breaks(desk, 5)
    clock.passes(10)

    probe = desk.take()
    assert probe.probes
    assert desk.take() is None
    probe.succeeded()
    assert desk.take() is not None


@pytest.mark.parametrize(
    ("fault", "rest"), [("client", None), ("model", "quota"), ("model", "model"), ("credential", "credential")]
)
def test_any_response_of_the_provider_closes_the_circuit_breaker(desk, clock, fault, rest):
    desk = desk(2, "balanced")
    breaks(desk, 5)
    clock.passes(10)
    desk.fail(cooldown=rest, fault=fault, cooldown_s=60 if rest else None)

    assert desk.pool.ledger.outage is None
    assert desk.ask() is not None


def test_a_response_to_an_earlier_request_does_not_close_the_circuit_breaker(desk):
    desk = desk(1)
    early = desk.take()
    breaks(desk, 5)
    desk.fail(lease=early, cooldown=None, fault="client")

    assert desk.cooldown_s() == 10


def test_a_circuit_breaker_escalates(desk, clock):
    desk = desk(1)
    breaks(desk, 4)

    assert fails_until(desk, clock, 4, cooldown=None, fault="provider") == [10, 30, 60, 120]


def test_requests_in_flight_do_not_escalate_an_open_circuit_breaker(desk):
    desk = desk(1)
    for lease in [desk.take() for _ in range(50)]:
        breaks(desk, lease=lease)

    assert desk.cooldown_s() == 10


def test_a_decision_can_open_the_circuit_breaker_at_once_for_a_stated_time(desk):
    desk = desk(2)
    desk.fail(cooldown="provider", cooldown_s=25, fault="provider")

    assert desk.cooldown_s() == 25


def test_a_circuit_breaker_probe_without_a_result_lets_the_next_request_probe(desk, clock):
    desk = desk(1)
    breaks(desk, 5)
    clock.passes(10)
    desk.take().release()

    assert desk.take().probes


def test_an_open_circuit_breaker_can_be_cleared(desk):
    desk = desk(1)
    breaks(desk, 5)

    assert desk.pool.clear() == 1
    assert desk.ask() == "k0"


# --- One model with one credential -------------------------------------------------------

PRO = {"quota_groups": {"pro": ["big-*"]}}


def test_a_failure_of_one_model_leaves_the_other_models_of_its_quota_group_alone(desk):
    desk = desk(1, **PRO)
    desk.fail("big-1", cooldown="model", cooldown_s=3600)

    assert desk.ask("big-1") is None
    assert desk.ask("big-2") == "k0"
    assert desk.cooldown_s("big-1") == 300  # the first probe
    assert desk.cooldown_s("big-2") == 0


def test_a_quota_that_is_used_up_concerns_every_model_of_its_group(desk):
    desk = desk(1, **PRO)
    desk.fail("big-1", cooldown="quota", cooldown_s=3600)

    assert desk.ask("big-2") is None
    assert desk.ask("small") == "k0"


def test_another_credential_serves_a_model_that_one_may_not_use(desk):
    desk = desk(2, **PRO)
    desk.fail("big-1", cooldown="model", cooldown_s=3600)

    assert {desk.ask("big-1") for _ in range(3)} == {"k1"}
    assert desk.ask("big-2", tried=["k1"]) == "k0"
    assert desk.pool.cooling_down() == {"id-0": 3600}


def test_a_model_is_probed_by_one_and_free_again_when_that_succeeds(desk, clock):
    desk = desk(1, **PRO)
    desk.fail("big-1", cooldown="model", cooldown_s=20)
    clock.passes(20)
    probe = desk.take("big-1")

    assert probe.probes
    assert desk.take("big-1") is None
    assert not desk.take("big-2").probes
    probe.succeeded()
    probe.release()
    assert not desk.take("big-1").probes
    assert desk.pool.ledger.group("pro").of_model == {}


def test_a_probe_of_a_model_that_fails_extends_only_that_cooldown(desk, clock):
    desk = desk(1, **PRO)
    desk.fail("big-1", cooldown="model")
    clock.passes(10)
    desk.fail("big-1", cooldown="model")

    assert desk.cooldown_s("big-1") == 30
    assert desk.ask("big-2") == "k0"


def test_a_model_in_cooldown_does_not_keep_a_due_credential_of_its_group_from_its_probe(desk, clock):
    desk = desk(2, **PRO)
    desk.fail("big-1", cooldown="model", cooldown_s=3600)  # k0
    desk.fail("big-1", cooldown="quota", cooldown_s=10)  # k1
    clock.passes(10)

    assert desk.take("big-1").credential.label == "k1"


def test_the_cooldown_of_one_model_is_no_mark_of_the_fair_cycle(desk):
    desk = desk(2, fair_cycle=True, exhausted_cooldown_s=60, **PRO)
    desk.fail("big-1", cooldown="model", cooldown_s=3600)

    assert desk.pool.ledger.group("pro").marks == {}


@pytest.mark.parametrize("model", ["big-1", None])
def test_the_operator_can_end_the_cooldown_of_one_model(desk, model):
    desk = desk(1, **PRO)
    desk.fail("big-1", cooldown="model", cooldown_s=3600)
    desk.fail("big-2", cooldown="model", cooldown_s=3600)

    assert desk.pool.clear(model=model) == (1 if model else 2)
    assert desk.ask("big-1") == "k0"
    assert desk.ask("big-2") == (None if model else "k0")


def test_a_removed_credential_leaves_no_cooldown_of_a_model_behind(desk):
    desk = desk(2, **PRO)
    desk.fail("big-1", cooldown="model", cooldown_s=3600)
    desk.reload(["k1"], **PRO)

    assert desk.pool.ledger.group("pro").of_model == {}


def test_other_processes_learn_which_model_cools_down_and_that_it_no_longer_does(desk, clock):
    here, there, instant = desk(1, **PRO), desk(1, **PRO), Instant.of(clock)

    def share():
        for scope in list(here.pool.ledger.changes.scopes):
            at = here.pool.ledger.changes.at[scope]
            applied(there.pool.ledger, name_of("p", scope), written(here.pool.ledger, scope, at, instant, str), instant)

    here.fail("big-1", cooldown="model", cooldown_s=3600, message="No such model.")
    share()
    assert (there.ask("big-1"), there.ask("big-2")) == (None, "k0")

    clock.passes(1)
    here.pool.clear(model="big-1")
    share()
    assert there.ask("big-1") == "k0"


def test_the_operator_sees_which_model_cools_down_and_why(desk):
    desk = desk(1, **PRO)
    desk.fail("big-1", cooldown="model", cooldown_s=3600, message="Requested entity was not found.")
    (one,) = described(desk.pool, "big-1", str)["credentials"]
    (other,) = described(desk.pool, "big-2", str)["credentials"]

    assert one["state"] == "cooling down"
    assert [(c["scope"], c["upstream_message"]) for c in one["cooldowns"]] == [
        ("big-1 only", "Requested entity was not found.")
    ]
    assert (other["state"], other["cooldowns"]) == ("usable", [])
    assert [e.message for e in decided(desk.pool, "big-1", None, frozenset(), "d", 0.0).excluded] == [
        "Requested entity was not found."
    ]
    quotas = _quotas(desk.pool.ledger, Instant.of(desk.clock), str)["id-0"]
    assert [(quota.name, quota.cooldown is not None) for quota in quotas] == [("pro", False), ("big-1", True)]
