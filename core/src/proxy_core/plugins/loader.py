"""Finds plugins, checks them and collects what each provides.

A plugin that fails is skipped with a reason, not a traceback, and the others still load. The kill
switch and the API handshake act on package metadata, before any of a plugin's code runs.
"""

from __future__ import annotations

import difflib
import inspect
import logging
import re
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import pluggy
from msgspec import Struct, field
from msgspec.structs import replace

from proxy_core import hookspecs
from proxy_core.errors import SettingsError
from proxy_core.files import files_in, private_folder
from proxy_core.interfaces import API, PluginInfo
from proxy_core.messages import repr_without
from proxy_core.plugins.faults import own_frames
from proxy_core.plugins.fields import wrong_field
from proxy_core.plugins.owners import taken, without_taken
from proxy_core.plugins.plugin import Module, Plugin
from proxy_core.plugins.sources import loose_file
from proxy_core.settings.base import environment_name
from proxy_core.settings.loading import LoadedSettings
from proxy_core.settings.schema import PluginSettings, ProviderSettings
from proxy_core.settings.secrets import secret_values
from proxy_core.settings.sources import entry_points
from proxy_core.version import VERSION

GROUP = "proxy_core.plugins"
#: Optional second entry point of the same name with the value ``v<N>``: the hook API the plugin is written for.
API_GROUP = "proxy_core.hook_api"

#: The hooks in the order in which they are called.
HOOKS = tuple(name for name in vars(hookspecs) if name.startswith("proxy_"))
#: From here on, one name passes for a slip of another: "redactoin" does, "redis" of "redaction" does not.
_ALIKE = 0.8


class _Manager(pluggy.PluginManager):
    def parse_hookimpl_opts(self, plugin: object, name: str) -> pluggy.HookimplOpts | None:
        """Of a module only functions are looked at: looking at its other names, too, takes five times as long."""
        if name.startswith("__"):
            return None
        if isinstance(plugin, ModuleType) and not inspect.isroutine(vars(plugin).get(name)):
            return None
        return super().parse_hookimpl_opts(plugin, name)


@lru_cache(maxsize=1)
def _manager() -> _Manager:
    """Only checks one module at a time, and finds its hooks."""
    manager = _Manager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    return manager


#: Settings are reloaded in a thread.
_ONE_AT_A_TIME = threading.Lock()
#: What a plugin has for each hook that it implements.
Hooks = Mapping[str, Sequence[pluggy.HookImpl]]

S = TypeVar("S", bound=PluginSettings)


class Context(Struct):
    """The :class:`~proxy_core.interfaces.PluginContext` of one plugin."""

    __repr__ = repr_without("loaded")

    plugin: str
    loaded: LoadedSettings
    reserved_providers: frozenset[str] = frozenset()
    active_plugins: frozenset[str] = frozenset()
    problems: list[str] = field(default_factory=list)

    @property
    def log(self) -> logging.Logger:
        return logging.getLogger(f"proxy_core.plugin.{self.plugin}")

    @property
    def data_dir(self) -> Path:
        folder = self.loaded.data_dir / "plugins" / self.plugin
        private_folder(folder)
        return folder

    def settings(self, cls: type[S]) -> S:
        return self.loaded.plugin(self.plugin, cls)

    def provider_names(self) -> Sequence[str]:
        return self.loaded.provider_names

    def stored_providers(self) -> Sequence[str]:
        files = files_in(self.loaded.vault_dir, "*/*.json")
        return sorted({file.parent.name for file in files if not file.name.startswith(".")})

    def provider(self, name: str) -> ProviderSettings:
        return self.loaded.provider(name)

    def leave_out(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)

    def base_url(self, provider: str = "", *, required: bool = False) -> str:
        name = provider or self.plugin
        url = str(self.provider(name).base_url or "").rstrip("/")
        if required and not url:
            set_it = f"set it in [providers.{name}], or {environment_name(name)}_API_BASE in the environment"
            raise SettingsError(f"providers.{name}.base_url is required: {set_it}")
        return url


