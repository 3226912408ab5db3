"""Where plugins' pages may be, and whether two of them overlap. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import combinations

from proxy_core.errors import PluginError
from proxy_core.interfaces.pages import ADMIN_ROOT, OTHER_PATHS

_PATH = re.compile(r"(/[A-Za-z0-9_][A-Za-z0-9._~-]*)+(/\*)?")


def check_paths(owners: Mapping[str, str]) -> None:
    """``owners``: a page's path to the plugin that adds it. Raises ``PluginError``."""
    for path, owner in owners.items():
        if path not in OTHER_PATHS and not (path.startswith(ADMIN_ROOT) and _PATH.fullmatch(path)):
            places = " or ".join((f"below {ADMIN_ROOT}", *OTHER_PATHS))
            raise PluginError(owner, f"page {path!r}: a page's path must be {places}, in letters, digits and '-._~'")
    for (one, first), (other, second) in combinations(owners.items(), 2):
        if first != second and overlap(one, other):
            raise PluginError(second, f"page {other!r} overlaps with page {one!r} of plugin {first!r}")


def overlap(one: str, other: str) -> bool:
    """Whether any address belongs to both."""
    return one == other or _covers(one, other) or _covers(other, one)


def _covers(path: str, other: str) -> bool:
    return path.endswith("/*") and other.startswith(path[:-1])
