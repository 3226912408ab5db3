"""What a plugin declares, and what its hooks receive."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from msgspec import Struct, field

from proxy_core.settings.schema import PluginSettings, ProviderSettings

__all__ = ["API", "Check", "PluginContext", "PluginInfo"]

#: The hook API of this core. The number rises when a hook or a required field is removed.
API = 1


S = TypeVar("S", bound=PluginSettings)


class PluginInfo(Struct, frozen=True, kw_only=True):
    """A plugin module's ``PLUGIN``: its name, and the hook API that it was written for.

    ``name`` is the entry point's name and the settings table ``[plugins.<name>]``.
    ``providers`` lists the providers that it defines, so that a plugin that serves any provider
    from settings leaves those alone. ``presets`` are the providers that it serves as soon as there is
    a key for them in ``<NAME>_API_KEY``; a request for one without a key gets an error that says so.
    ``packages`` are further providers that people have keys for, with the package to install for each.
    """

    name: str
    api: int
    settings: type[PluginSettings] | None = None
    providers: Sequence[str] = ()
    presets: Sequence[str] = ()
    packages: Mapping[str, str] = field(default_factory=dict)


class PluginContext(Protocol):
    """The argument of a hook: this plugin's own settings, logger and folder."""

    @property
    def plugin(self) -> str: ...
    @property
    def log(self) -> logging.Logger: ...
    @property
    def data_dir(self) -> Path:
        """This plugin's folder, created on first use with mode 0700."""
        ...

    @property
    def reserved_providers(self) -> frozenset[str]:
        """Names of providers that other active plugins define."""
        ...

    @property
    def active_plugins(self) -> frozenset[str]:
        """The other plugins that are enabled and have no error in their settings."""
        ...

    def settings(self, cls: type[S]) -> S:
        """The table ``[plugins.<name>]``, validated. Raises ``SettingsError``."""
        ...

    def provider_names(self) -> Sequence[str]:
        """Providers named in ``[providers]`` or by ``<NAME>_API_BASE``, sorted."""
        ...

    def stored_providers(self) -> Sequence[str]:
        """Providers for which a key or login was stored, sorted."""
        ...

    def provider(self, name: str) -> ProviderSettings:
        """The settings of one provider from file and environment; empty if nothing is set."""
        ...

    def leave_out(self, problem: str) -> None:
        """Say which settings are wrong, if what they are about is left out and the rest of the plugin works.

        A start warns of it, and ``proxy-core plugins`` and ``doctor`` show it. ``SettingsError`` leaves out the plugin.
        """
        ...

    def base_url(self, provider: str = "", *, required: bool = False) -> str:
        """A provider's ``base_url`` without a slash at its end, or ``""``. Without a name: the plugin's namesake.

        Raises ``SettingsError`` with what to set if it is ``required`` and missing.
        """
        ...


class Check(Struct, frozen=True, kw_only=True):
    """A doctor check: ``run`` returns a problem in one line, or ``None``."""

    name: str
    run: Callable[[], str | None]
