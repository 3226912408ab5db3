"""For users of Mirrowel's LLM-API-Key-Proxy: its environment variables keep their meaning.

Settings are read before plugins are asked, so the variables come through an entry point of their own
(``names.SOURCE``); this module makes the package a plugin that settings can disable and commands can list.
"""

from __future__ import annotations

from proxy_core import PluginInfo

PLUGIN = PluginInfo(name="mirrowel", api=1)
