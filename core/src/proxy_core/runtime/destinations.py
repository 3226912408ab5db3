"""Where each provider's keys and tokens are sent."""

from __future__ import annotations

import inspect
import ipaddress
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from proxy_core.interfaces import Credential, Encode, Provider, ProviderCall
from proxy_core.messages import UpstreamRequest
from proxy_core.plugins.registry import Catalog
from proxy_core.rotation.pool import Pool
from proxy_core.settings.loading import Sources
from proxy_core.settings.schema import ServerSettings


def address(provider: Provider, credential: Credential | None = None) -> str | None:
    """The upstream's URL, taken from a request that is built but not sent; building it is pure.

    The plugin's functions are called unwatched: no client has made a request, so a failure of theirs does not count.
    """
    blank = Credential(id="none", provider=provider.name, kind="none", secret=SecretStr("none"), label="none")
    try:
        request = _unsent(provider, credential or blank)
        return request.url.partition("?")[0]
    except KeyboardInterrupt:
        raise
    except BaseException:  # a plugin may need a real credential to know its address, and fail in any way
        return None


def _unsent(provider: Provider, credential: Credential) -> UpstreamRequest:
    if provider.list_models is not None:
        listing: Callable[[Credential], UpstreamRequest] = inspect.unwrap(provider.list_models.request)
        request = listing(credential)
    else:
        dialect = provider.dialects[0] if provider.dialects else None
        encode: Encode = inspect.unwrap(provider.encode)
        request = encode(ProviderCall(dialect=dialect, body={"model": "x", "messages": []}), credential)
    if (close := getattr(request, "close", None)) is not None:  # an async function, as a request will show
        close()
    return request


def server(provider: Provider, credential: Credential | None = None) -> str | None:
    """Scheme, host and port of the upstream."""
    return _server(address(provider, credential) or "")


def _server(url: str) -> str | None:
    with suppress(ValueError):  # a plugin may make any text of it
        parts = urlsplit(url)
        valid = parts.netloc and (parts.port or True)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if valid else None
    return None


def destinations(catalog: Catalog, pools: Mapping[str, Pool]) -> Iterator[str]:
    """In words, to which servers each provider's keys and tokens are sent."""
    for name, pool in pools.items():
        provider = catalog.providers[name]
        refresher = catalog.refreshers.get(provider.credential_kind)
        credentials = [credential for credential in pool.credentials if credential.kind != "none"]
        keys = [credential for credential in credentials if credential.kind == "api_key"]
        logins = [credential for credential in credentials if credential.kind != "api_key"]
        others = refresher.servers if refresher is not None and logins else ()
        for what, chosen, more in (("keys", keys, ()), ("tokens", logins, others)):
            urls = (*provider.servers, *more) if chosen else ()
            found = [*(server(provider, credential) for credential in chosen), *map(_server, urls)]
            named = list(dict.fromkeys(place for place in found if place is not None))
            if named:
                yield f"{what} of {name} are sent to {', '.join(named)}"


def points_here(provider: Provider, own: ServerSettings) -> str | None:
    """The provider's address if it is the one that this proxy listens on, so that its requests would come back."""
    place = server(provider)
    if place is None:
        return None
    parts = urlsplit(place)
    host, port = (parts.hostname or "").rstrip("."), parts.port or (443 if parts.scheme == "https" else 80)
    everywhere = own.host in ("0.0.0.0", "::")  # noqa: S104  # compared, not listened on
    local = {own.host, "localhost", "0.0.0.0", "::", *([socket.gethostname()] if everywhere else ())}  # noqa: S104
    return place if port == own.port and (host in local or _is_loopback(host)) else None


def _is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host.endswith(".localhost")


def files(sources: Sources) -> list[Path]:
    """The settings files that were read."""
    dotenvs = {variable.file for variable in sources.variables.values() if variable.file is not None}
    return [*([sources.file] if sources.file else []), *sorted(dotenvs)]
