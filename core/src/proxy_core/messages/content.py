"""What a conversation is made of: messages and their parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from proxy_core.messages.json_types import Extra


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
    """Bytes only their maker can read (signatures, encrypted reasoning); given back only to it.

    ``maker`` is empty where it was not said: whoever the bytes may belong to takes them for its own.
    """

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
