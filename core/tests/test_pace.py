"""How fast quotas are used, and when they will be used up: on values, under a clock that stands still."""

import pytest

from proxy_core import Provider
from proxy_core.clock import Instant
from proxy_core.rotation import sync_codec
from proxy_core.rotation.pace import Pace, empty_at, pace
from proxy_core.status.providers import provider_status

DEMO = Provider(name="demo", encode=print, dialects=["openai_chat"])
HOUR = 3600


@pytest.mark.parametrize(
    ("spells", "unsent", "at", "per_hour"),
    [
        ({}, 0, 600, 0),
        ({1: 60}, 0, 600, 360),  # just begun: ten minutes at least
        ({1: 60}, 0, 600 + 1140, 60 * 3 * HOUR / 3600),
        ({1: 60}, 40, 600 + 1140, 300),  # the store does not have 40 of them yet
        ({1: 60, 6: 60}, 0, 600 + 3540, 120),
        ({1: 60, 7: 6}, 0, 7 * 600, 36),  # the first is more than an hour old
        ({1: -2}, 0, 600, 0),  # a failure of the provider's is not counted; its request was, before a restart
        ({9: 60}, 0, 600, 0),  # of another machine, whose clock is wrong
    ],
)
def test_the_pace_is_that_of_the_last_hour_or_since_the_first_request_in_it(spells, unsent, at, per_hour):
    assert pace(spells, unsent, at).per_hour == pytest.approx(per_hour)


def test_the_pace_and_the_forecast_do_not_change_within_a_minute():
    found = [pace({1: 10}, 0, at) for at in (1200, 1230, 1259.9)]

    assert len(set(found)) == 1
    assert len({empty_at(one, 10, 90, 9e9, at) for one, at in zip(found, (1200, 1230, 1259.9), strict=True)}) == 1


@pytest.mark.parametrize(
    ("used", "limit", "resets_at", "requests", "expected"),
    [
        (40, 100, 9 * HOUR, 60, 2 * HOUR),
        (40, 100, 2 * HOUR, 60, None),  # resets first
        (40, None, 9 * HOUR, 60, None),  # no limit is known
        (100, 100, 9 * HOUR, 60, None),  # it is used up already
        (40, 100, 9 * HOUR, 2, None),  # two requests say too little
        (0, 100, 9 * HOUR, 0, None),
    ],
)
def test_a_quota_is_empty_when_the_rest_of_it_is_used_at_this_pace(used, limit, resets_at, requests, expected):
    assert empty_at(Pace(requests, 60.0 if requests else 0.0), used, limit, resets_at, HOUR) == expected


def quotas(desk):
    (credential,) = provider_status(DEMO, "tested", desk.pool, credentials=True).credentials
    return {quota.name: quota for quota in credential.quotas}


def asked(desk, times):
    for _ in range(times):
        desk.ask()


def test_the_status_forecasts_each_window_of_a_credential(desk, clock):
    week = {"name": "week", "length_s": 7 * 86_400}
    one = desk(1, windows=[week], caps=[{"limit": "100"}, {"window": "week", "limit": "200"}])
    asked(one, 60)
    day, long = quotas(one)["m"], quotas(one)["m (week)"]

    assert (day.used, day.cap, day.allowed, day.left, day.per_hour) == (60, 100, 100, pytest.approx(0.4), 360)
    assert day.empty_at.timestamp() == clock.time // 60 * 60 + 40 * 10
    assert (long.used, long.cap, long.per_hour) == (60, 200, 360)
    assert long.empty_at.timestamp() == clock.time // 60 * 60 + 140 * 10


def test_of_a_reported_limit_and_a_cap_the_lower_one_is_forecast(desk):
    one = desk(1, caps=[{"limit": "50%"}])
    one.learn(limit=1000, used=10, resets_in=9 * HOUR)
    asked(one, 59)
    quota = quotas(one)["m"]

    assert (quota.limit, quota.cap, quota.used, quota.per_hour) == (1000, 500, 69, 360)
    assert quota.empty_at < quota.resets_at


def test_a_cap_of_nothing_leaves_nothing(desk):
    one = desk(1, caps=[{"limit": "0"}])
    asked(one, 1)

    assert quotas(one)["m"].left == 0
    assert quotas(one)["m"].empty_at is None


def test_a_window_that_resets_is_not_forgotten_by_the_pace(desk, clock):
    one = desk(1, quota_window_s=1200, caps=[{"limit": "100"}])
    clock.passes(1200 - clock.time % 1200 + 1190)
    asked(one, 60)
    exchange([one], clock, {})
    clock.passes(20)
    asked(one, 1)

    assert quotas(one)["m"].used == 1
    assert quotas(one)["m"].per_hour == pytest.approx(61 * 3600 / 660)


def test_processes_and_those_that_start_later_know_the_pace_of_all_together(desk, clock):
    one, other, kept = desk(1), desk(1), {}
    asked(one, 30)
    exchange([one, other], clock, kept)
    asked(other, 30)
    exchange([one, other], clock, kept)
    later = desk(1)
    exchange([later], clock, kept)

    assert {quotas(each)["m"].per_hour for each in (one, other, later)} == {360}
    clock.passes(2 * HOUR)
    assert quotas(one)["m"].per_hour == 0


def test_what_a_failing_provider_did_not_serve_is_not_counted(desk):
    one = desk(1)
    for _ in range(4):
        one.fail(cooldown=None, fault="provider")
    asked(one, 6)

    assert quotas(one)["m"].per_hour == 36


def exchange(desks, clock, kept):
    """Each process sends its counts to the store, and all read its totals."""
    instant = Instant.of(clock)
    for one in desks:
        for name, count in sync_codec.counted("demo", one.pool.ledger, instant):
            kept[name] = kept.get(name, 0) + count.add
    for one in desks:
        for name, total in kept.items():
            if name.startswith("pace/"):
                sync_codec.pace_applied(one.pool.ledger, name, total, instant)
            else:
                sync_codec.count_applied("demo", one.pool.ledger, name, total, instant)
