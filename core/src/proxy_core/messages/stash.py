"""Typed values attached to a request, by a plugin for itself or for others that know the key.

::

    SESSION = StashKey[str]("example.session")
    request.stash[SESSION] = "abc"
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar, cast

__all__ = ["Stash", "StashKey"]

T = TypeVar("T")


class StashKey(Generic[T]):
    """The key of a value, with its type. Keys are compared by identity, so two plugins never collide."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"StashKey({self.name!r})"


class Stash:
    """The values attached to one request."""

    __slots__ = ("_notes",)

    def __init__(self) -> None:
        self._notes: dict[StashKey[Any], Any] = {}

    def __setitem__(self, key: StashKey[T], value: T) -> None:
        self._notes[key] = value

    def __getitem__(self, key: StashKey[T]) -> T:
        # A value can only be stored under a key of its type, so the cast is safe.
        return cast(T, self._notes[key])

    def get(self, key: StashKey[T], default: T | None = None) -> T | None:
        return cast(T, self._notes[key]) if key in self._notes else default

    def __contains__(self, key: StashKey[Any]) -> bool:
        return key in self._notes
