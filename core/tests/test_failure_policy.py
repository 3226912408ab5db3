"""What failures mean."""

import json
from datetime import UTC, datetime
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_core import (
    ErrorRules,
    FailureKind,
    ProxyError,
    UpstreamFailure,
    classify_by_rules,
    classify_failure,
    decision_for,
    read_error,
)
from proxy_core.failures.policy import UNPAID_COOLDOWN_S

# Whose words the core's tables (failures/kinds.py) hold:
# - codes: OpenAI (platform.openai.com, error codes), Anthropic, google.api.ErrorReason, llama.cpp's server;
# - types that are often untrue: Mistral's capacity and Anthropic's billing errors are ``invalid_request_error``;
# - sentences: Google's keys (400 and 403); xAI, 403 and 429 for no credits (warp #14867, continue #10373); Anthropic,
#   400 ``invalid_request_error``; OpenAI; "insufficient balance": api-docs.deepseek.com, and NanoGPT's legacy form;
#   unknown models as a 400: DeepSeek, OpenRouter, DashScope, vLLM, Kimi;
# - 499 is Google's CANCELLED; a limit of 0 and limits per day: gemini-cli googleQuotaErrors.ts.
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def failure(status=None, body=b"", headers=None, transport=None):
    return UpstreamFailure(
        provider="demo", status=status, body=body, headers=headers or {}, transport=transport, received_at=NOW
    )


def openai_error(**fields):
    return json.dumps({"error": {"message": "words", **fields}}).encode()


VERDICTS = [
    # status, fault, next, rest, status told
    (302, "provider", "retry", None, 502),
    (400, "client", "reject", None, 400),
    (401, "credential", "rotate", "credential", 403),
    (402, "credential", "rotate", "credential", 403),
    (403, "credential", "rotate", "credential", 403),
    (404, "provider", "fail_over", None, 502),
    (405, "provider", "fail_over", None, 502),
    (407, "provider", "fail_over", None, 502),
    (408, "provider", "retry", None, 504),
    (409, "provider", "retry", None, 409),
    (410, "provider", "fail_over", None, 502),
    (413, "client", "reject", None, 413),
    (415, "client", "reject", None, 415),
    (418, "client", "reject", None, 418),
    (422, "client", "reject", None, 422),
    (423, "provider", "retry", None, 423),
    (425, "provider", "retry", None, 425),
    (429, "model", "rotate", "quota", 429),
    (451, "credential", "rotate", "credential", 403),
    (498, "credential", "rotate", "credential", 403),
    (499, "provider", "retry", None, 502),
    (500, "provider", "retry", None, 502),
    (501, "provider", "fail_over", None, 502),
    (502, "provider", "retry", None, 502),
    (503, "provider", "retry", None, 503),
    (504, "provider", "retry", None, 504),
    (520, "provider", "retry", None, 502),
    (524, "provider", "retry", None, 504),
    (529, "provider", "retry", None, 503),
]


@pytest.mark.parametrize(("status", "fault", "step", "rest", "told"), VERDICTS)
def test_each_status_has_its_decision(status, fault, step, rest, told):
    decision = classify_failure(failure(status, openai_error()))

    assert (decision.fault, decision.next, decision.cooldown, decision.error.status) == (fault, step, rest, told)


TRANSPORT = [
    ("connect", "network", "retry", 502),
    ("disconnect", "provider", "retry", 502),
    ("timeout", "provider", "fail_over", 504),
    ("cut", "provider", "retry", 502),
    ("unreadable", "provider", "rotate", 502),
]


@pytest.mark.parametrize(("transport", "fault", "step", "told"), TRANSPORT)
def test_each_broken_exchange_has_its_decision(transport, fault, step, told):
    decision = classify_failure(failure(transport=transport))

    assert (decision.fault, decision.next, decision.error.status) == (fault, step, told)


IN_BAND = [
    ({"type": "rate_limit_error"}, 429),
    ({"code": "insufficient_quota"}, 403),
    ({"type": "invalid_request_error"}, 400),
    ({"code": "context_length_exceeded"}, 400),
    ({"type": "overloaded_error"}, 503),
    ({"type": "authentication_error"}, 403),
    ({"type": "permission_error"}, 403),
    ({"type": "not_found_error"}, 404),
    ({"code": "slow_down"}, 503),
    ({"type": "api_error"}, 502),
    ({}, 502),
]


