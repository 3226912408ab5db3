"""The wire format ``openai_embeddings``: ``POST /v1/embeddings``.

``encoding_format`` applies to the proxy's response: floats and base64 (little-endian float32) are
converted, whichever the upstream sent. openai-python requests base64 by default.
"""

from __future__ import annotations

import base64
import struct
import time
from collections.abc import Sequence
from typing import Any

from proxy_core.dialects.common import (
    json_bytes,
    load_object,
    missing,
    optional_int,
    optional_str,
    require_model,
    wrong_type,
)
from proxy_core.dialects.model_name import renamed
from proxy_core.dialects.openai_chat.errors import embeddings_failure, encode_error, stream_error
from proxy_core.dialects.openai_chat.usage import usage_in
from proxy_core.errors import BadRequest, UpstreamBroken
from proxy_core.interfaces import Batching, Dialect, ProxyRequest, ResponseContext
from proxy_core.messages import EmbedRequest, EmbedResponse, JsonObject, Usage

NAME = "openai_embeddings"


def check(body: JsonObject) -> None:
    require_model(body)
    if body.get("input") is None:
        raise missing("input")
    _check_input(body["input"])
    dimensions = optional_int(body, "dimensions")
    if dimensions is not None and dimensions < 1:
        raise wrong_type("dimensions", "a positive integer")
    if body.get("encoding_format") not in (None, "float", "base64"):
        raise BadRequest(
            "'encoding_format' must be 'float' or 'base64'.", param="encoding_format", code="invalid_value"
        )


def _check_input(value: object) -> None:
    """A string, strings, one token array, or token arrays; never empty."""
    texts = value if isinstance(value, list) else [value]
    strings = bool(texts) and all(isinstance(v, str) and v for v in texts)
    if not (strings or _tokens(value) or (bool(texts) and all(_tokens(v) for v in texts))):
        raise wrong_type("input", "a non-empty string, an array of such, or arrays of tokens")


def _tokens(value: object) -> bool:
    return (
        isinstance(value, list) and bool(value) and all(isinstance(v, int) and not isinstance(v, bool) for v in value)
    )


def context(request: ProxyRequest) -> ResponseContext:
    return ResponseContext(
        id=request.id, model=request.model, stream=False, include_usage=False, created=int(time.time())
    )


def finish_whole(response: bytes, body: JsonObject) -> bytes:
    """The response with the client's name for the model, and vectors in the encoding that the client requested."""
    response, wanted = renamed(response, "model", body["model"]), body.get("encoding_format")
    if wanted is None:
        return response
    value = load_object(response)
    if value is None or not isinstance(value.get("data"), list):
        return response
    changed = False
    for item in value["data"]:
        vector = item.get("embedding") if isinstance(item, dict) else None
        # An unpooled embedding is a list of vectors, which base64 cannot express.
        if wanted == "base64" and isinstance(vector, list) and not any(isinstance(part, list) for part in vector):
            item["embedding"], changed = to_base64(vector), True
        elif wanted == "float" and isinstance(vector, str):
            item["embedding"], changed = from_base64(vector), True
    return json_bytes(value) if changed else response


def to_base64(vector: Sequence[float]) -> str:
    try:
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    except (struct.error, OverflowError):
        raise UpstreamBroken("The upstream's embedding is not a list of numbers.") from None


def from_base64(vector: str) -> list[float]:
    try:
        raw = base64.b64decode(vector, validate=True)
        return list(struct.unpack(f"<{len(raw) // 4}f", raw))
    except (ValueError, struct.error):
        raise UpstreamBroken("The upstream's embedding is neither numbers nor base64.") from None


# --- Translation to and from other formats -------------------------------------------------


def decode_inputs(body: JsonObject) -> EmbedRequest:
    """A single text or token array is one input. ``encoding_format`` applies to the proxy's response."""
    given = body["input"]
    one = isinstance(given, str) or _tokens(given)
    known = ("model", "input", "dimensions", "user", "encoding_format")
    return EmbedRequest(
        model=body["model"],
        inputs=[given] if one else given,
        dimensions=optional_int(body, "dimensions"),
        user=optional_str(body, "user"),
        extra={name: value for name, value in body.items() if name not in known},
    )


def encode_inputs(request: EmbedRequest) -> JsonObject:
    """Without ``extra``, which holds another format's fields; OpenAI's upstreams may reject them."""
    out: JsonObject = {"model": request.model, "input": list(request.inputs), "encoding_format": "float"}
    if request.dimensions is not None:
        out["dimensions"] = request.dimensions
    if request.user is not None:
        out["user"] = request.user
    return out


