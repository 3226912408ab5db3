"""The store itself: one script per exchange, over the client library for Redis and Valkey."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Sequence
from datetime import date
from importlib.resources import files
from typing import Any

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from proxy_core import StateLost, SyncRequest, SyncResponse, UsageRow
from proxy_plugin_redis import wire
from proxy_plugin_redis.address import Address

#: Fields asked for at a time when usage is read: the server answers others in between.
_SCAN = 2000


class StoreUnavailable(Exception):
    """The store did not do it; the message says why, for the operator, and nothing the server or the URL said."""


class RedisBackend:
    """An open store. It connects when it is first needed, and again after it lost a connection."""

    def __init__(self, address: Address, *, timeout_s: float) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._keys = wire.Keys(address.prefix)
        self._script = files(__package__).joinpath("sync.lua").read_text()
        self._sha = hashlib.sha1(self._script.encode(), usedforsecurity=False).hexdigest()  # how Redis names scripts
        self._client = _client(address, timeout_s)
        #: Which data this has seen, by the number its versions begin with; empty before the first exchange.
        self._base = ""

    def __repr__(self) -> str:
        return f"RedisBackend({self._address})"

    async def sync(self, push: SyncRequest) -> SyncResponse:
        """One exchange. Raises :exc:`StateLost` once if the store no longer has what it had."""
        keys = self._keys.of(push)
        sent = wire.arguments(push, clock=time.time(), known=self._base, fresh=not self._base)
        reply = await self._ask(self._run(len(keys), *keys, *sent))
        if reply[0] == 0:
            raise StateLost(f"{self._address} lost its data")
        self._base = reply[1].decode()
        return wire.pull(reply, push.claims)

    async def usage(self, since: date, until: date) -> Sequence[UsageRow]:
        """Rows of these days; each figure is the sum at the instant it was read."""
        found: list[UsageRow] = []
        for day in await self._days(since.toordinal(), until.toordinal()):
            found += wire.rows(day, await self._figures(day))
        return found

    async def forget_usage(self, before: date) -> None:
        for day in await self._days("-inf", f"({before.toordinal()}"):
            both = self._client.pipeline(transaction=True)
            both.unlink(self._keys.usage(day))
            both.zrem(self._keys("days"), day.isoformat())
            await self._ask(both.execute())

    async def close(self) -> None:
        """Leave. What this process holds stays held until its time is up: it may be about to open anew."""
        await self._client.aclose()

    async def _run(self, *arguments: wire.Argument) -> Any:
        try:
            return await self._client.execute_command("EVALSHA", self._sha, *arguments)
        except exceptions.NoScriptError:
            return await self._client.execute_command("EVAL", self._script, *arguments)

    async def _days(self, first: int | str, last: int | str) -> list[date]:
        names = await self._ask(self._client.zrangebyscore(self._keys("days"), first, last))
        return [date.fromisoformat(name.decode()) for name in names]

    async def _figures(self, day: date) -> dict[str, int]:
        found: dict[str, int] = {}
        cursor = 0
        while True:
            cursor, some = await self._ask(self._client.hscan(self._keys.usage(day), cursor, count=_SCAN))
            found.update((name.decode(), int(value)) for name, value in some.items())
            if cursor == 0:
                return found

    async def _ask(self, answer: Awaitable[Any]) -> Any:
        """One question: it ends in time, and its failure repeats neither the URL nor the server's words."""
        problem: Exception
        try:
            # Connecting is several steps, each with a limit of its own; all together have this one.
            async with asyncio.timeout(2 * self._timeout_s):
                return await answer
        except (exceptions.ReadOnlyError, exceptions.MovedError) as error:
            problem = StateLost(f"{self._address} {_reason(error)}")
        except (exceptions.RedisError, OSError) as error:
            problem = StoreUnavailable(f"{self._address} {_reason(error)}")
        raise problem  # outside, so that what the library said is not chained to it


#: The first that fits counts.
_REASONS: tuple[tuple[type[BaseException], str], ...] = (
    (exceptions.AuthenticationError, "refuses the user or password"),
    (exceptions.NoPermissionError, "does not permit this user what the store needs"),
    (exceptions.BusyLoadingError, "is loading its data"),
    (exceptions.ReadOnlyError, "is a replica and takes no writes"),
    (exceptions.MovedError, "is a node of a cluster that does not have the keys"),
    (exceptions.OutOfMemoryError, "is out of memory (maxmemory)"),
    (exceptions.TimeoutError, "did not answer in time"),
    (TimeoutError, "did not answer in time"),
    (exceptions.ConnectionError, "cannot be reached"),
    (OSError, "cannot be reached"),
)


def _reason(error: BaseException) -> str:
    reason = next((words for kind, words in _REASONS if isinstance(error, kind)), "did not do it")
    cause = error.__cause__ or error.__context__
    if str(error).startswith("Protocol error: unauthenticated"):  # more than ten words before the password
        return "wants a password"
    if isinstance(error, exceptions.ResponseError) and reason == "did not do it":
        code = str(error).partition(" ")[0]
        return f"{reason} ({code})" if code.isalpha() and code.isupper() else reason
    if isinstance(cause, OSError) and cause.strerror:
        return f"{reason} ({cause.strerror})"
    return reason


def _client(address: Address, timeout_s: float) -> Any:
    """The library's types leave open whether a reply is text or bytes; here it is bytes."""
    tls: dict[str, Any] = {"ssl": True, "ssl_cert_reqs": "required", **address.files} if address.tls else {}
    return Redis(
        host=address.host,
        port=address.port,
        db=address.database,
        username=address.username,
        password=address.password.get_secret_value() if address.password else None,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),  # the core repeats an exchange, with the same number
        protocol=2,  # enough, and no notifications to negotiate
        driver_info=None,
        **tls,
    )
