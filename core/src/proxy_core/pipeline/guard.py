"""The core's own sanitizers: what a client's body may not carry upstream, and one repair.

A body cannot steer this proxy whatever it says, because destinations, headers and credentials
are never read from it. These names are taken out all the same: the upstream may be another
gateway that does read them, and an adapter may hand a body on as keyword arguments.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Literal

from proxy_core.interfaces import ProxyRequest, Sanitizer
from proxy_core.messages import JsonObject

log = logging.getLogger("proxy_core.steering")

#: Names as they are compared: lower case, letters and digits only. ``api_base`` is ``apibase``.
_NAMES = frozenset(
    """
    apibase baseurl apiurl apikey apikeys apiversion apitype
    headers extraheaders defaultheaders extraquery defaultquery authorization auth cookies cookie
    organization credentials credential clientid clientsecret tenantid hfapibase
    timeout streamtimeout requesttimeout readtimeout connecttimeout
    numretries maxretries retrypolicy retrystrategy fallbacks contextwindowfallbackdict cooldowntime
    customllmprovider modellist modelinfo
    callback callbacks callbackurl successcallback failurecallback inputcallback loggerfn
    httpclient transport sslverify verify cert proxy proxies httpproxy httpsproxy
    nolog turnoffmessagelogging dropparams additionaldropparams allowedopenaiparams
    """.split()
)
_PREFIXES = ("aws", "azure", "vertex", "litellm", "mock", "userapikey", "proxyserver", "langfuse", "hfapi")

#: What belongs to the conversation, not to the request's machinery. A tool may well have a
#: parameter named ``headers``; nothing below these is looked at.
_CONTENT = frozenset(
    """
    messages input prompt suffix instructions system contents systeminstruction
    tools toolchoice functions functioncall mcpservers responseformat text prediction generationconfig
    """.split()
)


@lru_cache(maxsize=4096)
def _role(name: str) -> Literal["steers", "content", "other"]:
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    if plain in _NAMES or plain.startswith(_PREFIXES):
        return "steers"
    return "content" if plain in _CONTENT else "other"


def steering_fields(body: JsonObject) -> Iterator[str]:
    """Dotted paths of the fields that :func:`unsteered` takes out."""
    for name, value in body.items():
        role = _role(name)
        if role == "steers":
            yield name
        elif role == "other":
            for inner in _objects(value):
                yield from (f"{name}.{path}" for path in steering_fields(inner))


def _objects(value: Any) -> Iterator[JsonObject]:
    if isinstance(value, dict):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _objects(item)


def unsteered(body: JsonObject) -> JsonObject:
    """``body`` without steering fields, at any depth outside the conversation; itself if it has none."""
    if next(steering_fields(body), None) is None:
        return body
    return {
        name: value if _role(name) == "content" else _cleaned(value)
        for name, value in body.items()
        if _role(name) != "steers"
    }


def _cleaned(value: Any) -> Any:
    if isinstance(value, dict):
        return unsteered(value)
    return [_cleaned(item) for item in value] if isinstance(value, list) else value


def _without_steering(request: ProxyRequest) -> ProxyRequest:
    body = unsteered(request.body)
    if body is request.body:
        return request
    # How many, not which: what leads to a field are names that a client made up.
    log.debug("left out %d steering fields", sum(1 for _ in steering_fields(request.body)))
    return request.with_body(body)


#: First in the chain: what other sanitizers add is the operator's own doing.
STEERING = Sanitizer(name="steering", rank=-1000, request=_without_steering)


def temperature_zero(action: Literal["remove", "set"]) -> Sanitizer:
    """Some models loop at temperature 0: leave the field out, or send 1.0."""

    def repair(request: ProxyRequest) -> ProxyRequest:
        temperature = request.body.get("temperature")
        if isinstance(temperature, bool) or temperature != 0:
            return request
        rest = {name: value for name, value in request.body.items() if name != "temperature"}
        return request.with_body(rest if action == "remove" else {**rest, "temperature": 1.0})

    return Sanitizer(name="temperature_zero", rank=-900, request=repair)
