"""JSON Schema's ways to say one thing in several places, undone: ``$ref`` and ``allOf``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote

from proxy_core import JsonObject

_MAX_MERGED = 64
_INDEX = re.compile(r"[0-9]{1,5}")


class Resolver:
    """Knows the root that local references point into."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root

    def flat(self, schema: object, path: tuple[str, ...]) -> tuple[JsonObject, tuple[str, ...]]:
        """One level without ``$ref`` and ``allOf``, and the references followed to get there.

        A reference into itself, a remote or a dangling one is any object. Siblings of a
        reference override what it points to; of ``allOf``, the first type wins.
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
        """Both hold: properties and required united, of everything else the first."""
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
        if "/" not in reference and reference != "#":  # an anchor: rare, and never where clients make schemas
            return {"type": "object"}
        return found if isinstance(found, Mapping) else {}


def siblings_for(raw: Mapping[str, Any], keys: Iterable[str]) -> JsonObject:
    """What of ``raw`` belongs into its alternatives."""
    wanted = frozenset(keys) | _PUSHED
    return {key: value for key, value in raw.items() if key in wanted}


_PUSHED = frozenset({"exclusiveMinimum", "exclusiveMaximum"})
