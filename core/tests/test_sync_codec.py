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
