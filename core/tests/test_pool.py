"""The pool: who goes next, leases, waiting, clearing, and what a look costs."""

import asyncio
import gc
import time
from statistics import median

import pytest

from proxy_core import ProxyRequest
from proxy_core.rotation.rows import MAX_GROUPS

REQUEST = ProxyRequest(id="r", client="c", dialect="openai_chat", model="m", stream=False, body={})


# --- balanced ----------------------------------------------------------------------------


def test_balanced_takes_the_least_busy_first(desk):
    desk = desk(3, "balanced")
    leases = [desk.take() for _ in range(3)]
    assert [lease.credential.label for lease in leases] == ["k0", "k1", "k2"]

    leases[1].release()

    assert desk.take().credential.label == "k1"


def test_balanced_takes_the_least_used_of_the_idle(desk):
    desk = desk(3, "balanced")

    assert [desk.ask() for _ in range(6)] == ["k0", "k1", "k2"] * 2


def test_balanced_counts_use_by_model(desk):
    desk = desk(2, "balanced")
    desk.ask("m")

    assert desk.ask("other") == "k0"
    assert desk.ask("m") == "k1"


def test_balanced_with_a_tolerance_never_gets_further_ahead_than_it(desk):
    desk = desk(4, "balanced", tolerance=2)
    served = [desk.ask() for _ in range(400)]
    used = desk.pool.ledger.group("m").used.values()

    assert max(used) - min(used) <= 3  # one that was two ahead was never taken
    assert served != ["k0", "k1", "k2", "k3"] * 100


def test_balanced_with_a_tolerance_still_prefers_the_idle(desk):
    desk = desk(3, "balanced", tolerance=50)

    assert {desk.take().credential.label for _ in range(3)} == {"k0", "k1", "k2"}


def test_a_request_the_provider_could_not_serve_is_not_counted(desk):
    desk = desk(2, "balanced")
    assert desk.fail(cooldown=None, fault="provider") == "k0"

    assert desk.ask() == "k0"


# --- sequential --------------------------------------------------------------------------


def test_sequential_stays_with_one(desk):
    desk = desk(3)

    assert {desk.ask() for _ in range(5)} == {"k0"}


def test_sequential_stays_with_one_however_busy_it_is(desk):
    desk = desk(3)

    assert {desk.take().credential.label for _ in range(5)} == {"k0"}


def test_sequential_moves_on_when_it_is_unusable_and_stays_there(desk, clock):
    desk = desk(3, fair_cycle=False)
    desk.fail(cooldown_s=30)
    assert {desk.ask() for _ in range(3)} == {"k1"}

    clock.passes(30)
    assert desk.ask() == "k0"  # finds out that it may be used again

    assert {desk.ask() for _ in range(3)} == {"k1"}


def test_sequential_leaves_an_exhausted_credential_alone_until_all_are(desk, clock):
    desk = desk(2)
    desk.fail(cooldown_s=3600)
    clock.passes(4000)
    assert {desk.ask() for _ in range(3)} == {"k1"}

    desk.fail(cooldown_s=3600)

    assert desk.ask() == "k0"


def test_sequential_keeps_one_for_each_model(desk):
    desk = desk(2, fair_cycle=False)
    desk.fail("m", cooldown_s=30)

    assert desk.ask("m") == "k1"
    assert desk.ask("other") == "k0"


# --- What is left out --------------------------------------------------------------------


def test_tried_credentials_are_left_out(desk):
    desk = desk(2)

    assert desk.ask(tried=["k0"]) == "k1"
    assert desk.ask(tried=["k0", "k1"]) is None


def test_a_request_that_failed_once_is_not_spent_on_a_probe(desk, clock):
    desk = desk(3, "balanced")
    desk.fail(cooldown_s=10)
    clock.passes(10)

    assert desk.take(tried=["k1"]).credential.label == "k2"
    assert desk.take().credential.label == "k0"


def test_an_empty_pool_says_so(desk):
    desk = desk(0)

    assert desk.take() is None
    assert desk.pool.soonest_s("m") is None
    assert desk.pool.peek(REQUEST, "m", frozenset(), None) is None


