"""How long to rest, and what is left: whatever an upstream may say of it."""

import json
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_core import QuotaWindow, quota_windows, reset_after_s, retry_after_s
from proxy_core.failures.rate_limit_headers import MAX_HINT_S

# Whose words are read: Google's RetryInfo and quotaResetDelay, Anthropic's ``anthropic-ratelimit-...`` and its
# ``unified`` windows, ChatGPT's ``resets_in_seconds`` and ``resets_at`` (CLIProxyAPI #1666), the headers and the
# ``raw`` text that OpenRouter repeats in ``error.metadata``.
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
EPOCH = int(NOW.timestamp())
DAY = 86400


def at(**delta):
    return (NOW + timedelta(**delta)).isoformat().replace("+00:00", "Z")


RETRY_AFTER = {
    "seconds": ({"retry-after": "12"}, 12),
    "fraction": ({"retry-after": " 1.5 "}, 1.5),
    "milliseconds win": ({"retry-after": "12", "retry-after-ms": "250"}, 0.25),
    "garbled milliseconds": ({"retry-after-ms": "x", "retry-after": "3"}, 3),
    "date": ({"retry-after": format_datetime(NOW + timedelta(seconds=90), usegmt=True)}, 90),
    "date just past": ({"retry-after": format_datetime(NOW - timedelta(seconds=30), usegmt=True)}, 0),
    "date long past": ({"retry-after": format_datetime(NOW - timedelta(seconds=90), usegmt=True)}, None),
    "duration": ({"retry-after": "1m30s"}, 90),
    "epoch": ({"retry-after": str(EPOCH + 40)}, 40),
    "epoch in milliseconds": ({"retry-after": str((EPOCH + 40) * 1000)}, 40),
    "longer than a day": ({"retry-after": str(3 * DAY)}, MAX_HINT_S),
    "zero": ({"retry-after": "0"}, 0),
    "garbage": ({"retry-after": "soon"}, None),
    "negative": ({"retry-after": "-3"}, None),
    "nan": ({"retry-after": "nan"}, None),
    "infinite": ({"retry-after": "inf"}, None),
    "underscores": ({"retry-after": "1_0"}, None),
    "years": ({"retry-after": "99999999"}, None),
    "far date": ({"retry-after": "Fri, 01 Jan 2199 00:00:00 GMT"}, None),
    "endless": ({"retry-after": "9" * 5000}, None),
    "absent": ({}, None),
}


@pytest.mark.parametrize("case", RETRY_AFTER.values(), ids=RETRY_AFTER)
def test_retry_after_is_read_in_all_its_forms(case):
    headers, seconds = case

    assert retry_after_s(headers, NOW) == seconds
    assert reset_after_s(headers, b"", NOW) == seconds


