"""Another maker's opaque bytes, carried where a dialect has room for only one string: sealed with their maker's name.

A client returns the string unchanged; only a request to the same maker contains the bytes again. Pure.
"""

from __future__ import annotations

import base64
import binascii

import msgspec

from proxy_core.messages.content import Opaque

__all__ = ["is_sealed", "seal", "unseal"]

_PREFIX = "proxy1."
_FORM = msgspec.json.Decoder(tuple[str, str])


def seal(opaque: Opaque, maker: str) -> str:
    """The string for a client of ``maker``'s format: ``maker``'s own bytes as they are, all others sealed."""
    if opaque.maker == maker:
        return opaque.payload
    return _PREFIX + base64.urlsafe_b64encode(msgspec.json.encode((opaque.maker, opaque.payload))).decode()


def is_sealed(text: object) -> bool:
    """Whether only the proxy can read this."""
    return isinstance(text, str) and text.startswith(_PREFIX)


def unseal(text: str, maker: str) -> Opaque:
    """What a client of ``maker``'s format sent; a string without a seal is ``maker``'s own."""
    if is_sealed(text):
        try:
            found, payload = _FORM.decode(base64.urlsafe_b64decode(text.removeprefix(_PREFIX)))
        except (binascii.Error, ValueError):
            return Opaque(maker="proxy", payload="")  # a damaged seal fits no maker
        return Opaque(maker=found, payload=payload)
    return Opaque(maker=maker, payload=text)
