"""Which plugins load, and what a start does without one."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from proxy_core.settings.base import StrList


class PluginsTable(BaseModel):
    """``[plugins]``: which plugins load. Each plugin's own settings are in ``[plugins.<name>]``."""

    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True)

    disabled: StrList = Field(default_factory=list, description="Plugins to disable; they are not imported.")
    allowed: StrList | None = Field(None, description="If set, no other plugins are imported.")
    required: StrList = Field(default_factory=list, description="The proxy starts only if all of these are active.")
    optional: StrList = Field(
        default_factory=list,
        description="Plugins with sanitizers or redactors without which the proxy may start; it starts without any "
        "other plugin that fails.",
    )
    budget_s: float | None = Field(
        1.0,
        gt=0,
        description="How long one call of a plugin's function may take: it holds up all requests. Three longer ones in "
        "a row open its circuit breaker for 30 s; nothing then passes without a guard, and other providers are used. "
        "In a thread, only calls of ten times that length open it.",
    )
