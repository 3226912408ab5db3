"""What failures mean."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from proxy_core import UpstreamFailure, default_judge, read_error, retry_after_s
from proxy_core.judging import MAX_HINT_S

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def failure(status=None, body=b"", headers=None, transport=None):
    return UpstreamFailure(
        provider="demo", status=status, body=body, headers=headers or {}, transport=transport, received_at=NOW
    )


def openai_error(**fields):
    return json.dumps({"error": {"message": "words", **fields}}).encode()


VERDICTS = [
    # status, fault, next, rest, status told
    (400, "client", "reject", None, 400),
    (401, "credential", "rotate", "credential", 503),
    (402, "credential", "rotate", "credential", 429),
    (403, "credential", "rotate", "credential", 503),
    (404, "provider", "fail_over", None, 502),
    (405, "client", "reject", None, 405),
    (408, "provider", "retry", None, 504),
    (409, "client", "reject", None, 409),
    (413, "client", "reject", None, 413),
    (415, "client", "reject", None, 415),
    (422, "client", "reject", None, 422),
    (429, "model", "rotate", "model", 429),
    (500, "provider", "retry", None, 502),
    (502, "provider", "retry", None, 502),
    (503, "provider", "retry", None, 503),
    (504, "provider", "retry", None, 504),
    (529, "provider", "retry", None, 503),
    (302, "provider", "retry", None, 502),
]


@pytest.mark.parametrize(("status", "fault", "step", "rest", "told"), VERDICTS)
def test_each_status_has_its_verdict(status, fault, step, rest, told):
    verdict = default_judge(failure(status, openai_error()))

    assert (verdict.fault, verdict.next, verdict.rest, verdict.error.status) == (fault, step, rest, told)


TRANSPORT = [
    ("connect", "network", "retry", 502),
    ("disconnect", "network", "retry", 502),
    ("timeout", "provider", "fail_over", 504),
    ("cut", "provider", "retry", 502),
    ("unreadable", "provider", "fail_over", 502),
]


@pytest.mark.parametrize(("transport", "fault", "step", "told"), TRANSPORT)
def test_each_broken_exchange_has_its_verdict(transport, fault, step, told):
    verdict = default_judge(failure(transport=transport))

    assert (verdict.fault, verdict.next, verdict.error.status) == (fault, step, told)


IN_BAND = [
    ({"type": "rate_limit_error"}, 429),
    ({"code": "insufficient_quota"}, 429),
    ({"type": "invalid_request_error"}, 400),
    ({"code": "context_length_exceeded"}, 400),
    ({}, 502),
]


@pytest.mark.parametrize(("error", "told"), IN_BAND)
def test_an_error_without_a_status_is_read_by_its_words(error, told):
    assert default_judge(failure(None, openai_error(**error))).error.status == told


def test_an_unknown_model_is_the_clients_404():
    for body in (openai_error(code="model_not_found"), b'{"error":"model \'x\' not found"}'):
        verdict = default_judge(failure(404, body))
        assert (verdict.error.status, verdict.error.code, verdict.next) == (404, "model_not_found", "fail_over")


HINTS = {
    "seconds": ({"retry-after": "12"}, 12),
    "fraction": ({"retry-after": " 1.5 "}, 1.5),
    "milliseconds win": ({"retry-after": "12", "retry-after-ms": "250"}, 0.25),
    "date": ({"retry-after": format_datetime(NOW + timedelta(seconds=90), usegmt=True)}, 90),
    "past date": ({"retry-after": format_datetime(NOW - timedelta(seconds=90), usegmt=True)}, 0),
    "garbage": ({"retry-after": "soon"}, None),
    "negative": ({"retry-after": "-3"}, None),
    "nan": ({"retry-after": "nan"}, None),
    "infinite": ({"retry-after": "inf"}, None),
    "far future": ({"retry-after": "99999999"}, MAX_HINT_S),
    "far date": ({"retry-after": "Fri, 01 Jan 2199 00:00:00 GMT"}, MAX_HINT_S),
    "absent": ({}, None),
    "garbled milliseconds": ({"retry-after-ms": "x", "retry-after": "3"}, 3),
}


@pytest.mark.parametrize("hint", HINTS.values(), ids=HINTS)
def test_hints_are_read_or_left(hint):
    headers, seconds = hint

    assert retry_after_s(headers, NOW) == seconds


def test_a_hint_decides_the_rest_and_what_the_client_hears():
    verdict = default_judge(failure(429, openai_error(), {"retry-after": "7"}))

    assert (verdict.rest_s, verdict.error.retry_after_s) == (7, 7)


BODIES = {
    "openai": (openai_error(type="t", code="c", param="p"), ("words", "t", "c", "p")),
    "anthropic": (b'{"type":"error","error":{"type":"t","message":"words"}}', ("words", "t", None, None)),
    "gemini": (b'{"error":{"code":400,"status":"INVALID","message":"words"}}', ("words", "INVALID", None, None)),
    "gemini list": (b'[{"error":{"message":"words"}}]', ("words", None, None, None)),
    "string": (b'{"error":"words"}', ("words", None, None, None)),
    "fastapi": (b'{"detail":"words"}', ("words", None, None, None)),
    "fastapi list": (b'{"detail":[{"loc":["x"]}]}', ('[{"loc": ["x"]}]', None, None, None)),
    "message": (b'{"message":"words","code":3}', ("words", None, None, None)),
    "text": (b"words\n", ("words", None, None, None)),
    "html": (b"<!doctype html><p>no", (None, None, None, None)),
    "nothing": (b"", (None, None, None, None)),
    "number": (b"3", (None, None, None, None)),
}


@pytest.mark.parametrize("case", BODIES.values(), ids=BODIES)
def test_error_bodies_of_all_shapes_are_read(case):
    body, wanted = case
    error = read_error(body)

    assert (error.message, error.type, error.code, error.param) == wanted
