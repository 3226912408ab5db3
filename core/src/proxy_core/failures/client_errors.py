"""The client's error for each kind of upstream failure: status, code, message and Retry-After, in one table. Pure.

Agents read these, so each row is chosen by what they do with it (docs/dialects.md lists what their users see): they
stop at a 403, retry a 429 or 5xx, and sleep through a Retry-After. There is one only where waiting helps.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct

from proxy_core.errors import (
    AccountUnpaid,
    CapacityExhausted,
    ContextExceeded,
    CredentialRefused,
    ProxyError,
    ProxyLoop,
    StreamCut,
    Unavailable,
    UpstreamBroken,
    UpstreamRejected,
    UpstreamTimeout,
)
from proxy_core.failures.error_body import ErrorBody
from proxy_core.failures.kinds import FailureKind
from proxy_core.failures.overflow import Overflow, overflow
from proxy_core.messages import TransportFault, UpstreamFailure


class _Told(Struct, frozen=True, kw_only=True):
    """``error`` has the status. ``words`` may use ``{name}``, the provider; ``{outcome}``, what it did; and the
    upstream's message as ``{detail}`` (a sentence) or ``{cause}`` (a clause). Messages about the operator's account
    would name it, so their rows use neither, and keep none of the upstream's codes (``quotes``).
    """

    error: type[ProxyError]
    code: str
    words: str
    quotes: bool = True
    waiting_helps: bool = True


_TOLD: Mapping[FailureKind, _Told] = {
    "refused": _Told(
        error=CredentialRefused,
        code="upstream_credential_refused",
        words="{name} rejected this proxy's credential. Its operator has to replace it; waiting does not help.",
        quotes=False,
        waiting_helps=False,
    ),
    "disabled": _Told(
        error=CredentialRefused,
        code="upstream_credential_refused",
        words="{name} rejected this proxy's credential: its account is blocked. Its operator has to act.",
        quotes=False,
        waiting_helps=False,
    ),
    "unpaid": _Told(
        error=AccountUnpaid,
        code="insufficient_quota",
        words="{name} reports that no credit is left. The operator of this proxy has to act; waiting does not help.",
        quotes=False,
        waiting_helps=False,
    ),
    "rate_limited": _Told(error=CapacityExhausted, code="rate_limit_exceeded", words="{name} is rate limited.{detail}"),
    "quota": _Told(error=CapacityExhausted, code="insufficient_quota", words="{name}'s quota is used up.{detail}"),
    "not_included": _Told(
        error=CapacityExhausted,
        code="insufficient_quota",
        words="{name} allows this account no requests of this model.{detail}",
        waiting_helps=False,
    ),
    "overloaded": _Told(error=Unavailable, code="server_is_overloaded", words="{name} is overloaded{cause}"),
    "timeout": _Told(error=UpstreamTimeout, code="timeout", words="{outcome}{cause}"),
    "broken": _Told(error=UpstreamBroken, code="upstream_error", words="{outcome}{cause}"),
    "misconfigured": _Told(
        error=UpstreamBroken,
        code="upstream_error",
        words="{outcome}: its base URL may be wrong.{detail}",
        waiting_helps=False,
    ),
    "loop": _Told(
        error=ProxyLoop, code="proxy_loop", words="{outcome}: its base URL leads back here.", waiting_helps=False
    ),
}
#: For an exchange that ended without a status; ``{cause}`` is what became of it.
_WITHOUT_STATUS: Mapping[TransportFault, _Told] = {
    "connect": _Told(error=UpstreamBroken, code="upstream_error", words="{name} could not be reached{cause}"),
    "disconnect": _Told(error=UpstreamBroken, code="upstream_error", words="{name} closed the connection."),
    "timeout": _Told(error=UpstreamTimeout, code="timeout", words="{name} did not respond in time{cause}"),
    "cut": _Told(error=StreamCut, code="upstream_cut_off", words="{name}'s response ended before it was complete."),
    "unreadable": _Told(
        error=UpstreamBroken, code="upstream_error", words="{name} sent a response that cannot be read{cause}"
    ),
}
_DEFAULT_CAUSES: Mapping[TransportFault, str] = {
    "connect": "it could not be reached",
    "disconnect": "it closed the connection",
    "timeout": "it did not respond in time",
    "cut": "its response was cut off",
    "unreadable": "its response cannot be read",
}
#: The same request may succeed later.
_IN_A_MOMENT = frozenset({409, 423, 425})
#: Codes and types that cannot be anything but names: plain words, or numbers.
_NAME = re.compile(r"[A-Za-z_.]{1,48}|[0-9]{1,6}")


def client_error(
    kind: FailureKind, failure: UpstreamFailure, status: int | None, hint: float | None, error: ErrorBody
) -> ProxyError:
    """The error for the client. ``hint`` is the upstream's own time until it can be tried again, if it named one."""
    name = failure.provider
    if kind in ("client", "conflict"):
        return rejected(status or 400, error)
    if kind == "too_long":
        return _exceeded(error)
    if kind == "too_large":
        return rejected(413, error)
    if kind in ("no_model", "no_model_here", "model_denied"):
        unknown = f"{name} does not know this model."
        gone = unknown if kind == "model_denied" else error.message or unknown
        return UpstreamRejected(gone, status=404, param="model", code="model_not_found")
    redirect = kind == "broken" and status is not None and 300 <= status < 400
    told = _TOLD["misconfigured" if redirect else kind]
    words = told.words.format(
        name=name,
        outcome=f"{name} answered {status}" if status is not None and not 200 <= status < 300 else f"{name} failed",
        detail=f" Message: {error.message}" if error.message else "",
        cause=f": {error.message}" if error.message else ".",
    )
    made = told.error(words, code=told.code, retry_after_s=hint if told.waiting_helps else None)
    made.waiting_helps = told.waiting_helps
    made.own_words = not (told.quotes and error.message)
    made.cause = f"status {status}" if status is not None and not 200 <= status < 300 else f"it sent an error ({kind})"
    return quoting(made, error) if told.quotes else made


