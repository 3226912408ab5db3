"""How credentials are spent: priorities, concurrency, quota groups, caps, fair cycle, windows."""

import math
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from proxy_core import RotationSettings, Selector
from proxy_core.rotation.quota import next_reset

# --- Priorities --------------------------------------------------------------------------


@pytest.mark.parametrize("selector", ["balanced", "sequential", "sticky"])
def test_the_lowest_number_goes_first_for_as_long_as_it_is_usable(desk, selector):
    desk = desk([3, 1, 2], selector)

    assert [desk.take().credential.label for _ in range(3)] == ["k1", "k1", "k1"]
    desk.fail(cooldown="credential", cooldown_s=50)
    assert [desk.take().credential.label for _ in range(3)] == ["k2", "k2", "k2"]


def test_a_better_priority_that_comes_back_is_used_again(desk, clock):
    desk = desk([1, 2])
    desk.fail(cooldown_s=50)
    assert desk.ask() == "k1"
    clock.passes(50)

    assert [desk.ask() for _ in range(3)] == ["k0"] * 3


def test_a_model_may_be_for_good_priorities_only(desk):
    desk = desk([1, 2, 3])
    served = [desk.take(worst=2) for _ in range(2)]
    desk.fail(lease=served[0], cooldown="credential", cooldown_s=50)

    assert desk.ask(worst=2) == "k1"
    assert desk.ask(worst=1) is None
    assert desk.ask(worst=0) is None
    assert desk.pool.soonest_s("m", max_priority=1) == 50
    assert desk.pool.soonest_s("m", max_priority=0) is None


def test_thousands_at_once_do_not_spill_into_the_next_priority(desk):
    desk = desk([1, 2], "balanced")
    leases = [desk.take(worst=1) for _ in range(2500)]

    assert {lease.credential.label for lease in leases} == {"k0"}


# --- Concurrency -------------------------------------------------------------------------


def test_no_credential_has_more_at_once_than_it_may(desk):
    desk = desk(2, max_concurrent=2)
    leases = [desk.take() for _ in range(5)]
    assert [lease and lease.credential.label for lease in leases] == ["k0", "k0", "k1", "k1", None]

    leases[0].release()

    assert desk.take("other").credential.label == "k0"


def test_concurrency_counts_over_all_models(desk):
    desk = desk(1, max_concurrent=1)
    desk.take("m")

    assert desk.take("other") is None


@pytest.mark.parametrize("most", [None, 0, -1])
def test_below_one_means_no_limit(desk, most):
    desk = desk(1, max_concurrent=most)

    assert all(desk.take() for _ in range(50))


def test_limits_are_multiplied_by_priority(desk):
    desk = desk([1, 2, 3], max_concurrent=2, multipliers={1: 2, 2: 0.1}, default_multiplier=1.5)
    most = [sum(desk.take(worst=p) is not None for _ in range(9)) for p in (1, 2, 3)]

    assert most == [4, 1, 3]


def test_above_the_preferred_concurrency_others_go_first_but_none_is_refused(desk):
    desk = desk(2, preferred_concurrency=2)

    assert [desk.take().credential.label for _ in range(6)] == ["k0", "k0", "k1", "k1", "k1", "k0"]


def test_the_preferred_concurrency_is_multiplied_too(desk):
    desk = desk(2, "balanced", multipliers={1: 2})

    assert [desk.take().credential.label for _ in range(4)] == ["k0", "k1", "k0", "k1"]
    assert desk.pool.ledger.rows[0].preferred == 2


# --- Caps --------------------------------------------------------------------------------


def serves(desk, times, model="m"):
    return sum(desk.ask(model) is not None for _ in range(times))


def test_a_cap_ends_with_the_window_that_began_with_the_first_request(desk, clock):
    desk = desk(1, caps=[{"limit": "3"}], quota_window_s=100)
    desk.ask()
    clock.passes(60)
    assert serves(desk, 9) == 2
    assert desk.cooldown_s() == 40
    clock.passes(40)

    assert serves(desk, 9) == 3


