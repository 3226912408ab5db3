"""The error hierarchy: every failure that a client or an operator can see.

::

    ProxyError                      has a status, a stable code and a message that is safe for clients
    ├── BadRequest            400   the client's request; ``param`` names the field
    │   ├── ModelNotFound     404
    │   ├── NotFound          404   no such path
    │   ├── MethodNotAllowed  405
    │   ├── Conflict          409   not possible in the current state
    │   └── BodyTooLarge      413
    ├── Unauthorized          401   the client's own key
    ├── Forbidden             403   this client may not do this
    ├── CredentialRefused     403   the upstream serves none of the credentials until their operator acts
    │   ├── AccountUnpaid     403   no credit is left
    │   └── UpstreamLoginRequired   the account's owner must log in again
    ├── UpstreamRejected      4xx   the upstream found a fault in the client's request
    │   └── ContextExceeded   400   the conversation is longer than the model's context
    ├── CapacityExhausted     429   every credential that could serve the model is cooling down
    │   └── LimitReached      429   the client's own limit
    ├── InternalError         500   a bug in the proxy
    │   └── PluginFailed      500   a bug in a plugin, which the message names
    ├── UpstreamBroken        502   the upstream's response was unusable
    │   ├── StreamCut         502   a response ended before it was complete
    │   └── ProxyLoop         508   a proxy is its own upstream
    ├── Unavailable           503   no credential, an upstream that is down, a server that is stopping
    └── UpstreamTimeout       504   the upstream exceeded a time limit
        └── DeadlinePassed    504   the whole request exceeded its own
    SetupError                      shown to the operator, at startup
    ├── SettingsError               all wrong settings at once, each with its origin
    └── PluginError                 a plugin that cannot be loaded, by name
        └── PluginConflict          two that claim one name

A message never contains a secret, a header value or a prompt; the cause is chained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from msgspec import Struct

#: How much of a message is kept for later requests.
_KEPT_CHARS = 2_100


class ErrorFacts(Struct, frozen=True, kw_only=True):
    """The part of an error that clients see. A cooldown keeps it, so later requests receive the same error."""

    status: int
    code: str | None
    kind: str
    message: str
    param: str | None = None
    type: str | None = None
    upstream_code: str | None = None
    cause: str = ""
    waiting_helps: bool = True
    own_words: bool = False


_ENDS = (".", "!", "?", ":", ";")


class ProxyError(Exception):
    """A failure with a response for the client.

    ``kind`` is a keyword that dialects translate to their own error types; ``retry_after_s``
    is how long the client should wait, if known; ``waiting_helps``: whether the same request may succeed later,
    without anybody's doing; ``type`` and ``upstream_code`` are the upstream's own; ``cause`` is what happened
    upstream, in words of the proxy's, for the log; ``own_words``: so is the message, with no word of an upstream;
    ``attempts`` lists the attempts,
    one JSON object each, with credentials by fingerprint. ``at_fault``: who else than the attempt's provider, if
    anyone; ``replaceable``: another provider may serve the request. ``client_can_mend``: the client knows from the
    error what to send instead, so this error is reported rather than one that only waiting would mend.
    """

    status: int = 500
    code: str | None = "internal_error"
    kind: str = "internal"
    waiting_helps: bool = True
    type: str | None = None
    upstream_code: str | None = None
    cause: str = ""
    own_words: bool = False
    at_fault: str = ""
    replaceable: bool = False
    client_can_mend: bool = False

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        self.attempts: Sequence[Mapping[str, Any]] = ()
        if code is not None:
            self.code = code

    @property
    def facts(self) -> ErrorFacts:
        return ErrorFacts(
            status=self.status,
            code=self.code,
            kind=self.kind,
            message=self.message[:_KEPT_CHARS],
            param=self.param,
            type=self.type,
            upstream_code=self.upstream_code,
            cause=self.cause,
            waiting_helps=self.waiting_helps,
            own_words=self.own_words,
        )

    @classmethod
    def again(cls, facts: ErrorFacts, retry_after_s: float | None) -> Self:
        """An error that tells a client the same as an earlier one."""
        error = cls(facts.message, param=facts.param, retry_after_s=retry_after_s)
        error.status, error.code, error.kind = facts.status, facts.code, facts.kind
        error.type, error.upstream_code = facts.type, facts.upstream_code
        error.cause, error.waiting_helps, error.own_words = facts.cause, facts.waiting_helps, facts.own_words
        return error

    def say_more(self, sentence: str) -> None:
        before = self.message.rstrip()  # perhaps an upstream's words, without a full stop
        self.message = f"{before}{'' if before.endswith(_ENDS) else '.'} {sentence}"


class BadRequest(ProxyError):
    """The client's request is wrong; ``param`` names the field."""

    status: int = 400
    waiting_helps = False
    code: str | None = None
    kind = "bad_request"


class ModelNotFound(BadRequest):
    """No provider serves the model."""

    status, code, kind = 404, "model_not_found", "not_found"

    def __init__(self, message: str) -> None:
        super().__init__(message, param="model")


class NotFound(BadRequest):
    """No such path."""

    status, code, kind = 404, None, "not_found"


class MethodNotAllowed(BadRequest):
    """The path exists, but not for this method."""

    status, code, kind = 405, None, "not_found"


class Conflict(BadRequest):
    """The request cannot be carried out in the current state."""

    status, code = 409, "conflict"


