"""Example for proxy-core: refreshes OAuth logins at the vendor's token server."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from pydantic import SecretStr

from proxy_core import (
    Credential,
    CredentialRefresher,
    HttpClient,
    LoginRequired,
    PluginContext,
    PluginInfo,
    RetryRefresh,
    Tokens,
    UpstreamRequest,
    hookimpl,
    load_object,
)

PLUGIN = PluginInfo(name="example", api=1)
#: Providers whose credentials it refreshes have ``credential_kind="example_oauth"``.
KIND = "example_oauth"
TOKEN_URL = "https://auth.vendor.invalid/token"  # noqa: S105 - an address
CLIENT_ID = "example"


@hookimpl
def proxy_credential_refreshers(ctx: PluginContext) -> Iterable[CredentialRefresher]:
    return [CredentialRefresher(kind=KIND, refresh=refresh, servers=[TOKEN_URL])]


async def refresh(credential: Credential, http: HttpClient) -> Tokens:
    token = credential.refresh_token.get_secret_value() if credential.refresh_token else ""
    form = {"grant_type": "refresh_token", "client_id": CLIENT_ID, "refresh_token": token}
    headers = [("content-type", "application/x-www-form-urlencoded")]
    response = await http(UpstreamRequest(url=TOKEN_URL, headers=headers, content=urlencode(form).encode()))
    answer = load_object(response.body) or {}
    if answer.get("error") == "invalid_grant":
        raise LoginRequired("The login has ended. Log in again: proxy-core login example")
    access, lives_s = answer.get("access_token"), answer.get("expires_in")
    if response.status != 200 or not isinstance(access, str):
        raise RetryRefresh(f"The token server answered with status {response.status}.")
    rotated = answer.get("refresh_token")
    return Tokens(
        access_token=SecretStr(access),
        refresh_token=SecretStr(rotated) if isinstance(rotated, str) else None,
        expires_at=datetime.now(UTC) + timedelta(seconds=lives_s) if isinstance(lives_s, int) else None,
    )
