"""uvicorn and granian: HTTP servers that take less CPU per request than the one of the core.

Each is there if its library is installed, and imported only if it is chosen.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec

from proxy_core import Hosting, HttpServer, PluginContext, PluginInfo, hookimpl

PLUGIN = PluginInfo(name="http_servers", api=1)


@hookimpl
def proxy_http_servers(ctx: PluginContext) -> Iterable[HttpServer]:
    if find_spec("uvicorn") is not None and find_spec("httptools") is not None:
        yield HttpServer(name="uvicorn", serve=_uvicorn)
    if find_spec("granian") is not None:
        yield HttpServer(name="granian", serve=_granian)


async def _uvicorn(hosting: Hosting) -> None:
    from proxy_plugin_http_servers.uvicorn import serve

    await serve(hosting)


async def _granian(hosting: Hosting) -> None:
    from proxy_plugin_http_servers.granian import serve

    await serve(hosting)
