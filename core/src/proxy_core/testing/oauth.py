"""An authorization server on a real socket: codes, device codes, expiring and rotating tokens, and failures on demand.

::

    async with FakeOAuthServer(strict=True) as server, open_exchange() as exchange:
        tokens = server.issue("dev@example.com")
        server.fails(503)
        ...
        assert server.spent_again == []

Requests below ``/v1`` go to a scripted upstream, if they have a valid access token.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import secrets
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode

from pydantic import SecretStr

from proxy_core.interfaces import Tokens
from proxy_core.network.exchange import open_exchange
from proxy_core.testing.steps import Step, pause, stall
from proxy_core.testing.upstream import FakeUpstream, Script, SeenRequest

CLIENT_ID = "example-client"
CLIENT_SECRET = "example-secret"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"

__all__ = [
    "CLIENT_ID",
    "CLIENT_SECRET",
    "FakeOAuthServer",
    "Family",
    "Spending",
    "form",
    "open_exchange",
]


@dataclass(slots=True)
class Family:
    """The tokens of one login, from the first to the newest."""

    identity: str
    current: str = ""
    rotated: dict[str, float] = field(default_factory=dict)
    revoked: bool = False


@dataclass(slots=True)
class _Code:
    redirect_uri: str
    challenge: str | None


@dataclass(slots=True)
class _Device:
    user_code: str
    challenge: str | None
    until: float
    state: str = "pending"
    interval: float = 0.0
    asked_at: float = -1e9


@dataclass(frozen=True, slots=True)
class Spending:
    """One use of a refresh token: its result, and when (``time.time``)."""

    token: str
    outcome: str
    at: float


class FakeOAuthServer(FakeUpstream):
    """The server. ``life_s`` is the lifetime of access tokens; ``rotates``: a refresh returns a new refresh token.

    Access and refresh tokens begin with ``PREFIXES``, which tell vendors' tokens apart.
    If an old refresh token comes back within ``reuse_s``, the server returns the newest one
    again; later it rejects it, and in ``strict`` mode it revokes all tokens of the login.
    """

    PREFIXES = ("at-", "1//rt-")

    def __init__(
        self,
        *,
        life_s: float = 3600.0,
        rotates: bool = True,
        reuse_s: float = 0.0,
        strict: bool = False,
        identity: str = "dev@example.com",
        device_interval_s: float = 0.0,
        device_life_s: float = 60.0,
    ) -> None:
        super().__init__()
        self.life_s = life_s
        self.rotates = rotates
        self.reuse_s = reuse_s
        self.strict = strict
        self.identity = identity
        self.device_interval_s = device_interval_s
        self.device_life_s = device_life_s
        self.denies = False
        self.delay_s = 0.0
        self.spendings: list[Spending] = []
        self.families: list[Family] = []
        self.device_pages: list[str] = []
        self._failures: dict[str, deque[tuple[Script, bool]]] = {}
        self._access: dict[str, tuple[Family, float]] = {}
        self._codes: dict[str, _Code] = {}
        self._devices: dict[str, _Device] = {}

    # --- What tests say and ask ----------------------------------------------------------

    @property
    def base(self) -> str:
        return self.url.removesuffix("/v1")

    @property
    def token_url(self) -> str:
        return f"{self.base}/token"

    @property
    def accepted(self) -> list[str]:
        """Refresh tokens that were exchanged for new tokens, in order."""
        return [s.token for s in self.spendings if s.outcome in ("accepted", "reused")]

    @property
    def spent_again(self) -> list[str]:
        """Refresh tokens that were used again after their rotation."""
        return [s.token for s in self.spendings if s.outcome in ("reused", "replayed")]

    def issue(self, identity: str | None = None) -> Tokens:
        """Issue the tokens of a finished login."""
        answer = self._give(self._new_family(identity or self.identity))
        return Tokens(
            access_token=SecretStr(answer["access_token"]),
            refresh_token=SecretStr(answer["refresh_token"]),
            expires_at=datetime.fromtimestamp(time.time() + self.life_s, UTC),
            identity=identity or self.identity,
        )

    def fails(
        self,
        status: int = 503,
        body: bytes = b'{"error":"server_error"}',
        *,
        headers: Mapping[str, str] | None = None,
        path: str = "/token",
        delay_s: float = 0.0,
        times: int = 1,
    ) -> None:
        """Use these for the next responses of ``path``, without carrying out the requests."""
        steps: list[Step] = [*([pause(delay_s)] if delay_s else []), body]
        script = Script(status, {"content-type": "application/json", **(headers or {})}, steps)
        self._failures.setdefault(path, deque()).extend([(script, False)] * times)

    def resets(self, *, path: str = "/token", done: bool = False) -> None:
        """Drop the next connection; ``done``: after carrying out the request."""
        self._failures.setdefault(path, deque()).append((Script(reset=True), done))

    def stalls(self, *, path: str = "/token", done: bool = False, until: asyncio.Event | None = None) -> None:
        """Never send the next response, or an empty one at last; ``done``: but carry out the request."""
        self._failures.setdefault(path, deque()).append((Script(200, {}, (until or stall(),)), done))

    def approve(self, user_code: str) -> None:
        self._device_of(user_code).state = "approved"

    def deny(self, user_code: str) -> None:
        self._device_of(user_code).state = "denied"

    def expire_devices(self) -> None:
        for device in self._devices.values():
            device.until = 0.0

    def slow_down(self) -> None:
        """Answer the next poll of each device with ``slow_down``."""
        for device in self._devices.values():
            device.state = "too fast"

    def revoke_all(self) -> None:
        for family in self.families:
            family.revoked = True

    # --- The server ----------------------------------------------------------------------

    def _script(self, request: SeenRequest) -> Script:
        path, _, query = request.path.partition("?")
        if path.startswith("/v1"):
            good = self._identity(request) is not None
            return super()._script(request) if good else _json(401, {"error": {"message": "token expired"}})
        failures = self._failures.get(path)
        failure, done = failures.popleft() if failures else (None, True)
        script = self._answer(path, query, request) if done else None
        if failure is not None:
            return failure
        assert script is not None
        if self.delay_s:
            return Script(script.status, script.headers, [pause(self.delay_s), *script.steps])
        return script

    def _answer(self, path: str, query: str, request: SeenRequest) -> Script:
        fields = dict(parse_qsl(query or request.body.decode("ascii", "replace")))
        match request.method, path:
            case "GET", "/authorize":
                return self._authorize(fields)
            case "GET", "/authcode":
                return Script(200, {"content-type": "text/html"}, (f"<p>{fields.get('code')}</p>".encode(),))
            case "POST", "/token":
                return self._token(fields)
            case "POST", "/device/code":
                return self._device_code(fields)
            case "GET", "/device":
                self.approve(fields["user_code"])
                return Script(200, {"content-type": "text/html"}, (b"<p>Thank you.</p>",))
            case "GET", "/userinfo":
                identity = self._identity(request)
                return _json(200, {"email": identity}) if identity else _json(401, {"error": "invalid_token"})
            case "POST", "/revoke":
                for family in self.families:
                    family.revoked |= fields.get("token") in (family.current, *family.rotated)
                return _json(200, {})
            case _:
                return _json(404, {"error": "not_found"})

    def _authorize(self, fields: Mapping[str, str]) -> Script:
        back: dict[str, str] = {"state": fields.get("state", "")}
        if self.denies:
            back |= {"error": "access_denied", "error_description": "<b>no</b>"}
        else:
            code = f"4/0A{secrets.token_urlsafe(16)}"
            self._codes[code] = _Code(fields["redirect_uri"], fields.get("code_challenge"))
            back["code"] = code
        return Script(302, {"location": f"{fields['redirect_uri']}?{urlencode(back)}"}, (b"",))

    def _token(self, fields: Mapping[str, str]) -> Script:
        if fields.get("client_id") != CLIENT_ID or fields.get("client_secret") not in (None, CLIENT_SECRET):
            return _json(401, {"error": "invalid_client"})
        match fields.get("grant_type"):
            case "authorization_code":
                code = self._codes.pop(fields.get("code", ""), None)
                if (
                    code is None
                    or fields.get("redirect_uri") != code.redirect_uri
                    or not _proves(fields, code.challenge)
                ):
                    return _refuses("invalid_grant")
                return _json(200, self._give(self._new_family(self.identity)))
            case "refresh_token":
                return self._refresh(fields.get("refresh_token", ""))
            case grant if grant == DEVICE_GRANT:
                return self._device_token(fields)
            case _:
                return _refuses("unsupported_grant_type")

    def _refresh(self, token: str) -> Script:
        now = time.time()
        outcome, family = "unknown", None
        for candidate in self.families:
            if token == candidate.current:
                outcome, family = ("refused" if candidate.revoked else "accepted"), candidate
            elif token in candidate.rotated:
                in_time = now - candidate.rotated[token] <= self.reuse_s and not candidate.revoked
                outcome, family = ("reused" if in_time else "replayed"), candidate
        self.spendings.append(Spending(token, outcome, now))
        if family is not None and outcome == "replayed":
            family.revoked |= self.strict
        if family is None or outcome not in ("accepted", "reused"):
            return _refuses("invalid_grant", "Token has been expired or revoked.")
        return _json(200, self._give(family, rotate=self.rotates and outcome == "accepted"))

    def _device_code(self, fields: Mapping[str, str]) -> Script:
        code, typed = secrets.token_urlsafe(16), f"ABCD-{secrets.randbelow(9000) + 1000}"
        until = time.monotonic() + self.device_life_s
        self._devices[code] = _Device(typed, fields.get("code_challenge"), until, interval=self.device_interval_s)
        page = f"{self.base}/device"
        return _json(
            200,
            {
                "device_code": code,
                "user_code": typed,
                "verification_uri": page,
                "verification_uri_complete": f"{page}?user_code={typed}",
                "expires_in": self.device_life_s,
                "interval": self.device_interval_s,
            },
        )

    def _device_token(self, fields: Mapping[str, str]) -> Script:
        device = self._devices.get(fields.get("device_code", ""))
        now = time.monotonic()
        if device is None or device.until < now:
            return _refuses("expired_token")
        early, device.asked_at = now - device.asked_at < device.interval, now
        if device.state == "too fast" or early:
            device.state = "pending" if device.state == "too fast" else device.state
            return _json(429, {"error": "slow_down"})
        if device.state == "pending":
            return _refuses("authorization_pending")
        if device.state == "denied":
            return _refuses("access_denied")
        if not _proves(fields, device.challenge):
            return _refuses("invalid_grant")
        del self._devices[fields["device_code"]]
        return _json(200, self._give(self._new_family(self.identity)))

    def _device_of(self, user_code: str) -> _Device:
        return next(d for d in self._devices.values() if d.user_code == user_code)

    def _new_family(self, identity: str) -> Family:
        family = Family(identity, current=f"{self.PREFIXES[1]}{len(self.families)}-0-{secrets.token_urlsafe(12)}")
        self.families.append(family)
        return family

    def _give(self, family: Family, *, rotate: bool = False) -> dict[str, Any]:
        if rotate:
            family.rotated[family.current] = time.time()
            number = self.families.index(family)
            family.current = f"{self.PREFIXES[1]}{number}-{len(family.rotated)}-{secrets.token_urlsafe(12)}"
        access = f"{self.PREFIXES[0]}{secrets.token_urlsafe(16)}"
        self._access[access] = (family, time.monotonic() + self.life_s)
        claims = base64.urlsafe_b64encode(json.dumps({"sub": "1057", "email": family.identity}).encode()).decode()
        return {
            "access_token": access,
            "token_type": "Bearer",
            "expires_in": int(self.life_s),
            "refresh_token": family.current,
            "scope": "openid email",
            "id_token": f"eyJ.{claims.rstrip('=')}.sig",
        }

    def _identity(self, request: SeenRequest) -> str | None:
        family, until = self._access.get(request.key, (None, 0.0))
        return family.identity if family is not None and not family.revoked and until > time.monotonic() else None


def _proves(fields: Mapping[str, str], challenge: str | None) -> bool:
    if challenge is None:
        return True
    digest = hashlib.sha256(fields.get("code_verifier", "").encode()).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=") == challenge


def _json(status: int, body: Mapping[str, Any]) -> Script:
    return Script(status, {"content-type": "application/json"}, (json.dumps(body).encode(),))


def _refuses(error: str, description: str = "") -> Script:
    return _json(400, {"error": error, **({"error_description": description} if description else {})})


def form(request: SeenRequest) -> Sequence[tuple[str, str]]:
    """The fields of a form in a request."""
    return parse_qsl(request.body.decode())
