"""The core's own sanitizers: one removes fields that a client must not send upstream, one repairs a field.

A body cannot control this proxy in any case, because destinations, headers and credentials are
never read from it. These fields are removed nevertheless: the upstream may be another gateway
that does read them, or an adapter may pass the body on as keyword arguments.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, Literal

from proxy_core.interfaces import ProxyRequest, Sanitizer
from proxy_core.messages import JsonObject

log = logging.getLogger("proxy_core.guard")

#: Fields that hold the conversation. A tool may well have a parameter named ``headers``, so
#: nothing below these is checked.
_CONTENT = frozenset(
    """
    messages input prompt suffix instructions system contents systeminstruction
    tools toolchoice functions functioncall mcpservers responseformat text prediction generationconfig
    """.split()
)


class FieldFilter:
    """Removes fields from a request's body, at any depth outside the conversation.

    ``names`` and ``prefixes`` are in the form in which they are compared: lower case, letters and digits only. So
    ``apibase`` matches ``api_base``, ``api-base`` and ``apiBase``. Used as a :class:`Sanitizer`'s ``request``.
    """

    def __init__(self, *, names: Iterable[str] = (), prefixes: Iterable[str] = ()) -> None:
        self._names, self._prefixes = frozenset(names), tuple(prefixes)
        self.role = lru_cache(maxsize=4096)(self._role)

    def __call__(self, request: ProxyRequest) -> ProxyRequest:
        body = self.without(request.body)
        if body is request.body:
            return request
        # The number only: the path to a field consists of names that the client made up.
        log.debug("removed %d guarded fields", sum(1 for _ in self.found(request.body)))
        return request.with_body(body)

    def found(self, body: JsonObject) -> Iterator[str]:
        """Dotted paths of the fields that :meth:`without` removes."""
        for name, value in body.items():
            role = self.role(name)
            if role == "guarded":
                yield name
            elif role == "other":
                for inner in _objects(value):
                    yield from (f"{name}.{path}" for path in self.found(inner))

    def without(self, body: JsonObject) -> JsonObject:
        """``body`` without those fields; the same object if it has none."""
        if next(self.found(body), None) is None:
            return body
        return {
            name: value if self.role(name) == "content" else self._cleaned(value)
            for name, value in body.items()
            if self.role(name) != "guarded"
        }

    def _cleaned(self, value: Any) -> Any:
        if isinstance(value, dict):
            return self.without(value)
        return [self._cleaned(item) for item in value] if isinstance(value, list) else value

    def _role(self, name: str) -> Literal["guarded", "content", "other"]:
        plain = re.sub(r"[^a-z0-9]", "", name.lower())
        if plain in self._names or plain.startswith(self._prefixes):
            return "guarded"
        return "content" if plain in _CONTENT else "other"


def _objects(value: Any) -> Iterator[JsonObject]:
    if isinstance(value, dict):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _objects(item)


GUARDED_FIELDS = FieldFilter(
    names="""
    apibase baseurl apiurl apikey apikeys apiversion apitype
    headers extraheaders defaultheaders extraquery defaultquery authorization auth cookies cookie
    organization credentials credential clientid clientsecret tenantid
    timeout streamtimeout requesttimeout readtimeout connecttimeout
    numretries maxretries retrypolicy retrystrategy fallbacks contextwindowfallbackdict cooldowntime
    customllmprovider modellist modelinfo
    callback callbacks callbackurl successcallback failurecallback inputcallback loggerfn
    httpclient transport sslverify verify cert proxy proxies httpproxy httpsproxy
    nolog turnoffmessagelogging dropparams additionaldropparams allowedopenaiparams
    """.split(),
    prefixes=("mock", "userapikey", "proxyserver"),
)
#: First in the chain: what other sanitizers add is the operator's own choice.
GUARD = Sanitizer(name="guard", rank=-1000, request=GUARDED_FIELDS)


def temperature_zero(action: Literal["remove", "set"]) -> Sanitizer:
    """Some models loop at temperature 0: leave the field out, or send 1.0."""

    def repair(request: ProxyRequest) -> ProxyRequest:
        temperature = request.body.get("temperature")
        if isinstance(temperature, bool) or temperature != 0:
            return request
        rest = {name: value for name, value in request.body.items() if name != "temperature"}
        return request.with_body(rest if action == "remove" else {**rest, "temperature": 1.0})

    return Sanitizer(name="temperature_zero", rank=-900, request=repair)
