"""The wire format ``gemini_embeddings``: ``POST /v1beta/models/{model}:embedContent`` and ``:batchEmbedContents``.

``model`` is in the path; here it is a member of the body. A body with ``content`` asks for one vector, a body
with ``requests`` for one vector per request. Source: ai.google.dev API reference, ``EmbedContentRequest``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

from proxy_core import (
    BadRequest,
    Dialect,
    EmbedRequest,
    EmbedResponse,
    JsonObject,
    ProxyRequest,
    RequestHead,
    ResponseContext,
    UpstreamBroken,
    Usage,
)
from proxy_core.dialects.common import json_bytes, load_object, missing, require_model, wrong_type
from proxy_plugin_gemini.dialect.common import decode_usage, encode_usage, field, whole_usage
from proxy_plugin_gemini.dialect.errors import encode_error, stream_error, whole_failure

NAME = "gemini_embeddings"
#: Hints about the kind of vector wanted, one set per input; other formats have no counterpart.
HINTS = ("taskType", "title", "autoTruncate")


def read_request(head: RequestHead, body: JsonObject) -> JsonObject:
    """The body, completed with the facts in the URL: the model, and whether this is a batch."""
    model = head.parameters["model"].removeprefix("models/")
    return {**body, "model": model, "batch": head.path.endswith(":batchEmbedContents")}


def request_body(body: JsonObject, model: str) -> JsonObject:
    """The part of a body that goes upstream. ``model`` is the upstream's own id, which a batch repeats in each request.

    Members of a batch other than ``requests`` are defaults for its requests.
    """
    own = {name: value for name, value in body.items() if name not in ("model", "batch")}
    if "requests" not in own:
        return own
    shared = {name: value for name, value in own.items() if name != "requests"}
    return {"requests": [{**shared, **one, "model": f"models/{model}"} for one in own["requests"]]}


def check(body: JsonObject) -> None:
    """Raise ``BadRequest`` for a body that no upstream could read. If ``batch`` is missing, the body decides."""
    model = require_model(body)
    batch = body.get("batch", "requests" in body)
    other = "content" if batch else "requests"
    if other in body:
        raise BadRequest(f"{other!r} is not a field of this method.", param=other)
    if not batch:
        return _check_content(body.get("content"), "content")
    requests = body.get("requests")
    if requests is None:
        raise missing("requests")
    if not isinstance(requests, list) or not requests:
        raise wrong_type("requests", "a non-empty array")
    for index, one in enumerate(requests):
        if not isinstance(one, dict):
            raise wrong_type(f"requests[{index}]", "an object")
        if one.get("model") is not None and str(one["model"]).removeprefix("models/") != model:
            raise wrong_type(f"requests[{index}].model", "the model in the URL")
        _check_content(one.get("content"), f"requests[{index}].content")
    return None


def _check_content(content: object, where: str) -> None:
    if content is None:
        raise missing(where)
    if not isinstance(content, dict):
        raise wrong_type(where, "an object")
    if not isinstance(content.get("parts"), list) or not content["parts"]:
        raise wrong_type(f"{where}.parts", "a non-empty array")


# --- Requests ----------------------------------------------------------------------------


def decode_inputs(body: JsonObject) -> EmbedRequest:
    """Only texts: anything that another format cannot express raises an error that names it; hints go to ``extra``."""
    requests: Sequence[JsonObject] = body.get("requests") or [body]
    at = "requests[{}]." if "requests" in body else ""
    texts = [_text(one["content"], at.format(index)) for index, one in enumerate(requests)]
    size = field(requests[0], "outputDimensionality")
    if any(field(one, "outputDimensionality") != size for one in requests):
        raise BadRequest("'outputDimensionality' must be the same in all requests.", param="outputDimensionality")
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 1):
        raise wrong_type("outputDimensionality", "a positive integer")
    first = requests[0]
    extra = {name: field(first, name) for name in HINTS if field(first, name) is not None}
    return EmbedRequest(model=body["model"], inputs=texts, dimensions=size, extra=extra)


def _text(content: JsonObject, where: str) -> str:
    """Several parts form one input."""
    words = []
    for index, part in enumerate(content["parts"]):
        if not isinstance(part, dict) or not isinstance(part.get("text"), str):
            raise wrong_type(f"{where}content.parts[{index}]", "a text")
        words.append(part["text"])
    return "\n".join(words)


def encode_inputs(request: EmbedRequest) -> JsonObject:
    """One input becomes a single request, several become a batch. Raises ``BadRequest`` for tokens."""
    inputs: list[JsonObject] = []
    for text in request.inputs:
        if not isinstance(text, str):
            raise BadRequest("Gemini embeds texts, not tokens.", param="input", code="invalid_type")
        one: JsonObject = {"content": {"parts": [{"text": text}]}}
        one |= {name: request.extra[name] for name in HINTS if request.extra.get(name) is not None}
        if request.dimensions is not None:
            one["outputDimensionality"] = request.dimensions
        inputs.append(one)
    own = {"model": request.model}
    return {**own, **inputs[0]} if len(inputs) == 1 else {**own, "requests": inputs}


# --- Responses ---------------------------------------------------------------------------


def decode_embeddings(data: bytes) -> EmbedResponse:
    """Decode a response of either method. Usage is rarely included. Raises ``UpstreamBroken``."""
    value = load_object(data) or {}
    found = [value["embedding"]] if "embedding" in value else value.get("embeddings")
    if not isinstance(found, list):
        raise UpstreamBroken("The upstream sent a response without embeddings.")
    usage = decode_usage(value.get("usageMetadata")) or Usage()
    return EmbedResponse(model="", vectors=[_vector(entry) for entry in found], usage=usage)


def _vector(entry: object) -> Sequence[float]:
    values: Any = entry.get("values") if isinstance(entry, dict) else None
    if not isinstance(values, list) or not all(_number(value) for value in values):
        raise UpstreamBroken("The upstream's embedding is not a list of numbers.")
    return [float(value) for value in values]


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def encode_embeddings(response: EmbedResponse, body: JsonObject) -> bytes:
    """A vector for each input, in the form of the method that the client called. Raises ``UpstreamBroken``."""
    wanted = len(body["requests"]) if "requests" in body else 1
    if len(response.vectors) != wanted:
        raise UpstreamBroken("The upstream's response does not have one embedding for each input.")
    vectors = [{"values": list(vector)} for vector in response.vectors]
    out: JsonObject = {"embeddings": vectors} if "requests" in body else {"embedding": vectors[0]}
    if response.usage.prompt:
        usage = encode_usage(response.usage)
        out["usageMetadata"] = {name: usage[name] for name in ("promptTokenCount", "totalTokenCount")}
    return json_bytes(out)


def context(request: ProxyRequest) -> ResponseContext:
    return ResponseContext(
        id=request.id, model=request.model, stream=False, include_usage=False, created=int(time.time())
    )


DIALECT = Dialect(
    name=NAME,
    family="embeddings",
    paths=[
        f"{version}/models/{{model:path}}:{method}"
        for version in ("/v1beta", "/v1", "")
        for method in ("embedContent", "batchEmbedContents")
    ],
    read_request=read_request,
    check=check,
    context=context,
    decode_inputs=decode_inputs,
    encode_inputs=encode_inputs,
    decode_embeddings=decode_embeddings,
    encode_embeddings=encode_embeddings,
    encode_error=encode_error,
    stream_error=stream_error,
    whole_usage=whole_usage,
    whole_failure=whole_failure,
    usage_key="usageMetadata",
)
