"""Refreshes model catalogs that have an address: fetched at intervals and stored on disk.

Nothing is fetched before model info is first requested, and no request waits for a fetch. A stored
table is used from the next start on. A response that cannot be parsed changes nothing.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from proxy_core.clock import Clock
from proxy_core.credentials.files import private_folder, write_private
from proxy_core.interfaces import CatalogSource, ModelCatalog
from proxy_core.messages import UpstreamRequest
from proxy_core.models.info import Catalogs
from proxy_core.network.errors import ResponseTooLarge, TransportError
from proxy_core.network.upstream import Upstream

log = logging.getLogger("proxy_core.models")

FOLDER_NAME = "catalogs"
_TIMEOUT_S = 60.0
_MAX_BYTES = 32 * 1024 * 1024
_MIN_INTERVAL_S = 1.0
#: Validators that a server sends with a table, and the request headers that repeat them.
_VALIDATORS = {"etag": "if-none-match", "last-modified": "if-modified-since"}


class TableFiles:
    """Tables as they were received, each with its address, its validators and the time it was fetched."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def text(self, catalog: ModelCatalog) -> str | None:
        """The table stored for this address."""
        if catalog.source is None or self.about(catalog.name).get("url") != catalog.source.url:
            return None
        try:
            return self._table(catalog.name).read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            return None

    def about(self, name: str) -> Mapping[str, str]:
        try:
            value = json.loads(self._about(name).read_bytes())
        except (OSError, ValueError):
            return {}
        return {str(k): str(v) for k, v in value.items()} if isinstance(value, dict) else {}

    def keep(self, name: str, about: Mapping[str, str], table: bytes | None = None) -> None:
        """Store a table; ``table=None``: the stored one is still current. Raises ``OSError``."""
        private_folder(self._folder)
        if table is not None:
            write_private(self._table(name), table)
        write_private(self._about(name), json.dumps(about).encode())

    def _table(self, name: str) -> Path:
        return self._folder / f"{quote(name, safe='')}.json"

    def _about(self, name: str) -> Path:
        return self._folder / f"{quote(name, safe='')}.about.json"


class TableRefresher:
    """Fetches tables that have an address. An async context manager; it fetches nothing before one is wanted."""

    def __init__(self, catalogs: Catalogs, files: TableFiles, upstream: Upstream, clock: Clock) -> None:
        self._catalogs = catalogs
        self._files = files
        self._upstream = upstream
        self._clock = clock
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [
            asyncio.create_task(self._keep_fresh(catalog, catalog.source), name=f"table of {catalog.name}")
            for catalog in self._catalogs.refreshable
            if catalog.source is not None
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _keep_fresh(self, catalog: ModelCatalog, source: CatalogSource) -> None:
        await self._catalogs.wanted.wait()
        while True:
            about = await asyncio.to_thread(self._files.about, catalog.name)
            await self._clock.sleep(self._due_s(about, source))
            try:
                await self._fetch(catalog, source, about if about.get("url") == source.url else {})
            except (TransportError, TimeoutError, ResponseTooLarge, OSError) as error:
                log.warning("the table of %s was not refreshed: %s", catalog.name, type(error).__name__)
                await self._clock.sleep(max(_MIN_INTERVAL_S, source.every_s))
            except Exception:  # a plugin's reader may fail in any way
                log.warning("the new table of %s cannot be read; the old one stays", catalog.name, exc_info=True)
                await self._clock.sleep(max(_MIN_INTERVAL_S, source.every_s))

    def _due_s(self, about: Mapping[str, str], source: CatalogSource) -> float:
        """Seconds until the next fetch; a restart does not cause one."""
        if about.get("url") != source.url:
            return 0.0
        try:
            fetched_at = float(about.get("fetched_at", ""))
        except ValueError:
            return 0.0
        return min(max(0.0, fetched_at + source.every_s - self._clock.now().timestamp()), source.every_s)

    async def _fetch(self, catalog: ModelCatalog, source: CatalogSource, about: Mapping[str, str]) -> None:
        headers = [(header, about[name]) for name, header in _VALIDATORS.items() if name in about]
        now = {"url": source.url, "fetched_at": str(self._clock.now().timestamp())}
        request = UpstreamRequest(method="GET", url=source.url, headers=headers)
        async with self._clock.timeout(_TIMEOUT_S), self._upstream.exchange(request) as response:
            if response.status == 304:
                await asyncio.to_thread(self._files.keep, catalog.name, {**about, **now})
                return
            if response.status != 200:
                raise OSError(f"status {response.status}")
            validators = {name: response.headers[name] for name in _VALIDATORS if name in response.headers}
            table = await response.read(_MAX_BYTES)
        find = await asyncio.to_thread(source.parse, table.decode())
        await asyncio.to_thread(self._files.keep, catalog.name, {**validators, **now}, table)
        self._catalogs.replace(catalog.name, find)
        log.info("the table of %s was refreshed", catalog.name)
