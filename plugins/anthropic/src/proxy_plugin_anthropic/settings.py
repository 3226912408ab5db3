"""``[plugins.anthropic]``."""

from __future__ import annotations

from pydantic import Field

from proxy_core import PluginSettings, StrList


class AnthropicSettings(PluginSettings):
    """``[plugins.anthropic]``; ``PROXY_PLUGINS__ANTHROPIC__<KEY>`` overrides the file.

    The base URL and keys are in ``[providers.anthropic]``.
    """

    betas: StrList = Field(
        ["*"], description="Betas that clients may ask for in `anthropic-beta`, as patterns; an empty list: none."
    )
    own_betas: StrList = Field([], description="Betas that every request asks for.")
