"""What a client asks for: a chat with its tools and options, or embeddings, and what comes back of these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from proxy_core.messages.content import Message
from proxy_core.messages.events import Usage
from proxy_core.messages.json_types import Extra


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionTool:
    """``parameters`` is JSON Schema; ``None`` means the client gave none."""

    name: str
    description: str | None = None
    parameters: Extra | None = None
    strict: bool | None = None
    namespace: str | None = None
    extra: Extra = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomTool:
    """A tool whose input is text; ``grammar`` is ``{"syntax": ..., "definition": ...}``."""

    name: str
    description: str | None = None
    grammar: Extra | None = None
    namespace: str | None = None
    extra: Extra = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedTool:
    """A tool the vendor runs (web search, code execution), in its own dialect's words."""

    dialect: str
    payload: Extra


Tool = FunctionTool | CustomTool | HostedTool


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolChoice:
    """``required`` with ``names`` forces one of them; ``auto`` with ``names`` only narrows."""

    mode: Literal["auto", "none", "required"]
    names: Sequence[str] = ()
    hosted: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseFormat:
    kind: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    schema: Extra | None = None
    description: str | None = None
    strict: bool | None = None
    media_type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningOptions:
    """How hard to think: by word, by budget in tokens, or adaptively; and what to show of it."""

    effort: str | None = None
    budget_tokens: int | None = None
    mode: Literal["on", "off", "adaptive"] | None = None
    summary: str | None = None
    include: bool | None = None
    extra: Extra = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """``None`` leaves a value to the provider. Penalties are -2..2, temperature 0..2."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """A conversation to continue. ``extra`` holds top-level fields of ``dialect`` without a name here."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedRequest:
    """Inputs to embed: texts, or token arrays where a provider takes them."""

    model: str
    inputs: Sequence[str] | Sequence[Sequence[int]]
    dimensions: int | None = None
    user: str | None = None
    extra: Extra = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedResponse:
    """One vector per input, in their order."""

    model: str
    vectors: Sequence[Sequence[float]]
    usage: Usage
