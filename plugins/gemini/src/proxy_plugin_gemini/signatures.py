"""Thought signatures of calls, kept for clients that lose them: in memory, bounded, for a limited time.

A conversation that continues in another process or after a restart has no signatures: the request then says
that the signature is lost, which the models accept.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from time import monotonic

_FAMILY = re.compile(r"gemini-(\d+)")


def family_name(model: str) -> str:
    """The generation of a model; signatures are valid only within one generation."""
    match = _FAMILY.search(model)
    return match[0] if match else model


class SignatureCache:
    """Signatures by client, family and call id. Ids are unique among a client's calls."""

    def __init__(self, size: int, ttl_s: float, clock: Callable[[], float] = monotonic) -> None:
        self._size = size
        self._ttl_s = ttl_s
        self._clock = clock
        self._kept: OrderedDict[tuple[str, str, str], tuple[str, float]] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, client: str, model: str, call_id: str, signature: str) -> None:
        if self._size <= 0:
            return
        key = (client, family_name(model), call_id)
        with self._lock:
            self._kept[key] = (signature, self._clock() + self._ttl_s)
            self._kept.move_to_end(key)
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)

    def find(self, client: str, model: str, call_id: str) -> str | None:
        key = (client, family_name(model), call_id)
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            signature, until = found
            if until <= self._clock():
                del self._kept[key]
                return None
            return signature
