"""Cooldowns as other processes write them, also those of another version."""

import json
from datetime import timedelta

import pytest
from msgspec.structs import replace

from proxy_core import QuotaWindow, UpstreamFailure, classify_failure
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


class Shared:
    """Processes that share a store. The clock of the last one is a little fast."""

    def __init__(self, desk, clock, **rotation):
        self.start = lambda: desk(1, **rotation)
        self.clock = clock
        self.values, self.counts = {}, {}
        self.desks = [self.start() for _ in range(2)]

    def restart(self, n):
        self.desks[n] = self.start()
        self.read(n)

    def ask(self, n):
        """Each request is exchanged before the next one."""
        served = self.desks[n].ask() is not None
        self.exchange(n)
        return served

    def exchange(self, n):
        self.send(n)
        for each in range(len(self.desks)):
            self.read(each)

    def send(self, n):
        ledger, instant = self.desks[n].pool.ledger, self.instant(n)
        scopes, ledger.changes.scopes = ledger.changes.scopes, set()
        for scope in scopes:
            name = sync_codec.name_of("demo", scope)
            self.values[name] = sync_codec.written(ledger, scope, ledger.changes.at[scope], instant, str)
        for name, count in sync_codec.counted("demo", ledger, instant):
            self.counts[name] = self.counts.get(name, 0) + count.add

    def read(self, n):
        for name, value in self.values.items():
            sync_codec.applied(self.desks[n].pool.ledger, name, value, self.instant(n))
        for name, total in self.counts.items():
            sync_codec.count_applied("demo", self.desks[n].pool.ledger, name, total, self.instant(n))

    def instant(self, n):
        return Instant(self.clock.monotonic(), self.clock.monotonic() + n * 0.01)


@pytest.mark.parametrize("length_s", [0.5, 1, 10, 30, 60, 90, 100, 3600])
@pytest.mark.parametrize("begins", ["clock", "first_request"])
def test_two_processes_and_those_after_a_restart_count_each_window_once(desk, clock, length_s, begins):
    shared = Shared(desk, clock, quota_window_s=length_s, quota_window_begins=begins, caps=[{"limit": "3"}])
    for _ in range(5):
        assert [shared.ask(n) for n in (0, 1, 0, 1, 0)] == [True] * 3 + [False] * 2
        shared.restart(1)
        assert not shared.ask(1)
        clock.passes(length_s)
        shared.restart(0)


def test_requests_sent_after_their_window_has_ended_do_not_count_in_the_next_one(desk, clock):
    shared = Shared(desk, clock, quota_window_s=10, caps=[{"limit": "3"}])
    one, other = shared.desks
    assert [one.ask(), one.ask()] == ["k0"] * 2
    clock.passes(10)
    assert [one.ask(), one.ask()] == ["k0"] * 2
    shared.exchange(0)

    assert [other.ask(), other.ask()] == ["k0", None]


def test_a_process_that_was_idle_counts_what_others_used_of_the_next_window(desk, clock):
    shared = Shared(desk, clock, quota_window_s=10, caps=[{"limit": "3"}])
    assert shared.ask(1)
    clock.passes(10)
    assert [shared.ask(0) for _ in range(3)] == [True] * 3

    assert not shared.ask(1)


def test_a_request_that_fails_after_its_window_has_ended_leaves_the_next_one_as_it_is(desk, clock):
    """Its process has not noticed the end, and writes about the credential for another reason."""
    shared = Shared(desk, clock, quota_window_s=10, quota_window_begins="first_request", caps=[{"limit": "3"}])
    slow = shared.desks[0].take()
    shared.exchange(0)
    clock.passes(10.05)
    assert [shared.ask(1) for _ in range(3)] == [True] * 3
    shared.desks[0].fail(cooldown="quota", cooldown_s=1, lease=slow)
    shared.exchange(0)
    clock.passes(1)

    assert [shared.ask(n) for n in (1, 0)] == [False] * 2


