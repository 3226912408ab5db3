"""The public API for plugin authors, with ``testing``, ``sse``, ``ndjson``, ``dialects`` and ``cli.api``.

All else is internal. The names come from ``proxy_core.api`` and are loaded when the first one is used, so that
importing a part of the package does not import all of it.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy_core.api import *
else:
    from importlib import import_module

    def __getattr__(name: str) -> object:
        if name == "__all__":
            return __dir__()
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            found = globals()[name] = getattr(import_module("proxy_core.api"), name)
        except AttributeError:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
        return found

    def __dir__() -> list[str]:
        return [name for name in vars(import_module("proxy_core.api")) if not name.startswith("_")]