def load_plugins(
    loaded: LoadedSettings, *, built_in: Sequence[Module] = (), only: Sequence[str] = HOOKS
) -> list[Plugin]:
    """Every installed plugin, sorted by name after the built-in ones, with the hooks in ``only`` called.

    Raises ``SettingsError`` for a table ``[plugins.<name>]`` without such a plugin, or a misspelled name in
    ``allowed`` or ``disabled``.
    """
    hooks: dict[str, Hooks] = {}
    found = [_import_built_in(module, hooks) for module in built_in]
    found += _without_twins([_import_installed(entry, loaded, hooks) for entry in _installed()])
    usable = frozenset(plugin.name for plugin in found if _is_usable(plugin, loaded))
    owners = {name: owner for name, (owner, _) in taken(found, loaded).items()}
    plugins = [
        _call_hooks(plugin, _context(plugin, found, usable, owners, loaded), hooks.get(plugin.name, {}), only)
        for plugin in found
    ]
    _check_names(loaded, plugins)
    return without_taken(plugins, loaded)


def is_installed(name: str) -> bool:
    """Whether a plugin of this name is installed, even if it is disabled."""
    return any(entry.name == name for entry in entry_points(GROUP))


class _Entry(Struct, frozen=True):
    """An entry point, its hook API, if stated, and whether another package has one of the same name."""

    point: metadata.EntryPoint
    api: int | None
    has_twin: bool


def _installed() -> list[_Entry]:
    """Sorted, as ``importlib.metadata`` returns entry points in arbitrary order."""
    stated = {entry.name: re.fullmatch(r"v(\d+)", entry.value) for entry in entry_points(API_GROUP)}
    found = sorted(entry_points(GROUP), key=lambda entry: (entry.name, entry.value))
    counts = Counter(entry.name for entry in found)
    return [
        _Entry(entry, int(api[1]) if (api := stated.get(entry.name)) else None, counts[entry.name] > 1)
        for entry in found
    ]


@lru_cache(maxsize=1000)
def name_and_version(dist: metadata.Distribution) -> tuple[str, str]:
    """A package's name and version. Each time that one is asked for, the whole description is parsed."""
    described = dist.metadata
    return described["Name"], described["Version"]


def _import_built_in(module: Module, hooks: dict[str, Hooks]) -> Plugin:
    info: PluginInfo = module.PLUGIN
    return _register(Plugin(name=info.name, distribution="proxy-core", version=VERSION), module, hooks)


def _import_installed(installed: _Entry, loaded: LoadedSettings, hooks: dict[str, Hooks]) -> Plugin:
    table, entry, api = loaded.settings.plugins, installed.point, installed.api
    distribution, version = name_and_version(entry.dist) if entry.dist else ("", "")
    plugin = Plugin(name=entry.name, version=version, distribution=distribution, api=api, module=entry.module)
    if entry.name in table.disabled:
        return replace(plugin, state="disabled", reason="listed in [plugins] disabled")
    if table.allowed is not None and entry.name not in table.allowed:
        return replace(plugin, state="not allowed", reason="not listed in [plugins] allowed")
    if entry.name in type(table).model_fields:
        return replace(plugin, reason="its name is a key of [plugins], so it can have no table of its own: rename it")
    if api not in (None, API):
        return replace(plugin, reason=_advice(api))
    if installed.has_twin:
        return plugin  # of both nothing is imported
    started = time.perf_counter()
    try:
        module = entry.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a plugin's import may fail in any way, also with SystemExit or a library's panic
        reason, took_s = f"import failed: {_message(error, loaded)}", time.perf_counter() - started
        return replace(plugin, reason=reason, error=own_frames(error), load_s=took_s)
    return replace(_register(plugin, module, hooks), load_s=time.perf_counter() - started)


