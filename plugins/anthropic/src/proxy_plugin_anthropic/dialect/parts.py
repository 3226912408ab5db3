"""Encode content as blocks of Anthropic's format."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any, assert_never
from urllib.parse import unquote_to_bytes

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
from proxy_core.dialects.common import misplaced, without_none
from proxy_plugin_anthropic.dialect.citations import is_foreign_citation
from proxy_plugin_anthropic.dialect.common import NAME

_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")
_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_ALIASES = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "image/x-png": "image/png"}
_BY_FIRST_BYTES = {"iVBORw": "image/png", "/9j/": "image/jpeg", "R0lGOD": "image/gif", "UklGR": "image/webp"}
_PDF = "application/pdf"
_TEXTS = re.compile(r"text/[\w.+-]+|application/(json|xml|yaml|x-yaml|toml|javascript|x-sh)")
_TEXT_FILES = re.compile(
    r".*\.(txt|md|csv|tsv|json|jsonl|xml|html?|css|ya?ml|toml|ini|log|py|js|ts|rs|go|c|h|cpp|java|rb|sh|sql)", re.I
)


def content_block(part: Part, *, own: bool) -> JsonObject | None:
    """Encode anything except calls and results; ``None`` for what says nothing. Raises ``BadRequest``.

    ``own``: the client speaks this format itself, so every extra member is for the upstream.
    """
    match part:
        case Text():
            citations = [dict(c) for c in part.citations if not is_foreign_citation(c)] if own else []
            block = without_none(type="text", text=part.text, citations=citations or None)
            return {**extras(part.extra, own=own), **block} if part.text.strip() else None
        case Refusal():
            return {"type": "text", "text": part.text} if part.text.strip() else None
        case Image():
            return {**extras(part.extra, own=own), "type": "image", "source": _image(part.source)}
        case File():
            about = without_none(title=part.title or part.filename, context=part.context)
            return {**extras(part.extra, own=own), "type": "document", "source": _document(part), **about}
        case Audio():
            raise _not_supported("audio")
        case Native(dialect=dialect, payload=payload) if dialect == NAME:
            return dict(payload)
        case Native(payload=payload):
            raise _not_supported(f"content of type {payload.get('type')!r}")
        case Reasoning() | ToolCall() | ToolResult():
            raise misplaced(part)
        case _:
            assert_never(part)


def extras(extra: Mapping[str, Any], *, own: bool) -> JsonObject:
    """What a client added to a part. Of other formats' clients, only marks for the cache are understood."""
    if own:
        return dict(extra)
    mark = extra.get("cache_control")
    return {"cache_control": mark} if isinstance(mark, Mapping) else {}


def _not_supported(what: str) -> BadRequest:
    return BadRequest(f"This model does not support {what}.", param="messages", code="invalid_value")


def _image(source: Source) -> JsonObject:
    if not isinstance(source, InlineData):
        return _elsewhere(source, "image")
    found = source.media_type.partition(";")[0].strip().lower()
    media_type = _ALIASES.get(found, found)
    data = _base64(source.data, "image")
    if media_type not in _IMAGES:
        media_type = next((kind for begin, kind in _BY_FIRST_BYTES.items() if data.startswith(begin)), "")
    if not media_type:
        raise _not_supported(f"images of the type {found[:50]!r}; it takes JPEG, PNG, GIF and WebP")
    return {"type": "base64", "media_type": media_type, "data": data}


def _document(part: File) -> JsonObject:
    source = part.source
    if not isinstance(source, InlineData):
        return _elsewhere(source, "file")
    media_type, name = source.media_type.partition(";")[0].strip().lower(), part.filename or ""
    if media_type == _PDF or (media_type == "application/octet-stream" and name.lower().endswith(".pdf")):
        return {"type": "base64", "media_type": _PDF, "data": _base64(source.data, "file")}
    if _TEXTS.fullmatch(media_type) or (media_type in ("", "application/octet-stream") and _TEXT_FILES.fullmatch(name)):
        return {"type": "text", "media_type": "text/plain", "data": _text(source.data)}
    raise _not_supported(f"files of the type {media_type[:50]!r}; it takes PDF and text")


def _elsewhere(source: Link | UploadedFile, what: str) -> JsonObject:
    if isinstance(source, UploadedFile):
        raise _not_supported(f"{what}s by the id of another service")
    if not source.url.startswith("https://"):
        raise _not_supported(f"an {what} at an address without https; send it as a data URL")
    return {"type": "url", "url": source.url}


def _base64(data: str, what: str) -> str:
    """Standard base64 without line breaks, which the API requires."""
    if "%" in data:
        data = unquote_to_bytes(data).decode("latin-1")
    if "-" in data or "_" in data:
        data = data.replace("-", "+").replace("_", "/")
    if not _BASE64.fullmatch(data):
        data = "".join(data.split())
    bare = data.rstrip("=")
    if not bare or not _BASE64.fullmatch(data) or len(bare) % 4 == 1:
        raise BadRequest(f"The {what} is not valid base64.", param="messages", code="invalid_value")
    return bare + "=" * (-len(bare) % 4)


def _text(data: str) -> str:
    try:
        return base64.b64decode(_base64(data, "file")).decode()
    except (UnicodeDecodeError, binascii.Error):
        raise BadRequest("The file is not a text in UTF-8.", param="messages", code="invalid_value") from None