@pytest.mark.parametrize(("error", "told"), IN_BAND)
@pytest.mark.parametrize("status", [None, 200])
def test_an_error_without_a_status_is_read_by_its_words(status, error, told):
    assert classify_failure(failure(status, openai_error(**error))).error.status == told


CREDENTIAL = ("credential", "rotate", "credential")
MODEL = ("model", "rotate", "model")
QUOTA = ("model", "rotate", "quota")
CLIENT = ("client", "reject", None)
UNKNOWN = ("client", "fail_over", None)
SERVER = ("provider", "retry", None)
ADDRESS = ("provider", "fail_over", None)


def says(message, **fields):
    return {"error": {"message": message, **fields}}


def google(status, message="words", code=400, **detail):
    kind = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "domain": "googleapis.com"}
    return {"error": {"code": code, "status": status, "message": message, "details": [{**kind, **detail}]}}


LOST = f"Item with id 'rs_{'0a' * 24}' not found. Items are not persisted when `store` is set to false."
QUOTED = "Invalid value: 'Your credit balance is too low to access the Anthropic API'. Expected a number."
OPENAI_QUOTA = "You exceeded your current quota, please check your plan and billing details."
ANTHROPIC_LOW = "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing."
XAI_SPENT = "Your team 16f2-40f4 has either used all available credits or reached its monthly spending limit."
TOO_LARGE = "Request too large for model `x` on tokens per minute (TPM): Limit 6000, Requested 9000"
LIMIT_0 = "Quota exceeded for metric: free_tier_requests, limit: 0, model: gemini-2.5-pro"
PER_DAY = {"violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}
PER_MINUTE = {"violations": [{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel"}]}

SPENT = "RESOURCE_EXHAUSTED"
WORDS = [
    # Account problems behind whatever status.
    (429, says(OPENAI_QUOTA, type="insufficient_quota", code="insufficient_quota"), CREDENTIAL, 403, 3600),
    (
        400,
        says("Billing hard limit has been reached", code="billing_hard_limit_reached"),
        CREDENTIAL,
        403,
        3600,
    ),
    (400, says(ANTHROPIC_LOW, type="invalid_request_error"), CREDENTIAL, 403, 3600),
    (400, says("This organization has been disabled.", type="invalid_request_error"), CREDENTIAL, 403, 3600),
    (403, says(XAI_SPENT), CREDENTIAL, 403, 3600),
    (429, {"code": "x", "error": XAI_SPENT}, CREDENTIAL, 403, 3600),
    (402, says("Insufficient Balance", code="invalid_request_error"), CREDENTIAL, 403, 3600),
    (503, says("Insufficient balance"), CREDENTIAL, 403, 3600),
    (402, google(SPENT, "Your prepayment credits are depleted."), CREDENTIAL, 403, 3600),
    (400, google("INVALID_ARGUMENT", "API key not valid.", reason="API_KEY_INVALID"), CREDENTIAL, 403, 300),
    (
        400,
        says("API key expired.", status="INVALID_ARGUMENT"),
        CREDENTIAL,
        403,
        300,
    ),
    (400, says("User location is not supported for the API use.", status="FAILED_PRECONDITION"), CREDENTIAL, 403, 3600),
    (
        403,
        says("words", code="unsupported_country_region_territory"),
        CREDENTIAL,
        403,
        3600,
    ),
    (403, google("PERMISSION_DENIED", reason="CONSUMER_SUSPENDED"), CREDENTIAL, 403, 3600),
    (403, says("Permission denied: Consumer 'api_key:x' has been suspended."), CREDENTIAL, 403, 3600),
    (403, google("PERMISSION_DENIED", reason="TOS_VIOLATION"), CREDENTIAL, 403, 3600),
    (401, says("Your account has been deactivated", code="account_deactivated"), CREDENTIAL, 403, 3600),
    (
        401,
        says("Incorrect API key", type="invalid_request_error", code="invalid_api_key"),
        CREDENTIAL,
        403,
        300,
    ),
    # This credential, this model.
    (403, says("Project `p` does not have access to model `gpt-5`", code="model_not_found"), MODEL, 404, 3600),
    (403, says("You do not have access to this model."), MODEL, 404, 3600),
    (403, says("The model is not enabled for your key."), MODEL, 404, 3600),
    (429, google(SPENT, LIMIT_0, 429), MODEL, 429, 3600),
    # Rates and quotas.
    (429, says(OPENAI_QUOTA), QUOTA, 429, 3600),
    (429, google(SPENT, OPENAI_QUOTA, 429, **PER_MINUTE), QUOTA, 429, None),
    (
        429,
        google(SPENT, OPENAI_QUOTA + " Please retry in 9s.", 429, **PER_DAY),
        QUOTA,
        429,
        3600,
    ),
    (
        429,
        google(SPENT, "Your quota will reset after 2h", 429, reason="QUOTA_EXHAUSTED"),
        QUOTA,
        429,
        7200,
    ),
    (
        429,
        google(SPENT, code=429, metadata={"quota_limit": "XRequestsPerDay"}),
        QUOTA,
        429,
        3600,
    ),
    (429, google(SPENT, code=429, reason="RATE_LIMIT_EXCEEDED"), QUOTA, 429, None),
    (429, says("used up", type="usage_limit_reached", resets_in_seconds=600), QUOTA, 429, 600),
    (400, says("You have reached your specified API usage limits."), QUOTA, 429, 3600),
    (429, says("Service tier capacity exceeded for this model.", type="invalid_request_error"), QUOTA, 429, None),
    (403, says("User Rate Limit Exceeded", code="rateLimitExceeded"), QUOTA, 429, None),
    (500, says("x", type="rate_limit_error"), QUOTA, 429, None),
    (502, says("Upstream: too many requests"), QUOTA, 429, None),
    # One request above the limit of an account: neither a reason to rest nor to try every key.
    (429, says(TOO_LARGE, code="rate_limit_exceeded"), UNKNOWN, 413, None),
    (413, says(TOO_LARGE, code="rate_limit_exceeded"), UNKNOWN, 413, None),
    # The upstream's own trouble.
    (429, google(SPENT, code=429, reason="MODEL_CAPACITY_EXHAUSTED"), SERVER, 503, None),
    (500, says("The engine is currently overloaded"), SERVER, 503, None),
    (500, says("Overloaded", type="overloaded_error"), SERVER, 503, None),
    (400, says("Overloaded", type="overloaded_error"), SERVER, 503, None),
    # Unknown models.
    (404, says("x", code="model_not_found"), UNKNOWN, 404, None),
    (404, {"error": "model 'x' not found"}, UNKNOWN, 404, None),
    (404, says("Requested entity was not found.", status="NOT_FOUND"), UNKNOWN, 404, None),
    (400, says("Model Not Exist", type="invalid_request_error"), UNKNOWN, 404, None),
    (400, says("openai/nope is not a valid model ID", code=400), UNKNOWN, 404, None),
    (400, says("model `x` is not supported", code="invalid_parameter_error"), UNKNOWN, 404, None),
    # The client's own.
    (404, says(LOST, type="invalid_request_error", param="input"), CLIENT, 404, None),
    (404, says(LOST), CLIENT, 404, None),
    (404, says("File file_011CNha8iCJcU1wXNR6q4V8w not found", type="not_found_error"), CLIENT, 404, None),
    (404, says("No such File object: file-AbCdEfGh1234567", param="id"), CLIENT, 404, None),
    (404, says("Invalid URL (POST /v1/responses)", type="invalid_request_error"), ADDRESS, 502, None),
    (404, says("Unknown request URL: POST /openai/v1/chat_completions12 not found"), ADDRESS, 502, None),
    (404, says("File Not Found", code=404), ADDRESS, 502, None),
    (404, says("Not Found", type="not_found_error"), ADDRESS, 502, None),
    (404, says("Resource not found", code="404"), ADDRESS, 502, None),
    (400, says(QUOTED, type="invalid_request_error", param="input"), CLIENT, 400, None),
    (400, says(QUOTED), CLIENT, 400, None),
    (400, says(ANTHROPIC_LOW, param="messages"), CLIENT, 400, None),
    (400, says("Invalid 'tools[0]': quota_exceeded is no type; see billing"), CLIENT, 400, None),
    (400, says("too long", code="context_length_exceeded"), CLIENT, 400, None),
    (400, says("flagged", code="content_filter"), CLIENT, 400, None),
    (403, says("flagged", code="content_policy_violation"), CLIENT, 403, None),
    (422, {"detail": [{"loc": ["body", "billing"], "msg": "insufficient balance"}]}, CLIENT, 422, None),
    (400, says("this model does not support tools"), CLIENT, 400, None),
]


@pytest.mark.parametrize(("status", "body", "course", "told", "cooldown_s"), WORDS)
def test_words_say_more_than_the_status(status, body, course, told, cooldown_s):
    decision = classify_failure(failure(status, json.dumps(body).encode()))

    assert (decision.fault, decision.next, decision.cooldown) == course
    assert (decision.error.status, decision.cooldown_s) == (told, cooldown_s)


def test_a_firewalls_page_blames_no_credential_and_is_not_passed_on():
    decision = classify_failure(failure(403, b"<!doctype html><p>blocked"))

    assert (decision.next, decision.cooldown, decision.error.status) == ("retry", None, 502)
    assert "html" not in decision.error.message


def test_words_about_our_account_do_not_reach_the_client():
    for status, words in ((401, "Incorrect API key provided: sk-ab***yz"), (403, XAI_SPENT), (402, "org-1 owes")):
        decision = classify_failure(failure(status, json.dumps(says(words)).encode()))
        assert words[-8:] not in decision.error.message


def test_an_unknown_model_is_the_clients_404():
    for body in (openai_error(code="model_not_found"), b'{"error":"model \'x\' not found"}'):
        decision = classify_failure(failure(404, body))
        assert (decision.error.status, decision.error.code, decision.next) == (404, "model_not_found", "fail_over")


@pytest.mark.parametrize(
    "message",
    [
        "The model `m` does not exist or you do not have access to it.",
        "The model m does not exist or your team 1 does not have access to it.",
        "Model not found, inaccessible, and/or not deployed",
    ],
)
@pytest.mark.parametrize("code", ["model_not_found", None])
def test_a_model_that_one_key_may_not_have_is_sought_with_another(message, code):
    decision = classify_failure(failure(404, openai_error(message=message, code=code)))

    assert (decision.error.status, decision.error.code) == (404, "model_not_found")
    assert (decision.fault, decision.next, decision.cooldown) == ("model", "rotate", "model")
    assert decision.error.message == message


def test_a_hint_decides_the_cooldown_and_the_retry_after_for_the_client():
    decision = classify_failure(failure(429, openai_error(), {"retry-after": "7"}))

    assert (decision.cooldown_s, decision.error.retry_after_s) == (7, 7)


def test_a_hint_of_zero_still_causes_a_short_cooldown():
    assert classify_failure(failure(429, openai_error(), {"retry-after": "0"})).cooldown_s == 1


def test_the_reset_of_a_limit_does_not_heal_an_account():
    headers = {"x-ratelimit-reset-requests": "6s", "x-ratelimit-remaining-requests": "0"}
    unpaid = classify_failure(failure(429, openai_error(code="insufficient_quota"), headers))
    told = classify_failure(failure(402, openai_error(), {**headers, "retry-after": "20"}))

    assert (unpaid.cooldown_s, told.cooldown_s) == (UNPAID_COOLDOWN_S, 20)


OUTAGES = [
    # status, message, retry-after, next, rest, seconds
    (503, "try later", "5", "retry", None, None),
    (503, "try later", "40", "rotate", "model", 40),
    (503, "try later", "4000", "rotate", "model", 300),
    (503, "The model x is overloaded", "40", "rotate", "model", 40),
    (529, "Overloaded", "40", "rotate", "model", 40),
    (502, "bad gateway", "40", "rotate", "model", 40),
]


@pytest.mark.parametrize(("status", "message", "retry_after", "step", "rest", "cooldown_s"), OUTAGES)
def test_an_upstream_that_asks_for_a_pause_gets_it(status, message, retry_after, step, rest, cooldown_s):
    decision = classify_failure(failure(status, json.dumps(says(message)).encode(), {"retry-after": retry_after}))

    assert (decision.next, decision.cooldown, decision.cooldown_s) == (step, rest, cooldown_s)
    assert decision.error.retry_after_s == float(retry_after)


def test_a_vendors_rules_come_first():
    rules = ErrorRules(codes={"1113": "unpaid"}, messages={"flow": "overloaded"}, statuses={412: "no_model"})

    def judged(status, **fields):
        return classify_by_rules(failure(status, openai_error(**fields)), rules).error.code

    assert judged(429, code="1113") == "insufficient_quota"
    assert judged(429, code=1113) == "insufficient_quota"
    assert judged(400, message="Flow control") == "server_is_overloaded"
    assert judged(412) == "model_not_found"
    assert classify_by_rules(failure(400, openai_error()), rules).error.status == 400


ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=20)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from("error message code type status param details metadata reason violations".split()),
            inner,
            max_size=5,
        ),
    ),
)


