"""What a failure means, by its provider's account, else by the core's; without any secret of ours."""

from __future__ import annotations

from dataclasses import replace

from proxy_core.errors import InternalError
from proxy_core.failures.policy import classify_failure
from proxy_core.interfaces import FailureDecision, Provider
from proxy_core.messages import UpstreamFailure
from proxy_core.records.redact import SecretScrubber


def classified(failure: UpstreamFailure, provider: Provider, scrub: SecretScrubber) -> FailureDecision:
    """Secrets that an upstream repeats are taken out of its words first, and of the message made of them."""
    try:
        classify = provider.classify_failure or classify_failure
        decision = classify(replace(failure, body=scrub.bytes(failure.body)))
        message = scrub.text(decision.error.message)  # JSON spells secrets in escapes
        decision.error.message, decision.error.args = message, (message,)
        return decision
    except Exception as error:  # a plugin's classification may fail in any way
        broken = InternalError(f"The provider {provider.name!r} could not classify a failure.")
        broken.__cause__ = error
        return FailureDecision(fault="provider", next="fail_over", error=broken)