def decode_embeddings(data: bytes) -> EmbedResponse:
    """Vectors in the order of their inputs, in either encoding. Raises ``UpstreamBroken``."""
    value = load_object(data) or {}
    items = value.get("data")
    if not isinstance(items, list) or sorted(_index(item) for item in items) != list(range(len(items))):
        raise UpstreamBroken("The upstream sent a response without embeddings.")
    usage = usage_in(value) or Usage()
    vectors = [_vector(item.get("embedding")) for item in sorted(items, key=_index)]
    return EmbedResponse(model=str(value.get("model", "")), vectors=vectors, usage=usage)


def _vector(value: object) -> Sequence[float]:
    if isinstance(value, str):
        return from_base64(value)
    if not isinstance(value, list) or not all(isinstance(v, int | float) for v in value):
        raise UpstreamBroken("The upstream's embedding is not a list of numbers.")
    return value


def encode_embeddings(response: EmbedResponse, body: JsonObject) -> bytes:
    """Vectors from a provider with its own format."""
    base = body.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": i, "embedding": to_base64(v) if base else list(v)}
        for i, v in enumerate(response.vectors)
    ]
    usage = {"prompt_tokens": response.usage.prompt, "total_tokens": response.usage.prompt}
    return json_bytes({"object": "list", "data": data, "model": body["model"], "usage": usage})


# --- Batching ------------------------------------------------------------------------------


def batch_key(body: JsonObject) -> str | None:
    """Every field except the texts. Token arrays are not batched: one of them looks like a list of inputs."""
    texts = _texts(body)
    if texts is None:
        return None
    return json_bytes({name: body[name] for name in sorted(body) if name != "input"}).decode()


def _texts(body: JsonObject) -> list[str] | None:
    value = body["input"]
    texts = [value] if isinstance(value, str) else value
    return texts if all(isinstance(text, str) for text in texts) else None


def merged(bodies: Sequence[JsonObject]) -> JsonObject:
    return {**bodies[0], "input": [text for body in bodies for text in _texts(body) or ()]}


def split(response: bytes, bodies: Sequence[JsonObject]) -> list[bytes]:
    """The vectors of each body, renumbered, and its share of the usage, by the length of its texts."""
    value = load_object(response) or {}
    data = value.get("data")
    sizes = [len(_texts(body) or ()) for body in bodies]
    if not isinstance(data, list) or sorted(_index(item) for item in data) != list(range(sum(sizes))):
        raise UpstreamBroken("The upstream's response does not have one embedding for each input.")
    data.sort(key=_index)
    usage = value.get("usage") if isinstance(value.get("usage"), dict) else None
    weights = [sum(map(len, _texts(body) or ())) for body in bodies]
    responses, start = [], 0
    for number, size in enumerate(sizes):
        mine = [{**item, "index": index} for index, item in enumerate(data[start : start + size])]
        share = {"usage": _share(usage, weights, number)} if usage is not None else {}
        responses.append(json_bytes({**value, "data": mine, **share}))
        start += size
    return responses


def _share(value: Any, weights: Sequence[int], number: int) -> Any:
    """One body's share of a usage object: of every number in it, at any depth."""
    if isinstance(value, dict):
        return {name: _share(member, weights, number) for name, member in value.items()}
    if isinstance(value, int) and not isinstance(value, bool):
        return apportioned(value, weights)[number]
    return value * weights[number] / sum(weights) if isinstance(value, float) else value


def _index(item: object) -> int:
    index = item.get("index") if isinstance(item, dict) else None
    return index if isinstance(index, int) else -1


def apportioned(total: int, weights: Sequence[int]) -> list[int]:
    """Split ``total`` in proportion to ``weights``, exactly: the largest remainders receive what is left."""
    whole = sum(weights) or 1
    parts = [total * weight // whole for weight in weights]
    order = sorted(range(len(weights)), key=lambda n: (-(total * weights[n] % whole), n))
    for n in order[: total - sum(parts)]:
        parts[n] += 1
    return parts


BATCHING = Batching(key=batch_key, size=lambda body: len(_texts(body) or ()), merge=merged, split=split)
DIALECT = Dialect(
    name=NAME,
    family="embeddings",
    paths=("/v1/embeddings", "/embeddings"),
    check=check,
    context=context,
    finish_whole=finish_whole,
    batching=BATCHING,
    decode_inputs=decode_inputs,
    encode_inputs=encode_inputs,
    decode_embeddings=decode_embeddings,
    encode_embeddings=encode_embeddings,
    encode_error=encode_error,
    stream_error=stream_error,
    whole_usage=usage_in,
    whole_failure=embeddings_failure,
    base_path="/v1",
    required=["model", "input"],
    reference="https://platform.openai.com/docs/api-reference/embeddings/create",
)
