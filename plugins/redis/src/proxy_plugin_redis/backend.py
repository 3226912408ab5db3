"""The store: one script call per exchange, through the client library for Redis and Valkey."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Sequence
from datetime import date
from importlib.resources import files
from typing import Any

from msgspec import Struct
from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from proxy_core import KeptValue, StateLost, SyncRequest, SyncResponse, UsageRow
from proxy_plugin_redis import wire
from proxy_plugin_redis.address import Address

#: Fields per call when usage is read, so that the server can answer other clients in between.
_SCAN = 2000


class StoreUnavailable(Exception):
    """The store failed. The message tells the operator why, and repeats neither the server's words nor the URL."""


class _Script(Struct, frozen=True):
    text: str
    sha: str

    @classmethod
    def of(cls, name: str) -> _Script:
        text = files(__package__).joinpath(name).read_text()
        return cls(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())  # how Redis names scripts


class RedisBackend:
    """An open store. It connects on first use, and reconnects after a lost connection."""

    def __init__(self, address: Address, *, timeout_s: float) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._keys = wire.Keys(address.prefix)
        self._sync, self._keep = _Script.of("sync.lua"), _Script.of("keep.lua")
        self._client = _client(address, timeout_s)
        #: Identifies the data seen so far: the number at which its versions begin; empty before the first exchange.
        self._base = ""

    def __repr__(self) -> str:
        return f"RedisBackend({self._address})"

    async def sync(self, request: SyncRequest) -> SyncResponse:
        """One exchange. Raises :exc:`StateLost` once if the store has lost its data."""
        keys = self._keys.of(request)
        sent = wire.arguments(request, clock=time.time(), known=self._base, fresh=not self._base)
        result = await self._call(self._run(self._sync, len(keys), *keys, *sent))
        if result[0] == 0:
            raise StateLost(f"{self._address} lost its data")
        self._base = result[1].decode()
        return wire.sync_response(result, request.permits)

    async def usage(self, since: date, until: date) -> Sequence[UsageRow]:
        """The rows of these days; each figure is the sum at the moment it was read."""
        found: list[UsageRow] = []
        for day in await self._days(since.toordinal(), until.toordinal()):
            found += wire.rows(day, await self._figures(day))
        return found

    async def forget_usage(self, before: date) -> None:
        for day in await self._days("-inf", f"({before.toordinal()}"):
            both = self._client.pipeline(transaction=True)
            both.unlink(self._keys.usage(day))
            both.zrem(self._keys("days"), day.isoformat())
            await self._call(both.execute())

    async def keep(self, kept: KeptValue) -> None:
        sent = (kept.name, kept.value, repr(kept.expires_at), repr(time.time()), kept.most, kept.most_bytes)
        await self._call(self._run(self._keep, 2, *self._keys.kept(kept.owner), *sent))

    async def kept(self, owner: str, name: str) -> bytes | None:
        values, expiry = self._keys.kept(owner)
        both = self._client.pipeline(transaction=True)
        both.hget(values, name)
        both.zscore(expiry, name)
        value, expires_at = await self._call(both.execute())
        return value if value is not None and expires_at is not None and expires_at > time.time() else None

    async def forget(self, owner: str, name: str) -> bool:
        values, expiry = self._keys.kept(owner)
        both = self._client.pipeline(transaction=True)
        both.zscore(expiry, name)
        both.hdel(values, name)
        both.zrem(expiry, name)
        expires_at, *_ = await self._call(both.execute())
        return expires_at is not None and expires_at > time.time()

    async def close(self) -> None:
        """Disconnect. This process keeps its permits until they expire, because it may be about to reopen the store."""
        await self._client.aclose()

    async def _run(self, script: _Script, *arguments: wire.Argument) -> Any:
        try:
            return await self._client.execute_command("EVALSHA", script.sha, *arguments)
        except exceptions.NoScriptError:
            return await self._client.execute_command("EVAL", script.text, *arguments)

    async def _days(self, first: int | str, last: int | str) -> list[date]:
        names = await self._call(self._client.zrangebyscore(self._keys("days"), first, last))
        return [date.fromisoformat(name.decode()) for name in names]

    async def _figures(self, day: date) -> dict[str, int]:
        found: dict[str, int] = {}
        cursor = 0
        while True:
            cursor, some = await self._call(self._client.hscan(self._keys.usage(day), cursor, count=_SCAN))
            found.update((name.decode(), int(value)) for name, value in some.items())
            if cursor == 0:
                return found

    async def _call(self, result: Awaitable[Any]) -> Any:
        """Await one call, within a time limit. An error repeats neither the URL nor the server's words."""
        problem: Exception
        try:
            # Connecting takes several steps, each with its own limit; this one covers them all.
            async with asyncio.timeout(2 * self._timeout_s):
                return await result
        except (exceptions.ReadOnlyError, exceptions.MovedError) as error:
            problem = StateLost(f"{self._address} {_reason(error)}")
        except (exceptions.RedisError, OSError) as error:
            problem = StoreUnavailable(f"{self._address} {_reason(error)}")
        raise problem  # outside the handler, so that the library's message is not chained to it


#: The first match is used.
_REASONS: tuple[tuple[type[BaseException], str], ...] = (
    (exceptions.AuthenticationError, "refuses the user or password"),
    (exceptions.NoPermissionError, "does not grant this user the permissions that the store needs"),
    (exceptions.BusyLoadingError, "is loading its data"),
    (exceptions.ReadOnlyError, "is a replica and rejects writes"),
    (exceptions.MovedError, "is a cluster node that does not hold the keys"),
    (exceptions.OutOfMemoryError, "is out of memory (maxmemory)"),
    (exceptions.TimeoutError, "did not answer in time"),
    (TimeoutError, "did not answer in time"),
    (exceptions.ConnectionError, "cannot be reached"),
    (OSError, "cannot be reached"),
)


def _reason(error: BaseException) -> str:
    reason = next((words for kind, words in _REASONS if isinstance(error, kind)), "returned an error")
    cause = error.__cause__ or error.__context__
    if str(error).startswith("Protocol error: unauthenticated"):  # more than ten arguments before a login
        return "requires a password"
    if isinstance(error, exceptions.ResponseError) and reason == "returned an error":
        code = str(error).partition(" ")[0]
        return f"{reason} ({code})" if code.isalpha() and code.isupper() else reason
    if isinstance(cause, OSError) and cause.strerror:
        return f"{reason} ({cause.strerror})"
    return reason


def _client(address: Address, timeout_s: float) -> Any:
    """The library's types leave open whether a result is text or bytes; here it is bytes."""
    tls: dict[str, Any] = {"ssl": True, "ssl_cert_reqs": "required", **address.files} if address.tls else {}
    return Redis(
        host=address.host,
        port=address.port,
        db=address.database,
        username=address.username,
        password=address.password.get_secret_value() if address.password else None,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),  # the core itself repeats an exchange, under the same number
        protocol=2,  # sufficient, and there are no notifications to negotiate
        driver_info=None,
        **tls,
    )