@given(st.one_of(st.none(), st.integers(100, 999)), st.one_of(st.binary(max_size=80), ANYTHING))
def test_every_failure_has_a_decision_with_an_error_for_the_client(status, body):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    decision = classify_failure(failure(status, body))

    assert 400 <= decision.error.status < 600
    assert decision.error.status not in (401, 402)
    assert decision.cooldown is None or decision.next in ("rotate", "fail_over")


@pytest.mark.parametrize("meaning", get_args(FailureKind))
def test_every_failure_kind_has_a_decision(meaning):
    failed = failure(400, openai_error())

    assert isinstance(decision_for(meaning, failed, 400, read_error(failed.body)).error, ProxyError)


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
    "problem": (b'{"status":429,"title":"Too Many"}', ("Too Many", None, None, None)),
    "nested": (b'{"error":{"message":"{\\"error\\":{\\"message\\":\\"words\\"}}"}}', ("words", None, None, None)),
    "cut off": (b'{"error":{"mess', (None, None, None, None)),
    "nothing": (b"", (None, None, None, None)),
    "number": (b"3", (None, None, None, None)),
}


@pytest.mark.parametrize("case", BODIES.values(), ids=BODIES)
def test_error_bodies_of_all_shapes_are_read(case):
    body, wanted = case
    error = read_error(body)

    assert (error.message, error.type, error.code, error.param) == wanted


