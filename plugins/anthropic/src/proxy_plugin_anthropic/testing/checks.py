"""What the API refuses in a request, in the order of its checks. A refusal is the message of its 400."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

from proxy_plugin_anthropic.testing.tool_checks import check_choice, check_format, check_tools
from proxy_plugin_anthropic.testing.words import Refused, known_keys

_REQUEST = frozenset(
    (
        "model max_tokens messages system stream stop_sequences temperature top_p top_k tools tool_choice thinking"
        " output_config metadata service_tier container inference_geo cache_control speed context_management"
        " mcp_servers"
    ).split()
)
_ASSISTANT = frozenset(
    (
        "text thinking redacted_thinking tool_use server_tool_use web_search_tool_result web_fetch_tool_result"
        " code_execution_tool_result compaction"
    ).split()
)
_USER = frozenset("text image document search_result tool_result container_upload".split())
_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_ID = re.compile(r"[a-zA-Z0-9_-]+")
_MOST_CACHED = 4


def check(request: Mapping[str, Any], model: Model, signed: Set[tuple[str, str]], *, betas: str = "") -> None:
    """Raises ``Refused``. ``signed`` are the thoughts that the server has sent, with their signatures.

    System messages among the others need a beta.
    """
    known_keys(request, _REQUEST, "")
    _limits(request, model)
    messages = merged(request.get("messages"), system="mid-conversation-system" in betas)
    for at, message in enumerate(messages):
        _message(message, f"messages.{at}", signed, last=at == len(messages) - 1)
    _pairs(messages)
    tools = check_tools(request.get("tools", []))
    check_choice(request.get("tool_choice"), tools)
    _system(request.get("system"))
    _thinking(request, messages, model)
    _sampling(request, model)
    check_format(request.get("output_config", {}), efforts=model.efforts)
    if sum(1 for _ in _cached(request)) > _MOST_CACHED:
        raise Refused(f"A maximum of {_MOST_CACHED} blocks with cache_control may be provided.")


class Model:
    """What the checks know of a model."""

    def __init__(
        self, *, most: int = 64_000, budgets: bool = True, adaptive: bool = False, sampling: bool = True
    ) -> None:
        self.most, self.budgets, self.adaptive, self.sampling = most, budgets, adaptive, sampling
        self.efforts = adaptive


def merged(messages: Any, *, system: bool) -> list[dict[str, Any]]:
    """Consecutive messages of one role are one message; one of the ``system`` counts as the user's."""
    if not isinstance(messages, list) or not messages:
        raise Refused("messages: at least one message is required")
    out: list[dict[str, Any]] = []
    for at, message in enumerate(messages):
        known_keys(message, frozenset({"role", "content"}), f"messages.{at}")
        if message.get("role") not in ("user", "assistant", *(["system"] if system else ())):
            raise Refused(f"messages.{at}.role: Input should be 'user' or 'assistant'")
        role = "assistant" if message["role"] == "assistant" else "user"
        content = message.get("content")
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if not isinstance(blocks, list) or not blocks:
            raise Refused(f"messages.{at}: all messages must have non-empty content")
        if out and out[-1]["role"] == role:
            out[-1]["content"] += blocks
        else:
            out.append({"role": role, "content": list(blocks)})
    if out[0]["role"] != "user":
        raise Refused('messages: first message must use the "user" role')
    return out


def _limits(request: Mapping[str, Any], model: Model) -> None:
    most = request.get("max_tokens")
    if not isinstance(most, int) or isinstance(most, bool):
        raise Refused("max_tokens: Field required")
    if not 1 <= most <= model.most:
        raise Refused(f"max_tokens: {most} > {model.most}, which is the maximum allowed number of output tokens")
    if any(not stop.strip() for stop in request.get("stop_sequences", ())):
        raise Refused("stop_sequences: each stop sequence must contain non-whitespace")


def _message(message: Mapping[str, Any], where: str, signed: Set[tuple[str, str]], *, last: bool) -> None:
    allowed = _ASSISTANT if message["role"] == "assistant" else _USER
    for at, block in enumerate(message["content"]):
        if block.get("type") not in allowed:
            raise Refused(
                f"{where}.content.{at}: Input tag {block.get('type')!r} does not match any of the expected tags"
            )
        _block(block, f"{where}.content.{at}", signed)
    final = message["content"][-1]
    if last and message["role"] == "assistant" and final.get("text", "").rstrip() != final.get("text", ""):
        raise Refused("messages: final assistant content cannot end with trailing whitespace")


def _block(block: Mapping[str, Any], where: str, signed: Set[tuple[str, str]]) -> None:
    match block["type"]:
        case "text":
            known_keys(block, frozenset({"type", "text", "citations", "cache_control"}), where)
            if not block.get("text", "").strip():
                raise Refused("messages: text content blocks must be non-empty")
        case "image" | "document":
            _source(block.get("source", {}), block["type"], where)
        case "thinking":
            if (block.get("thinking"), block.get("signature")) not in signed:
                raise Refused(f"{where}: Invalid `signature` in `thinking` block")
        case "redacted_thinking":
            if ("", block.get("data")) not in signed:
                raise Refused(f"{where}: Invalid `data` in `redacted_thinking` block")
        case "tool_use":
            known_keys(block, frozenset({"type", "id", "name", "input", "cache_control", "caller"}), where)
            if not isinstance(block.get("input"), dict):
                raise Refused(f"{where}.tool_use.input: Input should be a valid dictionary")
            if not _ID.fullmatch(block.get("id", "")):
                raise Refused(f"{where}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'")
        case "tool_result":
            known_keys(block, frozenset({"type", "tool_use_id", "content", "is_error", "cache_control"}), where)
            inner = block.get("content", "")
            for at, part in enumerate(inner if isinstance(inner, list) else ()):
                _block(part, f"{where}.tool_result.content.{at}", signed)


