"""``usage --forecast``: when which quota is used up, on values."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from proxy_core import CooldownStatus, CredentialStatus, ProviderStatus, QuotaStatus
from proxy_plugin_doctor.explain import _decision
from proxy_plugin_doctor.quotas import LEFT, forecast, forecast_objects, left, quotas_of, until

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def two_hours_east(monkeypatch):
    monkeypatch.setenv("TZ", "UTC-2")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def quota(name="small", used=40, limit=100.0, resets=NOW + 6 * HOUR, **more):
    fields = {"reported": False, "capped_until": None, "cooldown": None, **more}
    return QuotaStatus(name=name, used=used, limit=limit, resets_at=resets, **fields)


def process(*quotas, provider="demo", label="work"):
    credential = CredentialStatus(
        id="id-0", label=label, kind="api_key", tier=None, priority=10, state="usable", note="", in_flight=0,
        max_concurrent=None, last_used_at=None, expires_at=None, refreshable=False, cooldown=None, quotas=quotas,
    )  # fmt: skip
    status = ProviderStatus(
        name=provider, plugin="p", dialects=(), selector="s", lifecycle=None, credential_count=1, in_flight=0,
        waiting=0, cooling_down=0, partly_cooling_down=0, circuit_breaker=None, credentials=[credential],
    )  # fmt: skip
    return type("Status", (), {"providers": [status]})


def test_a_wait_is_told_in_words():
    step = {"deployment": "demo/small", "chosen": None, "outage_s": 35481.2}
    step |= {"excluded": [{"credential": "a", "reason": "cooling down", "left_s": 7.5}]}
    _, outage, excluded = _decision(step)

    assert outage.endswith("open for another 9 h 51 min")
    assert excluded.endswith("cooling down for another 7.5 s")


def test_the_quotas_name_the_account():
    (found,) = left(quotas_of([process(quota(), label="work")]))

    assert dict(zip(LEFT, found, strict=True)).items() >= {"credential": "id-0", "account": "work"}.items()


def row(*quotas):
    (found,) = forecast(quotas_of([process(*quotas)]), NOW)
    return found


COOLDOWN = CooldownStatus(
    since=NOW, until=NOW + HOUR, next_probe=NOW, probing=False, failures=1, code="c", message="Slow down."
)


@pytest.mark.parametrize(
    ("found", "shown"),
    [
        (quota(per_hour=20.0, empty_at=NOW + 3 * HOUR), ("40/100", "60%", "20", "17:00 (3 h)", "20:00 (6 h)")),
        (quota(per_hour=5.0), ("40/100", "60%", "5", "resets first", "20:00 (6 h)")),
        (quota(per_hour=0.0), ("40/100", "60%", "-", "-", "20:00 (6 h)")),
        (quota(per_hour=0.4), ("40/100", "60%", "<1", "resets first", "20:00 (6 h)")),
        (quota(used=100, per_hour=90.0), ("100/100", "0%", "90", "used up", "20:00 (6 h)")),
        (quota(cooldown=COOLDOWN), ("40/100", "60%", "-", "cooling down until 15:00 (1 h)", "20:00 (6 h)")),
        (quota(limit=None, per_hour=9.0), ("40", "-", "9", "-", "20:00 (6 h)")),
        (quota(limit=100.0, cap=50.0, per_hour=9.0), ("40/50", "20%", "9", "resets first", "20:00 (6 h)")),
    ],
)
def test_a_row_says_what_is_left_and_when_it_is_used_up(found, shown):
    assert row(found) == ("demo", "work", "small", *shown)


def test_of_several_processes_the_latest_figures_are_shown_and_closed_windows_are_not():
    found = quotas_of([process(quota(used=3)), process(quota(used=5), quota("cooling", resets=None))])

    assert [quota.used for _, quota in found.values()] == [5]
    assert left(found) == [("demo", "id-0", "work", "small", "-", "5", "100", "95%", "2026-11-28T18:00:00+00:00")]
    assert forecast_objects(found)[0]["left"] == 0.95


@pytest.mark.parametrize(
    ("after", "text"),
    [
        (timedelta(minutes=5), "14:05 (5 min)"),
        (timedelta(hours=2, minutes=5), "16:05 (2 h 5 min)"),
        (timedelta(hours=11), "Sun 29 Nov 01:00 (11 h)"),
        (timedelta(days=6, hours=3), "Fri 04 Dec 17:00 (6 d 3 h)"),
        (timedelta(days=400), "2028-01-02 14:00 (400 d)"),
        (timedelta(minutes=-5), "13:55 (now)"),
    ],
)
def test_a_time_is_that_of_the_local_clock_with_how_long_that_is(after, text):
    assert until(NOW + after, NOW) == text
