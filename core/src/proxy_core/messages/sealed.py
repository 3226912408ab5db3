"""Another maker's opaque bytes, carried where a dialect has room for only one string: sealed with their maker's name.

A client returns the string unchanged; only a request to the same maker contains the bytes again. Pure.
"""

from __future__ import annotations

import base64
import binascii

from proxy_core.jsons import dumps, loads
from proxy_core.messages.content import Opaque

__all__ = ["is_sealed", "pair_bytes", "read_pair", "seal", "unseal"]

_PREFIX = "proxy1."


def pair_bytes(first: str, second: str) -> bytes:
    """Two texts in one, also with halves of surrogate pairs."""
    return dumps([first, second])


def read_pair(data: bytes) -> tuple[str, str]:
    """What ``pair_bytes`` wrote. Raises ``ValueError``: clients may send anything."""
    match loads(data):
        case [str(first), str(second)]:
            return first, second
        case _:
            raise ValueError("not two texts")


def seal(opaque: Opaque, maker: str) -> str:
    """The string for a client of ``maker``'s format: ``maker``'s own bytes as they are, all others sealed."""
    if opaque.maker == maker:
        return opaque.payload
    return _PREFIX + base64.urlsafe_b64encode(pair_bytes(opaque.maker, opaque.payload)).decode()


def is_sealed(text: object) -> bool:
    """Whether only the proxy can read this."""
    return isinstance(text, str) and text.startswith(_PREFIX)


def unseal(text: str, maker: str) -> Opaque:
    """What a client of ``maker``'s format sent; a string without a seal is ``maker``'s own."""
    if is_sealed(text):
        try:
            found, payload = read_pair(base64.urlsafe_b64decode(text.removeprefix(_PREFIX)))
        except (binascii.Error, ValueError):
            return Opaque(maker="proxy", payload="")  # a damaged seal fits no maker
        return Opaque(maker=found, payload=payload)
    return Opaque(maker=maker, payload=text)
