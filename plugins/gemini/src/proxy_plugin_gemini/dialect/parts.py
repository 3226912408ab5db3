"""Encode content as Gemini's parts."""

from __future__ import annotations

import re
from typing import assert_never
from urllib.parse import unquote_to_bytes, urlsplit

from proxy_core import (
    Audio,
    BadRequest,
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
from proxy_core.dialects.common import misplaced
from proxy_plugin_gemini.dialect.common import NAME

_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")
_FILES = re.compile(r"https://generativelanguage\.googleapis\.com/v1(beta)?/files/[\w-]+|gs://\S+")
_YOUTUBE = frozenset({"youtube.com", "www.youtube.com", "m.youtube.com", "youtu.be"})
_AUDIO = {"mpeg": "mp3", "x-wav": "wav", "wave": "wav", "vnd.wave": "wav"}
#: For files whose data has no type. Source: ai.google.dev, "Document understanding".
_BY_EXTENSION = {
    **{"pdf": "application/pdf", "json": "application/json", "js": "text/javascript", "py": "text/x-python"},
    **dict.fromkeys(("txt", "md", "log", "yaml", "yml", "toml", "rs", "go", "c", "h", "cpp", "java"), "text/plain"),
    **{"html": "text/html", "css": "text/css", "csv": "text/csv", "xml": "text/xml", "rtf": "text/rtf"},
    **{"png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "webp": "image/webp", "heic": "image/heic"},
    **{"mp3": "audio/mp3", "wav": "audio/wav", "flac": "audio/flac", "ogg": "audio/ogg", "aac": "audio/aac"},
    **{"mp4": "video/mp4", "webm": "video/webm", "mov": "video/quicktime"},
}
_BY_FIRST_BYTES = {"iVBORw": "image/png", "/9j/": "image/jpeg", "R0lGOD": "image/gif", "UklGR": "image/webp"}
_UNTYPED = frozenset({"", "application/octet-stream"})


def text_of(part: Part) -> str | None:
    """The text of a part that is only text."""
    return part.text if isinstance(part, Text | Refusal) else None


def media_part(part: Part) -> JsonObject:
    """Encode anything except text, calls and results. Raises ``BadRequest`` naming what Gemini cannot express."""
    match part:
        case Image():
            return source_part(part.source, "image/png", "image")
        case Audio():
            return source_part(part.source, f"audio/{part.format or 'wav'}", "audio")
        case File():
            return source_part(_typed(part), "", "file")
        case Native(dialect=dialect, payload=payload) if dialect == NAME:
            return {name: value for name, value in payload.items() if name != "type"}
        case Native(payload={"type": "video_url", "video_url": {"url": str(url)}}):
            return source_part(_address(url), "video/mp4", "video")
        case Native():
            kind = part.payload.get("type")
            raise BadRequest(f"This model does not support content of type {kind!r}.", param="messages")
        case Text() | Refusal() | Reasoning() | ToolCall() | ToolResult():
            raise misplaced(part)
        case _:
            assert_never(part)


def source_part(source: Source, default_type: str, what: str) -> JsonObject:
    match source:
        case InlineData():
            media_type = source.media_type.partition(";")[0].strip().lower()
            kind, _, sub = media_type.partition("/")
            if kind == "audio":
                media_type = f"audio/{_AUDIO.get(sub, sub)}"
            elif media_type in _UNTYPED or (what == "image" and media_type == "text/plain"):
                media_type = _by_first_bytes(source.data) or default_type
            if not media_type:
                raise BadRequest("A file needs a data URL with a type, or a filename.", param="messages")
            return {"inlineData": {"mimeType": media_type, "data": _base64(source.data, what)}}
        case Link(url=url):
            if _FILES.fullmatch(url):
                return {
                    "fileData": {"mimeType": _by_extension(url) or default_type or "application/pdf", "fileUri": url}
                }
            if _is_youtube(url):
                return {"fileData": {"mimeType": "video/mp4", "fileUri": url}}
            raise BadRequest(
                f"This model cannot open links; send the {what} as a data URL.", param="messages", code="invalid_value"
            )
        case UploadedFile():
            raise BadRequest("This model does not support files by id.", param="messages", code="invalid_value")
        case _:
            assert_never(source)


def _typed(part: File) -> Source:
    source = part.source
    if isinstance(source, InlineData) and source.media_type.partition(";")[0].strip().lower() in _UNTYPED:
        known = _by_extension(part.filename or "")
        if known is None:
            raise BadRequest(f"The type of the file {part.filename!r} is not known.", param="messages")
        return InlineData(media_type=known, data=source.data)
    return source


def _by_first_bytes(data: str) -> str | None:
    """The type of an image without one, by how its base64 begins."""
    return next((kind for begin, kind in _BY_FIRST_BYTES.items() if data.startswith(begin)), None)


def _by_extension(name: str) -> str | None:
    return _BY_EXTENSION.get(name.rpartition(".")[2].lower())


def _address(url: str) -> Source:
    if not url.startswith("data:"):
        return Link(url=url)
    head, _, data = url[5:].partition(",")
    if head.endswith(";base64"):
        return InlineData(media_type=head.removesuffix(";base64"), data=data)
    raise BadRequest("A video's data URL must be base64.", param="messages")


def _is_youtube(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme == "https" and parts.hostname in _YOUTUBE
    except ValueError:
        return False


def _base64(data: str, what: str) -> str:
    """Standard base64 without line breaks, which the backend requires."""
    if "%" in data:
        data = unquote_to_bytes(data).decode("latin-1")
    if "-" in data or "_" in data:
        data = data.replace("-", "+").replace("_", "/")
    if not _BASE64.fullmatch(data):
        data = "".join(data.split())
        if not _BASE64.fullmatch(data):
            raise BadRequest(f"The {what} is not valid base64.", param="messages", code="invalid_value")
    rest = len(data) % 4
    if rest == 0:
        return data
    data = data.rstrip("=")
    if len(data) % 4 == 1:
        raise BadRequest(f"The {what} is not valid base64.", param="messages", code="invalid_value")
    return data + "=" * (-len(data) % 4)