X = "x-ratelimit-"
A = "anthropic-ratelimit-"
RESETS = {
    "openai, requests used up": (
        {X + "remaining-requests": "0", X + "reset-requests": "6m0s"}
        | {X + "remaining-tokens": "10", X + "reset-tokens": "120ms"},
        360,
    ),
    "openai, both used up": (
        {X + "remaining-requests": "0", X + "reset-requests": "20s"}
        | {X + "remaining-tokens": "0", X + "reset-tokens": "1h2m3.5s"},
        3723.5,
    ),
    "openai, neither": (
        {X + "remaining-requests": "9", X + "reset-requests": "6m0s"}
        | {X + "remaining-tokens": "10", X + "reset-tokens": "120ms"},
        0.12,
    ),
    "nothing said of what remains": ({X + "reset-requests": "8s", X + "reset-tokens": "0s"}, 8),
    "cerebras": ({X + "remaining-tokens-minute": "0", X + "reset-tokens-minute": "11.38"}, 11.38),
    "epoch seconds": ({X + "reset": str(EPOCH + 25)}, 25),
    "epoch milliseconds": ({X + "reset": str((EPOCH + 25) * 1000), X + "remaining": "0"}, 25),
    "relative seconds": ({X + "reset": "25"}, 25),
    "stale epoch": ({X + "reset": str(EPOCH - 3600)}, None),
    "clocks differ": ({X + "reset": str(EPOCH - 5), X + "remaining": "0"}, 0),
    "not an epoch yet, but years": ({X + "reset": "500000000"}, None),
    "ietf": ({"ratelimit-reset": "30", "ratelimit-remaining": "0"}, 30),
    "ietf field": ({"ratelimit": '"burst";r=0;t=30, "day";r=9;t=600'}, 30),
    "ietf field of old": ({"ratelimit": "limit=100, remaining=0, reset=45"}, 45),
    "anthropic": ({A + "requests-remaining": "0", A + "requests-reset": at(seconds=70)}, 70),
    "anthropic, input tokens": (
        {A + "requests-remaining": "5", A + "requests-reset": at(seconds=1)}
        | {A + "input-tokens-remaining": "0", A + "input-tokens-reset": at(seconds=33)},
        33,
    ),
    "anthropic, a plan": (
        {A + "unified-status": "rejected", A + "unified-reset": str(EPOCH + 7999)}
        | {A + "unified-5h-status": "rejected", A + "unified-5h-reset": str(EPOCH + 7999)}
        | {A + "unified-7d-status": "allowed", A + "unified-7d-reset": str(EPOCH + 5 * DAY)},
        7999,
    ),
    "anthropic, a plan with room": ({A + "unified-status": "allowed", A + "unified-reset": str(EPOCH + 7999)}, None),
    "retry-after wins": ({"retry-after": "3", X + "remaining": "0", X + "reset": "25"}, 3),
    "nonsense wins nothing": ({"retry-after": "soon", X + "reset": "25"}, 25),
    "zero is the last word": ({"retry-after": "0", X + "reset": "25"}, 25),
}


@pytest.mark.parametrize("case", RESETS.values(), ids=RESETS)
def test_reset_headers_of_all_vendors_are_read(case):
    headers, seconds = case

    assert reset_after_s(headers, b"", NOW) == pytest.approx(seconds)
    assert reset_after_s(httpx.Headers(headers), b"", NOW) == pytest.approx(seconds)


def details(*entries, message="words"):
    return {"error": {"code": 429, "message": message, "details": list(entries)}}


def info(**metadata):
    return {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "metadata": metadata}


BODIES = {
    "RetryInfo": (details({"retryDelay": "12.5s"}), 12.5),
    "RetryInfo wins": (details(info(quotaResetDelay="8h44m7.216s"), {"retryDelay": "30s"}), 30),
    "quotaResetDelay": (details(info(quotaResetDelay="8h44m7.216s")), 31447.216),
    "quotaResetDelay, tiny": (details(info(quotaResetDelay="373.801628ms")), 0.373801628),
    "quotaResetTimeStamp": (details(info(quotaResetTimeStamp=at(hours=2))), 7200),
    "an array": ([details({"retryDelay": "7s"})], 7),
    "wrapped": ({"error": {"message": json.dumps(details({"retryDelay": "7s"}))}}, 7),
    "unreadable details": (details(3, None, {"retryDelay": {}}, {"metadata": []}), None),
    "codex": ({"error": {"type": "usage_limit_reached", "resets_in_seconds": 600, "resets_at": EPOCH + 700}}, 600),
    "codex, instant": ({"error": {"type": "usage_limit_reached", "resets_at": EPOCH + 700}}, 700),
    "codex, weekly": ({"error": {"resets_in_seconds": 602705}}, MAX_HINT_S),
    "openrouter": (
        {"error": {"metadata": {"headers": {"X-RateLimit-Reset": str((EPOCH + 50) * 1000), "X-RateLimit-Limit": "9"}}}},
        50,
    ),
    "openrouter, budget": ({"error": {"metadata": {"resets_at": at(hours=1)}}}, 3600),
    "retry_after": ({"message": "x", "retry_after": 4.5}, 4.5),
    "retry_after as text": ({"error": "x", "retry_after": "4"}, 4),
    "true is no number": ({"error": {"retry_after": True}}, None),
    "too large a number": ({"error": {"retry_after": 10**400}}, None),
    "huge float": (b'{"error":{"retry_after":1e999,"resets_at":NaN}}', None),
}


