"""Cooldowns as other processes write them, also those of another version."""

import json

import pytest
from msgspec.structs import replace

from proxy_core import UpstreamFailure, classify_failure
from proxy_core.clock import Instant
from proxy_core.rotation import sync_codec
from proxy_core.rotation.changes import Scope


@pytest.fixture
def shared(desk, clock):
    """What a process shares about a credential that is rate limited, and a function with which another reads it."""
    one, other, instant = desk(1), desk(1), Instant(clock.monotonic(), clock.monotonic())
    one.fail(cooldown="credential", cooldown_s=50, message="Slow down.")
    scope = Scope(one.id("k0"))
    value = sync_codec.written(one.pool.ledger, scope, clock.monotonic(), instant, str)

    def read(**changes):
        content = json.loads(value.value)
        content["cooldown"] |= changes
        sent = replace(value, value=json.dumps(content).encode())
        sync_codec.applied(other.pool.ledger, sync_codec.name_of("p", scope), sent, instant)
        (row,) = other.pool.ledger.rows
        return row.cooldown

    return json.loads(value.value)["cooldown"], read


def test_another_process_tells_clients_the_same(shared):
    content, read = shared

    assert (read().told.message, read().told.status) == ("Slow down.", 429)
    assert content["told"]["code"] == read().told.code


def test_facts_of_a_newer_version_are_ignored(shared):
    content, read = shared

    assert read(told={**content["told"], "colour": "red"}).told.message == "Slow down."


def test_a_cooldown_of_a_version_that_kept_no_facts_is_none(desk, clock):
    one, other, instant = desk(1), desk(1), Instant(clock.monotonic(), clock.monotonic())
    one.fail(cooldown="credential", cooldown_s=50)
    scope = Scope(one.id("k0"))
    value = sync_codec.written(one.pool.ledger, scope, clock.monotonic(), instant, str)
    content = json.loads(value.value)
    del content["cooldown"]["told"]

    sync_codec.applied(
        other.pool.ledger, sync_codec.name_of("p", scope), replace(value, value=json.dumps(content).encode()), instant
    )

    assert other.pool.ledger.rows[0].cooldown is None


def test_without_a_redactor_no_words_of_the_upstream_are_stored_and_clients_are_still_told_something(desk, clock):
    one, other, instant = desk(1), desk(1), Instant(clock.monotonic(), clock.monotonic())
    one.fail(cooldown="credential", cooldown_s=50, message="Your key sk-secret is wrong.")
    scope, told = Scope(one.id("k0")), one.pool.ledger.rows[0].cooldown.told
    value = sync_codec.written(one.pool.ledger, scope, clock.monotonic(), instant, lambda words: "")

    sync_codec.applied(other.pool.ledger, sync_codec.name_of("p", scope), value, instant)
    read = other.pool.ledger.rows[0].cooldown.told

    assert b"sk-secret" not in value.value
    assert "no redactor is installed" in read.message
    assert (read.kind, read.code, read.status) == (told.kind, told.code, told.status)


def test_the_words_of_the_proxy_itself_are_stored_without_a_redactor(desk, clock):
    one, other, instant = desk(1), desk(1), Instant(clock.monotonic(), clock.monotonic())
    body = b'{"error": {"message": "Your key sk-secret is wrong.", "type": "sk-secret", "code": "sk-secret"}}'
    decision = classify_failure(UpstreamFailure(provider="p", status=401, body=body))
    lease = one.take()
    lease.failed(decision)
    row = one.pool.ledger.rows[0]
    scope = Scope(row.id)
    value = sync_codec.written(one.pool.ledger, scope, clock.monotonic(), instant, lambda words: "")

    sync_codec.applied(other.pool.ledger, sync_codec.name_of("p", scope), value, instant)

    assert b"sk-secret" not in value.value
    assert other.pool.ledger.rows[0].cooldown.told == row.cooldown.told
    assert "rejected this proxy's credential" in row.cooldown.told.message


# --- Windows that begin with a request ---------------------------------------------------

BEGUN = {
    "quota_window_s": 600,
    "quota_window_begins": "first_request",
    "windows": [{"name": "long", "length_s": 6000, "begins": "first_request"}],
    "caps": [{"limit": "3"}, {"limit": "5", "window": "long"}],
}


def exchange(one, other, clock, kept=None):
    """What one process shares, read by another; ``kept``: the store's totals."""
    instant, kept = Instant(clock.monotonic(), clock.monotonic()), {} if kept is None else kept
    ledger, theirs = one.pool.ledger, other.pool.ledger
    scopes, ledger.changes.scopes = ledger.changes.scopes, set()
    for scope in scopes:
        value = sync_codec.written(ledger, scope, ledger.changes.at[scope], instant, str)
        sync_codec.applied(theirs, sync_codec.name_of("demo", scope), value, instant)
    for name, count in sync_codec.counted("demo", ledger, instant):
        kept[name] = kept.get(name, 0) + count.add
    for name, total in kept.items():
        sync_codec.count_applied("demo", theirs, name, total, instant)


def test_windows_that_began_in_one_process_are_those_of_another_with_what_was_used(desk, clock):
    one, other = desk(1, **BEGUN), desk(1, **BEGUN)
    clock.passes(77)
    one.ask()
    one.ask()
    exchange(one, other, clock)
    clock.passes(20)

    assert [other.ask() for _ in range(3)] == ["k0", None, None]
    assert other.cooldown_s() == pytest.approx(580)
    clock.passes(580)
    assert [other.ask() for _ in range(4)] == ["k0", "k0", None, None]
    assert other.cooldown_s() == pytest.approx(6000 - 600)


def test_of_windows_that_began_in_two_processes_at_once_both_keep_the_earlier_end(desk, clock):
    one, other = desk(1, **BEGUN), desk(1, **BEGUN)
    one.ask()
    clock.passes(0.05)
    other.ask()
    for sender, receiver in [(one, other), (other, one), (one, other)]:
        clock.passes(0.1)
        exchange(sender, receiver, clock)
    ends = {desk.pool.ledger.group("m").windows["id-0"].resets_at for desk in (one, other)}

    assert ends == {1600}
