"""The failure policy: the core's decision about a failed attempt, and the parts from which vendors' are built.

Pure: a failure in, a decision out. :mod:`~proxy_core.failures.kinds` determines the kind of a failure; a table here
maps the kind to a decision, and :mod:`~proxy_core.failures.client_errors` to the client's error. A client's own
mistake is never retried elsewhere; an upstream's 401 or 403 concerns this proxy's credential and never reaches the
client as 401.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from proxy_core.errors import ProxyError
from proxy_core.failures.client_errors import client_error, transport_error
from proxy_core.failures.error_body import MESSAGE_LIMIT, ErrorBody, at_path, read_error
from proxy_core.failures.kinds import ErrorRules, FailureKind, failure_kind
from proxy_core.failures.rate_limit_headers import stated_wait_s, wait_s
from proxy_core.interfaces import FailureDecision
from proxy_core.messages import CONNECT_TIMED_OUT, TransportFault, UpstreamFailure

#: The owner may repair a rejected credential soon; anything that needs a payment, an appeal or an
#: upgrade rarely changes within the hour. The core probes before the cooldown ends.
REFUSED_COOLDOWN_S = 300.0
UNPAID_COOLDOWN_S = 3600.0
#: For a quota with an unknown reset, which is mostly hours or a day away; an hourly probe finds out.
QUOTA_COOLDOWN_S = 3600.0
#: A wait this short is spent with the same credential (parity: SMALL_COOLDOWN_RETRY_THRESHOLD).
SHORT_WAIT_S = 10.0
#: An overload rarely lasts longer, whatever the upstream asks for.
OUTAGE_COOLDOWN_S = 300.0
#: A hint of "0 s" would send the next request straight into the same limit.
_MIN_COOLDOWN_S = 1.0


class _Action(Struct, frozen=True):
    """What a kind of failure calls for. ``cooldown_s=None``: the core's back-off unless there is a hint."""

    fault: Literal["client", "credential", "model", "provider", "network"]
    next: Literal["retry", "rotate", "fail_over", "reject"]
    cooldown: Literal["credential", "quota", "model", "provider"] | None = None
    cooldown_s: float | None = None


_ACTIONS: Mapping[FailureKind, _Action] = {
    "client": _Action("client", "reject"),
    "too_long": _Action("client", "reject"),
    # Every key of an account has the same limit, so trying them all would be pointless.
    "too_large": _Action("client", "fail_over"),
    "no_model": _Action("client", "fail_over"),
    "no_model_here": _Action("model", "rotate", "model", REFUSED_COOLDOWN_S),
    "model_denied": _Action("model", "rotate", "model", UNPAID_COOLDOWN_S),
    "not_included": _Action("model", "rotate", "model", UNPAID_COOLDOWN_S),
    "refused": _Action("credential", "rotate", "credential", REFUSED_COOLDOWN_S),
    "disabled": _Action("credential", "rotate", "credential", UNPAID_COOLDOWN_S),
    "unpaid": _Action("credential", "rotate", "credential", UNPAID_COOLDOWN_S),
    "rate_limited": _Action("model", "rotate", "quota"),
    "quota": _Action("model", "rotate", "quota", QUOTA_COOLDOWN_S),
    "overloaded": _Action("provider", "retry"),
    "conflict": _Action("provider", "retry"),
    "timeout": _Action("provider", "retry"),
    "broken": _Action("provider", "retry"),
    "misconfigured": _Action("provider", "fail_over"),
    "loop": _Action("provider", "fail_over"),
}


#: These concern one path or one request; they must not close the provider's other models and endpoints.
_ANSWERED: frozenset[FailureKind] = frozenset({"misconfigured", "conflict", "loop"})


def classify_failure(failure: UpstreamFailure) -> FailureDecision:
    """The core's decision; a provider's own ``classify_failure`` may call it for failures it does not handle."""
    return classify_by_rules(failure, ErrorRules())


