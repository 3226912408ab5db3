"""Classifies a failure with the provider's own function or the core's, and removes secrets from its message."""

from __future__ import annotations

from msgspec.structs import replace

from proxy_core.errors import PluginFailed
from proxy_core.failures.policy import classify_failure
from proxy_core.interfaces import FailureDecision, Provider
from proxy_core.messages import UpstreamFailure
from proxy_core.records.redact import SecretScrubber


def classified(failure: UpstreamFailure, provider: Provider, scrub: SecretScrubber) -> FailureDecision:
    """Secrets that an upstream repeats are removed first from its body, then from the resulting message."""
    try:
        classify = provider.classify_failure or classify_failure
        decision = classify(replace(failure, body=scrub.bytes(failure.body)))
        message = scrub.text(decision.error.message)  # JSON spells secrets in escapes
        decision.error.message, decision.error.args = message, (message,)
        return decision
    except PluginFailed as error:
        return FailureDecision(fault="provider", next="fail_over", error=error, answered=True)
