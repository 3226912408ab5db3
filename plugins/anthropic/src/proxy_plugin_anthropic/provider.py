"""Providers that speak Anthropic's format: the public API, and any server with the same one. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from msgspec.structs import replace

from proxy_core import (
    ChatRequest,
    Credential,
    EventDecoder,
    Extra,
    JsonObject,
    ListModels,
    Provider,
    ProviderCall,
    ProviderSettings,
    ResponseHead,
    UpstreamCount,
    UpstreamRequest,
    json_bytes,
)
from proxy_core.dialects.common import counted
from proxy_plugin_anthropic.dialect import MAKER
from proxy_plugin_anthropic.dialect import NAME as DIALECT
from proxy_plugin_anthropic.dialect.encode import Encoded, translate
from proxy_plugin_anthropic.dialect.foreign import without_foreign
from proxy_plugin_anthropic.dialect.headers import VERSION, take_headers
from proxy_plugin_anthropic.dialect.names import name_table
from proxy_plugin_anthropic.dialect.response_decode import AnthropicDecoder
from proxy_plugin_anthropic.failures import classify_failure
from proxy_plugin_anthropic.listing import PAGE, next_page, parse_models
from proxy_plugin_anthropic.settings import AnthropicSettings

NAME = "anthropic"
BASE = "https://api.anthropic.com"
_MESSAGES = "/v1/messages"
#: Members of a request that a count of its tokens does not take.
_NOT_COUNTED = frozenset("max_tokens stream stop_sequences temperature top_p top_k metadata service_tier".split())


class MessagesApi:
    """The provider's functions, bound to settings. Only servers at other addresses work without a key."""

    def __init__(self, name: str, provider: ProviderSettings, settings: AnthropicSettings) -> None:
        self._name = name
        self._base = without_path(str(provider.base_url or BASE))
        self._keyless = provider.base_url is not None
        self._is_the_api = name == NAME or self._base == BASE
        # Another server may have models of another vendor, whose signatures no one else can read.
        self._maker = MAKER if self._is_the_api else f"{MAKER}:{name}"
        self._own_headers = tuple((key, value.get_secret_value()) for key, value in provider.headers.items())
        self._settings = settings

    def provider(self) -> Provider:
        return Provider(
            name=self._name,
            dialects=[DIALECT],
            reads_chat=True,
            encode=self.encode,
            decoder=self.decoder,
            relays=True,
            classify_failure=classify_failure,
            count_tokens=UpstreamCount(request=self.count_request, parse=parse_count),
            list_models=ListModels(request=self.list_request, parse=parse_models, more=next_page),
            credential_optional=self._keyless,
        )

    def encode(self, call: ProviderCall, credential: Credential) -> UpstreamRequest:
        if call.chat is None:
            body, asked, version = self._relayed(call)
            return self._post(_MESSAGES, body, self._headers(credential, asked, version))
        encoded = self._translated(call, call.chat)
        message = self._post(_MESSAGES, {**call.options, **encoded.body}, self._headers(credential))
        return replace(message, dropped=encoded.dropped)

    def count_request(self, call: ProviderCall, credential: Credential) -> UpstreamRequest:
        """``UpstreamCount``: the same without what only matters for the response."""
        if call.chat is None:
            body, asked, version = self._relayed(call)
            headers = self._headers(credential, asked, version)
        else:
            body, headers = self._translated(call, call.chat).body, self._headers(credential)
        counted = {name: value for name, value in body.items() if name not in _NOT_COUNTED}
        return self._post(f"{_MESSAGES}/count_tokens", counted, headers)

    def _relayed(self, call: ProviderCall) -> tuple[JsonObject, list[str], str]:
        """A client of this format: its body unchanged, except for thoughts that the upstream would not accept."""
        body, asked, version = take_headers(call.body)
        # Wherever it is served, Claude takes no unsigned thoughts; other vendors' models may sign none.
        signs = self._is_the_api or "claude" in str(body.get("model", "")).lower()
        return without_foreign(body, unsigned=signs), asked, version

    def _translated(self, call: ProviderCall, chat: ChatRequest) -> Encoded:
        return translate(with_limit(chat, call.options), self._maker)

    def decoder(self, call: ProviderCall, response: ResponseHead) -> EventDecoder:
        """Restores the client's names of tools; a client of this format has used names that fit."""
        names = name_table(call.chat) if call.chat is not None else None
        maker = MAKER if call.chat is None else self._maker
        return AnthropicDecoder(response.is_event_stream, names=names, maker=maker)

    def _post(self, path: str, body: JsonObject, headers: Sequence[tuple[str, str]]) -> UpstreamRequest:
        return UpstreamRequest(url=self._base + path, headers=headers, content=json_bytes(body))

    def _headers(
        self, credential: Credential, asked: Sequence[str] = (), version: str = VERSION
    ) -> list[tuple[str, str]]:
        allowed = [beta for beta in asked if any(fnmatchcase(beta, glob) for glob in self._settings.betas)]
        betas = dict.fromkeys((*self._settings.own_betas, *allowed))
        return [
            ("content-type", "application/json"),
            ("anthropic-version", version),
            *([("anthropic-beta", ",".join(betas))] if betas else []),
            *self._authorization(credential),
        ]

    def _authorization(self, credential: Credential) -> list[tuple[str, str]]:
        secret = credential.secret.get_secret_value()
        return [*([("x-api-key", secret)] if secret else []), *self._own_headers]

    def list_request(self, credential: Credential) -> UpstreamRequest:
        headers = [("anthropic-version", VERSION), *self._authorization(credential)]
        return UpstreamRequest(method="GET", url=f"{self._base}/v1/models?limit={PAGE}", headers=headers)


def without_path(base: str) -> str:
    """The address without the version and the path, if these were pasted, too."""
    for path in (_MESSAGES, "/v1/models", "/v1"):
        base = base.rstrip("/").removesuffix(path)
    return base.rstrip("/")


def parse_count(body: bytes) -> int:
    """``{"input_tokens": 9}``. Raises ``ValueError`` for anything else."""
    return counted(body, "input_tokens")


def with_limit(chat: ChatRequest, options: Extra) -> ChatRequest:
    """A client that names no limit has that of the model's options: the API requires one."""
    limit = options.get("max_tokens")
    if chat.sampling.max_tokens is not None or not isinstance(limit, int):
        return chat
    return replace(chat, sampling=replace(chat.sampling, max_tokens=limit))
