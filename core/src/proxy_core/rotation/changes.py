"""Changes of a ledger that other processes must learn of: cooldowns that changed, and requests that were counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct


class Scope(Struct, frozen=True):
    """What enters cooldown: a credential for one model of a quota group, for the whole group, for every model; or the
    whole provider. ``reported``: instead of cooldowns, what the provider reports of a credential's quota group."""

    credential: str | None = None
    group: str | None = None
    model: str | None = None
    reported: bool = False


PROVIDER = Scope()


def summed(used: Mapping[tuple[str, str, int], int]) -> dict[tuple[str, str], int]:
    """The requests of each credential for each quota group, in whatever windows they were counted."""
    found: dict[tuple[str, str], int] = {}
    for (credential, group, _), requests in used.items():
        found[credential, group] = found.get((credential, group), 0) + requests
    return found


def no_listener() -> None:
    """No other process shares this ledger."""


class Changes:
    """``at``: when each scope last changed, monotonic seconds. ``scopes`` and ``used`` are still to be sent.

    ``notify`` is called after a change that other processes should learn of at once.
    """

    def __init__(self, notify: Callable[[], None] = no_listener) -> None:
        self.at: dict[Scope, float] = {}
        self.scopes: set[Scope] = set()
        #: By credential, quota group and the number of its window.
        self.used: dict[tuple[str, str, int], int] = {}
        self.notify = notify

    def changed(self, scope: Scope, now: float) -> None:
        self.noted(scope, now)
        self.notify()

    def noted(self, scope: Scope, now: float) -> None:
        """A change that is sent with the next exchange, whenever that is."""
        self.at[scope] = now
        self.scopes.add(scope)

    def count(self, credential: str, group: str, window: int | None, requests: int) -> None:
        if window is not None:
            self.used[credential, group, window] = self.used.get((credential, group, window), 0) + requests

    def send_again(self) -> None:
        """Send everything again, because the store has lost its data."""
        self.scopes |= self.at.keys()

    def forget_group(self, name: str) -> None:
        """Drop a quota group that is no longer in memory."""
        self._forget([scope for scope in self.at if scope.group == name])

    def forget_credential(self, name: str) -> None:
        """Drop a removed credential here; what other processes know of it stays with them."""
        self._forget([scope for scope in self.at if scope.credential == name])

    def _forget(self, scopes: list[Scope]) -> None:
        for scope in scopes:
            del self.at[scope]
            self.scopes.discard(scope)
