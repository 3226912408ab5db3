"""Newer tables of models: fetched at intervals and kept on disk, so that a restart does not fetch one again.

Nothing is fetched before the table is first needed, and no request waits for it. A response that cannot be parsed
changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import NamedTemporaryFile

from pydantic import BaseModel, ValidationError

from proxy_core import FindModelInfo, HttpClient, HttpResponse, TransportFailed, UpstreamRequest
from proxy_plugin_litellm.table import load_table, parse_table

log = logging.getLogger("proxy_core.plugin.litellm")

_TIMEOUT_S = 60.0
#: Validators that a server sends with a table, and the request headers that repeat them.
_VALIDATORS = {"etag": "if-none-match", "last-modified": "if-modified-since"}


class KeptTable(BaseModel):
    """A table as it was received: from where, when, and with which validators, by the headers that repeat them."""

    url: str
    fetched_at: float
    validators: dict[str, str]
    text: str


class NewerTables:
    """The table at ``url``, asked for every ``every_s`` seconds and kept in ``file``."""

    def __init__(self, file: Path, url: str, every_s: float) -> None:
        self._file = file
        self._url = url
        self._every_s = every_s

    def load(self) -> FindModelInfo:
        """The table that was kept, or else the installed one. Raises ``OSError``, ``ValueError``."""
        kept = self._kept()
        if kept is not None:
            try:
                return parse_table(kept.text)
            except ValueError:
                log.warning("the table of models in %s cannot be read", self._file, exc_info=True)
        return load_table()

    async def fetched(self, http: HttpClient) -> AsyncIterator[FindModelInfo]:
        """Each newer table."""
        while True:
            kept = await asyncio.to_thread(self._kept)
            await asyncio.sleep(self._due_s(kept))
            try:
                find = await self._fetch(http, kept)
            except (TransportFailed, OSError, ValueError) as error:
                log.warning("the table of models was not refreshed: %s", error)
                await asyncio.sleep(self._every_s)
            else:
                if find is not None:
                    log.info("the table of models was refreshed")
                    yield find

    def _kept(self) -> KeptTable | None:
        try:
            kept = KeptTable.model_validate_json(self._file.read_bytes())
        except (OSError, ValidationError):
            return None
        return kept if kept.url == self._url else None

    def _keep(self, table: KeptTable) -> None:
        """Raises ``OSError``. Another process may do the same at this time."""
        with NamedTemporaryFile(dir=self._file.parent, delete=False) as beside:
            beside.write(table.model_dump_json().encode())
        os.replace(beside.name, self._file)

    def _due_s(self, kept: KeptTable | None) -> float:
        if kept is None:
            return 0.0
        return min(max(0.0, kept.fetched_at + self._every_s - time.time()), self._every_s)

    async def _fetch(self, http: HttpClient, kept: KeptTable | None) -> FindModelInfo | None:
        """The newer table; ``None`` if there is none. Raises ``TransportFailed``, ``OSError``, ``ValueError``."""
        headers = list(kept.validators.items()) if kept is not None else []
        request = UpstreamRequest(method="GET", url=self._url, headers=headers)
        response = await http(request, timeout_s=_TIMEOUT_S)
        if kept is not None and response.status == 304:
            still = kept.model_copy(update={"fetched_at": time.time()})
            await asyncio.to_thread(self._keep, still)
            return None
        if response.status != 200:
            raise ValueError(f"status {response.status}")
        return await asyncio.to_thread(self._take, response)

    def _take(self, response: HttpResponse) -> FindModelInfo:
        text = response.body.decode()
        find = parse_table(text)
        validators = {
            ours: response.headers[theirs] for theirs, ours in _VALIDATORS.items() if theirs in response.headers
        }
        self._keep(KeptTable(url=self._url, fetched_at=time.time(), validators=validators, text=text))
        return find