def _source(source: Mapping[str, Any], what: str, where: str) -> None:
    kind = source.get("type")
    if kind == "base64":
        types = _IMAGES if what == "image" else ("application/pdf",)
        if source.get("media_type") not in types:
            raise Refused(f"{where}.{what}.source.base64.media_type: Input should be {' or '.join(map(repr, types))}")
        try:
            base64.b64decode(source["data"], validate=True)
        except (binascii.Error, ValueError, KeyError):
            raise Refused(f"{where}.{what}.source.base64.data: Invalid base64 data") from None
    elif kind == "url" and not str(source.get("url", "")).startswith("https://"):
        raise Refused(f"{where}.{what}.source.url.url: Only HTTPS URLs are supported.")
    elif kind not in ("url", "text", "content", "file"):
        raise Refused(f"{where}.{what}.source: Input tag {kind!r} does not match any of the expected tags")


def _pairs(messages: Sequence[Mapping[str, Any]]) -> None:
    """Each call is answered in the next message, whose results come before everything else."""
    seen: set[str] = set()
    asked: list[str] = []
    for at, message in enumerate(messages):
        results = [b["tool_use_id"] for b in message["content"] if b["type"] == "tool_result"]
        kinds = [b["type"] == "tool_result" for b in message["content"]]
        if any(result not in asked for result in results) or len(set(results)) < len(results):
            raise Refused(f"messages.{at}.content: unexpected `tool_use_id` found in `tool_result` blocks: {results}")
        if set(asked) - set(results) or kinds != sorted(kinds, reverse=True):
            raise Refused(
                f"messages.{at - 1}: `tool_use` ids were found without `tool_result` blocks immediately after: {asked}"
            )
        asked = [b["id"] for b in message["content"] if b["type"] == "tool_use"]
        if seen & set(asked) or len(set(asked)) < len(asked):
            raise Refused("messages: `tool_use` ids must be unique")
        seen |= set(asked)
    if asked:
        raise Refused(f"messages.{len(messages) - 1}: `tool_use` ids were found without `tool_result` blocks: {asked}")


def _system(system: Any) -> None:
    blocks = [{"type": "text", "text": system}] if isinstance(system, str) else system or []
    for at, block in enumerate(blocks):
        known_keys(block, frozenset({"type", "text", "cache_control", "citations"}), f"system.{at}")
        if block.get("type") != "text" or not block.get("text", "").strip():
            raise Refused("system: text content blocks must be non-empty")


def _thinking(request: Mapping[str, Any], messages: Sequence[Mapping[str, Any]], model: Model) -> None:
    thinking = request.get("thinking", {"type": "disabled"})
    kind = thinking.get("type")
    if kind == "enabled":
        if not model.budgets:
            raise Refused('"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive".')
        if not 1024 <= thinking.get("budget_tokens", 0) < request["max_tokens"]:
            raise Refused("thinking.enabled.budget_tokens: must be at least 1024 and less than max_tokens")
        _leads(messages)
    elif kind == "adaptive" and not model.adaptive:
        raise Refused("adaptive thinking is not supported on this model")
    if kind in ("enabled", "adaptive"):
        if request.get("tool_choice", {}).get("type") in ("any", "tool"):
            raise Refused("Thinking may not be enabled when tool_choice forces tool use.")
        if request.get("temperature", 1) != 1 or "top_k" in request or request.get("top_p", 1) < 0.95:
            raise Refused("`temperature` may only be set to 1 when thinking is enabled or in adaptive mode.")


def _leads(messages: Sequence[Mapping[str, Any]]) -> None:
    """The assistant's turn that still waits for results begins with its thoughts."""
    if messages[-1]["role"] != "user" or messages[-1]["content"][0]["type"] != "tool_result":
        return
    first = messages[-2]["content"][0]["type"]
    if first not in ("thinking", "redacted_thinking"):
        raise Refused(
            f"messages.{len(messages) - 2}.content.0.type: Expected `thinking` or `redacted_thinking`, but found"
            f" `{first}`. When `thinking` is enabled, a final `assistant` message must start with a thinking block."
        )


def _sampling(request: Mapping[str, Any], model: Model) -> None:
    for name in ("temperature", "top_p", "top_k"):
        if name in request and not model.sampling:
            raise Refused(f"`{name}` is deprecated for this model.")
    if not 0 <= request.get("temperature", 1) <= 1 or not 0 <= request.get("top_p", 1) <= 1:
        raise Refused("temperature: range: 0..1")
    if "temperature" in request and "top_p" in request:
        raise Refused("`temperature` and `top_p` cannot both be specified for this model. Please use only one.")


def _cached(value: Any) -> Iterator[Any]:
    """Everything that has a ``cache_control``."""
    if isinstance(value, dict):
        if value.get("cache_control") is not None:
            yield value
        for inner in value.values():
            yield from _cached(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _cached(inner)
