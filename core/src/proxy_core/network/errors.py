"""How an exchange with an upstream can fail before there is a failure decision."""

from __future__ import annotations

from proxy_core.messages import TransportFault


class TransportError(Exception):
    """An exchange failed without a status, or in its body. ``cause`` is safe for clients, what is chained is not."""

    def __init__(self, fault: TransportFault, cause: str = "") -> None:
        super().__init__(cause or fault)
        self.fault: TransportFault = fault
        self.cause = cause


class ResponseTooLarge(Exception):
    """A plain response exceeded ``upstream.max_response_bytes``."""

    cause = "it is larger than upstream.max_response_bytes allows"
