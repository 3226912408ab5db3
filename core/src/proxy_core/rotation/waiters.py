"""Requests that wait for a credential."""

from __future__ import annotations

import asyncio
from collections import OrderedDict


class Waiters:
    """Longest wait first. What a waiter was notified of and did not need, it passes on."""

    def __init__(self) -> None:
        #: Those that wait for a lease, and how much had changed when they last looked.
        self._waiting: OrderedDict[asyncio.Future[None], int] = OrderedDict()
        self._changes = 0
        #: Those that only wait for a cooldown to end: a lease that comes back is nothing to them.
        self._for_cooldown: set[asyncio.Future[None]] = set()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._for_cooldown)

    def add(self, waiter: asyncio.Future[None], *, for_lease: bool) -> None:
        if for_lease:
            self._waiting[waiter] = self._changes
        else:
            self._for_cooldown.add(waiter)

    def forget(self, waiter: asyncio.Future[None]) -> None:
        self._waiting.pop(waiter, None)
        self._for_cooldown.discard(waiter)

    def notify(self, *, every: bool) -> None:
        """Wake the one that has waited longest, or ``every`` one."""
        self._changes += 1
        for _ in range(len(self._waiting) if every else 1):
            self.pass_on()
        while every and self._for_cooldown:
            _wake(self._for_cooldown.pop())

    def pass_on(self) -> None:
        """Wake the next that has not looked since the last change; so no change goes round for ever."""
        while self._waiting:
            waiter, looked_at = next(iter(self._waiting.items()))
            if looked_at == self._changes:
                return
            del self._waiting[waiter]
            if _wake(waiter):
                return


def _wake(waiter: asyncio.Future[None]) -> bool:
    if waiter.done():
        return False
    waiter.set_result(None)
    return True
