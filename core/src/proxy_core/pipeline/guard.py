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
from proxy_core.jsons import loads
from proxy_core.messages import JsonObject

log = logging.getLogger("proxy_core.guard")

Role = Literal["guarded", "carrier", "content", "other"]

#: Fields that hold the conversation. A tool may well have a parameter named ``headers``, so
#: nothing below these is checked.
_CONTENT = frozenset(
    """
    messages input prompt suffix instructions system contents systeminstruction
    tools toolchoice functions functioncall mcpservers responseformat text prediction generationconfig
    """.split()
)


#: Fields that gateways merge into the request itself; they are removed whole if anything in them is guarded.
_CARRIERS = frozenset("additionalparams additionalparameters additionalmodelrequestfields".split())
#: Longer names are classified each time, so that no client fills the memory with its own.
_LONGEST_NAME = 64


class FieldFilter:
    """Removes fields from a request's body, at any depth outside the conversation.

    ``names`` and ``prefixes`` are in the form in which they are compared: lower case, letters and digits only. So
    ``apibase`` matches ``api_base``, ``api-base`` and ``apiBase``. A field whose value is a text of JSON with such a
    field in it is removed, too. Used as a :class:`Sanitizer`'s ``request``.
    """

    def __init__(self, *, names: Iterable[str] = (), prefixes: Iterable[str] = ()) -> None:
        self._names, self._prefixes = frozenset(names), tuple(prefixes)
        self._known_role = lru_cache(maxsize=4096)(self._role)

    def __call__(self, request: ProxyRequest) -> ProxyRequest:
        body = self.without(request.body)
        if body is request.body:
            return request
        # The number only: the path to a field consists of names that the client made up.
        log.debug("removed %d guarded fields", sum(1 for _ in self.found(request.body)))
        return request.with_body(body)

    def found(self, body: JsonObject) -> Iterator[str]:
        """Dotted paths of the fields that :meth:`without` removes."""
        pending: list[tuple[str, Any]] = [("", body)]
        while pending:
            at, value = pending.pop()
            if isinstance(value, list):
                pending += [(at, item) for item in value if isinstance(item, dict | list)]
                continue
            for name, inner in value.items():
                if self._guards(name, inner):
                    yield at + name
                elif isinstance(inner, dict | list) and self.role(name) != "content":
                    pending.append((f"{at}{name}.", inner))

    def without(self, body: JsonObject) -> JsonObject:
        """``body`` without those fields; the same object if it has none."""
        return body if next(self.found(body), None) is None else self._cleaned(body)

    def role(self, name: str) -> Role:
        return self._known_role(name) if len(name) <= _LONGEST_NAME else self._role(name)

    def _cleaned(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._cleaned(item) for item in value]
        if not isinstance(value, dict):
            return value
        return {
            name: inner if self.role(name) == "content" else self._cleaned(inner)
            for name, inner in value.items()
            if not self._guards(name, inner)
        }

    def _guards(self, name: str, value: Any) -> bool:
        role = self.role(name)
        if role == "content":
            return False
        if role == "guarded":
            return True
        if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
            return self._any_in(_json(value))
        return role == "carrier" and self._any_in(value)

    def _any_in(self, value: Any) -> bool:
        return isinstance(value, dict | list) and next(self.found({"": value}), None) is not None

    def _role(self, name: str) -> Role:
        plain = re.sub(r"[^a-z0-9]", "", name.lower())
        if plain in self._names or plain.startswith(self._prefixes):
            return "guarded"
        if plain in _CARRIERS:
            return "carrier"
        return "content" if plain in _CONTENT else "other"


def _json(text: str) -> Any:
    try:
        return loads(text)
    except ValueError:
        return None


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
