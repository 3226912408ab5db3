"""The content of messages and results, for an upstream."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import assert_never

from proxy_core import (
    Audio,
    File,
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
    UploadedFile,
)
from proxy_core.dialects.common import misplaced, without_none
from proxy_plugin_openai_responses.dialect.common import NAME


def joined(parts: Sequence[Part]) -> str | None:
    """The text, if there is nothing else."""
    texts = [part.text for part in parts if isinstance(part, Text)]
    return "\n".join(texts) if len(texts) == len(parts) else None


def output_part(part: Text | Refusal) -> list[JsonObject]:
    """A part of a message that the model wrote. An empty one says nothing."""
    if isinstance(part, Refusal):
        return [{"type": "refusal", "refusal": part.text}]
    return [{"type": "output_text", "text": part.text}] if part.text else []


def input_parts(part: Part) -> list[JsonObject]:
    """What the model reads. Raises ``BadRequest`` for what the format has no part for."""
    match part:
        case Text(text=text) | Refusal(text=text):
            return [{"type": "input_text", "text": text}]
        case Image():
            return [{"type": "input_image", **_image(part.source), "detail": part.detail or "auto"}]
        case Audio(source=InlineData(data=data)):
            return [{"type": "input_audio", "input_audio": {"data": data, "format": part.format or "wav"}}]
        case File():
            return _file(part)
        case Native() if part.dialect == NAME:
            return [dict(part.payload)]
        case Reasoning():
            return []
        case Audio() | ToolCall() | ToolResult() | Native():
            raise misplaced(part)
        case _:
            assert_never(part)


def _image(source: Source) -> JsonObject:
    match source:
        case InlineData():
            return {"image_url": _data_url(source)}
        case Link():
            return {"image_url": source.url}
        case UploadedFile():
            return {"file_id": source.file_id}
        case _:
            assert_never(source)


def _file(part: File) -> list[JsonObject]:
    """A document; one that is a text is sent as such, because models are shown files only in some types."""
    about = [{"type": "input_text", "text": part.context}] if part.context else []
    name = part.filename or part.title
    match part.source:
        case InlineData(media_type=kind, data=data) if kind.startswith("text/") and (text := _text(data)) is not None:
            title = [{"type": "input_text", "text": name}] if name else []
            return [*about, *title, {"type": "input_text", "text": text}]
        case InlineData() as data:
            return [*about, {"type": "input_file", "filename": name or _name(data), "file_data": _data_url(data)}]
        case Link(url=url):
            return [*about, {"type": "input_file", "file_url": url}]
        case UploadedFile(file_id=file_id):
            return [*about, without_none(type="input_file", file_id=file_id)]
        case _:
            assert_never(part.source)


def _name(data: InlineData) -> str:
    """A file needs a name, of which the ending matters."""
    return f"document.{data.media_type.rpartition('/')[2]}"


def _data_url(data: InlineData) -> str:
    return f"data:{data.media_type};base64,{data.data}"


def _text(data: str) -> str | None:
    try:
        return base64.b64decode(data).decode()
    except (binascii.Error, ValueError):
        return None