def _register(plugin: Plugin, module: object, hooks: dict[str, Hooks]) -> Plugin:
    """Check a module's ``PLUGIN`` and hooks; these are added to ``hooks`` only if both are valid."""
    info = getattr(module, "PLUGIN", None)
    if not isinstance(info, PluginInfo):
        return replace(plugin, reason="has no PLUGIN = PluginInfo(...)")
    if problem := wrong_field(info):
        return replace(plugin, reason=f"its PLUGIN is {problem}")
    if info.name != plugin.name:
        return replace(plugin, reason=f"its PLUGIN is named {info.name!r}, its entry point {plugin.name!r}")
    if info.api != API:
        return replace(plugin, api=info.api, reason=_advice(info.api))
    if info.name in hooks:
        raise ValueError(f"two plugins are named {info.name!r}")
    # What is no module may be of one load only, and must not be kept.
    found = (_hooks_of_module if isinstance(module, ModuleType) else _hooks_of)(module, info.name)
    if isinstance(found, str):
        return replace(plugin, api=info.api, info=info, reason=found)
    hooks[info.name] = found
    return replace(plugin, api=info.api, info=info, hooks=tuple(found), state="active")


def _hooks_of(module: object, name: str) -> Hooks | str:
    """What it has for each hook, or what is wrong with it."""
    if unmarked := [hook for hook in HOOKS if _is_unmarked(getattr(module, hook, None))]:
        return f"{unmarked[0]} is not marked with @hookimpl"
    manager = _manager()
    with _ONE_AT_A_TIME:
        try:
            manager.register(module, name)
            manager.check_pending()
            found = {hook: impls for hook in HOOKS if (impls := getattr(manager.hook, hook).get_hookimpls())}
            return found or _no_hook(module)
        except pluggy.PluginValidationError as error:
            return _hook_problem(error)
        finally:
            if manager.has_plugin(name):
                manager.unregister(name=name)


#: Looking through all names of a module takes long, and a reload would only find the same.
_hooks_of_module = lru_cache(maxsize=1000)(_hooks_of)


def _is_unmarked(hook: object) -> bool:
    """Whether it is a function that would never be called."""
    return inspect.isroutine(hook) and not hasattr(hook, f"{hookspecs.PROJECT}_impl")


def _no_hook(module: object) -> str:
    """Why nothing of a plugin would ever be called."""
    meant = [name for name in dir(module) if name.startswith("proxy_") and _is_unmarked(getattr(module, name))]
    close = [hook for name in meant for hook in difflib.get_close_matches(name, HOOKS, n=1)]
    if close:
        return f"{meant[0]} is not marked with @hookimpl; did you mean {close[0]!r}?"
    return "implements no hook: none of the functions of its module is marked with @hookimpl"


def _without_twins(plugins: Sequence[Plugin]) -> list[Plugin]:
    """Of two packages with a plugin of one name, neither is used, because it is unclear which one is meant."""

    def checked(plugin: Plugin) -> Plugin:
        twins = [other for other in plugins if other.name == plugin.name]
        if len(twins) == 1 or plugin.state != "skipped":
            return plugin
        files = [loose_file(twin.module) for twin in twins]
        places = [file or twin.distribution or twin.module for file, twin in zip(files, twins, strict=True)]
        remedy = f"rename it in {files[-1]}, or remove that file" if files[-1] else f"pip uninstall {places[-1]}"
        what = "the packages " if not any(files) else ""
        return replace(plugin, reason=f"{what}{' and '.join(places)} both have a plugin {plugin.name!r}: {remedy}")

    return [checked(plugin) for plugin in plugins]


def _is_usable(plugin: Plugin, loaded: LoadedSettings) -> bool:
    """Whether the plugin is imported and has settings that are right; its hooks may still fail."""
    if plugin.state != "active" or plugin.info is None:
        return False
    with suppress(SettingsError):
        if plugin.info.settings is not None:
            loaded.plugin(plugin.name, plugin.info.settings)
        return True
    return False


def _context(
    plugin: Plugin, found: Sequence[Plugin], usable: frozenset[str], owners: Mapping[str, str], loaded: LoadedSettings
) -> Context:
    """``owners`` are the plugins that names of providers belong to."""
    others = [p.info for p in found if p.info and p.state == "active" and p.name != plugin.name]
    reserved = {name for info in others for name in info.providers}
    reserved |= {name for name, owner in owners.items() if owner != plugin.name}
    return Context(plugin.name, loaded, frozenset(reserved), usable - {plugin.name})


