"""A built-in upstream for a first answer without any account: OpenAI-shaped, deterministic, a toy.

It answers with the user's own words, streams word by word, calls the first offered tool when
asked to use one, and embeds texts as hashes.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

MODELS = ("small", "large")
DIMENSIONS = 64
_CREATED = 1_700_000_000
_PAUSE_S = 0.02


def demo_app() -> Starlette:
    """The demo upstream as an ASGI application."""
    return Starlette(
        routes=[
            Route("/v1/models", _models),
            Route("/v1/chat/completions", _chat, methods=["POST"]),
            Route("/v1/completions", _completions, methods=["POST"]),
            Route("/v1/embeddings", _embeddings, methods=["POST"]),
        ]
    )


async def _models(request: Request) -> Response:
    data = [{"id": m, "object": "model", "created": _CREATED, "owned_by": "demo"} for m in MODELS]
    return JSONResponse({"object": "list", "data": data})


async def _chat(request: Request) -> Response:
    body = await request.json()
    message = _answer(body)
    finish = "tool_calls" if "tool_calls" in message else "stop"
    usage = _usage(json.dumps(body["messages"]), message["content"] or "tool call")
    head = {"id": f"chatcmpl-{_hash(json.dumps(body))[:12]}", "created": _CREATED, "model": body["model"]}
    if not body.get("stream"):
        choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
        return JSONResponse({**head, "object": "chat.completion", "choices": [choice], "usage": usage})
    wanted = (body.get("stream_options") or {}).get("include_usage")
    return StreamingResponse(_stream(head, message, finish, usage if wanted else None), media_type="text/event-stream")


def _answer(body: dict[str, Any]) -> dict[str, Any]:
    last = body["messages"][-1]
    tools = body.get("tools") or []
    if tools and last.get("role") != "tool" and body.get("tool_choice") != "none":
        function = tools[0]["function"]
        arguments = dict.fromkeys((function.get("parameters") or {}).get("properties", {}), "demo")
        call = {
            "id": "call_demo_1",
            "type": "function",
            "function": {"name": function["name"], "arguments": json.dumps(arguments)},
        }
        return {"role": "assistant", "content": None, "tool_calls": [call]}
    text = _text(last.get("content"))
    if (body.get("response_format") or {}).get("type") in ("json_object", "json_schema"):
        return {"role": "assistant", "content": json.dumps(_fill(body["response_format"], text))}
    return {"role": "assistant", "content": f"Hello from proxy-core's demo model. You said: {text}"}


def _fill(response_format: dict[str, Any], text: str) -> dict[str, Any]:
    """An object that has every top-level property of the wanted schema."""
    schema = (response_format.get("json_schema") or {}).get("schema") or {"properties": {"answer": {}}}
    samples: dict[str, Any] = {"integer": 1, "number": 1.0, "boolean": True, "array": [], "object": {}, "null": None}
    return {name: samples.get(spec.get("type"), text) for name, spec in schema.get("properties", {}).items()}


def _text(content: object) -> str:
    if isinstance(content, list):
        return " ".join(part.get("text", "") for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


async def _stream(
    head: dict[str, Any], message: dict[str, Any], finish: str, usage: dict[str, int] | None
) -> AsyncIterator[bytes]:
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    for index, call in enumerate(message.get("tool_calls", ())):
        deltas.append({"tool_calls": [{"index": index, **call}]})
    words = (message["content"] or "").split(" ")
    deltas += [{"content": word + (" " if i < len(words) - 1 else "")} for i, word in enumerate(words) if word]
    for delta in deltas:
        yield _chunk(head, [{"index": 0, "delta": delta, "finish_reason": None}])
        await asyncio.sleep(_PAUSE_S)
    yield _chunk(head, [{"index": 0, "delta": {}, "finish_reason": finish}])
    if usage is not None:
        yield _chunk(head, [], usage)
    yield b"data: [DONE]\n\n"


def _chunk(head: dict[str, Any], choices: list[dict[str, Any]], usage: dict[str, int] | None = None) -> bytes:
    chunk = {**head, "object": "chat.completion.chunk", "choices": choices}
    return b"data: " + json.dumps({**chunk, "usage": usage} if usage else chunk).encode() + b"\n\n"


async def _completions(request: Request) -> Response:
    body = await request.json()
    prompt = body.get("prompt") or ""
    text = f" (demo) {prompt if isinstance(prompt, str) else ''}".rstrip()
    head = {"id": f"cmpl-{_hash(text)[:12]}", "object": "text_completion", "created": _CREATED, "model": body["model"]}
    choice = {"text": text, "index": 0, "logprobs": None, "finish_reason": "stop"}
    if not body.get("stream"):
        return JSONResponse({**head, "choices": [choice], "usage": _usage(str(prompt), text)})

    async def stream() -> AsyncIterator[bytes]:
        yield b"data: " + json.dumps({**head, "choices": [choice]}).encode() + b"\n\n"
        yield b"data: [DONE]\n\n"

    return StreamingResponse(stream(), media_type="text/event-stream")


async def _embeddings(request: Request) -> Response:
    body = await request.json()
    inputs = body["input"] if isinstance(body["input"], list) else [body["input"]]
    size = body.get("dimensions") or DIMENSIONS
    data = [{"object": "embedding", "index": i, "embedding": _embed(str(v), size)} for i, v in enumerate(inputs)]
    tokens = sum(len(str(value).split()) for value in inputs)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return JSONResponse({"object": "list", "data": data, "model": body["model"], "usage": usage})


def _embed(text: str, size: int) -> list[float]:
    raw = hashlib.shake_256(text.encode()).digest(size)
    return [round(byte / 127.5 - 1, 4) for byte in raw]


def _usage(prompt: str, answer: str) -> dict[str, int]:
    used, made = len(prompt.split()), len(answer.split())
    return {"prompt_tokens": used, "completion_tokens": made, "total_tokens": used + made}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
