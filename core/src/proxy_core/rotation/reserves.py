"""Reserves: what is left of a quota, or a whole credential, that settings keep for some clients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from types import MappingProxyType

from proxy_core.rotation.pool import Pool
from proxy_core.rotation.state import Reserved

NOTHING: Mapping[str, Reserved] = MappingProxyType({})


def kept_from(pool: Pool, model: str, client: str) -> Mapping[str, Reserved]:
    """By a credential's id, the reserves that keep it from this client now."""
    ledger = pool.ledger
    if not ledger.policy.rotation.reserves:
        return NOTHING
    found = ledger.settled(model, pool.clock.monotonic()).reserved
    return {name: reserved for name, reserved in found.items() if not named(reserved.clients, client)}


@lru_cache(maxsize=4096)
def named(globs: Sequence[str], client: str) -> bool:
    return any(fnmatchcase(client, glob) for glob in globs)