@pytest.mark.parametrize("case", BODIES.values(), ids=BODIES)
def test_members_of_the_body_are_read(case):
    body, seconds = case
    body = body if isinstance(body, bytes) else json.dumps(body).encode()

    assert reset_after_s({}, body, NOW) == pytest.approx(seconds)


TEXTS = {
    "Rate limit reached for gpt-4o in organization o on tokens per min. Please try again in 20s. Visit": 20,
    "Please try again in 6m0s.": 360,
    "Please try again in 86ms.": 0.086,
    "Please try again in 1h2m3.5s": 3723.5,
    "Please retry in 34.074824224s.": 34.074824224,
    "Rate limited, retry after 5 seconds": 5,
    "Retry after 20.": 20,
    "Your quota will reset after 156h14m36s.": MAX_HINT_S,
    "Your quota will reset after 8h44m7s.": 31447,
    "quota exhausted, reset after 2h": 7200,
    "Try again in 1 minute": 60,
    "Try again in about 2 hours and 5 minutes.": 7500,
    "Please wait 3 minutes": 180,
    "wait for 10 seconds before": 10,
    "Your limit resets at " + at(hours=1): 3600,
    "limit resets at: 2026-01-02T04:04:05+0000": 3600,
    "Resets in 3h": 10800,
    "You will regain access on 2026-01-02 at 04:04 UTC.": 3595,
    "Your limit will reset at 2026-01-02 11:04:05": None,
    "retry in 5 requests": None,
    f"retry after {EPOCH + 9}": 9,
    "retry after 500000000": None,
    "try again in a minute": None,
    "try again in 99999999999d": None,
    "Limit 30000, Requested 40000": None,
    "": None,
}


@pytest.mark.parametrize(("text", "seconds"), TEXTS.items())
def test_known_sentences_are_read(text, seconds):
    for body in ({"error": {"message": text}}, {"error": text}, {"detail": text}):
        assert reset_after_s({}, json.dumps(body).encode(), NOW) == pytest.approx(seconds)
    assert reset_after_s({}, text.encode(), NOW) == pytest.approx(seconds)


def test_a_sentence_says_more_than_the_reset_of_a_limit_that_has_room():
    headers = {X + "remaining-tokens": "10", X + "reset-tokens": "6m0s"}

    assert reset_after_s(headers, b"Please try again in 20s", NOW) == 20


WINDOWS = {
    "openai": (
        {X + "limit-requests": "100", X + "remaining-requests": "90", X + "reset-requests": "6s"}
        | {X + "limit-tokens": "1000", X + "remaining-tokens": "0", X + "reset-tokens": "1m0s"},
        [("requests", 100, 10, 6), ("tokens", 1000, 1000, 60)],
    ),
    "anthropic": (
        {A + "output-tokens-limit": "8000", A + "output-tokens-remaining": "8000", A + "output-tokens-reset": at()},
        [("tokens", 8000, 0, 0)],
    ),
    "plain": ({X + "limit": "50", X + "remaining": "49", X + "reset": str(EPOCH + 5)}, [("requests", 50, 1, 5)]),
    "ietf": ({"ratelimit-limit": "9", "ratelimit-remaining": "3"}, [("requests", 9, 6, None)]),
    "ietf field": ({"ratelimit": '"default";r=50;t=30'}, [("requests", None, None, 30)]),
    "per day": ({X + "limit-requests-day": "90", X + "remaining-requests-day": "1"}, [("requests", 90, 89, None)]),
    "more left than there is": ({X + "limit": "5", X + "remaining": "9"}, [("requests", 5, 0, None)]),
    "only what is left": ({X + "remaining": "9"}, []),
    "unreadable": ({X + "limit": "many", X + "reset": "soon", "ratelimit": "?", "ratelimit-policy": '"a";q=1'}, []),
    "seconds of sound": ({X + "limit-audio-seconds": "7200"}, []),
    "a plan": ({A + "unified-5h-utilization": "0.3", A + "unified-5h-reset": str(EPOCH)}, []),
    "none": ({"content-type": "text/plain"}, []),
}


