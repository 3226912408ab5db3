"""The process's one TLS context for outgoing connections.

Reading the bundle of certificate authorities takes tens of milliseconds of CPU. It is read once
for every generation of settings and every set of connections: nothing in it belongs to one of them.
"""

from __future__ import annotations

import ssl
from functools import cache
from threading import Lock

import httpx

_building = Lock()


def tls_context() -> ssl.SSLContext:
    """Blocks while the context is built, which the first call does: call it in a thread."""
    with _building:
        return _built()


@cache
def _built() -> ssl.SSLContext:
    # httpx's choice: certifi's bundle, or what SSL_CERT_FILE and SSL_CERT_DIR name.
    return httpx.create_ssl_context()
