"""What Anthropic's errors mean, where the core's own tables do not know it."""

from __future__ import annotations

from proxy_core import ErrorRules, FailureDecision, UpstreamFailure, classify_by_rules

RULES = ErrorRules(
    code="error.details.error_code",
    codes={"thread_not_found": "client"},
    messages={
        # 404: unknown, or not for this account.
        r"model: ": "no_model_here",
        r"model \S{1,100} is not available": "no_model_here",
        # 403, from the network in front of the API: the country of the caller is not served.
        r"request not allowed": "disabled",
        # 429: what the plan does not include, whatever the request rate.
        r"extra usage is required for long context": "too_large",
        r"the long context beta is not yet available": "too_large",
    },
)


def classify_failure(failure: UpstreamFailure) -> FailureDecision:
    return classify_by_rules(failure, RULES)
