"""``proxy-core top``: what the dashboard shows, in a terminal: for this proxy, or for remote ones.

It serves nothing; a proxy that runs imports neither its commands nor the library that draws.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pydantic import Field, SecretStr

from proxy_core import PluginContext, PluginInfo, PluginSettings, hookimpl

if TYPE_CHECKING:
    import click


class TopSettings(PluginSettings):
    """``[plugins.top]``."""

    key: SecretStr | None = Field(None, description="The admin key of remote proxies, unless ``--key-file`` names it.")


PLUGIN = PluginInfo(name="top", api=1, settings=TopSettings)


@hookimpl
def proxy_cli_commands(ctx: PluginContext) -> Iterable[click.Command]:
    from proxy_plugin_top.command import command_of

    return [command_of(ctx.settings(TopSettings).key)]