def _call_hooks(plugin: Plugin, context: Context, hooks: Hooks, only: Sequence[str]) -> Plugin:
    """Validate an imported plugin's settings and collect what its hooks return."""
    if plugin.state != "active" or plugin.info is None:
        return plugin
    loaded, started = context.loaded, time.perf_counter()
    try:
        if plugin.info.settings is not None:
            loaded.plugin(plugin.name, plugin.info.settings)
        provided = {hook: _collect(hook, impls, context) for hook, impls in hooks.items() if hook in only}
    except SettingsError as error:
        return replace(plugin, state="skipped", reason="; ".join(error.problems))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a hook may fail in any way; only its own plugin is skipped
        return replace(plugin, state="skipped", reason=_message(error, loaded, plugin), error=own_frames(error))
    took_s = time.perf_counter() - started
    return replace(plugin, provided=provided, reason="; ".join(context.problems), load_s=plugin.load_s + took_s)


def _collect(hook: str, impls: Sequence[pluggy.HookImpl], context: Context) -> list[Any]:
    """Called without pluggy, which leaves out a ``None``. A wrapper has nothing to wrap."""
    provided: list[Any] = []
    for impl in impls:
        if impl.wrapper or impl.hookwrapper:
            continue
        result = impl.function(*[context for _ in impl.argnames])
        if inspect.iscoroutine(result):
            result.close()
            raise TypeError(f"{hook} must be a plain function; the objects it returns may be async")
        if not isinstance(result, Iterable):
            raise TypeError(f"{hook} must return a list, not {'None' if result is None else type(result).__name__}")
        provided += result
    return provided


def _hook_problem(error: pluggy.PluginValidationError) -> str:
    match = re.search(r"unknown hook '?(\w+)'?", str(error))
    if not match:
        return _one_line(error)
    close = difflib.get_close_matches(match[1], HOOKS, n=1)
    return f"there is no hook {match[1]!r}" + (f"; did you mean {close[0]!r}?" if close else "")


def _advice(api: int) -> str:
    newer = "upgrade proxy-core" if api > API else "upgrade the plugin"
    return f"written for hook API {api}, this core speaks {API}: {newer}"


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _message(error: BaseException, loaded: LoadedSettings, plugin: Plugin | None = None) -> str:
    """The message of a plugin's exception, without any secret that the plugin may have received."""
    secrets = set(secret_values([loaded.settings, *map(loaded.provider, loaded.provider_names)]))
    if plugin is not None and plugin.info is not None and plugin.info.settings is not None:
        with suppress(SettingsError):
            secrets.update(secret_values(loaded.plugin(plugin.name, plugin.info.settings)))
    text = _one_line(error)
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "[redacted]")
    return text


def _check_names(loaded: LoadedSettings, plugins: Sequence[Plugin]) -> None:
    known = [plugin.name for plugin in plugins]
    problems = []
    for name in loaded.settings.plugins.model_extra or {}:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            problems.append(f"plugins.{name}: no plugin of this name is installed{hint}")
    for key, name in unknown_names(loaded, plugins):
        # Lists may name plugins that are not installed here, but a slip would leave one on, or a guard off.
        for alike in difflib.get_close_matches(name, known, n=1, cutoff=_ALIKE):
            problems.append(f"plugins.{key}: no plugin is named {name!r}; did you mean {alike!r}?")
    if problems:
        raise SettingsError(problems)


def unknown_names(loaded: LoadedSettings, plugins: Sequence[Plugin]) -> list[tuple[str, str]]:
    """The names in ``[plugins] allowed`` and ``disabled`` that no installed plugin has, each after its list's key."""
    known, table = {plugin.name for plugin in plugins}, loaded.settings.plugins
    named = [*(("allowed", n) for n in table.allowed or ()), *(("disabled", n) for n in table.disabled)]
    return [(key, name) for key, name in dict.fromkeys(named) if name not in known]