RESETS = [
    ("daily 03:00", "2026-11-28 02:59", "2026-11-28 03:00"),
    ("daily 03:00", "2026-11-28 03:00", "2026-11-29 03:00"),
    ("weekly sunday 00:00", "2026-11-28 10:00", "2026-11-29 00:00"),
    ("weekly sunday 00:00", "2026-11-29 00:00", "2026-12-06 00:00"),
    ("monthly 1 00:00", "2026-11-28 10:00", "2026-12-01 00:00"),
    ("monthly 1 12:30", "2026-12-01 12:29", "2026-12-01 12:30"),
    ("monthly 31 00:00", "2027-01-31 00:00", "2027-02-28 00:00"),
    ("monthly 31 00:00", "2028-02-01 00:00", "2028-02-29 00:00"),
    ("monthly 30 23:59", "2027-01-30 23:59", "2027-02-28 23:59"),
]


@pytest.mark.parametrize(("text", "at", "resets"), RESETS)
def test_a_quota_window_may_end_with_the_day_the_week_or_the_month(text, at, resets):
    found = next_reset(text, datetime.fromisoformat(at).replace(tzinfo=UTC))

    assert found == datetime.fromisoformat(resets).replace(tzinfo=UTC)
    assert RotationSettings(quota_resets=text).quota_resets == text


@pytest.mark.parametrize(
    "text", ["daily", "daily 24:00", "daily 3:00", "weekly 03:00", "weekly sun 03:00", "monthly 0 03:00"]
)
def test_a_reset_that_is_none_is_refused(text):
    with pytest.raises(ValidationError):
        RotationSettings(quota_resets=text)


def test_a_cap_ends_when_the_quota_resets(desk, clock):
    desk = desk(1, caps=[{"limit": "3"}], quota_resets="daily 03:00")
    assert serves(desk, 9) == 3
    left_s = (next_reset("daily 03:00", clock.now()) - clock.now()).total_seconds()

    assert desk.cooldown_s() == pytest.approx(left_s)
    clock.passes(left_s)
    assert serves(desk, 9) == 3


@pytest.mark.parametrize(("limit", "allowed"), [("130", 10), ("8", 8), ("-2", 8), ("+5", 10), ("80%", 8), ("200%", 10)])
def test_a_cap_is_relative_to_the_known_limit_and_never_more(desk, limit, allowed):
    desk = desk(1, caps=[{"limit": limit}])
    desk.learn(limit=10, used=0)

    assert serves(desk, 20) == allowed


@pytest.mark.parametrize("limit", ["-2", "80%"])
def test_a_relative_cap_waits_until_the_limit_is_known(desk, limit):
    desk = desk(1, caps=[{"limit": limit}])

    assert serves(desk, 50) == 50


@pytest.mark.parametrize(
    ("rest", "seconds"), [("quota_reset", 100), ("offset:20", 120), ("offset:-30", 70), ("fixed:5", 5)]
)
def test_a_cap_cools_down_as_its_setting_says(desk, rest, seconds):
    desk = desk(1, caps=[{"limit": "1", "cooldown": rest}], quota_window_s=100)
    desk.ask()

    assert desk.cooldown_s() == seconds


def test_a_cap_is_for_its_models_and_priorities(desk):
    desk = desk([1, 2], caps=[{"models": "big", "limit": "1"}, {"models": "big", "priorities": [2], "limit": "2"}])

    assert [desk.ask("big") for _ in range(4)] == ["k0", "k1", "k1", None]
    assert serves(desk, 9, "small") == 9


def test_a_cap_of_a_quota_group_counts_all_its_models(desk):
    desk = desk(1, quota_groups={"pro": ["big-*"]}, caps=[{"models": "pro", "limit": "2"}])

    assert [desk.ask(model) for model in ("big-1", "big-2", "big-1")] == ["k0", "k0", None]


