"""Requests that wait for a credential."""

from __future__ import annotations

import asyncio
from collections import OrderedDict


class Waiters:
    """Longest wait first. A waiter that does not need what it was notified of passes the notification on."""

    def __init__(self) -> None:
        #: Requests that wait for a lease, and the count of changes when each last looked.
        self._waiting: OrderedDict[asyncio.Future[None], int] = OrderedDict()
        self._changes = 0
        #: Requests that wait only for a cooldown to end; a returned lease does not help them.
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
        """Wake the waiter that has waited longest, or all of them."""
        self._changes += 1
        for _ in range(len(self._waiting) if every else 1):
            self.pass_on()
        while every and self._for_cooldown:
            _wake(self._for_cooldown.pop())

    def pass_on(self) -> None:
        """Wake the next waiter that has not looked since the last change, so that no change is passed on for ever."""
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
