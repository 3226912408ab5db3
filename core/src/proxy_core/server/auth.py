"""Who is asking: client keys, compared in constant time."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl

from pydantic import SecretStr

from proxy_core.errors import Unauthorized

_KEY_HEADERS = (b"x-api-key", b"x-goog-api-key")


class ClientKeys:
    """The configured clients. Only digests are kept, so every comparison takes the same time."""

    def __init__(self, keys: Mapping[str, SecretStr]) -> None:
        self._digests = [(name, _digest(key.get_secret_value().encode())) for name, key in keys.items()]

    def identify(self, scope: Mapping[str, Any]) -> str:
        """The name of the client that sent this request. Raises ``Unauthorized``."""
        given = False
        for key in _offered(scope["headers"], scope["query_string"]):
            given = True
            digest, found = _digest(key), None
            for name, known in self._digests:  # all of them, whichever matches
                if hmac.compare_digest(digest, known):
                    found = name
            if found is not None:
                return found
        raise Unauthorized("The API key is wrong." if given else "An API key is required: Authorization: Bearer KEY.")


def _digest(key: bytes) -> bytes:
    return sha256(key).digest()


def _offered(headers: Iterable[tuple[bytes, bytes]], query: bytes) -> Iterator[bytes]:
    """Keys in the places where the dialects' clients put them."""
    for name, value in headers:
        if name == b"authorization":
            scheme, _, key = value.partition(b" ")
            if scheme.lower() == b"bearer" and key.strip():
                yield key.strip()
        elif name in _KEY_HEADERS and value.strip():
            yield value.strip()
    if query:
        for field, text in parse_qsl(query.decode("latin-1")):
            if field == "key" and text:
                yield text.encode()
