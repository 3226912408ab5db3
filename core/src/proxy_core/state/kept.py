"""Values that are kept for clients in the state store, and nowhere else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from proxy_core.errors import Unavailable
from proxy_core.interfaces import KeptValue, StateBackend
from proxy_core.plugins.faults import is_from_outside
from proxy_core.state.shared import SharedState

log = logging.getLogger("proxy_core.state")

T = TypeVar("T")

#: A request fails rather than wait longer.
_TIMEOUT_S = 5.0


class KeptValues:
    """Unlike other state, a request waits for them."""

    def __init__(self, state: SharedState) -> None:
        self._state = state

    async def keep(self, value: KeptValue) -> bool:
        """Returns whether the store has it. The log says why it does not."""
        try:
            await self._call(lambda backend: backend.keep(value))
        except Unavailable:
            return False
        return True

    async def kept(self, owner: str, name: str) -> bytes | None:
        """Raises ``Unavailable``."""
        return await self._call(lambda backend: backend.kept(owner, name))

    async def forget(self, owner: str, name: str) -> bool:
        """Raises ``Unavailable``."""
        return await self._call(lambda backend: backend.forget(owner, name))

    async def _call(self, work: Callable[[StateBackend], Awaitable[T]]) -> T:
        backend = self._state.backend
        if backend is None:
            raise Unavailable("The state store is not available.")
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                return await work(backend)
        except BaseException as error:  # a store may fail in any way
            if is_from_outside(error):
                raise
            log.warning("the state store failed: a response cannot be kept or read", exc_info=True)
            raise Unavailable("The state store is not available.") from error
