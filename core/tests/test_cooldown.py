"""Rests: how long, what they cover, how they are tried, and what ends them."""

import pytest


def fails_until(desk, clock, times, model="m", **more):
    """Fail ``times`` times, each as soon as may be; the rests."""
    rests = []
    for _ in range(times):
        desk.fail(model, **more)
        rests.append(desk.cooldown_s(model))
        clock.passes(rests[-1])
    return rests


@pytest.mark.parametrize("scope", ["model", "credential"])
def test_a_cooldown_without_a_hint_grows_up_to_a_maximum(desk, clock, scope):
    assert fails_until(desk(1), clock, 7, cooldown=scope) == [10, 30, 60, 120, 300, 300, 300]


@pytest.mark.parametrize("scope", ["model", "credential", "provider"])
def test_a_provider_may_have_steps_of_its_own(desk, clock, scope):
    assert fails_until(desk(1), clock, 4, cooldown=scope, back_off_s=(5, 15, 45)) == [5, 15, 45, 45]


def test_a_circuit_breaker_without_a_stated_time_has_the_usual_steps(desk):
    desk = desk(1, routing={"circuit_breaker_failures": 1})
    desk.fail("m", cooldown="model", fault="provider", back_off_s=(1,))

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
    first.failed(desk.decision("model", 10))
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
    desk.fail(lease=first, cooldown="model", cooldown_s=20)
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


@pytest.mark.parametrize(("fault", "rest"), [("client", None), ("model", "model"), ("credential", "credential")])
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
