"""What a process says about itself, on values: counters, credentials, workers, JSON."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from msgspec import convert, to_builtins
from msgspec.structs import replace
from pydantic import SecretStr

from proxy_core import AttemptRecord, Health, ProcessStatus, Provider, RequestRecord, StoreStatus, Usage
from proxy_core.server.status_endpoint import of_one_program
from proxy_core.status.counters import FAST, SLOW, Counters
from proxy_core.status.providers import provider_status

START = datetime(2026, 1, 1, tzinfo=UTC)
DEMO = Provider(name="demo", encode=print, dialects=["openai_chat"])


def attempt(deployment="demo/small", **fields):
    given = {"credential": "id-0", "status": 200, "fault": None, "message": None, "duration_s": 0.3, **fields}
    return AttemptRecord(deployment=deployment, **given)


def record(*attempts, **fields):
    given = {
        "id": "r",
        "client": "test",
        "dialect": "openai_chat",
        "model": "demo/small",
        "stream": False,
        "status": 200,
        "outcome": "completed",
        "error": None,
        "started_at": START,
        "first_event_s": 0.3,
        "duration_s": 1.2,
        "usage": None,
        "overhead_s": 0.002,
        **fields,
    }
    return RequestRecord(attempts=attempts or [attempt()], **given)


# --- Counters ----------------------------------------------------------------------------


def test_requests_that_are_alike_are_counted_together_with_their_tokens():
    counters = Counters()
    counters.finished(record(usage=Usage(prompt=10, cached=4, completion=5)))
    counters.finished(record(usage=Usage(prompt=1, completion=2, reasoning=1)))
    counters.finished(record(status=500, outcome="failed"))
    completed, failed = counters.requests()

    assert (completed.requests, completed.model, completed.status, completed.outcome) == (2, "small", 200, "completed")
    assert completed.usage == Usage(prompt=11, cached=4, completion=7, reasoning=1)
    assert (failed.requests, failed.status, failed.usage) == (1, 500, None)


def test_so_many_models_that_answered_are_counted_by_name_and_further_ones_as_other():
    counters = Counters(max_models=2)
    for model in ("a", "b", "c", "a", "d"):
        counters.finished(record(attempt(f"demo/{model}")))

    assert {count.model: count.requests for count in counters.requests()} == {"a": 2, "b": 1, "other": 2}


def test_a_model_that_only_a_client_knows_is_other_and_one_that_settings_name_is_not():
    counters = Counters(["demo/named"])
    for model in ("made-up", "named"):
        counters.finished(record(attempt(f"demo/{model}", status=404, fault="client"), status=404, outcome="failed"))

    assert {count.model for count in counters.requests()} == {"other", "named"}


def test_attempts_are_counted_by_fault_and_status_and_shared_ones_once():
    counters = Counters()
    counters.finished(record(attempt(status=429, fault="model"), attempt()))
    counters.finished(record(attempt(shared=True)))

    assert {(a.fault, a.status): a.attempts for a in counters.attempts()} == {("model", 429): 1, (None, 200): 1}


def test_durations_fall_into_buckets_whose_upper_bound_is_inclusive():
    counters = Counters()
    counters.finished(record(first_event_s=0.05, duration_s=0.051, overhead_s=5.0))
    counters.finished(record(first_event_s=None, duration_s=700.0, overhead_s=None))
    (latency,) = counters.latencies()

    assert latency.first_event.counts == (1, *[0] * len(SLOW))
    assert latency.duration.counts == (0, 1, *[0] * (len(SLOW) - 2), 1)
    assert latency.overhead.counts == (*[0] * len(FAST), 1)
    assert latency.duration.sum == pytest.approx(700.051)
    assert (latency.duration.total, latency.first_event.total, latency.overhead.total) == (2, 1, 1)


def test_what_was_refused_unread_has_no_client_and_no_durations():
    counters = Counters()
    counters.refused("openai_chat", 401, "failed")
    counters.refused("openai_chat", 401, "failed")
    (count,) = counters.requests()

    assert (count.client, count.provider, count.status, count.requests) == ("", "", 401, 2)
    assert counters.latencies() == []


# --- Credentials -------------------------------------------------------------------------


def read(desk, *, credentials=True):
    return provider_status(DEMO, "tested", desk.pool, credentials=credentials)


def states(desk):
    return {credential.label: credential.state for credential in read(desk).credentials}


def test_a_credential_reports_its_state_and_limits(desk, clock):
    three = desk(3, max_concurrent=1)
    lease = three.take()

    status = read(three)
    busy, idle, _ = status.credentials

    assert (status.name, status.plugin, status.selector, status.credential_count) == ("demo", "tested", "sequential", 3)
    assert (status.in_flight, busy.in_flight, busy.state, busy.max_concurrent) == (1, 1, "busy", 1)
    assert (busy.last_used_at, idle.last_used_at, idle.state) == (clock.now(), None, "usable")
    lease.release()
    assert states(three) == dict.fromkeys(("k0", "k1", "k2"), "usable")


def test_cooldowns_show_their_scope_times_and_message(desk, clock):
    three = desk(3)
    three.fail(cooldown="credential", cooldown_s=60, message="Slow down.")
    three.fail(cooldown="quota", cooldown_s=30)
    status = read(three)
    first, second, third = status.credentials

    assert (status.cooling_down, status.partly_cooling_down) == (1, 1)
    assert (first.state, second.state, third.state) == ("cooling down", "usable", "usable")
    assert (first.cooldown.since, first.cooldown.until) == (clock.now(), clock.now() + timedelta(seconds=60))
    assert (first.cooldown.message, first.cooldown.failures, first.cooldown.probing) == ("Slow down.", 1, False)
    assert second.cooldown is None
    (quota,) = second.quotas
    assert (quota.name, quota.cooldown.until) == ("m", clock.now() + timedelta(seconds=30))


def test_a_cooldown_that_is_probed_shows_until_the_probe_is_over(desk, clock):
    one = desk(1)
    one.fail(cooldown="credential", cooldown_s=60)
    clock.passes(61)
    lease = one.take()

    assert states(one) == {"k0": "probing"}
    assert read(one).cooling_down == 0
    lease.succeeded()
    lease.release()
    assert states(one) == {"k0": "usable"}


def test_quotas_are_as_the_provider_says_and_end_with_their_window(desk, clock):
    one = desk(1)
    one.learn(limit=50, used=20, resets_in=600)
    ((quota,),) = [c.quotas for c in read(one).credentials]

    assert (quota.name, quota.used, quota.limit, quota.reported) == ("m", 20, 50, True)
    assert quota.resets_at == clock.now() + timedelta(seconds=600)
    clock.passes(601)
    assert [c.quotas for c in read(one).credentials] == [()]


def test_a_credential_that_is_not_lent_says_why(desk):
    two = desk(2)
    two.pool.ledger.disable("id-0", "log in again", needs_login=True)
    two.pool.ledger.disable("id-1", "its token is being refreshed", needs_login=False)
    first, second = read(two).credentials

    assert (first.state, first.note) == ("needs login", "log in again")
    assert (second.state, second.note) == ("refreshing", "its token is being refreshed")


def test_a_token_shows_when_it_expires_and_never_itself(desk, clock):
    one = desk(1)
    (credential,) = one.pool.credentials
    token = replace(
        credential,
        secret=SecretStr("access-token"),
        refresh_token=SecretStr("refresh-token"),
        expires_at=clock.now() + timedelta(seconds=30),
    )
    one.pool.refreshed(token)
    (status,) = read(one).credentials

    assert (status.expires_at, status.refreshable, status.state) == (token.expires_at, True, "usable")
    assert "token" not in repr(status).replace("refresh_token", "")
    clock.passes(31)
    assert states(one) == {"k0": "refreshing"}


def test_an_open_circuit_breaker_shows_with_its_next_probe(desk, clock):
    two = desk(2, routing={"circuit_breaker_failures": 1})
    assert read(two).circuit_breaker is None
    two.fail(cooldown=None, fault="provider")
    breaker = read(two).circuit_breaker

    assert breaker.until > clock.now()
    assert clock.now() < breaker.next_probe <= breaker.until


def test_without_credentials_there_are_only_their_counts(desk):
    two = desk(2)
    two.fail(cooldown="credential", cooldown_s=60)
    status = read(two, credentials=False)

    assert (status.credentials, status.credential_count, status.cooling_down) == ((), 2, 1)


# --- Workers -----------------------------------------------------------------------------


def process(desk, **fields):
    counters = Counters()
    counters.finished(record(usage=Usage(prompt=1)))
    given = {
        "worker": 2,
        "parent": 7,
        "taken_at": START + timedelta(seconds=90),
        "requests": counters.requests(),
        "latencies": counters.latencies(),
        "attempts": counters.attempts(),
        **fields,
    }
    return ProcessStatus(
        version="1",
        python="3",
        process=11,
        started_at=START,
        health=Health(state="ok", problems=()),
        warnings=(),
        requests_in_flight=0,
        providers=[read(desk)],
        plugins=(),
        store=StoreStatus(scheme="memory", problem=None, processes=1),
        queues=(),
        failures={"observer": 1},
        plugin_times=(),
        **given,
    )


def test_a_worker_that_was_replaced_starts_anew_and_other_programs_are_left_out(desk):
    own = process(desk(1))
    one, stranger = replace(own, worker=1), replace(own, worker=3, parent=1)

    before, after = of_one_program(own, [one, stranger]), of_one_program(own, [replace(one, requests=())])

    assert [status.worker for status in before] == [1, 2]
    assert (after[0].requests, after[1]) == ((), own)


def test_a_status_goes_to_another_process_and_comes_back_the_same(desk):
    two = desk(2)
    two.fail(cooldown="credential", cooldown_s=60)
    two.learn(limit=50, used=20)
    status = process(two)
    back = convert(to_builtins(status), ProcessStatus)

    assert json.loads(json.dumps(to_builtins(back))) == json.loads(json.dumps(to_builtins(status)))
    assert (back.uptime_s, back.taken_at, back.requests[0].usage) == (90, status.taken_at, Usage(prompt=1))
    assert back.providers[0].credentials[0].cooldown == status.providers[0].credentials[0].cooldown
