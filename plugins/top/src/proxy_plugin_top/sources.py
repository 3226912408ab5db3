"""Reads a proxy: this one over its control sockets, or a remote one over HTTP with its admin key."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

import click
import httpx
from msgspec import DecodeError, ValidationError, convert
from msgspec.json import decode
from pydantic import SecretStr

from proxy_core import ProcessStatus, SetupError
from proxy_core.cli.api import LoadedSettings, NotRunning, processes, query
from proxy_plugin_top.frame import Reading, Used
from proxy_plugin_top.keys import is_loopback
from proxy_plugin_top.words import clean

_TIMEOUT_S = 10.0
_MOST_BYTES = 64 * 1024 * 1024
#: What a day cost changes slowly, and reading it takes the store.
_USAGE_S = 5.0
_STATUS = "/admin/status"
_USAGE = "/admin/usage?by=provider,credential"
_OTHER_VERSION = "it answers as another version than this command understands"


class Unreadable(Exception):
    """The proxy cannot be read now; the message says why. ``hopeless``: the same will hold at the next try."""

    def __init__(self, why: str, *, hopeless: bool = False) -> None:
        super().__init__(why)
        self.hopeless = hopeless


class Source(Protocol):
    """One proxy. ``read`` raises :exc:`Unreadable`."""

    name: str

    async def read(self) -> Reading: ...
    async def aclose(self) -> None: ...


class _Usage:
    """What today cost, as of a few seconds ago."""

    def __init__(self) -> None:
        self._read_at = -_USAGE_S
        self._rows: Sequence[Any] | None = None

    @property
    def due(self) -> bool:
        return time.monotonic() - self._read_at >= _USAGE_S

    def put(self, rows: Sequence[Any] | None) -> None:
        self._rows, self._read_at = rows, time.monotonic()

    def reading(self, statuses: Sequence[Any]) -> Reading:
        try:
            found = [convert(status, ProcessStatus) for status in statuses]
            costs = {(row["provider"], row["credential"]): row["cost"] for row in self._rows or ()}
            today = None if self._rows is None else _summed(self._rows)
        except (ValidationError, LookupError, TypeError):
            raise Unreadable(_OTHER_VERSION) from None
        if not found:
            raise Unreadable("no process of it answers")
        return Reading(statuses=found, at=datetime.now(UTC), today=today, costs=costs)


def _summed(rows: Sequence[Any]) -> Used:
    return Used(
        requests=sum(row["requests"] for row in rows),
        failures=sum(row["failures"] for row in rows),
        tokens=sum(row["prompt"] + row["completion"] for row in rows),
        cost=sum(row["cost"] for row in rows),
        priced=sum(row["priced"] for row in rows),
    )


class LocalProxy:
    """The proxy of this installation."""

    def __init__(self, loaded: LoadedSettings) -> None:
        self.name = "this proxy"
        self._loaded = loaded
        self._usage = _Usage()

    async def read(self) -> Reading:
        return await asyncio.to_thread(self._read)

    async def aclose(self) -> None:
        """Each question has a connection of its own."""

    def _read(self) -> Reading:
        try:
            statuses = processes(self._loaded, "GET", _STATUS, within_s=_TIMEOUT_S)
        except NotRunning as error:
            raise Unreadable(error.message) from None
        except (click.ClickException, SetupError) as error:
            raise Unreadable(clean(error)) from None
        if self._usage.due:
            self._usage.put(self._today())
        return self._usage.reading(statuses)

    def _today(self) -> Sequence[Any] | None:
        try:
            return list(query(self._loaded, "GET", _USAGE, within_s=_TIMEOUT_S)[0]["usage"])
        except click.ClickException:
            return None


class RemoteProxy:
    """A proxy at ``url``. Certificates are verified; an answer that is too long is not read to its end."""

    def __init__(self, url: str, key: SecretStr) -> None:
        self.name = url
        self._usage = _Usage()
        self._http = httpx.AsyncClient(
            headers={"authorization": f"Bearer {key.get_secret_value()}", "user-agent": "proxy-core-top"},
            timeout=_TIMEOUT_S,
            verify=httpx.create_ssl_context(),  # with what SSL_CERT_FILE or SSL_CERT_DIR names
            trust_env=not is_loopback(url),  # no proxy between here and here
        )

    async def read(self) -> Reading:
        statuses = await self._get(_STATUS)
        if self._usage.due:
            self._usage.put(await self._today())
        return self._usage.reading(statuses.get("processes", ()))

    async def aclose(self) -> None:
        await self._http.aclose()

    async def _today(self) -> Sequence[Any] | None:
        try:
            return list((await self._get(_USAGE))["usage"])
        except (Unreadable, LookupError, TypeError):
            return None

    async def _get(self, path: str) -> dict[str, Any]:
        try:
            async with asyncio.timeout(_TIMEOUT_S), self._http.stream("GET", f"{self.name}{path}") as response:
                if response.status_code != 200:
                    raise _refused(response.status_code)
                parts, size = [], 0
                async for part in response.aiter_bytes():
                    parts.append(part)
                    size += len(part)
                    if size > _MOST_BYTES:
                        raise Unreadable("its answer is too long")
        except TimeoutError:
            raise Unreadable(f"it does not answer within {_TIMEOUT_S:.0f} s") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unreadable(f"it cannot be reached: {clean(error) or type(error).__name__}") from None
        try:
            return convert(decode(b"".join(parts)), dict[str, Any])
        except (ValueError, DecodeError):
            raise Unreadable("its answer is not that of a proxy-core") from None


def _refused(status: int) -> Unreadable:
    if status in (401, 403):
        return Unreadable("it does not accept this admin key", hopeless=True)
    if status in (301, 302, 303, 307, 308):
        return Unreadable(f"it redirects elsewhere ({status}), and a key is sent to no other address", hopeless=True)
    if status == 404:
        return Unreadable("there is no proxy-core at this address")
    return Unreadable(f"it answers with status {status}")
