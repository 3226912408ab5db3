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
    stored_responses: int = Field(
        1000, ge=0, description="How many responses to keep for each client, for 'previous_response_id'; 0: none."
    )
    stored_bytes: int = Field(64 * 1024 * 1024, gt=0, description="How many bytes to keep for each client.")
    stored_s: float = Field(30 * 86400.0, gt=0, description="How long to keep a response.")