def test_soonest_is_the_first_that_comes_back(desk):
    desk = desk(2)
    desk.fail(cooldown_s=50)
    desk.fail(cooldown_s=20)

    assert desk.cooldown_s() == 20
    assert desk.pool.soonest_s("m", spent={desk.id("k1")}) == 50
    assert desk.pool.soonest_s("m", spent={desk.id("k0"), desk.id("k1")}) is None


def test_soonest_is_now_while_one_is_only_lent(desk):
    desk = desk(1, max_concurrent=1)
    desk.take()

    assert desk.take() is None
    assert desk.cooldown_s() == 0


# --- Leases ------------------------------------------------------------------------------


def test_a_lease_given_back_twice_is_given_back_once(desk):
    desk = desk(1)
    lease, other = desk.take(), desk.take()
    lease.release()
    lease.release()
    assert desk.pool.in_flight == 1

    other.release()
    assert desk.pool.in_flight == 0


@pytest.mark.parametrize("rest", ["quota", "model", "credential", "provider", None])
def test_a_lease_comes_back_after_any_failure(desk, rest):
    desk = desk(1)
    desk.fail(cooldown=rest)

    assert desk.pool.in_flight == 0


def test_a_lease_knows_whether_it_is_a_probe(desk, clock):
    desk = desk(1)
    assert not desk.take().probes
    desk.fail(cooldown_s=10)
    clock.passes(10)

    assert desk.take().probes


# --- Waiting -----------------------------------------------------------------------------


async def waiters(pool, count):
    made = [asyncio.get_running_loop().create_future() for _ in range(count)]
    for waiter in made:
        pool.wait(waiter)
    return made


async def test_the_longest_waiter_wakes_when_a_lease_is_returned(desk):
    desk = desk(1, max_concurrent=1)
    lease = desk.take()
    first, second = await waiters(desk.pool, 2)

    lease.release()

    assert (first.done(), second.done()) == (True, False)


async def test_a_waiter_that_gave_up_is_passed_over(desk):
    desk = desk(1)
    first, second = await waiters(desk.pool, 2)
    first.cancel()

    desk.pool.notify()

    assert second.done()


async def test_all_waiters_wake_when_a_probe_ends_a_cooldown(desk, clock):
    desk = desk(1)
    desk.fail(cooldown_s=10)
    clock.passes(10)
    probe = desk.take()
    waiting = await waiters(desk.pool, 3)

    probe.succeeded()

    assert all(waiter.done() for waiter in waiting)


async def test_all_waiters_wake_when_cooldowns_are_cleared(desk):
    desk = desk(1)
    waiting = await waiters(desk.pool, 3)

    desk.pool.clear()

    assert all(waiter.done() for waiter in waiting)


async def test_those_that_gave_up_are_not_kept(desk):
    desk = desk(1)
    for _ in range(1000):
        (waiter,) = await waiters(desk.pool, 1)
        desk.pool.forget(waiter)

    assert desk.pool.waiting == 0


# --- Clearing and peeking ----------------------------------------------------------------


def test_clear_of_one_credential_leaves_the_others(desk):
    desk = desk(2)
    desk.fail(cooldown="credential", cooldown_s=60)
    desk.fail(cooldown="credential", cooldown_s=60)

    assert desk.pool.clear(desk.id("k1")) == 1
    assert desk.pool.cooling_down() == {desk.id("k0"): 60}


def test_clear_of_one_model_leaves_the_others(desk):
    desk = desk(1)
    desk.fail("m", cooldown_s=60)
    desk.fail("other", cooldown_s=60)

    assert desk.pool.clear(model="m") == 1
    assert desk.ask("m") == "k0"
    assert desk.ask("other") is None