class BodyTooLarge(BadRequest):
    """The request body is larger than ``server.max_body_bytes``."""

    status, code, kind = 413, "request_too_large", "too_large"


class BodyTooSlow(BadRequest):
    """The request body did not arrive in time. SDKs send it again after a 408."""

    status, code = 408, "request_timeout"
    waiting_helps = True

    def __init__(self) -> None:
        super().__init__("The request body did not arrive in time.")


class Unauthorized(ProxyError):
    """No client key, or a wrong one."""

    status, code, kind = 401, "invalid_api_key", "unauthorized"
    waiting_helps = False


class Forbidden(ProxyError):
    """The client is known, but may not do this."""

    status, code, kind = 403, "permission_denied", "forbidden"
    waiting_helps = False


class CredentialRefused(ProxyError):
    """The upstream serves none of the credentials, and waiting does not help: their operator has to act.

    Never a 401 or 402, with which a client would suspect its own key or balance; agents stop at a 403.
    """

    status, code, kind = 403, "upstream_credential_refused", "refused"
    waiting_helps = False


class AccountUnpaid(CredentialRefused):
    """The account has no credit left, or has reached a spending limit."""

    code, kind = "insufficient_quota", "unpaid"


class UpstreamLoginRequired(CredentialRefused):
    """The owner of an account has to log in again."""

    code = "upstream_login_required"


class UpstreamRejected(ProxyError):
    """The upstream rejected the client's request; its status and message are kept.

    ``details`` are the other members of the upstream's error object, without secrets.
    """

    status, code, kind = 400, None, "bad_request"
    waiting_helps = False

    def __init__(
        self,
        message: str,
        *,
        status: int,
        type: str | None = None,
        param: str | None = None,
        code: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message, param=param, code=code)
        self.status = status
        self.kind = NotFound.kind if status == NotFound.status else self.kind
        self.type = type
        self.details = dict(details or {})


class ContextExceeded(UpstreamRejected):
    """The conversation is longer than the model's context: ``tokens`` do not fit into ``limit``, where that is known.
    If they would without those ``reserved`` for the response, a client may also ask for a shorter one.

    Agents shorten it at a code or at words of their dialect, whatever the upstream said.
    """

    def __init__(
        self,
        message: str,
        *,
        tokens: int | None = None,
        limit: int | None = None,
        reserved: int = 0,
        type: str | None = None,
        param: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            message, status=400, type=type, param=param or "messages", code="context_length_exceeded", details=details
        )
        self.tokens = tokens
        self.limit = limit
        self.reserved = reserved


class CapacityExhausted(ProxyError):
    """Every credential that could serve the model is cooling down; ``retry_after_s`` is the shortest wait."""

    status, code, kind = 429, "capacity_exhausted", "rate_limit"


class LimitReached(CapacityExhausted):
    """A client has reached its own limit; ``retry_after_s`` says when it may try again."""

    code = "rate_limit_exceeded"


class InternalError(ProxyError):
    """A bug in the proxy."""

    status, code, kind = 500, "internal_error", "internal"


class PluginFailed(InternalError):
    """A plugin raised an exception or returned something wrong: its author has to act, and the log says where.

    ``cause`` has the exception's type and the function's name.
    """

    code = "plugin_failed"
    at_fault = "plugin"
    waiting_helps = False


class UpstreamBroken(ProxyError):
    """The upstream's response cannot be passed to the client."""

    status, code, kind = 502, "upstream_error", "upstream"


class StreamCut(UpstreamBroken):
    """A response ended before it was complete."""

    code = "upstream_cut_off"
    cause = "its response ended before it was complete"


class ProxyLoop(UpstreamBroken):
    """A request goes round in circles: a proxy is, directly or through others, its own upstream."""

    status, code = 508, "proxy_loop"


class Unavailable(ProxyError):
    """No credential or upstream can serve the request now, or the server is stopping."""

    status, code, kind = 503, "server_is_overloaded", "overloaded"


class UpstreamTimeout(ProxyError):
    """An upstream exceeded a time limit."""

    status, code, kind = 504, "timeout", "timeout"


class DeadlinePassed(UpstreamTimeout):
    """The whole request took longer than settings or the client allow."""

    code = "deadline_passed"


class SetupError(Exception):
    """A problem that the operator has to fix before the proxy can start."""


class SettingsError(SetupError):
    """Wrong settings: one line for each, with the key and the origin of its value."""

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class PluginError(SetupError):
    """A plugin cannot be used; ``reason`` says why."""

    def __init__(self, plugin: str, reason: str) -> None:
        self.plugin = plugin
        self.reason = reason
        super().__init__(f"plugin {plugin!r}: {reason}")


class PluginConflict(PluginError):
    """Two plugins claim one name; the message has the line that decides which of them is used."""

    def __init__(self, plugin: str, other: str, what: str) -> None:
        remedy = f'to use that one, write [plugins] disabled = ["{plugin}"]'
        remedy += f'; to use {plugin!r} instead, [plugins] disabled = ["{other}"]'
        super().__init__(plugin, f"{what} is already provided by {other!r}; {remedy}")


def forget_frames(error: BaseException | None) -> None:
    """Drop the tracebacks of an error and its causes.

    Their frames reference the error, which would keep a request's body until garbage collection.
    """
    while error is not None and error.__traceback__ is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