@pytest.mark.parametrize("case", WINDOWS.values(), ids=WINDOWS)
def test_windows_are_learned_from_headers(case):
    headers, expected = case
    windows = [
        QuotaWindow(unit=unit, limit=limit, used=used, resets_at=None if s is None else NOW + timedelta(seconds=s))
        for unit, limit, used, s in expected
    ]

    assert quota_windows(headers, NOW) == windows
    assert quota_windows(httpx.Headers(headers), NOW) == windows


# --- Whatever is sent --------------------------------------------------------------------

NAMES = st.sampled_from(
    "retry-after retry-after-ms ratelimit ratelimit-reset x-ratelimit-reset x-ratelimit-remaining x-ratelimit-limit"
    " x-ratelimit-reset-tokens anthropic-ratelimit-requests-reset anthropic-ratelimit-unified-status".split()
)
PIECES = st.sampled_from(
    (
        "try again in |resets at |retry after |wait |1|99999999999999999999|0.5|ms|s|h|m0s| |-|t=|nan|1e400|rejected|,"
        '|;|{|["|2026-02-30T25:61:00Z|0001-01-01T00:00:00+23:59|9999-12-31T23:59:59Z|Fri, 99 Foo 0 00:00:00 GMT|\u0663'
    ).split("|")
)
VALUES = st.one_of(st.text(max_size=40), st.lists(PIECES, max_size=6).map("".join))
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), VALUES),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                "error message details metadata headers retry_after resets_at retryDelay code quotaResetDelay"
                " quotaResetTimeStamp X-RateLimit-Reset Retry-After raw violations".split()
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)
ANY_BODY = st.one_of(st.binary(max_size=60), JSON.map(lambda value: json.dumps(value).encode()), VALUES.map(str.encode))


@given(st.dictionaries(NAMES, VALUES, max_size=5), ANY_BODY)
def test_nothing_makes_it_raise_or_leave_its_bounds(headers, body):
    seconds = reset_after_s(headers, body, NOW)

    assert seconds is None or 0 <= seconds <= MAX_HINT_S
    for window in quota_windows(headers, NOW):
        assert window.resets_at is None or NOW <= window.resets_at <= NOW + timedelta(days=400)
        assert window.used is None or window.limit is None or 0 <= window.used <= window.limit


@given(st.integers(1, 86400), st.sampled_from(["s", "epoch", "epoch ms", "rfc 3339", "http", "duration"]))
def test_every_form_of_one_wait_is_the_same_wait(seconds, form):
    moment = NOW + timedelta(seconds=seconds)
    minutes, rest = divmod(seconds, 60)
    value = {
        "s": str(seconds),
        "epoch": str(int(moment.timestamp())),
        "epoch ms": str(int(moment.timestamp() * 1000)),
        "rfc 3339": moment.isoformat(),
        "http": format_datetime(moment, usegmt=True),
        "duration": f"{minutes // 60}h{minutes % 60}m{rest}s",
    }[form]

    for name in ("retry-after", X + "reset", A + "tokens-reset"):
        assert reset_after_s({name: value}, b"", NOW) == seconds


LONG = ["try again in " * 5000, "1h" * 30000, "1" * 60000, "wait " * 9000, "resets " + "a " * 20000]


@pytest.mark.parametrize("text", LONG)
def test_a_long_text_takes_no_long_time(text):
    body = json.dumps({"error": {"message": text}}).encode()
    began = time.process_time()
    reset_after_s({"retry-after": text, X + "reset": text, "ratelimit": text}, body, NOW)

    assert time.process_time() - began < 0.5
