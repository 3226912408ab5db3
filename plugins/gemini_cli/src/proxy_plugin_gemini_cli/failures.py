"""What follows from a refusal of Code Assist's, whose logins have tiers, licences and projects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from proxy_core import ErrorBody, FailureDecision, Unavailable, UpstreamFailure
from proxy_core import classify_failure as classify_any
from proxy_plugin_gemini import GoogleError, Info, decide_failure

#: Somebody has to act: it is asked again once a day at most.
_OWNER_REST_S = 86_400.0
#: 403 reasons: the code for clients, and the advice. ``{url}`` is the error's own link, where it has one.
ADVICE: Mapping[str, tuple[str, str]] = {
    "VALIDATION_REQUIRED": (
        "validation_required",
        "its account has to be verified by its owner{url}; log in again then",
    ),
    "SUBSCRIPTION_REQUIRED": ("account_ineligible", "its account has no Gemini Code Assist licence in its project"),
    "SERVICE_DISABLED": (
        "project_required",
        "the Gemini for Google Cloud API is switched off in its project: switch it on{url}, or set another project",
    ),
    "CONSUMER_INVALID": ("project_required", "its project does not exist or may not be used: set another one"),
    "IAM_PERMISSION_DENIED": (
        "account_ineligible",
        "its account may not use its project: ask for the role cloudaicompanion.user",
    ),
    "TOS_VIOLATION": (
        "account_ineligible",
        "its account was disabled for a breach of terms{url}; do not use it further",
    ),
    "SECURITY_POLICY_VIOLATED": ("account_ineligible", "its organisation's VPC Service Controls do not let it in"),
    "ACCESS_TOKEN_SCOPE_INSUFFICIENT": ("reauthentication_required", "its login lacks a scope: log in again"),
    "UNSUPPORTED_CLIENT": ("account_ineligible", "accounts of its kind are no longer served since 18 June 2026"),
}


#: It may be the project that is wrong, which may have changed: it is looked up anew, once.
_OF_PROJECT = frozenset({"SUBSCRIPTION_REQUIRED", "SERVICE_DISABLED", "CONSUMER_INVALID", "IAM_PERMISSION_DENIED"})
PROJECT = "project_id"
#: Asking again would only make it worse, or is of no use before its owner has acted.
_FOR_GOOD = frozenset({"TOS_VIOLATION", "VALIDATION_REQUIRED"})


def classify_failure(failure: UpstreamFailure) -> FailureDecision:
    """As for the public API, but for what the login's owner has to do."""
    return decide_failure(failure, forbidden=_forbidden)


def _forbidden(failure: UpstreamFailure, error: GoogleError, words: ErrorBody) -> FailureDecision:
    info = error.info(*ADVICE)
    if info is None:
        decision = classify_any(failure)
        return replace(decision, suspect_details=[PROJECT]) if decision.cooldown == "credential" else decision
    code, advice = ADVICE[info.reason]
    url = _url(error, info)
    text = f"{failure.provider} refused this proxy's credential: {advice.format(url=f' ({url})' if url else '')}."
    told = Unavailable(text, code=code)
    return FailureDecision(
        fault="credential",
        next="rotate",
        cooldown="credential",
        cooldown_s=_OWNER_REST_S,
        error=told,
        disable_until_login=info.reason in _FOR_GOOD,
        suspect_details=[PROJECT] if info.reason in _OF_PROJECT else (),
    )


def _url(error: GoogleError, info: Info) -> str | None:
    """Where its owner can act. A query may name the project or the account, so only a verification keeps its own."""
    names = ("validation_url", "appeal_url", "activationUrl")
    found = [info.metadata[name] for name in names if info.metadata.get(name)] or list(error.links)
    url = next((u for u in found if u.startswith("https://") and u.isprintable() and len(u) < 1000), None)
    if url is None or info.reason == "VALIDATION_REQUIRED":
        return url
    return url.partition("?")[0]