# --- Error bodies of a vendor's own shape ---------------------------------------------------------

OWN = ErrorRules(
    message="fault.text", code="fault.kind", retry_after="faults.0.wait", codes={"napping": "rate_limited"}
)


@pytest.mark.parametrize("wait", [12, "12", "12s", "2026-01-02T03:04:17Z", 12.0])
def test_a_vendors_own_places_are_read(wait):
    body = json.dumps({"fault": {"text": "I nap.", "kind": "Napping"}, "faults": [{"wait": wait}]}).encode()

    decision = classify_by_rules(failure(503, body, {"retry-after": "99"}), OWN)

    assert (decision.fault, decision.next, decision.cooldown) == ("model", "rotate", "quota")
    assert decision.cooldown_s == decision.error.retry_after_s == 12
    assert decision.error.message.endswith("Message: I nap.")


@pytest.mark.parametrize(
    "own",
    [
        {},
        {"fault": "x"},
        {"fault": {"text": 3, "kind": True}, "faults": []},
        {"faults": [{"wait": "soon"}]},
        {"faults": 1},
    ],
)
def test_where_a_path_leads_nowhere_the_common_shapes_are_read(own):
    body = json.dumps({**own, "error": {"message": "Slow down.", "code": "rate_limit_exceeded"}}).encode()

    decision = classify_by_rules(failure(429, body, {"retry-after": "7"}), OWN)

    assert decision.cooldown_s == 7
    assert decision.error.message.endswith("Message: Slow down.")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"<html>", b'"text"', b"[[[[1]]]]"])
def test_own_places_in_no_json_are_nowhere(body):
    assert classify_by_rules(failure(500, body), OWN).fault == "provider"
