"""The core's own sanitizers: what a client's body may not carry upstream, and one repair.

A body cannot steer this proxy whatever it says, because destinations, headers and credentials
are never read from it. These names are taken out all the same: the upstream may be another
gateway that does read them, and an adapter may hand a body on as keyword arguments.
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

#: What belongs to the conversation, not to the request's machinery. A tool may well have a
#: parameter named ``headers``; nothing below these is looked at.
_CONTENT = frozenset(
    """
    messages input prompt suffix instructions system contents systeminstruction
    tools toolchoice functions functioncall mcpservers responseformat text prediction generationconfig
    """.split()
)


class FieldFilter:
    """Takes fields out of a request's body, at any depth outside the conversation.

    ``names`` and ``prefixes`` are as they are compared: lower case, letters and digits only, so that ``apibase`` is
    ``api_base``, ``api-base`` and ``apiBase``. It is a :class:`Sanitizer`'s ``request``.
    """

    def __init__(self, *, names: Iterable[str] = (), prefixes: Iterable[str] = ()) -> None:
        self._names, self._prefixes = frozenset(names), tuple(prefixes)
        self.role = lru_cache(maxsize=4096)(self._role)

    def __call__(self, request: ProxyRequest) -> ProxyRequest:
        body = self.without(request.body)
        if body is request.body:
            return request
        # How many, not which: what leads to a field are names that a client made up.
        log.debug("left out %d steering fields", sum(1 for _ in self.found(request.body)))
        return request.with_body(body)

    def found(self, body: JsonObject) -> Iterator[str]:
        """Dotted paths of the fields that :meth:`without` takes out."""
        for name, value in body.items():
            role = self.role(name)
            if role == "steers":
                yield name
            elif role == "other":
                for inner in _objects(value):
                    yield from (f"{name}.{path}" for path in self.found(inner))

    def without(self, body: JsonObject) -> JsonObject:
        """``body`` without those fields; itself if it has none."""
        if next(self.found(body), None) is None:
            return body
        return {
            name: value if self.role(name) == "content" else self._cleaned(value)
            for name, value in body.items()
            if self.role(name) != "steers"
        }

    def _cleaned(self, value: Any) -> Any:
        if isinstance(value, dict):
            return self.without(value)
        return [self._cleaned(item) for item in value] if isinstance(value, list) else value

    def _role(self, name: str) -> Literal["steers", "content", "other"]:
        plain = re.sub(r"[^a-z0-9]", "", name.lower())
        if plain in self._names or plain.startswith(self._prefixes):
            return "steers"
        return "content" if plain in _CONTENT else "other"


def _objects(value: Any) -> Iterator[JsonObject]:
    if isinstance(value, dict):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _objects(item)


STEERING_FIELDS = FieldFilter(
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
#: First in the chain: what other sanitizers add is the operator's own doing.
GUARD = Sanitizer(name="guard", rank=-1000, request=STEERING_FIELDS)


def temperature_zero(action: Literal["remove", "set"]) -> Sanitizer:
    """Some models loop at temperature 0: leave the field out, or send 1.0."""

    def repair(request: ProxyRequest) -> ProxyRequest:
        temperature = request.body.get("temperature")
        if isinstance(temperature, bool) or temperature != 0:
            return request
        rest = {name: value for name, value in request.body.items() if name != "temperature"}
        return request.with_body(rest if action == "remove" else {**rest, "temperature": 1.0})

    return Sanitizer(name="temperature_zero", rank=-900, request=repair)
