"""Each row of the error table (qwen-code.md 8.2), in the vendor's words."""

import json
from datetime import UTC, datetime

import pytest

from proxy_core import UpstreamFailure
from proxy_plugin_qwen_code.errors import PAGE_WORDS, REFUSED_COOLDOWN_S, decide_failure
from proxy_plugin_qwen_code.lifecycle import DISCONTINUED
from proxy_plugin_qwen_code.testing import NOT_AN_AGENT, PAGE, error

#: A Tuesday, 22:30 in China.
NOW = datetime(2026, 11, 24, 14, 30, tzinfo=UTC)
MIDNIGHT, MONDAY = 90 * 60, 90 * 60 + 5 * 86_400
HOUR, DAY = 3600, 86_400


def failed(status, body, *, kind="api_key", **headers):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return UpstreamFailure(
        provider="qwen_code",
        credential_kind=kind,
        status=status,
        headers=headers,
        body=data,
        received_at=NOW,
    )


def native(code, message):
    return {"code": code, "message": message, "request_id": "1"}


KEY, LOGIN = "api_key", "qwen_oauth"
# status, body, kind of credential: fault, next, what rests, for how long, what the client gets
ROWS = {
    "daily quota": (
        429,
        error("Free allocated quota exceeded.", "insufficient_quota"),
        LOGIN,
        ("credential", "rotate", "credential", MIDNIGHT, 429, "insufficient_quota"),
    ),
    "daily quota as 403": (
        403,
        error("no more today", "quota_exceeded"),
        LOGIN,
        ("credential", "rotate", "credential", MIDNIGHT, 429, "insufficient_quota"),
    ),
    "daily quota inside a response": (
        None,
        native("insufficient_quota", "no more"),
        LOGIN,
        ("credential", "rotate", "credential", MIDNIGHT, 429, "insufficient_quota"),
    ),
    "a key's free quota": (
        403,
        error("Free allocated quota exceeded.", "insufficient_quota"),
        KEY,
        ("model", "rotate", "quota", HOUR, 429, "insufficient_quota"),
    ),
    "five hours": (
        429,
        error("hour allocated quota exceeded"),
        KEY,
        ("credential", "rotate", "credential", None, 429, "insufficient_quota"),
    ),
    "five hours, until": (
        429,
        error("hour allocated quota exceeded, will reset at 2026-11-24 23:00:00"),
        KEY,
        ("credential", "rotate", "credential", 1800, 429, "insufficient_quota"),
    ),
    "week": (
        429,
        error("week allocated quota exceeded"),
        KEY,
        ("credential", "rotate", "credential", MONDAY, 429, "insufficient_quota"),
    ),
    "month": (
        429,
        error("month allocated quota exceeded"),
        KEY,
        ("credential", "rotate", "credential", DAY, 429, "insufficient_quota"),
    ),
    "concurrency": (
        429,
        error("concurrency allocated quota exceeded"),
        KEY,
        ("credential", "rotate", "credential", 3, 429, "rate_limit_exceeded"),
    ),
    "allocation": (
        429,
        native("Throttling.AllocationQuota", "too much"),
        KEY,
        ("model", "rotate", "quota", HOUR, 429, "insufficient_quota"),
    ),
    "allocation in words": (
        429,
        error("Allocated quota exceeded, please increase your quota limit."),
        KEY,
        ("model", "rotate", "quota", HOUR, 429, "insufficient_quota"),
    ),
    "current quota": (
        429,
        error("You exceeded your current quota, please check your plan", "insufficient_quota"),
        LOGIN,
        ("model", "rotate", "quota", HOUR, 429, "insufficient_quota"),
    ),
    "throttling": (
        429,
        native("Throttling", "slow"),
        KEY,
        ("model", "rotate", "quota", None, 429, "rate_limit_exceeded"),
    ),
    "rate quota": (
        429,
        native("Throttling.RateQuota", "Requests rate limit exceeded"),
        KEY,
        ("model", "rotate", "quota", None, 429, "rate_limit_exceeded"),
    ),
    "limit_requests": (
        429,
        error("You have exceeded your current request limit", "limit_requests"),
        KEY,
        ("model", "rotate", "quota", None, 429, "rate_limit_exceeded"),
    ),
    "burst": (
        429,
        error("Request rate increased too quickly", "limit_burst_rate"),
        KEY,
        ("model", "rotate", "quota", None, 429, "rate_limit_exceeded"),
    ),
    "1302": (200, error("busy", 1302), KEY, ("model", "rotate", "quota", None, 429, "rate_limit_exceeded")),
    "1305": (429, error("busy", "1305"), KEY, ("model", "rotate", "quota", None, 429, "rate_limit_exceeded")),
    "any other 429": (429, b"", KEY, ("model", "rotate", "quota", None, 429, "rate_limit_exceeded")),
    "quota until": (
        429,
        error("Your quota is exhausted. It will reset at 2026-11-24T16:00:00Z"),
        KEY,
        ("model", "rotate", "quota", MIDNIGHT, 429, "insufficient_quota"),
    ),
    "quota until, as 403": (
        403,
        error("quota exceeded, will reset at 2026-11-25 00:00:00"),
        KEY,
        ("model", "rotate", "quota", MIDNIGHT, 429, "insufficient_quota"),
    ),
    "quota by its type alone": (
        429,
        error("no", None, "insufficient_quota"),
        LOGIN,
        ("credential", "rotate", "credential", MIDNIGHT, 429, "insufficient_quota"),
    ),
    "quota in capitals and without a message": (
        429,
        {"error": {"code": "INSUFFICIENT_QUOTA"}},
        LOGIN,
        ("credential", "rotate", "credential", MIDNIGHT, 429, "insufficient_quota"),
    ),
    "expired token": (
        401,
        error("invalid access token or token expired"),
        LOGIN,
        ("credential", "rotate", "credential", REFUSED_COOLDOWN_S, 403, "upstream_credential_refused"),
    ),
    "expired token as 403": (
        403,
        error("Token expired"),
        LOGIN,
        ("credential", "rotate", "credential", REFUSED_COOLDOWN_S, 403, "upstream_credential_refused"),
    ),
    "refused as 403: unauthorized": (
        403,
        error("Unauthorized"),
        LOGIN,
        ("credential", "rotate", "credential", REFUSED_COOLDOWN_S, 403, "upstream_credential_refused"),
    ),
    "refused as 403: forbidden.": (
        403,
        error("Forbidden."),
        LOGIN,
        ("credential", "rotate", "credential", REFUSED_COOLDOWN_S, 403, "upstream_credential_refused"),
    ),
    "refused as 403: invalid access token": (
        403,
        error("invalid access token"),
        LOGIN,
        ("credential", "rotate", "credential", REFUSED_COOLDOWN_S, 403, "upstream_credential_refused"),
    ),
    "refused as 403: access denied": (
        403,
        error("Access denied"),
        LOGIN,
        ("credential", "rotate", "credential", REFUSED_COOLDOWN_S, 403, "upstream_credential_refused"),
    ),
    "refused as 403: invalid api key.": (
        403,
        error("Invalid API key."),
        KEY,
        ("credential", "rotate", "credential", REFUSED_COOLDOWN_S, 403, "upstream_credential_refused"),
    ),
    "a wrong key": (
        401,
        error("Incorrect API key provided.", "invalid_api_key"),
        KEY,
        ("credential", "rotate", "credential", REFUSED_COOLDOWN_S, 403, "upstream_credential_refused"),
    ),
    "a wrong key as 403": (
        403,
        error("invalid api-key"),
        KEY,
        ("credential", "rotate", "credential", REFUSED_COOLDOWN_S, 403, "upstream_credential_refused"),
    ),
    "native wrong key": (
        401,
        native("InvalidApiKey", "Invalid API-key provided."),
        KEY,
        ("credential", "rotate", "credential", REFUSED_COOLDOWN_S, 403, "upstream_credential_refused"),
    ),
    "arrears": (
        400,
        error("Access denied, please make sure your account is in good standing.", "Arrearage"),
        KEY,
        ("credential", "rotate", "credential", HOUR, 403, "insufficient_quota"),
    ),
    "not bought": (
        403,
        error("no", "AccessDenied.Unpurchased"),
        KEY,
        ("credential", "rotate", "credential", HOUR, 403, "insufficient_quota"),
    ),
    "arrears as 403": (
        403,
        native("Arrearage", "no"),
        KEY,
        ("credential", "rotate", "credential", HOUR, 403, "insufficient_quota"),
    ),
    "not bought as 400": (
        400,
        native("AccessDenied.Unpurchased", "no"),
        KEY,
        ("credential", "rotate", "credential", HOUR, 403, "insufficient_quota"),
    ),
    "access denied": (
        403,
        error("Access denied.", "AccessDenied"),
        KEY,
        ("model", "rotate", "model", HOUR, 404, "model_not_found"),
    ),
    "model denied": (
        403,
        native("Model.AccessDenied", "no"),
        KEY,
        ("model", "rotate", "model", HOUR, 404, "model_not_found"),
    ),
    "no such model": (
        404,
        error("The model `m` does not exist.", "model_not_found"),
        KEY,
        ("model", "rotate", "model", HOUR, 404, "model_not_found"),
    ),
    "no such model, native": (
        404,
        native("ModelNotFound", "no"),
        KEY,
        ("model", "rotate", "model", HOUR, 404, "model_not_found"),
    ),
    "model not supported": (
        400,
        error("model 'x' is not supported", "invalid_parameter_error"),
        KEY,
        ("model", "rotate", "model", HOUR, 404, "model_not_found"),
    ),
    "content": (
        400,
        error("Input data may contain inappropriate content.", "data_inspection_failed"),
        KEY,
        ("client", "reject", None, None, 400, "content_filter"),
    ),
    "content, native": (
        400,
        native("DataInspectionFailed", "no"),
        KEY,
        ("client", "reject", None, None, 400, "content_filter"),
    ),
    "content, filtered": (
        400,
        error("no", "content_filter"),
        KEY,
        ("client", "reject", None, None, 400, "content_filter"),
    ),
    "parameter": (
        400,
        native("InvalidParameter", "temperature is wrong"),
        KEY,
        ("client", "reject", None, None, 400, "InvalidParameter"),
    ),
    "parameter, compatible": (
        400,
        error("no", "invalid_parameter_error"),
        KEY,
        ("client", "reject", None, None, 400, "invalid_parameter_error"),
    ),
    "parameter, of a request": (
        400,
        error("no", "invalid_request_error"),
        KEY,
        ("client", "reject", None, None, 400, "invalid_request_error"),
    ),
    "input too long": (
        400,
        error("<400> Range of input length should be [1, 98304]", "invalid_parameter_error"),
        KEY,
        ("client", "reject", None, None, 400, "context_length_exceeded"),
    ),
    "context too long": (
        400,
        error("This model's maximum context length is 9 tokens"),
        KEY,
        ("client", "reject", None, None, 400, "context_length_exceeded"),
    ),
    "context too long, by its code": (
        400,
        error("too long", "context_length_exceeded"),
        KEY,
        ("client", "reject", None, None, 400, "context_length_exceeded"),
    ),
    "body too large, compatible": (
        413,
        error("no", "request_too_large"),
        KEY,
        ("client", "reject", None, None, 413, "request_too_large"),
    ),
    "body too large": (
        413,
        native("BadRequest.TooLarge", "no"),
        KEY,
        ("client", "reject", None, None, 413, "BadRequest.TooLarge"),
    ),
    "timeout": (408, native("RequestTimeOut", "slow"), KEY, ("provider", "retry", None, None, 504, "timeout")),
    "internal": (500, native("InternalError", "oops"), KEY, ("provider", "retry", None, None, 502, "upstream_error")),
    "internal, algorithm": (
        500,
        native("InternalError.Algo", "oops"),
        KEY,
        ("provider", "retry", None, None, 502, "upstream_error"),
    ),
    "502": (502, b"", KEY, ("provider", "retry", None, None, 502, "upstream_error")),
    "model unavailable": (
        503,
        native("ModelUnavailable", "later"),
        KEY,
        ("provider", "retry", None, None, 503, "server_is_overloaded"),
    ),
    "service unavailable": (
        503,
        native("ServiceUnavailable", "later"),
        KEY,
        ("provider", "retry", None, None, 503, "server_is_overloaded"),
    ),
    "504": (504, b"", KEY, ("provider", "retry", None, None, 504, "timeout")),
    "529": (529, b"", KEY, ("provider", "retry", None, None, 503, "server_is_overloaded")),
    "no coding agent": (405, NOT_AN_AGENT, KEY, ("provider", "fail_over", None, None, 502, "upstream_misconfigured")),
    "529, with nothing said": (529, {}, KEY, ("provider", "retry", None, None, 503, "server_is_overloaded")),
    "wrong base": (404, b"", KEY, ("provider", "fail_over", None, None, 502, "upstream_misconfigured")),
    "page, 200": (200, PAGE, LOGIN, ("provider", "rotate", "credential", None, 502, "upstream_error")),
    "page, 403": (403, PAGE, LOGIN, ("provider", "rotate", "credential", None, 502, "upstream_error")),
    "page, 405": (405, PAGE, LOGIN, ("provider", "rotate", "credential", None, 502, "upstream_error")),
    "page inside a response": (
        None,
        error(PAGE_WORDS, "firewall_page"),
        LOGIN,
        ("provider", "rotate", "credential", None, 502, "upstream_error"),
    ),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_failure_means_what_the_table_says(row):
    status, body, kind, (fault, following, rest, cooldown_s, expected, code) = row

    decision = decide_failure(failed(status, body, kind=kind))

    assert (decision.fault, decision.next, decision.cooldown) == (fault, following, rest)
    assert decision.cooldown_s == (pytest.approx(cooldown_s) if cooldown_s is not None else None)
    assert (decision.error.status, decision.error.code) == (expected, code)


def test_a_rate_limit_causes_a_cooldown_of_the_stated_length():
    assert decide_failure(failed(429, native("Throttling", "x"), **{"retry-after": "7"})).cooldown_s == 7
    assert decide_failure(failed(429, native("Throttling", "x"), **{"retry-after-ms": "2500"})).cooldown_s == 2.5


def test_a_window_without_a_reset_time_cools_down_ever_longer():
    assert decide_failure(failed(429, error("hour allocated quota exceeded"))).back_off_s == (HOUR, 2 * HOUR, 5 * HOUR)


# 8.3: the message about a key that is used in the wrong place
WRONG_PLACE = {
    "no key of the plan": (401, error("invalid access token or token expired"), "work only on coding hosts"),
    "a plan's key elsewhere": (403, error("invalid api-key"), "accept no others"),
    "another region": (401, error("Incorrect API key provided."), "another region"),
    "deleted": (401, native("InvalidApiKey", "no"), "was deleted"),
    "a base without a version": (404, b"", "/compatible-mode/v1"),
}


@pytest.mark.parametrize(("status", "body", "expected"), WRONG_PLACE.values(), ids=WRONG_PLACE)
def test_a_key_in_the_wrong_place_names_the_right_place(status, body, expected):
    assert expected in decide_failure(failed(status, body)).error.message


def test_a_login_is_refreshed_whichever_status_refuses_it():
    assert decide_failure(failed(403, error("Token expired"), kind=LOGIN)).refresh
    assert not decide_failure(failed(403, PAGE, kind=LOGIN)).refresh


def test_a_refusal_says_why():
    words = error("invalid access token or token expired")

    assert DISCONTINUED in decide_failure(failed(401, words, kind=LOGIN)).error.message
    assert "another region" in decide_failure(failed(401, words, kind=KEY)).error.message
    assert "user_agent" in decide_failure(failed(405, NOT_AN_AGENT)).error.message
    assert "/compatible-mode/v1" in decide_failure(failed(404, b"")).error.message


def test_a_firewall_page_is_never_shown_and_is_retried():
    decision = decide_failure(failed(405, PAGE, **{"content-type": "text/html"}))

    assert "aliyun" not in decision.error.message
    assert decision.error.retry_after_s == 5
    assert decision.back_off_s == (5, 15, 45)


def test_wording_that_clients_recognise_is_kept():
    expected = decide_failure(failed(400, error("Range of input length should be [1, 98304]"))).error

    assert expected.message == "Range of input length should be [1, 98304]"
