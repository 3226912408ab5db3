"""The refusal, and the check that every object begins with."""

from __future__ import annotations

from collections.abc import Set
from typing import Any


class Refused(Exception):
    """A 400."""


def known_keys(found: Any, known: Set[str], where: str) -> None:
    if not isinstance(found, dict):
        raise Refused(f"{where}: Input should be a valid dictionary")
    for name in found:
        if name not in known:
            raise Refused(f"{where}.{name}: Extra inputs are not permitted".removeprefix("."))
        if found[name] is None:
            raise Refused(f"{where}.{name}: Input should not be null".removeprefix("."))
