"""An example plugin whose tokens the proxy refreshes, for use with :class:`FakeOAuthServer`.

It has no login. ``proxy_plugin_oauth.testing`` adds logins, with the library that vendors' plugins use.
"""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

from pydantic import SecretStr

from proxy_core.credentials.expiry import token_expiry
from proxy_core.dialects.common import json_bytes
from proxy_core.failures.rate_limit_headers import retry_after_s
from proxy_core.interfaces import (
    Credential,
    CredentialRefresher,
    HttpClient,
    LoginRequired,
    Provider,
    ProviderCall,
    RetryRefresh,
    TokenFile,
    Tokens,
    TransportFailed,
)
from proxy_core.messages import UpstreamRequest
from proxy_core.plugins.plugin import Module
from proxy_core.testing.oauth import CLIENT_ID, CLIENT_SECRET, FakeOAuthServer
from proxy_core.testing.plugin import plugin_with

KIND = "example_oauth"
LOGIN = "proxy-core login example_oauth"


def read_file(data: bytes) -> Tokens:
    """The example CLI's file: ``access_token``, ``refresh_token``, ``expiry_date`` in ms, ``email``."""
    fields = json.loads(data)
    if not isinstance(fields, dict) or not isinstance(fields.get("refresh_token"), str):
        raise ValueError("refresh_token is missing")
    return Tokens(
        access_token=SecretStr(str(fields.get("access_token") or "")),
        refresh_token=SecretStr(fields["refresh_token"]),
        expires_at=token_expiry(fields.get("expiry_date")),
        identity=fields.get("email"),
    )


def write_file(old: bytes, credential: Credential) -> bytes:
    """The file with new tokens; unknown members are preserved."""
    fields = json.loads(old) if old else {}
    fields["access_token"] = credential.secret.get_secret_value()
    if credential.refresh_token is not None:
        fields["refresh_token"] = credential.refresh_token.get_secret_value()
    if credential.expires_at is not None:
        fields["expiry_date"] = int(credential.expires_at.timestamp() * 1000)
    return json.dumps(fields).encode()


class ExampleLock:
    """The lock of the example's own program: a file that exists while it is held."""

    def __init__(self, file: Path) -> None:
        self.path = file.with_suffix(".lock")
        self._held = False

    def try_acquire(self) -> bool:
        with suppress(FileExistsError):
            self.path.touch(0o600, exist_ok=False)
            self._held = True
        return self._held

    def release(self) -> None:
        if self._held:
            self._held = False
            self.path.unlink()


EXAMPLE_FILE = TokenFile(
    name="example_cli", read=read_file, write=write_file, paths=("~/.example/oauth_creds.json",), lock=ExampleLock
)


async def renew(credential: Credential, exchange: HttpClient, token_url: str) -> Tokens:
    """Spend the refresh token. Raises ``LoginRequired``, ``RetryRefresh``."""
    assert credential.refresh_token is not None
    fields = {
        "grant_type": "refresh_token",
        "refresh_token": credential.refresh_token.get_secret_value(),
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
    }
    headers = [("content-type", "application/x-www-form-urlencoded")]
    try:
        answer = await exchange(UpstreamRequest(url=token_url, headers=headers, content=urlencode(fields).encode()))
    except TransportFailed as error:
        raise RetryRefresh("the token server did not answer") from error
    now = datetime.now(UTC)
    if answer.status == 429 or answer.status >= 500:
        raise RetryRefresh(f"status {answer.status}", retry_after_s=retry_after_s(answer.headers, now))
    given = json.loads(answer.body)
    if given.get("error") == "invalid_grant":
        raise LoginRequired(f"the token server no longer accepts this login (invalid_grant); log in again: {LOGIN}")
    return Tokens(
        access_token=SecretStr(given["access_token"]),
        refresh_token=SecretStr(given["refresh_token"]),
        expires_at=now + timedelta(seconds=given["expires_in"]),
    )


def example_refresher(base: str, *, refresh_margin_s: float = 300.0) -> CredentialRefresher:
    async def refresh(credential: Credential, exchange: HttpClient) -> Tokens:
        return await renew(credential, exchange, f"{base}/token")

    async def test(credential: Credential, exchange: HttpClient) -> str:
        headers = [("authorization", f"Bearer {credential.secret.get_secret_value()}")]
        answer = await exchange(UpstreamRequest(url=f"{base}/userinfo", headers=headers, method="GET"))
        if answer.status == 401:
            raise LoginRequired(f"the access token is not accepted; log in again: {LOGIN}")
        return str(json.loads(answer.body)["email"])

    return CredentialRefresher(
        kind=KIND,
        refresh=refresh,
        test=test,
        files=[EXAMPLE_FILE],
        environment="EXAMPLE",
        refresh_margin_s=refresh_margin_s,
        notice="An example: nothing is at risk.",
    )


def example_provider(base: str) -> Provider:
    def encode(call: ProviderCall, credential: Credential) -> UpstreamRequest:
        headers = [
            ("authorization", f"Bearer {credential.secret.get_secret_value()}"),
            ("content-type", "application/json"),
        ]
        return UpstreamRequest(url=f"{base}/v1/chat/completions", headers=headers, content=json_bytes(call.body))

    return Provider(name="example", encode=encode, dialects=["openai_chat"], credential_kind=KIND)


def example_plugin(server: FakeOAuthServer) -> Module:
    """For ``run_proxy(..., modules=[example_plugin(server)])``."""
    return plugin_with(
        proxy_providers=[example_provider(server.base)],
        proxy_credential_refreshers=[example_refresher(server.base)],
    )
