"""What other processes should hear of a ledger: which cooldowns changed, and how much was used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scope:
    """What cools down: a credential for one quota group, a credential altogether, the provider as a whole."""

    credential: str | None = None
    group: str | None = None


PROVIDER = Scope()


def nobody() -> None:
    """Nobody shares this ledger."""


class Changes:
    """``at``: when each scope last changed, monotonic seconds. ``scopes`` and ``used`` have not been sent yet.

    ``notify`` is called when something changed that others should know at once.
    """

    def __init__(self, notify: Callable[[], None] = nobody) -> None:
        self.at: dict[Scope, float] = {}
        self.scopes: set[Scope] = set()
        self.used: dict[tuple[str, str], int] = {}
        self.notify = notify

    def changed(self, scope: Scope, now: float) -> None:
        self.at[scope] = now
        self.scopes.add(scope)
        self.notify()

    def count(self, credential: str, group: str, requests: int) -> None:
        self.used[credential, group] = self.used.get((credential, group), 0) + requests

    def send_again(self) -> None:
        """A store that lost everything is sent everything."""
        self.scopes |= self.at.keys()

    def forget_group(self, name: str) -> None:
        """A quota group that no request names any more."""
        self._forget([scope for scope in self.at if scope.group == name])

    def forget_credential(self, name: str) -> None:
        """A credential that is gone: what others know of it is theirs to keep."""
        self._forget([scope for scope in self.at if scope.credential == name])

    def _forget(self, scopes: list[Scope]) -> None:
        for scope in scopes:
            del self.at[scope]
            self.scopes.discard(scope)
