"""Notices plugins that change a request's body in place: the client's, which the next attempt and the record share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from msgspec import to_builtins
from msgspec.structs import replace

from proxy_core.interfaces import Credential, Encode, ProviderCall, ProxyRequest, Sanitizer
from proxy_core.jsons import is_beside
from proxy_core.messages import UpstreamRequest
from proxy_core.pipeline.guard import FieldFilter
from proxy_core.plugins.faults import place_of
from proxy_core.plugins.registry import Catalog

#: Looking takes time for each value, however long it is. Where there may be many: always at first, then rarely.
_FIRST, _EVERY = 5, 256


class ChangedInPlace(TypeError):
    """A plugin changed a request's body in place. It has to change a copy instead."""


def noticing(catalog: Catalog) -> Catalog:
    """The same catalog, whose sanitizers and encoders raise ``ChangedInPlace``.

    Sanitizers do so every time, except for large bodies; for these, and for encoders, the first calls are looked at,
    then one now and then, and all those after a finding.
    """

    def sanitizer(given: Sanitizer) -> Sanitizer:
        request = given.request
        ours = isinstance(request, FieldFilter) or catalog.owner("proxy_sanitizers", given.name) == "core"
        if request is None or ours:
            return given
        return replace(given, request=_sanitize(request, f"the sanitizer {given.name!r}"))

    providers = {
        name: replace(given, encode=_encode(given.encode, f"encode of the provider {name!r}"))
        for name, given in catalog.providers.items()
    }
    return replace(catalog, sanitizers=[sanitizer(given) for given in catalog.sanitizers], providers=providers)


def _sanitize(sanitize: Callable[[ProxyRequest], ProxyRequest], who: str) -> Callable[[ProxyRequest], ProxyRequest]:
    large = 0

    @wraps(sanitize)
    def noticed(request: ProxyRequest) -> ProxyRequest:
        nonlocal large
        if is_beside():
            large += 1
            if large > _FIRST and large % _EVERY:
                return sanitize(request)
        before = to_builtins(request.body)
        result = sanitize(request)
        if to_builtins(request.body) != before:
            large = 0
            raise ChangedInPlace(
                f"{who} {_at(sanitize)}changed request.body in place; return request.with_body({{...}}) with a copy"
            )
        return result

    return noticed


def _encode(encode: Encode, who: str) -> Encode:
    calls = 0

    @wraps(encode)
    def noticed(call: ProviderCall, credential: Credential) -> UpstreamRequest:
        nonlocal calls
        calls += 1
        if calls > _FIRST and calls % _EVERY:
            return encode(call, credential)
        shared = dict(call.body)  # the top level of the body is the provider's own
        before = _copied(shared, call)
        message = encode(call, credential)
        if _copied(shared, call) != before:
            calls = 0
            raise ChangedInPlace(
                f"{who} {_at(encode)}changed what is below the top level of its call in place; change a copy"
            )
        return message

    return noticed


def _at(call: object) -> str:
    place = place_of(call)
    return f"({place}) " if place else ""


def _copied(body: Mapping[str, Any], call: ProviderCall) -> tuple[object, object]:
    """Copies of all containers; texts, which may be long, are shared."""
    chat = to_builtins(call.chat) if call.chat is not None else {}
    chat.pop("read", None)  # by the notes of what an encoder reads
    chat.get("sampling", {}).pop("read", None)
    return to_builtins(body), chat
