"""The parts of a client's request that reach litellm: OpenAI's parameters by name, and nothing else.

litellm takes its network and credential arguments (``api_base``, ``api_key``, ``extra_headers``, ``aws_...``)
as keywords next to a request's own parameters, so this must be a list of allowed names, not of forbidden ones.
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
#: Set by the proxy, not a parameter from the client.
_ROUTING = frozenset({"model"})
_LINKS = ("http://", "https://")


def allowed(body: Mapping[str, Any], names: frozenset[str]) -> tuple[dict[str, Any], list[str]]:
    """The parameters to pass on, and the names of those that are dropped."""
    kept = {name: value for name, value in body.items() if name in names and value is not None}
    return kept, sorted(name for name in body if name not in names and name not in _ROUTING)


def check_chat(body: Mapping[str, Any]) -> None:
    """Raises ``BadRequest`` for anything that would make litellm itself open connections: links and server tools."""
    for index, tool in enumerate(body.get("tools") or ()):
        if tool.get("type") != "function":
            raise BadRequest(
                f"Tools of type {tool.get('type')!r} are not supported here.", param=f"tools[{index}].type"
            )
    for index, message in enumerate(body.get("messages") or ()):
        if any(_is_link(text) for text in _addresses(message.get("content"))):
            raise BadRequest("Links are not supported here; send the data itself.", param=f"messages[{index}].content")


def _addresses(content: Any) -> Iterator[Any]:
    """All values at places where a part of a message may hold an address."""
    for part in content if isinstance(content, list) else ():
        for kind in ("image_url", "video_url", "audio_url", "file"):
            inner = part.get(kind) if isinstance(part, dict) else None
            yield from inner.values() if isinstance(inner, dict) else (inner,)


def _is_link(value: Any) -> bool:
    return isinstance(value, str) and value.lstrip().lower().startswith(_LINKS)
