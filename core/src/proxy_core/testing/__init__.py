"""For tests of plugins and of the proxy: a scripted upstream and a whole proxy, both on real sockets.

pytest fixtures are in :mod:`proxy_core.testing.fixtures`; switch them on in a ``conftest.py``::

    pytest_plugins = ["proxy_core.testing.fixtures"]
"""

from proxy_core.testing.contract import ProviderContract, every_split
from proxy_core.testing.plugin import plugin_with
from proxy_core.testing.program import Program, run, serving
from proxy_core.testing.proxy import Answer, RunningProxy, run_proxy
from proxy_core.testing.upstream import FakeUpstream, Script, SeenRequest, chunk, cut, pause, stall

__all__ = [
    "Answer",
    "FakeUpstream",
    "Program",
    "ProviderContract",
    "RunningProxy",
    "Script",
    "SeenRequest",
    "chunk",
    "cut",
    "every_split",
    "pause",
    "plugin_with",
    "run",
    "run_proxy",
    "serving",
    "stall",
]
