"""``[plugins.gemini]``."""

from __future__ import annotations

from pydantic import Field

from proxy_core import PluginSettings


class GeminiSettings(PluginSettings):
    """``[plugins.gemini]``; ``PROXY_PLUGINS__GEMINI__<KEY>`` overrides the file.

    The base URL and keys are in ``[providers.gemini]``.
    """

    signatures: int = Field(
        10_000, ge=0, description="How many thought signatures to keep for clients that do not send them back; 0: none."
    )
    signature_ttl_s: float = Field(3600, gt=0, description="How long to keep a signature.")
