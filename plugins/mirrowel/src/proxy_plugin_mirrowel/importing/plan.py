"""What an import would write, and the table that says so. Nothing is written here."""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec import Struct

from proxy_core import Variable, environment_name
from proxy_core.cli.api import StoredCredential
from proxy_plugin_mirrowel.importing import launcher, logins, names
from proxy_plugin_mirrowel.importing.keys import found_keys, to_store
from proxy_plugin_mirrowel.importing.making import Making
from proxy_plugin_mirrowel.importing.old_folder import OldFolder
from proxy_plugin_mirrowel.importing.rows import Row
from proxy_plugin_mirrowel.importing.settings import OLD_SELECTOR, Setting, as_settings, checked, settings_of
from proxy_plugin_mirrowel.importing.target import Target
from proxy_plugin_mirrowel.importing.usage_plan import UsagePlan, usage_plan
from proxy_plugin_mirrowel.names import FILTERS, of_unknown_provider
from proxy_plugin_mirrowel.rotation_names import ROTATION_NAMES

_OLD_DEFAULT_KEY = "VerysecretKey"
_PROXIES = ("HTTPS_PROXY", "ALL_PROXY", "HTTP_PROXY")


class Plan(Struct, frozen=True, kw_only=True):
    settings: list[Setting]
    credentials: list[StoredCredential]
    usage: UsagePlan
    rows: list[Row]

    @property
    def is_empty(self) -> bool:
        return not (self.settings or self.credentials or self.usage.new)


def made(old: OldFolder, target: Target) -> Plan:
    making = Making(old, target)
    based = _based(making)
    has_key = _client_key(making)
    providers = sorted({*based, *_keys(making, based), *_logins(making)})
    _settings(making, providers)
    _settings_of_plugins(making)
    _network(making)
    making.set(
        checked(("routing", "selector"), OLD_SELECTOR, (), target.loaded), ["(ROTATION_MODE of all other providers)"]
    )
    for setting, row in launcher.found(old.launcher, has_key, target.loaded):
        if setting is not None:
            making.set(setting, [row.what])
        else:
            making.rows.append(row)
    making.settle()
    _rest(making, providers)
    usage = usage_plan(old, target, [*making.credentials, *making.removed], datetime.now(UTC).date())
    rows = sorted([*making.rows, *usage.rows], key=lambda row: _place(row.what))
    return Plan(settings=making.settings, credentials=making.credentials, usage=usage, rows=rows)


def _based(making: Making) -> set[str]:
    """The providers with an address that can be used."""
    found = set()
    for name, variable in making.old.variables.items():
        provider, value = name.removesuffix("_API_BASE").lower(), variable.value.strip()
        if name.endswith("_API_BASE") and value:
            base = checked(("providers", provider, "base_url"), value, (name,), making.target.loaded)
            if base.problem:
                making.set(base)
            else:
                found.add(provider)
    return found


def _place(what: str) -> tuple[str, int]:
    """Lines of one file by number."""
    file, _, rest = what.partition(":")
    number = rest.split(" ")[0]
    return file, int(number) if number.isdecimal() else 0


# --- Keys and logins ---------------------------------------------------------------------


def _client_key(making: Making) -> bool:
    """Whether there is one that can be used."""
    variable = making.old.variables.get("PROXY_API_KEY")
    if variable is not None and (value := variable.value.strip()):
        key = checked(("clients", "default", "key"), value, (variable.name,), making.target.loaded)
        making.set(key)
        if value == _OLD_DEFAULT_KEY:
            note = "the key is the old program's default, which everybody knows: choose another one"
            making.rows.append(Row(what="(the value of PROXY_API_KEY)", verdict="differs", note=note))
        return not key.problem
    note = "without a key, the old proxy let everybody in; here clients need one, which the first start makes"
    if variable is not None:
        making.say(variable.name, "differs", note)
    else:
        making.rows.append(Row(what="(no PROXY_API_KEY)", verdict="differs", note=note))
    return False


def _keys(making: Making, based: set[str]) -> set[str]:
    """The providers that have one, of those that a plugin here serves, or one that can be installed."""
    keys = list(found_keys(making.old.variables.values()))
    providers = {key.provider for key in keys if not key.problem and key.provider in making.target.catalog.packages}
    digits = max(2, len(str(len(keys))))
    numbers: dict[str, int] = {}
    for key in keys:
        name = key.variable.name
        if key.problem:
            making.say(name, "no meaning here", key.problem)
        elif why := _unserved(making.target, key.provider, based):
            making.say(name, "differs", why)
        else:
            numbers[key.provider] = number = numbers.get(key.provider, 0) + 1
            verdict, note = making.store(to_store(key, number, digits))
            making.say(name, verdict, note)
    return providers | numbers.keys()


