"""What Anthropic's errors mean, where the core's own tables do not know it: data, and one kind of message. Pure."""

from __future__ import annotations

import re

from msgspec.structs import replace

from proxy_core import (
    ErrorRules,
    FailureDecision,
    UpstreamFailure,
    classify_by_rules,
    decision_for,
    read_error,
)

RULES = ErrorRules(
    messages={
        # 404: unknown, or not for this account.
        r"model: ": "no_model_here",
        r"model \S{1,100} is not available": "no_model_here",
        # 403, from the network in front of the API: the country of the caller is not served.
        r"request not allowed": "disabled",
        # 429: what the plan does not include, whatever the request rate.
        r"extra usage is required for long context": "too_large",
        r"the long context beta is not yet available": "too_large",
    }
)
_TOO_LONG = re.compile(r"(prompt|input) is too long|input length and `max_tokens` exceed context limit", re.I)


def classify_failure(failure: UpstreamFailure) -> FailureDecision:
    if failure.transport is None and failure.status in (400, 413, None):
        error = read_error(failure.body)
        if error.message is not None and _TOO_LONG.match(error.message):
            return decision_for("client", failure, 400, replace(error, code="context_length_exceeded"))
    return classify_by_rules(failure, RULES)