def test_requests_the_provider_could_not_serve_do_not_use_up_a_cap(desk):
    desk = desk(1, caps=[{"limit": "3"}])
    for lease in [desk.take() for _ in range(3)]:
        desk.fail(lease=lease, cooldown=None, fault="network")

    assert serves(desk, 9) == 3


def test_what_a_provider_counted_reaches_a_cap_at_once(desk):
    desk = desk(1, caps=[{"limit": "50"}])
    desk.learn(limit=100, used=60, resets_in=30)

    assert desk.take() is None
    assert desk.cooldown_s() == 30


# --- Windows that providers tell ---------------------------------------------------------


def test_the_usage_a_provider_reports_decides_which_credential_is_least_used(desk):
    desk = desk(2, "balanced")
    desk.learn(used=40)

    assert {desk.ask() for _ in range(30)} == {"k1"}


def test_counts_begin_anew_when_the_window_resets(desk, clock):
    desk = desk(2, "balanced")
    desk.learn(used=40, resets_in=60)
    desk.ask()
    clock.passes(60)

    assert desk.ask() == "k0"


def test_a_window_may_be_reported_for_another_group(desk):
    desk = desk(2, "balanced", quota_groups={"pro": ["big-*"]})
    desk.learn("m", group="pro", used=40)

    assert [desk.ask("big-1") for _ in range(2)] == ["k1", "k1"]
    assert desk.ask("m") == "k1"
    assert desk.ask("m") == "k0"


def test_windows_of_tokens_or_without_an_end_change_nothing(desk):
    desk = desk(1, caps=[{"limit": "50"}])
    lease = desk.take()
    desk.learn(lease=lease, unit="tokens", limit=10, used=60)
    window = desk.pool.ledger.group("m").windows[desk.id("k0")]

    assert window.limit is None
    assert desk.ask() == "k0"


@pytest.mark.parametrize("limit", [0, -1, math.inf, math.nan])
@pytest.mark.parametrize("used", [-5, math.inf, math.nan, 1e30])
def test_absurd_figures_of_a_provider_break_nothing(desk, limit, used):
    desk = desk([1, 1, 2], caps=[{"limit": "80%"}])
    desk.learn(limit=limit, used=used, resets_in=1e9)

    assert desk.ask() in ("k0", "k1")
    assert desk.cooldown_s() == 0


def test_a_window_is_no_longer_than_the_longest_cooldown(desk, clock):
    desk = desk(1, caps=[{"limit": "1"}])
    desk.learn(limit=100, used=60, resets_in=1e9)

    assert desk.cooldown_s() == 86_400


# --- Fair cycle --------------------------------------------------------------------------


def exhaust(desk, name, model="m", cooldown_s=300):
    others = [c.label for c in desk.pool.credentials if c.label != name]
    assert desk.fail(model, cooldown_s=cooldown_s, tried=others) == name


def test_a_credential_at_its_limit_is_not_used_until_all_are(desk):
    desk = desk(2)
    desk.learn(limit=3, used=2, resets_in=9999)
    assert [desk.ask() for _ in range(3)] == ["k0", "k1", "k1"]

    desk.learn(limit=3, used=3, resets_in=9999)

    assert {desk.ask() for _ in range(2)} == {"k0", "k1"}


def test_a_share_of_the_limit_can_count_as_exhausted(desk):
    desk = desk(2, fair_cycle_share=0.5)
    desk.learn(limit=5, used=0)

    assert [desk.ask() for _ in range(4)] == ["k0", "k0", "k1", "k1"]


def test_a_cooldown_counts_as_exhausted_from_the_configured_length(desk, clock):
    desk = desk(2, exhausted_cooldown_s=100)
    exhaust(desk, "k0", cooldown_s=99)
    exhaust(desk, "k1", cooldown_s=100)
    clock.passes(200)

    assert desk.pool.ledger.group("m").marks.keys() == {desk.id("k1")}
    assert desk.ask() == "k0"


