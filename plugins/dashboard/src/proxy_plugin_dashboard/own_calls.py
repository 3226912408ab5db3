"""What pages ask of their own proxy: JSON from its addresses, or the words of a refusal."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from proxy_core import ByteStream, JsonObject, PageRequest, ProcessStatus
from proxy_plugin_dashboard.page import Asked

#: How often an account that is not known leads to a look at all of them.
_LOOK_S = 10.0


class Refused(Exception):
    """The proxy refused; the message is its own. ``body`` is its whole answer."""

    def __init__(self, message: str, status: int, body: Any = None) -> None:
        super().__init__(message)
        self.status, self.body = status, body


async def ask(request: PageRequest, path: str, query: Mapping[str, object] | None = None) -> Any:
    """Raises ``Refused``."""
    return await _json(request, "GET", f"{path}?{urlencode(query)}" if query else path)


async def tell(request: PageRequest, path: str, body: JsonObject | None = None) -> Any:
    """Raises ``Refused``."""
    return await _json(request, "POST", path, body)


async def _json(request: PageRequest, method: str, path: str, body: JsonObject | None = None) -> Any:
    response = await request.call(method, path, body)
    raw = response.body if isinstance(response.body, bytes) else await _whole(response.body)
    found = json.loads(raw)
    if response.status >= 400:
        raise Refused(error_message(found), response.status, found)
    return found


async def _whole(stream: ByteStream) -> bytes:
    return b"".join([piece async for piece in stream])


def error_message(found: Any) -> str:
    """Of an error in OpenAI's shape."""
    error = found.get("error") if isinstance(found, dict) else None
    message = error.get("message") if isinstance(error, dict) else error
    return message if isinstance(message, str) and message else "The proxy refused and did not say why."


def segment(text: str) -> str:
    """A part of a path."""
    return quote(text, safe="")


async def account_names(asked: Asked, wanted: Collection[str]) -> Mapping[str, str]:
    """The labels of accounts by fingerprint; what is not in the answer has none."""
    names: dict[str, str] = asked.kept.setdefault("account_names", {})
    unknown = not names.keys() >= set(wanted)
    if unknown and time.monotonic() - asked.kept.get("looked_at", -_LOOK_S) >= _LOOK_S:
        asked.kept["looked_at"] = time.monotonic()
        names.clear()
        names.update(_labels(await asked.request.statuses()))
    return names


def _labels(statuses: Sequence[ProcessStatus]) -> Mapping[str, str]:
    every = [credential for s in statuses for provider in s.providers for credential in provider.credentials]
    return {credential.id: credential.label or credential.id for credential in every}