def classify_by_rules(failure: UpstreamFailure, rules: ErrorRules) -> FailureDecision:
    """The core's decision with a vendor's own codes, messages and statuses, wherever its body has them."""
    if failure.transport is not None:
        return _transport_failure(failure, failure.transport)
    error = _at_own_places(failure.body, read_error(failure.body), rules)
    stated = wait_s(at_path(failure.body, rules.retry_after), failure.received_at)
    if stated is not None:
        failure = replace(failure, headers={**failure.headers, "retry-after-ms": str(round(stated * 1000))})
    return decision_for(failure_kind(failure.status, error, rules), failure, failure.status, error)


def _at_own_places(body: bytes, error: ErrorBody, rules: ErrorRules) -> ErrorBody:
    message, code = at_path(body, rules.message), at_path(body, rules.code)
    if isinstance(message, str) and message:
        error = replace(error, message=message[:MESSAGE_LIMIT])
    return error if not isinstance(code, str | int) or isinstance(code, bool) else replace(error, code=str(code))


def classify_status(failure: UpstreamFailure, status: int, error: ErrorBody) -> FailureDecision:
    """The decision for an HTTP status and an error body that replace those of ``failure``."""
    return decision_for(failure_kind(status, error), failure, status, error)


def decision_for(kind: FailureKind, failure: UpstreamFailure, status: int | None, error: ErrorBody) -> FailureDecision:
    """The decision for a failure of a known kind."""
    action, hint = _ACTIONS[kind], _hint(kind, failure)
    told = client_error(kind, failure, status, hint, error)
    if action.cooldown is not None:
        cooldown_s = action.cooldown_s if hint is None else max(hint, _MIN_COOLDOWN_S)
        if kind == "quota" and error.typed and (hint or 0.0) < 60:
            # A daily quota may come with the delay of another limit, mere seconds.
            cooldown_s, told.retry_after_s = QUOTA_COOLDOWN_S, None
        return FailureDecision(
            fault=action.fault, next=action.next, error=told, cooldown=action.cooldown, cooldown_s=cooldown_s
        )
    if action.next == "retry" and hint is not None and hint > SHORT_WAIT_S:
        return _pause(action, told, hint)
    return FailureDecision(fault=action.fault, next=action.next, error=told, answered=kind in _ANSWERED)


def _pause(action: _Action, told: ProxyError, hint: float) -> FailureDecision:
    """The upstream asks for a pause of this credential with this model; whether of others too, they will show."""
    cooldown_s = min(hint, OUTAGE_COOLDOWN_S)
    return FailureDecision(fault=action.fault, next="rotate", error=told, cooldown="model", cooldown_s=cooldown_s)


def _hint(kind: FailureKind, failure: UpstreamFailure) -> float | None:
    headers = failure.headers
    if kind == "not_included":
        return None  # waiting does not help, whatever the error promises
    if kind in ("refused", "disabled", "unpaid", "model_denied"):
        # The limits in these headers are reported as if nothing were wrong with the account.
        headers = {name: headers[name] for name in ("retry-after-ms", "retry-after") if name in headers}
    return stated_wait_s(headers, failure.body, failure.received_at)


def _transport_failure(failure: UpstreamFailure, fault: TransportFault) -> FailureDecision:
    told = transport_error(failure.provider, fault, failure.cause)
    match fault:
        case "connect":
            # Other credentials would not reach the host either: after a retry, the next deployment follows.
            at_once = failure.cause == CONNECT_TIMED_OUT
            return FailureDecision(fault="network", next="fail_over" if at_once else "retry", error=told)
        case "disconnect" | "cut":
            return FailureDecision(fault="provider", next="retry", error=told)
        case "unreadable":
            return FailureDecision(fault="provider", next="rotate", error=told)
        case "timeout":
            # The time limit is generous; an upstream that was silent for minutes is not retried at once.
            return FailureDecision(fault="provider", next="fail_over", error=told)
