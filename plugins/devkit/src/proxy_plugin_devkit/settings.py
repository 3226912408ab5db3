"""``[plugins.devkit]``."""

from __future__ import annotations

from pydantic import Field

from proxy_core import PluginSettings


class DevkitSettings(PluginSettings):
    """``[plugins.devkit]``; ``PROXY_PLUGINS__DEVKIT__<KEY>`` wins over the file."""

    demo: bool = Field(False, description="Serve the toy models `demo/small` and `demo/large`; `serve --demo` sets it.")
