"""OpenAI's Responses API for proxy-core: for clients of every model, and for upstreams that support it."""

from __future__ import annotations

from proxy_core import PluginInfo

__all__ = ["PLUGIN"]

PLUGIN = PluginInfo(name="openai_responses", api=1)
