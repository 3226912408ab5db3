"""Client authentication: identifies the client by its key, compared in constant time."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl

from msgspec import Struct
from pydantic import SecretStr

from proxy_core.errors import Unauthorized
from proxy_core.interfaces import Dialect

#: In the scope of a request that comes from inside the proxy: the name under which it does, without a key.
CALLER = "proxy_core.caller"


class KeyPlaces(Struct, frozen=True, kw_only=True):
    """Where clients send their key, besides ``Authorization: Bearer``: headers and query parameters, lower case."""

    headers: frozenset[str] = frozenset({"x-api-key"})
    parameters: frozenset[str] = frozenset()

    def of(self, dialects: Iterable[Dialect]) -> KeyPlaces:
        """These places, and those that the clients of ``dialects`` use."""
        headers, parameters = set(self.headers), set(self.parameters)
        for dialect in dialects:
            headers.update(dialect.key_headers)
            parameters.update(dialect.key_parameters)
        return KeyPlaces(headers=frozenset(headers), parameters=frozenset(parameters))


class ClientKeys:
    """The configured clients. Only digests are stored, so every comparison takes the same time.

    ``by_header``: only from headers, because addresses get into histories and the logs of reverse proxies.
    """

    def __init__(
        self, keys: Mapping[str, SecretStr], places: KeyPlaces | None = None, *, by_header: bool = False
    ) -> None:
        self.places = places or KeyPlaces()
        self._digests = [(name, _digest(key.get_secret_value().encode())) for name, key in keys.items()]
        self._headers = frozenset(name.encode("latin-1") for name in self.places.headers)
        self._parameters = frozenset[str]() if by_header else self.places.parameters

    def identify(self, scope: Mapping[str, Any]) -> str:
        """The name of the client that sent this request. Raises ``Unauthorized``."""
        given = False
        for key in self._offered(scope["headers"], scope["query_string"]):
            given = True
            digest, found = _digest(key), None
            for name, known in self._digests:  # compare all of them, even after a match
                if hmac.compare_digest(digest, known):
                    found = name
            if found is not None:
                return found
        caller: str | None = scope.get(CALLER)
        if caller is not None:
            return caller
        raise Unauthorized("The API key is invalid." if given else "An API key is required: Authorization: Bearer KEY.")

    def _offered(self, headers: Iterable[tuple[bytes, bytes]], query: bytes) -> Iterator[bytes]:
        for name, value in headers:
            if name == b"authorization":
                scheme, _, key = value.partition(b" ")
                if scheme.lower() == b"bearer" and key.strip():
                    yield key.strip()
            elif name in self._headers and value.strip():
                yield value.strip()
        if query and self._parameters:
            for field, text in parse_qsl(query.decode("latin-1")):
                if field in self._parameters and text:
                    yield text.encode()


def _digest(key: bytes) -> bytes:
    return sha256(key).digest()
