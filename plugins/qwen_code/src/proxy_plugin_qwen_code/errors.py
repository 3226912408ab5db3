"""What each of this vendor's failures means: the table of qwen-code.md section 8.2, row by row. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from proxy_core import (
    CredentialRefused,
    ErrorBody,
    FailureDecision,
    FailureKind,
    ProxyError,
    UpstreamBroken,
    UpstreamFailure,
    UpstreamRejected,
    classify_failure,
    decision_for,
    read_error,
)
from proxy_plugin_qwen_code.hosts import KIND
from proxy_plugin_qwen_code.lifecycle import DISCONTINUED
from proxy_plugin_qwen_code.resets import DAY_S, HOUR_S, CooldownS, stated_or, until_midnight, until_monday

#: A refused key or login is not fixed within minutes.
REFUSED_COOLDOWN_S = 6 * HOUR_S
CONCURRENCY_COOLDOWN_S = 3.0
#: For a five-hour window that names no reset time: some quota may be free in an hour, all of it after five.
WINDOW_BACK_OFF_S = (HOUR_S, 2 * HOUR_S, 5 * HOUR_S)
#: By number of failures in a row: the firewall lets a patient client through (8.4).
PAGE_WAITS_S = (5.0, 15.0, 45.0)

PAGE = "firewall_page"
PAGE_WORDS = "its firewall answered with a web page"
KEY_REFUSED = (
    "the key is not valid for this plan (Coding Plan keys, sk-sp-..., work only on coding hosts, and coding hosts"
    " accept no others), belongs to another region, was deleted, or its subscription has ended"
)
NOT_AN_AGENT = (
    "the Coding Plan serves only programs that it recognises as coding agents; [plugins.qwen_code] user_agent sets"
    " how this proxy identifies itself"
)
WRONG_BASE = "its base URL may lack /v1 or /compatible-mode/v1"

_ANY_4XX = frozenset({None, 400, 401, 403, 429})
_LIMITS = frozenset({None, 403, 429})


class Row(Struct, frozen=True, kw_only=True):
    """A row: which failures it matches, their kind, and where the decision differs from that kind's usual one.

    ``codes`` match ``code`` or ``type``, in lower case; ``says`` is searched for in the message. A row with
    neither matches by status alone. The status ``None`` is an error inside a response. ``credential_kind``: only
    credentials of this kind. ``cooldown``, ``cooldown_s`` and ``error`` replace the usual ones; ``back_off_s``
    applies when ``cooldown_s`` finds no time in the response.
    """

    failure_kind: FailureKind
    statuses: frozenset[int | None] | None = None
    codes: frozenset[str] = frozenset()
    says: re.Pattern[str] | None = None
    unless: re.Pattern[str] | None = None
    credential_kind: str | None = None
    cooldown: Literal["credential"] | None = None
    cooldown_s: CooldownS | None = None
    back_off_s: Sequence[float] = ()
    refresh: bool = False
    error: Callable[[UpstreamFailure, ErrorBody], ProxyError] | None = None

    def matches(self, failure: UpstreamFailure, error: ErrorBody) -> bool:
        if self.statuses is not None and failure.status not in self.statuses:
            return False
        if self.credential_kind is not None and failure.credential_kind != self.credential_kind:
            return False
        message = error.message or ""
        if self.unless is not None and self.unless.search(message):
            return False
        if not self.codes and self.says is None:
            return True
        found = self.says is not None and self.says.search(message) is not None
        return found or not self.codes.isdisjoint(error.codes)


def decide_failure(failure: UpstreamFailure) -> FailureDecision:
    """The first matching row decides; the core decides failures that match no row."""
    if failure.transport is not None:
        decision = classify_failure(failure)
        # Other credentials may use other hosts.
        return replace(decision, next="rotate") if failure.transport == "connect" else decision
    error = read_error(failure.body)
    if PAGE in error.codes or is_page(failure.headers, failure.body):
        blocked = UpstreamBroken(f"{failure.provider} failed: {PAGE_WORDS}.", retry_after_s=PAGE_WAITS_S[0])
        # The credential is not at fault, yet it cools down: others may use other hosts, which may have no firewall.
        return FailureDecision(
            fault="provider", next="rotate", error=blocked, cooldown="credential", back_off_s=PAGE_WAITS_S
        )
    row = next((row for row in ROWS if row.matches(failure, error)), None)
    if row is None:
        return classify_failure(failure)
    decision = decision_for(row.failure_kind, failure, failure.status, error)
    if row.cooldown is not None:
        decision = replace(decision, cooldown=row.cooldown, fault=row.cooldown)
    if row.cooldown_s is not None:
        decision = replace(decision, cooldown_s=row.cooldown_s(failure, error.message or ""), back_off_s=row.back_off_s)
    client_error = row.error(failure, error) if row.error is not None else decision.error
    return replace(decision, refresh=row.refresh, error=client_error)


_THINKS_ALWAYS = re.compile(
    r"enable_thinking.{0,80}(restricted to|must be true)|must be true.{0,40}enable_thinking", re.I
)


def thinks_always(failure: UpstreamFailure) -> bool:
    """Whether this is a 400 in response to ``enable_thinking: false``: the model cannot stop thinking (6.4)."""
    if failure.status != 400:
        return False
    return _THINKS_ALWAYS.search(read_error(failure.body).message or "") is not None


def is_page(headers: Mapping[str, str], body: bytes) -> bool:
    """Whether this is a web page in place of JSON or events (8.4). It says nothing about the credential, and clients
    never see it."""
    return headers.get("content-type", "").lower().startswith("text/html") or body.lstrip()[:1] == b"<"


# --- Errors for the client ---------------------------------------------------------------


def _refused(failure: UpstreamFailure, error: ErrorBody) -> ProxyError:
    """For a login: its tier has ended. For a key: the usual causes (8.3)."""
    why = DISCONTINUED if failure.credential_kind == KIND else KEY_REFUSED
    text = f"{failure.provider} refused this proxy's credential: {why}."
    return CredentialRefused(text)


def _filtered(failure: UpstreamFailure, error: ErrorBody) -> ProxyError:
    words = error.message or "The vendor's content inspection refused the request."
    return UpstreamRejected(words, status=400, type=error.type, code="content_filter")


def _not_an_agent(failure: UpstreamFailure, error: ErrorBody) -> ProxyError:
    return UpstreamBroken(f"{failure.provider} refused this proxy: {NOT_AN_AGENT}.", code="upstream_misconfigured")


def _wrong_base(failure: UpstreamFailure, error: ErrorBody) -> ProxyError:
    return UpstreamBroken(f"{failure.provider} answered 404: {WRONG_BASE}.", code="upstream_misconfigured")


# --- The table ---------------------------------------------------------------------------


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _says(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.I | re.S)


_CURRENT_QUOTA = r"^(allocated quota exceeded, please increase your quota limit|you exceeded your current quota)"

ROWS: Sequence[Row] = (
    Row(
        failure_kind="misconfigured",
        statuses=frozenset({405}),
        says=_says(r"only available for coding agents"),
        error=_not_an_agent,
    ),
    # A plan's quota windows belong to the account, whatever the model.
    Row(
        failure_kind="rate_limited",
        statuses=_ANY_4XX,
        says=_says(r"concurrency allocated quota exceeded"),
        cooldown="credential",
        cooldown_s=lambda failure, message: CONCURRENCY_COOLDOWN_S,
    ),
    Row(
        failure_kind="quota",
        statuses=_ANY_4XX,
        says=_says(r"hour allocated quota exceeded"),
        cooldown="credential",
        cooldown_s=stated_or(None),
        back_off_s=WINDOW_BACK_OFF_S,
    ),
    Row(
        failure_kind="quota",
        statuses=_ANY_4XX,
        says=_says(r"week allocated quota exceeded"),
        cooldown="credential",
        cooldown_s=until_monday,
    ),
    # The billing day is not known, so the credential is tried again after a day.
    Row(
        failure_kind="quota",
        statuses=_ANY_4XX,
        says=_says(r"month allocated quota exceeded"),
        cooldown="credential",
        cooldown_s=stated_or(DAY_S),
    ),
    Row(
        failure_kind="quota",
        statuses=_LIMITS,
        says=_says(r"^(?=.*quota)(?=.*(exhausted|exceeded)).*(will reset|reset at)"),
        cooldown_s=stated_or(HOUR_S),
    ),
    Row(
        failure_kind="quota",
        statuses=_LIMITS,
        codes=_words("insufficient_quota quota_exceeded"),
        says=_says(r"free allocated quota exceeded"),
        unless=_says(_CURRENT_QUOTA),
        credential_kind=KIND,
        cooldown="credential",
        cooldown_s=until_midnight,
    ),
    Row(
        failure_kind="quota",
        statuses=_LIMITS,
        codes=_words("throttling.allocationquota insufficient_quota quota_exceeded"),
        says=_says(f"{_CURRENT_QUOTA}|free allocated quota exceeded"),
    ),
    Row(
        failure_kind="rate_limited",
        codes=_words("throttling throttling.ratequota limit_requests limit_burst_rate 1302 1305"),
    ),
    Row(failure_kind="rate_limited", statuses=frozenset({429})),
    Row(
        failure_kind="unpaid",
        statuses=_ANY_4XX,
        codes=_words("arrearage accessdenied.unpurchased"),
    ),
    Row(
        failure_kind="model_denied",
        statuses=frozenset({None, 400, 403, 404}),
        codes=_words("accessdenied model.accessdenied model_not_found modelnotfound"),
        says=_says(r"^(the )?model [`'\"]?[^\s`'\"]{1,120}[`'\"]? is not supported"),
    ),
    Row(
        failure_kind="client",
        statuses=frozenset({None, 400}),
        codes=_words("datainspectionfailed data_inspection_failed content_filter"),
        error=_filtered,
    ),
    Row(
        failure_kind="too_long",
        statuses=frozenset({None, 400}),
        codes=_words("context_length_exceeded"),
        says=_says(r"range of input length should be|^.{0,60}maximum context length"),
    ),
    Row(
        failure_kind="client",
        statuses=frozenset({None, 400}),
        codes=_words("invalidparameter invalid_parameter_error invalid_request_error"),
    ),
    Row(failure_kind="client", statuses=frozenset({413})),
    Row(failure_kind="client", codes=_words("badrequest.toolarge request_too_large")),
    Row(failure_kind="timeout", codes=_words("requesttimeout")),
    Row(failure_kind="overloaded", codes=_words("modelunavailable serviceunavailable")),
    Row(failure_kind="broken", codes=_words("internalerror internalerror.algo")),
    # A login is refreshed once, whichever status it was; the cooldown after that lasts hours, not seconds.
    Row(
        failure_kind="refused",
        statuses=frozenset({401}),
        cooldown_s=lambda failure, message: REFUSED_COOLDOWN_S,
        refresh=True,
        error=_refused,
    ),
    Row(
        failure_kind="refused",
        statuses=frozenset({None, 403}),
        codes=_words("invalidapikey invalid_api_key"),
        says=_says(
            r"unauthorized|forbidden|invalid api.?key|invalid access token|token expired|access denied"
            r"|incorrect api key"
        ),
        cooldown_s=lambda failure, message: REFUSED_COOLDOWN_S,
        refresh=True,
        error=_refused,
    ),
    Row(failure_kind="misconfigured", statuses=frozenset({404}), says=_says(r"^$"), error=_wrong_base),
)
