"""``[plugins.openai_responses]``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from proxy_core import PluginSettings


class ResponsesSettings(PluginSettings):
    """``[plugins.openai_responses]``; ``PROXY_PLUGINS__OPENAI_RESPONSES__<KEY>`` overrides the file."""

    hosted_tools: Literal["drop", "refuse"] = Field(
        "drop",
        description="What happens to tools that only OpenAI runs (web search) if a model of another format serves the "
        "request. A tool that the request forces is refused in any case.",
    )
