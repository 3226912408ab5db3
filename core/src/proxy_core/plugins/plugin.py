"""A plugin, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

from msgspec import Struct, field

from proxy_core.interfaces import PluginInfo

State = Literal["active", "disabled", "not allowed", "skipped"]


class Plugin(Struct, frozen=True, kw_only=True):
    """One installed plugin, its state and what it provides."""

    name: str
    version: str = ""
    distribution: str = ""
    api: int | None = None
    state: State = "skipped"
    reason: str = ""
    hooks: Sequence[str] = ()
    load_s: float = 0.0
    info: PluginInfo | None = None
    provided: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    #: What its entry point names; empty for a plugin that is not installed.
    module: str = ""
    #: Why it is skipped, with the traceback.
    error: BaseException | None = None


class Module(Protocol):
    """Anything with a ``PLUGIN`` and hook functions: a module, or an object in tests."""

    PLUGIN: PluginInfo
