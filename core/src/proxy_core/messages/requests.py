"""What a client requests: a chat with its tools and options, or embeddings; and the response for embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct, field

from proxy_core.messages.content import Message
from proxy_core.messages.events import Usage
from proxy_core.messages.json_types import Extra

__all__ = [
    "ChatRequest",
    "CustomTool",
    "EmbedRequest",
    "EmbedResponse",
    "FunctionTool",
    "HostedTool",
    "ReasoningOptions",
    "ResponseFormat",
    "Sampling",
    "Tool",
    "ToolChoice",
]


class FunctionTool(Struct, frozen=True, kw_only=True):
    """``parameters`` is JSON Schema; ``None`` means that the client sent none."""

    name: str
    description: str | None = None
    parameters: Extra | None = None
    strict: bool | None = None
    namespace: str | None = None
    extra: Extra = field(default_factory=dict)


class CustomTool(Struct, frozen=True, kw_only=True):
    """A tool whose input is text; ``grammar`` is ``{"syntax": ..., "definition": ...}``."""

    name: str
    description: str | None = None
    grammar: Extra | None = None
    namespace: str | None = None
    extra: Extra = field(default_factory=dict)


class HostedTool(Struct, frozen=True, kw_only=True):
    """A tool that only one dialect has, in its format: the vendor runs it (web search), or the client (a computer).

    ``optional``: the vendor runs it, and where it does not exist, the client can do without it.
    """

    dialect: str
    payload: Extra
    optional: bool = False

    @property
    def name(self) -> str:
        """Its type or, in a format that has none, its only field."""
        kind = self.payload.get("type")
        return kind if isinstance(kind, str) else next(iter(self.payload), "")


Tool = FunctionTool | CustomTool | HostedTool


class ToolChoice(Struct, frozen=True, kw_only=True):
    """``required`` with ``names`` forces one of them; ``auto`` with ``names`` only restricts the choice."""

    mode: Literal["auto", "none", "required"]
    names: Sequence[str] = ()
    hosted: str | None = None


class ResponseFormat(Struct, frozen=True, kw_only=True):
    kind: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    schema: Extra | None = None
    description: str | None = None
    strict: bool | None = None
    media_type: str | None = None


class ReasoningOptions(Struct, frozen=True, kw_only=True):
    """How much to reason: by effort, by a budget in tokens, or adaptively; and what to show of it."""

    effort: str | None = None
    budget_tokens: int | None = None
    mode: Literal["on", "off", "adaptive"] | None = None
    summary: str | None = None
    include: bool | None = None
    extra: Extra = field(default_factory=dict)


class Sampling(Struct, frozen=True, kw_only=True):
    """``None`` uses the provider's default. Penalties are -2..2, temperature 0..2."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: Sequence[str] = ()
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: Extra | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    n: int | None = None


class ChatRequest(Struct, frozen=True, kw_only=True):
    """A conversation to continue. ``extra`` holds top-level fields of ``dialect`` without a field here."""

    model: str
    messages: Sequence[Message]
    dialect: str
    stream: bool = False
    include_usage: bool = False
    tools: Sequence[Tool] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    reasoning: ReasoningOptions | None = None
    sampling: Sampling = field(default_factory=Sampling)
    verbosity: str | None = None
    modalities: Sequence[str] = ()
    user: str | None = None
    metadata: Extra | None = None
    store: bool | None = None
    service_tier: str | None = None
    cache_key: str | None = None
    extra: Extra = field(default_factory=dict)


class EmbedRequest(Struct, frozen=True, kw_only=True):
    """Inputs to embed: texts, or token arrays if the provider accepts them."""

    model: str
    inputs: Sequence[str] | Sequence[Sequence[int]]
    dimensions: int | None = None
    user: str | None = None
    extra: Extra = field(default_factory=dict)


class EmbedResponse(Struct, frozen=True, kw_only=True):
    """One vector per input, in the same order."""

    model: str
    vectors: Sequence[Sequence[float]]
    usage: Usage
