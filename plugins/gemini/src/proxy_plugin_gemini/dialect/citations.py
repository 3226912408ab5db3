"""Sources for spans of a text: Gemini's grounding, whose offsets count bytes, and OpenAI's ``url_citation``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from proxy_core import JsonObject

#: An address, and the span of the text that it supports, in characters.
Cited = tuple[str, int, int]


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


def url_citations(grounding: Mapping[str, Any], text: str, cited: set[Cited]) -> Iterator[JsonObject]:
    """Sources with the span of ``text`` that they support; a source that supports none in particular has an empty one
    at the end of it. Those in ``cited`` are left out, and new ones added to it."""
    pages = [_page(chunk) for chunk in _list(grounding.get("groundingChunks"))]
    encoded = text.encode("utf-8", "surrogatepass")
    for index, start, end in _supported(grounding, encoded):
        if 0 <= index < len(pages) and (page := pages[index]) is not None and (page[0], start, end) not in cited:
            cited.add((page[0], start, end))
            yield _citation(page, start, end)
    named = {url for url, _, _ in cited}
    for page in pages:
        if page is not None and page[0] not in named:
            named.add(page[0])
            cited.add((page[0], len(text), len(text)))
            yield _citation(page, len(text), len(text))


def _page(chunk: object) -> tuple[str, str] | None:
    """Address and title of a page, a document or a place."""
    match chunk:
        case {"web": {"uri": str(url), **about}} | {"retrievedContext": {"uri": str(url), **about}} if url:
            return url, str(about.get("title") or "")
        case {"maps": {"uri": str(url), **about}} if url:
            return url, str(about.get("title") or "")
        case _:
            return None


def _supported(grounding: Mapping[str, Any], encoded: bytes) -> Iterator[tuple[int, int, int]]:
    """The index of a source, and the span of characters that it supports."""
    for support in _list(grounding.get("groundingSupports")):
        match support:
            case {"segment": {"endIndex": int(end), **segment}, "groundingChunkIndices": list(indices)}:
                start = segment.get("startIndex")
                begin = _characters(encoded, start if isinstance(start, int) else 0)
                for index in indices:
                    if isinstance(index, int):
                        yield index, begin, _characters(encoded, end)


def _citation(page: tuple[str, str], start: int, end: int) -> JsonObject:
    url, title = page
    about = {"url": url, "title": title, "start_index": start, "end_index": end}
    return {"type": "url_citation", "url_citation": about}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _characters(encoded: bytes, offset: int) -> int:
    return len(encoded[: max(0, offset)].decode("utf-8", "ignore"))
