"""Responses of a token endpoint: tokens, or the meaning of an error."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from pydantic import SecretStr

from proxy_core import (
    Clock,
    Credential,
    HttpClient,
    HttpResponse,
    LoginFailed,
    LoginRequired,
    RetryRefresh,
    SystemClock,
    Tokens,
    TransportFailed,
    UpstreamRequest,
    load_json,
    retry_after_s,
)
from proxy_plugin_oauth.client import OAuthClient

_SHOWN = 200
#: What may be a token, in a server's words.
_OPAQUE = re.compile(r"[\w.~+/=-]{20,}")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\.?")
#: A lifetime below this says nothing: some servers send 0 for "not stated".
_LEAST_LIFE_S = 10
_LONGEST_LIFE_S = 10 * 366 * 86_400
#: A server with a rate limit is not asked again after only a second.
_LIMITED_BACK_OFF_S = (60.0, 120.0, 240.0, 300.0)
#: Error codes of RFC 6749 and RFC 8628 that mean "not now".
_LATER = ("temporarily_unavailable", "server_error", "slow_down", "authorization_pending")


class OAuthRefused(LoginFailed):
    """The server rejected the request for a reason that neither waiting nor a new login fixes, like a wrong client.

    ``error`` is the server's error code, for example ``invalid_client``.
    """

    def __init__(self, message: str, *, error: str, status: int) -> None:
        super().__init__(message)
        self.error = error
        self.status = status


async def refresh_tokens(
    credential: Credential,
    exchange: HttpClient,
    client: OAuthClient,
    *,
    login: str,
    details: Sequence[str] = (),
    life_s: float | None = None,
    clock: Clock | None = None,
) -> Tokens:
    """Use the credential's refresh token; this is the whole ``refresh`` of a plugin without special needs.

    ``login`` is the command that logs in again. ``life_s`` and the errors are as for :func:`read_tokens`.
    """
    if credential.refresh_token is None:
        raise LoginRequired(f"there is no refresh token; log in again: {login}")
    request = client.refresh_request(credential.refresh_token)
    return await ask_for_tokens(exchange, request, login=login, details=details, life_s=life_s, clock=clock)


async def ask_for_tokens(
    exchange: HttpClient,
    request: UpstreamRequest,
    *,
    login: str,
    details: Sequence[str] = (),
    life_s: float | None = None,
    clock: Clock | None = None,
) -> Tokens:
    """Send a request to a token endpoint and read the response. Raises as :func:`read_tokens` does."""
    try:
        answer = await exchange(request)
    except TransportFailed as error:
        raise RetryRefresh(f"the token server did not respond ({error})") from error
    return read_tokens(answer, now=(clock or SystemClock()).now(), login=login, details=details, life_s=life_s)


def read_tokens(
    answer: HttpResponse, *, now: datetime, login: str, details: Sequence[str] = (), life_s: float | None = None
) -> Tokens:
    """The tokens in an RFC 6749 response; a missing refresh token stays ``None``, which keeps the old one.

    ``now`` is UTC. ``details`` names string members to keep (``resource_url``); ``scope`` is always kept.
    ``life_s`` is the lifetime of an access token for which the server states none. ``identity`` is the address or
    subject in the ``id_token``, unverified: a label, not a proof.
    Raises ``LoginRequired``, with ``login`` in its message, for ``invalid_grant``; ``RetryRefresh`` for 429,
    5xx and unreadable responses; ``OAuthRefused`` for other errors.
    """
    fields = _object(answer.body)
    if fields is None:
        page = answer.body.lstrip().startswith(b"<")
        raise _later(answer, now, "a web page" if page else "nothing" if not answer.body.strip() else "no token answer")
    if answer.status == 429 or answer.status >= 500:
        raise _later(answer, now, server_words(fields))
    if answer.status >= 300 and not fields.get("error"):
        fields = {**fields, "error": "unknown"}
    found = _parsed(fields, answer, now, login)
    kept = {name: value for name in ("scope", *details) if isinstance(value := fields.get(name), str) and value}
    refresh, stated_s = fields.get("refresh_token"), _lifetime_s(fields.get("expires_in"))
    lasts_s = life_s if stated_s < _LEAST_LIFE_S else stated_s
    return Tokens(
        access_token=SecretStr(found["access_token"]),
        refresh_token=SecretStr(refresh) if isinstance(refresh, str) and refresh else None,
        expires_at=None if lasts_s is None else now + timedelta(seconds=lasts_s),
        identity=id_token_label(fields.get("id_token")),
        details=kept,
    )


def _parsed(fields: dict[str, Any], answer: HttpResponse, now: datetime, login: str) -> dict[str, Any]:
    from oauthlib.oauth2 import OAuth2Error
    from oauthlib.oauth2.rfc6749.parameters import parse_token_response

    # Members that oauthlib does not need can only break it: a list of scopes, an expiry of another type.
    known = {name: fields[name] for name in ("access_token", "token_type", "error") if name in fields}
    try:
        found: dict[str, Any] = parse_token_response(json.dumps(known))
    except OAuth2Error as error:
        # Some servers report the kind of an invalid_grant in a separate member.
        told = (_told(fields.get(name)) for name in ("error_description", "error_subtype"))
        raise _refusal(str(error.error), ", ".join(filter(None, told)), answer, now, login) from error
    except (ValueError, TypeError, OverflowError) as error:
        raise _later(answer, now, "a token answer that cannot be read") from error
    if not isinstance(found["access_token"], str) or not found["access_token"]:
        raise _later(answer, now, "a token answer without a token")
    return found


def _lifetime_s(stated: object) -> float:
    """0 for what cannot be a lifetime. The tokens are kept even so: the old refresh token may be spent by now."""
    try:
        seconds = float(stated) if isinstance(stated, str | int | float) else 0.0
    except (ValueError, OverflowError):
        return 0.0
    return seconds if 0 <= seconds <= _LONGEST_LIFE_S else 0.0


def _refusal(error: str, words: str, answer: HttpResponse, now: datetime, login: str) -> Exception:
    said = f"{_told(error)}: {words}" if words else _told(error)
    if error == "missing_token":
        return _later(answer, now, "a token answer without a token")
    if error in _LATER:
        return _later(answer, now, said)
    if error == "invalid_grant":
        return LoginRequired(f"the token server no longer accepts this login ({said}); log in again: {login}")
    return OAuthRefused(
        f"the token server refused with status {answer.status} ({said})", error=error, status=answer.status
    )


def _later(answer: HttpResponse, now: datetime, why: str) -> RetryRefresh:
    text = f"the token server answered with status {answer.status}" + (f" ({why})" if why else "")
    back_off_s = _LIMITED_BACK_OFF_S if answer.status == 429 else ()
    return RetryRefresh(text, retry_after_s=retry_after_s(answer.headers, now), back_off_s=back_off_s)


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        value = load_json(body)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def server_words(fields: Mapping[str, Any]) -> str:
    """The text of an error response, made safe for a terminal and a log; what may be a token in it is hidden."""
    error = fields.get("error")
    about = {**fields, **error} if isinstance(error, dict) else fields
    said = (_told(about.get(name)) for name in ("error", "error_description", "message"))
    return ": ".join(filter(None, said))[:_SHOWN]


def _told(words: object) -> str:
    """A server's message, as :func:`_shown`. Some servers repeat the token that they refuse."""
    return _shown(_OPAQUE.sub(_hidden, words[: _SHOWN * 8])) if isinstance(words, str) else ""


def _hidden(word: re.Match[str]) -> str:
    """Words of a language have no digits; the id of a request, which support asks for, is a UUID."""
    harmless = not any(c.isdigit() for c in word[0]) or _UUID.fullmatch(word[0])
    return word[0] if harmless else "[hidden]"


def _shown(words: object) -> str:
    """A server's text, made safe for a terminal and a log."""
    text = "".join(c if c.isprintable() else " " for c in words[: _SHOWN * 2]) if isinstance(words, str) else ""
    return " ".join(text.split())[:_SHOWN]


def id_token_label(token: object) -> str | None:
    """``email`` or else ``sub`` of a JWT, unverified: useful only for distinguishing accounts."""
    if not isinstance(token, str) or token.count(".") != 2:
        return None
    payload = token.split(".")[1]
    try:
        claims = load_json(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except ValueError:
        return None
    if not isinstance(claims, dict):
        return None
    return next((_shown(v) for name in ("email", "sub") if isinstance(v := claims.get(name), str) and v), None)