def test_clear_of_everything_counts_what_there_was(desk):
    desk = desk(2, caps=[{"limit": "1"}], routing={"circuit_breaker_failures": 1})
    desk.fail("m", cooldown_s=600)
    desk.fail("m", cooldown="credential", cooldown_s=60)
    desk.fail("other", cooldown=None, fault="provider")

    assert desk.pool.clear() == 4  # the outage, k1 itself, and k0 and k1 for one model each
    assert desk.pool.cooling_down() == {}
    assert desk.pool.ledger.outage is None
    assert desk.pool.clear() == 0


def test_a_failure_after_clearing_counts_as_the_first(desk, clock):
    desk = desk(1)
    for _ in range(3):
        desk.fail()
        clock.passes(desk.cooldown_s())
    desk.pool.clear()

    desk.fail()

    assert desk.cooldown_s() == 10


def test_a_preview_finds_the_credential_that_would_be_used_and_changes_nothing(desk):
    desk = desk(2, "sticky")
    desk.ask()
    assert {desk.pool.peek(REQUEST, "m", frozenset(), None).label for _ in range(3)} == {"k0"}

    assert desk.pool.in_flight == 0
    assert desk.pool.ledger.group("m").used == {desk.id("k0"): 1}
    other = ProxyRequest(id="r", client="else", dialect="openai_chat", model="m", stream=False, body={})
    assert desk.pool.peek(other, "m", frozenset(), None).label == "k1"
    desk.ask(tried=["k0"])
    desk.ask(tried=["k0"])
    assert desk.ask(client="else") == "k0"  # the look was not remembered as a choice


# --- Reloads -----------------------------------------------------------------------------


def test_a_removed_credential_takes_its_leases_back_and_is_forgotten_with_the_last(desk):
    desk = desk(2, fair_cycle=False)
    first, second = desk.take(), desk.take()
    desk.reload(["k1"])
    assert desk.ask() == "k1"
    assert (desk.pool.in_flight, len(desk.pool)) == (2, 1)

    first.failed(desk.decision("credential", 60))
    first.release()
    second.release()

    assert desk.pool.in_flight == 0
    assert desk.pool.ledger.known.keys() == {"id-1"}
    assert "id-0" not in desk.pool.ledger.group("m").used


def test_a_credential_that_was_removed_and_returns_still_counts_what_it_does(desk):
    desk = desk(2, max_concurrent=1)
    lease = desk.take()
    desk.reload(["k1"], max_concurrent=1)
    desk.reload(["k0"], max_concurrent=1)
    assert desk.take() is None

    lease.release()

    assert desk.ask() == "k0"


def test_after_a_reload_the_order_is_that_of_settings_and_what_is_known_stays(desk):
    desk = desk(3, "balanced")
    assert [desk.ask(), desk.fail(cooldown="credential", cooldown_s=60)] == ["k0", "k1"]

    desk.reload(["k3", "k2", "k1", "k0"], "balanced")

    assert desk.pool.cooling_down() == {"id-1": 60}
    assert [desk.ask() for _ in range(3)] == ["k3", "k2", "k3"]


def test_an_attempt_of_before_ends_a_cooldown_of_after(desk, clock):
    desk = desk(1)
    desk.fail(cooldown_s=10)
    clock.passes(10)
    probe = desk.take()
    desk.reload(["k1", "k0"], fair_cycle=False)
    assert [desk.take().credential.label, desk.take(tried=["k1"])] == ["k1", None]

    probe.succeeded()
    probe.release()

    assert desk.take(tried=["k1"]).credential.label == "k0"


def test_a_limit_lowered_by_a_reload_holds_for_what_was_lent_before(desk):
    desk = desk(1)
    leases = [desk.take() for _ in range(3)]
    desk.reload(["k0"], max_concurrent=2)

    served = []
    for lease in leases:
        lease.release()
        served.append(desk.ask())

    assert served == [None, "k0", "k0"]


def test_a_key_that_was_disabled_is_retried_after_a_reload(desk):
    desk = desk(1)
    desk.pool.disabled(desk.pool.credentials[0], "no such key")
    assert desk.take() is None

    desk.reload(["k0"])

    assert desk.ask() == "k0"


