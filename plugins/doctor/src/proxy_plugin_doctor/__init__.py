"""Commands for the operator: what is wrong with an installation, what a running proxy decides, what was used.

It serves nothing and has no settings; a proxy that runs does not import its commands. Other plugins show the settings
and their problems with what is exported here.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from proxy_core import PluginContext, PluginInfo, hookimpl

if TYPE_CHECKING:
    import click

    from proxy_plugin_doctor.config import check_settings
    from proxy_plugin_doctor.doctor import findings_of
    from proxy_plugin_doctor.effective import Value, effective_values
    from proxy_plugin_doctor.findings import Finding

__all__ = ["PLUGIN", "Finding", "Value", "check_settings", "effective_values", "findings_of"]

PLUGIN = PluginInfo(name="doctor", api=1)


@hookimpl
def proxy_cli_commands(ctx: PluginContext) -> Iterable[click.Command]:
    from proxy_plugin_doctor import config, cooldown, doctor, explain, models, plugins, reload, usage, why

    modules = (config, cooldown, doctor, explain, models, plugins, reload, usage, why)
    return [module.command for module in modules]


_EXPORTED = {
    "Finding": "findings",
    "Value": "effective",
    "check_settings": "config",
    "effective_values": "effective",
    "findings_of": "doctor",
}


def __getattr__(name: str) -> Any:
    """What others import is imported only then: it needs click and the core's command line."""
    if name not in _EXPORTED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"proxy_plugin_doctor.{_EXPORTED[name]}"), name)
