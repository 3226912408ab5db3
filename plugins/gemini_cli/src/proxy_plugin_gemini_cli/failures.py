"""Decide on failures of Code Assist, whose logins have tiers, licences and projects."""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec.structs import replace

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
_PAGES = ("validation_url", "validation_link", "appeal_url", "activationUrl", "activation_url")
_PROJECT = re.compile(r"\bprojects?[/ :=]+([a-z0-9][a-z0-9:.-]{0,62}[a-z0-9]|\d+)")
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
    code, advice = owner_advice(error, info)
    client_error = CredentialRefused(f"{failure.provider} refused this proxy's credential: {advice}.", code=code)
    return FailureDecision(
        fault="credential",
        next="rotate",
        cooldown="credential",
        cooldown_s=_OWNER_COOLDOWN_S,
        error=client_error,
        disable_until_login=info.reason in _UNTIL_LOGIN,
        suspect_details=[PROJECT] if info.reason in _SUSPECT_PROJECT else (),
    )


def owner_advice(error: GoogleError, info: Info) -> tuple[str, str]:
    """The code for clients, and what the owner of the account has to do: where, for which project, and why."""
    code, advice = ADVICE[info.reason]
    url, project = _url(error, info), _project(error, info)
    about = f"{info.reason}, project {project}" if project else info.reason
    return code, f"{advice.format(url=f' ({url})' if url else '')} ({about})"


def _project(error: GoogleError, info: Info) -> str | None:
    """The project that Google names: in the metadata, else in its sentence."""
    named = [info.metadata.get(name, "") for name in ("consumer", "containerInfo", "resource")]
    found = (_PROJECT.search(text) for text in (*named, error.message))
    return next((match[1] for match in found if match), None)


def _url(error: GoogleError, info: Info) -> str | None:
    """The page where the owner can act. Without their queries, the pages do not know for what."""
    found = [info.metadata[name] for name in _PAGES if info.metadata.get(name)] or list(error.links)
    url = next((u for u in found if u.startswith("https://") and u.isprintable() and len(u) < 1000), None)
    return url.partition("?")[0] if url is not None and info.reason == "TOS_VIOLATION" else url
