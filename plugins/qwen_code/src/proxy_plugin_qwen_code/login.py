"""Login with a device code, and refresh of tokens that rotate; qwen-code.md sections 1 and 2.

The core does the rest: it schedules refreshes, runs one at a time, and handles journal, files and back-off.
This module never repeats a request that may have spent a refresh token.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace
from pydantic import SecretStr

from proxy_core import (
    Credential,
    CredentialRefresher,
    HttpClient,
    HttpResponse,
    LoginFailed,
    LoginPrompt,
    LoginRequired,
    RetryRefresh,
    SetupRequired,
    SystemClock,
    Tokens,
    TransportFailed,
    UpstreamRequest,
    load_json,
    retry_after_s,
)
from proxy_plugin_oauth import OAuthClient, OAuthRefused, device_login, read_tokens, server_words
from proxy_plugin_qwen_code.client import NoClient, installed_client
from proxy_plugin_qwen_code.errors import PAGE_WAITS_S, is_page
from proxy_plugin_qwen_code.files import PROXY_FILE, QWEN_FILE
from proxy_plugin_qwen_code.hosts import KIND, target_of
from proxy_plugin_qwen_code.lifecycle import DISCONTINUED, NOTICE
from proxy_plugin_qwen_code.settings import QwenCodeSettings

SCOPE = "openid profile email model.completion"
LOGIN = "proxy-core login qwen_code"
KEPT = ("resource_url",)
#: Waits between refreshes that the firewall blocks: its own steps first, then those of other failures (2).
PAGE_RENEW_S = (*PAGE_WAITS_S, 60.0, 120.0, 240.0, 300.0)
#: The wait if there is no ``Retry-After`` (2).
LATER_S = 60.0
#: If the token server states no lifetime.
LIFE_S = 3600.0

Sleep = Callable[[float], Awaitable[None]]


def qwen_refresher(settings: QwenCodeSettings, *, sleep: Sleep = asyncio.sleep) -> CredentialRefresher:
    qwen = _QwenLogin(settings, sleep)
    return CredentialRefresher(
        kind=KIND,
        refresh=qwen.refresh,
        login=qwen.login,
        test=qwen.test,
        files=[QWEN_FILE, PROXY_FILE],
        environment="QWEN_CODE",
        details=("scope",),
        refresh_margin_s=settings.refresh_margin_s,
        notice=NOTICE,
        login_methods=("device",),
        servers=[str(settings.token_url)],
    )


class _QwenLogin(Struct, frozen=True):
    settings: QwenCodeSettings
    sleep: Sleep

    # --- Logging in ----------------------------------------------------------------------

    async def login(self, prompt: LoginPrompt, exchange: HttpClient) -> Tokens:
        """Raises ``LoginFailed``, ``OAuthRefused``."""
        try:
            client = await self._client(None)
        except NoClient as error:
            raise LoginFailed(str(error)) from error
        # The token does not say whose it is (3.2). Asked before the login, so that an abort here loses no tokens.
        label = await _label(prompt)
        tokens = await device_login(
            prompt,
            self._patient(exchange),
            client,
            device_url=str(self.settings.device_url),
            scope=SCOPE,
            details=KEPT,
            sleep=self.sleep,
        )
        return replace(tokens, identity=label or tokens.identity, details={**tokens.details, **_of(client)})

    def _patient(self, exchange: HttpClient) -> HttpClient:
        """Wait and retry while the firewall blocks the code endpoint; give up if polling is refused for good."""
        device_url = str(self.settings.device_url)

        async def send(request: UpstreamRequest, *, timeout_s: float = 30.0) -> HttpResponse:
            answer = await exchange(request, timeout_s=timeout_s)
            if request.url == device_url:
                for wait_s in PAGE_WAITS_S:
                    if not is_page(answer.headers, answer.body):
                        return answer
                    await self.sleep(wait_s)
                    answer = await exchange(request, timeout_s=timeout_s)
                if is_page(answer.headers, answer.body):
                    raise LoginFailed("the vendor's firewall blocks the login; try again in a few minutes")
            elif answer.status == 429 and _fields(answer).get("error") != "slow_down" and _fields(answer):
                raise LoginFailed(f"the login server is rate limiting requests ({_words(answer)}); try again later")
            return answer

        return send

    # --- Refreshing ----------------------------------------------------------------------

    async def refresh(self, credential: Credential, exchange: HttpClient) -> Tokens:
        """Raises ``LoginRequired``, ``SetupRequired``, ``RetryRefresh``."""
        if credential.refresh_token is None:
            raise LoginRequired(f"there is no refresh token; log in again: {LOGIN}")
        try:
            client = await self._client(credential)
        except NoClient as error:
            raise SetupRequired(f"{error}. Then: proxy-core reload") from error
        answer = await _send(exchange, client, credential.refresh_token)
        if answer.status == 400 and _unclear(answer):
            answer = await _send(exchange, client, credential.refresh_token)  # a refusal does not spend the token
        return _read(answer)

    async def test(self, credential: Credential, exchange: HttpClient) -> str:
        """Request the list of models. Some hosts have none, but any answer except a 401 shows that the login works."""
        base = target_of(credential, self.settings, None).base
        headers = [("authorization", f"Bearer {credential.secret.get_secret_value()}")]
        answer = await exchange(UpstreamRequest(method="GET", url=f"{base}/models", headers=headers))
        if answer.status == 401:
            raise LoginRequired(DISCONTINUED)
        if is_page(answer.headers, answer.body):
            raise RetryRefresh("the vendor's firewall blocked the test", back_off_s=PAGE_RENEW_S)
        return credential.identity or base

    async def _client(self, credential: Credential | None) -> OAuthClient:
        """The OAuth client and server that the credential names, if any: its tokens are valid only there."""
        own = credential.details if credential is not None else {}
        client_id = _plain(own.get("client_id")) or self.settings.client_id
        if not client_id:
            client_id = await asyncio.to_thread(installed_client)
        return OAuthClient(
            client_id=client_id,
            token_url=_plain(own.get("token_uri")) or str(self.settings.token_url),
            headers=(("x-request-id", str(uuid.uuid4())),),
        )


async def _label(prompt: LoginPrompt) -> str:
    try:
        return (await prompt.ask("A name for this account, for example its email address (Enter for none)")).strip()
    except EOFError:  # no terminal to type at: the login itself needs no keyboard
        return ""


def _of(client: OAuthClient) -> Mapping[str, str]:
    return {"client_id": client.client_id}


def _plain(value: str | SecretStr | None) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else value or ""


async def _send(exchange: HttpClient, client: OAuthClient, token: SecretStr) -> HttpResponse:
    try:
        return await exchange(client.refresh_request(token))
    except TransportFailed as error:
        raise RetryRefresh(f"the token server did not respond ({error})") from error


def _read(answer: HttpResponse) -> Tokens:
    """Read the tokens, or raise what the refusal means (section 2)."""
    if is_page(answer.headers, answer.body):
        why = f"the token server answered with a web page (status {answer.status}), as the vendor's firewall does"
        raise RetryRefresh(why, back_off_s=PAGE_RENEW_S)
    now = SystemClock().now()
    if answer.status == 429:
        raise RetryRefresh(
            f"the token server is rate limiting requests ({_words(answer)})",
            retry_after_s=retry_after_s(answer.headers, now) or LATER_S,
        )
    if _fields(answer).get("error") in ("invalid_client", "unauthorized_client"):
        raise SetupRequired(
            f"the OAuth client id is wrong, or the login was made with another one ({_words(answer)}): correct"
            f" client_id in [plugins.qwen_code], then: proxy-core reload; or log in again: {LOGIN}"
        )
    if answer.status in (400, 401, 403):
        why = f"the token server no longer accepts this login (status {answer.status}: {_words(answer)})"
        raise LoginRequired(f"{why}; log in again: {LOGIN}. {DISCONTINUED}")
    try:
        return read_tokens(answer, now=now, login=LOGIN, details=KEPT, life_s=LIFE_S)
    except OAuthRefused as error:
        raise RetryRefresh(str(error)) from error


def _unclear(answer: HttpResponse) -> bool:
    """Whether a 400 leaves open if the token is at fault; the request is then repeated (section 2)."""
    fields = _fields(answer)
    described = str(fields.get("error_description") or "").lower()
    return "invalid" not in described and fields.get("error") not in ("invalid_request", "invalid_grant")


def _fields(answer: HttpResponse) -> Mapping[str, Any]:
    try:
        value = load_json(answer.body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _words(answer: HttpResponse) -> str:
    return server_words(_fields(answer)) or "no reason given"
