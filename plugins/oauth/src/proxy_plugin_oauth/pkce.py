"""PKCE, which proves that the program that exchanges a code also requested it (RFC 7636), and random states."""

from __future__ import annotations

import secrets

from msgspec import Struct

from proxy_core import repr_without


class Pkce(Struct, frozen=True):
    """A verifier, which stays here, and the challenge, which is sent. The method is always S256."""

    __repr__ = repr_without("verifier")

    verifier: str
    challenge: str


def new_pkce(length: int = 64) -> Pkce:
    """A new pair; ``length`` is that of the verifier, 43 to 128."""
    from oauthlib.oauth2 import WebApplicationClient

    maker = WebApplicationClient("")
    verifier: str = maker.create_code_verifier(length)
    return Pkce(verifier, maker.create_code_challenge(verifier, "S256"))


def new_state() -> str:
    """256 random bits for one login, without any content."""
    return secrets.token_urlsafe(32)
