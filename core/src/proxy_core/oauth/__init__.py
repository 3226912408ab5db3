"""Logins and token refresh for plugin authors: what OAuth providers have in common.

::

    EXAMPLE = OAuthClient(client_id="...", token_url="https://.../token")

    async def login(prompt, exchange):
        return await loopback_login(prompt, exchange, EXAMPLE, authorize_url="https://.../auth", scope="...")

    async def refresh(credential, exchange):
        return await refresh_tokens(credential, exchange, EXAMPLE, login="proxy-core login example")

Everything here uses the :class:`~proxy_core.interfaces.HttpClient` that it receives for network access.
"""

from proxy_core.oauth.client import OAuthClient, authorization_url
from proxy_core.oauth.device import DeviceCode, device_login, poll_device, read_device_code
from proxy_core.oauth.loopback import Authorized, authorize, loopback_login
from proxy_core.oauth.pasted import Callback, read_pasted
from proxy_core.oauth.pkce import Pkce, new_pkce, new_state
from proxy_core.oauth.qr import qr_text
from proxy_core.oauth.tokens import (
    LoginFailed,
    OAuthRefused,
    ask_for_tokens,
    expiry,
    id_token_label,
    read_tokens,
    refresh_tokens,
)

__all__ = [
    "Authorized",
    "Callback",
    "DeviceCode",
    "LoginFailed",
    "OAuthClient",
    "OAuthRefused",
    "Pkce",
    "ask_for_tokens",
    "authorization_url",
    "authorize",
    "device_login",
    "expiry",
    "id_token_label",
    "loopback_login",
    "new_pkce",
    "new_state",
    "poll_device",
    "qr_text",
    "read_device_code",
    "read_pasted",
    "read_tokens",
    "refresh_tokens",
]
