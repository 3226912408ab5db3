"""The head of a request as dialects see it: without the keys in it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import parse_qsl

from proxy_core.interfaces import RequestHead
from proxy_core.server.auth import KeyPlaces

_SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie"})


def request_head(scope: Mapping[str, Any], places: KeyPlaces, client: str = "") -> RequestHead:
    """The head of an ASGI request. The values of keys are empty, so a dialect only sees that there is one."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
    return RequestHead(
        method=scope["method"],
        path=scope["path"],
        parameters=scope.get("path_params", {}),
        query=_blank(query, places.parameters),
        headers=_blank(headers, places.headers | _SECRET_HEADERS),
        client=client,
    )


def _blank(values: Mapping[str, str], keys: Collection[str]) -> dict[str, str]:
    return {name: "" if name in keys else value for name, value in values.items()}
