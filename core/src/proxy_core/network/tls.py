"""The process's single TLS context for outgoing connections.

Reading the bundle of certificate authorities takes tens of milliseconds of CPU. It is read once and shared by
all generations of settings and all connections, because it depends on none of them.
"""

from __future__ import annotations

import ssl
from functools import cache
from threading import Lock

import httpx

_building = Lock()


def tls_context() -> ssl.SSLContext:
    """The first call builds the context and blocks, so call it in a thread."""
    with _building:
        return _built()


@cache
def _built() -> ssl.SSLContext:
    # As in httpx: certifi's bundle, or that of SSL_CERT_FILE and SSL_CERT_DIR.
    return httpx.create_ssl_context()
