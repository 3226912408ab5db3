"""A plugin whose provider wants OAuth: what a vendor's would look like, against :class:`FakeOAuthServer`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import SecretStr

from proxy_core.dialects.common import json_bytes
from proxy_core.interfaces import (
    Credential,
    CredentialRefresher,
    HttpClient,
    LoginPrompt,
    LoginRequired,
    Provider,
    ProviderCall,
    TokenFile,
    Tokens,
)
from proxy_core.messages import UpstreamRequest
from proxy_core.oauth import OAuthClient, device_login, expiry, loopback_login, refresh_tokens
from proxy_core.plugins.loader import Module
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
        expires_at=expiry(fields.get("expiry_date")),
        identity=fields.get("email"),
    )


def write_file(old: bytes, credential: Credential) -> bytes:
    """The file with new tokens; members it does not know stay."""
    fields = json.loads(old) if old else {}
    fields["access_token"] = credential.secret.get_secret_value()
    if credential.refresh_token is not None:
        fields["refresh_token"] = credential.refresh_token.get_secret_value()
    if credential.expires_at is not None:
        fields["expiry_date"] = int(credential.expires_at.timestamp() * 1000)
    return json.dumps(fields).encode()


def lock_of(path: Path) -> Path:
    return path.with_suffix(".lock")


EXAMPLE_FILE = TokenFile(
    name="example_cli", read=read_file, write=write_file, paths=("~/.example/oauth_creds.json",), lock=lock_of
)


def example_refresher(
    base: str, *, login: Literal["browser", "code", "device"] = "browser", refresh_margin_s: float = 300.0
) -> CredentialRefresher:
    """``code`` is the login whose page only shows a code; ``browser`` takes a paste as well."""
    client = OAuthClient(client_id=CLIENT_ID, client_secret=SecretStr(CLIENT_SECRET), token_url=f"{base}/token")

    async def refresh(credential: Credential, exchange: HttpClient) -> Tokens:
        return await refresh_tokens(credential, exchange, client, login=LOGIN)

    async def log_in(prompt: LoginPrompt, exchange: HttpClient) -> Tokens:
        if prompt.method == "device" or (prompt.method is None and login == "device"):
            return await device_login(prompt, exchange, client, device_url=f"{base}/device/code", scope="openid email")
        page = f"{base}/authcode" if login == "code" else None
        url = f"{base}/authorize"
        return await loopback_login(
            prompt, exchange, client, authorize_url=url, scope="openid email", redirect_uri=page, timeout_s=10
        )

    async def test(credential: Credential, exchange: HttpClient) -> str:
        headers = [("authorization", f"Bearer {credential.secret.get_secret_value()}")]
        answer = await exchange(UpstreamRequest(url=f"{base}/userinfo", headers=headers, method="GET"))
        if answer.status == 401:
            raise LoginRequired(f"the access token is not accepted; log in again: {LOGIN}")
        return str(json.loads(answer.body)["email"])

    return CredentialRefresher(
        kind=KIND,
        refresh=refresh,
        login=log_in,
        test=test,
        files=[EXAMPLE_FILE],
        environment="EXAMPLE",
        refresh_margin_s=refresh_margin_s,
        notice="An example: nothing is at risk.",
        login_methods=("browser", "paste", "device"),
    )


def example_provider(base: str) -> Provider:
    def encode(call: ProviderCall, credential: Credential) -> UpstreamRequest:
        headers = [
            ("authorization", f"Bearer {credential.secret.get_secret_value()}"),
            ("content-type", "application/json"),
        ]
        return UpstreamRequest(url=f"{base}/v1/chat/completions", headers=headers, content=json_bytes(call.body))

    return Provider(name="example", encode=encode, dialects=["openai_chat"], credential_kind=KIND)


def example_plugin(server: FakeOAuthServer, *, login: Literal["browser", "code", "device"] = "browser") -> Module:
    """For ``run_proxy(..., modules=[example_plugin(server)])``."""
    return plugin_with(
        proxy_providers=[example_provider(server.base)],
        proxy_credential_refreshers=[example_refresher(server.base, login=login)],
    )
