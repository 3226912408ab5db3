"""``[plugins.anthropic]``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from proxy_core import PluginSettings, StrList


class AnthropicSettings(PluginSettings):
    """``[plugins.anthropic]``; ``PROXY_PLUGINS__ANTHROPIC__<KEY>`` overrides the file.

    The base URL and keys are in ``[providers.anthropic]``.
    """

    betas: StrList = Field(
        ["*"], description="Betas that clients may ask for in `anthropic-beta`, as patterns; an empty list: none."
    )
    hosted_tools: Literal["drop", "refuse"] = Field(
        "drop",
        description="What happens to tools that only Anthropic runs (web search) if a model of another format serves "
        "the request. A tool that the request forces is refused in any case.",
    )
    own_betas: StrList = Field([], description="Betas that every request asks for.")
