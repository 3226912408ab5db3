"""``[plugins.litellm]``."""

from __future__ import annotations

from proxy_core import PluginSettings


class LitellmSettings(PluginSettings):
    """What of litellm is used, and with which keywords."""
