"""The parts of a conversation: messages and their content."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct, field

from proxy_core.messages.json_types import Extra
from proxy_core.messages.reprs import repr_without

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


class InlineData(Struct, frozen=True, kw_only=True):
    """Bytes in the request itself; ``data`` is base64."""

    __repr__ = repr_without("data")

    media_type: str
    data: str


class Link(Struct, frozen=True, kw_only=True):
    """An address that the *provider* may fetch. The proxy does not."""

    url: str


class UploadedFile(Struct, frozen=True, kw_only=True):
    """A file that the provider already has, by the provider's own id or URI."""

    file_id: str


Source = InlineData | Link | UploadedFile


class Opaque(Struct, frozen=True, kw_only=True):
    """Bytes that only their maker can read (signatures, encrypted reasoning); returned only to it.

    ``maker`` is empty if unknown; every possible maker then accepts the bytes as its own.
    """

    __repr__ = repr_without("payload")

    maker: str
    payload: str


class Text(Struct, frozen=True, kw_only=True):
    text: str
    citations: Sequence[Extra] = ()
    opaque: Opaque | None = None
    extra: Extra = field(default_factory=dict)


class Image(Struct, frozen=True, kw_only=True):
    source: Source
    detail: str | None = None
    extra: Extra = field(default_factory=dict)


class Audio(Struct, frozen=True, kw_only=True):
    """Audio; ``format`` is ``wav``, ``mp3`` and the like."""

    source: Source
    format: str | None = None
    extra: Extra = field(default_factory=dict)


class File(Struct, frozen=True, kw_only=True):
    """A document that a model can read, such as a PDF or a text."""

    source: Source
    filename: str | None = None
    title: str | None = None
    context: str | None = None
    extra: Extra = field(default_factory=dict)


class Refusal(Struct, frozen=True, kw_only=True):
    text: str


class Reasoning(Struct, frozen=True, kw_only=True):
    """A model's reasoning. ``summary`` is what the vendor shows; redacted reasoning has only ``opaque``."""

    text: str = ""
    summary: str | None = None
    opaque: Opaque | None = None
    id: str | None = None
    extra: Extra = field(default_factory=dict)


class ToolCall(Struct, frozen=True, kw_only=True):
    """A call that the model made. ``arguments`` is its own text: JSON for a function, any text for a custom tool."""

    id: str
    name: str
    arguments: str
    kind: Literal["function", "custom"] = "function"
    namespace: str | None = None
    opaque: Opaque | None = None
    extra: Extra = field(default_factory=dict)


class ToolResult(Struct, frozen=True, kw_only=True):
    """The result of the call ``call_id``."""

    call_id: str
    parts: Sequence[Part]
    name: str | None = None
    is_error: bool = False
    extra: Extra = field(default_factory=dict)


class Native(Struct, frozen=True, kw_only=True):
    """A part that only one dialect has (hosted tools' items, compaction): passed on whole, or named in an error."""

    dialect: str
    payload: Extra


Part = Text | Image | Audio | File | Refusal | Reasoning | ToolCall | ToolResult | Native
Role = Literal["system", "developer", "user", "assistant", "tool"]


class Message(Struct, frozen=True, kw_only=True):
    """One turn, or a part of one. ``phase`` is commentary or final answer, in the Responses dialect."""

    role: Role
    parts: Sequence[Part]
    name: str | None = None
    phase: str | None = None
    extra: Extra = field(default_factory=dict)
