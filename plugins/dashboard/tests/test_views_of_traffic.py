"""What the pages of traffic show, from values: charts, percentiles, explanations, answers of models."""

import csv
import io
import json
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy_core import RecentRequest
from proxy_core.testing import chunk
from proxy_core.testing.program import serving
from proxy_plugin_dashboard.charts import HEIGHT, WIDTH, Point, ceiling, columns
from proxy_plugin_dashboard.trying import MAX_SHOWN, Reading
from proxy_plugin_dashboard.views.models_model import models_model
from proxy_plugin_dashboard.views.requests_model import Found, accounts_in, ending, explanation, wanted, with_newer
from proxy_plugin_dashboard.views.usage_model import (
    COUNTED,
    RANGES,
    Counts,
    as_csv,
    asked_for,
    percentile,
    times_by,
    usage_model,
)
from proxy_plugin_dashboard.words import count, number

TODAY = date(2026, 11, 28)


# --- Charts ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "top"),
    [(0, 1), (1, 1), (1.1, 1.5), (46, 60), (5.15, 6), (0.11, 0.15), (999, 1000), (1001, 1500), (0.00003, 0.00003)],
)
def test_the_axis_ends_at_a_round_number(value, top):
    assert ceiling(value) == pytest.approx(top)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_no_figure_breaks_the_axis(value):
    assert ceiling(value) == 1


@given(st.lists(st.tuples(st.floats(0, 1e12), st.floats(0, 1e12)), max_size=400))
@example([(2.2250738585072014e-308, 0.0)])
@example([(5e-324, 5e-324)])
def test_every_column_is_inside_the_chart(figures):
    chart = columns("Cost", [Point(label="1 Nov", value=value, part=part) for value, part in figures], count)

    assert len(chart.columns) == len(figures)
    assert len(chart.labels) <= 8
    for column in chart.columns:
        assert 0 <= column.y <= column.y + column.height <= HEIGHT
        assert 0 <= column.x <= column.x + column.width <= WIDTH
        assert column.part_height <= column.height + 0.1


# --- Usage -------------------------------------------------------------------------------


def row(day=TODAY, **fields):
    blank = dict.fromkeys(COUNTED, 0)
    return {"day": day.isoformat(), "client": "laptop", "model": "small", **blank, **fields}


def test_a_day_without_usage_is_in_the_chart_too():
    asked = asked_for({"range": "7d"}, TODAY)
    rows = [row(cost=2.0, priced=1, requests=1), row(TODAY - timedelta(days=6), cost=1.0, priced=1, requests=3)]
    model = usage_model(asked, rows, [], {})

    assert [day.counts.requests for day in model.days] == [1, 0, 0, 0, 0, 0, 3]
    assert (model.today.cost, model.yesterday.cost, model.total.cost) == (2.0, 0.0, 3.0)
    assert [len(chart.columns) for chart in model.charts] == [7, 7, 7, 7]


def test_the_dearest_comes_first_and_a_long_table_is_cut():
    rows = [row(model=f"m{number}", cost=float(number), requests=1, priced=1) for number in range(150)]
    model = usage_model(asked_for({}, TODAY), rows, [], {})

    assert (model.rows[0].name, len(model.rows), model.more) == ("m149", 100, 50)


@pytest.mark.parametrize("query", [{}, {"range": "../..", "by": "<b>"}, {"range": "", "by": ""}])
def test_a_query_that_means_nothing_is_the_usual_one(query):
    asked = asked_for(query, TODAY)

    assert (asked.range, asked.by, asked.since) == ("7d", "model", TODAY - timedelta(days=6))
    assert asked.range in RANGES


def test_usage_of_one_client():
    rows = [row(requests=1), row(client="phone", requests=5)]

    assert usage_model(asked_for({"client": "phone"}, TODAY), rows, [], {}).total.requests == 5


