"""The pool: who is usable, who goes next, who rests."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from proxy_core import ProxyRequest, Unavailable, Verdict
from proxy_core.credentials.fingerprint import api_key
from proxy_core.credentials.pool import BACK_OFF_S, Pool
from proxy_core.credentials.selectors import BUILT_IN

REQUEST = ProxyRequest(id="r", client="c", dialect="openai_chat", model="m", stream=False, body={})
SELECTORS = {selector.name: selector for selector in BUILT_IN}


class FakeClock:
    def __init__(self):
        self.time = 1000.0

    def monotonic(self):
        return self.time

    def now(self):
        return datetime.fromtimestamp(self.time, UTC)


@pytest.fixture
def clock():
    return FakeClock()


def pool_of(count, clock, selector="sequential"):
    return Pool([api_key("demo", SecretStr(f"key-{i}"), f"k{i}") for i in range(count)], SELECTORS[selector], clock)


def rest(scope, seconds):
    return Verdict(fault="credential", next="rotate", error=Unavailable("x"), rest=scope, rest_s=seconds)


def label(lease):
    return lease.credential.label if lease else None


def test_a_rate_limited_model_rests_for_that_credential_alone(clock):
    pool = pool_of(2, clock)
    pool.take(REQUEST, "m", set()).failed(rest("model", 30))

    assert label(pool.take(REQUEST, "m", set())) == "k1"
    assert label(pool.take(REQUEST, "other", set())) == "k0"
    clock.time += 31
    assert label(pool.take(REQUEST, "m", set())) == "k0"


def test_a_refused_credential_rests_for_every_model(clock):
    pool = pool_of(1, clock)
    pool.take(REQUEST, "m", set()).failed(rest("credential", 30))

    assert pool.take(REQUEST, "other", set()) is None
    assert pool.soonest_s("other") == 30


def test_rest_without_a_hint_grows_and_has_an_end(clock):
    pool, rests = pool_of(1, clock), []
    for _ in range(7):
        pool.take(REQUEST, "m", set()).failed(rest("model", None))
        rests.append(pool.soonest_s("m"))
        clock.time += rests[-1] + 1

    assert rests == [*BACK_OFF_S, BACK_OFF_S[-1], BACK_OFF_S[-1]]


def test_success_clears_what_was_held_against_a_credential(clock):
    pool = pool_of(1, clock)
    lease = pool.take(REQUEST, "m", set())
    other = pool.take(REQUEST, "m", set())
    lease.failed(rest("model", None))
    other.succeeded()

    assert pool.soonest_s("m") == 0
    pool.take(REQUEST, "m", set()).failed(rest("model", None))
    assert pool.soonest_s("m") == BACK_OFF_S[0]


def test_a_shorter_rest_does_not_shorten_a_longer_one(clock):
    pool = pool_of(1, clock)
    first, second = pool.take(REQUEST, "m", set()), pool.take(REQUEST, "m", set())
    first.failed(rest("model", 100))
    second.failed(rest("model", 5))

    assert pool.soonest_s("m") == 100


def test_tried_credentials_are_left_out(clock):
    pool = pool_of(2, clock)
    first = pool.take(REQUEST, "m", set())

    assert label(pool.take(REQUEST, "m", {first.credential.id})) == "k1"
    assert pool.take(REQUEST, "m", {c.id for c in pool.credentials}) is None


def test_balanced_spreads_over_idle_credentials(clock):
    pool = pool_of(3, clock, "balanced")
    leases = []
    for _ in range(3):
        leases.append(pool.take(REQUEST, "m", set()))
        clock.time += 1
    assert {label(lease) for lease in leases} == {"k0", "k1", "k2"}

    leases[1].give_back()
    assert label(pool.take(REQUEST, "m", set())) == "k1"


def test_sequential_stays_with_the_first_usable(clock):
    pool = pool_of(3, clock)

    assert {label(pool.take(REQUEST, "m", set())) for _ in range(5)} == {"k0"}


def test_an_empty_pool_says_so(clock):
    assert pool_of(0, clock).take(REQUEST, "m", set()) is None
    assert pool_of(0, clock).soonest_s("m") is None


moves = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.sampled_from(["a", "b"])),
        st.tuples(st.just("fail"), st.sampled_from(["model", "credential"]), st.sampled_from([None, 1.0, 50.0])),
        st.tuples(st.just("succeed")),
        st.tuples(st.just("wait"), st.floats(0, 400)),
    ),
    max_size=40,
)


@given(moves, st.sampled_from(sorted(SELECTORS)))
def test_no_resting_credential_is_ever_lent_and_every_lease_comes_back(history, selector):
    clock = FakeClock()
    pool, lent = pool_of(3, clock, selector), []
    for kind, *details in history:
        match kind:
            case "take":
                before = pool.soonest_s(details[0])
                lease = pool.take(REQUEST, details[0], set())
                assert (lease is not None) == (before == 0)
                lent += [lease] if lease else []
            case "wait":
                clock.time += details[0]
            case _ if lent:
                lease = lent.pop()
                lease.failed(rest(*details)) if kind == "fail" else lease.succeeded()
                lease.give_back()
    for lease in lent:
        lease.give_back()
    clock.time += 10_000

    assert pool.all_resting() == {}
    assert pool.in_flight == 0
