"""What of a client's request reaches litellm: OpenAI's parameters by name, and nothing else.

litellm takes its network and credential arguments (``api_base``, ``api_key``, ``extra_headers``, ``aws_...``)
through the same keywords as a request's own, so this is a list of what is allowed and never one of what is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from proxy_core import BadRequest

CHAT = frozenset(
    "audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens max_tokens messages "
    "modalities n parallel_tool_calls prediction presence_penalty prompt_cache_key prompt_cache_retention "
    "reasoning_effort response_format safety_identifier seed service_tier stop store stream stream_options "
    "temperature tool_choice tools top_logprobs top_p user verbosity web_search_options".split()
)
EMBEDDINGS = frozenset("dimensions encoding_format input user".split())
#: Sent by us, not a parameter of the client's.
_ROUTING = frozenset({"model"})
_LINKS = ("http://", "https://")


def allowed(body: Mapping[str, Any], names: frozenset[str]) -> tuple[dict[str, Any], list[str]]:
    """The parameters that go on, and the names of those that do not."""
    kept = {name: value for name, value in body.items() if name in names and value is not None}
    return kept, sorted(name for name in body if name not in names and name not in _ROUTING)


def check_chat(body: Mapping[str, Any]) -> None:
    """Raises ``BadRequest`` for what would have litellm itself open connections: links, and tools on servers."""
    for index, tool in enumerate(body.get("tools") or ()):
        if tool.get("type") != "function":
            raise BadRequest(f"Tools of type {tool.get('type')!r} are not possible here.", param=f"tools[{index}].type")
    for index, message in enumerate(body.get("messages") or ()):
        if any(_is_link(text) for text in _addresses(message.get("content"))):
            raise BadRequest("A link here cannot be opened; send the data itself.", param=f"messages[{index}].content")


def _addresses(content: Any) -> Iterator[Any]:
    """Whatever stands where a part of a message may have an address."""
    for part in content if isinstance(content, list) else ():
        for kind in ("image_url", "video_url", "audio_url", "file"):
            inner = part.get(kind) if isinstance(part, dict) else None
            yield from inner.values() if isinstance(inner, dict) else (inner,)


def _is_link(value: Any) -> bool:
    return isinstance(value, str) and value.lstrip().lower().startswith(_LINKS)
