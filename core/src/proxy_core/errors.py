"""The error tree: every failure that a client or an operator can meet.

::

    ProxyError                      has a status, a stable code and a message fit for a client
    ├── BadRequest            400   the client's request; ``param`` names the field
    │   ├── ModelNotFound     404
    │   ├── NotFound          404   no such path
    │   ├── MethodNotAllowed  405
    │   ├── Conflict          409   not in the state things are in
    │   └── BodyTooLarge      413
    ├── Unauthorized          401   the client's own key
    ├── Forbidden             403   this client may not do this
    ├── UpstreamRejected      4xx   the upstream found a fault in the client's request
    ├── CapacityExhausted     429   every credential that could serve the model is resting
    │   └── LimitReached      429   the client's own limit
    ├── InternalError         500   a bug of ours or of a plugin
    ├── UpstreamBroken        502   the upstream answered, but not usefully
    │   └── StreamCut         502   a reply ended before it was complete
    ├── Unavailable           503   no credential, an upstream that is down, a server that is stopping
    └── UpstreamTimeout       504   a limit passed
        └── DeadlinePassed    504   the request's own
    SetupError                      told to the operator, at startup
    ├── SettingsError               every wrong setting at once, each with its origin
    └── PluginError                 a plugin that cannot be loaded, by name

A message never contains a secret, a header value or a prompt; the cause is chained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


class ProxyError(Exception):
    """A failure with an answer for the client.

    ``kind`` is the word dialects translate into their own vocabulary; ``retry_after_s``
    is how long the client should wait, where that is known; ``attempts`` is what was tried
    upstream, one JSON object each, credentials by fingerprint.
    """

    status: int = 500
    code: str | None = "internal_error"
    kind: ClassVar[str] = "internal"

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


class BadRequest(ProxyError):
    """The client's request is wrong; ``param`` names the field."""

    status: int = 400
    code: str | None = None
    kind = "bad_request"


class ModelNotFound(BadRequest):
    """No such model here."""

    status, code, kind = 404, "model_not_found", "not_found"

    def __init__(self, message: str) -> None:
        super().__init__(message, param="model")


class NotFound(BadRequest):
    """No such path."""

    status, code, kind = 404, None, "not_found"


class MethodNotAllowed(BadRequest):
    """The path exists, the method does not."""

    status, code, kind = 405, None, "not_found"


class Conflict(BadRequest):
    """What was asked for cannot be done as things are."""

    status, code = 409, "conflict"


class BodyTooLarge(BadRequest):
    """The request body is above ``server.max_body_bytes``."""

    status, code, kind = 413, "request_too_large", "too_large"


class Unauthorized(ProxyError):
    """No client key, or a wrong one."""

    status, code, kind = 401, "invalid_api_key", "unauthorized"


class Forbidden(ProxyError):
    """A known client that may not do this."""

    status, code, kind = 403, "permission_denied", "forbidden"


class UpstreamRejected(ProxyError):
    """The upstream refused the client's request; its status and words are kept.

    ``details`` are further members of the upstream's error object, secrets removed.
    """

    status, code, kind = 400, None, "bad_request"

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
        self.type = type
        self.details = dict(details or {})


class CapacityExhausted(ProxyError):
    """Every credential that could serve the model is resting; ``retry_after_s`` is the shortest wait."""

    status, code, kind = 429, "capacity_exhausted", "rate_limit"


class LimitReached(CapacityExhausted):
    """A client's own limit, which says when it may ask again."""

    code = "rate_limit_exceeded"


class InternalError(ProxyError):
    """A bug: ours or a plugin's."""

    status, code, kind = 500, "internal_error", "internal"


class UpstreamBroken(ProxyError):
    """The upstream answered, but with nothing that could be given to the client."""

    status, code, kind = 502, "upstream_error", "upstream"


class StreamCut(UpstreamBroken):
    """A reply ended before it was complete."""

    code = "upstream_cut_off"


class Unavailable(ProxyError):
    """Nothing here can serve the request now."""

    status, code, kind = 503, "server_is_overloaded", "overloaded"


class UpstreamTimeout(ProxyError):
    """An upstream kept silent for longer than its limit."""

    status, code, kind = 504, "timeout", "timeout"


class DeadlinePassed(UpstreamTimeout):
    """The whole request took longer than settings or the client allow."""

    code = "deadline_passed"


class SetupError(Exception):
    """Something the operator must mend before the proxy can start."""


class SettingsError(SetupError):
    """Wrong settings: one line each, naming the key and where its value came from."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class PluginError(SetupError):
    """A plugin that cannot be used, and why."""

    def __init__(self, plugin: str, reason: str) -> None:
        self.plugin = plugin
        self.reason = reason
        super().__init__(f"plugin {plugin!r}: {reason}")
