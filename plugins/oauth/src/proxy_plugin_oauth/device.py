"""Login without a browser on this machine: the user enters a code on any other device (RFC 8628)."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct
from pydantic import SecretStr

from proxy_core import (
    Clock,
    Deadline,
    HttpClient,
    HttpResponse,
    LoginFailed,
    LoginPrompt,
    RetryRefresh,
    SystemClock,
    Tokens,
    TransportFailed,
    load_json,
)
from proxy_plugin_oauth.client import OAuthClient
from proxy_plugin_oauth.pkce import Pkce, new_pkce
from proxy_plugin_oauth.tokens import OAuthRefused, read_tokens

_SLOWER_S = 5.0
_MAX_INTERVAL_S = 60.0
_MAX_LIFE_S = 3600.0

Sleep = Callable[[float], Awaitable[None]]


class DeviceCode(Struct, frozen=True, kw_only=True):
    """The code to enter, where to enter it, and the polling interval. ``complete_url`` already contains the code."""

    device_code: SecretStr
    user_code: str
    url: str
    complete_url: str | None = None
    expires_in_s: float = 300.0
    interval_s: float = 5.0


async def device_login(
    prompt: LoginPrompt,
    exchange: HttpClient,
    client: OAuthClient,
    *,
    device_url: str,
    scope: str,
    details: Sequence[str] = (),
    pkce: bool = True,
    clock: Clock | None = None,
    sleep: Sleep = asyncio.sleep,
) -> Tokens:
    """Show a code and wait until it has been entered. Cancellation takes effect at once.

    ``details`` is as in :func:`~proxy_plugin_oauth.read_tokens`. Raises ``LoginFailed``, ``OAuthRefused``.
    """
    clock = clock or SystemClock()
    proof = new_pkce() if pkce else None
    try:
        answer = await exchange(client.device_code_request(device_url, scope=scope, pkce=proof))
    except TransportFailed as error:
        raise LoginFailed("the login server did not respond; try again") from error
    code = read_device_code(answer)
    prompt.show_link(code.complete_url or code.url, code=code.user_code, qr=True)
    return await poll_device(exchange, client, code, pkce=proof, details=details, clock=clock, sleep=sleep)


def read_device_code(answer: HttpResponse) -> DeviceCode:
    """Read the code. Some servers report errors with status 200, without a ``device_code``. Raises ``LoginFailed``."""
    fields = _object(answer)
    code, typed, url = (fields.get(name) for name in ("device_code", "user_code", "verification_uri"))
    complete = fields.get("verification_uri_complete")
    url = url or complete
    if not (isinstance(code, str) and isinstance(typed, str) and isinstance(url, str)):
        error = fields.get("error")
        why = f" ({error[:100]!r})" if isinstance(error, str) else ""
        raise LoginFailed(f"the login server did not issue a code (status {answer.status}){why}")
    return DeviceCode(
        device_code=SecretStr(code),
        user_code="".join(c for c in typed if c.isprintable())[:64],
        url=_web(url),
        complete_url=_web(complete) if isinstance(complete, str) and complete else None,
        expires_in_s=_between(fields.get("expires_in"), 1.0, _MAX_LIFE_S, 300.0),
        interval_s=_between(fields.get("interval"), 0.0, _MAX_INTERVAL_S, 5.0),
    )


async def poll_device(
    exchange: HttpClient,
    client: OAuthClient,
    code: DeviceCode,
    *,
    pkce: Pkce | None,
    details: Sequence[str] = (),
    clock: Clock | None = None,
    sleep: Sleep = asyncio.sleep,
) -> Tokens:
    """Poll until the code has been entered, denied or has expired. An unreadable response does not end the wait.

    Raises ``LoginFailed``, ``OAuthRefused``.
    """
    clock = clock or SystemClock()
    end = Deadline.after(code.expires_in_s, clock)
    interval = code.interval_s
    request = client.device_token_request(code.device_code, pkce=pkce)
    while True:
        left = end.remaining_s(clock)
        await sleep(min(interval, left))
        if end.remaining_s(clock) <= 0:
            raise LoginFailed(f"the code was not entered within {code.expires_in_s:.0f} seconds; start over")
        try:
            answer = await exchange(request)
        except TransportFailed:
            # RFC 8628 requires a longer interval after a timeout.
            interval = min(interval * 2 or _SLOWER_S, _MAX_INTERVAL_S)
            continue
        error, slower = _waiting(answer)
        if slower:
            interval = min(interval + _SLOWER_S, _MAX_INTERVAL_S)
        elif error == "access_denied":
            raise LoginFailed("the login was denied on the other device")
        elif error == "expired_token" or answer.status == 401:
            raise LoginFailed("the code expired before it was entered; start over")
        elif error == "invalid_grant":
            raise LoginFailed("the login server no longer accepts this code; start over")
        elif error != "authorization_pending":
            try:
                return read_tokens(answer, now=clock.now(), login="start over", details=details)
            except RetryRefresh as later:
                interval = min(max(interval, later.retry_after_s or interval), _MAX_INTERVAL_S)
            except OAuthRefused as refused:
                if refused.status != 200 and refused.error == "unknown":
                    continue
                raise


def _waiting(answer: HttpResponse) -> tuple[str, bool]:
    """The error code, and whether to poll more slowly. Some servers report "pending" with status 200."""
    fields = _object(answer)
    if fields.get("status") == "pending" and "access_token" not in fields:
        return "authorization_pending", bool(fields.get("slowDown"))
    error = fields.get("error")
    return (error if isinstance(error, str) else ""), error == "slow_down"


def _object(answer: HttpResponse) -> Mapping[str, Any]:
    try:
        value = load_json(answer.body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _web(url: str) -> str:
    """Check a URL that will be shown and opened: http or https, and no control characters."""
    if not url.startswith(("https://", "http://")) or not url.isascii() or not url.isprintable() or " " in url:
        raise LoginFailed("the login server returned a URL that is not a web address")
    return url


def _between(value: object, low: float, high: float, default: float) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]  # any JSON value; a wrong type raises TypeError
    except (TypeError, ValueError):
        return default
    return min(max(number, low), high) if math.isfinite(number) else default
