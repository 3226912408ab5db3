"""What became of an exchange that failed: its kind, and its cause in words that are safe for clients and logs.

The words name no address, no path and no credential: the operator knows the provider from the sentence around them.
"""

from __future__ import annotations

import errno
import ssl

import aiohttp

from proxy_core.messages import CONNECT_TIMED_OUT, TransportFault

_ERRNOS = {
    errno.ECONNREFUSED: "the connection was refused",
    errno.EHOSTUNREACH: "there is no route to its host",
    errno.ENETUNREACH: "the network is unreachable",
    errno.ENOENT: "its Unix socket does not exist",
    errno.EACCES: "access to its Unix socket was denied",
    errno.ETIMEDOUT: "the connection timed out",
    errno.ECONNRESET: "the connection was reset",
}


def fault_of(error: BaseException) -> tuple[TransportFault, str]:
    """For an exchange that ended without a status."""
    match error:
        case aiohttp.ClientProxyConnectionError():
            return "connect", f"the outbound proxy could not be reached: {_of_system(error.os_error)}"
        case aiohttp.ClientHttpProxyError():
            return "connect", f"the outbound proxy answered {error.status}"
        case aiohttp.ClientConnectorCertificateError():
            return "connect", f"its certificate was not accepted: {_of_certificate(error.certificate_error)}"
        case aiohttp.ClientSSLError():
            return "connect", _of_tls(error.os_error)
        case aiohttp.ClientConnectorDNSError():
            return "connect", "its name was not found"
        case aiohttp.ConnectionTimeoutError():
            return "connect", CONNECT_TIMED_OUT
        case aiohttp.ClientConnectorError():
            return "connect", _of_system(error.os_error)
        case aiohttp.InvalidURL():
            return "connect", "its address is not valid"
        case aiohttp.ClientResponseError():
            return "unreadable", "its answer is not valid HTTP"
        case aiohttp.ClientError() | OSError():
            return "disconnect", "it closed the connection without an answer"
        case _:
            return "connect", "the connection failed"


def cut_by(error: BaseException) -> str:
    """For a response that broke off."""
    return "its body is not valid HTTP" if "framing" in str(error) else "the connection was closed"


def _of_system(error: OSError) -> str:
    if isinstance(error, ConnectionResetError):  # asyncio's own has no number
        return _ERRNOS[errno.ECONNRESET]
    return _ERRNOS.get(error.errno or 0) or (error.strerror or "the connection failed").lower()


def _of_certificate(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError) and "mismatch" not in error.verify_message:
        return error.verify_message.rstrip(".")
    return "it does not match the host's name"


def _of_tls(error: OSError) -> str:
    reason = (getattr(error, "reason", None) or "").upper()
    if reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNKNOWN_PROTOCOL"):
        return "it does not speak TLS at this port"
    if "CERTIFICATE" in reason or "UNKNOWN_CA" in reason or "HANDSHAKE" in reason:
        return f"it ended the TLS handshake: {reason.lower().replace('_', ' ')}"
    return "the TLS handshake failed"
