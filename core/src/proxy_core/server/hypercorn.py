"""Runs a proxy on Hypercorn, the default. Imported only if it is chosen."""

from __future__ import annotations

import logging
import socket
from inspect import getattr_static, isroutine
from typing import Any, get_type_hints

from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.config import Config
from pydantic import TypeAdapter, ValidationError

from proxy_core.errors import SettingsError
from proxy_core.interfaces import Hosting
from proxy_core.interfaces.servers import BACKLOG, GRACE_S, MAX_HEAD_BYTES
from proxy_core.server import hypercorn_fixes
from proxy_core.settings.base import listed
from proxy_core.settings.schema import ServerSettings

#: Hypercorn closes a connection after 1,000 requests by default.
_MANY = 10**9
_ADDRESSES = frozenset({"bind", "insecure_bind", "quic_bind", "certfile", "keyfile"})
_LOGS = frozenset({"accesslog", "access_log_format", "errorlog", "logconfig", "logconfig_dict", "logger_class"})


def check(settings: ServerSettings) -> None:
    """Raises ``SettingsError`` for an unknown name or an unusable value in ``server.hypercorn``."""
    config = _config(settings)
    if config.ssl_enabled:
        try:
            config.create_ssl_context()
        except (OSError, ValueError) as error:
            reason = (error.strerror or error.args[-1]) if isinstance(error, OSError) else error
            raise SettingsError([f"server.hypercorn: TLS cannot be used with these options: {reason}"]) from None


async def serve(hosting: Hosting) -> None:
    hypercorn_fixes.install()
    config = _config(hosting.settings)
    config.keep_current = hosting.keep_current
    config.bind = [_descriptor(hosting.sock)]
    if hosting.control is not None:
        local = _descriptor(hosting.control)
        if config.ssl_enabled:
            config.insecure_bind = [*config.insecure_bind, local]
        else:
            config.bind = [*config.bind, local]
    # Hypercorn declares a narrower type than the ASGI callables it takes.
    await hypercorn_serve(hosting.app, config, shutdown_trigger=hosting.stopping)  # type: ignore[arg-type]


def _descriptor(sock: socket.socket) -> str:
    return f"fd://{sock.detach()}"


def _config(settings: ServerSettings) -> hypercorn_fixes.FixedConfig:
    """The proxy's defaults, then the operator's options."""
    config = hypercorn_fixes.FixedConfig()
    config.http2 = settings.http2
    config.alpn_protocols = ["h2", "http/1.1"] if settings.http2 else ["http/1.1"]
    config.backlog = BACKLOG
    config.keep_alive_max_requests = _MANY
    config.keep_alive_timeout = settings.keep_alive_s
    config.h11_max_incomplete_size = MAX_HEAD_BYTES
    config.include_server_header = False
    config.graceful_timeout = settings.shutdown_grace_s + GRACE_S
    config.errorlog = logging.getLogger("hypercorn.error")
    if settings.tls_certificate and settings.tls_key:
        config.certfile, config.keyfile = str(settings.tls_certificate), str(settings.tls_key)
    for name, value in settings.hypercorn.items():
        if name in _ADDRESSES:
            raise SettingsError(
                [
                    f"server.hypercorn.{name}: use server.host, server.port and server.tls_...; the proxy "
                    "checks which machines can reach it"
                ]
            )
        if name in _LOGS:
            raise SettingsError([f"server.hypercorn.{name}: use [log]; Hypercorn's own log would show keys in URLs"])
        if not _is_setting(name):
            raise SettingsError([f"server.hypercorn.{name}: Hypercorn has no such setting"])
        setattr(config, name, _converted(name, value, getattr(Config(), name)))
    return config


def _is_setting(name: str) -> bool:
    found = getattr_static(Config, name, None)
    is_data = found.fset is not None if isinstance(found, property) else not isroutine(found)
    return not name.startswith("_") and hasattr(Config, name) and is_data


def _converted(name: str, value: Any, default: object) -> Any:
    """Of the type that Hypercorn declares, or that its default has; the environment only has strings."""
    declared = get_type_hints(Config).get(name, Any if default is None else type(default))
    try:
        return TypeAdapter(declared).validate_python(listed(value) if isinstance(default, list) else value)
    except ValidationError as error:
        raise SettingsError([f"server.hypercorn.{name}: {error.errors()[0]['msg']}"]) from None
