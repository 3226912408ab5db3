"""Counting: every request, attempt and token once, with whom it belongs to."""

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_core.interfaces import AttemptRecord, RequestRecord, UsageRow
from proxy_core.messages import Usage
from proxy_core.models.info import ModelInfos
from proxy_core.models.pricing import Prices
from proxy_core.settings.schema import ProviderSettings
from proxy_core.state import usage as counting
from proxy_core.state.usage import COUNTED, UsageBook, summed

TODAY = datetime(2026, 11, 24, 12, tzinfo=UTC)
TOKENS = Usage(prompt=10, completion=5, cached=4, cache_write=1, reasoning=2)


def attempt(credential="a", *, fault=None, status=None, shared=False, deployment="demo/small"):
    status = status if status is not None else (None if fault else 200)
    return AttemptRecord(
        deployment=deployment,
        credential=credential,
        status=status,
        fault=fault,
        message=None,
        duration_s=0.1,
        shared=shared,
    )


def record(*attempts, usage=None, client="me", at=TODAY):
    return RequestRecord(
        id="r",
        client=client,
        dialect="openai_chat",
        model="small",
        stream=False,
        status=200,
        outcome="completed",
        error=None,
        started_at=at,
        first_event_s=None,
        duration_s=0.1,
        attempts=attempts,
        usage=usage,
    )


def counted(*records, cost=None):
    book = UsageBook()
    for one in records:
        book.count(one, cost)
    return {(row.credential, row.model): row for row in book.take()}


def numbers(row):
    return {name: getattr(row, name) for name in COUNTED if getattr(row, name)}


def test_a_request_and_its_tokens_belong_to_the_credential_that_answered_and_each_attempt_to_its_own():
    rows = counted(record(attempt("a", fault="model", status=429), attempt("b"), usage=TOKENS), cost=0.5)

    assert numbers(rows["a", "small"]) == {"attempts": 1, "failures": 1}
    assert numbers(rows["b", "small"]) == {
        **{"requests": 1, "attempts": 1, "prompt": 10, "cached": 4, "cache_write": 1, "completion": 5},
        **{"reasoning": 2, "cost": 0.5, "priced": 1},
    }


def test_an_abandoned_hedge_counts_only_as_an_attempt():
    given_up = attempt("a", status=0)
    rows = counted(record(attempt("b"), given_up, usage=TOKENS))

    assert numbers(rows["a", "small"]) == {"attempts": 1}
    assert rows["b", "small"].requests == 1
    assert rows["b", "small"].prompt == 10


def test_a_request_that_failed_everywhere_belongs_to_the_last_attempt():
    rows = counted(record(attempt("a", fault="model"), attempt("b", fault="network", deployment="other/big")))

    assert rows["a", "small"].requests == 0
    assert numbers(rows["b", "big"]) == {"requests": 1, "attempts": 1, "failures": 1, "priced": 1}


def test_a_request_without_attempts_has_a_row_without_names():
    assert counted(record()) == {
        ("", ""): UsageRow(day=TODAY.date(), client="me", provider="", credential="", model="", requests=1, priced=1)
    }


def test_an_attempt_for_several_requests_is_counted_with_the_first():
    rows = counted(record(attempt(), usage=TOKENS), record(attempt(shared=True), usage=TOKENS))

    assert numbers(rows["a", "small"])["attempts"] == 1
    assert numbers(rows["a", "small"])["requests"] == 2
    assert numbers(rows["a", "small"])["prompt"] == 20


def test_an_unknown_cost_differs_from_zero():
    assert (counted(record(attempt(), usage=TOKENS))["a", "small"].priced) == 0
    assert (counted(record(attempt(), usage=TOKENS), cost=0.0)["a", "small"].priced) == 1


@pytest.mark.parametrize(
    ("attempts", "known"),
    [
        ([], 1),
        ([attempt(fault="network")], 1),
        ([attempt(fault="model", status=429), attempt(fault="credential", status=401)], 1),
        ([attempt(fault="provider", status=200)], 0),  # it answered with something that cannot be read
        ([attempt()], 0),  # an answer without a word on its tokens
        ([attempt(fault="network"), attempt()], 0),
    ],
)
def test_what_nobody_answered_costs_nothing(attempts, known):
    assert sum(row.priced for row in counted(record(*attempts)).values()) == known


