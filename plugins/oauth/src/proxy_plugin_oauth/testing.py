"""The example provider of ``proxy_core.testing`` with logins, which renews its tokens by this library."""

from __future__ import annotations

from typing import Literal

from msgspec.structs import replace
from pydantic import SecretStr

from proxy_core import Credential, CredentialRefresher, HttpClient, LoginPrompt, Tokens
from proxy_core.testing import example_oauth
from proxy_core.testing.oauth import CLIENT_ID, CLIENT_SECRET
from proxy_plugin_oauth.client import OAuthClient
from proxy_plugin_oauth.device import device_login
from proxy_plugin_oauth.loopback import loopback_login
from proxy_plugin_oauth.tokens import refresh_tokens


def example_refresher(base: str, *, login: Literal["browser", "code", "device"] = "browser") -> CredentialRefresher:
    """``code`` is the login whose page only shows a code; ``browser`` takes a paste as well."""
    client = OAuthClient(client_id=CLIENT_ID, client_secret=SecretStr(CLIENT_SECRET), token_url=f"{base}/token")

    async def refresh(credential: Credential, exchange: HttpClient) -> Tokens:
        return await refresh_tokens(credential, exchange, client, login=example_oauth.LOGIN)

    async def log_in(prompt: LoginPrompt, exchange: HttpClient) -> Tokens:
        if prompt.method == "device" or (prompt.method is None and login == "device"):
            return await device_login(prompt, exchange, client, device_url=f"{base}/device/code", scope="openid email")
        page = f"{base}/authcode" if login == "code" else None
        url = f"{base}/authorize"
        return await loopback_login(
            prompt, exchange, client, authorize_url=url, scope="openid email", redirect_uri=page, timeout_s=10
        )

    plain = example_oauth.example_refresher(base)
    return replace(plain, refresh=refresh, login=log_in, login_methods=("browser", "paste", "device"))
