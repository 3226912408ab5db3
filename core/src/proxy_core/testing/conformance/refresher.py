"""Cases for refreshers: token servers that answer, refuse and fail."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from msgspec import Struct, field
from pydantic import SecretStr

from proxy_core.interfaces import (
    Credential,
    CredentialRefresher,
    HttpResponse,
    LoginRequired,
    SetupRequired,
    Tokens,
    TransportFailed,
)
from proxy_core.messages import UpstreamRequest
from proxy_core.testing.conformance.case import Case, NotApplicable, expect

_ACCESS, _REFRESH = "contract-access-0123456789", "contract-refresh-0123456789"
_INVALID_GRANT = b'{"error": "invalid_grant", "error_description": "Token has been revoked."}'


class RefresherSubject(Struct, frozen=True, kw_only=True):
    """``response`` is a recorded response of the token server to a refresh, with a new refresh token if it rotates
    them; ``details`` are those of a credential.
    """

    refresher: CredentialRefresher
    response: bytes = b""
    details: Mapping[str, str | SecretStr] = field(default_factory=dict)

    @property
    def credential(self) -> Credential:
        return Credential(
            id="c0ffee00",
            provider="tested",
            kind=self.refresher.kind,
            secret=SecretStr(_ACCESS),
            refresh_token=SecretStr(_REFRESH),
            label="test",
            details=self.details,
        )


class _Server(Struct):
    """Answers every request the same. ``status=0``: there is no answer."""

    status: int
    body: bytes = b""
    urls: list[str] = field(default_factory=list)

    async def __call__(self, request: UpstreamRequest, *, timeout_s: float = 30.0) -> HttpResponse:
        self.urls.append(request.url)
        if not self.status:
            raise TransportFailed("no connection", sent=False)
        return HttpResponse(self.status, {"content-type": "application/json"}, self.body)


async def _refresh(subject: RefresherSubject, server: _Server) -> Tokens | Exception:
    try:
        return await subject.refresher.refresh(subject.credential, server)
    except Exception as error:  # which one it is, the cases check
        if isinstance(error, SetupRequired) and not server.urls:
            raise NotApplicable(f"set it up first: {error}") from error
        return error


async def _good(subject: RefresherSubject) -> tuple[Tokens, _Server]:
    if not subject.response:
        raise NotApplicable("give a recorded response of the token server: response_sample")
    server = _Server(200, subject.response)
    tokens = await _refresh(subject, server)
    expect(isinstance(tokens, Tokens), f"a good response gives {tokens!r}, not Tokens")
    assert isinstance(tokens, Tokens)
    return tokens, server


async def _reads_a_good_response(subject: RefresherSubject) -> None:
    tokens, _ = await _good(subject)
    access = tokens.access_token.get_secret_value()
    expect(access and access != _ACCESS, "the access token is the old one")
    if tokens.expires_at is not None:
        expect(tokens.expires_at.utcoffset() == timedelta(0), f"expires_at is not UTC: {tokens.expires_at!r}")


async def _returns_the_rotated_token(subject: RefresherSubject) -> None:
    tokens, _ = await _good(subject)
    if b"refresh_token" not in subject.response:
        raise NotApplicable("the recorded response has no new refresh token")
    rotated = tokens.refresh_token
    expect(rotated is not None, "the response has a new refresh token, but Tokens.refresh_token is None")
    expect(rotated is None or rotated.get_secret_value() != _REFRESH, "the refresh token is the old one")


async def _sends_tokens_where_it_says(subject: RefresherSubject) -> None:
    _, server = await _good(subject)
    hosts = [url.split("/")[2] for url in subject.refresher.servers]
    for url in server.urls:
        expect(url.split("/")[2] in hosts, f"{url} gets the token, and is not in CredentialRefresher.servers")
        expect(_REFRESH not in url, "the refresh token is in a URL, and so in access logs")


async def _tells_an_end_from_a_failure(subject: RefresherSubject) -> None:
    ended = await _refresh(subject, _Server(400, _INVALID_GRANT))
    expect(isinstance(ended, LoginRequired), f"invalid_grant must raise LoginRequired, not {ended!r}")


async def _survives_failures(subject: RefresherSubject) -> None:
    for status, body in ((0, b""), (500, b"{}"), (503, b"<html>"), (429, b"{}"), (200, b"<html>"), (200, b"{}")):
        result = await _refresh(subject, _Server(status, body))
        what = f"status {status}" if status else "no connection"
        expect(isinstance(result, Exception), f"{what} with {body!r} gives {result!r}")
        gone = isinstance(result, LoginRequired | SetupRequired)
        expect(not gone, f"{what} with {body!r} passes, but {result!r} takes the login out of use")


async def _keeps_tokens_out_of_errors(subject: RefresherSubject) -> None:
    for status in (0, 400, 401, 500, 200):
        body = f'{{"error": "x", "error_description": "bad token {_REFRESH} {_ACCESS}"}}'.encode()
        result: Any = await _refresh(subject, _Server(status, body))
        told = ""
        while result is not None:
            told += f"{result} {result!r}"
            result = getattr(result, "__cause__", None)
        expect(_REFRESH not in told and _ACCESS not in told, f"after a {status}, the error shows a token")


def _case(name: str, why: str, run: Any) -> Case[RefresherSubject]:
    return Case(name=name, group="refresher", why=why, run=run)


REFRESHER_CASES: tuple[Case[RefresherSubject], ...] = (
    _case("a good response", "Without the new token every request fails until a new login.", _reads_a_good_response),
    _case(
        "rotating tokens",
        "A server that rotates refresh tokens revokes the login when the old one comes back.",
        _returns_the_rotated_token,
    ),
    _case("tokens go only to its servers", "Operators are shown where their tokens go.", _sends_tokens_where_it_says),
    _case(
        "a login that has ended", "Its owner must be told; trying again does not help.", _tells_an_end_from_a_failure
    ),
    _case("failures that pass", "An outage of a token server must not end logins.", _survives_failures),
    _case("no token in an error", "Errors are logged and shown to clients.", _keeps_tokens_out_of_errors),
)