def transport_error(name: str, fault: TransportFault, cause: str) -> ProxyError:
    """The error for an exchange without a status. ``cause`` is safe for clients."""
    told = _WITHOUT_STATUS[fault]
    made = told.error(told.words.format(name=name, cause=f": {cause}." if cause else "."), code=told.code)
    made.cause = cause or _DEFAULT_CAUSES[fault]
    return made


def quoting(made: ProxyError, error: ErrorBody) -> ProxyError:
    """``made`` with the upstream's type and code, where these are names."""
    code = error.code if error.number is None else str(error.number)
    made.type = error.type if error.type is not None and _NAME.fullmatch(error.type) else None
    made.upstream_code = code if code is not None and code != made.code and _NAME.fullmatch(code) else None
    return made


def _exceeded(error: ErrorBody) -> ContextExceeded:
    found = overflow(None, error) or Overflow()
    made = ContextExceeded(
        error.message or "The conversation is longer than the model's context.",
        tokens=found.tokens,
        limit=found.limit,
        reserved=found.reserved,
        type=error.type,
        param=error.param,
        details=error.details,
    )
    made.upstream_code = error.code if error.code != made.code else None
    return made


def rejected(status: int, error: ErrorBody) -> UpstreamRejected:
    """The upstream's own error for the client, with its status."""
    # With 401, 402 or 429 the client would suspect its own key, balance or request rate.
    fits = 400 <= status < 500 and status not in (401, 402, 429)
    made = UpstreamRejected(
        error.message or f"The upstream rejected the request with status {status}.",
        status=status if fits else 400,
        type=error.type,
        param=error.param,
        code=error.code,
        details=error.details,
    )
    made.waiting_helps = status in _IN_A_MOMENT
    return made
