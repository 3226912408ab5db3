"""Anthropic's Messages API for proxy-core: for clients of every model, and as an upstream with API keys."""

from __future__ import annotations

from proxy_core import PluginInfo

__all__ = ["PLUGIN"]

PLUGIN = PluginInfo(name="anthropic", api=1)