def _unserved(target: Target, provider: str, based: set[str]) -> str:
    """Why no plugin here would use a key; empty if one would."""
    catalog = target.catalog
    active = [plugin.info for plugin in catalog.plugins if plugin.state == "active" and plugin.info is not None]
    if provider in based or provider in catalog.providers or any(provider in info.presets for info in active):
        return ""
    if package := catalog.packages.get(provider):
        return f"import it again after: pip install {package}"
    if provider in names.RETIRED:
        return f"no plugin: {names.RETIRED[provider]}"
    if provider in names.NEED_SETTINGS:
        return f"needs [plugins.litellm.providers.{provider}] (proxy-plugin-litellm), and the key of litellm-{provider}"
    return (
        f"no installed plugin has a provider {provider!r}, and there is no {environment_name(provider)}_API_BASE for it"
    )


def _logins(making: Making) -> set[str]:
    """The providers that have one."""
    catalog, variables = making.target.catalog, making.old.variables
    files = list(logins.from_files(making.old.logins, catalog))
    paths = logins.from_paths(variables, [found.provider for found in files], catalog)
    providers = set()
    for found in [*files, *paths, *logins.from_variables(variables, catalog)]:
        if found.stored is not None:
            providers.add(found.provider)
            verdict, note = making.store(found.stored)
        else:
            verdict, note = "no meaning here" if found.idle else "differs", found.problem
        for name in found.names:
            making.say(name, verdict, note)
        if not found.names:
            making.rows.append(Row(what=found.what, verdict=verdict, note=note))
    return providers


# --- Settings ----------------------------------------------------------------------------


def _settings(making: Making, providers: list[str]) -> None:
    old = {
        name: variable
        for name, variable in making.old.variables.items()
        if (variable.value.strip() or name.startswith("QUOTA_GROUPS_")) and not names.reason(name)
    }
    found, unused = settings_of(old, providers, making.target.catalog)
    for setting in as_settings(found, old, making.target.loaded):
        making.set(setting)
    for line in unused:
        name, _, why = line.partition(" has no effect: ")
        making.say(name, "no meaning here", why)


def _settings_of_plugins(making: Making) -> None:
    """Variables that settings of plugins have taken over by their names."""
    for plugin in making.target.catalog.plugins:
        cls = plugin.info.settings if plugin.state == "active" and plugin.info is not None else None
        for key, candidates in (cls.variables if cls is not None else {}).items():
            for variable in making.untold(candidates):
                path, value = ("plugins", plugin.name, key), variable.value.strip()
                making.set(checked(path, value, (variable.name,), making.target.loaded, cls))


def _network(making: Making) -> None:
    """Variables that the old proxy's HTTP library read by itself."""
    loaded = making.target.loaded
    for number, variable in enumerate(making.untold(_PROXIES)):
        if number:
            making.say(variable.name, "no meaning here", "another variable sets the proxy for all addresses")
        else:
            making.set(checked(("upstream", "proxy"), variable.value.strip(), (variable.name,), loaded))
    for variable in making.untold(["NO_PROXY"]):
        making.set(checked(("upstream", "no_proxy"), variable.value, (variable.name,), loaded))


def _rest(making: Making, providers: list[str]) -> None:
    """Every variable that nothing has spoken about."""
    nobodys = of_unknown_provider(making.old.variables, providers)
    for name, variable in making.old.variables.items():
        if not making.is_told(name):
            making.say(name, "no meaning here", _why(variable, name in nobodys, bool(providers)))


def _why(variable: Variable, nobodys: bool, providers: bool) -> str:
    if not variable.value.strip():
        return "it is empty"
    if why := names.reason(variable.name):
        return why
    if variable.name in ROTATION_NAMES:  # for all providers
        return "each provider has a variable of its own, which wins" if providers else "there is no provider for it"
    if nobodys or any(form.replace("<NAME>", "") in variable.name for form in FILTERS):
        return "there is no provider of that name: it has no key, no login and no address that could be taken over"
    return "not a setting that the old proxy's documentation has"
