"""proxy-core setup: the configuration of coding agents and other clients for your proxy."""

from __future__ import annotations

from proxy_core import PluginInfo

__all__ = ["PLUGIN"]

PLUGIN = PluginInfo(name="clients", api=1)
