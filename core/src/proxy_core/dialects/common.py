"""What dialects share: reading JSON fields with errors that name the field, and writing JSON."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any
from urllib.parse import unquote_to_bytes

from proxy_core.errors import BadRequest, ProxyError, UpstreamBroken
from proxy_core.interfaces import ModelInfo
from proxy_core.jsons import dumps, loads, loads_strict
from proxy_core.messages import (
    Audio,
    File,
    HostedTool,
    Image,
    InlineData,
    JsonObject,
    Link,
    Native,
    Part,
    Reasoning,
    Refusal,
    Source,
    Text,
    ToolCall,
    ToolResult,
)
from proxy_core.messages.events import MOST_TOKENS

MAX_MODEL_NAME = 256
#: OpenAI's limit for the name of a tool.
_LONGEST_NAME = 64
_LONGEST_SLEEP_S = 60
_ODD = re.compile(r"[^a-zA-Z0-9_-]")
#: How the types of tools begin that OpenAI runs itself; others (a shell, a computer) the client runs.
RUN_BY_OPENAI = ("web_search", "file_search", "code_interpreter", "image_generation", "mcp", "tool_search")
_DECIMAL = re.compile(r"\s*\d{1,30}(\.\d{1,30})?\s*")


def json_bytes(value: object) -> bytes:
    """JSON for a client: U+2028 and U+2029 are escaped, as they break naive readers of event streams."""
    out = dumps(value)
    if not out.isascii() and b"\xe2\x80" in out:
        out = out.replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")
    return out


def left_out(tool: HostedTool) -> str:
    """A tool of another format, as ``dropped`` names it. Raises ``BadRequest`` if the client cannot do without it."""
    if not tool.optional:
        raise BadRequest(f"Tools of type {tool.name!r} are not available for this model.", param="tools")
    return f"tools[].{tool.name}"


#: Parts of messages, as errors call them.
_PARTS: Mapping[type, str] = {
    Text: "text",
    Refusal: "a refusal",
    Reasoning: "reasoning",
    Image: "an image",
    Audio: "audio",
    File: "a file",
    ToolCall: "a tool call",
    ToolResult: "the result of a tool call",
}


def misplaced(part: Part) -> BadRequest:
    """The error for a part that a model's format has no place for."""
    what = f"content of type {part.payload.get('type')!r}" if isinstance(part, Native) else _PARTS[type(part)]
    return BadRequest(f"This model does not support {what} in this place.", param="messages", code="invalid_value")


def unknown_word(at: str, word: object) -> BadRequest:
    """The error for a field that has a word that it does not know, or none."""
    if word is None:
        return missing(at)
    return BadRequest(f"{at!r} {str(word)[:100]!r} is not known.", param=at, code="invalid_value")


def retry_headers(error: ProxyError) -> Sequence[tuple[str, str]]:
    """What keeps SDKs, and agents built on them, from trying again where that cannot help, whatever the status, and
    from sleeping for more than a minute."""
    long = error.retry_after_s is not None and error.retry_after_s > _LONGEST_SLEEP_S
    return (("x-should-retry", "false"),) if long or not error.waiting_helps else ()


def load_json(data: bytes | str) -> Any:
    """The value of a text in UTF-8. Raises ``ValueError``, also if it is nested too deeply, and nothing else."""
    return loads(data)


def load_object(data: bytes | str) -> JsonObject | None:
    """``data`` as a JSON object, or ``None`` if it is anything else."""
    try:
        value = loads(data)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def first_of_list(data: bytes) -> JsonObject | None:
    """The first object of a list of them: some servers send an error in one."""
    try:
        value = loads(data)
    except ValueError:
        return None
    return value[0] if isinstance(value, list) and value and isinstance(value[0], dict) else None


def no_response(data: bytes, what: str) -> UpstreamBroken:
    """The error for a body that is no ``what``, with a cause that says what it is."""
    begin = data[:256].strip()
    error = UpstreamBroken(f"The upstream's response is not a {what}.")
    error.cause = "it is empty" if not begin else "it is a web page" if begin[:1] == b"<" else f"it is not a {what}"
    return error


def parse_body(data: bytes) -> JsonObject:
    """A client's body. Raises ``BadRequest`` unless it is a JSON object."""
    try:
        value = loads_strict(data)
    except UnicodeDecodeError:
        raise BadRequest("The request body is not UTF-8.") from None
    except ValueError as error:
        raise BadRequest(f"The request body is not valid JSON: {error}.") from None
    if not isinstance(value, dict):
        raise BadRequest("The request body must be a JSON object.")
    return value


