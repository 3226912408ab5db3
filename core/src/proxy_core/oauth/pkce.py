"""Proofs that who redeems a code is who asked for it (RFC 7636), and states that cannot be guessed."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Pkce:
    """A verifier that stays here and the challenge that goes out. Always S256."""

    verifier: str = field(repr=False)
    challenge: str


def new_pkce(length: int = 64) -> Pkce:
    """A fresh pair; ``length`` of the verifier is 43 to 128."""
    from oauthlib.oauth2 import WebApplicationClient

    maker = WebApplicationClient("")
    verifier: str = maker.create_code_verifier(length)
    return Pkce(verifier, maker.create_code_challenge(verifier, "S256"))


def new_state() -> str:
    """256 random bits for one login; it carries nothing."""
    return secrets.token_urlsafe(32)
