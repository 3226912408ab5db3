"""From settings to the route of each provider's connections."""

from __future__ import annotations

import re
import ssl
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlencode, urlsplit

from proxy_core.errors import SettingsError
from proxy_core.network.routes import Route
from proxy_core.network.tls import usual_context
from proxy_core.settings.base import NetworkSettings
from proxy_core.settings.loading import LoadedSettings
from proxy_core.settings.schema import ProviderSettings

#: Parameters and headers whose values a response may well name.
_PUBLIC = re.compile(r"version|beta|referer|title|user-agent|accept|content-", re.I)
_CERTIFICATES = ("ca_file", "client_certificate", "client_key")


def routes_of(loaded: LoadedSettings, providers: Mapping[str, ProviderSettings]) -> Mapping[str, Route]:
    """The route of each provider, and under ``""`` that of everything else. Raises ``SettingsError``."""
    builder = _Builder(loaded)
    routes = {"": builder.route("upstream", loaded.settings.upstream)}
    for name, settings in providers.items():
        routes[name] = builder.route(f"providers.{name}", settings)
    if builder.problems:
        raise SettingsError(builder.problems)
    return routes


def unused_proxies(loaded: LoadedSettings, providers: Iterable[str]) -> list[str]:
    """The proxies that the environment names, if no setting says whether to use them."""
    settings = (loaded.settings.upstream, *map(loaded.provider, providers))
    if any(one.proxy is not None for one in settings):
        return []
    return [name for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY") if name in loaded.sources.variables]


class _Builder:
    def __init__(self, loaded: LoadedSettings) -> None:
        self._base = loaded.settings.upstream
        self._environment = {name: variable.value for name, variable in loaded.sources.variables.items()}
        self.problems: list[str] = []

    def route(self, place: str, settings: NetworkSettings) -> Route:
        own = settings if settings.proxy is not None else self._base
        proxy = own.proxy.get_secret_value() if own.proxy is not None else "direct"
        http, https, exceptions = self._proxies(proxy)
        for url in {http, https} - {None}:
            if str(url).startswith("socks") and find_spec("aiohttp_socks") is None:
                self.problems.append(f"{place}.proxy: SOCKS needs another package: pip install 'proxy-core[socks]'")
        provider = settings if isinstance(settings, ProviderSettings) else None
        if provider is not None and provider.unix_socket and str(provider.base_url).startswith("https:"):
            self.problems.append(f"{place}.unix_socket: there is no TLS over a Unix socket; base_url has to be http://")
        return Route(
            proxy_http=http,
            proxy_https=https,
            no_proxy=[*self._base.no_proxy, *exceptions],
            tls=self._context(place, settings),
            unix_socket=provider.unix_socket if provider is not None else None,
            query=_query(provider),
        )

    def _proxies(self, proxy: str) -> tuple[str | None, str | None, list[str]]:
        """For ``http``, for ``https``, and the exceptions."""
        if proxy == "direct":
            return None, None, []
        if proxy != "environment":
            return proxy, proxy, []
        environment, every = self._environment, self._environment.get("ALL_PROXY")
        exceptions = environment.get("NO_PROXY", "").replace(",", " ").split()
        return environment.get("HTTP_PROXY", every), environment.get("HTTPS_PROXY", every), exceptions

    def _context(self, place: str, settings: NetworkSettings) -> ssl.SSLContext | None:
        """A context of its own if certificates are configured, here or for all."""
        given = {name: getattr(settings, name) or getattr(self._base, name) for name in _CERTIFICATES}
        files = [(name, path) for name, path in given.items() if path is not None]
        missing = [f"{place}.{name}: there is no file {path}" for name, path in files if not path.is_file()]
        if missing or not files:
            self.problems += missing
            return None
        try:
            return _context(given["ca_file"], given["client_certificate"], given["client_key"])
        except (ssl.SSLError, OSError) as error:
            reason = getattr(error, "reason", None) or error.strerror or "it cannot be read"
            names = ", ".join(f"{name} = {path}" for name, path in files)
            self.problems.append(f"{place}: the certificates cannot be used ({names}): {reason}")
            return None


def _context(authorities: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authorities) if authorities else usual_context()
    if certificate is not None:
        context.load_cert_chain(certificate, key, password=_no_password)
    return context


def _no_password() -> str:
    """Instead of a question on the terminal, which may be unattended."""
    raise OSError(0, "the private key is encrypted")


def sent_secrets(settings: ProviderSettings, route: Route) -> Iterator[str]:
    """What the settings add to requests, or give the proxies on the way, and what may be a secret."""
    for name, value in [*settings.headers.items(), *settings.query.items()]:
        if _PUBLIC.search(name) is None:
            yield value.get_secret_value()
    for proxy in {route.proxy_http, route.proxy_https} - {None}:
        at = urlsplit(str(proxy))
        if at.password:
            name, password = unquote(at.username or ""), unquote(at.password)
            yield from (password, at.password, b64encode(f"{name}:{password}".encode()).decode())


def _query(provider: ProviderSettings | None) -> str:
    pairs = provider.query.items() if provider is not None else ()
    return urlencode([(name, value.get_secret_value()) for name, value in pairs])