def wrong_type(param: str, wanted: str) -> BadRequest:
    return BadRequest(f"{param!r} must be {wanted}.", param=param, code="invalid_type")


def missing(param: str) -> BadRequest:
    return BadRequest(f"Missing required parameter: {param!r}.", param=param, code="missing_required_parameter")


def require_model(body: JsonObject) -> str:
    model = body.get("model")
    if model is None:
        raise missing("model")
    if not isinstance(model, str) or not model.strip():
        raise wrong_type("model", "a non-empty string")
    if len(model) > MAX_MODEL_NAME:  # names are kept in logs, counters and usage
        raise wrong_type("model", f"a string of at most {MAX_MODEL_NAME} characters")
    try:
        model.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can express
        raise wrong_type("model", "valid Unicode") from None
    return model


def check_stream(body: JsonObject) -> None:
    if not isinstance(body.get("stream"), bool | None):
        raise wrong_type("stream", "a boolean")
    if not isinstance(body.get("stream_options"), dict | None):
        raise wrong_type("stream_options", "an object")


def optional_str(body: Mapping[str, Any], key: str, at: str = "") -> str | None:
    value = body.get(key)
    if value is not None and not isinstance(value, str):
        raise wrong_type(at + key, "a string")
    return value


def optional_int(body: Mapping[str, Any], key: str, at: str = "") -> int | None:
    value = body.get(key)
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong_type(at + key, "an integer")
    return value


def optional_float(body: Mapping[str, Any], key: str, at: str = "") -> float | None:
    value = body.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise wrong_type(at + key, "a number")
    return value


def optional_bool(body: Mapping[str, Any], key: str, at: str = "") -> bool | None:
    value = body.get(key)
    if not isinstance(value, bool | None):
        raise wrong_type(at + key, "a boolean")
    return value


def count(source: object, key: str) -> int:
    """:func:`tokens` of a field; 0 if it is not there."""
    value = source.get(key) if isinstance(source, Mapping) else None
    return 0 if value is None else tokens(value)


def tokens(value: object) -> int:
    """A token count, also as a float or as text; anything but a positive number is 0, and none is beyond reason."""
    if isinstance(value, str):
        value = float(value) if _DECIMAL.fullmatch(value) else 0
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return 0
    return int(min(value, MOST_TOKENS))


def counted(body: bytes, name: str) -> int:
    """The tokens that a server counted, from a field of its answer. Raises ``ValueError``: no request has none."""
    found = tokens((load_object(body) or {}).get(name))
    if not 0 < found < MOST_TOKENS:
        raise ValueError("no number of tokens")
    return found


def without_none(**fields: Any) -> JsonObject:
    """The fields that have a value."""
    return {key: value for key, value in fields.items() if value is not None}


def prices_per_token(info: ModelInfo) -> dict[str, float]:
    """US dollars per token, in the form that gateways' model lists use."""
    per_million = {
        "prompt": info.input_price,
        "completion": info.output_price,
        "cached_input": info.cached_price,
        "cache_write": info.cache_write_price,
    }
    return {name: float(f"{price / 1_000_000:.12g}") for name, price in per_million.items() if price is not None}


def with_contexts(parts: Sequence[Part]) -> Iterator[Part]:
    """The parts for a format in which a document has no context of its own: it is a text before the document."""
    for part in parts:
        if isinstance(part, File) and part.context:
            yield Text(text=part.context)
        yield part


def decode_url(url: str) -> Source:
    """``data:image/png;base64,...`` or an address that the provider may fetch."""
    if url[:5].lower() == "data:":
        head, _, data = url[5:].partition(",")
        is_base64 = head[-7:].lower() == ";base64"
        if not is_base64:
            data = base64.b64encode(unquote_to_bytes(data)).decode()
        media_type, *parameters = (head[:-7] if is_base64 else head).split(";")
        named = [parameter for parameter in parameters if "=" in parameter]  # some write ``;utf8``, which is none
        return InlineData(media_type=";".join([media_type or "text/plain", *named]), data=data)
    return Link(url=url)


def plain_id(call_id: str) -> str:
    """An id of letters, digits, ``_`` and ``-``, which every service takes; the same one for the same id."""
    clean = _ODD.sub("_", call_id)
    if clean == call_id:
        return call_id
    return f"{clean}_{sha256(call_id.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def flat_name(name: str, namespace: str | None) -> str:
    """The name of a tool in a format without namespaces; always the same, so that it can be recognized again."""
    if namespace is None:
        return name
    whole = f"{namespace}__{name}"
    if len(whole) <= _LONGEST_NAME:
        return whole
    digest = sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{whole[: _LONGEST_NAME - 9]}_{digest}"
