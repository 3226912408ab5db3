"""Offer one of litellm's providers as ours: the core handles deadlines, retries, cooldowns and limits."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from proxy_core import (
    Credential,
    FetchLimits,
    Provider,
    ProviderCall,
    ProviderResponse,
    UpstreamRequest,
    json_bytes,
    repr_without,
)
from proxy_core.dialects import openai_chat
from proxy_plugin_litellm import failures
from proxy_plugin_litellm.library import LIBRARY
from proxy_plugin_litellm.parameters import CHAT, EMBEDDINGS, allowed, check_chat
from proxy_plugin_litellm.settings import ProviderKeywords

_EMBEDDINGS = "openai_embeddings"
#: Tells ``send`` the kind of request; not an address, because litellm finds that itself.
_CHAT_URL, _EMBEDDINGS_URL = "litellm:chat", "litellm:embeddings"
#: The core's timeouts are shorter and end the call by cancelling it.
_FOREVER_S = 24 * 3600.0


def build_provider(name: str, settings: ProviderKeywords) -> Provider:
    """``litellm/<name>/<model>``, with credentials and rotation from ``[providers.litellm-<name>]``."""
    adapter = Adapter(
        provider=settings.provider or name, keywords=settings.keywords(), secrets=tuple(settings.secrets())
    )
    return _provider(f"litellm-{name}", f"litellm/{name}", adapter)


def build_keyed(name: str) -> Provider:
    """``<name>/<model>``, one of litellm's providers under its own name: a key for it is enough."""
    return replace(_provider(name, name, Adapter(provider=name, keywords={}, secrets=())), credential_optional=False)


def _provider(name: str, prefix: str, adapter: Adapter) -> Provider:
    return Provider(
        name=name,
        prefix=prefix,
        # Chat is not listed, so it is translated from the common form, in which the core has fetched all links.
        dialects=(_EMBEDDINGS,),
        decoder=lambda call, response: openai_chat.OpenAIChatDecoder(response.is_event_stream),
        encode=adapter.encode,
        send=adapter.send,
        credential_optional=True,
        fetch_links=FetchLimits(),
    )


class Adapter(Struct, frozen=True, kw_only=True):
    """``provider`` is litellm's name; every call gets ``keywords``, which include ``secrets``."""

    __repr__ = repr_without("keywords", "secrets")

    provider: str
    keywords: dict[str, Any]
    secrets: tuple[tuple[str, str], ...]

    def encode(self, call: ProviderCall, credential: Credential) -> UpstreamRequest:
        """The parameters as JSON. Raises ``BadRequest`` if litellm would have to open connections for them."""
        if call.dialect == _EMBEDDINGS:
            kept, dropped = allowed(call.body, EMBEDDINGS)
            return self._message(_EMBEDDINGS_URL, str(call.body["model"]), kept, dropped)
        assert call.chat is not None  # because build_provider does not list chat dialects
        assert openai_chat.DIALECT.encode is not None
        body = {**openai_chat.DIALECT.encode(call.chat), "stream": call.stream}
        if call.stream:
            body["stream_options"] = {"include_usage": True}
        check_chat(body)
        kept, dropped = allowed(body, CHAT)
        return self._message(_CHAT_URL, call.chat.model, kept, dropped)

    def _message(self, url: str, model: str, kept: dict[str, Any], dropped: list[str]) -> UpstreamRequest:
        # litellm builds the real headers; these tell the core which secrets to remove from responses.
        content = json_bytes({**kept, "model": f"{self.provider}/{model}"})
        return UpstreamRequest(url=url, headers=self.secrets, content=content, dropped=dropped)

    async def send(self, message: UpstreamRequest, credential: Credential) -> ProviderResponse:
        """Call litellm. Its exceptions become statuses; see :mod:`proxy_plugin_litellm.failures`."""
        parameters = json.loads(message.content)
        keywords = {**self.keywords, "timeout": _FOREVER_S, "max_retries": 0, "num_retries": 0}
        if secret := credential.secret.get_secret_value():
            keywords["api_key"] = secret

        async def call(litellm: Any) -> ProviderResponse:
            function = litellm.aembedding if message.url == _EMBEDDINGS_URL else litellm.acompletion
            try:
                result = await function(**parameters, **keywords)
            except Exception as error:  # whatever its providers raise; re-raised if it is not an upstream's response
                return failures.response(error)
            if parameters.get("stream"):
                return ProviderResponse(status=200, headers={"content-type": "text/event-stream"}, body=_Events(result))
            return ProviderResponse(status=200, headers={"content-type": "application/json"}, body=_json(result))

        return await LIBRARY.run(call)


class _Events:
    """litellm's chunks, one at a time, as OpenAI's event stream. Iterated here, produced on litellm's loop."""

    def __init__(self, chunks: Any) -> None:
        self._chunks = chunks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (event := await LIBRARY.run(self._next)) is not None:
            yield event
        yield b"data: [DONE]\n\n"

    async def _next(self, litellm: Any) -> bytes | None:
        try:
            chunk = await anext(self._chunks, None)
        except Exception as error:  # as in ``send``, but the status has already been sent
            return failures.event(error)
        return b"data: " + _json(chunk) + b"\n\n" if chunk is not None else None

    async def aclose(self) -> None:
        async def close(litellm: Any) -> None:
            await self._chunks.aclose()

        await LIBRARY.run(close)


def _json(result: Any) -> bytes:
    """The JSON that an OpenAI server would have sent; litellm's own additions without a value are left out."""
    return json_bytes(result.model_dump(mode="json", exclude_none=True, warnings=False))
