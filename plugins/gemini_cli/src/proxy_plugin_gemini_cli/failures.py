"""Decide on failures of Code Assist, whose logins have tiers, licences and projects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from proxy_core import CredentialRefused, ErrorBody, FailureDecision, UpstreamFailure
from proxy_core import classify_failure as classify_any
from proxy_plugin_gemini import GoogleError, Info, decide_failure

#: The account's owner has to act, so the credential is tried at most once a day.
_OWNER_COOLDOWN_S = 86_400.0
#: Reasons of a 403: the code for clients, and the advice. ``{url}`` is the error's own link, if it has one.
ADVICE: Mapping[str, tuple[str, str]] = {
    "VALIDATION_REQUIRED": (
        "validation_required",
        "the owner has to verify its account{url} and then log in again",
    ),
    "SUBSCRIPTION_REQUIRED": ("account_ineligible", "its account has no Gemini Code Assist licence in its project"),
    "SERVICE_DISABLED": (
        "project_required",
        "the Gemini for Google Cloud API is disabled in its project: enable it{url}, or set another project",
    ),
    "CONSUMER_INVALID": ("project_required", "its project does not exist or may not be used; set another project"),
    "IAM_PERMISSION_DENIED": (
        "account_ineligible",
        "its account has no permission to use its project: request the role cloudaicompanion.user",
    ),
    "TOS_VIOLATION": (
        "account_ineligible",
        "its account was disabled for a violation of terms{url}; stop using it",
    ),
    "SECURITY_POLICY_VIOLATED": ("account_ineligible", "its organisation's VPC Service Controls deny it access"),
    "ACCESS_TOKEN_SCOPE_INSUFFICIENT": ("reauthentication_required", "its login lacks an OAuth scope; log in again"),
    "UNSUPPORTED_CLIENT": ("account_ineligible", "Google has not served accounts of its kind since 18 June 2026"),
}


#: The stored project may be wrong, or may have changed, so it is looked up once more.
_SUSPECT_PROJECT = frozenset({"SUBSCRIPTION_REQUIRED", "SERVICE_DISABLED", "CONSUMER_INVALID", "IAM_PERMISSION_DENIED"})
PROJECT = "project_id"
#: Trying again would make matters worse, or is useless until the owner has acted.
_UNTIL_LOGIN = frozenset({"TOS_VIOLATION", "VALIDATION_REQUIRED"})


def classify_failure(failure: UpstreamFailure) -> FailureDecision:
    """As for the public API, except for refusals that require the login's owner to act."""
    return decide_failure(failure, forbidden=_forbidden)


def _forbidden(failure: UpstreamFailure, error: GoogleError, words: ErrorBody) -> FailureDecision:
    info = error.info(*ADVICE)
    if info is None:
        decision = classify_any(failure)
        return replace(decision, suspect_details=[PROJECT]) if decision.cooldown == "credential" else decision
    code, advice = ADVICE[info.reason]
    url = _url(error, info)
    text = f"{failure.provider} refused this proxy's credential: {advice.format(url=f' ({url})' if url else '')}."
    client_error = CredentialRefused(text, code=code)
    return FailureDecision(
        fault="credential",
        next="rotate",
        cooldown="credential",
        cooldown_s=_OWNER_COOLDOWN_S,
        error=client_error,
        disable_until_login=info.reason in _UNTIL_LOGIN,
        suspect_details=[PROJECT] if info.reason in _SUSPECT_PROJECT else (),
    )


def _url(error: GoogleError, info: Info) -> str | None:
    """The page where the owner can act. A query may name the project or the account, so only the verification link,
    which needs it, keeps its query."""
    names = ("validation_url", "appeal_url", "activationUrl")
    found = [info.metadata[name] for name in names if info.metadata.get(name)] or list(error.links)
    url = next((u for u in found if u.startswith("https://") and u.isprintable() and len(u) < 1000), None)
    if url is None or info.reason == "VALIDATION_REQUIRED":
        return url
    return url.partition("?")[0]
