"""What commands of plugins look at: what the plugins provide, the vault, and whether a proxy would start."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from msgspec import Struct

from proxy_core.credentials.encryption import encryption_of
from proxy_core.credentials.fingerprint import Fingerprints
from proxy_core.credentials.vault import Vault
from proxy_core.errors import ModelNotFound, ProxyError, SettingsError, SetupError
from proxy_core.interfaces import HttpClient, ModelSpec, StateBackend
from proxy_core.messages import JsonObject
from proxy_core.plugins.loader import HOOKS, load_plugins
from proxy_core.plugins.registry import Catalog, settled
from proxy_core.runtime.builtin import BuiltIn
from proxy_core.server.client_key import state_secret
from proxy_core.settings.loading import LoadedSettings

#: Longer than a provider's own time for its list.
_LISTS_S = 12.0
_ALL_BUT_COMMANDS = tuple(hook for hook in HOOKS if hook != "proxy_cli_commands")


def catalog_of(loaded: LoadedSettings, hooks: Sequence[str] = _ALL_BUT_COMMANDS) -> Catalog:
    """What plugins provide, also if a proxy would not start with it. Raises ``SetupError``."""
    return settled(load_plugins(loaded, built_in=[BuiltIn(loaded)], only=hooks), loaded, conflicts_too=True)


def vault_of(loaded: LoadedSettings, catalog: Catalog) -> Vault:
    """The stored credentials, with the files of other programs that refreshers can read."""
    files = [form for refresher in catalog.refreshers.values() for form in refresher.files]
    return Vault(loaded.vault_dir.absolute(), files, encryption_of(loaded.settings.credentials))


def fingerprints_of(loaded: LoadedSettings) -> Fingerprints:
    """From a secret to the id that stands for it in lists and logs. Raises ``SettingsError``."""
    return Fingerprints(state_secret(loaded))


def open_http(
    loaded: LoadedSettings, catalog: Catalog, provider: str, *, to_log_in: bool = False
) -> AbstractAsyncContextManager[HttpClient]:
    """The network of a provider, for as long as a command needs it; the only way for a command to send anything.

    ``to_log_in``: what is received will be a login. Raises ``SettingsError``, also where a start would refuse to send
    keys to an address in the working directory.
    """
    from proxy_core.network.exchange import open_exchange
    from proxy_core.network.routing import routes_of
    from proxy_core.runtime.pools import all_stored
    from proxy_core.runtime.working_directory import check_destinations

    stored = all_stored(catalog, loaded, vault_of(loaded, catalog), adopt=False)
    check_destinations(loaded, catalog, stored, adding=provider if to_log_in else None)
    return open_exchange(routes=routes_of(loaded, {provider: loaded.provider(provider)}), provider=provider)


def check_storing(loaded: LoadedSettings, catalog: Catalog, provider: str) -> None:
    """Raises ``SettingsError`` where the next start would refuse to run if a key or login of ``provider`` were stored,
    because a file that was merely found in the working directory says where it is sent or opens the proxy."""
    from proxy_core.runtime.working_directory import check_access, check_destinations

    check_destinations(loaded, catalog, {}, adding=provider)
    check_access(loaded, catalog, {}, adding=provider)


async def open_store(loaded: LoadedSettings) -> StateBackend:
    """The state of this installation, without a proxy. Raises ``SettingsError`` and whatever the store raises."""
    from proxy_core.runtime.process import state_store

    store, url = state_store(catalog_of(loaded, ("proxy_state_stores",)), loaded)
    return await store.open(url)


async def models_of(loaded: LoadedSettings) -> tuple[Mapping[str, ModelSpec], Mapping[str, str]]:
    """The models that clients see, by public name, and by provider why its list could not be read.

    Every provider is asked. Raises ``SetupError``.
    """
    from proxy_core.runtime.start import start

    active = start(loaded)
    async with active.current.open(), active.process.open():
        directory = active.current.directory
        return await directory.all(wait_s=_LISTS_S), dict(directory.problems)


def dry_run(loaded: LoadedSettings, body: JsonObject) -> dict[str, Any]:
    """The path that a request would take without any cooldowns. Raises ``SetupError`` and ``ProxyError``."""
    from proxy_core.runtime.start import start

    return start(loaded, to_run=False).current.dry_run(body)


def unknown_models(loaded: LoadedSettings, names: Sequence[str]) -> list[str]:
    """Those of ``names`` that settings lead to no provider; no provider is asked. Raises ``SetupError``."""
    from proxy_core.runtime.start import start

    proxy = start(loaded, to_run=False).current

    def known(name: str) -> bool:
        try:
            proxy.dry_run({"model": name})
        except ProxyError as error:
            return not isinstance(error, ModelNotFound)
        return True

    return [name for name in names if not known(name)]


class StartCheck(Struct, frozen=True, kw_only=True):
    """What would stop a start or skip a configured plugin, and what a start would warn about, a line each.

    ``catalog`` is ``None`` if the proxy could not be built.
    """

    problems: Sequence[str]
    warnings: Sequence[str] = ()
    catalog: Catalog | None = None


def check_start(loaded: LoadedSettings, *, here: bool = False) -> StartCheck:
    """Do everything that a start does, except listening. No token is written.

    ``here``: it would start on this machine, which has to have the address.
    """
    from proxy_core.runtime.start import start
    from proxy_core.server.serve import check_exposure, check_host, check_server

    problems = _tried(lambda: check_exposure(loaded))
    problems += _tried(lambda: check_host(loaded.settings.server)) if here else []
    servers = ("proxy_http_servers",)
    problems += _tried(lambda: check_server(loaded.settings.server, catalog_of(loaded, servers).http_servers))
    for name in loaded.provider_names:
        problems += _tried(lambda name=name: loaded.provider(name))  # type: ignore[misc]  # a loop's value, kept
    try:
        proxy = start(loaded, to_run=False).current
    except SetupError as error:
        return StartCheck(problems=list(dict.fromkeys([*problems, *lines_of(error)])))
    plugins = proxy.catalog.plugins
    skipped = [p for p in plugins if p.state == "skipped" and loaded.sets_up(p.name)]
    problems += [f"plugin {plugin.name} is not used: {plugin.reason}" for plugin in skipped]
    problems += [
        f"plugin {plugin.name}: {plugin.reason}" for plugin in plugins if plugin.state == "active" and plugin.reason
    ]
    warnings = [line for line in proxy.warnings if line not in problems]
    return StartCheck(problems=list(dict.fromkeys(problems)), warnings=warnings, catalog=proxy.catalog)


def lines_of(error: SetupError) -> list[str]:
    """One line per problem."""
    return list(error.problems) if isinstance(error, SettingsError) else str(error).splitlines()


def _tried(work: Callable[[], object]) -> list[str]:
    try:
        work()
    except SetupError as error:
        return lines_of(error)
    return []