@given(st.lists(st.floats(0.001, 1e5), min_size=1, max_size=200), st.sampled_from([0.5, 0.95]))
def test_a_percentile_is_within_a_tenth_and_never_more_than_the_slowest(durations, share):
    counts = {}
    for duration in durations:
        step = next(step for step in range(500) if 0.001 * 1.1**step >= duration)
        counts[step] = counts.get(step, 0) + 1
    exact = sorted(durations)[-(-int(share * 1000) * len(durations) // 1000) - 1]

    found = percentile(counts, share, max(durations))
    assert exact / 1.1 <= found * (1 + 1e-9) <= exact * 1.1 * (1 + 1e-9)
    assert found <= max(durations)


def test_the_percentile_of_one_request_is_its_own_duration():
    assert percentile({49: 1}, 0.5, 0.098) == 0.098
    assert percentile({}, 0.5, 0.0) is None


def test_percentiles_of_several_processes_are_of_all_their_requests():
    group = {"key": "small", "requests": 1, "durations": {"10": 1}, "first_events": {}}
    group |= {"longest_s": 0.001 * 1.1**10, "longest_first_event_s": 0.0}
    longest_s = 0.001 * 1.1**30
    times = times_by([group, {**group, "durations": {"10": 1, "30": 8}, "requests": 9, "longest_s": longest_s}])[
        "small"
    ]

    assert times.requests == 10
    assert longest_s / 1.1 < times.p50 < times.p95 <= longest_s
    assert times.first_p50 is None


def test_a_cost_in_a_file_has_no_digits_that_mean_nothing():
    _, cells = list(csv.reader(io.StringIO(as_csv(["client"], [row(cost=0.098 + 2e-17)]), newline="")))

    assert cells[COUNTED.index("cost") + 1] == "0.098"


@pytest.mark.parametrize(("amount", "words"), [(0, "0 requests"), (1, "1 request"), (12_000, "12k requests")])
def test_one_is_not_many(amount, words):
    assert number(amount, "request") == words


@pytest.mark.parametrize(("requests", "priced", "missing"), [(0, 0, 0), (3, 3, 0), (3, 1, 2), (0, 1, 0)])
def test_what_was_answered_without_a_price_leaves_a_cost_unknown(requests, priced, missing):
    assert Counts(requests=requests, priced=priced).unpriced == missing


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =1", "=cmd|' /C calc'!A0"])
def test_no_name_is_a_formula(name):
    _, cells = list(csv.reader(io.StringIO(as_csv(["client"], [row(client=name)]), newline="")))

    assert cells[0].startswith("'")


def test_names_stay_names_whatever_is_in_them():
    names = ['a "quoted", name', "two\nlines", "ünïcode \u202e", "a" * 10_000]
    _, *rows = csv.reader(io.StringIO(as_csv(["client"], [row(client=name) for name in names]), newline=""))

    assert [cells[0] for cells in rows] == names


# --- Requests ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "outcome", "error", "expected"),
    [
        (200, "completed", None, ("good", "answered")),
        (429, "completed", "rate_limit", ("bad", "429: rate_limit")),
        (429, "failed", "rate_limit", ("bad", "429: rate_limit")),
        (200, "cut", "upstream_broken", ("bad", "broke off: upstream_broken")),
        (0, "client_left", None, ("warn", "client left")),
        (0, "failed", None, ("bad", "failed")),
    ],
)
def test_how_a_request_ended(status, outcome, error, expected):
    assert ending(status, outcome, error) == expected


def test_only_what_a_search_knows_is_passed_on():
    assert wanted({"q": " a ", "client": "", "limit": "9999", "local": "1", "id": "x"}) == {"q": "a"}


def found(*numbers, matched=None):
    requests = [
        RecentRequest(
            id=f"r{number}",
            client="laptop",
            dialect="openai_chat",
            model="demo/small",
            deployment=None,
            credential=None,
            attempts=0,
            stream=False,
            status=200,
            outcome="completed",
            error=None,
            started_at=datetime(2026, 11, 28, tzinfo=UTC) + timedelta(seconds=number),
            first_event_s=None,
            duration_s=0.5,
            usage=None,
        )
        for number in numbers
    ]
    return Found(requests=requests, kept=1000, matched=len(requests) if matched is None else matched)


def test_what_a_live_page_finds_later_comes_on_top_once():
    before = found(*range(60, 10, -1), matched=60)
    after = with_newer(before, found(62, 61, 60, 59))

    assert [request.id for request in after.requests[:4]] == ["r62", "r61", "r60", "r59"]
    assert (len(after.requests), after.matched) == (50, 62)


RECORD = {
    "id": "abc",
    "client": "laptop",
    "dialect": "openai_chat",
    "stream": True,
    "status": 200,
    "outcome": "completed",
    "error": None,
    "started_at": "2026-11-28T12:00:00.000+00:00",
    "first_event_s": 0.2,
    "duration_s": 1.5,
    "model": "fast",
    "changed_by": ["guard"],
    "decisions": [
        {"deployment": "demo/small", "candidates": 2, "chosen": "aaaa"},
        {"deployment": "demo/small", "candidates": 1, "chosen": "bbbb", "at_s": 0.1, "probe": True, "unnamed": 3,
         "excluded": [{"credential": "aaaa", "reason": "cooling down", "left_s": 35481.6, "upstream_message": "slow"}]},
        {"deployment": "other/x", "chosen": None, "outage_s": 12.0},
    ],
    "attempts": [
        {"deployment": "demo/small", "credential": "aaaa", "status": 429, "fault": "credential", "duration_s": 0.1},
        {"deployment": "demo/small", "credential": "bbbb", "status": None, "fault": "network", "duration_s": 0.2,
         "cause": "no answer in time"},
        {"deployment": "demo/small", "credential": "cccc", "status": 200, "fault": None, "duration_s": None},
    ],
    "usage": {"prompt": 1200, "completion": 30, "cached": 100, "cache_write": 0, "reasoning": 7},
}  # fmt: skip


def test_an_explanation_tells_what_happened_in_order():
    told = explanation(RECORD, {"aaaa": "work@example.com"}, "$0.10")

    assert [step.words for step in told.steps] == [
        "For demo/small, 2 accounts could be used; work@example.com (aaaa) was chosen",
        "Attempt 1: demo/small with work@example.com (aaaa) answered 429 after 0.100 s; at fault: this account",
        "For demo/small, 1 account could be used; bbbb was chosen, to see whether it works again (0.100 s)",
        "Attempt 2: demo/small with bbbb gave no answer after 0.200 s; at fault: the connection",
        "For other/x, no account could be used",
        "Attempt 3: demo/small with cccc answered 200 after 0.000 s",
    ]
    assert told.steps[2].more == [
        ("work@example.com (aaaa) cools down for another 9 h 51 min", "slow"),
        ("and 3 more", ""),
    ]
    assert told.steps[3].more == [("no answer in time", "")]
    assert dict(told.facts)["Tokens"] == "1,200 in, 100 of them cached; 30 out, 7 of them reasoning"
    assert dict(told.facts)["Cost"] == "$0.10"
    assert accounts_in(RECORD) == {"aaaa", "bbbb", "cccc"}


# --- Models ------------------------------------------------------------------------------


def test_whatever_a_provider_lists_is_no_reason_to_fail():
    odd = {
        "pricing": "free",
        "architecture": [],
        "capabilities": {"vision": 1},
        "context_length": "4k",
        "owned_by": None,
    }
    listed = [{"id": "a/b", **odd, "_sources": dict.fromkeys(odd, "provider")}, {"id": "c/d", **odd}, {"id": "e/f"}]
    model = models_model(listed, [], {"page": "-3"})

    assert [(row.context, row.input_price, list(row.abilities)) for row in model.rows] == [(None, None, [])] * 3


def test_a_long_list_of_models_has_pages():
    listed = [{"id": f"demo/m{number}", "owned_by": "demo"} for number in range(250)]
    model = models_model(listed, [], {"page": "9999"})

    assert (len(model.rows), model.page, model.last, model.total) == (50, 3, 3, 250)
    assert models_model(listed, [], {"q": "M24"}).found == 11


STREAM = b"".join(
    [
        chunk({"role": "assistant", "content": ""}),
        chunk({"reasoning_content": "hm"}),
        chunk({"content": "hel\n\nlo \u2028"}),
        chunk({}, finish="length"),
        chunk(usage={"prompt_tokens": 3, "completion_tokens": 2}),
        b"data: [DONE]\n\n",
    ]
)


@given(st.lists(st.integers(0, len(STREAM)), max_size=6))
def test_an_answer_is_read_however_it_is_split(places):
    reading, cuts = Reading(), sorted({0, len(STREAM), *places})
    found = b"".join(reading.feed(STREAM[one:two]) for one, two in pairwise(cuts))

    assert found == b'event: thought\ndata: "hm"\n\nevent: text\ndata: "hel\\n\\nlo \\u2028"\n\n'
    assert (reading.finish, reading.usage) == ("length", {"prompt_tokens": 3, "completion_tokens": 2})


def shown(data):
    """The events for the page: names and values."""
    events = [event.partition("\ndata: ") for event in data.decode().split("\n\n") if event]
    return [(name.removeprefix("event: "), json.loads(value)) for name, _, value in events]


def test_control_characters_of_an_answer_are_shown_and_do_nothing():
    text = "a\x1b[31m\x07\x00\x7f\x9b\u202eevil\u2066\tb\nc \u05d0\u200f \u2028 \u00e9"
    for key, name in (("content", "text"), ("reasoning", "thought")):
        [(kind, value)] = shown(Reading().feed(chunk({key: text})))
        assert kind == name
        assert value == "a\u241b[31m\u2407\u2400\u2421\ufffd\ufffdevil\ufffd\tb\nc \u05d0\u200f \u2028 \u00e9"


def test_a_long_answer_is_cut_with_a_word_and_a_long_error_too():
    reading = Reading()
    found = shown(b"".join(reading.feed(chunk({"content": "x" * 90_000})) for _ in range(5)))

    assert "".join(value for name, value in found if name == "text") == "x" * MAX_SHOWN
    assert [value for name, value in found if name == "problem"] == ["Only the first 200,000 characters are shown."]
    error = {"error": {"message": "\x1b\u202e" + "x" * 10_000}}
    [(name, value)] = shown(reading.feed(b"data: " + json.dumps(error).encode() + b"\n\n"))
    assert (name, len(value), value[-1]) == ("problem", 600, "\u2026")
    assert value.isprintable()


# --- Two workers -------------------------------------------------------------------------


@pytest.mark.slow
async def test_the_pages_show_what_all_workers_did(tmp_path, upstream):
    admin = "the-admin-key"
    demo = {"DEMO_API_BASE": upstream.url, "DEMO_API_KEY": "key-a"}
    variables = {**demo, "PROXY_API_KEY": "some-key", "PROXY_ADMIN__KEY": admin}
    upstream.for_key("key-a").responds()
    body = {"model": "demo/small", "messages": [{"role": "user", "content": "hi"}]}
    async with serving(tmp_path, "--workers", "2", **variables) as program, httpx.AsyncClient(timeout=30) as client:
        headers = {"authorization": f"Bearer {admin}", "origin": program.url}
        assert (await client.post(f"{program.url}/admin/ui/session", headers=headers)).status_code == 204
        ids = set()
        for _ in range(20):
            headers = {"authorization": "Bearer some-key", "connection": "close"}
            answer = await client.post(f"{program.url}/v1/chat/completions", json=body, headers=headers)
            ids.add(answer.headers["x-request-id"])
        for _ in range(6):  # whichever worker answers
            page = await client.get(f"{program.url}/admin/ui/requests?client=default", headers={"connection": "close"})
            assert {one for one in ids if f'id="request-{one}"' in page.text} == ids
            detail = await client.get(f"{program.url}/admin/ui/requests/detail/{min(ids)}")
            assert "Attempt 1: demo/small" in detail.text
        started = datetime.now(UTC)
        while "20 requests" not in (page := await client.get(f"{program.url}/admin/ui/usage")).text:
            assert datetime.now(UTC) - started < timedelta(seconds=60), page.text[-3000:]
