"""Which wire formats a provider has, and which of them each model has. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from urllib.parse import urlsplit

from proxy_core import ProviderSettings
from proxy_plugin_openai_compat.quirks import CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, Vendor

PATHS: Mapping[str, str] = {
    CHAT: "/chat/completions",
    COMPLETIONS: "/completions",
    EMBEDDINGS: "/embeddings",
    RESPONSES: "/responses",
}
#: The plugin that formats which are not the core's come from.
_PLUGINS: Mapping[str, str] = {RESPONSES: "openai_responses"}


def problems(name: str, settings: ProviderSettings, plugins: frozenset[str]) -> Iterator[str]:
    """What is wrong with the settings ``dialects``. ``plugins`` are the active ones."""
    entries = {f"models.{model}.": about.dialects for model, about in settings.models.items()}
    for place, dialects in {"": settings.dialects, **entries}.items():
        where = f"providers.{name}.{place}dialects"
        for dialect in dialects:
            if dialect not in PATHS:
                yield f"{where}: {dialect!r} is not one of {', '.join(PATHS)}"
            elif not _usable(dialect, plugins):
                package = f"proxy-plugin-{_PLUGINS[dialect].replace('_', '-')}"
                yield f"{where}: {dialect!r} needs {package}: pip install {package}"


def _usable(dialect: str, plugins: frozenset[str]) -> bool:
    return dialect not in _PLUGINS or _PLUGINS[dialect] in plugins


def _own(vendor: Vendor, settings: ProviderSettings, plugins: frozenset[str]) -> tuple[str, ...]:
    """Those of the settings, or those of the vendor that are usable; of another server under the vendor's name, those
    that all compatible servers have."""
    usable = plugins if _is_at_home(vendor, settings) else frozenset[str]()
    return tuple(settings.dialects or (dialect for dialect in vendor.endpoints if _usable(dialect, usable)))


def _is_at_home(vendor: Vendor, settings: ProviderSettings) -> bool:
    """Whether requests go to the vendor itself, or to one of its regions."""
    home = urlsplit(vendor.base_url).hostname or ""
    host = home if settings.base_url is None else urlsplit(str(settings.base_url)).hostname or ""
    return host == home or host.endswith(f".{home}")


def maker(name: str, vendor: Vendor, settings: ProviderSettings) -> str:
    """Who can read what this provider's models seal, if it is not the vendor that the format comes from."""
    return "" if vendor.seals and _is_at_home(vendor, settings) else name


def formats(vendor: Vendor, settings: ProviderSettings, plugins: frozenset[str]) -> tuple[str, ...]:
    """All formats that the provider or one of its models has, best first."""
    of_models = (dialect for about in settings.models.values() for dialect in about.dialects)
    return tuple(dict.fromkeys([*_own(vendor, settings, plugins), *of_models]))


def formats_of(
    vendor: Vendor, settings: ProviderSettings, plugins: frozenset[str]
) -> Callable[[str], Sequence[str]] | None:
    """The formats of a model, by the upstream's id; ``None`` if all models have the same."""
    own = _own(vendor, settings, plugins)
    named = {about.id or model: tuple(about.dialects) for model, about in settings.models.items() if about.dialects}
    globs = vendor.only_responses if RESPONSES in own and not settings.dialects else ()
    if not named and not globs:
        return None

    @lru_cache(maxsize=1024)
    def of(model: str) -> Sequence[str]:
        only = any(fnmatchcase(model, glob) for glob in globs)
        return named.get(model) or ((RESPONSES,) if only else own)

    return of
