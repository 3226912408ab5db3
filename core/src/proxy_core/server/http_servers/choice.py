"""Chooses the HTTP server, and imports no other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Protocol

from proxy_core.errors import SettingsError
from proxy_core.server.http_servers.hosting import Hosting
from proxy_core.settings.schema import ServerSettings

#: What to import for a server that is not a dependency of the core; the extra has the server's name.
_OPTIONAL: Mapping[str, Sequence[str]] = {"uvicorn": ("uvicorn", "httptools"), "granian": ("granian",)}


class HttpServer(Protocol):
    """The two functions of each module here."""

    def check(self, settings: ServerSettings) -> None:
        """Raises ``SettingsError`` for what this server cannot do, before anything starts."""

    async def serve(self, hosting: Hosting) -> None:
        """Open the application, serve it until ``stopping`` returns and requests have ended, and close it."""


def chosen(settings: ServerSettings) -> HttpServer:
    """The server of the settings. Raises ``SettingsError`` if it is not installed or another's options are set."""
    name = settings.http_server
    if any(find_spec(module) is None for module in _OPTIONAL.get(name, ())):
        raise SettingsError([f"server.http_server: {name} is not installed; pip install 'proxy-core[{name}]'"])
    if name != "hypercorn" and settings.hypercorn:
        raise SettingsError(
            [
                f"server.hypercorn.{option}: Hypercorn's option, but the server is {name}"
                for option in settings.hypercorn
            ]
        )
    if name != "hypercorn" and settings.http2:
        raise SettingsError([f"server.http2: {name} has no HTTP/2 here; use hypercorn"])
    match name:
        case "hypercorn":
            from proxy_core.server.http_servers import hypercorn

            return hypercorn
        case "uvicorn":
            from proxy_core.server.http_servers import uvicorn

            return uvicorn
        case "granian":
            from proxy_core.server.http_servers import granian

            return granian