def test_counts_of_a_model_stay_with_it_until_a_reload_puts_it_into_a_group(desk):
    desk = desk(2, "balanced")
    desk.ask("big-1")
    desk.reload(["k0", "k1"], "balanced")
    assert desk.ask("big-1") == "k1"

    desk.reload(["k0", "k1"], "balanced", quota_groups={"big": ["big-*"]})

    assert [desk.ask("big-1"), desk.ask("big-2")] == ["k0", "k1"]


def test_a_cap_that_a_reload_brings_counts_what_was_used_before(desk):
    desk = desk(1)
    assert [desk.ask() for _ in range(3)] == ["k0"] * 3

    desk.reload(["k0"], caps=[{"limit": "3"}])
    assert desk.ask() is None

    desk.reload(["k0"], caps=[{"limit": "4"}])
    assert [desk.ask(), desk.ask()] == ["k0", None]


async def test_a_reload_wakes_all_waiters(desk):
    desk = desk(1)
    waiting = await waiters(desk.pool, 2)

    desk.reload(["k0", "k1"])

    assert all(waiter.done() for waiter in waiting)


# --- Quota groups and what things cost ---------------------------------------------------


def test_quota_groups_are_bounded_and_the_idle_go_first(desk):
    desk = desk(2)
    desk.fail("precious", cooldown_s=600)
    for n in range(1000):
        desk.ask(f"model-{n}")

    assert len(desk.pool.ledger.groups) == MAX_GROUPS
    assert desk.ask("precious") == "k1"


def test_the_quota_group_that_goes_is_the_one_unused_for_longest(desk):
    desk = desk(2, "balanced")
    for n in range(1000):
        desk.ask("busy")
        desk.ask(f"model-{n}")

    assert sum(desk.pool.ledger.group("busy").used.values()) == 1000


def test_a_failure_after_its_quota_group_went_still_counts(desk):
    desk = desk(1)
    lease = desk.take("m")
    for n in range(MAX_GROUPS):
        desk.ask(f"model-{n}")

    desk.fail("m", cooldown_s=60, lease=lease)

    assert desk.cooldown_s("m") == 60


def test_ten_thousand_model_names_take_little_memory(desk):
    desk = desk(2, "balanced")
    for n in range(2000):  # fills what has bounds
        desk.ask(f"model-{n}")
    before = things()
    for n in range(2000, 10_000):
        desk.ask(f"model-{n}")

    assert things() - before < 100


def things():
    gc.collect()
    return len(gc.get_objects())


def cost_us(desk, models=1):
    """Of taking a lease: the best of some medians, as other things run on this machine."""
    medians = []
    for _ in range(5):
        costs = []
        for n in range(150):
            started = time.perf_counter()
            lease = desk.take(f"m{n % models}")
            costs.append(time.perf_counter() - started)
            lease.succeeded()
            lease.release()
        medians.append(median(costs))
    return min(medians) * 1e6


def slowness():
    """How much slower this machine is now than the one the bar is for, where such a pass takes 17 us."""
    loads, costs = [float(n) for n in range(1000)], []
    for _ in range(300):
        started = time.perf_counter()
        min(loads)
        costs.append(time.perf_counter() - started)
    return max(1.0, median(costs) * 1e6 / 17)


@pytest.mark.parametrize("selector", ["balanced", "sequential", "sticky"])
def test_choosing_among_a_thousand_takes_no_more_than_50_us(desk, selector):
    desk = desk(1000, selector)
    desk.ask("m0")

    assert min(cost_us(desk) / slowness() for _ in range(5)) <= 50


def test_choosing_takes_no_longer_when_many_models_were_asked_for(desk):
    few, many = desk(1000, "balanced"), desk(1000, "balanced")
    few.ask("m0")
    for n in range(100):
        many.ask(f"m{n}")
    many.ask("m0")

    assert cost_us(many) <= 2 * cost_us(few)


def test_choosing_takes_no_longer_when_most_are_set_aside(desk):
    few, many = desk(1000), desk(1000)
    few.ask("m0")
    for _ in range(900):
        many.fail("m0", cooldown_s=600)

    assert cost_us(many) <= 2 * cost_us(few)
