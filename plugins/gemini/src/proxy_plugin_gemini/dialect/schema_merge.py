"""Resolve ``$ref`` and ``allOf``, with which JSON Schema spreads one schema over several places."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote

from proxy_core import JsonObject

_MAX_MERGED = 64
_INDEX = re.compile(r"[0-9]{1,5}")


class Resolver:
    """Resolves local references against a root schema."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root

    def flat(self, schema: object, path: tuple[str, ...]) -> tuple[JsonObject, tuple[str, ...]]:
        """One level without ``$ref`` and ``allOf``, and the references that were followed.

        A recursive, remote or dangling reference becomes any object. Siblings of a reference override
        its target; within ``allOf``, the first type wins.
        """
        return self._flat(schema, path, [_MAX_MERGED])

    def _flat(self, schema: object, path: tuple[str, ...], left: list[int]) -> tuple[JsonObject, tuple[str, ...]]:
        left[0] -= 1
        if not isinstance(schema, Mapping) or left[0] < 0:
            return {}, path
        out = dict(schema)
        reference = out.pop("$ref", None)
        every = out.pop("allOf", None)
        if isinstance(reference, str):
            target: object = {"type": "object"}
            if reference not in path:
                path = (*path, reference)
                target = self._find(reference)
            found, path = self._flat(target, path, left)
            out = {**found, **out}
        if isinstance(every, list):
            for part in every:
                found, path = self._flat(part, path, left)
                out = self.merge(out, found)
        return out, path

    def merge(self, first: Mapping[str, Any], second: Mapping[str, Any]) -> JsonObject:
        """Both schemas apply: the union of properties and of required; for everything else, the first wins."""
        out = {**second, **first}
        mine, theirs = first.get("properties"), second.get("properties")
        if isinstance(mine, Mapping) and isinstance(theirs, Mapping):
            out["properties"] = {
                **theirs,
                **{n: {"allOf": [v, theirs[n]]} if n in theirs and v != theirs[n] else v for n, v in mine.items()},
            }
        if isinstance(first.get("required"), list) and isinstance(second.get("required"), list):
            out["required"] = [*first["required"], *second["required"]]
        return out

    def _find(self, reference: str) -> object:
        if not reference.startswith("#"):
            return {"type": "object"}
        found: object = self._root
        for step in unquote(reference[1:]).split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            if isinstance(found, Mapping) and key in found:
                found = found[key]
            elif isinstance(found, list) and _INDEX.fullmatch(key) and int(key) < len(found):
                found = found[int(key)]
            else:
                return {"type": "object"}
        if (
            "/" not in reference and reference != "#"
        ):  # an anchor: rare, and clients that generate schemas never use one
            return {"type": "object"}
        return found if isinstance(found, Mapping) else {}


def siblings_for(raw: Mapping[str, Any], keys: Iterable[str]) -> JsonObject:
    """The members of ``raw`` that must be repeated in its alternatives."""
    wanted = frozenset(keys) | _PUSHED
    return {key: value for key, value in raw.items() if key in wanted}


_PUSHED = frozenset({"exclusiveMinimum", "exclusiveMaximum"})
