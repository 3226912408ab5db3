"""The process's single TLS context for outgoing connections.

Reading the bundle of certificate authorities takes tens of milliseconds of CPU, so it is read once
and shared by all generations and all connections; nothing in it is specific to one of them.
"""

from __future__ import annotations

import ssl
from functools import cache
from importlib import import_module
from threading import Lock

import certifi

_building = Lock()


def tls_context() -> ssl.SSLContext:
    """The first call blocks while the context is built: make it in a thread."""
    with _building:
        return _built()


def usual_context() -> ssl.SSLContext:
    """A new context, with certifi's bundle or what SSL_CERT_FILE or SSL_CERT_DIR names."""
    system = ssl.get_default_verify_paths()  # with these variables already applied
    file = system.cafile if system.cafile != system.openssl_cafile else None
    folder = system.capath if system.capath != system.openssl_capath else None
    return ssl.create_default_context(cafile=file if file or folder else certifi.where(), capath=folder)


_built = cache(usual_context)


def warm_up() -> ssl.SSLContext:
    """Prepare what the first request of a process needs and what would block the event loop for too long."""
    import_module("proxy_core.network.connections")
    return tls_context()
