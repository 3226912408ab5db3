"""What litellm is best at: providers without a plugin of their own, token counters, prices and capabilities.

litellm itself is imported on first need, in the background; see :mod:`proxy_plugin_litellm.library`.
"""

from __future__ import annotations

from proxy_core import PluginInfo
from proxy_plugin_litellm.settings import LitellmSettings

PLUGIN = PluginInfo(name="litellm", api=1, settings=LitellmSettings)