def test_a_mark_ends_by_itself(desk, clock):
    desk = desk(2, fair_cycle_s=1000)
    exhaust(desk, "k0")
    clock.passes(999)
    assert desk.ask() == "k1"
    assert desk.ask(tried=["k1"]) is None
    assert desk.pool.soonest_s("m", spent={desk.id("k1")}) == 1
    clock.passes(1)

    assert desk.ask(tried=["k1"]) == "k0"


def test_each_priority_is_a_cycle_of_its_own(desk, clock):
    desk = desk([1, 2])
    exhaust(desk, "k0")

    assert desk.pool.ledger.settled("m", clock.time).marks == {}


def test_all_priorities_can_be_one_cycle(desk, clock):
    desk = desk([1, 2], fair_cycle_cross_tier=True)
    exhaust(desk, "k0")
    clock.passes(1000)
    assert desk.ask() == "k1"
    exhaust(desk, "k1")

    assert desk.ask() == "k0"


def test_a_cycle_is_for_one_model(desk, clock):
    desk = desk(2)
    exhaust(desk, "k0", "m")
    clock.passes(1000)

    assert desk.ask("other") == "k0"


def test_a_cycle_can_be_for_every_model_and_ends_for_every_model(desk, clock):
    desk = desk(2, fair_cycle_scope="credential")
    assert desk.ask("other") == "k0"
    exhaust(desk, "k0", "m")
    clock.passes(1000)
    assert desk.ask("other") == "k1"

    exhaust(desk, "k1", "m")

    assert desk.ask("m") == "k0"
    assert desk.ask("other", tried=["k1"]) == "k0"


def test_the_last_of_a_cycle_begins_the_new_one_while_it_cools_down(desk, clock):
    desk = desk(2)
    exhaust(desk, "k0")
    clock.passes(1000)
    exhaust(desk, "k1", cooldown_s=3600)

    assert desk.cooldown_s() == 0
    assert desk.ask() == "k0"


def test_if_all_cool_down_the_wait_is_for_the_first_and_not_for_the_cycle(desk):
    desk = desk(2)
    exhaust(desk, "k0", cooldown_s=3600)
    exhaust(desk, "k1", cooldown_s=3600)

    assert desk.cooldown_s() == 300


def test_the_new_cycle_waits_for_a_credential_that_is_back_soon(desk, clock):
    desk = desk(3, routing={"half_open_after_s": 10_000})
    exhaust(desk, "k0", cooldown_s=300)
    clock.passes(250)
    exhaust(desk, "k1", cooldown_s=300)
    exhaust(desk, "k2", cooldown_s=300)

    assert desk.cooldown_s() == 50  # k0's own rest
    clock.passes(50)
    assert desk.ask() == "k0"


def test_balanced_has_no_cycle_unless_configured(desk, clock):
    for told, served in ((None, "k0"), (True, "k1")):
        some = desk(2, "balanced", fair_cycle=told)
        exhaust(some, "k0")
        clock.passes(1000)
        for _ in range(3):
            some.ask(tried=["k0"])
        assert some.ask() == served


# --- Windows of other kinds --------------------------------------------------------------

WEEK_S = 604_800
PLAN = {
    "quota_window_s": 18_000,
    "quota_window_begins": "first_request",
    "windows": [{"name": "weekly", "length_s": WEEK_S, "begins": "first_request"}],
}


def test_a_window_may_begin_with_the_first_request(desk, clock):
    desk = desk(1, caps=[{"limit": "3"}], quota_window_s=100, quota_window_begins="first_request")
    clock.passes(60)
    desk.ask()
    clock.passes(60)
    assert serves(desk, 9) == 2
    assert desk.cooldown_s() == pytest.approx(40)
    clock.passes(40)
    clock.passes(500)

    assert serves(desk, 9) == 3
    assert desk.cooldown_s() == pytest.approx(100)


def test_requests_count_in_every_window_and_each_has_its_caps(desk, clock):
    desk = desk(1, **PLAN, caps=[{"limit": "3"}, {"limit": "7", "window": "weekly"}])
    served = []
    for _ in range(4):
        served.append(serves(desk, 9))
        clock.passes(18_000)

    assert served == [3, 3, 1, 0]
    assert desk.cooldown_s() == pytest.approx(WEEK_S - 4 * 18_000)
    clock.passes(WEEK_S)
    assert serves(desk, 9) == 3


