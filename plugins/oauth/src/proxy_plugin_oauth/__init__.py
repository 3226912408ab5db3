"""Logins and token refresh for plugin authors: what OAuth providers have in common.

::

    EXAMPLE = OAuthClient(client_id="...", token_url="https://.../token")

    async def login(prompt, exchange):
        return await loopback_login(prompt, exchange, EXAMPLE, authorize_url="https://.../auth", scope="...")

    async def refresh(credential, exchange):
        return await refresh_tokens(credential, exchange, EXAMPLE, login="proxy-core login example")

Everything here uses the :class:`~proxy_core.HttpClient` that it receives for network access.
"""

from proxy_plugin_oauth.client import OAuthClient, authorization_url
from proxy_plugin_oauth.device import DeviceCode, device_login, poll_device, read_device_code
from proxy_plugin_oauth.lock_file import LockFile
from proxy_plugin_oauth.loopback import Authorized, authorize, loopback_login
from proxy_plugin_oauth.pasted import Callback, read_pasted
from proxy_plugin_oauth.pkce import Pkce, new_pkce, new_state
from proxy_plugin_oauth.tokens import (
    OAuthRefused,
    ask_for_tokens,
    id_token_label,
    read_tokens,
    refresh_tokens,
    server_words,
)

__all__ = [
    "Authorized",
    "Callback",
    "DeviceCode",
    "LockFile",
    "OAuthClient",
    "OAuthRefused",
    "Pkce",
    "ask_for_tokens",
    "authorization_url",
    "authorize",
    "device_login",
    "id_token_label",
    "loopback_login",
    "new_pkce",
    "new_state",
    "poll_device",
    "read_device_code",
    "read_pasted",
    "read_tokens",
    "refresh_tokens",
    "server_words",
]
