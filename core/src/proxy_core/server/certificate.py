"""The proxy's own certificate: checked before the start, and read again when its files change.

A renewal replaces two files, one after the other, and must not close the connections that are open.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from contextlib import suppress
from pathlib import Path

from proxy_core.errors import SettingsError
from proxy_core.files import stamp
from proxy_core.settings.schema import ServerSettings

log = logging.getLogger("proxy_core.serve")

_LOOK_S = 1.0


class Certificate:
    """Keeps the TLS contexts of an HTTP server up to date, for connections that are opened later."""

    def __init__(self, server: ServerSettings) -> None:
        self._server = server
        self._contexts: list[ssl.SSLContext] = []
        self._seen = self._stamps()

    def keep_current(self, context: ssl.SSLContext) -> None:
        """Called by an HTTP server, with what it uses for its connections."""
        self._contexts.append(context)

    async def watch(self, stop: asyncio.Event) -> None:
        """Look for new files until ``stop``. Links are followed, as those that Kubernetes replaces."""
        while self._server.tls_certificate is not None and not stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _LOOK_S)
            self.look()

    def look(self) -> None:
        """Read the files if they have changed. A pair that cannot be used, as between two writes, changes nothing."""
        now = self._stamps()
        if now == self._seen:
            return
        self._seen = now
        certificate, key, password = self._server.tls_certificate, self._server.tls_key, _password(self._server)
        assert certificate is not None
        assert key is not None
        try:
            check_certificate(self._server)
            for context in self._contexts:
                context.load_cert_chain(certificate, key, lambda: password)
        except (SettingsError, OSError) as error:
            log.error("the certificate has changed, and the one before is still used: %s", error)
            return
        if self._contexts:
            log.info("the certificate has changed; new connections have the new one")
        else:
            log.warning("the certificate has changed; %s reads it at its start only", self._server.http_server)

    def _stamps(self) -> tuple[object, object]:
        files = (self._server.tls_certificate, self._server.tls_key)
        first, second = (stamp(file) if file is not None else None for file in files)
        return first, second


def check_certificate(server: ServerSettings) -> None:
    """Raises ``SettingsError`` if TLS cannot be had with these settings."""
    certificate, key = server.tls_certificate, server.tls_key
    if bool(certificate) != bool(key):
        raise SettingsError(["server.tls_certificate and server.tls_key must be set together"])
    if certificate and key:
        _check_readable("server.tls_certificate", certificate)
        _check_readable("server.tls_key", key)
        _check_usable(certificate, key, _password(server))


def _check_readable(key: str, file: Path) -> None:
    if not file.is_file():
        raise SettingsError([f"{key}: there is no file at {file}"])


def _check_usable(certificate: Path, key: Path, password: str) -> None:
    try:
        # If no password were given, OpenSSL would ask for one on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, lambda: password)
    except OSError as error:
        reason = error.strerror if not isinstance(error, ssl.SSLError) else error.reason or "not in PEM format"
        if isinstance(error, ssl.SSLError) and b"ENCRYPTED" in key.read_bytes():
            reason = "the key is encrypted, and server.hypercorn.keyfile_password does not open it"
        raise SettingsError([f"server.tls_certificate, server.tls_key: cannot be used: {reason}"]) from None


def _password(server: ServerSettings) -> str:
    return str(server.hypercorn.get("keyfile_password", ""))