def test_a_window_counts_per_quota_group_and_a_cap_names_its_models(desk):
    caps = [{"models": "pro", "window": "weekly", "limit": "2"}]
    desk = desk(1, quota_groups={"pro": ["big-*"]}, windows=[{"name": "weekly", "length_s": WEEK_S}], caps=caps)

    assert [desk.ask(model) for model in ("big-1", "big-2", "big-1", "small")] == ["k0", "k0", None, "k0"]


def test_what_a_provider_reports_of_a_further_window_reaches_its_caps_and_the_selector(desk):
    caps = [{"window": "weekly", "limit": "80%"}]
    desk = desk(1, windows=[{"name": "weekly", "resets": "weekly monday 00:00"}], caps=caps)
    desk.learn(limit=100, used=10)
    desk.learn(limit=100, used=70, window="weekly", resets_in=5000)
    seen = []
    desk.pool.ledger.policy.selector = Selector(
        name="seen", select=lambda all_, _: seen.append(all_.first) or all_.first
    )

    assert serves(desk, 20) == 10
    assert (seen[0].used, seen[0].limit, seen[0].resets_in_s) == (70, 100, 5000)
    assert desk.cooldown_s() == 5000


def test_a_report_of_a_window_that_is_not_counted_changes_nothing(desk):
    desk = desk(1, caps=[{"limit": "5"}])
    desk.learn(limit=1, used=1, window="weekly")

    assert serves(desk, 9) == 4


def test_requests_the_provider_could_not_serve_are_taken_back_from_every_window(desk):
    desk = desk(1, **PLAN, caps=[{"limit": "3", "window": "weekly"}])
    for lease in [desk.take() for _ in range(3)]:
        desk.fail(lease=lease, cooldown=None, fault="network")

    assert serves(desk, 9) == 3


def test_a_reload_keeps_what_every_window_has_counted(desk):
    settings = {**PLAN, "quota_groups": {"all": ["*"]}, "caps": [{"limit": "3", "window": "weekly"}]}
    desk = desk(1, **settings)
    desk.ask()
    desk.ask()
    desk.reload(["k0"], **settings)

    assert serves(desk, 9) == 1


# --- A window that slides ----------------------------------------------------------------


def test_a_sliding_window_gives_requests_back_one_after_the_other(desk, clock):
    desk = desk(1, quota_window_s=100, quota_window_begins="sliding", caps=[{"limit": "4"}])
    clock.passes(50)
    assert serves(desk, 9) == 4
    assert desk.cooldown_s() == pytest.approx(75)  # then only three of the four still count
    clock.passes(75)

    assert [serves(desk, 9)] + [clock.passes(25) or serves(desk, 9) for _ in range(3)] == [1, 1, 1, 1]


def test_a_sliding_window_is_not_over_at_the_end_of_a_part(desk, clock):
    desk = desk(1, quota_window_s=100, quota_window_begins="sliding", caps=[{"limit": "4"}])
    clock.passes(99)
    serves(desk, 9)
    clock.passes(2)

    assert serves(desk, 9) == 0


def test_the_reserve_of_a_sliding_window_ends_when_enough_was_given_back(desk, clock):
    reserve = {"clients": ["boss"], "share": 0.5}
    settings = {"quota_window_s": 100, "quota_window_begins": "sliding", "caps": [{"limit": "4"}]}
    ledger = desk(1, **settings, reserves=[reserve])
    ledger.ask()
    ledger.ask()
    reserved = ledger.pool.ledger.settled("m", clock.monotonic()).reserved
    assert reserved["id-0"].until == clock.monotonic() + 150  # half of them, and one more is within half of four
    clock.passes(150)

    assert ledger.pool.ledger.settled("m", clock.monotonic()).reserved == {}
