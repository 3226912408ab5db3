"""The provider ``gemini``: Google's public API, with keys from AI Studio."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from msgspec.structs import replace

from proxy_core import (
    BadRequest,
    Credential,
    FetchLimits,
    JsonObject,
    ListModels,
    ModelInfo,
    ModelNotFound,
    ModelSpec,
    Provider,
    ProviderCall,
    UpstreamCount,
    UpstreamRequest,
    json_bytes,
    load_json,
)
from proxy_core.dialects.common import counted
from proxy_plugin_gemini.dialect import NAME as DIALECT
from proxy_plugin_gemini.dialect import request_body
from proxy_plugin_gemini.embeddings import NAME as EMBEDDINGS
from proxy_plugin_gemini.embeddings import request_body as request_for_vectors
from proxy_plugin_gemini.failures import classify_google_failure
from proxy_plugin_gemini.options import relayed
from proxy_plugin_gemini.signatures import SignatureCache
from proxy_plugin_gemini.translation import decoder_with, request_of

NAME = "gemini"
#: The API's base URL, including the version.
BASE = "https://generativelanguage.googleapis.com/v1beta"
_PAGE = 1000
_BATCH = 100
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}")


class PublicApi:
    """The provider's functions, bound to settings. ``base`` includes the version; ``headers`` are the operator's."""

    def __init__(self, name: str, base: str, headers: tuple[tuple[str, str], ...], signatures: SignatureCache) -> None:
        self._name = name
        self._base = base.rstrip("/")
        self._own_headers = headers
        self._signatures = signatures

    def provider(self) -> Provider:
        return Provider(
            name=self._name,
            dialects=[DIALECT, EMBEDDINGS],
            reads_chat=True,
            encode=self.encode,
            decoder=decoder_with(self._signatures),
            relays=True,
            classify_failure=classify_google_failure,
            count_tokens=UpstreamCount(request=self.count_request, parse=parse_count),
            list_models=ListModels(request=self.list_request, parse=parse_models, more=next_page),
            fetch_links=FetchLimits(),
        )

    def encode(self, call: ProviderCall, credential: Credential) -> UpstreamRequest:
        if call.dialect == EMBEDDINGS:
            return self._embed(call.body, credential)
        method = "streamGenerateContent?alt=sse" if call.stream else "generateContent"
        model, body, dropped = self._content(call)
        return replace(self._post(f"{model}:{method}", body, credential), dropped=dropped)

    def count_request(self, call: ProviderCall, credential: Credential) -> UpstreamRequest:
        """``UpstreamCount``: the tokens of the whole request, with instructions and tools."""
        model, body, _ = self._content(call)
        whole = {"generateContentRequest": {"model": f"models/{model}", **body}}
        return self._post(f"{model}:countTokens", whole, credential)

    def _content(self, call: ProviderCall) -> tuple[str, JsonObject, Sequence[str]]:
        """The model, the body, and the fields that Gemini lacks."""
        if call.chat is None:
            # The client speaks Gemini's format, so the body is relayed unchanged.
            return _checked(str(call.body.get("model", ""))), relayed(request_body(call.body), call.options), ()
        return _checked(call.chat.model), *request_of(call, self._signatures)

    def _embed(self, body: JsonObject, credential: Credential) -> UpstreamRequest:
        model = _checked(str(body.get("model", "")))
        content = request_for_vectors(body, model)
        requests = content.get("requests")
        if requests is None:
            return self._post(f"{model}:embedContent", content, credential)
        if len(requests) > _BATCH:
            raise BadRequest(f"At most {_BATCH} inputs per request are allowed.", param="input", code="invalid_value")
        return self._post(f"{model}:batchEmbedContents", content, credential)

    def _post(self, path: str, body: JsonObject, credential: Credential) -> UpstreamRequest:
        headers = [("content-type", "application/json"), *self._headers(credential)]
        return UpstreamRequest(url=f"{self._base}/models/{path}", headers=headers, content=json_bytes(body))

    def _headers(self, credential: Credential) -> list[tuple[str, str]]:
        secret = credential.secret.get_secret_value()
        return [*([("x-goog-api-key", secret)] if secret else []), *self._own_headers]

    def list_request(self, credential: Credential) -> UpstreamRequest:
        url = f"{self._base}/models?pageSize={_PAGE}"
        return UpstreamRequest(method="GET", url=url, headers=self._headers(credential))


def _checked(model: str) -> str:
    """Check a model's name before it becomes part of the path."""
    name = model.removeprefix("models/")
    if not _MODEL.fullmatch(name):
        raise ModelNotFound(f"{model[:100]!r} is not the name of a Gemini model.")
    return name


def parse_count(body: bytes) -> int:
    """The response to ``countTokens``. Raises ``ValueError``."""
    return counted(body, "totalTokens")


def parse_models(body: bytes) -> Sequence[ModelSpec]:
    """``ListModels``: the models that generate or embed, with their metadata. Raises ``ValueError``."""
    value = load_json(body)
    models = value.get("models") if isinstance(value, dict) else None
    if not isinstance(models, list):
        raise ValueError("no list of models")
    return [_spec(item) for item in models if _serves(item)]


def next_page(request: UpstreamRequest, body: bytes) -> UpstreamRequest | None:
    value = load_json(body)
    token = value.get("nextPageToken") if isinstance(value, dict) else None
    if not isinstance(token, str) or not token:
        return None
    return replace(request, url=f"{request.url.partition('&pageToken=')[0]}&pageToken={quote(token, safe='')}")


def _serves(item: Any) -> bool:
    if not isinstance(item, dict) or not isinstance(item.get("name"), str):
        return False
    methods = item.get("supportedGenerationMethods")
    return not isinstance(methods, list) or bool({"generateContent", "embedContent"} & {str(m) for m in methods})


_LIMITS = ("inputTokenLimit", "outputTokenLimit")


def _spec(item: dict[str, Any]) -> ModelSpec:
    named = {
        "context_window": "inputTokenLimit",
        "max_output_tokens": "outputTokenLimit",
        "display_name": "displayName",
        "reasoning": "thinking",
    }
    extra = {ours: item[theirs] for ours, theirs in named.items() if item.get(theirs) is not None}
    context, output = (n if isinstance(n := item.get(key), int) and n > 0 else None for key in _LIMITS)
    info = ModelInfo(context_length=context, max_output_tokens=output)
    return ModelSpec(id=item["name"].removeprefix("models/"), owned_by="google", extra=extra, info=info)
