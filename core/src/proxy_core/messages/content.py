"""The parts of a conversation: messages and their content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from proxy_core.messages.json_types import Extra

__all__ = [
    "Audio",
    "File",
    "Image",
    "InlineData",
    "Link",
    "Message",
    "Native",
    "Opaque",
    "Part",
    "Reasoning",
    "Refusal",
    "Role",
    "Source",
    "Text",
    "ToolCall",
    "ToolResult",
    "UploadedFile",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class InlineData:
    """Bytes in the request itself; ``data`` is base64."""

    media_type: str
    data: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """An address that the *provider* may fetch. The proxy does not."""

    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadedFile:
    """A file that the provider already has, by the provider's own id or URI."""

    file_id: str


Source = InlineData | Link | UploadedFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Opaque:
    """Bytes that only their maker can read (signatures, encrypted reasoning); returned only to it.

    ``maker`` is empty if unknown; every possible maker then accepts the bytes as its own.
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
    """Audio; ``format`` is ``wav``, ``mp3`` and the like."""

    source: Source
    format: str | None = None
    extra: Extra = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A document that a model can read, such as a PDF or a text."""

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
    """A model's reasoning. ``summary`` is what the vendor shows; redacted reasoning has only ``opaque``."""

    text: str = ""
    summary: str | None = None
    opaque: Opaque | None = None
    id: str | None = None
    extra: Extra = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call that the model made. ``arguments`` is its own text: JSON for a function, any text for a custom tool."""

    id: str
    name: str
    arguments: str
    kind: Literal["function", "custom"] = "function"
    namespace: str | None = None
    opaque: Opaque | None = None
    extra: Extra = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """The result of the call ``call_id``."""

    call_id: str
    parts: Sequence[Part]
    name: str | None = None
    is_error: bool = False
    extra: Extra = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Native:
    """A part that only one dialect has (hosted tools' items, compaction): passed on whole, or named in an error."""

    dialect: str
    payload: Extra


Part = Text | Image | Audio | File | Refusal | Reasoning | ToolCall | ToolResult | Native
Role = Literal["system", "developer", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn, or a part of one. ``phase`` is commentary or final answer, in the Responses dialect."""

    role: Role
    parts: Sequence[Part]
    name: str | None = None
    phase: str | None = None
    extra: Extra = field(default_factory=dict)
