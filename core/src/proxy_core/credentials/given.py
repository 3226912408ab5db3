"""What refreshers of plugins return and raise, brought into a form in which it can do no harm."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime

from msgspec.structs import replace
from pydantic import SecretStr

from proxy_core.interfaces import Tokens

log = logging.getLogger("proxy_core.credentials")

#: No credential is refreshed twice within this time.
#: A token that is said to last no longer is used until it is rejected.
LEAST_BETWEEN_S = 10.0


def checked(tokens: object, now: datetime, name: str) -> Tokens:
    """The tokens with an expiry that makes sense. Raises ``TypeError`` or ``ValueError``, naming the wrong field."""
    if not isinstance(tokens, Tokens):
        raise TypeError(f"a refresh has to return Tokens, not {type(tokens).__name__}")
    _check_secret("access_token", tokens.access_token)
    if tokens.refresh_token is not None:
        _check_secret("refresh_token", tokens.refresh_token)
    for field, words in (("identity", tokens.identity), ("tier", tokens.tier)):
        if words is not None:
            _check_text(field, words)
    _check_text("unfinished", tokens.unfinished)
    if not isinstance(tokens.details, Mapping):
        raise TypeError("details has to be a mapping")
    for field, value in tokens.details.items():
        _check_text("the name of a detail", field)
        _check_text(field, value.get_secret_value() if isinstance(value, SecretStr) else value)
    return replace(tokens, expires_at=_expiry(tokens.expires_at, now, name))


def check_tokens(access_token: SecretStr, refresh_token: SecretStr | None) -> None:
    """Raises ``ValueError`` that names the token that cannot be sent. A missing one is no error."""
    for field, token in (("access_token", access_token), ("refresh_token", refresh_token)):
        if token is not None and token.get_secret_value():
            _check_secret(field, token)


def _check_secret(field: str, value: object) -> None:
    if not isinstance(value, SecretStr):
        raise TypeError(f"{field} has to be a SecretStr, not {type(value).__name__}")
    text = value.get_secret_value()
    if not text:
        raise ValueError(f"{field} is empty")
    if not text.isascii() or not text.isprintable():
        raise ValueError(f"{field} has characters that no header can hold")


def _check_text(field: str, value: object) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{field} has to be text, not {type(value).__name__}")
    value.encode()  # a lone surrogate could not be saved


def _expiry(given: object, now: datetime, name: str) -> datetime | None:
    if given is None:
        return None
    if not isinstance(given, datetime):
        raise TypeError(f"expires_at has to be a datetime, not {type(given).__name__}")
    if given.tzinfo is None:
        log.warning("%s: its plugin gave an expiry without a time zone; it is taken as UTC", name)
        given = given.replace(tzinfo=UTC)
    try:
        ends = given.astimezone(UTC)
    except OverflowError:
        return None
    left_s = (ends - now).total_seconds()
    if left_s < LEAST_BETWEEN_S:
        log.warning("%s: its new token is said to last %.1f s; it is used until it is rejected", name, left_s)
        return None
    return ends
