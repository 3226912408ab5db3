"""What a plugin is, and what its hooks are given."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from proxy_core.settings.schema import PluginSettings, ProviderSettings

#: The hook API this core speaks. It rises when a hook or a required field goes away.
API = 1


S = TypeVar("S", bound=PluginSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginInfo:
    """A plugin module's ``PLUGIN``: who it is and which hook API it was written for.

    ``name`` is the entry point's name and the settings table ``[plugins.<name>]``.
    ``providers`` names the providers it brings, so that a plugin which serves any provider
    from settings leaves those alone.
    """

    name: str
    api: int
    settings: type[PluginSettings] | None = None
    providers: Sequence[str] = ()


class PluginContext(Protocol):
    """What a hook is given: this plugin's own settings, logger and folder."""

    @property
    def plugin(self) -> str: ...
    @property
    def log(self) -> logging.Logger: ...
    @property
    def data_dir(self) -> Path:
        """This plugin's folder, made on first use, mode 0700."""
        ...

    @property
    def reserved_providers(self) -> frozenset[str]:
        """Names that other active plugins bring themselves."""
        ...

    def settings(self, cls: type[S]) -> S:
        """The table ``[plugins.<name>]``, validated. Raises ``SettingsError``."""
        ...

    def provider_names(self) -> Sequence[str]:
        """Providers named in ``[providers]`` or by ``<NAME>_API_BASE``, sorted."""
        ...

    def provider(self, name: str) -> ProviderSettings:
        """File and environment for one provider, merged; empty where nothing is set."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A doctor check: ``run`` returns a problem in one line, or ``None``."""

    name: str
    run: Callable[[], str | None]
