"""A toy provider that gives a first response without any account: OpenAI's format, deterministic, in-process.

It repeats the user's words, streams word by word, calls the first tool that the request offers, and
turns texts into embeddings by hashing them.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator
from typing import Any

from proxy_core import (
    Credential,
    JsonObject,
    ModelSpec,
    Provider,
    ProviderCall,
    ProviderResponse,
    UpstreamRequest,
    json_bytes,
)

MODELS = ("small", "large")
DIMENSIONS = 64
_CHAT, _COMPLETIONS, _EMBEDDINGS = "openai_chat", "openai_completions", "openai_embeddings"
_CREATED = 1_700_000_000
_PAUSE_S = 0.02
_DONE = b"data: [DONE]\n\n"


def demo_provider(name: str) -> Provider:
    """Opens no connection: ``send`` produces the responses."""
    return Provider(
        name=name,
        dialects=(_CHAT, _COMPLETIONS, _EMBEDDINGS),
        encode=encode,
        send=send,
        models=[ModelSpec(id=model, created=_CREATED, owned_by=name) for model in MODELS],
        models_complete=True,
        credential_optional=True,
    )


def encode(call: ProviderCall, credential: Credential) -> UpstreamRequest:
    """Leave the body unchanged; put the dialect where the address would be."""
    return UpstreamRequest(url=f"demo:{call.dialect}", headers=[], content=json_bytes(call.body))


async def send(request: UpstreamRequest, credential: Credential) -> ProviderResponse:
    body, dialect = json.loads(request.content), request.url.removeprefix("demo:")
    if body.get("model") not in MODELS:
        return _whole(_no_such_model(str(body.get("model"))), 404)
    if dialect == _EMBEDDINGS:
        return _whole(embeddings(body))
    if dialect == _COMPLETIONS:
        text = completion(body)
        return _stream(_completion_events(text)) if body.get("stream") else _whole(text)
    response = chat(body)
    return _stream(_chat_events(response)) if body.get("stream") else _whole(response)


def _whole(response: JsonObject, status: int = 200) -> ProviderResponse:
    return ProviderResponse(status=status, headers={"content-type": "application/json"}, body=json_bytes(response))


def _no_such_model(name: str) -> JsonObject:
    """As OpenAI says it; a name in ``[models]`` may lead here."""
    message = f"The model `{name}` does not exist; the demo has {' and '.join(MODELS)}."
    error = {"message": message, "type": "invalid_request_error", "param": "model", "code": "model_not_found"}
    return {"error": error}


def _stream(events: AsyncGenerator[bytes, None]) -> ProviderResponse:
    return ProviderResponse(status=200, headers={"content-type": "text/event-stream"}, body=events)


def _event(value: JsonObject) -> bytes:
    return b"data: " + json_bytes(value) + b"\n\n"


# --- Chat ----------------------------------------------------------------------------------


def chat(body: JsonObject) -> JsonObject:
    """A whole ``chat.completion``."""
    message = _message(body)
    return {
        "id": f"chatcmpl-{_hash(json.dumps(body))[:12]}",
        "object": "chat.completion",
        "created": _CREATED,
        "model": body["model"],
        "choices": [
            {
                "index": 0,
                "message": message,
                "finish_reason": "tool_calls" if "tool_calls" in message else "stop",
                "logprobs": None,
            }
        ],
        "usage": _usage(json.dumps(body["messages"]), message["content"] or "tool call"),
    }


def _message(body: JsonObject) -> JsonObject:
    last = body["messages"][-1]
    tools = [tool for tool in body.get("tools") or () if "function" in tool]
    if tools and last.get("role") != "tool" and body.get("tool_choice") != "none":
        return {"role": "assistant", "content": None, "tool_calls": [_call(tools[0]["function"])]}
    text = _text(last.get("content"))
    if (body.get("response_format") or {}).get("type") in ("json_object", "json_schema"):
        return {"role": "assistant", "content": json.dumps(_filled(body["response_format"], text))}
    return {"role": "assistant", "content": f"Hello from proxy-core's demo model. You said: {text}"}


def _call(function: JsonObject) -> JsonObject:
    arguments = dict.fromkeys((function.get("parameters") or {}).get("properties", {}), "demo")
    called = {"name": function["name"], "arguments": json.dumps(arguments)}
    return {"id": "call_demo_1", "type": "function", "function": called}


def _filled(response_format: JsonObject, text: str) -> JsonObject:
    """An object with every top-level property of the requested schema."""
    schema = (response_format.get("json_schema") or {}).get("schema") or {"properties": {"answer": {}}}
    samples: dict[str, Any] = {"integer": 1, "number": 1.0, "boolean": True, "array": [], "object": {}, "null": None}
    return {name: samples.get(spec.get("type"), text) for name, spec in schema.get("properties", {}).items()}


def _text(content: object) -> str:
    if isinstance(content, list):
        return " ".join(part.get("text", "") for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


async def _chat_events(response: JsonObject) -> AsyncGenerator[bytes, None]:
    """The same response as chunks of one word each, at the pace of a fast model."""
    head = {**{key: response[key] for key in ("id", "created", "model")}, "object": "chat.completion.chunk"}
    (choice,) = response["choices"]
    for delta in _deltas(choice["message"]):
        yield _event({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
        await asyncio.sleep(_PAUSE_S)
    yield _event({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]})
    # The core removes this chunk again if the client did not ask for usage.
    yield _event({**head, "choices": [], "usage": response["usage"]})
    yield _DONE


def _deltas(message: JsonObject) -> list[JsonObject]:
    deltas: list[JsonObject] = [{"role": "assistant", "content": ""}]
    deltas += [{"tool_calls": [{"index": index, **call}]} for index, call in enumerate(message.get("tool_calls", ()))]
    words = (message["content"] or "").split(" ")
    return deltas + [{"content": word} for word in (*(f"{w} " for w in words[:-1]), words[-1]) if word.strip()]


# --- Completions and embeddings ------------------------------------------------------------


def completion(body: JsonObject) -> JsonObject:
    """A whole ``text_completion``."""
    prompt = body.get("prompt") or ""
    text = f" (demo) {prompt if isinstance(prompt, str) else ''}".rstrip()
    return {
        "id": f"cmpl-{_hash(text)[:12]}",
        "object": "text_completion",
        "created": _CREATED,
        "model": body["model"],
        "choices": [{"text": text, "index": 0, "logprobs": None, "finish_reason": "stop"}],
        "usage": _usage(str(prompt), text),
    }


async def _completion_events(response: JsonObject) -> AsyncGenerator[bytes, None]:
    yield _event({**response, "usage": None})
    yield _event({**response, "choices": []})
    yield _DONE


def embeddings(body: JsonObject) -> JsonObject:
    """A ``list`` with one embedding per input; the numbers lie between -1 and 1."""
    inputs = body["input"] if isinstance(body["input"], list) else [body["input"]]
    size = body.get("dimensions") or DIMENSIONS
    tokens = sum(len(str(value).split()) for value in inputs)
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": _embedded(str(value), size)}
            for index, value in enumerate(inputs)
        ],
        "model": body["model"],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _embedded(text: str, size: int) -> list[float]:
    raw = hashlib.shake_256(text.encode()).digest(size)
    return [round(byte / 127.5 - 1, 4) for byte in raw]


def _usage(prompt: str, response: str) -> dict[str, int]:
    used, made = len(prompt.split()), len(response.split())
    return {"prompt_tokens": used, "completion_tokens": made, "total_tokens": used + made}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
