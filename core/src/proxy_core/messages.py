"""The neutral model: what a conversation, a reply and a request upstream are, in no vendor's words.

Dialects decode into these values and encode from them; what a wire format says and these
values have no name for rides in ``extra``, so that the same dialect can give it back.
The values cover ``openai_chat``, ``openai_responses``, ``anthropic_messages`` and ``gemini``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

#: A JSON object as ``json.loads`` gives it. ``Any`` is deliberate: this is where JSON enters.
JsonObject = dict[str, Any]
Extra = Mapping[str, Any]


# --- Content -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class InlineData:
    """Bytes in the request itself; ``data`` is base64."""

    media_type: str
    data: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """An address the *provider* may fetch. The proxy does not."""

    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadedFile:
    """A file the provider already holds, by the provider's own id or URI."""

    file_id: str


Source = InlineData | Link | UploadedFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Opaque:
    """Bytes only their maker can read (signatures, encrypted reasoning); given back only to it."""

    maker: str
    payload: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    text: str
    citations: Sequence[Extra] = ()
    opaque: Opaque | None = None
    extra: Extra = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    source: Source
    detail: str | None = None
    extra: Extra = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Audio:
    """Sound; ``format`` is ``wav``, ``mp3`` and the like."""

    source: Source
    format: str | None = None
    extra: Extra = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A document: a PDF, a text, anything a model can read."""

    source: Source
    filename: str | None = None
    title: str | None = None
    context: str | None = None
    extra: Extra = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reasoning:
    """What a model thought. ``summary`` is what the vendor shows; redacted reasoning has only ``opaque``."""

    text: str = ""
    summary: str | None = None
    opaque: Opaque | None = None
    id: str | None = None
    extra: Extra = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call the model made. ``arguments`` is the model's own text: JSON for a function, free for a custom tool."""

    id: str
    name: str
    arguments: str
    kind: Literal["function", "custom"] = "function"
    namespace: str | None = None
    opaque: Opaque | None = None
    extra: Extra = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """The answer to the call ``call_id``."""

    call_id: str
    parts: Sequence[Part]
    name: str | None = None
    is_error: bool = False
    extra: Extra = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Native:
    """A part only one dialect knows (hosted tools' items, compaction): carried whole, or named in a refusal."""

    dialect: str
    payload: Extra


Part = Text | Image | Audio | File | Refusal | Reasoning | ToolCall | ToolResult | Native
Role = Literal["system", "developer", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn, or a part of one. ``phase`` is the Responses dialect's commentary or final answer."""

    role: Role
    parts: Sequence[Part]
    name: str | None = None
    phase: str | None = None
    extra: Extra = field(default_factory=dict)


# --- Tools and options -------------------------------------------------------------------


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


# --- Replies -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens. ``prompt`` includes ``cached`` and ``cache_write``; ``completion`` includes ``reasoning``."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0
    extra: Extra = field(default_factory=dict)

    @property
    def total(self) -> int:
        return self.prompt + self.completion


#: Why a choice ended. ``error`` is an upstream that gave up in mid-answer.
FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "refusal", "pause", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """The reply begins. ``extra``: top-level fields without a name here."""

    id: str | None = None
    model: str | None = None
    created: int | None = None
    extra: Extra = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextDelta:
    text: str
    choice: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalDelta:
    text: str
    choice: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningDelta:
    """A piece of reasoning, or (with empty ``text``) the signature that ends a stretch of it."""

    text: str
    opaque: Opaque | None = None
    summary: bool = False
    choice: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CallStart:
    """A tool call opens; ``call`` numbers the calls of a choice from 0."""

    call: int
    id: str
    name: str
    kind: Literal["function", "custom"] = "function"
    namespace: str | None = None
    opaque: Opaque | None = None
    choice: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CallDelta:
    """More of a call's argument text."""

    call: int
    arguments: str
    choice: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEnd:
    call: int
    choice: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """A source for text already sent, in the words of ``dialect``."""

    dialect: str
    payload: Extra
    choice: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """Something only ``dialect`` has a word for; others leave it out."""

    dialect: str
    payload: Extra
    choice: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """A choice ended. ``detail`` is the stop sequence or the vendor's own word."""

    reason: FinishReason
    detail: str | None = None
    choice: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageReport:
    """What the reply cost so far; a later report replaces an earlier one."""

    usage: Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The upstream reported an error inside a reply; nothing follows. ``extra``: its other members."""

    message: str
    status: int | None = None
    type: str | None = None
    code: str | None = None
    extra: Extra = field(default_factory=dict)


ChatEvent = (
    Start
    | TextDelta
    | RefusalDelta
    | ReasoningDelta
    | CallStart
    | CallDelta
    | CallEnd
    | Citation
    | Carried
    | Finish
    | UsageReport
    | Failed
)


# --- Upstream ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamRequest:
    """What to send. Built from configuration and the request's body; it never holds a client's header.

    ``dropped`` names the fields of the client's request that only advise and that the provider
    has no word for; the client is told in a header of the reply.
    """

    url: str
    headers: Sequence[tuple[str, str]] = field(repr=False)
    content: bytes = field(repr=False, default=b"")
    method: str = "POST"
    dropped: Sequence[str] = ()


#: How an exchange broke without a status: no connection; silence; a connection lost before
#: the status, or in mid-reply; a reply that cannot be read.
TransportFault = Literal["connect", "timeout", "disconnect", "cut", "unreadable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamFailure:
    """One failed attempt, as a judge sees it.

    ``credential_kind`` is that of the credential it was tried with: one status means another thing
    for a key than for a login; ``model`` the upstream's id of what was asked for. ``headers`` have
    lower-case names. ``body`` is at most 64 KiB. ``status`` is ``None`` when the transport failed;
    an error inside a reply with status 200 keeps the status it names.
    ``received_at`` is what relative and absolute reset hints are read against.
    """

    provider: str
    credential_kind: str = ""
    model: str = ""
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    transport: TransportFault | None = None
    received_at: datetime = field(default_factory=lambda: datetime.now(UTC))
