"""Starts a proxy: for the command line, for tests, and for any other ASGI server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from starlette.types import ASGIApp

from proxy_core.clock import Clock
from proxy_core.plugins.plugin import Module
from proxy_core.runtime.active import Active
from proxy_core.runtime.catalog import load_catalog
from proxy_core.runtime.compose import Network, build
from proxy_core.runtime.process import Process
from proxy_core.settings.loading import LoadedSettings, load
from proxy_core.status.view import Worker


def start(
    loaded: LoadedSettings,
    clock: Clock | None = None,
    modules: Sequence[Module] = (),
    *,
    to_run: bool = True,
    worker: Worker | None = None,
    network: Network | None = None,
) -> Active:
    """A process configured for its first generation; a server's lifespan opens both.

    ``modules`` are plugins that are not installed, as in tests. With ``to_run=False`` the proxy is only
    inspected; no token is written. ``worker``: which of several processes this is.
    ``network`` may put something in front of the connections to providers, or in their place.
    Raises ``SetupError`` for problems that the operator must fix.
    """
    catalog = load_catalog(loaded, modules)
    process = Process(loaded, catalog, clock, worker)
    first = build(loaded, catalog, process, to_run=to_run, network=network)
    process.configure(first)
    return Active(process, first)


def create_app(config: str | Path | None = None) -> ASGIApp:
    """An ASGI application from a settings file, the environment and defaults: a factory for any ASGI server.

    Raises ``SetupError``. ``docs/operating.md`` has command lines, and what ``proxy-core serve`` adds.
    """
    return start(load(Path(config) if config else None))
