"""Reload: reads settings again while requests run; builds and checks everything first, then activates it at once.

Running requests finish with the settings with which they began, and the process keeps its state.
If anything is wrong with the new settings, the previous settings remain in effect.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct, field
from msgspec.structs import asdict, replace

from proxy_core.errors import SettingsError, SetupError
from proxy_core.plugins.plugin import Module
from proxy_core.runtime.active import Active, Stopping
from proxy_core.runtime.advice import log_warnings
from proxy_core.runtime.catalog import load_catalog
from proxy_core.runtime.compose import build
from proxy_core.runtime.generation import Generation
from proxy_core.server.serve import check_exposure
from proxy_core.settings.loading import LoadedSettings
from proxy_core.settings.schema import ProxySettings

log = logging.getLogger("proxy_core.reload")

#: What a running process cannot change: its sockets, log and state store. ``None``: the whole table.
_FIXED: Mapping[str, Sequence[str] | None] = {
    "server": (
        *("host", "port", "workers", "http_server", "http2", "keep_alive_s", "shutdown_grace_s"),
        *("tls_certificate", "tls_key", "hypercorn"),
    ),
    "log": None,
    "state": ("url", "secret"),
    "credentials": ("vault_keys", "vault_keyring"),
}


class Reloaded(Struct, frozen=True, kw_only=True):
    """The outcome of a reload. Holds keys of settings and fingerprints only, never a value."""

    reloaded: bool
    changed: Sequence[str] = ()
    needs_restart: Sequence[str] = ()
    warnings: Sequence[str] = ()
    problems: Sequence[str] = ()


class Reloader(Struct, kw_only=True):
    """Reloads the settings of one process, one reload at a time; after ``active.stop`` it refuses.

    ``read`` reads the settings as at startup. ``activated`` is called with each new generation.
    """

    active: Active
    read: Callable[[], LoadedSettings]
    modules: Sequence[Module] = ()
    activated: Callable[[Generation], None] = lambda generation: None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def __call__(self) -> Reloaded:
        """Raises nothing: problems are returned and logged."""
        async with self._lock:
            try:
                done = await self._reload(self.active.current)
            except SetupError as error:
                done = Reloaded(reloaded=False, problems=str(error).splitlines())
            except Exception as error:  # a plugin may fail in any way; the current generation keeps serving
                log.debug("reload", exc_info=True)
                done = Reloaded(reloaded=False, problems=[f"the new settings cannot be used: {type(error).__name__}"])
        _log(done)
        return done

    async def answer(self) -> dict[str, Any]:
        return asdict(await self())

    async def _reload(self, old: Generation) -> Reloaded:
        if self.active.stop.is_set():
            raise Stopping("the server is stopping")
        # In a thread, because reading files and loading plugins would delay streams for too long.
        new, needs_restart = await asyncio.to_thread(self._built, old)
        changed = list(_changed(old, new))
        await self.active.replace(new)
        self.activated(new)
        log_warnings(log, new.warnings, new.catalog)
        return Reloaded(reloaded=True, changed=changed, needs_restart=needs_restart, warnings=new.warnings)

    def _built(self, old: Generation) -> tuple[Generation, list[str]]:
        read, file = self.read(), old.loaded.sources.file
        if file is not None and not file.exists():
            # Probably an editor is saving the file; it is unlikely that all clients and providers should go.
            raise SettingsError([f"{file}: the settings file no longer exists; restore it, or restart without it"])
        loaded, needs_restart = _with_fixed(read, old.loaded.settings)
        check_exposure(loaded)
        try:
            return build(loaded, load_catalog(loaded, self.modules), self.active.process), needs_restart
        except SettingsError as error:  # a file that only a new vault key opens, for example
            restart = [f"needs a restart: {', '.join(needs_restart)}"] if needs_restart else []
            raise SettingsError([*error.problems, *restart]) from error


def needs_restart(key: str) -> bool:
    """Whether a running process goes on with the value that the setting ``key`` had at its start."""
    table, _, rest = key.partition(".")
    keys = _FIXED.get(table, ())
    return keys is None or rest.partition(".")[0] in keys


def _log(done: Reloaded) -> None:
    if not done.reloaded:
        log.error("reload failed, the previous settings remain in effect: %s", "; ".join(done.problems))
        return
    log.info("settings reloaded; changed: %s", ", ".join(done.changed) or "nothing")
    for key in done.needs_restart:
        log.warning("needs a restart: %s", key)


def _with_fixed(loaded: LoadedSettings, old: ProxySettings) -> tuple[LoadedSettings, list[str]]:
    """The new settings with the fixed ones unchanged, and the keys that need a restart."""
    settings, concerned, kept = loaded.settings, [], {}
    for table, keys in _FIXED.items():
        now, wanted = getattr(old, table), getattr(settings, table)
        fixed = [k for k in keys or type(now).model_fields if getattr(now, k) != getattr(wanted, k)]
        concerned += [f"{table}.{key}" for key in fixed]
        kept[table] = wanted.model_copy(update={key: getattr(now, key) for key in fixed})
    return replace(loaded, settings=settings.model_copy(update=kept)), concerned


def _changed(old: Generation, new: Generation) -> Iterator[str]:
    """Keys of settings whose values changed, and credentials that were added or removed."""
    yield from _differences((), _effective(old), _effective(new))
    for name in sorted({*old.plans, *new.plans}):
        had, has = ({c.id for c in g.plans[name].credentials} if name in g.plans else set() for g in (old, new))
        yield from (f"credential {name} +{credential}" for credential in sorted(has - had))
        yield from (f"credential {name} -{credential}" for credential in sorted(had - has))


def _effective(generation: Generation) -> dict[str, Any]:
    loaded = generation.loaded
    plugins = {
        p.name: loaded.plugin(p.name, p.info.settings).model_dump()
        for p in generation.catalog.plugins
        if p.state == "active" and p.info is not None and p.info.settings is not None
    }
    providers = {name: loaded.provider(name) for name in loaded.provider_names} | dict(generation.providers)
    tables = loaded.settings.model_dump(exclude={"providers", "plugins"})
    named = {name: settings.model_dump() for name, settings in providers.items()}
    return {**tables, "providers": named, "plugins": {**dict(loaded.settings.plugins), **plugins}}


def _differences(path: tuple[str, ...], old: object, new: object) -> Iterator[str]:
    if old == new:
        return
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        yield ".".join(path)
        return
    for key in sorted({*old, *new}):
        inner = (*path, str(key))
        if key in old and key in new:
            yield from _differences(inner, old[key], new[key])
        else:
            yield f"{'.'.join(inner)} ({'new' if key in new else 'gone'})"