def test_what_a_provider_reports_of_windows_of_seconds_is_not_added_up_over_several(desk, clock):
    shared = Shared(desk, clock, caps=[{"limit": "80%"}])
    for _ in range(4):
        for n, used in [(0, 1), (1, 2)]:
            lease = shared.desks[n].take()
            lease.learned([QuotaWindow(limit=5, used=used, resets_at=clock.now() + timedelta(seconds=6))], clock.now())
            lease.release()
            shared.exchange(n)
        clock.passes(6)

    assert shared.ask(0)


def test_what_others_used_of_a_window_that_a_provider_reports_counts(desk, clock):
    shared = Shared(desk, clock, caps=[{"limit": "80%"}])
    for desk_ in shared.desks:
        lease = desk_.take()
        lease.learned([QuotaWindow(limit=5, used=1, resets_at=clock.now() + timedelta(hours=2))], clock.now())
        lease.release()
    shared.exchange(0)
    shared.exchange(1)

    assert [shared.ask(0) for _ in range(4)] == [True, True, True, False]
    assert [shared.ask(1) for _ in range(2)] == [
        True,
        False,
    ]  # the use that it learned from the store is not counted twice


def test_a_sliding_window_counts_what_was_used_before_in_every_process_and_after_a_restart(desk, clock):
    shared = Shared(desk, clock, quota_window_s=100, quota_window_begins="sliding", caps=[{"limit": "4"}])
    assert [shared.ask(n) for n in (0, 1, 0, 1, 0)] == [True] * 4 + [False]
    clock.passes(150)
    shared.restart(0)

    assert [shared.ask(n) for n in (0, 1, 0, 1)] == [True, True, False, False]
    clock.passes(25)
    shared.restart(1)
    assert [shared.ask(n) for n in (1, 0)] == [True, False]


def test_what_a_provider_reports_as_used_is_known_to_processes_that_did_not_count_it(desk, clock):
    one, other = desk(1), desk(1)
    one.learn(limit=100, used=60)
    exchange(one, other, clock)
    (later,) = other.pool.ledger.group("m").used.values()
    assert later == 60
    sent = []
    one.pool.ledger.changes.notify = lambda: sent.append("now")
    one.learn(limit=100, used=62)  # counted by now
    assert not sent
    clock.passes(0.1)
    one.learn(limit=100, used=80)  # by another program
    exchange(one, other, clock)

    assert other.pool.ledger.group("m").used == {"id-0": 80}


@pytest.mark.parametrize("moves", [True, False])
def test_what_a_provider_reported_last_is_known_after_a_restart_and_to_other_processes(desk, clock, moves):
    """Also where every report names another end, as of a window that slides. What was counted since the last report is
    not lost either; another process knows it from the next one."""
    shared = Shared(desk, clock)
    end = clock.monotonic() + 5400
    for used in range(1, 25):
        shared.desks[0].learn(limit=100, used=used, resets_in=5400 if moves else end - clock.monotonic())
        shared.exchange(0)
        clock.passes(30)
    shared.desks[0].ask()
    shared.exchange(0)
    shared.restart(0)
    known = [
        (desk.pool.ledger.group("m").used["id-0"], desk.pool.ledger.group("m").windows["id-0"].resets_at)
        for desk in shared.desks
    ]

    assert [used for used, _ in known] == [25, 24]
    assert [ends for _, ends in known] == pytest.approx([end + (23 * 30 if moves else 0)] * 2, abs=1)


def test_a_report_does_not_end_a_cooldown_that_another_process_began(desk, clock):
    shared = Shared(desk, clock)
    slow = shared.desks[0].take()
    shared.desks[1].learn(limit=100, used=1)
    clock.passes(1)
    shared.desks[0].fail(cooldown="quota", cooldown_s=50, lease=slow)
    shared.send(0)
    clock.passes(0.1)
    shared.desks[1].learn(limit=100, used=40)
    shared.exchange(1)

    assert [desk.ask() for desk in shared.desks] == [None, None]


def test_an_older_count_of_the_same_window_does_not_undo_a_newer_one(desk, clock):
    one, other = desk(1), desk(1)
    one.learn(limit=100, used=60)
    clock.passes(0.1)
    other.learn(limit=100, used=90)
    clock.passes(0.1)
    one.learn(limit=100, used=70)
    exchange(one, other, clock)

    assert other.pool.ledger.group("m").used == {"id-0": 90}
