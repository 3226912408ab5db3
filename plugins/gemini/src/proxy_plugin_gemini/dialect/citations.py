"""Sources for spans of a text: Gemini's grounding, whose offsets count bytes, and OpenAI's ``url_citation``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from proxy_core import JsonObject


def grounding_of(notes: Iterable[Mapping[str, Any]], text: str) -> JsonObject | None:
    """``groundingMetadata``, with each page once; ``None`` if no note is about a page."""
    pages: dict[str, int] = {}
    chunks: list[JsonObject] = []
    supports: list[JsonObject] = []
    for note in notes:
        match note:
            case {"type": "url_citation", "url_citation": {"url": str(url), **about}}:
                if url not in pages:
                    pages[url] = len(chunks)
                    chunks.append({"web": {"uri": url, "title": str(about.get("title") or "")}})
                if (segment := _segment(about, text)) is not None:
                    supports.append({"segment": segment, "groundingChunkIndices": [pages[url]]})
            case _:
                pass
    return {"groundingChunks": chunks, "groundingSupports": supports} if chunks else None


def _segment(about: Mapping[Any, Any], text: str) -> JsonObject | None:
    match about:
        case {"start_index": int(start), "end_index": int(end)} if 0 <= start < end <= len(text):
            begin = len(text[:start].encode("utf-8", "surrogatepass"))
            said = text[start:end]
            return {"startIndex": begin, "endIndex": begin + len(said.encode("utf-8", "surrogatepass")), "text": said}
        case _:
            return None


def url_citations(grounding: Mapping[str, Any], text: str) -> Iterator[JsonObject]:
    """Sources with the span of ``text`` that they support; sources without offsets are skipped."""
    chunks = grounding.get("groundingChunks")
    supports = grounding.get("groundingSupports")
    if not isinstance(chunks, list) or not isinstance(supports, list):
        return
    encoded = text.encode("utf-8", "surrogatepass")
    for support in supports:
        match support:
            case {"segment": {"endIndex": int(end), **segment}, "groundingChunkIndices": list(indices)}:
                start = segment.get("startIndex")
                begin = start if isinstance(start, int) else 0
                span = {"start_index": _characters(encoded, begin), "end_index": _characters(encoded, end)}
            case _:
                continue
        for index in indices:
            match chunks[index] if isinstance(index, int) and 0 <= index < len(chunks) else None:
                case {"web": {"uri": str(url), **web}}:
                    citation = {"url": url, "title": str(web.get("title") or ""), **span}
                    yield {"type": "url_citation", "url_citation": citation}


def _characters(encoded: bytes, offset: int) -> int:
    return len(encoded[: max(0, offset)].decode("utf-8", "ignore"))