def test_a_request_counts_on_the_utc_day_it_began():
    book = UsageBook()
    book.count(record(attempt(), at=datetime(2026, 11, 24, 23, 59, 59, tzinfo=UTC)), None)
    book.count(record(attempt(), at=datetime(2026, 11, 25, 0, 0, 1, tzinfo=UTC)), None)

    assert [row.day for row in book.take()] == [date(2026, 11, 24), date(2026, 11, 25)]


def test_what_was_taken_is_not_given_again():
    book = UsageBook()
    book.count(record(attempt()), None)

    assert len(book.take()) == 1
    assert book.take() == []


def test_rows_of_a_day_are_bounded_even_when_a_store_takes_them(monkeypatch):
    monkeypatch.setattr(counting, "MAX_ROWS", 3)
    book, taken = UsageBook(), []
    for n in range(10):
        book.count(record(attempt(deployment=f"demo/made-up-{n}")), None)
        taken += book.take()
    names = {row.model for row in taken}
    book.count(record(attempt(deployment="demo/made-up-0")), None)
    book.count(record(attempt(deployment="demo/new"), at=datetime(2026, 11, 25, tzinfo=UTC)), None)

    assert names == {"made-up-0", "made-up-1", "made-up-2", "other"}
    assert sum(row.requests for row in taken) == 10
    assert {row.model for row in book.take()} == {"made-up-0", "new"}


ATTEMPTS = st.lists(
    st.builds(attempt, st.sampled_from("abc"), fault=st.sampled_from([None, "model", "network"]), shared=st.booleans()),
    max_size=4,
)
RECORDS = st.builds(
    lambda tried, usage, client: record(*tried, usage=usage, client=client),
    ATTEMPTS,
    st.none() | st.builds(Usage, prompt=st.integers(0, 99), completion=st.integers(0, 99)),
    st.sampled_from(["me", "you"]),
)


@given(st.lists(RECORDS, max_size=20), st.sets(st.integers(0, 20)))
def test_nothing_is_lost_or_counted_twice(records, taken_after):
    book, rows = UsageBook(), []
    for n, one in enumerate(records):
        book.count(one, 0.5 if one.usage else None)
        if n in taken_after:
            rows += book.take()
    rows += book.take()
    total = (
        summed(rows, [])[0][1] if rows else UsageRow(day=TODAY.date(), client="", provider="", credential="", model="")
    )

    used = [one.usage for one in records if one.usage]
    tried = [a for one in records for a in one.attempts if not a.shared]
    assert total.requests == len(records)
    assert (total.attempts, total.failures) == (len(tried), sum(a.fault is not None for a in tried))
    assert (total.prompt, total.completion) == (sum(u.prompt for u in used), sum(u.completion for u in used))
    unanswered = [one for one in records if one.usage is None and all(a.fault is not None for a in one.attempts)]
    assert total.priced == len(used) + len(unanswered)


def test_rows_are_added_up_by_any_names():
    rows = [
        UsageRow(day=TODAY.date(), client=client, provider="demo", credential=credential, model="m", requests=1)
        for client in ("me", "you")
        for credential in ("a", "b")
    ]

    assert [(key, row.requests) for key, row in summed(rows, ["client"])] == [(("me",), 2), (("you",), 2)]
    assert [(key, row.requests) for key, row in summed(rows, [])] == [((), 4)]
    assert summed([], ["client"]) == []


@pytest.mark.parametrize(
    ("prices", "cost"),
    [
        ({"input_price": 1.0, "output_price": 2.0}, (10 * 1 + 5 * 2) / 1e6),
        ({"input_price": 1.0, "cached_price": 0.5, "output_price": 2.0}, (6 * 1 + 4 * 0.5 + 5 * 2) / 1e6),
        ({"output_price": 2.0}, 10 / 1e6),
        ({"input_price": 0.0}, 0.0),
        ({}, None),
    ],
)
def test_what_a_response_costs(prices, cost):
    models = {"small": {"id": "small-v2", **prices}}
    known = Prices(ModelInfos({"demo": ProviderSettings.model_validate({"models": models})}))

    assert known.cost("demo", "small-v2", TOKENS) == (pytest.approx(cost) if cost is not None else None)
    assert known.cost("demo", "small", TOKENS) is None, "the price is of the provider's own id"
    assert known.cost("other", "small-v2", TOKENS) is None
