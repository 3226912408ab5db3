"""Errors for Anthropic's clients: statuses, types, and the words that agents act on."""

import json

import pytest

from proxy_core import (
    BadRequest,
    CapacityExhausted,
    CredentialRefused,
    Forbidden,
    InternalError,
    ModelNotFound,
    Unavailable,
    UpstreamBroken,
    UpstreamFailure,
    UpstreamRejected,
    UpstreamTimeout,
    classify_failure,
    sse,
)
from proxy_core.dialects.common import missing, wrong_type
from proxy_plugin_anthropic.dialect.errors import encode_error, stream_error

NO_KEY = Unavailable("No credential.", code="no_credential")
NO_KEY.waiting_helps = False


def rejected_by_upstream(said):
    body = json.dumps({"error": {"message": said}}).encode()
    return classify_failure(UpstreamFailure(provider="demo", status=400, body=body)).error


def body_of(error):
    encoded = encode_error(error, "req_1")
    return encoded.status, json.loads(encoded.body)


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (BadRequest("x"), 400, "invalid_request_error"),
        (UpstreamRejected("x", status=400), 400, "invalid_request_error"),
        (UpstreamRejected("x", status=422), 422, "invalid_request_error"),
        (UpstreamRejected("x", status=413), 413, "request_too_large"),
        (UpstreamRejected("x", status=404), 400, "not_found_error"),
        (UpstreamRejected("x", status=409), 409, "conflict_error"),
        (UpstreamRejected("x", status=400, type="not_found_error"), 400, "not_found_error"),
        (UpstreamRejected("x", status=400, type="BadRequestError"), 400, "invalid_request_error"),
        (Forbidden("x"), 403, "permission_error"),
        (CredentialRefused("x"), 403, "permission_error"),
        (ModelNotFound("x"), 400, "not_found_error"),
        (CapacityExhausted("x"), 429, "rate_limit_error"),
        (InternalError("x"), 500, "api_error"),
        (UpstreamBroken("x"), 502, "api_error"),
        (Unavailable("x"), 529, "overloaded_error"),
        (NO_KEY, 503, "api_error"),
        (UpstreamTimeout("x"), 504, "timeout_error"),
    ],
)
def test_statuses_and_types(error, status, kind):
    found, body = body_of(error)

    assert (found, body["type"], body["error"]["type"], body["request_id"]) == (status, "error", kind, "req_1")
    (event,) = sse.events(stream_error(error, "req_1"))
    assert (event.name, json.loads(event.data)) == ("error", body)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (missing("messages.0.role"), "messages.0.role: Field required"),
        (wrong_type("max_tokens", "an integer"), "max_tokens: Input should be an integer"),
        (
            wrong_type("messages.0.role", "'user' or 'assistant'"),
            "messages.0.role: Input should be 'user' or 'assistant'",
        ),
        (BadRequest("own words", param="tools"), "own words"),
    ],
)
def test_a_wrong_field_in_anthropics_words(error, message):
    assert body_of(error)[1]["error"]["message"] == message


@pytest.mark.parametrize(
    ("said", "numbers"),
    [
        ("prompt is too long: 210000 tokens > 200000 maximum", (210000, 200000)),
        (
            "This model's maximum context length is 128000 tokens. However, your messages resulted in 130001 tokens. "
            "Please reduce the length of the messages.",
            (130001, 128000),
        ),
        (
            "This model's maximum context length is 8192 tokens. However, you requested 10000 tokens (9000 in the "
            "messages, 1000 in the completion).",
            (9000, 8192),
        ),
        (
            "This model's maximum context length is 32768 tokens. However, your request has 40000 input tokens.",
            (40000, 32768),
        ),
        (
            "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
            (1200000, 1048576),
        ),
        (
            "Prompt contains 65000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
            (65000, 32768),
        ),
        ("Range of input length should be [1, 129024]", None),
        ("the request exceeds the available context size. try increasing the context size", None),
        ("Your input exceeds the context window of this model.", None),
        ("context_length_exceeded", None),
    ],
)
def test_an_overflow_is_said_so_that_agents_compact(said, numbers):
    message = body_of(rejected_by_upstream(said))[1]["error"]["message"]

    assert message.startswith("prompt is too long: ")
    if numbers is None:
        assert said in message
    else:
        assert message == f"prompt is too long: {numbers[0]} tokens > {numbers[1]} maximum"


def test_a_response_that_is_too_long_is_told_with_the_numbers_that_agents_read():
    said = (
        "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens (8000 in the messages, "
        "1000 in the completion)."
    )
    message = body_of(rejected_by_upstream(said))[1]["error"]["message"]

    assert message == (
        "input length and `max_tokens` exceed context limit: 8000 + 1000 > 8192, "
        "decrease input length or `max_tokens` and try again"
    )


@pytest.mark.parametrize(
    "said",
    [
        "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
        "max_tokens is too large: 64000. This model supports at most 16384 completion tokens",
        "The image exceeds the size limit of 5 MB",
        "Invalid value: 'x'",
    ],
)
def test_other_faults_keep_their_words(said):
    assert body_of(rejected_by_upstream(said))[1]["error"]["message"] == said
