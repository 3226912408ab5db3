"""For tests of plugins and of the proxy: a scripted upstream, a complete proxy, and the conformance kit.

Where this package is installed, pytest has its fixtures: ``upstream``, ``proxy`` and ``make_proxy``. The names come
from ``proxy_core.testing.api`` and are loaded when the first one is used, so that pytest starts as fast as without it.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy_core.testing.api import *
else:
    from importlib import import_module

    def __getattr__(name: str) -> object:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            found = globals()[name] = getattr(import_module("proxy_core.testing.api"), name)
        except AttributeError:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
        except ModuleNotFoundError as error:
            told = f"{error}: the kit needs what pip install 'proxy-core[testing]' installs"
            raise ModuleNotFoundError(told, name=error.name) from error
        return found

    def __dir__() -> list[str]:
        return import_module("proxy_core.testing.api").__all__
